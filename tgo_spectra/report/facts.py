"""What a report says of a run: a row a product, from its journals and its results."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import quality
from tgo_spectra.batch.journal import ProductStatus, all_rows, latest
from tgo_spectra.errors import OutputError, TgoError
from tgo_spectra.files.level2 import Part, files_in, profiles, reasons_of
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.paths import expanded
from tgo_spectra.plots.limits import part_of_many
from tgo_spectra.readers.finding import split_place
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

__all__ = ["Result", "Run", "facts_of", "gas_of_limits"]

_FAINT_FIRST = ("ch4", "c2h6", "c2h4", "hcl")
_CHOICES = (
    "setup", "method", "table", "atmosphere", "instrument_model", "software",
    "interferents_included", "interferents_absent", "retrieval_kind",
)  # fmt: skip


@dataclass
class Result:
    """A product: its row of the run, and its level 2 as far as a report needs it."""

    row: ProductStatus
    level2: xr.Dataset | None = None
    file: Path | None = None
    page: str = ""

    @property
    def name(self) -> str:
        """Name of the product, without its folder."""
        place, member = split_place(Path(self.row.product))
        return Path(member or place).stem

    @property
    def verdict(self) -> str:
        """One word for what became of it."""
        if self.row.state == "failed" or self.row.output is None:
            return self.row.state
        reasons = self.reasons
        if reasons is None:
            return "unknown"
        bad = quality.severe(quality.pack(reasons))
        return "not good" if bad else "good"

    @property
    def reasons(self) -> tuple[str, ...] | None:
        """Reasons against the result, as the file or the journal says."""
        if self.level2 is not None:
            return reasons_of(self.level2)
        return self.row.quality

    def number(self, name: str) -> float:
        """Give a number of the result, of several the middle one; NaN without."""
        if self.level2 is None or name not in self.level2.variables:
            return float("nan")
        values = np.asarray(self.level2.variables[name].values, dtype=float).ravel()
        values = values[np.isfinite(values)]
        return float(values[values.size // 2]) if values.size else float("nan")

    def limit(self, gas: str) -> float:
        """Give the limit of the whole layer, else the lowest of the profile."""
        whole = self.number(f"{gas}_layer_upper_limit")
        if np.isfinite(whole) or self.level2 is None:
            return whole
        variable = self.level2.variables.get(f"{gas}_upper_limit")
        if variable is None or not np.isfinite(variable.values).any():
            return float("nan")
        return float(np.nanmin(variable.values))

    def sigma_level(self, gas: str) -> float:
        """Give of how many errors `limit` is; NaN where it is not said."""
        whole = f"{gas}_layer_upper_limit"
        name = whole if np.isfinite(self.number(whole)) else f"{gas}_upper_limit"
        if self.level2 is None or name not in self.level2.variables:
            return float("nan")
        stated = self.level2.attrs.get("sigma_level", float("nan"))
        return float(self.level2.variables[name].attrs.get("sigma_level", stated))

    def detected(self, gas: str) -> bool:
        """Whether the gas is seen, in the whole layer or at any level."""
        if self.level2 is None:
            return False
        names = (f"{gas}_layer_detected", f"{gas}_detected")
        found = [self.level2.variables.get(name) for name in names]
        return any(one is not None and bool((one.values == 1).any()) for one in found)


@dataclass
class Run:
    """Everything that a report says."""

    folder: Path
    results: list[Result]
    choices: dict[str, list[str]] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    maps: list[Path] = field(default_factory=list)
    n_simulated: int = 0


def facts_of(folder: str | Path) -> Run:
    """Read the journals of a run, and its level 2; or level 2 alone, without a run.

    TgoError ``report.nothing``: neither is there.
    """
    place = expanded(folder)
    files = files_in(place)
    rows = latest(all_rows(place))
    opened, maps, damaged = _opened(files)
    run = Run(place, [], maps=maps)
    # by name: the folder may have been moved since, or come from another machine
    of_name = {path.name: path for path in opened}
    hurt = {path.name: path for path in damaged}
    for row in rows.values():
        name = Path(row.output).name if row.output else ""
        if name in hurt:  # whatever the journal says of it
            run.results.append(Result(_failed(row, damaged.pop(hurt.pop(name)))))
            continue
        file = of_name.pop(name, None)
        run.results.append(Result(row, opened.get(file) if file else None, file))
    for file in of_name.values():
        lid = str(opened[file].attrs.get("product_lid") or file.stem)
        row = ProductStatus(lid.rpartition(":")[2], "found", output=str(file))
        run.results.append(Result(row, opened[file], file))
    run.results += [
        Result(_failed(ProductStatus(str(path), "found"), error))
        for path, error in damaged.items()
    ]
    if not run.results:
        message = "no run and no level 2 in it: give the output folder of retrieve"
        raise TgoError(message, path=place, rule="report.nothing")
    run.results.sort(key=lambda one: one.name)
    for record in sorted(place.glob("run*.json")):
        try:
            run.records[record.name] = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            run.records[record.name] = f"cannot be read: {error}"
    there = [one.level2 for one in run.results if one.level2 is not None]
    run.n_simulated = sum(map(is_simulated, there))
    for key in _CHOICES:
        found = {str(ds.attrs[key]) for ds in there if key in ds.attrs}
        if found:
            run.choices[key] = sorted(found)
    return run


def _failed(row: ProductStatus, error: OutputError) -> ProductStatus:
    """Give the row of a product whose result is damaged."""
    return dataclasses.replace(
        row, state="failed", rule=error.rule, message=str(error), quality=None
    )


def _opened(
    files: Iterable[Path],
) -> tuple[dict[Path, xr.Dataset], list[Path], dict[Path, OutputError]]:
    """Level 2 by file, as far as it is needed; the maps; what is damaged."""
    drawn = part_of_many(GASES)
    of_gas = ("_layer_upper_limit", "_layer_detected")
    names = [f"{gas}{end}" for gas in GASES for end in of_gas]
    needed = dict.fromkeys([*names, "reduced_chi_square"], ("sigma_level",))
    part = Part({**drawn.variables, **needed}, drawn.attributes | {*_CHOICES})
    found: dict[Path, xr.Dataset] = {}
    maps: list[Path] = []
    damaged: dict[Path, OutputError] = {}
    for file in files:
        try:
            ds = next(profiles(file, part=part))
        except OutputError as error:
            damaged[file] = error
            continue
        level = ds.attrs.get("processing_level", "L2")
        if level == "L2":
            found[file] = ds
        elif level == "L3":
            maps.append(file)
    return found, maps, damaged


def gas_of_limits(run: Run, gas: str | None) -> str | None:
    """Return the gas whose limits a report shows: methane, if none is named.

    TgoError ``report.gas``: no result has a limit of the one that is named.
    """
    known = [
        one
        for one in dict.fromkeys([*_FAINT_FIRST, *GASES])
        if any(np.isfinite(result.limit(one)) for result in run.results)
    ]
    if gas is None:
        return known[0] if known else None
    if gas not in known:
        message = f"no limit of it; there are limits of {', '.join(known) or 'none'}"
        raise TgoError(message, field="gas", value=gas, rule="report.gas")
    return gas
