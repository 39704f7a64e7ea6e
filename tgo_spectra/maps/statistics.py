"""Mean, errors and limits of the cells of a map, from their sums.

Three things make the mean of a cell wrong, and each goes its own way with the number of
profiles: noise and the scatter of nature fall with it; what the a priori hides
(smoothing) and what all profiles are wrong by together (systematic) do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from tgo_spectra.maps.sums import CIRCLES

if TYPE_CHECKING:
    from tgo_spectra.maps.sums import CellSums

__all__ = ["RESULTS", "Weights", "follows_values", "statistics"]

Floats = npt.NDArray[np.float64]
Weights = Literal["random_effects", "inverse_variance", "uniform"]

RESULTS = (
    "mean",
    "standard_error",
    "systematic_error",
    "smoothing_error",
    "upper_limit",
    "apriori_share",
    "standard_error_formal",
    "standard_error_scatter",
    "reduced_chi_square",
    "effective_number",
    "mean_latitude",
    *(f"mean_{name}" for name in CIRCLES),
)
"""What `statistics` gives, in the order of a map."""


_FLOOR = 0.6
"""Part of the error of many profiles by noise below which none is given."""
_UNSEEN = 1.5
"""Standard errors of the spread of nature that few profiles may hide; see `_Mix`."""


def statistics(
    sums: CellSums, weights: Weights, sigma_level: float
) -> dict[str, Floats]:
    """Derive `RESULTS` from sums, shape (cell,); NaN where there are too few samples.

    The spread of nature: DerSimonian and Laird (1986), Controlled Clinical Trials 7,
    177, eq. 8. The standard error from the scatter, with quantiles of Student's t:
    Hartung and Knapp (2001), Statistics in Medicine 20, 1771, eq. 3.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mix = _Mix.of(sums, weights)
        n, mean = mix.n, mix.of_sums("x")
        formal = np.sqrt(mix.variance)
        second = np.maximum(mix.of_sums("x2") - mean**2, 0.0)
        scatter = np.sqrt(second / (n - 1.0))
        if weights != "uniform":
            # weights that leave out nature need its spread put in by moments
            moment = mix.variance + mix.spread * mix.squares
            scatter = np.maximum(scatter, np.sqrt(np.maximum(moment, 0.0)))
        scatter = np.where(n > 1, scatter, np.nan)
        # few profiles may agree by chance: below a part of what the errors say the
        # scatter is not believed; a larger part would cover too much of few
        student = scatter * _student(mix.freedom, sigma_level)
        least = _FLOOR * (1.0 - 1.0 / n) * formal
        least = np.sqrt(least**2 + mix.unseen * mix.squares)
        random = np.where(n > 1, np.fmax(student, least), formal)
        response, missing = mix.of_sums("response"), mix.of_sums("prior")
        smoothing = np.maximum(mix.of_sums("smoothing"), np.abs(missing))
        systematic = mix.of_sums("systematic")
        without = np.maximum(1.0, 1.0 / response)  # of the mean without the a priori
        common = smoothing**2 + systematic**2
        largest = np.fmax(random, formal)
        highest = np.maximum(mean + np.maximum(missing, 0.0), 0.0)
        places = {
            f"mean_{name}": _mean_on_circle(sums, name, period)
            for name, period in CIRCLES.items()
        }
        found = {
            "mean": mean,
            "standard_error": np.sqrt((without * random) ** 2 + common),
            "systematic_error": systematic,
            "smoothing_error": smoothing,
            "upper_limit": highest
            + sigma_level * np.sqrt((without * largest) ** 2 + common),
            "apriori_share": 1.0 - response,
            "standard_error_formal": formal,
            "standard_error_scatter": scatter,
            "reduced_chi_square": np.where(n > 1, mix.chi_square, np.nan),
            "effective_number": 1.0 / mix.squares,
            "mean_latitude": sums.column("sum_latitude")
            / sums.column("latitude_count"),
            **places,
        }
    return {name: found[name] for name in RESULTS}


