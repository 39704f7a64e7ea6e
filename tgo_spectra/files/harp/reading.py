"""HARP products as level 2: ours, and those of others.

Files of netCDF only, HARP's usual form. What they call by names of ours that HARP does
not know (limits, season, places of levels) comes back under them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError
from tgo_spectra.files.harp.names import (
    AIR,
    COLUMN,
    EPOCH,
    KEPT,
    OF_LEVEL,
    OURS,
    PROFILE,
    species,
)
from tgo_spectra.paths import expanded
from tgo_spectra.variables import GASES, dataset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import netCDF4
    import xarray as xr

__all__ = ["read_harp"]

Values = npt.NDArray[Any]

# of each of HARP's units that differ by a factor from ours of HARP, what it is
_FACTORS = {
    "ppv": {"ppv": 1.0, "1": 1.0, "ppmv": 1e-6, "ppbv": 1e-9, "pptv": 1e-12},
    "m": {"m": 1.0, "km": 1e3},
    "Pa": {"Pa": 1.0, "hPa": 1e2, "mbar": 1e2},
    "molec/m3": {"molec/m3": 1.0, "molec/cm3": 1e6},
    "molec/m2": {"molec/m2": 1.0, "molec/cm2": 1e4},
    "hour": {"hour": 1.0, "hours": 1.0, "h": 1.0},
    "degree": {"degree": 1.0, "degrees": 1.0, "deg": 1.0},
    "degree_north": {"degree_north": 1.0, "degrees_north": 1.0, "degree": 1.0},
    "degree_east": {"degree_east": 1.0, "degrees_east": 1.0, "degree": 1.0},
    "1": {"1": 1.0, "": 1.0, "ppv/ppv": 1.0},
}
_TIME = re.compile(r"(?P<unit>s|seconds|days) since (?P<day>\S+)(?:[T ](?P<hour>\S+))?")
_SECONDS = {"s": 1.0, "seconds": 1.0, "days": 86400.0}
_WHOLE = {"mars_year": np.int32, "converged": np.int8, "quality_flag": np.int32}


def read_harp(path: str | Path, gases: Sequence[str] | None = None) -> list[xr.Dataset]:
    """Read a HARP product as level 2.

    Parameters
    ----------
    path : path
        A netCDF file of HARP's conventions: of :func:`write_harp`, of HARP's tools, or
        of someone else.
    gases : sequence of str, optional
        Keys of gases. Default: every one there is.

    Returns
    -------
    list of Dataset
        One for each profile of a file {time, vertical}, over ascending ``altitude``
        (km); one for all times of a file {time}, over ``spectrum``. Names and units are
        those of this package. :func:`tgo_spectra.grid_level2` takes the list as it is.

    Raises
    ------
    TgoError
        No netCDF file, none of these gases in it, a variable that is needed is missing
        (``harp.missing``), or a unit that HARP's converters do not use
        (``harp.units``).

    References
    ----------
    HARP data format conventions, S[&]T, https://stcorp.github.io/harp/doc/html/.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, xarray as xr
    >>> from tgo_spectra import write_harp
    >>> level2 = xr.Dataset(
    ...     {"ch4_vmr": ("altitude", [1e-11, -3e-11]),
    ...      "time": np.datetime64("2018-06-14T03:13:41", "ns")},
    ...     {"altitude": [10.0, 11.0]})
    >>> path = write_harp(level2, pathlib.Path(tempfile.mkdtemp()) / "harp.nc")
    >>> [profile] = read_harp(path)
    >>> profile.ch4_vmr.values, profile.altitude.values
    (array([ 1.e-11, -3.e-11]), array([10., 11.]))
    """
    from netCDF4 import Dataset

    path = expanded(path)
    for gas in gases or ():
        if gas not in GASES:
            message = f"unknown gas; there are {', '.join(GASES)}"
            raise TgoError(message, field="gases", value=gas, rule="harp.missing")
    try:
        file = Dataset(path)
    except (OSError, RuntimeError) as error:
        message = f"not a netCDF file: {error}"
        raise TgoError(message, path=path, rule="harp.missing") from error
    with file:
        file.set_auto_mask(False)
        return _Product(file, path).level2(gases or GASES)


class _Product:
    """A file that is open, and what is read of it."""

    def __init__(self, file: netCDF4.Dataset, path: Path) -> None:
        self._file, self._path = file, path
        attrs = {name: file.getncattr(name) for name in file.ncattrs()}
        product, found, version = str(attrs.get("source_product", "")).partition("::")
        self._record: dict[str, object] = {
            "exchange_form": "harp",
            "source_file": path.name,
            **({"product_lid": product} if product.startswith("urn:") else {}),
            **({"product_version": version} if found else {}),
            **{key: str(attrs[key]) for key in KEPT if key in attrs},
            **({"simulated": 1} if attrs.get("simulated") else {}),
        }

    def level2(self, gases: Sequence[str]) -> list[xr.Dataset]:
        """Return one Dataset a profile, or one of all columns."""
        for kind in (PROFILE, COLUMN):
            chosen = {
                f"{gas}_{name.ours}": (f"{species(gas)}_{name.theirs}", name)
                for gas in gases
                for name in kind
                if f"{species(gas)}_{name.theirs}" in self._file.variables
            }
            if any(our.endswith(("_vmr", "_column")) for our in chosen):
                break
        else:
            message = "holds no profile and no column of these gases"
            raise self._error(message, "species", list(gases)[:3])
        read = {
            our: (self._values(their, name.units) / name.factor, their)
            for our, (their, name) in chosen.items()
        }
        if kind is COLUMN:
            return [self._columns(read)]
        read |= {
            name.ours: (self._values(name.theirs, name.units) / name.factor, "")
            for name in AIR
            if name.theirs in self._file.variables
        }
        if "altitude" not in read:
            raise self._error("profiles need an altitude", "altitude", None)
        return [self._profile(read, k) for k in range(len(self._times()))]

    def _profile(self, read: dict[str, tuple[Values, str]], k: int) -> xr.Dataset:
        """One profile, its levels ascending."""
        z = read["altitude"][0][k]
        there = np.flatnonzero(np.isfinite(z))  # profiles of a file differ in length
        order = there[np.argsort(z[there], kind="stable")]
        data: dict[str, object] = {}
        for our, (values, their) in read.items():
            one = values[k]
            for axis in range(one.ndim):
                one = np.take(one, order, axis=axis)
            data[our] = self._with_notes(our, one, their)
        for our in OF_LEVEL:
            name = f"{our}_of_level"
            if name in self._file.variables:
                data[our] = self._values(name, OF_LEVEL[our])[k][order]
            elif our in self._file.variables:
                one = self._values(our, OF_LEVEL[our])[k]
                data[our] = np.broadcast_to(one, order.shape)
        data |= {our: whole[k] for our, whole in self._of_product().items()}
        data["time"] = self._times()[k]
        return self._dataset(data)

    def _columns(self, read: dict[str, tuple[Values, str]]) -> xr.Dataset:
        """All columns, with a place and a time each."""
        data = {our: values for our, (values, _) in read.items()}
        for our, units in OF_LEVEL.items():
            if our in self._file.variables:
                data[our] = self._values(our, units)
        for our, whole in self._of_product().items():
            # one for all where it is the same for all
            data[our] = whole[0] if (whole == whole[0]).all() else whole
        return self._dataset({**data, "time": ("spectrum", self._times())})

    def _dataset(self, data: dict[str, object]) -> xr.Dataset:
        longitude = data.get("longitude")
        if longitude is not None:
            data["longitude"] = (np.asarray(longitude) + 180.0) % 360.0 - 180.0
        time = data["time"]
        if isinstance(time, tuple):
            import xarray as xr

            data["time"] = xr.Variable(*time)
        ds = dataset(data, self._record)
        ds.encoding["source"] = str(self._path)
        return ds

    def _with_notes(self, our: str, values: Values, their: str) -> object:
        """Add the sigma level of limits; detections are whole numbers."""
        if our.endswith("_detected"):
            return values.astype(np.int8)
        if our.endswith("_upper_limit"):
            found = getattr(self._file[their], "upper_limit_confidence", None)
            return (values, {} if found is None else {"sigma_level": float(found)})
        return values

    def _of_product(self) -> dict[str, Values]:
        """Season and quality, one a time."""
        found = {}
        for our, (their, units) in OURS.items():
            if their in self._file.variables:
                whole = self._values(their, units)
                found[our] = whole.astype(_WHOLE.get(our, np.float64))
        return found

    def _values(self, name: str, units: str) -> Values:
        """Values of a variable, a row a time, in the unit that we write it in."""
        variable = self._file[name]
        given = str(getattr(variable, "units", "")).strip()
        factors = _FACTORS.get(units, {units: 1.0})
        if given not in factors:
            message = f"the unit is none of {', '.join(filter(None, factors))}"
            raise self._error(message, name, given, "harp.units")
        values = np.asarray(variable[:], dtype=np.float64) * factors[given]
        if "time" in variable.dimensions:
            return values
        return np.broadcast_to(values, (len(self._times()), *values.shape))

    def _times(self) -> Values:
        if "datetime" not in self._file.variables:
            raise self._error("has no time", "datetime", None)
        variable = self._file["datetime"]
        given = str(getattr(variable, "units", ""))
        found = _TIME.fullmatch(given.strip())
        if found is None:
            message = "the unit is no seconds or days since a day"
            raise self._error(message, "datetime", given, "harp.units")
        try:
            begin = np.datetime64(f"{found['day']}T{found['hour'] or '00:00:00'}", "ns")
        except ValueError as error:
            message = "times begin at no date"
            raise self._error(message, "datetime", given, "harp.units") from error
        seconds = np.atleast_1d(variable[:]) * _SECONDS[found["unit"]]
        # to the microsecond, which is what a double holds of such times
        apart = np.round(seconds * 1e6).astype("timedelta64[us]")
        return np.asarray(begin + apart).astype(EPOCH.dtype)

    def _error(
        self, message: str, field: str, value: object, rule: str = "harp.missing"
    ) -> TgoError:
        return TgoError(message, path=self._path, field=field, value=value, rule=rule)
