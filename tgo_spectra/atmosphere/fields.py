"""Fields of a profile: by which names and units files give them, and taking them.

Where a file states no unit, the numbers are taken in ours if an atmosphere of Mars can
have them; that is recorded, and said in a warning.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.atmosphere.check import check_profile
from tgo_spectra.errors import AtmosphereError, TgoWarning
from tgo_spectra.mars import BOLTZMANN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "ALTITUDE",
    "UNITS",
    "Profile",
    "Quantity",
    "profile_of",
    "quantity_of",
    "scale_of",
    "unit_of",
]

#: Their zero is at 273.15 K.
_CELSIUS = ("degC", "degree_Celsius", "degrees_Celsius", "Celsius", "celsius")

UNITS: dict[str, dict[str, float]] = {
    # to Pa
    "pressure": {
        "Pa": 1.0, "pa": 1.0, "pascal": 1.0, "Pascal": 1.0, "hPa": 1e2, "mbar": 1e2,
        "mb": 1e2, "millibar": 1e2, "kPa": 1e3, "bar": 1e5, "atm": 101325.0,
    },
    # to K
    "temperature": {
        "K": 1.0, "kelvin": 1.0, "Kelvin": 1.0, "degK": 1.0,
        **dict.fromkeys(_CELSIUS, 1.0),
    },
    "temperature_difference": {
        "K": 1.0, "kelvin": 1.0, "Kelvin": 1.0, "degK": 1.0,
        **dict.fromkeys(_CELSIUS, 1.0),
    },
    # of the value itself
    "share": {"1": 1.0, "percent": 1e-2, "%": 1e-2},
    # to km
    "altitude": {
        "km": 1.0, "kilometer": 1.0, "kilometre": 1.0, "m": 1e-3, "meter": 1e-3,
        "metre": 1e-3, "meters": 1e-3, "metres": 1e-3,
    },
    # to m-3, so that p / (k T) needs no factor
    "number_density": {
        "cm-3": 1e6, "cm^-3": 1e6, "1/cm3": 1e6, "molecules/cm3": 1e6, "m-3": 1.0,
        "m^-3": 1.0, "1/m3": 1.0,
    },
    # to mol/mol
    "mole_fraction": {
        "1": 1.0, "mol/mol": 1.0, "mol mol-1": 1.0, "mol mol^-1": 1.0, "vmr": 1.0,
        "v/v": 1.0, "dimensionless": 1.0, "percent": 1e-2, "%": 1e-2, "ppm": 1e-6,
        "ppmv": 1e-6, "ppb": 1e-9, "ppbv": 1e-9, "ppt": 1e-12, "pptv": 1e-12,
    },
    "mass_fraction": {"kg/kg": 1.0, "kg kg-1": 1.0},
    "angle": {
        "deg": 1.0, "degree": 1.0, "degrees": 1.0, "degree_north": 1.0,
        "degrees_north": 1.0, "degree_N": 1.0, "degree_east": 1.0, "degrees_east": 1.0,
        "degree_E": 1.0,
    },
    "hour": {"hour": 1.0, "h": 1.0, "hours": 1.0, "Martian hour": 1.0},
    "sol": {"sol": 1.0, "sols": 1.0, "Martian sol": 1.0, "day": 1.0, "days": 1.0},
    "geopotential": {"m^2/s/s": 1.0, "m2 s-2": 1.0, "m2/s2": 1.0},
    "ratio": {"1": 1.0, "none": 1.0, "sigma": 1.0, "sigma_level": 1.0},
}  # fmt: skip
"""Accepted spellings of units for each kind of quantity, and the factor to ours."""


def scale_of(kind: str, unit: str) -> tuple[float, float]:
    """Return factor and offset that take numbers of a unit to ours.

    Parameters
    ----------
    kind, unit : str
        Keys of `UNITS`.

    Returns
    -------
    float, float

    Examples
    --------
    >>> scale_of("pressure", "hPa"), scale_of("temperature", "degC")
    ((100.0, 0.0), (1.0, 273.15))
    """
    return UNITS[kind][unit], 273.15 if unit in _CELSIUS else 0.0


def unit_of(array: xr.DataArray) -> str | None:
    """Return the unit that ``units`` or ``UNITS`` of a variable states, or None."""
    for key in ("units", "UNITS"):
        text = str(array.attrs.get(key, "")).strip()
        if text:
            return text
    return None


class Quantity(NamedTuple):
    """What a field of a profile is.

    Attributes
    ----------
    names : mapping
        Accepted names in lower case, and the unit that the name itself states.
    kind : str
        Key of the table of units.
    unit : str
        Ours.
    scale : float
        From the unit of the table to ours.
    """

    names: Mapping[str, str | None]
    kind: str
    unit: str
    scale: float


ALTITUDE = Quantity(
    {
        "altitude": None, "altitude_km": "km", "altitude_m": "m", "height": None,
        "height_km": "km", "height_m": "m", "z": None,
    },
    "altitude",
    "km",
    1.0,
)  # fmt: skip
_QUANTITIES = {
    "altitude": ALTITUDE,
    "pressure": Quantity(
        {
            "pressure": None, "pressure_pa": "Pa", "pressure_hpa": "hPa",
            "pressure_mbar": "mbar", "p": None,
        },
        "pressure",
        "Pa",
        1.0,
    ),
    "temperature": Quantity(
        {"temperature": None, "temperature_k": "K", "t": None},
        "temperature",
        "K",
        1.0,
    ),
    "number_density": Quantity(
        {"number_density": None, "number_density_cm3": "cm-3"},
        "number_density",
        "cm-3",
        1e-6,
    ),
    "temperature_uncertainty": Quantity(
        {"temperature_uncertainty": None}, "temperature_difference", "K", 1.0
    ),
    "pressure_uncertainty": Quantity({"pressure_uncertainty": None}, "share", "1", 1.0),
}  # fmt: skip
#: Whose one number may stand for all levels, beside mole fractions.
_UNCERTAINTIES = ("temperature_uncertainty", "pressure_uncertainty")
_VMR = Quantity({}, "mole_fraction", "1", 1.0)


class Profile(NamedTuple):
    """A profile that Mars can have.

    Attributes
    ----------
    fields : dict of array, shape (level,)
        Upwards, in our units, by our names; with ``altitude``, ``pressure`` and
        ``temperature``.
    assumed : tuple of str
        Names of the file whose unit is assumed, each with that unit.
    """

    fields: dict[str, Array]
    assumed: tuple[str, ...]


def quantity_of(name: str) -> Quantity:
    """Return what a field of our name is; a mole fraction where it is no other."""
    return _QUANTITIES.get(name, _VMR)


def profile_of(raw: xr.Dataset, path: str | None, allow: Collection[str]) -> Profile:
    """Take the fields of a profile to our units, upwards, and check them.

    Raises
    ------
    AtmosphereError
        A field is missing or given twice, in an unknown unit or over other levels; or
        as :func:`tgo_spectra.atmosphere.check.check_profile`.
    """
    found = _names(raw, path)
    name = found["altitude"]
    # a time or a place of one profile is no dimension of it
    raw = raw.isel({d: 0 for d, n in raw.sizes.items() if n == 1 and name != d})
    dim = raw[name].dims
    if len(dim) != 1:
        msg = "altitude must have one dimension"
        raise AtmosphereError(
            msg, path=path, field=name, value=dim, rule="atmosphere.altitude_1d"
        )
    fields: dict[str, Array] = {}
    scales: dict[str, tuple[float, float]] = {}
    assumed: list[str] = []
    for key, name in found.items():
        quantity = quantity_of(key)
        unit = _stated(raw[name], quantity, path)
        values = np.asarray(raw[name].values, dtype=np.float64)
        factor, offset = 1.0, 0.0
        if unit is not None:
            factor, offset = scale_of(quantity.kind, unit)
            factor *= quantity.scale
        fields[key] = factor * values + offset
        scales[key] = factor, offset
        constant = quantity is _VMR or key in _UNCERTAINTIES
        if fields[key].ndim == 0 and constant:
            fields[key] = np.full(raw.sizes[dim[0]], fields[key])
        elif raw[name].dims != dim:
            msg = f"profile must have the dimension of the altitude, {dim}"
            raise AtmosphereError(
                msg,
                path=path,
                field=name,
                value=raw[name].dims,
                rule="atmosphere.dims",
            )
        if unit is None:
            assumed.append(f"{name} in {quantity.unit}")
    altitude = fields["altitude"]
    if altitude.size and altitude[0] > altitude[-1]:
        fields = {key: values[::-1] for key, values in fields.items()}
    if "pressure" not in fields:
        # with the ideal gas law any two of the three give the third
        density = 1e6 * fields["number_density"]
        fields["pressure"] = density * BOLTZMANN * fields["temperature"]
    check_profile(fields, found, scales, allow, path)
    if assumed:
        where = f"{path}: " if path else ""
        text = (
            f"{where}no unit is stated, so taken are {', '.join(assumed)}; state the "
            "units (attribute units, in CSV name [unit])"
        )
        warnings.warn(text, TgoWarning, stacklevel=3)
    return Profile(fields, tuple(assumed))


def _names(raw: xr.Dataset, path: str | None) -> dict[str, str]:
    """Names in the file by ours; of gases and density those that are there."""
    names: dict[str, str] = {}
    for variable in map(str, raw.variables):
        gas = _gas_of(variable)
        keys = [k for k, q in _QUANTITIES.items() if variable.lower() in q.names]
        if gas is not None:
            keys.append(f"{gas}_vmr")
        for key in keys:
            if key in names:
                msg = f"given twice, as {names[key]} too: keep one"
                raise AtmosphereError(
                    msg, path=path, field=variable, value=key, rule="atmosphere.twice"
                )
            names[key] = variable
    for key in ("altitude", "pressure", "temperature"):
        if key in names or (key == "pressure" and "number_density" in names):
            continue
        msg = f"no {key}; expected one of {', '.join(quantity_of(key).names)}"
        raise AtmosphereError(
            msg,
            path=path,
            field=key,
            value=sorted(map(str, raw.variables)),
            rule="atmosphere.missing",
        )
    ours = [key for key in _QUANTITIES if key in names]
    return {key: names[key] for key in (*ours, *names)}


def _gas_of(name: str) -> str | None:
    match = re.fullmatch(r"vmr_(\w+)|(\w+?)_vmr", name, re.IGNORECASE)
    return (match[1] or match[2]).lower() if match else None


def _stated(array: xr.DataArray, quantity: Quantity, path: str | None) -> str | None:
    """Return the unit that a field states of its own or by its name."""
    name = str(array.name)
    unit, own = unit_of(array), quantity.names.get(name.lower())
    known = UNITS[quantity.kind]
    wrong: tuple[str, object, str] | None = None
    if unit is not None and unit not in known:
        wrong = f"unknown units; use one of {', '.join(known)}", unit, "units"
    elif None not in (unit, own) and known[str(unit)] != known[str(own)]:
        wrong = f"the unit contradicts the name, which says {own}", unit, "units"
    elif array.dtype.kind not in "fiu":
        wrong = "values must be numbers", str(array.dtype), "numbers"
    if wrong is not None:
        msg, value, rule = wrong
        raise AtmosphereError(
            msg, path=path, field=name, value=value, rule=f"atmosphere.{rule}"
        )
    return unit or own
