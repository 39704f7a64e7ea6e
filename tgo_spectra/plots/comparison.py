"""Figure of profiles compared with those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import TgoError
from tgo_spectra.plots.style import (
    BLUE,
    GREY,
    RED,
    formula,
    head,
    label,
    new_figure,
    readable,
    why_empty,
)
from tgo_spectra.variables import gas_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["plot_comparison"]


def plot_comparison(
    found: xr.Dataset, axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """Draw the mean difference over altitude, and how far pairs differ.

    Parameters
    ----------
    found : xarray.Dataset
        Of :func:`tgo_spectra.compare`.
    axes : two matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    two matplotlib.axes.Axes
        Differences (ours less theirs) of each pair in grey, their mean with its
        standard error, and our systematic error as a band; the deviation of the
        differences beside what the errors of both say by noise.

    Raises
    ------
    TgoError
        `found` is no comparison (``plot.variable``).
    """
    quantity = found.attrs.get("quantity")
    if quantity is None or f"{quantity}_mean_difference" not in found:
        message = "not what tgo_spectra.compare gives"
        raise TgoError(message, field="quantity", value=quantity, rule="plot.variable")
    if axes is None:
        axes = new_figure("pair").subplots(1, 2, sharey=True)
    left, right = axes

    def of(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(found[f"{quantity}_{name}"].values, dtype=np.float64)

    mean, each, z = of("mean_difference"), of("difference"), found["altitude"].values
    factor, unit, what = 1.0, found[f"{quantity}_mean_difference"].attrs["units"], quantity  # noqa: E501  # fmt: skip
    if gas := gas_of(quantity):
        what = formula(gas[0])
        if gas[1] == "vmr":
            factor, unit = readable(np.concatenate([each.ravel(), of("deviation")]))
    for one in each:
        left.plot(one * factor, z, color=GREY, lw=0.5, alpha=0.5)
    common, error = of("mean_systematic_error"), of("mean_difference_error")
    left.axvline(0.0, color="0.3", lw=0.6)
    left.fill_betweenx(
        z, -common * factor, common * factor, color=RED, alpha=0.15, lw=0,
        label="our systematic error",
    )  # fmt: skip
    left.errorbar(
        mean * factor, z, xerr=np.nan_to_num(error) * factor, color=BLUE, marker="o",
        ms=3, lw=1.2, label="mean and its standard error",
    )  # fmt: skip
    left.set(
        xlabel=f"{what}, ours less theirs ({unit})", ylabel=label(found["altitude"])
    )
    deviation, expected = of("deviation"), of("expected_deviation")
    right.plot(
        deviation * factor, z, color=BLUE, marker="o", ms=3, label="of the pairs"
    )
    right.plot(expected * factor, z, color="k", ls="--", label="by the errors of both")
    right.set(xlabel=f"deviation of differences ({unit})")
    numbers = found.attrs
    text = f"{numbers.get('n_pairs', each.shape[0])} pairs"
    kernels = numbers.get("averaging_kernels_applied") == "true"
    seen = "theirs seen through our kernels" if kernels else "theirs as they are"
    head(left, [text], [seen], found)
    for ax in (left, right):
        if not np.isfinite(mean).any():
            why_empty(ax, "no pair has a level in common")
        else:
            ax.legend(framealpha=0.85, fontsize="x-small")
    if np.nanmax(np.r_[deviation, expected, 0.0]) > 0.0:
        right.set_xlim(left=0.0)
    return left, right
