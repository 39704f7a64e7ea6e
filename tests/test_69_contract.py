"""What every result says, whatever kind and method of retrieval it is of.

A guarantee that is given once, in one place, must hold for all: names and texts of the
catalogue, errors, time and place, extrapolated air, where the result comes from, and
all that in memory and in the file alike.
"""

from __future__ import annotations

import hashlib
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from small_results import CASES, case

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.errors import RetrievalError, TgoError
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.geometry import planet_radius_from_table
from tgo_spectra.retrieval import registry, solve
from tgo_spectra.retrieval.level2 import moment, places
from tgo_spectra.variables import dataset, is_coordinate, lookup, validate

ALWAYS = (
    "retrieval_kind", "method", "setup", "setup_hash", "software", "instrument",
    "channel", "instrument_model", "interferents_included", "interferents_absent",
    "baseline_degree", "n_orders", "masked_pixels", "fitted_pixels", "atmosphere",
    "planet_radius_km", "planet_radius_source", "product_lid", "product_version",
    "source_file", "source_md5", "input_products",
)  # fmt: skip
OF_LINES = ("edition", "lines", "lines_sha256", "broadening")
TOP_KM = 95.0
ALONE = ("hdo_slant_column",)
"""Known from one manifold: a line that falls on it is a line of that gas."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a case, its result in air that ends at `TOP_KM`, and its file, by name."""

    folder = cache(tmp_path_factory.mktemp)

    @cache
    def of(name):
        given = case(name, folder(name.split()[0]))
        z = np.arange(-5.0, TOP_KM + 1.0)
        air = tgo.reference_atmosphere(z, level1=given.level1)
        # as of someone who does not know the radius: it is in the product
        del air.attrs["planet_radius_km"]
        level2 = tgo.retrieve(given.level1, given.setup, air)
        path = tgo.write_level2(level2, tmp_path_factory.mktemp("file") / "a.nc")
        return SimpleNamespace(
            level1=given.level1,
            setup=given.setup,
            data=given.data,
            level2=level2,
            back=open_verified(path),
            path=path,
        )

    return of


def test_cases__are_all_kinds_and_methods():
    wanted = {
        f"{row.name} {method}".strip()
        for row in registry.KINDS
        for method in row.methods or ("",)
    }
    assert set(CASES) == wanted


@pytest.mark.parametrize("name", CASES)
def test_provenance__is_always_there(made, name):
    one = made(name)
    attrs = one.level2.attrs
    for key in ALWAYS:
        assert attrs.get(key) not in (None, ""), key
    assert attrs["retrieval_kind"] == name.split()[0]
    assert attrs["setup_hash"] == one.setup.hash()
    for gas in one.setup.gases:
        for key in OF_LINES:
            assert f"{gas}_{key}" in attrs
    md5 = hashlib.md5(one.data.read_bytes(), usedforsecurity=False).hexdigest()
    assert attrs["source_md5"] == md5
    lid = f"{attrs['product_lid']}::{attrs['product_version']}"
    assert attrs["input_products"] == f"{lid} {md5}"
    apriori = [n for n in one.level2.variables if str(n).endswith("_vmr_apriori")]
    for quantity in apriori:
        if one.level2[quantity[: -len("_apriori")]].attrs.get("state") != "fixed":
            assert one.level2[quantity].attrs["correlation_length_km"] > 0.0


@pytest.mark.parametrize("name", CASES)
def test_air__says_where_it_was_continued(made, trusted, name):
    assert made(name).level2.attrs["extended_above_km"] == TOP_KM
    # no air at all is continued: nothing is said
    whole = trusted(name)
    assert "extended_above_km" not in whole.attrs
    assert "extended_below_km" not in whole.attrs


