"""Names, units and factors: what each variable of level 2 becomes in HARP.

The units (ppv, molec/m3, molec/m2) are those of HARP's own converters. Its list of
species has no C2H4, PH3 and H2S: their names are formed alike, and HARP knows neither
them nor limits, Mars' calendar and places that vary along a profile.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from tgo_spectra.variables import FORMULAE

__all__ = [
    "AIR",
    "COLUMN",
    "EPOCH",
    "KEPT",
    "OF_LEVEL",
    "OURS",
    "PROFILE",
    "Name",
    "follows_convention",
    "species",
]

EPOCH = np.datetime64("2000-01-01T00:00:00", "ns")
"""Beginning of HARP's time, UTC."""

KEPT = ("setup", "setup_hash", "method", "instrument", "channel", "atmosphere")
"""Global attributes of ours, texts, that a file keeps under their names."""

OURS = {
    "solar_longitude": ("solar_longitude", "degree"),
    "mars_year": ("mars_year", "1"),
    "reduced_chi_square": ("reduced_chi2", "1"),
    "converged": ("retrieval_status", "1"),
    "quality_flag": ("retrieval_quality_flag", "1"),
    "order": ("diffraction_order", "1"),
}
"""Ours, of a product or spectrum: name here and unit."""

OF_LEVEL = {
    "latitude": "degree_north",
    "longitude": "degree_east",
    "local_true_solar_time": "hour",
}
"""Places of levels, with their units."""

#: Where HARP's species differs from the formula; its other names are formulae.
_SPECIES = {"hdo": "H2O_162", "h2co": "HCHO", "ocs": "COS"}
#: Of our gases, those in HARP's list.
_KNOWN_SPECIES = frozenset(
    {
        "CH4", "H2O", "H2O_162", "CO", "CO2", "HCl", "HF", "O3", "C2H6", "N2O",
        "HCHO", "COS", "H2O2", "HO2", "NO2",
    }
)  # fmt: skip


class Name(NamedTuple):
    """What one of our variables becomes: its end, HARP's, unit, factor, description."""

    ours: str
    theirs: str
    units: str
    factor: float
    text: str


# quantities of a profile, of a spectrum, of a level
PROFILE = (
    Name("vmr", "volume_mixing_ratio", "ppv", 1.0, "mole fraction, signed"),
    Name("vmr_apriori", "volume_mixing_ratio_apriori", "ppv", 1.0, "a priori"),
    Name(
        "vmr_error", "volume_mixing_ratio_uncertainty", "ppv", 1.0,
        "total standard error",
    ),
    Name(
        "vmr_noise_error", "volume_mixing_ratio_uncertainty_random", "ppv", 1.0,
        "standard error from noise",
    ),
    Name(
        "vmr_systematic_error", "volume_mixing_ratio_uncertainty_systematic", "ppv",
        1.0, "systematic error",
    ),
    Name("averaging_kernel", "volume_mixing_ratio_avk", "1", 1.0, "averaging kernel"),
    Name(
        "degrees_of_freedom", "volume_mixing_ratio_dfs", "1", 1.0,
        "degrees of freedom for signal, trace of the averaging kernel",
    ),
    Name(
        "vmr_smoothing_error", "volume_mixing_ratio_uncertainty_smoothing", "ppv",
        1.0, "standard error from smoothing",
    ),
    Name("upper_limit", "volume_mixing_ratio_upper_limit", "ppv", 1.0, "upper limit"),
    Name("detected", "volume_mixing_ratio_detected", "1", 1.0, "1: detected"),
    Name(
        "delta_chi_square", "volume_mixing_ratio_delta_chi2", "1", 1.0,
        "rise of chi-square without the gas",
    ),
)  # fmt: skip

COLUMN = (
    Name("column", "column_number_density", "molec/m2", 1e4, "vertical column"),
    Name(
        "column_error", "column_number_density_uncertainty", "molec/m2", 1e4,
        "standard error of the column",
    ),
    Name(
        "slant_column", "slant_column_number_density", "molec/m2", 1e4,
        "column along the line of sight",
    ),
    Name(
        "slant_column_error", "slant_column_number_density_uncertainty", "molec/m2",
        1e4, "standard error of the slant column",
    ),
)  # fmt: skip

AIR = (
    Name("altitude", "altitude", "m", 1e3, "altitude above the areoid"),
    Name("pressure", "pressure", "Pa", 1.0, "pressure"),
    Name("temperature", "temperature", "K", 1.0, "temperature"),
    Name("number_density", "number_density", "molec/m3", 1e6, "density of the air"),
)

_QUALITY = (
    r"(_covariance|_uncertainty|_uncertainty_random|_uncertainty_systematic|_validity)?"
)
_PLAIN = re.compile(
    rf"(altitude|latitude|longitude|pressure|temperature|number_density){_QUALITY}"
    r"|altitude_bounds|datetime(_start|_stop|_length)?|count|index|orbit_index"
    r"|scan_subindex|validity"
)
_OF_SPECIES = re.compile(
    r"(?P<species>\w+?)_(?:(?:volume_mixing_ratio|number_density)"
    rf"(_apriori|_avk|_dfs|_sic)?|column_number_density(_amf|_apriori|_avk|_dfs|_sic)?"
    rf"|slant_column_number_density){_QUALITY}"
)


def species(gas: str) -> str:
    """Return HARP's name of a gas, or one that is formed alike."""
    return _SPECIES.get(gas, FORMULAE[gas])


def follows_convention(name: str) -> bool:
    """Tell whether a name is one of HARP's, among those of profiles and columns."""
    if _PLAIN.fullmatch(name):
        return True
    found = _OF_SPECIES.fullmatch(name)
    return found is not None and found["species"] in _KNOWN_SPECIES
