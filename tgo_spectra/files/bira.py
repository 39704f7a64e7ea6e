"""Profiles as nine columns of text, the form of published NOMAD profiles.

Columns, from the description of the water profiles of Aoki et al. (2022,
doi:10.1029/2022JE007231) at the Royal Belgian Institute for Space Aeronomy: altitude
above the areoid (km), mole fraction (ppm), its error, number density of the gas (cm-3),
its error, solar longitude, latitude, longitude (degree), local time (hour). Header
lines, separators and fill values of published files were not seen: here ``#`` lines
precede the rows, blanks or commas separate, and a fill value is said by the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.reference import reference_atmosphere
from tgo_spectra.errors import OutputError, TgoError
from tgo_spectra.files.atomic import write_whole
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.mars import mean_direction
from tgo_spectra.variables import GASES, dataset

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["COLUMNS", "read_bira", "write_bira"]

COLUMNS = (
    "altitude", "vmr", "vmr_error", "number_density", "number_density_error",
    "solar_longitude", "latitude", "longitude", "local_true_solar_time",
)  # fmt: skip
#: Formats of the columns: seven digits, metres, 1e-4 degree, 0.4 s.
FORMATS = ("%.3f", *["%.6e"] * 4, *["%.4f"] * 3, "%.4f")
PPM = 1e-6
#: Numbers that mark missing values in many files; no measurement is exactly these.
LIKELY_FILLS = (-999.0, -999.9, -999.99, -9999.0, -99999.0, -1e30, 1e30, 9.96921e36)
#: A gas density over its mole fraction is the air's density; further than this factor
#: from that of the reference atmosphere, the column is another quantity.
DENSITY_FACTOR = 30.0
RANGES = {
    "altitude": (-20.0, 300.0),
    "solar_longitude": (0.0, 360.0),
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 360.0),
    "local_true_solar_time": (0.0, 24.0),
}
_FILLED = COLUMNS[1:5]


def read_bira(
    path: str | Path,
    gas: str | None = None,
    *,
    fill_value: float | None = None,
    mars_year: int | None = None,
) -> xr.Dataset:
    r"""Read a profile of nine columns as level 2.

    Parameters
    ----------
    path : path
        Text; lines before the first row of numbers are a header, ``# name = value``
        in files of :func:`write_bira`.
    gas : str, optional
        Key of the gas. Default: the header's; an error if it names none.
    fill_value : float, optional
        Number that marks missing values in columns 2 to 5. Default: the header's, or
        none; a number that looks like one is then an error. ``NaN`` is always one.
    mars_year : int, optional
        Of the profile, for maps by year. Default: the header's, or none.

    Returns
    -------
    Dataset
        Over ascending ``altitude``: ``<gas>_vmr``, ``<gas>_vmr_error``,
        ``<gas>_number_density`` and its error (cm-3), ``number_density`` (of the air,
        their ratio), ``latitude``, ``longitude`` (-180..180),
        ``local_true_solar_time``; ``solar_longitude`` (mean;
        ``solar_longitude_of_level`` where it varies); ``<gas>_upper_limit``,
        ``time``, ``mars_year``, ``converged``, ``quality_flag`` from our own header,
        and the attribute ``simulated``. There is no averaging kernel: a map cannot
        leave out levels that follow a prior.

    Raises
    ------
    TgoError
        No gas, a row without nine numbers, values outside their range, a likely fill
        value, or a density column that is not the gas's (``bira.*``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "profile.txt"
    >>> _ = file.write_text(
    ...     "10.0  55.0  5.0  4.6e12  4e11  190.0  -45.0  120.0  18.1\n"
    ...     "12.0  -3.0  6.0  -2.1e11  4e11  190.0  -45.1  120.1  18.1\n")
    >>> read_bira(file, "h2o").h2o_vmr.values
    array([ 5.5e-05, -3.0e-06])
    """
    header, table, numbers = _parse(Path(path))
    key = gas or header.get("gas")
    if key not in GASES:
        msg = f"name the gas, one of {', '.join(GASES)}"
        raise TgoError(msg, path=path, field="gas", value=key, rule="bira.gas")
    if fill_value is None and "fill_value" in header:
        fill_value = float(header["fill_value"])
    columns = dict(zip(COLUMNS, table.T, strict=True))
    _check(columns, numbers, fill_value, path)
    if fill_value is not None:
        for name in _FILLED:
            values = columns[name]
            columns[name] = np.where(values == fill_value, np.nan, values)
    _check_density(columns, path)
    order = slice(None, None, -1) if table[0, 0] > table[-1, 0] else slice(None)
    return _dataset(
        {name: values[order] for name, values in columns.items()},
        str(key),
        header,
        fill_value,
        mars_year,
        Path(path),
    )


def _parse(path: Path) -> tuple[dict[str, str], NDArray[np.float64], list[int]]:
    """Header, numbers and the line of each row."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"not a readable text file: {error}"
        raise TgoError(msg, path=path, rule="bira.unreadable") from error
    header: dict[str, str] = {}
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, raw in enumerate(text.splitlines()):
        line = raw.strip()
        if not line or line[0] in "#%;!":
            name, found, value = line.lstrip("#%;! ").partition("=")
            if found:
                header[name.strip()] = value.strip()
            continue
        cells = line.replace(",", " ").split()
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            if not rows and not _is_number(cells[0]):
                continue  # names of columns
            row = []
        if len(row) != len(COLUMNS):
            msg = f"expected {len(COLUMNS)} numbers: {', '.join(COLUMNS)}"
            raise TgoError(msg, path=path, record=number, value=line, rule="bira.row")
        rows.append(row)
        numbers.append(number)
    if not rows:
        msg = "no row of nine numbers"
        raise TgoError(msg, path=path, rule="bira.row")
    return header, np.array(rows, dtype=np.float64), numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check(
    columns: dict[str, NDArray[np.float64]],
    numbers: list[int],
    fill_value: float | None,
    path: str | Path,
) -> None:
    for name, values in columns.items():
        if name in RANGES:
            low, high = RANGES[name]
            bad = ~((values >= low) & (values <= high))
            what = f"must be within {low:g}..{high:g}"
        else:
            bad = np.isinf(values)
            if fill_value is None:
                bad |= np.isin(values, LIKELY_FILLS)
            what = "looks like a fill value: say fill_value="
        if bad.any():
            at = int(np.argmax(bad))
            raise TgoError(
                what,
                path=path,
                field=name,
                record=numbers[at],
                value=float(values[at]),
                rule="bira.range" if name in RANGES else "bira.fill",
            )
    steps = np.diff(columns["altitude"])
    bad = steps * (steps[0] if steps.size else 1.0) <= 0
    if bad.any():
        at = int(np.argmax(bad)) + 1
        msg = "altitude must be strictly monotonic"
        raise TgoError(
            msg,
            path=path,
            field="altitude",
            record=numbers[at],
            value=float(columns["altitude"][at]),
            rule="bira.altitude",
        )


