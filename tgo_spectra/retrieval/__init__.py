"""From spectra to profiles, columns and limits: level 1 to level 2.

`retrieve` is the one way in for all kinds of retrieval. What a kind needs is imported
when it is used, so that reading setups stays light.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.errors import RetrievalError, SetupError
from tgo_spectra.retrieval.choice import chosen_for, default_setup, require_table
from tgo_spectra.retrieval.registry import level1_for
from tgo_spectra.retrieval.setup import RetrievalSetup
from tgo_spectra.retrieval.setups import list_setups, load_setup

if TYPE_CHECKING:
    import xarray as xr

    from tgo_spectra.retrieval.absence import spectra_without as spectra_without
    from tgo_spectra.retrieval.registry import Kind
    from tgo_spectra.retrieval.setup import Setup

__all__ = [
    "RetrievalSetup",
    "default_setup",
    "list_setups",
    "load_setup",
    "retrieve",
    "spectra_without",
]


def __getattr__(name: str) -> object:
    """Import what a fit does not need when it is used."""
    if name != "spectra_without":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tgo_spectra.retrieval.absence import spectra_without

    return spectra_without


def retrieve(
    level1: xr.Dataset | str | Path,
    setup: Setup | str | Path | None = None,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    method: str | None = None,
) -> xr.Dataset:
    """Fit the gases of one product: profiles or columns, as its setup says.

    SO occultations give profiles of gases, UVIS occultations ozone, and LNO nadir
    spectra columns; the type of the setup decides.

    Parameters
    ----------
    level1 : Dataset or path
        As returned by `open_product`, of one product, or what `open_product` opens,
        such as a zip with one product; may be chunked along
        ``spectrum`` with SO's method "slant" and with LNO nadir, which then stay lazy
        (some spectra are read, to see where the lines are).
        Spectra may be left out and stand in any order; pixels are left out by the
        window of the setup.
    setup : setup, str or path, optional
        A setup of any kind, the name of a shipped one, or a TOML file; default: the
        shipped setup for the product's channel, observation and order.
    atmosphere : Dataset, str or path, optional
        ``pressure`` and ``temperature`` over ``altitude``, optionally
        ``<gas>_vmr`` as a priori; default: the reference atmosphere of the product's
        season and latitude, which a warning and the attribute ``atmosphere`` of the
        result then say. Of a climatology
        give the profile that `atmosphere_for_product` takes from it; what that says of
        itself goes into the result.
    method : str, optional
        Profiles (SO): "oe" by optimal estimation, "tikhonov" by Tikhonov
        regularisation, "onion" by onion peeling; "slant" for columns spectrum by
        spectrum. Ozone (UVIS): "oe" or
        "slant". Default: the setup's.

    Returns
    -------
    Dataset
        Level 2, new; names and units in the documentation's conventions page. The
        attribute ``retrieval_kind`` says what kind it is.

    Raises
    ------
    SetupError
        No setup fits the product, or the setup is wrong or not for the product.
    TableError
        The absorption table is not there (``table.not_built``; the message names the
        command that makes it), lacks a gas or does not cover the orders.
    AtmosphereError
        The atmosphere lacks a variable or is not physical.
    RetrievalError
        Too few usable spectra, or the fit diverges; or the Dataset was changed in a
        way that the fit cannot honour: pixels or corners left out, spectra there twice
        or of several products (``level1.*``).

    References
    ----------
    Rodgers, C. D., 2000, Inverse Methods for Atmospheric Sounding, World Scientific.

    Examples
    --------
    >>> import tempfile
    >>> import tgo_spectra as tgo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = tgo.simulate_product(folder, order=134, ch4=2e-9, seed=1)
    ...     level2 = tgo.retrieve(tgo.open_product(path))
    >>> bool(level2.converged), level2.ch4_vmr.units
    (True, '1')
    """
    from tgo_spectra.retrieval.measurement import selected
    from tgo_spectra.retrieval.usable import with_usable
    from tgo_spectra.retrieval.verdict import with_product

    if isinstance(level1, str | Path):
        setup, level1 = _opened(Path(level1), setup)
    chosen, row = chosen_for(level1, setup)
    require_table(chosen)
    if method is not None:
        chosen = _with_method(chosen, row, method)
    spectra = with_usable(selected(level1, row.needs))
    try:
        result: xr.Dataset = row.retrieve(spectra, chosen, atmosphere)
    except RetrievalError as error:
        error.path = error.path or level1.attrs.get("source_file")
        raise
    air = getattr(atmosphere, "attrs", {})
    taken = {k: v for k, v in air.items() if str(k).startswith("climatology_")}
    result = with_product(result, spectra)
    return result.assign_attrs(retrieval_kind=row.name, **taken)


def _opened(
    path: Path, setup: Setup | str | Path | None
) -> tuple[Setup | None, xr.Dataset]:
    """Open a product as its kind of retrieval needs it; give the setup, once read."""
    chosen = load_setup(setup) if isinstance(setup, str | Path) else setup
    level1 = None if chosen is None else level1_for(chosen, path)
    if level1 is None:
        from tgo_spectra.readers import open_product

        level1 = open_product(path)
    return chosen, level1


def _with_method(setup: Setup, row: Kind, method: str) -> Setup:
    if method not in row.methods:
        have = ", ".join(row.methods) or "none to choose from"
        message = f"unknown method; setups of kind {row.name!r} have {have}"
        raise SetupError(message, field="method", value=method, rule="setup.method")
    return setup.replace(method=method)
