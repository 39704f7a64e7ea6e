"""Profiles of gases from an occultation in the infrared, by one of four methods."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.interferents import check_interferents
from tgo_spectra.retrieval.models.so import (
    onion,
    optimal_estimation,
    profile_output,
    slant,
    tikhonov,
)
from tgo_spectra.retrieval.prepare import given_atmosphere

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.models.so.solution import Solution
    from tgo_spectra.retrieval.setup import RetrievalSetup

__all__ = ["methods", "retrieve_profile"]


def methods() -> Mapping[str, Callable[..., xr.Dataset]]:
    """Return the fit methods by name: adding one is one file and one row.

    Examples
    --------
    >>> sorted(methods())
    ['oe', 'onion', 'slant', 'tikhonov']
    """

    def profiles(
        method: str, solve: Callable[[Scene], Solution]
    ) -> Callable[..., xr.Dataset]:
        return partial(profile_output.profiles, method=method, solve=solve)

    return {
        "oe": profiles("oe", optimal_estimation.solve),
        "tikhonov": profiles("tikhonov", tikhonov.solve),
        "onion": onion.profiles,
        "slant": slant.slant_columns,
    }


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
    table = methods()
    if setup.method not in table:
        message = f"unknown method; there are {', '.join(table)}"
        raise SetupError(
            message, field="method", value=setup.method, rule="setup.method"
        )
    if level1["order"].ndim == 0:
        check_interferents(setup, int(level1["order"]))
    return table[setup.method](level1, setup, given_atmosphere(atmosphere, level1))
