"""Variables of level 1 that kinds of retrieval need, with their dimensions."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OF_MIR", "OF_NADIR", "OF_OCCULTATION", "OF_SO", "OF_UVIS", "Needs"]

Dims = tuple[str, ...]

_SPECTRA, _CORNERS = ("spectrum", "pixel"), ("spectrum", "point", "edge")
_OPTICS: dict[str, Dims] = {
    "wavenumber": ("pixel",),
    "order": (),
    "aotf_frequency": (),
    "instrument_temperature": (),
}
_OCCULTATION: dict[str, Dims] = {
    "transmittance": _SPECTRA,
    "transmittance_error": _SPECTRA,
    "tangent_altitude": ("spectrum",),
}
_SO: dict[str, Dims] = {
    **_OCCULTATION,
    **_OPTICS,
    "tangent_altitude_areoid": _CORNERS,
    "bin": ("spectrum",),
}
Needs = Mapping[str, Dims]

OF_SO: Needs = _SO
OF_UVIS: Needs = {
    **_OCCULTATION,
    "wavelength": ("pixel",),
    "tangent_altitude_areoid": _CORNERS,
    "slant_path_distance": _CORNERS,
}
OF_NADIR: Needs = {
    **_OPTICS,
    "incidence_angle": _CORNERS,
    "emission_angle": _CORNERS,
    "surface_altitude_areoid": _CORNERS,
}
OF_MIR: Needs = {**_OCCULTATION, "wavenumber": _SPECTRA, "order": ("spectrum",)}
OF_OCCULTATION: Needs = _OCCULTATION
"""Variables that kinds of retrieval need, and dimensions that they must have."""