def _check_density(columns: dict[str, NDArray[np.float64]], path: str | Path) -> None:
    """Refuse a fourth column that, over the second, is no density of air."""
    air = _air_density(columns["number_density"], columns["vmr"] * PPM)
    z = columns["altitude"]
    use = np.isfinite(air) & (air > 0) & (z >= -10.0) & (z <= 200.0)
    if not use.any():
        return
    z, first = np.unique(z[use], return_index=True)
    expected = reference_atmosphere(z)["number_density"].values
    ratio = float(np.median(air[use][first] / expected))
    if not 1.0 / DENSITY_FACTOR < ratio < DENSITY_FACTOR:
        msg = (
            "number density over mole fraction is not a density of air (median ratio "
            "to the reference atmosphere given): other units, or not the gas's density"
        )
        raise TgoError(
            msg, path=path, field="number_density", value=ratio, rule="bira.density"
        )


def _air_density(
    density: NDArray[np.float64], vmr: NDArray[np.float64]
) -> NDArray[np.float64]:
    known = np.isfinite(vmr) & (vmr != 0)
    return np.asarray(np.where(known, density / np.where(known, vmr, 1.0), np.nan))


def _dataset(
    columns: dict[str, NDArray[np.float64]],
    gas: str,
    header: dict[str, str],
    fill_value: float | None,
    mars_year: int | None,
    path: Path,
) -> xr.Dataset:
    season = columns["solar_longitude"]
    vmr = columns["vmr"] * PPM
    data: dict[str, object] = {
        f"{gas}_vmr": vmr,
        f"{gas}_vmr_error": columns["vmr_error"] * PPM,
        "number_density": _air_density(columns["number_density"], vmr),
        "latitude": columns["latitude"],
        "longitude": (columns["longitude"] + 180.0) % 360.0 - 180.0,
        "local_true_solar_time": columns["local_true_solar_time"],
        "solar_longitude": float(season[0]),
    }
    if np.ptp(season) > 0:
        data["solar_longitude"] = mean_direction(season, 360.0)
        data["solar_longitude_of_level"] = season
    for name in ("number_density", "number_density_error"):
        data[f"{gas}_{name}"] = columns[name]
    if "upper_limit_ppm" in header:
        limits = np.array([float(x) for x in header["upper_limit_ppm"].split()])
        if limits.size != vmr.size:
            msg = f"{limits.size} upper limits for {vmr.size} levels"
            raise TgoError(
                msg, path=path, field="upper_limit_ppm", rule="bira.upper_limit"
            )
        sigma = {"sigma_level": float(header.get("sigma_level", "nan"))}
        data[f"{gas}_upper_limit"] = (limits * PPM, sigma)
    if "time" in header:
        data["time"] = np.datetime64(header["time"], "ns")
    year = mars_year if mars_year is not None else header.get("mars_year")
    if year is not None:
        data["mars_year"] = np.int32(year)
    if "converged" in header:
        data["converged"] = np.int8(header["converged"])
    if "quality_flag" in header:
        data["quality_flag"] = np.int32(header["quality_flag"])
    data["altitude"] = columns["altitude"]
    attrs: dict[str, object] = {
        "exchange_form": "bira",
        "source_file": path.name,
        "error_kind": header.get("error_kind", "as given, kind unknown"),
    }
    if fill_value is not None:
        attrs["fill_value"] = fill_value
    for name in ("product_lid", "product_version", "setup_hash"):
        if name in header:
            attrs[name] = header[name]
    if header.get("simulated", "0") != "0":
        attrs["simulated"] = 1
    ds = dataset(data, attrs)
    ds.encoding["source"] = str(path)
    return ds


