"""Spellings of units that files use, and the factor of each to this package's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["UNITS", "scale_of", "unit_of"]

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
