"""What is known of the variables of level 2, for all kinds of retrieval."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tgo_spectra.quantity import CF_SPECIES, FORMULAE, Dims, Variable, at_level

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gas_level2", "level2"]

_S: Dims = ("spectrum",)
_SP: Dims = ("spectrum", "pixel")
_Z: Dims = ("altitude",)
_P: Dims = ("peeled_altitude",)
_NO: Dims = ()
_one = partial(at_level, 2)


def level2() -> Iterator[tuple[str, Variable]]:
    """Yield what is not of one gas."""
    yield (
        "pressure",
        Variable(
            _Z,
            "Pa",
            "pressure",
            "air_pressure",
            None,
            {2: (_Z,), 3: (("pressure",),)},
        ),
    )
    yield "temperature", _one(_Z, "K", "temperature", "air_temperature")
    yield "number_density", _one(_Z, "cm-3", "number of molecules per volume")
    yield from _level2_registration()
    yield from _nadir()
    yield from _aerosol()
    yield from _isotopes()
    yield (
        "baseline",
        _one(("spectrum", "coefficient"), "1", "Legendre coefficients of baseline"),
    )
    yield (
        "residual",
        _one(
            _SP,
            "1",
            "measured less fitted transmittance or reflectance factor",
            None,
            None,
            ("row", "fitted_pixel"),
        ),
    )
    yield "reduced_chi_square", _one(_NO, "1", "chi-square per degree of freedom")
    yield "degrees_of_freedom", _one(_NO, "1", "degrees of freedom for signal")
    yield "converged", _one(_NO, "1", "the fit converged")
    yield "iterations", _one(_NO, "1", "iterations of the fit")


_PIXELS = "in pixels; true wavenumber = X(p + shift), X the wavenumber of the product"


def _level2_registration() -> Iterator[tuple[str, Variable]]:
    """Yield fitted quantities of the instrument and the aerosol."""
    shift = "wavenumber shift in pixels"
    # CF asks for UDUNITS, which has no pixel: the names say it
    yield "wavenumber_shift", _one(("bin",), "1", shift, None, _PIXELS, _NO)
    yield (
        "wavenumber_shift_error",
        _one(("bin",), "1", f"standard error of the {shift}", None, None, _NO),
    )
    stretch = "wavenumber stretch in pixels"
    yield (
        "wavenumber_stretch",
        _one(_NO, "1", stretch, None, "shift at the detector's end less the middle's"),
    )
    yield (
        "wavenumber_stretch_error",
        _one(_NO, "1", f"standard error of the {stretch}"),
    )
    exponent = "exponent of the aerosol's optical depth in wavenumber"
    yield "aerosol_exponent", _one(_NO, "1", exponent)
    yield (
        "aerosol_exponent_error",
        _one(_NO, "1", f"standard error of the {exponent}"),
    )
    for name, units, text in (
        ("fitted_ghost_amplitude", "1", "ghost amplitude less the setup's"),
        ("fitted_aotf_offset", "cm-1", "AOTF centre less its calibration"),
    ):
        yield name, _one(_NO, units, text)
        yield f"{name}_error", _one(_NO, units, f"standard error of the {text}")
    yield (
        "spectrum_bin",
        _one(_S, "1", "detector bin of the spectrum", None, "index along bin"),
    )
    one = f"{shift}, each spectrum by itself"
    yield "spectrum_shift", _one(_S, "1", one, None, _PIXELS)
    yield "spectrum_shift_error", _one(_S, "1", f"standard error of the {one}")
    yield (
        "spectrum_reduced_chi_square",
        _one(_S, "1", "chi-square per degree of freedom of the spectrum"),
    )


def _nadir() -> Iterator[tuple[str, Variable]]:
    """Yield what describes a nadir spectrum and its fit."""
    for name, units, text in (
        ("spectrum_noise", "1", "standard deviation of a pixel that the errors assume"),
        ("n_pixels", "1", "number of pixels fitted"),
        ("n_averaged", "1", "number of spectra averaged"),
        ("iterations_of_spectrum", "1", "iterations of the fit of the spectrum"),
        ("air_mass", "1", "slant over vertical column, down and up"),
        ("surface_pressure", "Pa", "pressure of the atmosphere at the surface"),
        ("surface_altitude", "km", "surface altitude above the areoid"),
        ("status", "1", "why a spectrum has no result"),
    ):
        yield name, _one(_S, units, text)
    yield (
        "height",
        _one(("layer",), "km", "height of the middle of the layer above the surface"),
    )


def _isotopes() -> Iterator[tuple[str, Variable]]:
    """Yield the deuterium to hydrogen ratio of water."""
    ratio = "ratio of deuterium to hydrogen in water vapour over VSMOW"
    comment = "VSMOW: 1.5576e-4 atoms of deuterium per atom of hydrogen"
    yield "deuterium_ratio", _one(_Z, "1", ratio, None, comment)
    for name, text in (
        ("noise_error", "from noise"),
        ("resolution_error", "from what is left of a difference in resolution"),
        ("error", "from noise, resolution and smoothing"),
    ):
        long_name = f"standard error of the {ratio}, {text}"
        yield f"deuterium_ratio_{name}", _one(_Z, "1", long_name)
    flag = "reasons not to use the ratio at a level; 0: none"
    yield "deuterium_ratio_flag", _one(_Z, "1", flag)


def _aerosol() -> Iterator[tuple[str, Variable]]:
    """Yield the continuum of ultraviolet spectra, and the levels of peeled profiles."""
    text = "aerosol extinction at 270 nm"
    yield "aerosol_extinction", _one(_Z, "km-1", text)
    yield (
        "aerosol_extinction_error",
        _one(_Z, "km-1", f"total standard error of the {text}"),
    )
    yield (
        "aerosol_extinction_spectral",
        _one(
            ("aerosol_term", "altitude"),
            "km-1",
            "further coefficients of the aerosol extinction",
            None,
            "Legendre polynomials of the scaled inverse wavelength, degree 1 on, less "
            "their value at 270 nm",
        ),
    )
    yield (
        "peeled_altitude",
        _one(_P, "km", "altitude of the profile without a priori, above the areoid"),
    )


_ULTRAVIOLET = (
    ("cross_section", "the cross section"),
    ("temperature", "temperature"),
    ("wavelength", "the wavelength scale"),
    ("air_density", "the density of air"),
    ("straylight", "straylight"),
)
"""Systematic sources of fits in the ultraviolet."""

_SYSTEMATICS = (
    ("temperature", "temperature"),
    ("pointing", "tangent altitude"),
    ("aotf_width", "the AOTF's width"),
    ("aotf_side_lobe", "the AOTF's side lobes"),
    ("ghost", "the line shape's ghost"),
    ("shift", "the wavenumber shift"),
    ("spectroscopy", "line intensities"),
)


def gas_level2(gas: str) -> Iterator[tuple[str, Variable]]:
    """Yield what is written for a gas."""
    yield from _profile(gas)
    yield from _density(gas)
    yield from _slant_column(gas)
    yield from _column(gas)


def _profile(gas: str) -> Iterator[tuple[str, Variable]]:
    formula = FORMULAE[gas]
    species = CF_SPECIES.get(gas)
    mole = f"mole_fraction_of_{species}_in_air" if species else None
    error = f"{mole} standard_error" if mole else None
    limit = f"{mole} detection_minimum" if mole else None
    kernel = (  # the name exists for methane only
        "remote_sensing_averaging_kernel_of_mole_fraction_of_methane_in_air"
        if gas == "ch4"
        else None
    )
    vmr = f"mole fraction of {formula}"
    per_level = (
        ("vmr", vmr, mole),
        ("vmr_apriori", f"a priori {vmr}", None),
        ("vmr_noise_error", f"standard error of the {vmr} from noise", None),
        ("vmr_smoothing_error", f"standard error of the {vmr} from smoothing", None),
        ("vmr_error", f"total standard error of the {vmr}", error),
        ("upper_limit", f"upper limit of the {vmr}", limit),
        ("detected", f"{formula} is detected", None),
        ("delta_chi_square", f"rise of chi-square without {formula}", None),
        ("limit_linear", f"limit of the {vmr}, linear fit (noise)", None),
        ("limit_delta_chi_square", f"limit of the {vmr}, rise of chi-square", None),
        ("limit_flag", f"least {vmr} that would be detected", None),
        ("vmr_systematic_error", f"systematic error of the {vmr}", None),
        *(
            (
                f"vmr_systematic_{source}",
                f"change of the {vmr} by 1 sigma of {text}",
                None,
            )
            for source, text in _ULTRAVIOLET
        ),
        ("vmr_total_error", f"random and systematic error of the {vmr}", None),
        *(
            (f"vmr_error_{source}", f"error of the {vmr} by {text}", None)
            for source, text in _SYSTEMATICS
        ),
    )
    for name, text, standard in per_level:
        yield f"{gas}_{name}", _one(_Z, "1", text, standard)
    yield (
        f"{gas}_averaging_kernel",
        _one(
            ("altitude", "altitude_in"),
            "1",
            f"averaging kernel of the {vmr}",
            kernel,
        ),
    )
    yield (
        f"{gas}_vmr_noise_covariance",
        _one(
            ("altitude", "altitude_in"),
            "1",
            f"error covariance of the {vmr} from noise",
        ),
    )
    yield (
        f"{gas}_layer_limit",
        _one(_NO, "1", f"standard error of one {vmr} for a whole layer"),
    )
    yield (
        f"{gas}_degrees_of_freedom",
        _one(_NO, "1", f"degrees of freedom for signal of {formula}"),
    )


def _density(gas: str) -> Iterator[tuple[str, Variable]]:
    """Yield what goes with a profile of number density."""
    formula = FORMULAE[gas]
    text = f"number density of {formula}"
    yield (
        f"{gas}_vertical_resolution",
        _one(
            _Z,
            "km",
            f"vertical resolution of the {formula} profile",
            None,
            "level distance over the diagonal of the averaging kernel",
        ),
    )
    peeled = f"{text} from slant columns, without a priori"
    name = f"{gas}_number_density_peeled"
    yield name, _one(_P, "cm-3", peeled)
    yield f"{name}_error", _one(_P, "cm-3", f"standard error of the {peeled}")
    yield (
        f"{name}_covariance",
        _one(
            ("peeled_altitude", "peeled_altitude_in"),
            "cm-6",
            f"error covariance of the {peeled}",
        ),
    )
    yield (
        f"{name}_systematic_error",
        _one(_P, "cm-3", f"systematic error of the {peeled}"),
    )


def _slant_column(gas: str) -> Iterator[tuple[str, Variable]]:
    formula = FORMULAE[gas]
    text = f"{formula} molecules along the line of sight"
    name = f"{gas}_slant_column"
    rows = (
        ("", "cm-2", text),
        ("_error", "cm-2", f"standard error of the {text}"),
        ("_upper_limit", "cm-2", f"upper limit of the {text}"),
        ("_detected", "1", f"{formula} is detected in the spectrum"),
        ("_delta_chi_square", "1", f"rise of chi-square without {formula}"),
        ("_limit_linear", "cm-2", f"limit of the {text}, linear fit (noise)"),
        ("_limit_delta_chi_square", "cm-2", f"limit of the {text}, rise of chi-square"),
        ("_limit_flag", "cm-2", f"least {text} that would be detected"),
        ("_systematic_error", "cm-2", f"systematic error of the {text}"),
        *(
            (
                f"_systematic_{source}",
                "cm-2",
                f"change of the {text} by 1 sigma of {of}",
            )
            for source, of in _ULTRAVIOLET
        ),
    )
    for ending, units, what in rows:
        yield name + ending, _one(_S, units, what)


def _column(gas: str) -> Iterator[tuple[str, Variable]]:
    formula = FORMULAE[gas]
    text = f"{formula} molecules in the vertical column"
    scaled = f"{formula} column scaled to the reference pressure"
    mole = f"mean mole fraction of {formula} in the column"
    rows = (
        ("column", "cm-2", text),
        ("column_error", "cm-2", f"standard error of the {text}"),
        ("column_noise_error", "cm-2", f"standard error of the {text} from noise"),
        ("column_apriori", "cm-2", f"a priori {text}"),
        ("column_upper_limit", "cm-2", f"upper limit of the {text}"),
        ("column_detected", "1", f"{formula} is detected in the column"),
        ("column_normalised", "cm-2", scaled),
        ("column_normalised_error", "cm-2", f"standard error of the {scaled}"),
        ("column_mole_fraction", "1", mole),
        ("column_mole_fraction_error", "1", f"standard error of the {mole}"),
        (
            "degrees_of_freedom_of_spectrum",
            "1",
            f"degrees of freedom for signal of {formula} in the spectrum",
        ),
    )
    for name, units, what in rows:
        yield f"{gas}_{name}", _one(_S, units, what)
    yield (
        f"{gas}_column_averaging_kernel",
        _one(
            ("spectrum", "layer"),
            "1",
            f"averaging kernel of the {text}",
            None,
            "change of the column by one molecule in the layer",
        ),
    )