def write_bira(
    level2: xr.Dataset,
    path: str | Path,
    gas: str,
    *,
    fill_value: float | None = None,
    header: bool = True,
) -> Path:
    r"""Write the profile of one gas as nine columns.

    Negative values are written as they are. Missing values become `fill_value` or
    ``nan``. Upper limits have no column: they stand in the header, so that
    :func:`read_bira` gives them back.

    Parameters
    ----------
    level2 : Dataset
        With ``<gas>_vmr``, ``<gas>_vmr_error`` (the total standard error),
        ``number_density`` of the air (or ``<gas>_number_density``), ``latitude``,
        ``longitude``, ``local_true_solar_time``, ``solar_longitude``.
    path : path
        File to write; replaced as a whole if it exists.
    gas : str
        Key of the gas.
    fill_value : float, optional
        Written for missing values. Default: ``nan``.
    header : bool
        Write ``#`` lines with the names, the origin, the quality and the limits.
        Default yes; without them none of these is in the file.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    OutputError
        A variable is missing, or a place is not known (``bira.missing``), or the
        fill value is also a value (``bira.fill``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text(
    ...     "10.0  55.0  5.0  4.6e12  4e11  190.0  -45.0  120.0  18.1\n")
    >>> again = write_bira(read_bira(folder / "a.txt", "h2o"), folder / "b.txt", "h2o")
    >>> again.read_text().splitlines()[-1][:39]
    '10.000 5.500000e+01 5.000000e+00 4.6000'
    """
    if gas not in GASES or f"{gas}_vmr" not in level2:
        msg = "level 2 has no profile of this gas"
        raise OutputError(msg, path=path, field="gas", value=gas, rule="bira.missing")
    columns = _columns(level2, gas, path)
    lines = _header(level2, gas, fill_value) if header else []
    table = np.stack([columns[name] for name in COLUMNS], axis=1)
    if fill_value is not None:
        part = table[:, 1:5]
        if (part == fill_value).any():
            msg = "the fill value is also a value"
            raise OutputError(
                msg, path=path, field="fill_value", value=fill_value, rule="bira.fill"
            )
        part[np.isnan(part)] = fill_value
    for row in table:
        lines.append(" ".join(f % x for f, x in zip(FORMATS, row, strict=True)))
    return write_whole(path, "\n".join(lines) + "\n")


