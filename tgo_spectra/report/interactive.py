"""The interactive page of a run: maps and profiles that say more under the pointer."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import quality
from tgo_spectra.errors import TgoError, printable
from tgo_spectra.files.atomic import atomic_file, output_folder
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.maps.dataset import fields_in
from tgo_spectra.paths import expanded
from tgo_spectra.plots.cells import axes_of, best_slice
from tgo_spectra.plots.style import FAINT, readable
from tgo_spectra.report.facts import Result, Run, facts_of, gas_of_limits
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

__all__ = ["write_interactive"]

PROFILES_MAX = 300
"""More in one figure cannot be told apart; how many are left out is said."""
MAPS_MAX = 6

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src
 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<style>body {{font: 16px sans-serif; margin: 2em auto; max-width: 1100px}}</style>
</head><body><h1>{title}</h1><p>{words}</p>
{figures}
</body></html>
"""


def write_interactive(
    folder: str | Path, out: str | Path | None = None, *, gas: str | None = None
) -> Path:
    """Write maps and profiles of a run as a page with values under the pointer.

    The page is one file of some megabytes with all that it needs, the scripts of plotly
    among it; it asks no network for anything.

    Parameters
    ----------
    folder : path
        Output folder of a run, or any folder of level 2, with the maps in it.
    out : path, optional
        Folder for the page. Default ``report`` in `folder`.
    gas : str, optional
        Gas to show. Default methane, else the first that has limits.

    Returns
    -------
    pathlib.Path
        ``interactive.html``.

    Raises
    ------
    TgoError
        The extra ``interactive`` (plotly) is not installed (``report.extra``); nothing
        in the folder, or nothing of the gas (``report.*``).
    OutputError
        The folder for the page cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from tgo_spectra.report.interactive import write_interactive
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     write_interactive(folder)
    """
    try:
        from plotly.io import to_html
    except ImportError as error:
        message = "the page needs plotly: pip install 'tgo-spectra[interactive]'"
        raise TgoError(message, rule="report.extra") from error
    run = facts_of(folder)
    shown = gas_of_limits(run, gas)
    if shown is None:
        message = f"no result has a limit of a gas; known are {', '.join(GASES)}"
        raise TgoError(message, path=run.folder, rule="report.gas")
    figures, notes = [_profiles(run, shown)], []
    for path in run.maps:
        try:
            level3 = open_verified(path)
        except TgoError as error:
            notes.append(f"{path.name}: {error}")
            continue
        if shown in fields_in(level3) and len(axes_of(level3)) > 1:
            figures.append(_map(level3, shown, path.name))
    if len(figures) > MAPS_MAX + 1:
        notes.append(f"maps that are not shown: {len(figures) - MAPS_MAX - 1}")
    parts = [
        to_html(
            figure, full_html=False, include_plotlyjs=number == 0, include_mathjax=False
        )
        for number, figure in enumerate(figures[: MAPS_MAX + 1])
    ]
    if run.n_simulated:
        notes.insert(
            0, f"{run.n_simulated} of {len(run.results)} products are simulated."
        )
    target = output_folder(expanded(out) if out is not None else run.folder / "report")
    page = target / "interactive.html"
    with atomic_file(page) as temporary:
        text = _PAGE.format(
            title=html.escape(printable(f"{shown.upper()} of {run.folder.name}")),
            words=html.escape(printable(" ".join(notes))),
            figures="\n".join(parts),
        )
        temporary.write_text(text, encoding="utf-8")
    return page


def _profiles(run: Run, gas: str) -> dict[str, Any]:
    """Return the figure of all profiles of a gas."""
    there = [
        one
        for one in run.results
        if one.level2 is not None and f"{gas}_vmr" in one.level2.variables
    ]
    values = [_of(one.level2, f"{gas}_vmr") for one in there]
    finite = np.concatenate([np.empty(0), *values])
    factor, unit = readable(finite[np.isfinite(finite)])
    traces = [_trace(one, gas, factor, unit) for one in there[:PROFILES_MAX]]
    more = f", {len(there) - PROFILES_MAX} more not shown" if len(there) > PROFILES_MAX else ""  # noqa: E501  # fmt: skip
    title = f"Profiles: {len(there)}{more}; grey: not to be used"
    return {
        "data": traces,
        "layout": {
            "title": {"text": title},
            "height": 600,
            "showlegend": False,
            "hovermode": "closest",
            "xaxis": {"title": {"text": f"mole fraction of {gas.upper()} ({unit})"}},
            "yaxis": {"title": {"text": "altitude (km)"}},
        },
    }


