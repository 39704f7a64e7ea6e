"""Which reasons there are against a result: from a fit, and from its product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import quality
from tgo_spectra.readers.quality import level1_bits
from tgo_spectra.retrieval.state import FIXED
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion

__all__ = ["of_fit", "of_noise", "of_product", "with_product"]

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

MASKED = 0.12
"""Share of a bin's pixels beyond which what is left is not believed."""


def of_noise(
    variance: float, along_pixels: float, pattern: float = float("nan")
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
    """
    size = float(np.sqrt(max(variance, 0.0)))
    correlation = float(np.sqrt(max(1.0 + 2.0 * along_pixels, 0.0)))
    found = set()
    if not 1.0 / CORRELATED < size < CORRELATED:
        found.add("noise_inconsistent")
    if correlation > CORRELATED:
        found.add("correlated_residuals")
    if pattern > PATTERN:
        found.add("pattern_in_residual")
    if not size * max(correlation, 1.0) < GROSS_INFLATION or pattern > GROSS_PATTERN:
        found.add("poor_fit")
    return found


def of_fit(end: Conclusion) -> set[str]:
    """Return the reasons against a joint fit."""
    measured = end.noise
    along = float(measured.sure_along_pixels.sum())
    found = of_noise(measured.variance, along, end.pattern)
    if not end.converged:
        found.add("not_converged")
    if any(a.probability < DISAGREED for a in end.agreements.values()):
        found.add("lines_disagree")
    if end.screening.light.any():
        found.add("pattern_in_residual")
    if (end.screening.share > MASKED).any():
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
    """Add to the flag of a result what its product says; see `of_product`."""
    own = quality.pack(of_product(level1, result.attrs))
    if "quality_flag" in result.variables:
        # in its place: to assign to a Dataset takes as long as a pass of the fit
        flag = result.variables["quality_flag"]
        flag.data = flag.data | own
        return result
    ended = bool(np.all(result.get("converged", True)))
    none = quality.pack([] if ended else ["not_converged"])
    attrs = attributes_of("quality_flag", none.dtype)
    return result.assign(quality_flag=((), none | own, attrs))


NONE_NAMED = "none named"
"""Of interferents, as provenance says it."""

REFERENCE = "reference atmosphere"
"""Start of what a result says of its air when none was given."""