@pytest.mark.parametrize("name", CASES)
def test_radius__is_the_one_of_the_product_or_the_one_given(made, name):
    one = made(name)
    level1, attrs = one.level1, one.level2.attrs
    if "slant_path_distance" not in level1 or name == "nadir":
        assert attrs["planet_radius_source"] == "mean radius"
        return
    of_table = planet_radius_from_table(
        level1["obs_altitude"].mean("edge").values,
        level1["slant_path_distance"].isel(point=0).mean("edge").values,
        level1["tangent_altitude"].values,
    )
    assert attrs["planet_radius_source"] == "table geometry"
    assert attrs["planet_radius_km"] == of_table
    air = tgo.reference_atmosphere(planet_radius_km=3391.0)
    given = tgo.retrieve(level1, one.setup, air).attrs
    assert given["planet_radius_source"] == "atmosphere"
    assert given["planet_radius_km"] == 3391.0


@pytest.mark.parametrize("name", CASES)
def test_texts__are_those_of_the_catalogue(made, name):
    one = made(name)
    for ds in (one.level2, one.back):
        validate(ds, 2)
        for key, variable in ds.variables.items():
            known = lookup(str(key))
            assert known is not None, key
            said = known.attributes()
            if variable.dtype.kind == "M":
                said = {k: v for k, v in said.items() if not k.startswith("units")}
            for text, value in said.items():  # the masks of flags are an array
                assert np.array_equal(variable.attrs.get(text), value), (key, text)
            assert variable.dims in known.forms[2], key


@pytest.mark.parametrize("name", CASES)
def test_errors__have_one_name_each_and_add_up(made, name):
    ds = made(name).level2
    totals = [
        str(n)
        for n in ds.variables
        if str(n).endswith("_error") and "contains" in ds[n].attrs
    ]
    assert totals
    for total in totals:
        base = total.removesuffix("_error")
        squares = 0.0
        for part in ds[total].attrs["contains"].split(", "):
            squares = squares + ds[f"{base}_{part}_error"].values ** 2
        np.testing.assert_allclose(
            ds[total].values, np.sqrt(squares), rtol=2e-6, err_msg=total
        )
        sources = [
            str(n)
            for n in ds.variables
            if str(n).startswith(f"{base}_systematic_") and not str(n).endswith("error")
        ]
        assert bool(sources) == ("systematic" in ds[total].attrs["contains"])
        if sources:
            one = np.sqrt(sum(ds[n].values ** 2 for n in sources))
            np.testing.assert_allclose(one, ds[f"{base}_systematic_error"], rtol=1e-9)
    for n in ds.variables:
        assert "total_error" not in str(n)
        # an error by a source is called systematic, not error
        assert "_error_" not in str(n)
    results = [n for n in ds.data_vars if str(n).endswith(("_vmr", "slant_column"))]
    for n in results:
        assert f"{n}_error" in ds or ds[n].attrs.get("state") == "fixed", n


@pytest.mark.parametrize("name", CASES)
def test_limits__say_of_which_error_they_are(made, name):
    ds = made(name).level2
    names = [str(n) for n in ds.variables if str(n).endswith(("_limit", "_detected"))]
    for n in names:
        assert ds[n].attrs["sigma_level"] > 0.0
        parts = ds[n].attrs["error_used"].split(", ")
        assert set(parts) <= {"noise", "smoothing", "systematic"}
    for n in names:
        if not n.endswith("upper_limit"):
            continue
        gas = n.removesuffix("_upper_limit")
        value = gas if gas in ds else f"{gas}_vmr"
        squares = sum(
            ds[f"{value}_{part}_error"].values ** 2
            for part in ds[n].attrs["error_used"].split(", ")
            if f"{value}_{part}_error" in ds
        )
        wanted = np.maximum(ds[value].values, 0.0)
        wanted = wanted + ds[n].attrs["sigma_level"] * np.sqrt(squares)
        np.testing.assert_allclose(ds[n].values, wanted, rtol=2e-6, err_msg=n)


def fitted_rows(name, level1, level2):
    """Rows of the fit, told from the result."""
    if name == "profile slant":  # those that look at the sky: no spectrum was read
        return np.isfinite(level1["tangent_altitude_areoid"]).all(("point", "edge"))
    column = [n for n in level2.data_vars if str(n).endswith("slant_column")]
    of = level2[column[0]] if column else level2["baseline"].isel(coefficient=0)
    return np.isfinite(of)


