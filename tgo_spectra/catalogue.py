"""The data behind `tgo_spectra.variables`: one entry for every variable name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.catalogue_level2 import gas_level2, level2
from tgo_spectra.catalogue_temperature import gas_density, temperature_level2
from tgo_spectra.quantity import CF_SPECIES, FORMULAE, GASES, Dims, Variable, at_level

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CATALOGUE"]

_S: Dims = ("spectrum",)
_SP: Dims = ("spectrum", "pixel")
_SE: Dims = ("spectrum", "edge")
_SQ: Dims = ("spectrum", "point")
_SQE: Dims = ("spectrum", "point", "edge")
_Z: Dims = ("altitude",)
_NO: Dims = ()


_AREOID = "above the areoid (MOLA equipotential surface)"


def _level1() -> Iterator[tuple[str, Variable]]:
    signal = "transmittance"
    yield signal, at_level(1, _SP, "1", "atmospheric transmittance")
    yield (
        "transmittance_error",
        at_level(
            1,
            _SP,
            "1",
            "standard error of the transmittance",
            None,
            "pixel-to-pixel noise, about one standard deviation; no scale error",
        ),
    )
    yield "reflectance_factor", at_level(1, _SP, "1", "reflectance factor")
    yield (
        "reflectance_factor_corrected",
        at_level(1, _SP, "1", "reflectance factor, baseline removed"),
    )
    yield "radiance", at_level(1, _SP, "W m-2 sr-1 nm-1", "spectral radiance")
    yield (
        "radiance_error",
        at_level(1, _SP, "W m-2 sr-1 nm-1", "standard error of the spectral radiance"),
    )
    yield (
        "mask",
        at_level(1, _SP, "1", "pixel mask", None, "true: do not use this pixel"),
    )
    yield "time", at_level(1, _S, "", "mid time of the integration (UTC)", "time")
    yield "time_bounds", at_level(1, _SE, "", "start and end of the integration (UTC)")
    yield (
        "bin",
        at_level(1, _S, "1", "detector bin", None, "rank of the first row, from 0"),
    )
    yield (
        "order",
        at_level(1, _NO, "1", "diffraction order", None, None, _S),
    )
    yield (
        "aotf_frequency",
        at_level(1, _NO, "kHz", "AOTF driving frequency", None, None, _S),
    )
    yield (
        "instrument_temperature",
        at_level(1, _NO, "degC", "instrument temperature", None, None, _S),
    )
    yield (
        "detector_temperature",
        at_level(1, _S, "K", "detector temperature", None, None, _NO),
    )
    for name, text in (
        ("bin_top", "first detector row of the window"),
        ("bin_height", "detector rows of the window, less one"),
        ("bin_start", "first detector row of the bin"),
        ("bin_end", "last detector row of the bin"),
        ("y_valid_flag", "validity flag of the producer (true: valid)"),
    ):
        yield name, at_level(1, _S, "1", text)
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
        yield name, at_level(1, _SE, units, text)
    yield (
        "point_x",
        at_level(1, _SQ, "1", "field-of-view point, fraction of half width"),
    )
    yield (
        "point_y",
        at_level(1, _SQ, "1", "field-of-view point, fraction of half height"),
    )
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
        yield name, at_level(1, _SQE, units, text)


def _shared() -> Iterator[tuple[str, Variable]]:
    """Yield variables whose dimensions differ between the levels."""
    maps3: dict[int, tuple[Dims, ...]] = {3: (_NO,)}  # any map axes, see _fits
    yield (
        "wavenumber",
        at_level(
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
        at_level(
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
            {1: (_NO,), 2: (_NO, _S), 3: (("mars_year",), _NO)},
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
        at_level(2, ("altitude_in",), "km", f"altitude of the true state {_AREOID}"),
    )
    yield (
        "local_time_class",
        Variable(("local_time_class",), "1", "class of local time", None, None, maps3),
    )


def _gas3(gas: str) -> Iterator[tuple[str, Variable]]:
    formula = FORMULAE[gas]
    species = CF_SPECIES.get(gas)
    mole = f"mole_fraction_of_{species}_in_air" if species else None
    yield from _map(gas, formula, f"mole fraction of {formula}", ("1", "1"), mole)
    for name, text in (
        ("column", f"vertical column of {formula}"),
        ("column_normalised", f"{formula} column scaled to the reference pressure"),
    ):
        # weights are pure numbers: the variance is taken in cm-4
        yield from _map(f"{gas}_{name}", formula, text, ("cm-2", "cm-4"), None)


def _map(
    field: str, formula: str, text: str, units: tuple[str, str], standard: str | None
) -> Iterator[tuple[str, Variable]]:
    """Yield sums and results of one mapped quantity.

    `units` of it and of its square.
    """
    one, square = units
    error = f"standard error of the mean {text}"
    rows = (
        ("count", "1", f"number of {formula} values", "number_of_observations"),
        ("sum_w", "1", "sum of the weights", None),
        ("sum_wx", one, f"weighted sum of the {text}", None),
        ("sum_wx2", square, f"weighted sum of the squared {text}", None),
        ("sum_w2", "1", "sum of the squared weights", None),
        (
            "sum_w2_variance",
            square,
            "sum of the squared weights times error variance",
            None,
        ),
        ("detected_count", "1", f"number of samples with {formula} detected", None),
        ("mean", one, f"weighted mean {text}", standard),
        (
            "standard_error_formal",
            one,
            f"{error} from the errors",
            f"{standard} standard_error" if standard else None,
        ),
        ("standard_error_scatter", one, f"{error} from the scatter", None),
        (
            "upper_limit",
            one,
            f"upper limit of the mean {text}",
            f"{standard} detection_minimum" if standard else None,
        ),
        ("best_upper_limit", one, f"lowest single upper limit of the {text}", None),
    )
    for name, unit, what, known in rows:
        yield f"{field}_{name}", at_level(3, _NO, unit, what, known)
    for name, what in (("min", "earliest"), ("max", "latest")):
        yield (
            f"{field}_local_time_{name}",
            at_level(
                3, _NO, "hour", f"{what} local true solar time of {formula} values"
            ),
        )


def _build() -> dict[str, Variable]:
    catalogue = dict(_shared())
    catalogue.update(_level1())
    catalogue.update(level2())
    catalogue.update(temperature_level2())
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
    catalogue["wavelength"].forms[2] = (("fitted_pixel",), ("pixel",))
    for gas in GASES:
        for name, variable in (*gas_level2(gas), *gas_density(gas), *_gas3(gas)):
            if name in catalogue:  # <gas>_upper_limit: levels 2 and 3
                catalogue[name].forms.update(variable.forms)
            else:
                catalogue[name] = variable
    return catalogue


CATALOGUE: dict[str, Variable] = _build()
"""Every known variable by name, all gases written out."""
