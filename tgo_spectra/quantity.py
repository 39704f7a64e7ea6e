"""What is said about a variable; the gases and the axes that names are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CF_SPECIES", "FORMULAE", "GASES", "MAP_AXES", "Variable", "at_level"]

FORMULAE: dict[str, str] = {
    "ch4": "CH4",
    "h2o": "H2O",
    "hdo": "HDO",
    "co": "CO",
    "co2": "CO2",
    "hcl": "HCl",
    "hf": "HF",
    "o3": "O3",
    "c2h4": "C2H4",
    "c2h6": "C2H6",
    "n2o": "N2O",
    "h2co": "H2CO",
    "ph3": "PH3",
    "h2s": "H2S",
    "ocs": "OCS",
    "h2o2": "H2O2",
    "ho2": "HO2",
    "no2": "NO2",
}
"""Chemical formulae by gas key."""

GASES: tuple[str, ...] = tuple(FORMULAE)
"""Gas keys, as in variable names; ``hdo`` is a gas of its own."""

CF_SPECIES: dict[str, str] = {
    "ch4": "methane",
    "h2o": "water_vapor",
    "co": "carbon_monoxide",
    "o3": "ozone",
    "hcl": "hydrogen_chloride",
    "co2": "carbon_dioxide",
}
"""Gases in standard names of CF table version 93 (2026-03-17); others have none."""

MAP_AXES: tuple[str, ...] = (
    "mars_year",
    "solar_longitude",
    "local_time_class",
    "altitude",
    "pressure",
    "latitude",
    "longitude",
)
"""Dimensions a map may have, in their order (CF: others, T, Z, Y, X)."""

Dims = tuple[str, ...]
"""Names of dimensions."""


@dataclass(frozen=True)
class Variable:
    """What a variable of this name is.

    Attributes
    ----------
    dims : tuple of str
        Usual dimensions (at the lowest level that has the variable).
    units : str
        UDUNITS text; ``"1"`` for plain numbers, empty for times and text.
    long_name : str
        For people and axis labels.
    standard_name : str or None
        CF standard name, where there is one.
    comment : str or None
        What the two names cannot say.
    forms : dict of int to tuple of dims
        Dimensions accepted at each level (1, 2, 3).
    """

    dims: Dims
    units: str
    long_name: str
    standard_name: str | None = None
    comment: str | None = None
    forms: dict[int, tuple[Dims, ...]] = field(default_factory=dict, hash=False)

    def attributes(self) -> dict[str, str]:
        """Return the netCDF attributes."""
        found = {
            "units": self.units,
            "long_name": self.long_name,
            "standard_name": self.standard_name,
            "comment": self.comment,
        }
        return {key: text for key, text in found.items() if text}


def at_level(
    level: int,
    dims: Dims,
    units: str,
    long_name: str,
    standard_name: str | None = None,
    comment: str | None = None,
    *other: Dims,
) -> Variable:
    """Describe a variable of one level; `other` dimensions are accepted too.

    Examples
    --------
    >>> at_level(2, ("altitude",), "K", "temperature").forms
    {2: (('altitude',),)}
    """
    return Variable(
        dims, units, long_name, standard_name, comment, {level: (dims, *other)}
    )