def _columns(
    level2: xr.Dataset, gas: str, path: str | Path
) -> dict[str, NDArray[np.float64]]:
    shape = level2[f"{gas}_vmr"].shape

    def take(name: str) -> NDArray[np.float64]:
        if name not in level2:
            msg = f"level 2 has no {name}"
            raise OutputError(msg, path=path, field=name, rule="bira.missing")
        return np.array(np.broadcast_to(level2[name].values, shape), dtype=np.float64)

    vmr, error = take(f"{gas}_vmr"), take(f"{gas}_vmr_error")
    if f"{gas}_number_density" in level2:
        density = take(f"{gas}_number_density")
        density_error = take(f"{gas}_number_density_error")
    else:
        air = take("number_density")
        density, density_error = vmr * air, error * air
    level_season = "solar_longitude_of_level"
    columns = {
        "altitude": take("altitude"),
        "vmr": vmr / PPM,
        "vmr_error": error / PPM,
        "number_density": density,
        "number_density_error": density_error,
        "solar_longitude": take(
            level_season if level_season in level2 else "solar_longitude"
        ),
        "latitude": take("latitude"),
        "longitude": take("longitude"),
        "local_true_solar_time": take("local_true_solar_time"),
    }
    for name in RANGES:
        bad = ~np.isfinite(columns[name])
        if bad.any():
            msg = "every level needs a place"
            raise OutputError(
                msg,
                path=path,
                field=name,
                record=int(np.argmax(bad)),
                value=float(columns[name][bad][0]),
                rule="bira.missing",
            )
    return columns


def _header(level2: xr.Dataset, gas: str, fill_value: float | None) -> list[str]:
    known: dict[str, object] = {"gas": gas}
    kind = "total standard error, density of the air taken as exact"
    known["error_kind"] = level2.attrs.get("error_kind", kind)
    if fill_value is not None:
        known["fill_value"] = fill_value
    for name in (
        "product_lid", "product_version", "setup", "setup_hash", "method", "software",
    ):  # fmt: skip
        if name in level2.attrs:
            known[name] = level2.attrs[name]
    if is_simulated(level2):
        known["simulated"] = 1
    if "time" in level2 and level2["time"].ndim == 0:
        known["time"] = np.datetime_as_string(level2["time"].values, unit="us")
    for name in ("mars_year", "converged", "quality_flag"):
        if name in level2:
            known[name] = int(level2[name])
    limit = f"{gas}_upper_limit"
    if limit in level2:
        if "sigma_level" in level2[limit].attrs:
            known["sigma_level"] = level2[limit].attrs["sigma_level"]
        values = level2[limit].values / PPM
        known["upper_limit_ppm"] = " ".join(f"{x:.6e}" for x in values)
    lines = [f"# {name} = {value}" for name, value in known.items()]
    names = (
        "altitude[km] vmr[ppm] error[ppm] density[cm-3] error[cm-3] ls[deg] lat[deg] "
        "lon[deg] local_time[h]"
    )
    return [*lines, f"# {names}"]
