"""The reference atmosphere against published numbers, and what it promises."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.atmosphere import reference
from tgo_spectra.atmosphere.check import check_profile
from tgo_spectra.errors import AtmosphereError, TgoWarning
from tgo_spectra.mars import GAS_CONSTANT, GM_M3_S2, MEAN_RADIUS_KM, MOLAR_MASS
from tgo_spectra.retrieval.given import of_reference

SEASONS = np.arange(0.0, 360.0, 30.0)
LATITUDES = np.array([-90.0, -65.0, -40.0, -10.0, 0.0, 20.0, 45.0, 70.0, 90.0])


# --- published pressures --------------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "latitude", "altitude_km", "season", "pascal"),
    [
        # Viking Lander 1: Hess et al. (1980), Geophys. Res. Lett. 7, 197: daily means
        # of the first year, to 10 Pa
        ("Viking 1", 22.3, -3.63, 55.0, 810.0),
        ("Viking 1", 22.3, -3.63, 150.0, 670.0),
        ("Viking 1", 22.3, -3.63, 260.0, 890.0),
        ("Viking 1", 22.3, -3.63, 340.0, 790.0),
        # InSight, sols 675 to 681: 743.5 to 750.6 Pa (weather reports)
        ("InSight", 4.5, -2.61, 300.0, 747.0),
        # Curiosity, 1 May 2013: 868 Pa (weather reports)
        ("Curiosity", -4.6, -4.50, 310.5, 868.0),
        # MOLA's zero level: Smith & Zuber (1998), Geophys. Res. Lett. 25, 4397
        ("areoid", 0.0, 0.0, 0.0, 520.0),
    ],
)
def test_pressure__as_landers_measured(site, latitude, altitude_km, season, pascal):
    air = tgo.reference_atmosphere(
        [altitude_km], solar_longitude=season, latitude=latitude
    )
    # lander by lander within what it says of itself, here and there 5 % off
    spread = float(air.pressure_uncertainty[0])
    assert float(air.pressure[0]) / pascal == pytest.approx(1.0, abs=1.2 * spread), site
    if site == "Viking 1":
        assert float(air.pressure[0]) / pascal == pytest.approx(1.0, abs=0.04)


def test_pressure__year_has_the_two_minima_of_the_caps():
    seasons = np.arange(0.0, 360.0, 5.0)
    pascal = np.array(
        [
            float(tgo.reference_atmosphere([0.0], solar_longitude=s).pressure[0])
            for s in seasons
        ]
    )
    # the southern cap is the larger one (Hess et al. 1980: Ls 149 and about 260)
    assert abs(seasons[pascal.argmin()] - 149.0) <= 10.0
    assert abs(seasons[pascal.argmax()] - 260.0) <= 10.0
    assert pascal.max() / pascal.min() == pytest.approx(1.33, abs=0.06)


# --- published temperatures -----------------------------------------------------------


@pytest.mark.parametrize(
    ("season", "latitude", "pascal", "low", "high"),
    [
        # Smith (2004), figure of 50 Pa through the year: the equator is coolest near
        # aphelion and warmest at perihelion
        (90.0, 0.0, 50.0, 170.0, 186.0),
        (270.0, 0.0, 50.0, 190.0, 206.0),
        (0.0, 0.0, 50.0, 178.0, 192.0),
        (270.0, -85.0, 50.0, 200.0, 220.0),
        (90.0, 85.0, 50.0, 182.0, 202.0),
        # winter poles near the frost point of CO2, 132 K at 50 Pa
        (90.0, -85.0, 50.0, 132.0, 148.0),
        (270.0, 85.0, 50.0, 132.0, 158.0),
        # McDunn et al. (2013): polar warming by 22 to 67 K at night, against the
        # tropics, at the winter pole near 1 Pa
        (90.0, -75.0, 1.0, 165.0, 190.0),
        (270.0, 75.0, 1.0, 180.0, 205.0),
        # Groeller et al. (2015): 105 to 120 K at 7e-6 Pa seen at night, far below the
        # models of then; ours is between
        (315.0, 0.0, 1e-3, 105.0, 140.0),
    ],
)
def test_temperature__as_published(season, latitude, pascal, low, high):
    air = tgo.reference_atmosphere(
        np.arange(-5.0, 161.0, 0.5), solar_longitude=season, latitude=latitude
    )
    kelvin = np.interp(-np.log(pascal), -np.log(air.pressure), air.temperature)
    assert low <= kelvin <= high


def test_temperature__polar_warming_turns_the_gradient_with_height():
    pole = tgo.reference_atmosphere([15.0, 60.0], solar_longitude=270.0, latitude=75.0)
    equator = tgo.reference_atmosphere([15.0, 60.0], solar_longitude=270.0, latitude=0)
    difference = (pole.temperature - equator.temperature).values
    assert difference[0] < -40.0
    assert 15.0 < difference[1] < 67.0


# --- what it promises -----------------------------------------------------------------


@pytest.mark.parametrize("season", [0.0, 71.0, 143.0, 270.0, None])
@pytest.mark.parametrize("latitude", [-90.0, -33.0, 12.0, 75.0, None])
def test_profile__is_hydrostatic_and_possible(season, latitude):
    z = np.arange(-10.0, 200.1, 0.5)
    air = tgo.reference_atmosphere(z, solar_longitude=season, latitude=latitude)
    check_profile({str(k): v.values for k, v in air.variables.items()})
    # Boole's rule over the temperature at quarter steps
    fine = np.linspace(z[0], z[-1], 4 * (z.size - 1) + 1)
    kelvin = tgo.reference_atmosphere(
        fine, solar_longitude=season, latitude=latitude
    ).temperature.values
    gravity = GM_M3_S2 / (1e3 * (MEAN_RADIUS_KM + fine)) ** 2
    rate = 1e-3 * MOLAR_MASS * gravity / (GAS_CONSTANT * kelvin)
    steps = np.lib.stride_tricks.sliding_window_view(rate, 5)[::4]
    fall = 500.0 / 90.0 * steps @ np.array([7.0, 32.0, 12.0, 32.0, 7.0])
    found = -np.diff(np.log(air.pressure.values))
    np.testing.assert_allclose(found, fall, rtol=1e-6)


def test_place__is_periodic_and_smooth():
    z = np.arange(0.0, 161.0, 5.0)

    def kelvin(season, latitude):
        air = tgo.reference_atmosphere(z, solar_longitude=season, latitude=latitude)
        return air.temperature.values, air.pressure.values

    for season in (0.0, 359.0, 200.0):
        for mine, other in zip(
            kelvin(season, 30.0), kelvin(season + 360.0, 30.0), strict=True
        ):
            np.testing.assert_allclose(mine, other, rtol=1e-10)


def test_place__nothing_kinks_at_rows_of_the_table_or_over_the_poles():
    def kink(season, latitude, along, step):
        values = []
        for k in (-1.0, 0.0, 1.0):
            at = {"solar_longitude": season, "latitude": latitude}
            at[along] += k * step
            at["latitude"] = min(at["latitude"], 180.0 - at["latitude"])
            air = tgo.reference_atmosphere(np.arange(0.0, 161.0, 5.0), **at)
            values.append(air.temperature.values)
        below, here, above = values
        return np.abs((above - here) - (here - below)).max() / step

    for season, latitude, along in (
        (0.0, 20.0, "solar_longitude"),
        (90.0, -75.0, "solar_longitude"),
        (200.0, 90.0, "latitude"),
        (200.0, 60.0, "latitude"),
    ):
        # a jump of the slope stays as it is, a curvature shrinks with the step
        wide = kink(season, latitude, along, 2.0)
        narrow = kink(season, latitude, along, 0.25)
        assert narrow < max(0.2 * wide, 1e-6), (season, latitude, along)


def test_place__between_the_rows_of_the_table_it_does_not_overshoot():
    table = reference._table()
    least = table.temperature.min(axis=(0, 2)) - 1e-9
    most = table.temperature.max(axis=(0, 2)) + 1e-9
    for season in SEASONS:
        for latitude in LATITUDES:
            rows = reference._column(float(season), float(latitude)).temperature
            assert (rows > least).all()
            assert (rows < most).all()
    at_rows = [
        [reference._column(s, lat).temperature for lat in table.latitude.tolist()]
        for s in table.season.tolist()
    ]
    np.testing.assert_allclose(
        np.moveaxis(at_rows, 2, 1), table.temperature, rtol=1e-12
    )


def test_unknown_place__is_the_mean_with_the_spread_about_it():
    z = np.arange(0.0, 101.0, 20.0)
    known = tgo.reference_atmosphere(z, solar_longitude=90.0, latitude=-30.0)
    mean = tgo.reference_atmosphere(z)
    season = tgo.reference_atmosphere(z, solar_longitude=90.0)
    assert (mean.temperature_uncertainty > known.temperature_uncertainty).all()
    assert (mean.pressure_uncertainty > known.pressure_uncertainty).all()
    assert (season.temperature_uncertainty > known.temperature_uncertainty).all()
    # at altitude zero by the season alone, above by the temperatures between
    there = [one.pressure_uncertainty.values for one in (season, known)]
    assert there[0][0] == there[1][0]
    assert (there[0][1:] > there[1][1:]).all()
    assert mean.attrs["reference_place"] == "mean of the year, mean of all latitudes"
    weights = np.cos(np.deg2rad(np.arange(-85.0, 90.0, 10.0)))
    all_places = [
        tgo.reference_atmosphere([0.0], solar_longitude=s, latitude=lat)
        for s in SEASONS
        for lat in np.arange(-85.0, 90.0, 10.0)
    ]
    kelvin = np.array([float(a.temperature[0]) for a in all_places])
    kelvin = kelvin.reshape(SEASONS.size, -1)
    found = np.average(kelvin.mean(axis=0), weights=weights)
    assert float(mean.temperature[0]) == pytest.approx(found, abs=1.5)


def test_uncertainties__are_stated_and_named():
    air = tgo.reference_atmosphere(solar_longitude=10.0, latitude=10.0)
    low = air.sel(altitude=slice(0.0, 60.0)).temperature_uncertainty
    assert 8.0 < float(low.min()) <= float(low.max()) < 15.0
    assert float(air.temperature_uncertainty[-1]) > 2.0 * float(low.max())
    assert air.temperature_uncertainty.attrs["units"] == "K"
    assert air.pressure_uncertainty.attrs["units"] == "1"
    assert air.attrs["source"].startswith(
        "reference atmosphere of tgo_spectra, edition"
    )


def test_uncertainties__of_a_given_profile_are_taken_along():
    text = (
        "altitude[km],pressure[Pa],temperature[K],temperature_uncertainty[K],"
        "pressure_uncertainty[percent]\n0,610,215,4,3\n10,240,200,6,3\n"
    )
    air = tgo.read_atmosphere(text)
    np.testing.assert_allclose(air.temperature_uncertainty, [4.0, 6.0])
    np.testing.assert_allclose(air.pressure_uncertainty, 0.03)
    back = tgo.read_atmosphere(tgo.reference_atmosphere())
    xr.testing.assert_allclose(back, tgo.reference_atmosphere())
    for wrong in ("0,610,215,-4,3", "0,610,215,4,nan"):
        with pytest.raises(AtmosphereError, match="finite and positive"):
            tgo.read_atmosphere(text.replace("0,610,215,4,3", wrong))


@pytest.mark.parametrize(
    "place", [{"latitude": 91.0}, {"latitude": np.nan}, {"solar_longitude": np.inf}]
)
def test_place__refuses_what_is_none(place):
    with pytest.raises(AtmosphereError) as caught:
        tgo.reference_atmosphere(**place)
    assert caught.value.rule == "atmosphere.reference_place"


# --- of a product ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def level1():
    from tgo_spectra.simulate import simulate_level1

    return simulate_level1(order=134, seconds=12, n_bins=2, seed=3).level1


def test_product__gives_season_and_latitude(level1):
    air = tgo.reference_atmosphere([0.0, 40.0], level1=level1)
    own = {
        "solar_longitude": float(level1.solar_longitude.mean()),
        "latitude": float(level1.latitude.mean()),
    }
    expected = tgo.reference_atmosphere([0.0, 40.0], **own)
    xr.testing.assert_allclose(air, expected)
    nowhere = level1.drop_vars(["solar_longitude", "latitude"])
    mean = tgo.reference_atmosphere([0.0, 40.0], level1=nowhere)
    xr.testing.assert_identical(mean, tgo.reference_atmosphere([0.0, 40.0]))


def test_product__season_near_the_end_of_the_year_is_no_mean_of_numbers(level1):
    season = np.where(np.arange(level1.sizes["spectrum"]) % 2, 359.0, 1.0)
    moved = level1.assign_coords(solar_longitude=("spectrum", season))
    air = tgo.reference_atmosphere([0.0], level1=moved)
    there = tgo.reference_atmosphere(
        [0.0], solar_longitude=0.0, latitude=float(level1.latitude.mean())
    )
    assert float(air.pressure[0]) == pytest.approx(float(there.pressure[0]), rel=2e-3)


def test_retrieve__says_once_what_it_took(level1):
    level1 = level1.isel(spectrum=slice(0, None, 40))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        level2 = tgo.retrieve(level1, method="slant")
    (one,) = [w for w in seen if issubclass(w.category, TgoWarning)]
    text = str(one.message)
    assert "reference atmosphere" in text
    assert "9 to 14 K below 60 km" in text
    assert "10 % in pressure" in text
    assert "atmosphere_for_product" in text
    assert "latitude" in level2.attrs["atmosphere"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tgo.retrieve(
            level1, atmosphere=tgo.reference_atmosphere(level1=level1), method="slant"
        )


def test_simulation__takes_the_air_that_the_fit_takes(level1):
    from tgo_spectra.simulate import simulate_level1

    truth = simulate_level1(order=134, seconds=12, n_bins=2, seed=3).truth
    expected = tgo.reference_atmosphere(truth.altitude.values, level1=level1)
    np.testing.assert_allclose(truth.temperature, expected.temperature, rtol=1e-6)
    np.testing.assert_allclose(truth.pressure, expected.pressure, rtol=1e-6)


def test_profiles__of_the_reference_are_named():
    """What neither the setup nor the atmosphere says of a gas."""
    setup = tgo.load_setup("so_136")
    air = tgo.reference_atmosphere()
    assert of_reference(setup.gases, setup, air) == "none"
    assert of_reference(setup.gases, setup, air.drop_vars("hdo_vmr")) == "hdo"
    # an isotopologue goes with its gas; what the setup states needs no profile
    assert of_reference(["co2_636"], setup, air) == "none"
    constant = [gas for gas, prior in setup.prior.items() if prior.constant is not None]
    bare = air.drop_vars([f"{gas}_vmr" for gas in setup.gases if f"{gas}_vmr" in air])
    missing = [gas for gas in setup.gases if gas not in constant]
    assert of_reference(setup.gases, setup, bare) == " ".join(missing)
