"""What ``info`` says: results first, then choices and origin, then all variables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgo_spectra.cli.terminal import Product, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tgo_spectra.batch.journal import ProductStatus
    from tgo_spectra.report.facts import Result

__all__ = ["info"]

_IDENTITY = ("product_lid", "title", "observation_type", "processing_level")
_CHOICES = (
    "setup", "method", "retrieval_kind", "table", "atmosphere", "instrument_model",
    "interferents_included", "interferents_absent", "weights", "quality",
    "maximum_chi_square", "without_kernel", "sigma_level",
)  # fmt: skip
_ORIGIN = ("source_file", "product_version", "software", "date_created")
_NUMBERS = ("reduced_chi_square", "error_inflation")


@click.command()
@click.argument("path", type=Product(exists=True))
def info(path: str) -> None:
    """Describe a product, a level-2 file, a map, a run, or what is in a folder.

    Of level 2 the quality and each gas stand first, of a run what became of all; a run
    is given by its journal or its folder. Of a zip with several products, ZIP::LABEL
    names one.
    """
    place = Path(path)
    journals = sorted(place.glob("journal*.jsonl")) if place.is_dir() else []
    if place.suffix == ".jsonl" or len(journals) == 1:
        from tgo_spectra.batch.journal import read_journal

        lines = _of_run(read_journal(journals[0] if journals else place))
    elif journals:
        from tgo_spectra.batch.journal import all_rows, latest

        lines = _of_run(list(latest(all_rows(place)).values()))
    elif place.is_dir():
        lines = _of_folder(place)
    else:
        lines = _of_file(path)
    for line in lines:
        say(*line)


def _of_file(path: str) -> Iterator[tuple[str, ...]]:
    """Lines of a product, or of one file of level 2 or 3."""
    if Path(path).suffix == ".nc":
        from tgo_spectra.files.netcdf import open_verified

        ds = open_verified(path)
    else:
        from tgo_spectra.readers import open_product

        ds = open_product(path)
    for line in _describe(ds):
        yield (line,)


def _of_run(rows: Sequence[ProductStatus]) -> Iterator[tuple[str, ...]]:
    """All in a line, then what is to be known of each product of a run."""
    from tgo_spectra.batch.journal import summary

    yield (summary(rows),)
    for row in rows:
        what = "not good" if row.good is False else row.state
        if row.quality or row.message:
            yield what, row.product, " ".join(row.quality or ()) or str(row.message)


def _of_folder(folder: Path) -> Iterator[tuple[str, ...]]:
    """Say what is in a folder: level 2, a line a file, maps, and products."""
    from tgo_spectra.archive.gathering import gather
    from tgo_spectra.errors import TgoError
    from tgo_spectra.report.facts import facts_of

    found: list[Result] = []
    maps: list[Path] = []
    try:
        run = facts_of(folder)
    except TgoError as error:
        if error.rule != "report.nothing":
            raise
    else:
        found, maps = run.results, run.maps
    paths = gather([folder]).paths
    if not found and not maps and len(paths) < 2:
        yield from _of_file(str(folder))
        return
    counts = {"level-2 files": len(found), "maps": len(maps), "products": len(paths)}
    yield (", ".join(f"{what}: {n}" for what, n in counts.items() if n),)
    for one in found:
        yield one.verdict, one.name, _in_short(one)
    for path in maps:
        yield "map", str(path)
    for path in paths:
        yield "product", str(path)


def _in_short(result: Result) -> str:
    """Say of a result which gases are seen and what is the limit of the others."""
    from tgo_spectra.variables import GASES

    if result.level2 is None:
        return str(result.row.message)
    parts = []
    for gas in GASES:
        limit = result.limit(gas)
        if result.detected(gas):
            parts.append(f"{gas} detected")
        elif limit == limit:
            sigma = _sigma(result.sigma_level(gas))
            parts.append(f"{gas} below {_amount([limit])}{sigma}")
    return ", ".join(parts)


def _describe(ds: Any) -> Iterator[str]:
    """Identity, results, choices and origin, then sizes and ranges of all variables."""
    from tgo_spectra.files.observations import is_simulated

    yield from _stated(ds, _IDENTITY)
    if is_simulated(ds):
        yield _row("simulated", "yes: nobody measured this")
    yield from _quality(ds)
    for name in _NUMBERS:
        variable = ds.variables.get(name)
        if variable is not None and variable.size == 1:
            yield _row(name, f"{variable.values.item():.3g}")
    yield from _gases(ds)
    yield from _cells(ds)
    if ds.attrs.get("processing_level") in {"L2", "L3"}:
        yield from _stated(ds, (*_CHOICES, *_ORIGIN))
    yield _row("sizes", ", ".join(f"{name} {size}" for name, size in ds.sizes.items()))
    for name, variable in ds.variables.items():
        if variable.dtype.kind not in "fiuM" or not variable.size:
            continue
        low, high = variable.min().values, variable.max().values
        numbers = variable.dtype.kind != "M"
        span = f"{low:.6g} .. {high:.6g}" if numbers else f"{low} .. {high}"
        units = variable.attrs.get("units", "")
        yield f"{name!s:36} {'x'.join(variable.dims) or '-':28} {span} {units}"


def _row(name: str, text: object) -> str:
    return f"{name:24}{text}"


def _stated(ds: Any, names: Sequence[str]) -> Iterator[str]:
    """Lines of the global attributes that there are."""
    for name in names:
        if name in ds.attrs:
            yield _row(name, ds.attrs[name])


def _quality(ds: Any) -> list[str]:
    """Return what the flag of a result says: a line a reason, with how many rows."""
    from tgo_spectra import quality
    from tgo_spectra.files.level2 import flags_of

    flags = flags_of(ds)
    if flags is None:
        level2 = ds.attrs.get("processing_level") == "L2"
        return [_row("quality", "not known: no quality_flag")] if level2 else []
    bad = bool(quality.severe(quality.overall(flags)))
    lines = [_row("quality", "not good" if bad else "good")]
    found = quality.counts(flags)
    for reason in quality.REASONS:
        if reason.name in found:
            of_rows = f" ({found[reason.name]} of {flags.size})" if flags.ndim else ""
            lines.append(f"  {reason.name:22}{reason.meaning}{of_rows}")
    return lines


def _gases(ds: Any) -> Iterator[str]:
    """Of each gas of level 2 the whole layer, its levels and its columns."""
    from tgo_spectra.variables import GASES

    for gas in GASES:
        parts = [
            *_layer(ds, gas),
            *_levels(ds, gas),
            *_columns(ds, gas),
        ]
        if parts:
            yield _row(gas, "; ".join(parts))


def _layer(ds: Any, gas: str) -> Iterator[str]:
    """Give value, total error, limit and detection of a whole layer."""
    value = _number(ds, f"{gas}_layer_vmr")
    if value is None:
        return
    bottom, top = str(ds[f"{gas}_layer_vmr"].attrs["layer_km"]).split()
    error, limit = (
        _number(ds, f"{gas}_layer_{end}") for end in ("vmr_error", "upper_limit")
    )
    seen = bool(_number(ds, f"{gas}_layer_detected"))
    text = "detected" if seen else "not detected"
    known = [x for x in (value, error, limit) if x is not None]
    yield f"{bottom}-{top} km {text}, {_amount([value, error], like=known)}"
    if limit is not None:
        sigma = _sigma(ds[f"{gas}_layer_upper_limit"].attrs.get("sigma_level"))
        yield f"upper limit {_amount([limit], like=known)}{sigma}"


def _levels(ds: Any, gas: str) -> Iterator[str]:
    """Say at how many levels a gas is detected, and its lowest limit there."""
    import numpy as np

    seen = ds.variables.get(f"{gas}_detected")
    if seen is not None and seen.size:
        flags = np.asarray(seen.values)
        yield f"detected at {int((flags == 1).sum())} of {flags.size} levels"
    limits = ds.variables.get(f"{gas}_upper_limit")
    if limits is None or ds.attrs.get("processing_level", "L2") != "L2":
        return
    finite = limits.values[np.isfinite(limits.values)]
    if finite.size:
        sigma = _sigma(limits.attrs.get("sigma_level"))
        yield f"lowest limit of a level {_amount([float(finite.min())])}{sigma}"


def _columns(ds: Any, gas: str) -> Iterator[str]:
    """Give the range of the columns of a gas."""
    import numpy as np

    for kind in ("column", "slant_column"):
        variable = ds.variables.get(f"{gas}_{kind}")
        if variable is None or f"{gas}_layer_vmr" in ds.variables:
            continue
        finite = variable.values[np.isfinite(variable.values)]
        if finite.size:
            units = variable.attrs.get("units", "")
            span = f"{finite.min():.3g} .. {finite.max():.3g} {units}"
            yield f"{kind.replace('_', ' ')} {span}"


def _cells(ds: Any) -> Iterator[str]:
    """Of each quantity of a map the cells that hold something, and their values."""
    import numpy as np

    from tgo_spectra.maps.dataset import fields_in
    from tgo_spectra.maps.maps import left_out

    fields = fields_in(ds)
    if fields:
        yield _row(
            "made of", f"{ds.attrs.get('n_profiles', '?')} profiles{left_out(ds)}"
        )
    for name in fields:
        counts = np.asarray(ds.variables[f"{name}_count"].values)
        text = f"{int((counts > 0).sum())} of {counts.size} cells"
        values = ds.variables.get(f"{name}_mean")
        there = values is not None and np.isfinite(values.values).any()
        if values is not None and there:
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            text += f", mean {low:.3g} .. {high:.3g} {values.attrs.get('units', '')}"
        seen = ds.variables.get(f"{name}_detected_count")
        if seen is not None:
            text += f", detected in {int((seen.values > 0).sum())}"
        limits = ds.variables.get(f"{name}_upper_limit")
        if limits is not None and np.isfinite(limits.values).any():
            text += f", lowest limit {float(np.nanmin(limits)):.3g}"
        yield _row(name, text)


def _sigma(level: float | None) -> str:
    """Say of how many errors a limit is, where that is stated."""
    return "" if level is None or level != level else f" ({level:g} sigma)"


def _number(ds: Any, name: str) -> float | None:
    """Value of a scalar; None without it."""
    variable = ds.variables.get(name)
    return None if variable is None else float(variable.values)


def _amount(values: Sequence[float | None], like: Sequence[float] | None = None) -> str:
    """Value and error of a mole fraction, in the unit that fits `like`."""
    import numpy as np

    from tgo_spectra.plots.style import readable

    known = [x for x in values if x is not None]
    factor, unit = readable(np.array(known if like is None else like))
    return f"{' ± '.join(f'{factor * x:.3g}' for x in known)} {unit}"
