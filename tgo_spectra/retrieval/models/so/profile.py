"""Profiles of gases from an occultation in the infrared, by one of four methods."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.interferents import check_interferents
from tgo_spectra.retrieval.measurement import given_atmosphere

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.retrieval.setup import RetrievalSetup

    Method = Callable[..., xr.Dataset]

__all__ = ["METHODS", "retrieve_profile"]


def _oe() -> Method:
    from tgo_spectra.retrieval.models.so import optimal_estimation
    from tgo_spectra.retrieval.models.so.solution import profiles

    return partial(profiles, method="oe", solve=optimal_estimation.solve)


def _tikhonov() -> Method:
    from tgo_spectra.retrieval.models.so import tikhonov
    from tgo_spectra.retrieval.models.so.solution import profiles

    return partial(profiles, method="tikhonov", solve=tikhonov.solve)


def _onion() -> Method:
    from tgo_spectra.retrieval.models.so import onion

    return onion.profiles


def _slant() -> Method:
    from tgo_spectra.retrieval.models.so import slant

    return slant.slant_columns


METHODS: Mapping[str, Callable[[], Method]] = {
    "oe": _oe,
    "tikhonov": _tikhonov,
    "onion": _onion,
    "slant": _slant,
}
"""Fit methods by name, imported when they are taken: a new one is a file and a row."""


def retrieve_profile(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit the gases of one occultation; `tgo_spectra.retrieve` is the way in.

    Parameters
    ----------
    level1 : Dataset
        As returned by `open_product`; may be chunked along ``spectrum`` with the
        method "slant", which then stays lazy.
    setup : RetrievalSetup
    atmosphere : Dataset, str or path, optional
        ``pressure`` and ``temperature`` over ``altitude``, optionally ``<gas>_vmr`` as
        a priori; default: the reference atmosphere.

    Returns
    -------
    Dataset
        Level 2.

    Raises
    ------
    SetupError, TableError, AtmosphereError, RetrievalError
        As `tgo_spectra.retrieve`.
    """
    if setup.method not in METHODS:
        message = f"unknown method; there are {', '.join(METHODS)}"
        raise SetupError(
            message, field="method", value=setup.method, rule="setup.method"
        )
    if level1["order"].ndim == 0:
        check_interferents(setup, int(level1["order"]))
    return METHODS[setup.method]()(level1, setup, given_atmosphere(atmosphere, level1))