def follows_values(sums: CellSums) -> bool:
    """Tell whether the errors of a map's samples follow their values.

    Where they do, as where they are a part of the retrieved value, weights made of them
    draw each mean to one side. Then the means with and without weights differ, over all
    cells, by more than their variances say (Hausman 1978, Econometrica 46, 1251).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mix = _Mix.of(sums, "random_effects")
        apart = sums.column("sum_wx") / mix.w - sums.column("sum_x") / mix.n
        known = (mix.n > 1) & (mix.apart > 0.0) & np.isfinite(apart)
        sigmas = apart[known].sum() / np.sqrt(mix.apart[known].sum())
    return bool(abs(sigmas) > _UNLIKELY)


_UNLIKELY = 4.0
"""Standard errors that chance exceeds in one of 16,000 maps."""


@dataclass(frozen=True)
class _Mix:
    """A mean of samples with weights between equal ones and those of their errors.

    `share` of equal weights, 0 to 1, shape (cell,) as all others; `spread` variance of
    nature, below zero where the samples agree too well; `variance` of the mean from the
    errors alone; `squares` sum of the squares of the weights, of which the sum is one;
    `apart` variance of the difference of the two means, with nature's.

    Where one of few profiles has much the smallest error, the mean is almost its value,
    and the others are too noisy to tell how far nature may have moved it. So the
    degrees of `freedom` of the scatter go from n - 1 to those of the profiles that
    count, as their errors go apart, and a spread of nature that the samples could not
    have shown is left in: the variance `unseen`.
    """

    sums: CellSums
    n: Floats
    w: Floats
    share: Floats
    spread: Floats
    chi_square: Floats
    variance: Floats
    squares: Floats
    apart: Floats
    freedom: Floats
    unseen: Floats

    @classmethod
    def of(cls, sums: CellSums, weights: Weights) -> _Mix:
        names = ("count", "sum_w", "sum_wx", "sum_wx2", "sum_w2", "sum_variance")
        n, w, wx, wx2, w2, v = map(sums.column, names)
        wv, w2v = sums.column("sum_w_variance"), sums.column("sum_w2_variance")
        q = np.maximum(wx2 - wx**2 / w, 0.0)
        expected = wv - w2v / w
        more = w - w2 / w
        alone = (n < 2) | ~(more > 0.0)
        spread = np.where(alone, 0.0, (q - expected) / np.where(alone, 1.0, more))
        # variances of the two means, and what they share
        parts = v / n**2, wv / (n * w), w2v / w**2
        sizes = 1.0 / n, 1.0 / n, w2 / w**2
        nature = np.maximum(spread, 0.0)
        even, both, own = (
            part + nature * size for part, size in zip(parts, sizes, strict=True)
        )
        apart = even - 2.0 * both + own
        equal = ~(apart > 1e-12 * even)  # as where all errors are
        share = np.full(n.shape, 1.0 if weights == "uniform" else 0.0)
        if weights == "random_effects":
            # between the two, where the variance is smallest
            least = np.where(equal, 0.0, (own - both) / np.where(equal, 1.0, apart))
            share = np.clip(least, 0.0, 1.0)
        factors = share**2, 2.0 * share * (1.0 - share), (1.0 - share) ** 2
        variance, squares = (
            sum(f * term for f, term in zip(factors, terms, strict=True))
            for terms in (parts, sizes)
        )
        # 0 where errors are alike, 1 where one profile has all the weight; equal
        # weights do not depend on the errors
        uneven = np.clip(1.0 - (w**2 / w2 - 1.0) / (n - 1.0), 0.0, 1.0)
        uneven = np.where(alone | (weights == "uniform"), 0.0, uneven)
        few = np.maximum(1.0 / squares - 1.0, _TINY) / (n - 1.0)
        freedom = np.maximum((n - 1.0) * np.where(alone, 1.0, few**uneven), 1.0)
        deviation = expected * np.sqrt(2.0 / (n - 1.0)) / np.where(alone, 1.0, more)
        deviation = np.maximum(deviation, 0.0)  # rounding, where one has all weight
        unseen = _UNSEEN * uneven**4 * np.where(uneven > 0.0, deviation, 0.0)
        return cls(
            sums, n, w, share, spread, q / expected, np.asarray(variance),
            np.asarray(squares), np.where(equal, 0.0, apart), freedom, unseen,
        )  # fmt: skip

    def of_sums(self, name: str) -> Floats:
        """Mean of a quantity of the samples."""
        long = name if name.startswith("x") else f"_{name}"
        even = self.sums.column(f"sum_{name}") / self.n
        own = self.sums.column(f"sum_w{long}") / self.w
        return np.asarray(self.share * even + (1.0 - self.share) * own)


_TINY = np.finfo(np.float64).tiny


def _student(freedom: Floats, sigma_level: float) -> Floats:
    """Quantile of Student's t over that of the normal law, by degrees of freedom."""
    from scipy.special import ndtr, stdtrit

    return np.asarray(stdtrit(freedom, ndtr(sigma_level)) / sigma_level)


def _mean_on_circle(sums: CellSums, name: str, period: float) -> Floats:
    """Direction of the mean of samples, 0 to the period, or about 0 for longitude.

    NaN where no sample says its place.
    """
    sine, cosine = (sums.column(f"sum_{name}_{part}") for part in ("sin", "cos"))
    angle = np.arctan2(sine, cosine) * (period / (2.0 * np.pi))
    angle[(sine == 0.0) & (cosine == 0.0)] = np.nan
    return angle if name == "longitude" else np.mod(angle, period)
