"""What there is to see of a file or a folder: its pictures by name, drawn when asked.

A product, level 2, a map, or the folder of many results; each kind of figure is one
function of this package.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import profiles as level2_in
from tgo_spectra.maps.dataset import fields_in
from tgo_spectra.plots import limits, maps, product, profiles, results
from tgo_spectra.plots.cells import axes_of, best_slice
from tgo_spectra.plots.style import FAINT, gases_in, new_figure, new_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from matplotlib.axes import Axes

    Pictures = dict[str, Callable[[], Any]]

__all__ = ["pictures", "pictures_of_many"]


def pictures(
    ds: xr.Dataset,
    *,
    gases: Sequence[str] = (),
    level1: xr.Dataset | None = None,
    at: Mapping[str, float] | None = None,
    without: Callable[[str], xr.DataArray] | None = None,
) -> dict[str, Callable[[], Axes]]:
    """Give the pictures of a Dataset of any level by their names.

    Parameters
    ----------
    ds : Dataset
        Level 1, level 2, or a map.
    gases : sequence of str, optional
        Gases to show. Default: all that were fitted, of a map all that it has.
    level1 : Dataset, optional
        The product of a level 2, to show the fit of a spectrum.
    at : mapping, optional
        Of a map with more than two axes, a value on some; else those filled best.
    without : callable, optional
        From a gas to the fitted spectra of a level 2 without it; drawn of gases in
        `gases`, by default of those that may be absent.

    Returns
    -------
    dict of callables
        Each draws on a new figure, which no window holds, and gives an Axes of it.

    Raises
    ------
    TgoError
        A gas is not there (``plot.variable``), a value in no cell (``plot.place``).
    """
    if fields_in(ds):
        return _of_map(ds, _chosen(fields_in(ds), gases), at or {})
    if at:
        message = "values on axes select a part of a map, and this is none"
        raise TgoError(message, value=dict(at), rule="plot.place")
    if _gases_of_result(ds) or "residual" in ds:
        chosen = _chosen(_gases_of_result(ds), gases)
        found = _of_result(ds, chosen, level1)
        if level1 is not None and without is not None and "residual" in ds:
            shown = [gas for gas in chosen if gases or gas in FAINT]
            found |= {
                f"{gas}_fit": partial(_fit_without, level1, ds, gas, without)
                for gas in shown
                if f"{gas}_vmr" in ds
            }
        return found
    return {
        "product": lambda: product.plot_product(
            ds, figure=new_figure("product", shown=False)
        )[0]
    }


def _chosen(known: Sequence[str], gases: Sequence[str]) -> list[str]:
    """Return the gases to show, each with its layers and columns."""
    if not gases:
        return list(known)
    found = []
    for gas in gases:
        fields = [f for f in known if f == gas or f.partition("_")[0] == gas]
        if not fields:
            names = sorted({field.partition("_")[0] for field in known})
            message = f"not here; the gases are {', '.join(names) or 'none'}"
            raise TgoError(message, field=gas, rule="plot.variable")
        found += fields
    return found


def _gases_of_result(ds: xr.Dataset) -> list[str]:
    """Return what was retrieved: profiles, else columns; fixed ones are no result."""
    found = [
        gas
        for gas in gases_in(ds)
        if ds[f"{gas}_vmr"].attrs.get("state") != "fixed"
        and f"{gas}_vmr_error" in ds.variables
    ]
    if "temperature_averaging_kernel" in ds.variables:
        found.append("temperature")
    return found or gases_in(ds, "_column") or gases_in(ds, "_slant_column")


def _of_result(
    ds: xr.Dataset, gases: Sequence[str], level1: xr.Dataset | None
) -> Pictures:
    def result(gas: str) -> Axes:
        wide = profiles.profile_of(gas)[0] in ds
        kind = "result" if wide else "limits"
        return results.plot_result(ds, gas, new_figure(kind, shown=False))[0]

    found: Pictures = {}
    if level1 is not None and "residual" in ds:
        found["fit"] = partial(_fit, level1, ds)
    found |= {gas: partial(result, gas) for gas in gases}
    if "residual" in ds:
        found["residuals"] = lambda: results.plot_residuals(
            ds, level1, new_figure("spectrum", shown=False).subplots()
        )
    return found


def _fit(level1: xr.Dataset, level2: xr.Dataset) -> Axes:
    """Draw the fit of a fitted spectrum, chosen as in the picture of a product."""
    residual = np.asarray(level2["residual"].values, dtype=float)
    fitted = np.flatnonzero(np.isfinite(residual).any(axis=1))
    row = product.row_to_show(level1, fitted) if fitted.size else 0
    return profiles.plot_fit(level1, level2, row, new_pair("fit", shown=False))[0]


def _fit_without(
    level1: xr.Dataset,
    level2: xr.Dataset,
    gas: str,
    without: Callable[[str], xr.DataArray],
) -> Axes:
    """Draw the fit of the spectrum in which a gas shows most, with and without it."""
    absent = without(gas)
    error = level1["transmittance_error"].values
    gone = absent.values - (level1["transmittance"].values - level2["residual"].values)
    seen = np.nansum((gone / error) ** 2, axis=1)
    axes = new_pair("fit", shown=False)
    row = int(seen.argmax())
    return profiles.plot_fit(level1, level2, row, axes, without=absent)[0]


def _of_map(ds: xr.Dataset, fields: Sequence[str], at: Mapping[str, float]) -> Pictures:
    found: Pictures = {}
    axes = axes_of(ds)
    for field in fields:
        if len(axes) >= 2:
            found[field] = partial(_map, best_slice(ds, field, at), field)
        if "latitude" in axes and field in FAINT:
            figure = partial(new_figure, "limits", shown=False)
            found[f"{field}_limits"] = lambda field=field, figure=figure: (  # type: ignore[misc]
                limits.plot_limits(ds, field, figure().subplots())
            )
        if "local_time_class" in axes and len(axes) == 3 and not at:
            found[f"{field}_local_time"] = partial(_panels, ds, field)
    if not found:
        message = "a map of one axis; the pictures need two, or latitude and a limit"
        raise TgoError(message, value=axes, rule="plot.shape")
    return found


def _map(ds: xr.Dataset, field: str) -> Axes:
    return maps.plot_maps(ds, field, figure=new_figure("maps", shown=False))[0]


def _panels(ds: xr.Dataset, field: str) -> Axes:
    figure = new_figure("maps", shown=False)
    return maps.plot_panels(ds, field, "local_time_class", figure=figure)[0]


def pictures_of_many(
    files: Iterable[Path], gases: Sequence[str] = ()
) -> dict[str, Callable[[], Axes]]:
    """Give the pictures of many results: where they are, and limits against places.

    `gases`: of which limits are shown; by default of methane. The files are read once,
    when the first picture is drawn.
    """
    gases = gases or ("ch4",)
    paths = list(files)

    @cache
    def opened() -> list[xr.Dataset]:
        return list(level2_in(paths, part=limits.part_of_many(gases)))

    def limit(gas: str, against: limits.Against) -> Axes:
        ax = new_figure("limits", shown=False).subplots()
        return limits.plot_limits(opened(), gas, ax, against=against)

    found: Pictures = {
        "sampling": lambda: limits.plot_sampling(
            opened(), new_figure("pair", shown=False)
        )[0]
    }
    places: tuple[limits.Against, ...] = ("latitude", "solar_longitude", "altitude")
    for gas in gases:
        for against in places:
            found[f"{gas}_limits_{against}"] = partial(limit, gas, against)
    return found
