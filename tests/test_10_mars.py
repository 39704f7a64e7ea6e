from __future__ import annotations

import numpy as np
import pytest

from tgo_spectra.mars import GM_M3_S2, MEAN_RADIUS_KM, mars_year, solar_longitude

# time, Mars year, Ls of the short series (0.031 degree from the full form)
SHORT = [
    ("2000-01-01T12:00", 24, 274.3636),
    ("2018-04-21T00:00", 34, 162.6708),
    ("2018-05-07T05:41", 34, 171.4571),
    ("2019-03-24T00:00", 35, 0.2456),
    ("2021-02-18T20:55", 36, 5.6382),
    ("2022-12-26T12:00", 37, 0.0248),
    ("2024-11-12T12:00", 38, 0.0391),
]


@pytest.mark.parametrize(
    ("time", "longitude"),
    [("2000-01-06T00:00:00", 277.188), ("2004-01-03T13:46:31", 327.324)],
)
def test_mars24_worked_values(time, longitude):
    assert solar_longitude(np.datetime64(time)) == pytest.approx(longitude, abs=1.0e-3)


@pytest.mark.parametrize(("time", "year", "longitude"), SHORT)
def test_near_the_short_series(time, year, longitude):
    when = np.datetime64(time)
    difference = (float(solar_longitude(when)) - longitude + 180) % 360 - 180
    assert abs(difference) < 0.035
    assert mars_year(when + np.timedelta64(3, "h")) == year


def test_independent_value_of_another_package():
    assert solar_longitude(np.datetime64("2018-04-22")) == pytest.approx(
        163.19, abs=0.006
    )


def test_vectorised_and_monotonic():
    times = np.arange("1970-01-01", "2040-01-01", dtype="datetime64[D]").reshape(-1, 1)
    longitude = solar_longitude(times)
    assert longitude.shape == times.shape
    years = mars_year(times)
    total = (longitude + 360.0 * years).ravel()
    assert np.diff(total).min() > 0.4
    assert np.diff(total).max() < 0.7
    assert years.dtype == np.int64


def test_not_a_time():
    assert np.isnan(solar_longitude(np.datetime64("NaT", "ns")))
    with pytest.raises(ValueError, match="NaT"):
        mars_year(np.datetime64("NaT", "ns"))


def test_gravity_from_constants():
    assert pytest.approx(3.728, abs=2e-3) == GM_M3_S2 / (1e3 * MEAN_RADIUS_KM) ** 2
