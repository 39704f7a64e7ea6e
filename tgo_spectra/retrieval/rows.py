"""Spectra fitted each by itself: blocks of them, lazily where level 1 is lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Part = tuple[str, int] | None

__all__ = ["fit_each"]


def fit_each(
    block: Callable[..., None],
    inputs: Sequence[tuple[xr.DataArray, tuple[str, ...]]],
    parts: Mapping[str, Part],
    **choices: Any,
) -> dict[str, xr.DataArray]:
    """Fit spectra block by block; a row must not depend on what block it is in.

    Parameters
    ----------
    block : callable
        ``(found, *arrays, **choices)``: fits some spectra and writes what it found
        into the arrays of the mapping `found`, (row,) or (row, size), not-a-number at
        first.
    inputs : sequence of (DataArray, tuple of str)
        What the fit needs of each spectrum, and the dimensions that are its own.
    parts : mapping of str to (str, int) or None
        Name of what is found of each spectrum: its dimension and size, or None for a
        single number.
    choices
        Further arguments of `block`.
    """
    ends = np.cumsum([0, *(1 if part is None else part[1] for part in parts.values())])
    places = {
        name: int(start) if part is None else slice(int(start), int(stop))
        for (name, part), start, stop in zip(
            parts.items(), ends[:-1], ends[1:], strict=True
        )
    }

    def packed(*arrays: Array) -> Array:
        # side by side in one array: a block of spectra is fitted once
        out = np.full((len(arrays[0]), int(ends[-1])), np.nan)
        if len(out):
            block({n: out[:, place] for n, place in places.items()}, *arrays, **choices)
        return out

    whole = xr.apply_ufunc(
        packed,
        *(array for array, _ in inputs),
        input_core_dims=[dims for _, dims in inputs],
        output_core_dims=[["output"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"output": int(ends[-1])}},
        keep_attrs=False,
    )
    return {
        name: whole.isel(output=places[name]).rename(
            {} if part is None else {"output": part[0]}
        )
        for name, part in parts.items()
    }
