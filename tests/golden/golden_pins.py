"""Pins: what a file held once, and in words how another differs from it.

A pin is a file's global attributes and its variables (dimensions, attributes, values).
It is stored as ``NAME.json`` (all texts, to be read and compared by eye) and
``NAME.npz`` (all numbers). Numbers are compared in units of their own error, so that a
difference has a meaning.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netCDF4
import numpy as np

if TYPE_CHECKING:
    import xarray as xr

PINS = Path(__file__).parent / "pins"

MOVED = 5e-3
"""Part of its error by which a number may differ, see `scale_of`. A fit ends within
0.07 errors of the most likely state (`solve.LIMIT`); rounding, which differs between
processors and with which kernels were compiled together, was seen to move where by
3e-3."""
FAINT, FAINT_PX = 38.0, 0.2
"""By how much more spectra may differ that know their shift worse than so many pixels:
they show few lines, and rounding, or another choice of quadrature points to begin with,
which another processor or library makes, moves where they end by up to 0.16 of their
errors, of the 0.19 that the rule of convergence leaves to seven elements; it may also
decide whether they end at all, so that their flags are not pinned."""
BASELINE = 3.0
"""By how much more the baselines of other single spectra may differ."""
AIR = 5e-4
"""Part of its size by which the air that a fit finds may differ: it follows the
corrections of temperature and pressure."""
SINGLE = 3e-3
"""Part of their scatter by which residuals and baselines may differ: the fits calculate
in single precision, of which spectra of one keep 6e-8."""
SAME = 1e-6
"""Part of its size by which a number without an error may differ."""

UNPINNED = {
    # differ from one run to the next with equal results
    "date_created",
    "date_issued",
    "date_modified",
    "date_metadata_modified",
    "history",
    "tracking_id",
    "id",
    "content_sha256",
    # say which version of the package wrote the file
    "software",
    "processor_version",
    # know the folder that the test runs in, or hashes of numbers
    "source_file",
    "resume_key",
    # follows from the name of a variable
    "coverage_content_type",
}
"""Attributes, and keys of a journal, that are not pinned."""


@dataclass
class Variable:
    """Values of a variable and what is said of them."""

    dims: tuple[str, ...]
    values: np.ndarray
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Pin:
    """Everything that a file holds."""

    attrs: dict[str, Any]
    variables: dict[str, Variable]


# ---- from files


def pin_of_netcdf(path: Path, *, without: set[str] = frozenset()) -> Pin:
    """Read a netCDF file as it is stored; attributes of `without` are not pinned."""
    left_out = UNPINNED | set(without)
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        variables = {
            name: Variable(
                tuple(item.dimensions),
                np.asarray(item[...]),
                _plain(
                    {k: item.getncattr(k) for k in item.ncattrs() if k not in UNPINNED}
                ),
            )
            for name, item in file.variables.items()
        }
        attrs = {k: file.getncattr(k) for k in file.ncattrs() if k not in left_out}
    return Pin(_without_folder(_plain(attrs), path.parent), variables)


def pin_of_level1(level1: xr.Dataset) -> Pin:
    """Take the numbers of spectra that were read."""
    variables = {
        str(name): Variable(tuple(map(str, item.dims)), np.asarray(item.values))
        for name, item in level1.variables.items()
        if item.dtype.kind in "iuf"
    }
    return Pin({}, variables)


def pin_of_text(path: Path) -> Pin:
    """Read ``# name = value`` lines and columns of numbers below."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line[1:].strip() for line in lines if line.startswith("#")]
    attrs = {}
    for number, line in enumerate(head):
        name, is_value, value = line.partition(" = ")
        if name not in UNPINNED:
            attrs[name if is_value else f"line {number}"] = value or line
    table = np.array([line.split() for line in lines if line[:1] != "#"], dtype=float)
    columns = {
        f"column {k}": Variable(("row",), values) for k, values in enumerate(table.T)
    }
    return Pin(attrs, columns)


def pin_of_records(records: list[dict[str, Any]], folder: Path) -> Pin:
    """Flatten rows of a journal, or other nested texts."""
    attrs: dict[str, Any] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key in value:
                if key not in UNPINNED:
                    walk(f"{name} {key}", value[key])
        elif isinstance(value, list) and value:
            for number, item in enumerate(value):
                walk(f"{name} {number}", item)
        else:
            attrs[name] = str(value) if isinstance(value, list | bool | None) else value

    for number, record in enumerate(records):
        walk(f"row {number}", record)
    return Pin(_without_folder(attrs, folder), {})


