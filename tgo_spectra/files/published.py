"""Published sets of profiles in forms of their own, as level 2: text tables, HDF5.

What `tgo_spectra.read_bira` and `tgo_spectra.read_harp` do not read; and profiles of
any of these forms, told apart by what the files are. Tables of any columns are told
what these are; the ozone of UVIS occultations (Piccialli et al. 2023) is known by the
names that its description gives. No published file was seen: shapes and fill values
that its description leaves open are checked, not guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError
from tgo_spectra.files.bira import LIKELY_FILLS, RANGES, read_bira
from tgo_spectra.files.harp import read_harp
from tgo_spectra.files.level2 import Found, profiles
from tgo_spectra.files.observations import is_truth
from tgo_spectra.paths import expanded
from tgo_spectra.variables import dataset, gas_of, lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import xarray as xr

__all__ = ["profiles_of_others", "read_profile_table", "read_uvis_ozone"]

Floats = npt.NDArray[np.float64]

# of a product, not of a level; one value of each profile
_OF_PROFILE = ("solar_longitude", "mars_year")
_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")
_NOTHING = ("", "nan", "na", "null", "-")
_WHEN = re.compile(r"(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)")
"""Start of the name of a NOMAD observation: date and time, UTC."""


def read_profile_table(
    path: str | Path,
    columns: Mapping[str, tuple[int | str, float]],
    *,
    split: int | str | None = None,
    time: int | str | None = None,
    fill_value: float | None = None,
) -> list[xr.Dataset]:
    r"""Read profiles from a text table of any columns.

    Parameters
    ----------
    path : path
        Text; columns separated by blanks, commas or semicolons; ``#`` begins a comment.
    columns : mapping of str to (column, factor)
        For each variable of level 2 that the table has, its column and the factor to
        our unit: ``{"altitude": (0, 1.0), "h2o_vmr": (1, 1e-6)}`` for kilometres and
        ppmv. Columns by number from 0; or all by name, where the first row names them.
    split : int or str, optional
        Column that differs from profile to profile: an orbit, the name of a file.
        Default: the table is one profile.
    time : int or str, optional
        Column of the time of the profile, ISO 8601 or the name of an observation
        (``20180421_014505...``). Default: no time is known.
    fill_value : float, optional
        Number that marks missing values. A number that looks like one is an error
        otherwise.

    Returns
    -------
    list of Dataset
        Level 2, over ascending ``altitude``. There are no averaging kernels: a map
        needs ``without_kernel="prior_free"`` or ``"leave_out"``.

    Raises
    ------
    TgoError
        Not readable, no such column, a text where a number must be, a value out of its
        range or a likely fill value (``published.*``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "water.txt"
    >>> _ = file.write_text("orbit z h2o lat\n7 10 55 40\n7 12 50 41\n8 10 60 -3\n")
    >>> columns = {"altitude": ("z", 1.0), "h2o_vmr": ("h2o", 1e-6),
    ...            "latitude": ("lat", 1.0)}
    >>> found = read_profile_table(file, columns, split="orbit")
    >>> [ds.sizes["altitude"] for ds in found]
    [2, 1]
    """
    path = expanded(path)
    for name in ("altitude", *columns):
        known = lookup(name)
        if name not in columns or known is None or 2 not in known.forms:
            message = "no variable of level 2" if name in columns else "is needed"
            raise TgoError(message, path=path, field=name, rule="published.columns")
    named = any(isinstance(column, str) for column, _ in columns.values())
    table = _table(path, named=named)
    wanted = [column for column, _ in columns.values()]
    for column in (*wanted, *(c for c in (split, time) if c is not None)):
        if column not in table:
            message = f"no such column; there are {', '.join(map(str, table))}"
            raise TgoError(message, path=path, value=column, rule="published.columns")
    values = {
        name: _numbers(table[column], name, factor, fill_value, path)
        for name, (column, factor) in columns.items()
    }
    keys = np.array(table[wanted[0] if split is None else split])
    if split is None:
        keys[:] = ""
    found = []
    for key in dict.fromkeys(keys.tolist()):
        rows = np.flatnonzero(keys == key)
        data: dict[str, Any] = {name: one[rows] for name, one in values.items()}
        if time is not None:
            data["time"] = _time(table[time][rows[0]], path)
        record = {"exchange_form": "table", "source_file": path.name}
        if split is not None:
            record["profile"] = str(key)
        ds = _level2(data, record, path)
        ds.encoding["source"] = f"{path}" if split is None else f"{path} {key}"
        found.append(ds)
    return found


def read_uvis_ozone(path: str | Path) -> list[xr.Dataset]:
    """Read the ozone profiles of UVIS occultations, HDF5 of Piccialli et al. (2023).

    Parameters
    ----------
    path : path
        A file of one of the three methods: ``z``, ``Nd_O3``, ``Nd_O3_Err``, ``Ls``,
        ``lat``, ``lon``, ``LST``, ``orbit``, in whatever groups; ``DoF``, ``DL``,
        ``chi2_O3`` and ``chi2_no_O3`` where the method has them.

    Returns
    -------
    list of Dataset
        One for each occultation, over ascending ``altitude`` (levels with a value):
        ``o3_number_density`` and its error (cm-3), place, season, local time, and
        ``time`` where ``orbit`` begins with one. The attribute ``delta_chi_square`` is
        chi-square without ozone over that with it, which the paper filters by.

    Raises
    ------
    TgoError
        No HDF5 file, a name is missing, or shapes that do not fit (``published.*``).

    References
    ----------
    Piccialli et al. (2023), Earth and Space Science 10, doi:10.1029/2022EA002429.

    Examples
    --------
    >>> read_uvis_ozone("OP.h5")  # doctest: +SKIP
    """
    import h5py

    path = expanded(path)
    arrays: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name.rsplit("/", 1)[-1]] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except OSError as error:
        message = f"not an HDF5 file: {error}"
        raise TgoError(message, path=path, rule="published.unreadable") from error
    for name in ("z", "Nd_O3", "Nd_O3_Err", "Ls", "lat", "lon", "LST"):
        if name not in arrays:
            message = f"no such array; there are {', '.join(sorted(arrays))}"
            raise TgoError(message, path=path, field=name, rule="published.columns")
    n = np.asarray(arrays["Ls"]).size
    values = {
        "altitude": _by_profile(arrays, "z", n, path),
        "o3_number_density": _by_profile(arrays, "Nd_O3", n, path),
        "o3_number_density_error": _by_profile(arrays, "Nd_O3_Err", n, path),
        "latitude": _by_profile(arrays, "lat", n, path),
        "longitude": _by_profile(arrays, "lon", n, path),
        "local_true_solar_time": _by_profile(arrays, "LST", n, path),
    }
    names = [_text(one) for one in np.ravel(arrays.get("orbit", [""] * n))]
    seasons = np.ravel(arrays["Ls"]).astype(np.float64)
    without, with_ = (
        np.ravel(arrays[k]).astype(np.float64) if k in arrays else np.full(n, np.nan)
        for k in ("chi2_no_O3", "chi2_O3")
    )
    found = []
    for k in range(n):
        size = max(one[k].size for one in values.values())
        data: dict[str, Any] = {
            name: np.array(np.broadcast_to(one[k], (size,)))
            for name, one in values.items()
        }
        there = np.isfinite(data["altitude"]) & np.isfinite(data["o3_number_density"])
        data = {name: one[there] for name, one in data.items()}
        if not there.any():
            continue
        data["solar_longitude"] = np.full(int(there.sum()), seasons[k])
        name = names[k] if len(names) == n else ""
        if _WHEN.match(name):
            data["time"] = _time(name, path)
        record: dict[str, object] = {
            "exchange_form": "piccialli_2023", "source_file": path.name,
            "profile": name or str(k),
        }  # fmt: skip
        if np.isfinite(without[k] / with_[k]):
            record["delta_chi_square"] = float(without[k] / with_[k])
        ds = _level2(data, record, path)
        ds.encoding["source"] = f"{path} {name or k}"
        found.append(ds)
    return found


_HDF5 = (".h5", ".hdf", ".hdf5", ".he5")
_TEXTS = (".asc", ".csv", ".dat", ".tab", ".tsv", ".txt")


def profiles_of_others(path: str | Path, quantity: str) -> Iterator[xr.Dataset]:
    r"""Give the profiles of a file, or of all files in a folder, one at a time.

    Parameters
    ----------
    path : path
        Level 2 or HARP (``.nc``, told apart by ``Conventions``), ozone of UVIS
        (``.h5``, ``.hdf5``), anything else nine columns of text; of a folder the files
        whose names end so, and such as end with ``.txt``, ``.dat``, ``.tab``.
    quantity : str
        Quantity that is wanted, such as ``h2o_vmr``: nine columns may not name theirs.

    Yields
    ------
    Dataset
        As :func:`read_bira`, :func:`read_harp` or :func:`read_uvis_ozone` give it, or
        the whole file of level 2.

    Raises
    ------
    TgoError, OutputError
        No such file or folder (``published.no_input``), or as the readers say.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "profile.txt"
    >>> _ = file.write_text(
    ...     "10.0  55.0  5.0  4.6e12  4e11  190.0  -45.0  120.0  18.1\n")
    >>> [ds.h2o_vmr.values for ds in profiles_of_others(file.parent, "h2o_vmr")]
    [array([5.5e-05])]
    """
    path = expanded(path)
    if path.is_dir():
        ends = (".nc", *_HDF5, *_TEXTS)
        files = [f for f in sorted(path.rglob("*")) if f.suffix.lower() in ends]
        ours = [f for f in files if f.suffix.lower() == ".nc" and not _is_harp(f)]
        yield from profiles(Found(f for f in ours if not is_truth(f)))
        for file in files:
            if file not in ours:
                yield from profiles_of_others(file, quantity)
        return
    if not path.exists():
        message = "no such file or folder"
        raise TgoError(message, path=path, rule="published.no_input")
    gas = (gas_of(quantity) or (None,))[0]
    if path.suffix.lower() in _HDF5:
        yield from read_uvis_ozone(path)
    elif path.suffix.lower() != ".nc":
        yield read_bira(path, gas)
    elif _is_harp(path):
        yield from read_harp(path, [gas] if gas else None)
    else:
        yield from profiles(path)


def _is_harp(path: Path) -> bool:
    """Whether a file says that it keeps HARP's conventions."""
    from netCDF4 import Dataset

    try:
        with Dataset(path) as file:
            return str(getattr(file, "Conventions", "")).startswith("HARP")
    except (OSError, RuntimeError):
        return False  # whoever reads it says what is wrong


def _table(path: Path, *, named: bool) -> dict[int | str, list[str]]:
    """Columns of a text by number, or by the names in the first row."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"not a readable text file: {error}"
        raise TgoError(message, path=path, rule="published.unreadable") from error
    rows, width = [], 0
    for number, raw in enumerate(text.splitlines()):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        row = _BETWEEN.split(line)
        width = width or len(row)
        if len(row) != width:
            message = f"has {len(row)} columns, the first row {width}"
            raise TgoError(
                message, path=path, record=number, value=line, rule="published.row"
            )
        rows.append(row)
    if len(rows) <= named:
        message = "no row of numbers"
        raise TgoError(message, path=path, rule="published.row")
    heads: Sequence[int | str] = rows.pop(0) if named else range(width)
    return {head: [row[k] for row in rows] for k, head in enumerate(heads)}


def _by_profile(
    arrays: Mapping[str, Any], name: str, n: int, path: Path
) -> list[Floats]:
    """Values of an array for each of `n` profiles; one for all where it has one."""
    array = np.squeeze(np.asarray(arrays[name], dtype=np.float64))
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        message = "as many levels as profiles: which axis is which cannot be told"
    elif array.ndim == 2 and array.shape[1] == n:
        return list(array.T)
    elif array.ndim == 2 and array.shape[0] == n:
        return list(array)
    elif array.ndim == 1 and array.size == n and name != "z":
        return [np.atleast_1d(one) for one in array]
    elif array.ndim <= 1 and (name == "z" or n == 1):
        return [np.atleast_1d(array)] * n
    else:
        message = f"the shape is not that of {n} profiles"
    raise TgoError(
        message, path=path, field=name, value=array.shape, rule="published.shape"
    )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _numbers(
    column: Sequence[str],
    name: str,
    factor: float,
    fill_value: float | None,
    path: Path,
) -> Floats:
    """Numbers of a column in our unit; NaN where the fill value stands."""
    numbers = np.full(len(column), np.nan)
    for at, word in enumerate(column):
        if word.lower() in _NOTHING:
            continue
        try:
            numbers[at] = float(word)
        except ValueError as error:
            message = "not a number"
            raise TgoError(
                message, path=path, field=name, record=at, value=word,
                rule="published.number",
            ) from error  # fmt: skip
    if fill_value is not None:
        numbers = np.where(numbers == fill_value, np.nan, numbers)
    values: Floats = numbers * factor
    low, high = RANGES.get(name, (-np.inf, np.inf))
    wrong = np.isin(numbers, LIKELY_FILLS) | (values < low) | (values > high)
    if wrong.any():
        at = int(np.argmax(wrong))
        message = "out of its range, or a fill value: say fill_value="
        raise TgoError(message, path=path, field=name, record=at, value=float(numbers[at]), rule="published.range")  # noqa: E501  # fmt: skip
    return values


def _time(text: str, path: Path) -> np.datetime64:
    found = _WHEN.match(text.strip())
    iso = text.strip().removesuffix("Z")
    if found:
        year, month, day, hour, minute, second = found.groups()
        iso = f"{year}-{month}-{day}T{hour}:{minute}:{second}"
    try:
        return np.datetime64(iso, "ns")
    except ValueError as error:
        message = "no time in ISO 8601, and no name of an observation"
        raise TgoError(
            message, path=path, field="time", value=text, rule="published.time"
        ) from error


def _level2(data: dict[str, Any], record: Mapping[str, object], path: Path) -> xr.Dataset:  # noqa: E501  # fmt: skip
    """Level 2 of one profile, its levels ascending."""
    z = data["altitude"]
    if not np.isfinite(z).all() or np.unique(z).size != z.size:
        message = "altitudes of a profile must be numbers, each once"
        raise TgoError(message, path=path, field="altitude", value=str(record.get("profile", "")), rule="published.altitude")  # noqa: E501  # fmt: skip
    order = np.argsort(z)
    for name, values in data.items():
        if name in _OF_PROFILE:
            first = values[np.isfinite(values)][:1]
            one = float(first[0]) if first.size else np.nan
            data[name] = np.int32(one) if name == "mars_year" else one
        elif name != "time":
            data[name] = values[order]
    if "longitude" in data:
        data["longitude"] = (data["longitude"] + 180.0) % 360.0 - 180.0
    return dataset(data, record)
