"""The data behind `tgo_spectra.variables`: one entry for every variable name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.quantity import FORMULAE, GASES, Dims, Variable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CATALOGUE"]

# CF standard name table version 93 (2026-03-17); gases that are not here have none.
_CF_SPECIES = {
    "ch4": "methane",
    "h2o": "water_vapor",
    "co": "carbon_monoxide",
    "o3": "ozone",
    "hcl": "hydrogen_chloride",
    "co2": "carbon_dioxide",
}

_S: Dims = ("spectrum",)
_SP: Dims = ("spectrum", "pixel")
_SE: Dims = ("spectrum", "edge")
_SQ: Dims = ("spectrum", "point")
_SQE: Dims = ("spectrum", "point", "edge")
_Z: Dims = ("altitude",)
_NO: Dims = ()


def _one(
    level: int,
    dims: Dims,
    units: str,
    long_name: str,
    standard_name: str | None = None,
    comment: str | None = None,
    *other: Dims,
) -> Variable:
    return Variable(
        dims, units, long_name, standard_name, comment, {level: (dims, *other)}
    )


_AREOID = "above the areoid (MOLA equipotential surface)"


def _level1() -> Iterator[tuple[str, Variable]]:
    signal = "transmittance"
    yield signal, _one(1, _SP, "1", "atmospheric transmittance")
    yield (
        "transmittance_error",
        _one(
            1,
            _SP,
            "1",
            "standard error of the transmittance",
            None,
            "pixel-to-pixel noise, about one standard deviation; no scale error",
        ),
    )
    yield "reflectance_factor", _one(1, _SP, "1", "reflectance factor")
    yield (
        "reflectance_factor_corrected",
        _one(1, _SP, "1", "reflectance factor, baseline removed"),
    )
    yield "radiance", _one(1, _SP, "W m-2 sr-1 nm-1", "spectral radiance")
    yield (
        "radiance_error",
        _one(1, _SP, "W m-2 sr-1 nm-1", "standard error of the spectral radiance"),
    )
    yield "mask", _one(1, _SP, "1", "pixel mask", None, "true: do not use this pixel")
    yield "time", _one(1, _S, "", "mid time of the integration (UTC)", "time")
    yield "time_bounds", _one(1, _SE, "", "start and end of the integration (UTC)")
    yield "bin", _one(1, _S, "1", "detector bin", None, "rank of the first row, from 0")
    yield (
        "order",
        _one(1, _NO, "1", "diffraction order", None, None, _S),
    )
    yield (
        "aotf_frequency",
        _one(1, _NO, "kHz", "AOTF driving frequency", None, None, _S),
    )
    yield (
        "instrument_temperature",
        _one(1, _NO, "degC", "instrument temperature", None, None, _S),
    )
    yield (
        "detector_temperature",
        _one(1, _S, "K", "detector temperature", None, None, _NO),
    )
    for name, text in (
        ("bin_top", "first detector row of the window"),
        ("bin_height", "detector rows of the window, less one"),
        ("bin_start", "first detector row of the bin"),
        ("bin_end", "last detector row of the bin"),
        ("y_valid_flag", "validity flag of the producer (true: valid)"),
    ):
        yield name, _one(1, _S, "1", text)
    yield from _level1_geometry()


def _level1_geometry() -> Iterator[tuple[str, Variable]]:
    per_edge = (
        ("obs_altitude", "km", "distance of the spacecraft from the centre of Mars"),
        ("sub_obs_longitude", "degree", "east longitude of the sub-spacecraft point"),
        ("sub_obs_latitude", "degree", "latitude of the sub-spacecraft point"),
        ("l_sub_s", "degree", "solar longitude at start and end"),
        ("sub_sol_longitude", "degree", "east longitude of the sub-solar point"),
        ("sub_sol_latitude", "degree", "latitude of the sub-solar point"),
        (
            "pointing_deviation",
            "arcminute",
            "angle from the line of sight to the Sun's centre",
        ),
    )
    for name, units, text in per_edge:
        yield name, _one(1, _SE, units, text)
    yield "point_x", _one(1, _SQ, "1", "field-of-view point, fraction of half width")
    yield "point_y", _one(1, _SQ, "1", "field-of-view point, fraction of half height")
    per_point = (
        ("point_longitude", "degree", "east longitude of the point"),
        ("point_latitude", "degree", "planetocentric latitude of the point"),
        ("point_local_true_solar_time", "hour", "local true solar time of the point"),
        (
            "tangent_altitude_ellipsoid",
            "km",
            "tangent altitude above the reference ellipsoid",
        ),
        ("tangent_altitude_areoid", "km", f"tangent altitude {_AREOID}"),
        ("tangent_altitude_surface", "km", "tangent altitude above the surface"),
        ("slant_path_distance", "km", "distance from spacecraft to tangent point"),
        ("incidence_angle", "degree", "solar incidence angle"),
        ("emission_angle", "degree", "emission angle"),
        ("phase_angle", "degree", "phase angle"),
        ("surface_altitude_areoid", "km", f"surface altitude {_AREOID}"),
        ("surface_radius", "km", "distance of the surface from the centre of Mars"),
    )
    for name, units, text in per_point:
        yield name, _one(1, _SQE, units, text)


def _shared() -> Iterator[tuple[str, Variable]]:
    """Yield variables whose dimensions differ between the levels."""
    maps3: dict[int, tuple[Dims, ...]] = {3: (_NO,)}  # any map axes, see _fits
    yield (
        "wavenumber",
        _one(
            1,
            ("pixel",),
            "cm-1",
            "vacuum wavenumber",
            None,
            None,
            _SP,
        ),
    )
    yield (
        "wavelength",
        _one(
            1, ("pixel",), "nm", "vacuum wavelength", "radiation_wavelength", None, _SP
        ),
    )
    yield (
        "tangent_altitude",
        Variable(
            _S,
            "km",
            f"tangent altitude {_AREOID}",
            None,
            "centre of the field of view, mean of start and end",
            {1: (_S,), 2: (_S,)},
        ),
    )
    yield (
        "latitude",
        Variable(
            _S,
            "degrees_north",
            "planetocentric latitude",
            "latitude",
            None,
            {1: (_S,), 2: (_Z, _S, _NO), 3: (("latitude",),)},
        ),
    )
    yield (
        "longitude",
        Variable(
            _S,
            "degrees_east",
            "longitude, -180 to 180",
            "longitude",
            None,
            {1: (_S,), 2: (_Z, _S, _NO), 3: (("longitude",),)},
        ),
    )
    yield (
        "local_true_solar_time",
        Variable(
            _S,
            "hour",
            "local true solar time",
            None,
            None,
            {1: (_S,), 2: (_Z, _S, _NO), 3: (_NO,)},
        ),
    )
    yield (
        "solar_longitude",
        Variable(
            _S,
            "degree",
            "solar longitude of Mars",
            None,
            "0 at northern spring equinox",
            {1: (_S,), 2: (_NO, _S), 3: (("solar_longitude",),)},
        ),
    )
    yield (
        "mars_year",
        Variable(
            _NO,
            "1",
            "Mars Year",
            None,
            "year 1 began on 1955-04-11 (Clancy et al. 2000)",
            {1: (_NO,), 2: (_NO,), 3: (("mars_year",), _NO)},
        ),
    )
    yield (
        "altitude",
        Variable(
            _Z,
            "km",
            f"altitude {_AREOID}",
            "altitude",
            None,
            {2: (_Z,), 3: (_Z,)},
        ),
    )
    yield (
        "altitude_in",
        _one(2, ("altitude_in",), "km", f"altitude of the true state {_AREOID}"),
    )
    yield (
        "local_time_class",
        Variable(("local_time_class",), "1", "class of local time", None, None, maps3),
    )


def _level2() -> Iterator[tuple[str, Variable]]:
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
    yield "temperature", _one(2, _Z, "K", "temperature", "air_temperature")
    yield "number_density", _one(2, _Z, "cm-3", "number of molecules per volume")
    yield from _level2_registration()
    yield (
        "baseline",
        _one(2, ("spectrum", "coefficient"), "1", "Legendre coefficients of baseline"),
    )
    yield (
        "residual",
        _one(
            2,
            _SP,
            "1",
            "measured less fitted transmittance",
            None,
            None,
            ("row", "fitted_pixel"),
        ),
    )
    yield "reduced_chi_square", _one(2, _NO, "1", "chi-square per degree of freedom")
    yield "degrees_of_freedom", _one(2, _NO, "1", "degrees of freedom for signal")
    yield "converged", _one(2, _NO, "1", "the fit converged")
    yield "iterations", _one(2, _NO, "1", "iterations of the fit")


_PIXELS = "in pixels; true wavenumber = X(p + shift), X the wavenumber of the product"


def _level2_registration() -> Iterator[tuple[str, Variable]]:
    """Yield fitted quantities of the instrument and the aerosol."""
    shift = "wavenumber shift in pixels"
    # CF asks for UDUNITS, which has no pixel: the names say it
    yield "wavenumber_shift", _one(2, ("bin",), "1", shift, None, _PIXELS, _NO)
    yield (
        "wavenumber_shift_error",
        _one(2, ("bin",), "1", f"standard error of the {shift}", None, None, _NO),
    )
    stretch = "wavenumber stretch in pixels"
    yield (
        "wavenumber_stretch",
        _one(
            2, _NO, "1", stretch, None, "shift at the detector's end less the middle's"
        ),
    )
    yield (
        "wavenumber_stretch_error",
        _one(2, _NO, "1", f"standard error of the {stretch}"),
    )
    exponent = "exponent of the aerosol's optical depth in wavenumber"
    yield "aerosol_exponent", _one(2, _NO, "1", exponent)
    yield (
        "aerosol_exponent_error",
        _one(2, _NO, "1", f"standard error of the {exponent}"),
    )
    for name, units, text in (
        ("fitted_ghost_amplitude", "1", "ghost amplitude less the setup's"),
        ("fitted_aotf_offset", "cm-1", "AOTF centre less its calibration"),
    ):
        yield name, _one(2, _NO, units, text)
        yield f"{name}_error", _one(2, _NO, units, f"standard error of the {text}")
    yield (
        "spectrum_bin",
        _one(2, _S, "1", "detector bin of the spectrum", None, "index along bin"),
    )
    one = f"{shift}, each spectrum by itself"
    yield "spectrum_shift", _one(2, _S, "1", one, None, _PIXELS)
    yield "spectrum_shift_error", _one(2, _S, "1", f"standard error of the {one}")
    yield (
        "spectrum_reduced_chi_square",
        _one(2, _S, "1", "chi-square per degree of freedom of the spectrum"),
    )


_SYSTEMATICS = (
    ("temperature", "temperature"),
    ("pointing", "tangent altitude"),
    ("aotf_width", "the AOTF's width"),
    ("aotf_side_lobe", "the AOTF's side lobes"),
    ("ghost", "the line shape's ghost"),
    ("shift", "the wavenumber shift"),
    ("spectroscopy", "line intensities"),
)


def _gas2(gas: str) -> Iterator[tuple[str, Variable]]:
    formula = FORMULAE[gas]
    species = _CF_SPECIES.get(gas)
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
        ("vmr_total_error", f"random and systematic error of the {vmr}", None),
        *(
            (f"vmr_error_{source}", f"error of the {vmr} by {text}", None)
            for source, text in _SYSTEMATICS
        ),
    )
    for name, text, standard in per_level:
        yield f"{gas}_{name}", _one(2, _Z, "1", text, standard)
    yield (
        f"{gas}_averaging_kernel",
        _one(
            2,
            ("altitude", "altitude_in"),
            "1",
            f"averaging kernel of the {vmr}",
            kernel,
        ),
    )
    yield (
        f"{gas}_vmr_noise_covariance",
        _one(
            2,
            ("altitude", "altitude_in"),
            "1",
            f"error covariance of the {vmr} from noise",
        ),
    )
    for name, text in (
        ("slant_column", f"{formula} molecules along the line of sight"),
        ("column", f"{formula} molecules in the vertical column"),
        ("column_normalised", f"{formula} column scaled to the reference pressure"),
    ):
        yield f"{gas}_{name}", _one(2, _S, "cm-2", text)
        if name != "column_normalised":
            yield (
                f"{gas}_{name}_error",
                _one(2, _S, "cm-2", f"standard error of the {text}"),
            )
    yield (
        f"{gas}_layer_limit",
        _one(2, _NO, "1", f"standard error of one {vmr} for a whole layer"),
    )
    yield (
        f"{gas}_degrees_of_freedom",
        _one(2, _NO, "1", f"degrees of freedom for signal of {formula}"),
    )


def _gas3(gas: str) -> Iterator[tuple[str, Variable]]:
    formula = FORMULAE[gas]
    species = _CF_SPECIES.get(gas)
    mole = f"mole_fraction_of_{species}_in_air" if species else None
    vmr = f"mole fraction of {formula}"
    rows = (
        ("count", f"number of {formula} values", "number_of_observations"),
        ("sum_w", "sum of the weights", None),
        ("sum_wx", f"weighted sum of the {vmr}", None),
        ("sum_wx2", f"weighted sum of the squared {vmr}", None),
        ("sum_w2", "sum of the squared weights", None),
        ("sum_w2_variance", "sum of the squared weights times error variance", None),
        ("detected_count", f"number of profiles with {formula} detected", None),
        ("mean", f"weighted mean {vmr}", mole),
        (
            "standard_error_formal",
            f"standard error of the mean {vmr} from the errors",
            f"{mole} standard_error" if mole else None,
        ),
        (
            "standard_error_scatter",
            f"standard error of the mean {vmr} from the scatter",
            None,
        ),
        (
            "upper_limit",
            f"upper limit of the mean {vmr}",
            f"{mole} detection_minimum" if mole else None,
        ),
        ("best_upper_limit", f"lowest single upper limit of the {vmr}", None),
    )
    for name, text, standard in rows:
        yield f"{gas}_{name}", _one(3, _NO, "1", text, standard)
    for name, text in (("min", "earliest"), ("max", "latest")):
        yield (
            f"{gas}_local_time_{name}",
            _one(3, _NO, "hour", f"{text} local true solar time of {formula} values"),
        )


def _build() -> dict[str, Variable]:
    catalogue = dict(_shared())
    catalogue.update(_level1())
    catalogue.update(_level2())
    time = catalogue["time"]
    catalogue["time"] = Variable(
        time.dims,
        time.units,
        time.long_name,
        time.standard_name,
        None,
        {1: (_S,), 2: (_NO, _S), 3: (_NO, ("solar_longitude",))},
    )
    for name in ("order", "aotf_frequency", "instrument_temperature"):
        catalogue[name].forms[2] = (_NO, _S)
    catalogue["bin"].forms[2] = (("bin",), _S)
    for gas in GASES:
        for name, variable in (*_gas2(gas), *_gas3(gas)):
            if name in catalogue:  # <gas>_upper_limit: levels 2 and 3
                catalogue[name].forms.update(variable.forms)
            else:
                catalogue[name] = variable
    return catalogue


CATALOGUE: dict[str, Variable] = _build()
"""Every known variable by name, all gases written out."""