def _plain(attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes as JSON can hold them."""
    return {
        key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for key, value in attrs.items()
    }


def _without_folder(attrs: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Replace the folder that the files lie in, whatever it is."""
    pattern = re.compile(rf"(/private)?{re.escape(str(folder))}[\w/]*/")
    return {
        key: pattern.sub("FOLDER/", value) if isinstance(value, str) else value
        for key, value in attrs.items()
    }


# ---- stored


def save(name: str, pin: Pin) -> None:
    """Store a pin: texts as JSON, numbers compressed."""
    PINS.mkdir(exist_ok=True)
    about = {
        "attrs": pin.attrs,
        "variables": {
            key: {
                "dims": list(v.dims),
                "type": v.values.dtype.str,
                "attrs": v.attrs,
                **({"text": v.values.tolist()} if v.values.dtype.kind == "O" else {}),
            }
            for key, v in pin.variables.items()
        },
    }
    text = json.dumps(about, indent=1, sort_keys=True, allow_nan=True)
    (PINS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    numbers = {
        key: v.values for key, v in pin.variables.items() if v.values.dtype.kind != "O"
    }
    np.savez_compressed(PINS / f"{name}.npz", **numbers)


def load(name: str) -> Pin:
    """Read a pin that `save` stored."""
    about = json.loads((PINS / f"{name}.json").read_text(encoding="utf-8"))
    variables = {}
    with np.load(PINS / f"{name}.npz") as numbers:
        for key, item in about["variables"].items():
            values = numbers[key] if key in numbers else np.array(item["text"], object)
            variables[key] = Variable(tuple(item["dims"]), values, item["attrs"])
    return Pin(about["attrs"], variables)


# ---- compared


def differences(old: Pin, new: Pin) -> list[str]:
    """Say in words what changed, one line each; empty where nothing did."""
    said = [f"attribute {text}" for text in _attribute_words(old.attrs, new.attrs)]
    alike: dict[str, list[str]] = {}
    for name in sorted({*old.variables, *new.variables}):
        if name not in new.variables:
            said.append(f"variable {name} gone")
        elif name not in old.variables:
            said.append(f"variable {name} new")
        else:
            was, now = old.variables[name], new.variables[name]
            for text in _attribute_words(was.attrs, now.attrs):
                alike.setdefault(text, []).append(name)
            said += _variable_words(name, old, new)
    for text, names in alike.items():
        many = f" and {len(names) - 1} more" if len(names) > 1 else ""
        said.append(f"{names[0]}{many}: {text}")
    return said


def _attribute_words(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    said = []
    for key in sorted({*old, *new}):
        if key not in new:
            said.append(f"{key} gone (was {old[key]!r})")
        elif key not in old:
            said.append(f"{key} new: {new[key]!r}")
        elif not _equal(old[key], new[key]):
            said.append(f"{key}: {old[key]!r} -> {new[key]!r}")
    return said


def _equal(old: Any, new: Any) -> bool:
    """Compare attributes; numbers up to the digits that a processor may change."""
    if isinstance(old, str) or isinstance(new, str):
        return bool(old == new)
    a, b = np.asarray(old), np.asarray(new)
    if a.shape != b.shape or a.dtype.kind not in "iuf" or b.dtype.kind not in "iuf":
        return bool(old == new)
    if a.dtype.kind != b.dtype.kind:
        return False
    return bool(np.allclose(a, b, rtol=MOVED, atol=0.0, equal_nan=True))


def _variable_words(name: str, old: Pin, new: Pin) -> list[str]:
    was, now = old.variables[name], new.variables[name]
    said: list[str] = []
    if was.dims != now.dims or was.values.shape != now.values.shape:
        return [*said, f"{name}: dimensions {_shape(was)} -> {_shape(now)}"]
    if was.values.dtype != now.values.dtype:
        said.append(f"{name}: type {was.values.dtype} -> {now.values.dtype}")
    if was.values.dtype.kind not in "iuf" or now.values.dtype.kind not in "iuf":
        same = np.array_equal(was.values, now.values)
        return said if same else [*said, f"{name}: {was.values} -> {now.values}"]
    return said + _number_words(name, old, new)


def _shape(item: Variable) -> str:
    sizes = zip(item.dims, item.values.shape, strict=True)
    return f"({', '.join(f'{dim} {size}' for dim, size in sizes)})"


def _number_words(name: str, old: Pin, new: Pin) -> list[str]:
    scale, unit = scale_of(name, old)
    a = np.asarray(old.variables[name].values, dtype=np.float64)
    b = np.asarray(new.variables[name].values, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(b - a) / scale
    apart = np.where(np.isnan(a) & np.isnan(b) | (a == b), 0.0, apart)
    apart = np.where(np.isnan(apart), np.inf, apart)
    moved = apart > 1.0
    if not moved.any():
        return []
    worst = np.unravel_index(int(np.argmax(apart)), a.shape)
    place = _place(old, name, worst)
    size, of = unit
    how = f", {apart[worst] * size:.2g} of {of}" if np.isfinite(apart[worst]) else ""
    digits = ".7g"
    if old.variables[name].values.dtype.kind in "iu":
        digits, how = ".0f", ""
    many = f" ({moved.sum()} of {a.size} moved)" if a.size > 1 else ""
    return [f"{name}{place}: {a[worst]:{digits}} -> {b[worst]:{digits}}{how}{many}"]


def _place(pin: Pin, name: str, index: tuple[int, ...]) -> str:
    """Words for a place: by coordinate where there is one, else by number."""
    words = []
    for dim, k in zip(pin.variables[name].dims, index, strict=True):
        axis = pin.variables.get(dim)
        if axis is not None and axis.dims == (dim,):
            units = axis.attrs.get("units", "")
            words.append(f"{dim} {axis.values[k]:g} {units}".strip())
        else:
            words.append(f"{dim} {k}")
    return f" at {', '.join(words)}" if words else ""


def scale_of(name: str, pin: Pin) -> tuple[np.ndarray, tuple[float, str]]:
    """Return by how much numbers may differ, and the unit to say it in.

    As `_scale_of`, and `FAINT` times that of single spectra with next to no line.
    """
    scale, unit = _scale_of(name, pin)
    shift = pin.variables.get("spectrum_shift_error")
    dims = pin.variables[name].dims
    if shift is None or pin.attrs.get("method") != "slant":
        return scale, unit
    more = FAINT if pin.variables[name].values.dtype.kind == "f" else np.inf
    # a baseline has no error of its own: it follows what else is found
    least = BASELINE if name == "baseline" else 1.0
    faint = np.where(np.asarray(shift.values) > FAINT_PX, more, least)
    if dims[:1] == shift.dims:
        scale = scale * faint.reshape(-1, *[1] * (scale.ndim - 1))
    return scale, unit


def _scale_of(name: str, pin: Pin) -> tuple[np.ndarray, tuple[float, str]]:
    """Return by how much numbers may differ, and the unit to say it in.

    A number that has an error may differ by `MOVED` of it, and so may each part of that
    error (noise, smoothing, systematic); a covariance by `MOVED` of the errors of its
    two levels; an averaging kernel, of which 1 is all, by `MOVED`; a residual by
    `SINGLE` of the scatter of all; an error itself, a limit and what else is of that
    kind by `MOVED` of itself; integers not at all; everything else by `SAME` of its
    largest value.
    """
    item = pin.variables[name]
    values = np.asarray(item.values, dtype=np.float64)
    if item.values.dtype.kind in "iu":
        return np.full(values.shape, 0.5), (0.5, "one")
    largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    error = _error_of(name, pin)
    if error is not None and error.shape == values.shape:
        return MOVED * error, (MOVED, "its error")
    if error is not None and values.shape == error.shape * 2:
        return MOVED * np.outer(error, error), (MOVED, "the errors of its levels")
    if re.search("covariance", name):
        sigma = np.sqrt(np.abs(np.diag(values)))
        return MOVED * np.outer(sigma, sigma), (MOVED, "the errors of its levels")
    if re.search("kernel|response", name):
        return np.full(values.shape, MOVED), (MOVED, "one")
    if re.search("residual$|^baseline$", name):
        axis = None if name == "residual" else 0
        scatter = np.broadcast_to(np.nanstd(values, axis=axis), values.shape)
        return SINGLE * scatter, (SINGLE, "the scatter of all")
    if re.search("error|limit|uncertainty|sigma|resolution|inflation", name):
        return MOVED * np.maximum(np.abs(values), 1e-3 * largest), (MOVED, "itself")
    if re.search(_STATISTICS, name):
        return np.full(values.shape, MOVED * max(1.0, largest)), (MOVED, "itself")
    # and the a priori of mole fractions in it
    found = re.search("^(temperature|pressure|number_density)$|_vmr_apriori$", name)
    part = AIR if found and "temperature_correction" in pin.variables else SAME
    size = part * largest if largest > 0.0 else part
    return np.full(values.shape, size), (part, "its size")


# statistics of the residuals: as sure as these are
_STATISTICS = (
    "chi_square|degrees_of_freedom|autocorrelation|chi2|_dfs|pattern|agreement"
)

# what is added to the name of a quantity: parts of its error, and its error's names
_PARTS = r"_(noise|smoothing|systematic)_(error|\w+)$|_noise_covariance$"
_ERRORS = ("_error", "_uncertainty")


def _error_of(name: str, pin: Pin) -> np.ndarray | None:
    """Error of the quantity that a variable is, or is a part of the error of."""
    quantity = re.sub(_PARTS, "", name)
    quantity = re.sub("_(upper_limit|limit_linear)$", "_vmr", quantity)
    for ending in _ERRORS:
        if name != f"{quantity}{ending}" and f"{quantity}{ending}" in pin.variables:
            return np.abs(pin.variables[f"{quantity}{ending}"].values.astype(float))
    return None