@pytest.mark.parametrize("name", CASES)
def test_time__is_that_of_the_row_in_the_middle(made, name):
    one = made(name)
    level1, level2 = one.level1, one.level2
    if name == "nadir":  # no tangent altitudes: each spectrum has its own
        np.testing.assert_array_equal(level2["time"], level1["time"])
        assert level2["mars_year"].dims == ("spectrum",)
        return
    rows = np.flatnonzero(fitted_rows(name, level1, level2))
    height = level1["tangent_altitude"].values[rows]
    middle = rows[np.argsort(height, kind="stable")[rows.size // 2]]
    for key in ("time", "solar_longitude", "mars_year"):
        assert level2[key].dims == ()
        assert key in level2.coords
    assert level2["time"].values == level1["time"].values[middle]
    if "solar_longitude" in level1:
        wanted = float(level1["solar_longitude"][middle])
        assert float(level2["solar_longitude"]) == wanted
    assert int(level2["mars_year"]) == int(tgo.mars_year(level2["time"].values))


@pytest.mark.parametrize("name", CASES)
def test_coordinates__are_the_same_in_memory_and_in_the_file(made, name):
    one = made(name)
    level2, back = one.level2, one.back
    assert set(level2.coords) == set(back.coords)
    assert set(level2.coords) == {n for n in level2.variables if is_coordinate(str(n))}
    if "altitude" in level2.dims:
        for key in ("pressure", "temperature", "number_density"):
            assert level2.coords[key].dims == ("altitude",)
        if "latitude" in one.level1.variables:
            for key in ("latitude", "longitude", "local_true_solar_time"):
                assert level2.coords[key].dims == ("altitude",)
                assert np.isfinite(level2[key]).all()
    xr.testing.assert_equal(level2, back)
    for key, variable in level2.variables.items():
        for attribute, value in variable.attrs.items():
            np.testing.assert_array_equal(back[key].attrs[attribute], value)
    for key, value in level2.attrs.items():
        np.testing.assert_array_equal(back.attrs[key], value, err_msg=key)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("axis", ["solar_longitude", "altitude"])
def test_map__of_the_file_is_that_of_the_result(made, name, axis):
    """Of a file only what a map needs is read."""
    one = made(name)
    how = {"without_kernel": "prior_free", "maximum_chi_square": None, "quality": "all"}
    found, whole = (
        tgo.grid_level2(level2, tgo.Grid.over(axis), allow_empty=True, **how)
        for level2 in (one.path, one.back)
    )
    xr.testing.assert_identical(found, whole)


# how far a result is to be trusted


@pytest.fixture(scope="module")
def trusted(made):
    """Make the result of a case in the reference air, by name."""

    @cache
    def of(name):
        one = made(name)
        return tgo.retrieve(one.level1, one.setup)

    return of


def severe_of(level2):
    """Flags that are severe, and the rows of which that can be said."""
    flag = level2["quality_flag"]
    unseen = (flag.values & quality.pack(["few_spectra"])) != 0
    return quality.severe(flag.values), (flag.ndim == 0) | ~unseen


def signal_of(one):
    return getattr(one.setup, "signal", "transmittance")


def inflation_of(level2):
    """Factors on the errors, of the whole fit or of its rows, worst last."""
    factors = np.atleast_1d(level2["error_inflation"].values)
    return np.sort(factors[np.isfinite(factors)])


@pytest.mark.parametrize("name", CASES)
def test_trust__a_clean_product_is_not_accused(trusted, name):
    level2 = trusted(name)
    severe, seen = severe_of(level2)
    assert np.mean(severe[seen] if severe.ndim else severe) < 0.05
    assert not quality.severe(quality.overall(level2["quality_flag"].values))
    factors = inflation_of(level2)
    assert factors[factors.size // 2] < 1.15


@pytest.mark.parametrize("name", CASES)
def test_trust__errors_stated_too_small_are_widened(made, trusted, name):
    """Half of the noise that there is: chi-square is four."""
    one = made(name)
    level1, setup = one.level1, one.setup
    if "transmittance_error" in level1:
        half = 0.5 * level1["transmittance_error"]
        level1 = level1.assign(transmittance_error=half)
    else:
        noise = float(trusted(name)["spectrum_noise"].median())
        setup = setup.replace(noise=0.5 * noise)
    level2 = tgo.retrieve(level1, setup)
    severe, seen = severe_of(level2)
    factors = inflation_of(level2)
    widened = factors[factors.size // 5 :].min() > 1.6
    assert widened or (severe[seen].all() if severe.ndim else severe)
    assert set(quality.names(level2["quality_flag"].values)) & {
        "noise_inconsistent", "poor_fit",
    }  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_trust__an_alien_line_is_covered_or_severe(made, trusted, name):
    """A line of 1 % in all spectra that nobody knows of, amid the window."""
    one, clean = made(name), trusted(name)
    fitted = [int(pixel) for pixel in clean.attrs["fitted_pixels"].split("-")]
    signal = one.level1[signal_of(one)]
    # as wide as the line shape: binned pixels of UVIS are wider
    width = 0.4 if name.startswith("ozone") else 1.5
    for part in (0.35, 0.6):
        at = fitted[0] + part * (fitted[1] - fitted[0])
        line = np.exp(-0.5 * ((np.arange(signal.sizes["pixel"]) - at) / width) ** 2)
        spoilt = signal * xr.DataArray(1.0 - 0.01 * line, dims="pixel")
        level1 = one.level1.assign({signal_of(one): spoilt.astype(signal.dtype)})
        try:
            level2 = tgo.retrieve(level1, one.setup)
        except RetrievalError as error:  # nothing is said where nothing fits
            if error.rule != "fit.diverged":
                raise
            continue
        severe, _ = severe_of(level2)
        if not severe.ndim and severe:
            continue
        for total in level2.data_vars:
            known = "contains" in level2[total].attrs
            if not known or "layer" in str(total):
                continue
            value = str(total).removesuffix("_error")
            off = np.abs(level2[value] - clean[value]) / level2[total]
            good = np.isfinite(off.values)
            if off.dims == ("spectrum",):
                bits = level2.get("spectrum_quality_flag", level2["quality_flag"])
                good &= ~quality.severe(bits.values)
                if value in ALONE:
                    good &= (bits.values & quality.pack(["lines_not_compared"])) == 0
            far = off.values[good] >= 3.0
            assert far.sum() <= 0.05 * far.size, (part, value)


def struck(one, fitted):
    """Return its spectra with values that are no light, of several sorts; how many."""
    signal = one.level1[signal_of(one)]
    spoilt = signal.copy(deep=True)
    # where it is fitted, apart from each other
    first, last = (int(pixel) for pixel in fitted.split("-"))
    at = [first + int(part * (last - first)) for part in (0.4, 0.5, 0.55, 0.6)]
    row = [int(part * len(signal)) for part in (0.3, 0.45, 0.5, 0.55)]
    spoilt[row[0], at[0]] = 1e30
    spoilt[row[1], at[1]] = np.inf
    spoilt[row[2], at[2]] = 0.0
    spoilt[row[3], at[3] : at[3] + 7] = 0.0  # what did not arrive
    level1 = one.level1.assign({signal_of(one): spoilt})
    if "transmittance_error" in level1:
        error = level1["transmittance_error"].copy(deep=True)
        error[row[0], at[3]], error[row[2], at[0]] = 0.0, 1e-25
        return level1.assign(transmittance_error=error), 12
    return level1, 10


@pytest.mark.parametrize("name", CASES)
def test_trust__values_that_are_no_light_are_left_out_and_counted(made, trusted, name):
    one, clean = made(name), trusted(name)
    level1, count = struck(one, clean.attrs["fitted_pixels"])
    level2 = tgo.retrieve(level1, one.setup)
    assert int(level2["unusable_pixels"].sum()) == count
    assert int(clean["unusable_pixels"].sum()) == 0
    assert np.mean(quality.severe(level2["quality_flag"].values)) == np.mean(
        quality.severe(clean["quality_flag"].values)
    )
    for total in level2.data_vars:
        if "contains" in level2[total].attrs:
            value = str(total).removesuffix("_error")
            off = np.abs(level2[value] - clean[value]) / level2[total]
            assert float(off.max()) < 3.0, value  # some pixels are not there


@pytest.mark.parametrize("name", CASES)
def test_trust__a_fit_that_did_not_end_says_so(made, monkeypatch, name):
    one = made(name)
    setup = one.setup
    monkeypatch.setattr(solve, "LIMIT", 0.0)  # it may end where it begins
    level1 = one.level1
    if name.split()[-1] not in ("slant", "nadir"):
        setup = setup.replace(max_iterations=1)
    elif name != "nadir":  # every row by itself, as many steps as it may take
        level1 = level1.isel(spectrum=slice(0, None, 3))
    level2 = tgo.retrieve(level1, setup)
    ended = (level2["quality_flag"].values & quality.pack(["not_converged"])) == 0
    _, seen = severe_of(level2)
    assert np.mean(ended[seen] if ended.ndim else ended) < 0.1


@pytest.mark.parametrize("name", CASES)
def test_trust__a_calibration_that_failed_is_said_of_all(made, name):
    one = made(name)
    failed = one.level1.assign_attrs(calibration_status="failed")
    level2 = tgo.retrieve(failed, one.setup)
    mask = quality.pack(["calibration_failed"])
    assert ((level2["quality_flag"].values & mask) != 0).all()


# the pieces


def test_dataset__refuses_a_name_that_the_catalogue_lacks():
    for name in ("ch4_vmrr", "transmittance", "ch4_sum_w"):
        with pytest.raises(TgoError) as caught:
            dataset({name: np.zeros(2)}, {})
        assert caught.value.rule == "variables.unknown"
        assert caught.value.field == name


def test_dataset__takes_dims_from_the_number_of_axes():
    ds = dataset({"wavenumber_shift": 0.5, "ch4_vmr": np.zeros(3)}, {"a": 1})
    assert ds["wavenumber_shift"].dims == ()
    assert ds["ch4_vmr"].dims == ("altitude",)
    assert dataset({"wavenumber_shift": np.zeros(2)}, {}).wavenumber_shift.dims == (
        "bin",
    )


def test_moment__does_not_depend_on_the_order_of_rows():
    height = np.array([30.0, 10.0, 50.0, 20.0, 40.0])
    time = np.datetime64("2020-01-01T00:00:00", "ns") + np.arange(5).astype("m8[s]")
    level1 = xr.Dataset(
        coords={"time": ("spectrum", time), "solar_longitude": ("spectrum", height)}
    )
    rows = np.arange(5)
    for turned in (rows, rows[::-1], np.roll(rows, 2)):
        found = moment(level1, turned, height[turned])
        assert found["time"] == time[0]
        assert found["solar_longitude"] == 30.0
    # of an even number the upper of the two in the middle
    assert moment(level1, rows[:4], height[:4])["time"] == time[0]
    assert moment(level1.drop_vars("time"), rows, height) == {}
    bare = level1.drop_vars("solar_longitude")
    season = float(tgo.solar_longitude(time[0]))
    assert moment(bare, rows, height)["solar_longitude"] == season


def test_places__cross_the_date_line_and_midnight():
    height = np.array([0.0, 10.0, 20.0])
    level1 = xr.Dataset(
        coords={
            "longitude": ("spectrum", [179.0, -179.0, -177.0]),
            "local_true_solar_time": ("spectrum", [23.5, 0.5, np.nan]),
            "latitude": ("spectrum", [np.nan] * 3),
        }
    )
    found = places(level1, np.arange(3), height, np.array([5.0, 15.0]))
    np.testing.assert_allclose(found["longitude"], [-180.0, -178.0])
    np.testing.assert_allclose(found["local_true_solar_time"], [0.0, 0.5])
    assert "latitude" not in found
