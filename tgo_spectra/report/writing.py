"""Pages of a report: text, tables and pictures in one file, read without a network."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import io
import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tgo_spectra import quality
from tgo_spectra._version import __version__
from tgo_spectra.batch.journal import results as counted
from tgo_spectra.errors import TgoError, printable
from tgo_spectra.files.atomic import atomic_file, output_folder
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.paths import expanded
from tgo_spectra.plots.limits import Against, plot_limits, plot_sampling
from tgo_spectra.plots.quicklook import pictures
from tgo_spectra.plots.style import BLUE, RED, new_figure, readable, why_empty
from tgo_spectra.report.facts import Result, Run, facts_of, gas_of_limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jinja2 import Environment
    from matplotlib.axes import Axes

__all__ = ["Pages", "write_report"]

Pages = Literal["none", "bad", "all"]

_DPI = 75
_MAPS = 12  # pictures of maps on a page, so that it stays small


def write_report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    gas: str | None = None,
    pages: Pages = "bad",
) -> Path:
    """Write the report of a run as a page, and pages of its products beside it.

    Each page is one file of HTML with its pictures, its table (to be sorted and
    filtered) and its style; it asks no network for anything.

    Parameters
    ----------
    folder : path
        Output folder of a run, or any folder of level 2.
    out : path, optional
        Folder for the pages. Default ``report`` in `folder`.
    gas : str, optional
        Gas whose limits are shown. Default methane, else the first that has limits.
    pages : {"bad", "all", "none"}, optional
        Of which products a page is written, with pictures: of those whose result is
        not good, of all that have a result, of none. Default bad; a page takes some
        seconds.

    Returns
    -------
    pathlib.Path
        The page of the run, ``index.html``.

    Raises
    ------
    TgoError
        No run and no level 2 in the folder, no limit of the gas, another choice of
        pages (``report.*``); no such folder (``map.no_input``).
    OutputError
        The folder for the pages cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from tgo_spectra.report import write_report
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(folder)
    Traceback (most recent call last):
        ...
    tgo_spectra.errors.TgoError: ...: no run and no level 2 in it: ...
    """
    if pages not in ("none", "bad", "all"):
        message = "pages are of none, bad or all products"
        raise TgoError(message, field="pages", value=pages, rule="report.pages")
    run = facts_of(folder)
    shown = gas_of_limits(run, gas)
    target = output_folder(expanded(out) if out is not None else run.folder / "report")
    environment = _environment()
    for number, result in enumerate(run.results):
        if _has_page(result, pages):
            result.page = f"product-{number + 1}.html"
            text = _product_page(environment, result)
            _write(target / result.page, text)
    return _write(target / "index.html", _run_page(environment, run, shown))


def _has_page(result: Result, pages: Pages) -> bool:
    if pages == "none" or result.level2 is None:
        return False
    return pages == "all" or result.verdict != "good"


def _write(path: Path, text: str) -> Path:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader

    folder = files("tgo_spectra.report") / "templates"
    made = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = _number
    made.filters["printable"] = printable
    made.globals["version"] = __version__
    return made


def _number(value: float, digits: int = 4) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def _image(draw: Any) -> str:
    """Draw a picture into the page: PNG as text."""
    axes: Axes = draw()
    figure: Any = axes.get_figure()
    with io.BytesIO() as stream:
        figure.savefig(stream, dpi=_DPI, format="png")
        return base64.b64encode(stream.getvalue()).decode("ascii")


def _images(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _image(draw)) for name, draw in found.items()]


def _product_page(environment: Environment, result: Result) -> str:
    from tgo_spectra.readers import open_product

    level2 = open_verified(str(result.file))
    level1 = None
    # the product need not be there any more: its result is
    with contextlib.suppress(TgoError, OSError):
        level1 = open_product(result.row.product)
    reasons = [r for r in quality.REASONS if r.name in (result.reasons or ())]
    numbers = {
        "reduced chi-square": result.number("reduced_chi_square"),
        "solar longitude (degree)": result.number("solar_longitude"),
        "Mars Year": result.number("mars_year"),
        "latitude (degrees north)": result.number("latitude"),
        "longitude (degrees east)": result.number("longitude"),
    }
    return environment.get_template("product.html").render(
        result=result,
        reasons=reasons,
        numbers=numbers,
        images=_images(pictures(level2, level1=level1)),
        attributes={str(k): _text(v) for k, v in level2.attrs.items()},
    )


def _run_page(environment: Environment, run: Run, gas: str | None) -> str:
    rows = [one.row for one in run.results]
    failures: dict[str, list[Result]] = {}
    for one in run.results:
        if one.row.state in ("failed", "crashed"):
            failures.setdefault(one.row.rule or "no rule", []).append(one)
    reasons = [
        (reason, n)
        for reason in quality.REASONS
        if (n := sum(reason.name in (one.reasons or ()) for one in run.results))
    ]
    verdicts: dict[str, int] = {}
    for one in run.results:
        verdicts[one.verdict] = verdicts.get(one.verdict, 0) + 1
    limits = [one.limit(gas) for one in run.results] if gas else []
    factor, unit = readable(np.array(limits))
    sigmas = {one.sigma_level(gas) for one in run.results if gas}
    return environment.get_template("run.html").render(
        run=run,
        gas=gas,
        factor=factor,
        unit=unit,
        sigmas=[f"{k:g}" for k in sorted(sigmas) if math.isfinite(k)],
        counts=counted(rows),
        verdicts=verdicts,
        failures=sorted(failures.items(), key=lambda item: -len(item[1])),
        reasons=reasons,
        images=_images(_pictures(run, gas)),
        maps=_map_images(run),
        records={name: json.dumps(v, indent=1) for name, v in run.records.items()},
        written=f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        seconds=sum(row.seconds for row in rows),
    )


def _pictures(run: Run, gas: str | None) -> dict[str, Any]:
    there = [one.level2 for one in run.results if one.level2 is not None]
    found: dict[str, Any] = {"fit quality": lambda: _chi_squares(run)}
    found["where and when"] = lambda: plot_sampling(
        there, new_figure("pair", shown=False)
    )[0]
    places: tuple[Against, ...] = ("solar_longitude", "latitude", "altitude")
    for against in places if gas else ():
        found[f"limits of {gas} against {against}"] = lambda against=against: (
            plot_limits(
                there, str(gas), new_figure("limits", shown=False).subplots(),
                against=against,
            )
        )  # fmt: skip
    return found


def _chi_squares(run: Run) -> Axes:
    """Draw how well all results fit: the numbers of their reduced chi-squares."""
    ax: Axes = new_figure("limits", shown=False).subplots()
    found = {
        word: [
            one.number("reduced_chi_square")
            for one in run.results
            if (one.verdict == "good") == (word == "good")
        ]
        for word in ("good", "not good")
    }
    values = {k: np.array(v)[np.isfinite(v)] for k, v in found.items()}
    every = np.concatenate(list(values.values()))
    ax.set(xlabel="reduced chi-square", ylabel="results")
    if not every.size:
        why_empty(ax, "no result has a reduced chi-square")
        return ax
    low, high = min(every.min(), 0.5), max(every.max(), 2.0)
    edges = np.geomspace(max(low, 1e-3), high * 1.001, 40)
    ax.hist(
        [values["good"], values["not good"]], edges.tolist(), stacked=True,
        color=[BLUE, RED], label=["good", "not good"],
    )  # fmt: skip
    ax.axvline(1.0, color="0.3", lw=0.8)
    ax.set_xscale("log")
    ax.legend(frameon=False)
    return ax


def _map_images(run: Run) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    n_more = 0
    for path in run.maps:
        try:
            drawn = pictures(open_verified(path))
        except TgoError as error:
            found.append((f"{path.name}: {error}", ""))
            continue
        for name, draw in drawn.items():
            if len(found) < _MAPS:
                found.append((f"{path.name}, {name.replace('_', ' ')}", _image(draw)))
            else:
                n_more += 1
    if n_more:
        found.append((f"pictures of maps that are not shown here: {n_more}", ""))
    return found


def _text(value: object) -> str:
    return printable(str(value))
