"""From spectra to profiles, slant columns and limits: level 1 to level 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.errors import RetrievalError, SetupError
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.interferents import check_interferents
from tgo_spectra.retrieval.setup import (
    RetrievalSetup,
    default_setup,
    list_setups,
    load_setup,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.retrieval.scene import Scene
    from tgo_spectra.retrieval.solution import Solution

__all__ = ["RetrievalSetup", "list_setups", "load_setup", "retrieve"]


def _methods() -> Mapping[str, Callable[..., xr.Dataset]]:
    """Table of fit methods: adding one is one file and one row."""
    from functools import partial

    from tgo_spectra.retrieval import (
        onion,
        optimal_estimation,
        slant,
        tikhonov,
        weak,
    )

    def profiles(
        method: str, solve: Callable[[Scene], Solution]
    ) -> Callable[..., xr.Dataset]:
        return partial(level2.profiles, method=method, solve=solve)

    return {
        "oe": profiles("oe", optimal_estimation.solve),
        "tikhonov": profiles("tikhonov", tikhonov.solve),
        "weak": profiles("weak", weak.solve),
        "onion": onion.profiles,
        "slant": slant.slant_columns,
    }


def retrieve(
    level1: xr.Dataset,
    setup: RetrievalSetup | str | Path | None = None,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    method: str | None = None,
) -> xr.Dataset:
    """Fit the gases of one occultation.

    Parameters
    ----------
    level1 : Dataset
        As returned by `open_product`; may be chunked along ``spectrum`` with
        ``method="slant"``, which then stays lazy.
    setup : RetrievalSetup, str or path, optional
        A setup, the name of a shipped one, or a TOML file; default: the shipped
        setup for the product's channel and order.
    atmosphere : Dataset, str or path, optional
        ``pressure`` and ``temperature`` over ``altitude``, optionally
        ``<gas>_vmr`` as a priori; default: the analytic reference atmosphere,
        which the attribute ``atmosphere`` of the result then says.
    method : {"oe", "tikhonov", "weak", "onion", "slant"}, optional
        Profiles by optimal estimation, by Tikhonov regularisation, by one linear step
        for faint gases, or by onion peeling; slant columns spectrum by spectrum.
        Default: the setup's.

    Returns
    -------
    Dataset
        Level 2, new; names and units in the documentation's conventions page.

    Raises
    ------
    SetupError
        No setup fits the product, or the setup is wrong.
    TableError
        The absorption table lacks a gas or does not cover the orders.
    AtmosphereError
        The atmosphere lacks a variable or is not physical.
    RetrievalError
        Too few usable spectra, or the fit diverges.

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
    from tgo_spectra.atmosphere import read_atmosphere, reference_atmosphere

    chosen = _setup_for(level1, setup)
    name = method or chosen.method
    table = _methods()
    if name not in table:
        message = f"unknown method; there are {', '.join(table)}"
        raise SetupError(message, field="method", value=name, rule="setup.method")
    if level1["order"].ndim == 0:
        check_interferents(chosen, int(level1["order"]))
    if atmosphere is None:
        air = reference_atmosphere()
        air.attrs["planet_radius_source"] = "default"
    else:
        air = read_atmosphere(atmosphere)
        given = getattr(atmosphere, "attrs", air.attrs)
        if "planet_radius_km" not in given:
            air.attrs["planet_radius_source"] = "default"
    return table[name](level1, chosen, air)


def _setup_for(
    level1: xr.Dataset, setup: RetrievalSetup | str | Path | None
) -> RetrievalSetup:
    channel = str(level1.attrs.get("channel", "")).lower()
    if isinstance(setup, RetrievalSetup):
        chosen = setup
    elif setup is not None:
        chosen = load_setup(setup)
    else:
        order = level1["order"]
        if order.ndim:
            message = "rows differ in order: give a setup and select one order"
            raise RetrievalError(message, field="order", rule="level1.many_orders")
        return default_setup(channel, int(order))
    if chosen.channel != channel:
        message = f"the setup {chosen.name!r} is for channel {chosen.channel!r}"
        raise SetupError(
            message, field="channel", value=channel, rule="setup.wrong_channel"
        )
    if level1["order"].ndim == 0 and int(level1["order"]) not in chosen.orders:
        message = f"the setup {chosen.name!r} is for orders {chosen.orders}"
        raise SetupError(
            message,
            path=level1.attrs.get("source_file"),
            field="orders",
            value=int(level1["order"]),
            rule="setup.wrong_order",
        )
    return chosen
