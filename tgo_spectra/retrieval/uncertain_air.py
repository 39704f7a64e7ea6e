"""How far the air that a retrieval is given may be off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.elements import Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    Array = npt.NDArray[np.floating]

__all__ = ["stated", "with_stated"]


def stated(air: xr.Dataset, source: str, size: float) -> Array:
    """Return 1 sigma of ``temperature`` (K) or ``pressure`` (relative) on altitudes.

    That which the air states of itself, else ``size``; zero where that is zero.
    """
    own = air.get(f"{source}_uncertainty")
    if own is None or size == 0.0:
        return np.full(air.sizes["altitude"], float(size))
    return np.asarray(own.values, dtype=float)


def with_stated(found: Mapping[str, Size], air: xr.Dataset) -> dict[str, Size]:
    """Return sizes of sources, those of the air as it states them where gas is."""
    result = dict(found)
    for source in found.keys() & {"temperature", "pressure"}:
        if f"{source}_uncertainty" in air:
            sigma = stated(air, source, found[source].magnitude)
            mean = np.average(sigma, weights=air["number_density"].values)
            origin = f"{source}_uncertainty of the atmosphere, mean over its molecules"
            result[source] = Size(float(mean), found[source].unit, origin)
    return result
