"""Which reasons there are against a result: from a fit, and from its product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import quality
from tgo_spectra.readers.quality import level1_bits
from tgo_spectra.retrieval.conclusion import PULLED
from tgo_spectra.retrieval.noise import SURE_SIGMAS
from tgo_spectra.retrieval.state import FIXED
from tgo_spectra.retrieval.usable import COUNT
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.noise import Noise

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["UNSEEN", "of_fit", "of_noise", "of_product", "of_rows", "with_product"]

PATTERN, GROSS_PATTERN = 1.3, 3.0
"""Stacked residual over its expectation, beyond which something is in common to all
rows that nobody named (7 standard deviations of white noise), and beyond which the fit
is poor."""

CORRELATED = 1.1
"""Factor on the errors by the residuals' correlation, and by their size either way,
that is worth saying: real errors are good to some ten percent."""

GROSS_INFLATION = 3.0
"""Errors that are wrong by more are none."""

DISAGREED = 1e-4
"""Probability below which the lines of a gas do not agree."""

FAR_SIGMAS = 5.0
"""A parameter this far from its a priori is not what the a priori was made for."""

MASKED = 0.2
"""Share of a bin's or a spectrum's pixels, left out by a fit, beyond which what is left
is not believed."""


def of_noise(
    variance: float,
    along_pixels: float,
    pattern: float = float("nan"),
    scatter: float = 0.0,
) -> set[str]:
    """Return what the residuals of a fit say against it.

    Parameters
    ----------
    variance : float
        Chi-square over its expectation.
    along_pixels : float
        Sum of the sure autocorrelations along pixels, one side.
    pattern : float
        Stacked residual over its expectation.
    scatter : float
        Standard error of the first; of a single spectrum it tells little.
    """
    size = float(np.sqrt(max(variance, 0.0)))
    correlation = float(np.sqrt(max(1.0 + 2.0 * along_pixels, 0.0)))
    found = set()
    sure = abs(variance - 1.0) > SURE_SIGMAS * scatter
    if sure and not 1.0 / CORRELATED < size < CORRELATED:
        found.add("noise_inconsistent")
    if correlation > CORRELATED:
        found.add("correlated_residuals")
    if pattern > PATTERN:
        found.add("pattern_in_residual")
    if not size * max(correlation, 1.0) < GROSS_INFLATION or pattern > GROSS_PATTERN:
        found.add("poor_fit")
    return found


def of_rows(
    rows: IntArray,
    count: int,
    measured: Sequence[Noise],
    converged: npt.NDArray[np.bool_],
    off_sigmas: Array | None = None,
    agreement: Array | None = None,
    alone: npt.NDArray[np.bool_] | None = None,
    left_out: Array | None = None,
) -> npt.NDArray[np.int32]:
    """Return the flags of spectra that are fitted each by itself.

    Parameters
    ----------
    rows : array of int, shape (row,)
        Those that were fitted; the others are too few.
    count : int
        Of all.
    measured : sequence of Noise
        Of each, as the residuals have it.
    converged : array of bool, shape (row,)
    off_sigmas : array, shape (row, parameter), optional
        What is fitted beside the gases, from its a priori, in units of its 1 sigma.
    agreement : array, shape (row,), optional
        Probability that the lines agree.
    alone : array of bool, shape (row,), optional
        Whether of some gas there is but one manifold.
    left_out : array, shape (row,), optional
        Share of its pixels that the fit left out.
    """
    flags = np.full(count, UNSEEN)
    for index, row in enumerate(rows.tolist()):
        one = measured[index]
        along = float(one.sure_along_pixels.sum())
        found = of_noise(one.variance, along, scatter=one.variance_scatter)
        if not converged[index]:
            found.add("not_converged")
        if left_out is not None and left_out[index] > MASKED:
            found.add("poor_fit")
        if off_sigmas is not None and (np.abs(off_sigmas[index]) > FAR_SIGMAS).any():
            found.add("parameter_at_limit")
        if agreement is not None and agreement[index] < DISAGREED:
            found.add("lines_disagree")
        if alone is not None and alone[index]:
            found.add("lines_not_compared")
        flags[row] = quality.pack(found)
    return flags


def of_fit(end: Conclusion) -> set[str]:
    """Return the reasons against a joint fit."""
    measured = end.noise
    along = float(measured.sure_along_pixels.sum())
    found = of_noise(measured.variance, along, end.pattern)
    if not end.converged:
        found.add("not_converged")
    if any(a.probability < DISAGREED for a in end.agreements.values()):
        found.add("lines_disagree")
    if any(a.alone for a in end.agreements.values()):
        found.add("lines_not_compared")
    if end.screening.light.any():
        found.add("pattern_in_residual")
    if (end.screening.share > MASKED).any() or end.pulled > PULLED:
        found.add("poor_fit")
    if end.at_edge:
        found.add("parameter_at_limit")
    for block in end.space.blocks:
        if block.per == "level" or block.searched:
            continue
        off = np.abs(end.vector[end.space[block.name]] - block.prior)
        variance = np.diag(block.covariance)
        far = off > FAR_SIGMAS * np.sqrt(variance)
        if (far & (variance > FIXED)).any():
            found.add("parameter_at_limit")
    return found


def of_product(level1: xr.Dataset, attrs: Mapping[Any, Any]) -> set[str]:
    """Return what the product, its air and its setup say against a result.

    Parameters
    ----------
    level1 : Dataset
    attrs : mapping
        Attributes of the result, see `tgo_spectra.retrieval.level2.provenance`.
    """
    found = level1_bits(level1)
    if str(attrs.get("atmosphere", "")).startswith(REFERENCE):
        found.add("reference_atmosphere")
    if "extended_above_km" in attrs or "extended_below_km" in attrs:
        found.add("extrapolated_atmosphere")
    if str(attrs.get("interferents_absent", NONE_NAMED)) != NONE_NAMED:
        found.add("interferents_missing")
    return found


def with_product(result: xr.Dataset, level1: xr.Dataset) -> xr.Dataset:
    """Add to the flag of a result what its product says; see `of_product`.

    And the number of values that were no light, spectrum by spectrum.
    """
    own = quality.pack(of_product(level1, result.attrs))
    if COUNT in level1.variables and "spectrum" in result.dims:
        count = level1.variables[COUNT].astype("int32")
        count.attrs = attributes_of(COUNT, count.dtype)
        result[COUNT] = count
    if "quality_flag" in result.variables:
        # in its place: to assign to a Dataset takes as long as a pass of the fit
        flag = result.variables["quality_flag"]
        flag.data = flag.data | own
        return result
    ended = bool(np.all(result.get("converged", True)))
    none = quality.pack([] if ended else ["not_converged"])
    attrs = attributes_of("quality_flag", none.dtype)
    return result.assign(quality_flag=((), none | own, attrs))


UNSEEN = quality.pack(["few_spectra"])
"""Flag of a spectrum that was not fitted."""

NONE_NAMED = "none named"
"""Of interferents, as provenance says it."""

REFERENCE = "reference atmosphere"
"""Start of what a result says of its air when none was given."""