def _trace(one: Result, gas: str, factor: float, unit: str) -> dict[str, Any]:
    level2 = one.level2
    assert level2 is not None
    value = _of(level2, f"{gas}_vmr") * factor
    error = _of(level2, f"{gas}_vmr_error") * factor
    reasons = one.reasons
    bad = reasons is not None and bool(quality.severe(quality.pack(reasons)))
    name = html.escape(printable(one.name))
    about = (
        f"{name}<br>Ls {one.number('solar_longitude'):.1f}, "
        f"latitude {one.number('latitude'):.1f}; {one.verdict}"
        f"<br>{', '.join(reasons or ())}"
    )
    return {
        "type": "scatter",
        "mode": "lines",
        "x": _plain(value),
        "y": _plain(_of(level2, "altitude")),
        "customdata": _plain(error),
        "line": {"width": 1, **({"color": "#bbbbbb"} if bad else {})},
        "hovertemplate": (
            f"%{{x:.3g}} ± %{{customdata:.3g}} {unit} at %{{y:.1f}} km<br>{about}"
            "<extra></extra>"
        ),
    }


def _map(level3: xr.Dataset, gas: str, name: str) -> dict[str, Any]:
    """Return the figure of a map: its mean, with error, limit and number to read."""
    flat = best_slice(level3, gas)
    axes = [axis for axis in axes_of(flat) if axis in flat[f"{gas}_mean"].dims]
    up = axes[0] if axes[0] in {"altitude", "pressure", "latitude"} else axes[1]
    along = next(axis for axis in axes if axis != up)
    mean = flat[f"{gas}_mean"].transpose(up, along)
    factor, unit = readable(mean.values[np.isfinite(mean.values)])
    texts = [("error", "error", factor), ("upper_limit", "limit", factor), ("count", "profiles", 1.0)]  # noqa: E501  # fmt: skip
    there = [
        (flat[f"{gas}_{end}"].transpose(up, along).values * by, words)
        for end, words, by in texts
        if f"{gas}_{end}" in flat
    ]
    lines = "".join(
        f"<br>{words} %{{customdata[{k}]:.3g}}" for k, (_, words) in enumerate(there)
    )
    centred = {"zmid": 0.0, "colorscale": "RdBu", "reversescale": True} if gas in FAINT else {}  # noqa: E501  # fmt: skip
    return {
        "data": [
            {
                "type": "heatmap",
                "x": _plain(flat[along].values),
                "y": _plain(flat[up].values),
                "z": [_plain(row) for row in mean.values * factor],
                "customdata": [
                    [_plain(cell) for cell in row]
                    for row in np.stack([values for values, _ in there], axis=-1)
                ],
                "colorbar": {"title": {"text": unit}},
                "hoverongaps": False,
                "hovertemplate": f"%{{z:.3g}} {unit}{lines}<br>{up} %{{y:.4g}}, "
                f"{along} %{{x:.4g}}<extra></extra>",
                **centred,
            }
        ],
        "layout": {
            "title": {"text": html.escape(printable(f"{name}: mean of {gas.upper()}"))},
            "height": 480,
            "xaxis": {"title": {"text": along.replace("_", " ")}},
            "yaxis": {"title": {"text": up.replace("_", " ")}},
        },
    }


def _of(level2: xr.Dataset | None, name: str) -> Any:
    assert level2 is not None
    if name not in level2.variables:
        return np.full(level2["altitude"].shape, np.nan)
    return np.asarray(level2.variables[name].values, dtype=float)


def _plain(values: Any) -> list[float | None]:
    """Return numbers as JSON has them: five digits, none for what is missing."""
    return [
        float(f"{value:.5g}") if np.isfinite(value) else None
        for value in np.asarray(values, dtype=float).tolist()
    ]
