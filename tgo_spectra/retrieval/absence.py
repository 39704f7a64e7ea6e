"""What the spectra of a result would be without one of its gases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.errors import RetrievalError, SetupError
from tgo_spectra.retrieval.registry import kind_of_setup
from tgo_spectra.retrieval.setups import list_setups, load_setup

if TYPE_CHECKING:
    import xarray as xr

    from tgo_spectra.retrieval.setup import RetrievalSetup, Setup

__all__ = ["setup_of", "spectra_without"]


def spectra_without(
    level1: xr.Dataset,
    level2: xr.Dataset,
    gas: str,
    setup: Setup | str | Path | None = None,
) -> xr.DataArray:
    """Calculate the fitted spectra of an SO occultation without a gas, all else as is.

    The forward model of the fit is evaluated twice, with the profiles, the shift of the
    wavenumbers, the instrument and the air that the result states, and with none of the
    gas the second time. The fitted spectra times the ratio of the two are returned:
    baselines stay as they were fitted and are not fitted again, though they would take
    a part of the gas. Where spectra were freed of waves, the waves stay too.

    Parameters
    ----------
    level1 : Dataset
        The product.
    level2 : Dataset
        Its result, with profiles and ``residual``.
    gas : str
        Gas that was fitted.
    setup : setup, str or path, optional
        The one that it was fitted with; default: the shipped one of its name.

    Returns
    -------
    DataArray, dims (spectrum, pixel)
        Transmittance, NaN where nothing was fitted. Its attribute ``gas`` is the gas.

    Raises
    ------
    RetrievalError
        ``absence.kind``: the result is no profile of an SO occultation, or has no such
        gas.
    SetupError
        ``absence.setup``: the result was made with other choices than the setup's.

    Examples
    --------
    >>> import tempfile
    >>> import tgo_spectra as tgo
    >>> small = {"n_bins": 1, "vertical_speed_km_s": 6.0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = tgo.simulate_product(folder, order=134, ch4=2e-9, seed=1, **small)
    ...     level1 = tgo.open_product(path).load()
    >>> level2 = tgo.retrieve(level1)
    >>> without = spectra_without(level1, level2, "ch4")
    >>> fitted = level1.transmittance - level2.residual
    >>> 1e-3 < float((without - fitted).max()) < 1e-2
    True
    """
    import numpy as np

    from tgo_spectra.retrieval.measurement import selected
    from tgo_spectra.retrieval.models.so.absence import ratio_without

    if f"{gas}_vmr" not in level2 or "residual" not in level2:
        message = f"level 2 has no profile of {gas} with its residual"
        raise RetrievalError(message, field=f"{gas}_vmr", rule="absence.kind")
    chosen = setup_of(level2, setup)
    row = kind_of_setup(chosen)
    assert row is not None
    spectra = selected(level1, row.needs).compute()
    fitted = level1["transmittance"].values - level2["residual"].values
    ratio = np.full(fitted.shape, np.nan)
    rows, pixels, values = ratio_without(spectra, level2, gas, chosen)
    ratio[np.ix_(rows, pixels)] = values
    result = level1["transmittance"].copy(data=fitted * ratio)
    name = f"fitted transmittance without {gas}"
    return result.assign_attrs(long_name=name, gas=gas)


def setup_of(level2: xr.Dataset, setup: Setup | str | Path | None) -> RetrievalSetup:
    """Return the setup of a result; refuse one with other choices."""
    from tgo_spectra.retrieval.setup import RetrievalSetup

    name = level2.attrs.get("setup")
    if level2.attrs.get("retrieval_kind", "profile") != "profile" or not any(
        str(one).endswith("_vmr_apriori") for one in level2
    ):
        message = "only of profiles of SO occultations"
        raise RetrievalError(message, field="setup", value=name, rule="absence.kind")
    if setup is None:
        if name not in list_setups():
            message = "the setup of the result is no shipped one: give it"
            raise SetupError(message, field="setup", value=name, rule="absence.setup")
        setup = str(name)
    chosen = load_setup(setup) if isinstance(setup, str | Path) else setup
    if not isinstance(chosen, RetrievalSetup):
        message = "only of profiles of SO occultations"
        raise RetrievalError(message, field="setup", value=name, rule="absence.kind")
    method = str(level2.attrs.get("method", chosen.method))
    chosen = chosen.replace(method=method)
    if chosen.hash() != level2.attrs.get("setup_hash"):
        message = (
            f"the result was made with other choices than those of {chosen.name!r}"
        )
        raise SetupError(message, field="setup", value=name, rule="absence.setup")
    return chosen
