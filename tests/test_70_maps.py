"""Maps: the same from any partition; means unbiased, errors and limits that cover."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tgo_spectra.errors import TgoError
from tgo_spectra.files.netcdf import open_verified, write_level2, write_map
from tgo_spectra.maps import Grid, grid_level2, merge_maps
from tgo_spectra.variables import MAP_AXES, lookup, validate

GRID = Grid(latitude=[-90, -30, 30, 90], solar_longitude=range(0, 361, 90))


def profile(
    value=0.0,
    error=1.0,
    *,
    altitude=(10.0, 11.0),
    latitude=0.0,
    longitude=0.0,
    ls=10.0,
    gas="ch4",
    kernel=1.0,
    converged=True,
):
    n = len(altitude)

    def along(number):
        return ("altitude", np.broadcast_to(np.asarray(number, float), (n,)).copy())

    ds = {
        f"{gas}_vmr": along(value),
        f"{gas}_vmr_error": along(error),
        f"{gas}_vmr_noise_error": along(error),
        f"{gas}_averaging_kernel": (
            ("altitude", "altitude_in"),
            np.diag(along(kernel)[1]),
        ),
        "latitude": along(latitude),
        "longitude": along(longitude),
        "local_true_solar_time": along(6.0),
        "pressure": along(100.0),
        "solar_longitude": ((), float(ls)),
        "mars_year": ((), 36),
        "converged": ((), converged),
    }
    return xr.Dataset(ds, {"altitude": list(altitude), "altitude_in": list(altitude)})


def random_profiles(n, seed=0):
    rng = np.random.default_rng(seed)
    return [
        profile(
            rng.normal(size=2),
            rng.uniform(0.5, 2, 2),
            latitude=rng.uniform(-90, 90, 2),
            ls=rng.uniform(0, 360),
            gas=str(rng.choice(["ch4", "h2o"])),
        )
        for _ in range(n)
    ]


def assert_same(left, right):
    assert set(left.variables) == set(right.variables)
    for name in left.variables:
        np.testing.assert_allclose(
            left[name].values, right[name].values, rtol=1e-12, atol=1e-12, err_msg=name
        )


PROFILES = random_profiles(24)
WHOLE = grid_level2(PROFILES, GRID)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(order=st.permutations(range(24)), cuts=st.sets(st.integers(1, 23), max_size=4))
def test_merge__any_partition_and_order_gives_the_whole(order, cuts):
    edges = [0, *sorted(cuts), 24]
    parts = [
        grid_level2([PROFILES[i] for i in order[a:b]], GRID)
        for a, b in itertools.pairwise(edges)
    ]
    merged = merge_maps(parts)
    assert_same(merged, WHOLE)
    assert merged.attrs["n_profiles"] == 24


def test_grid__brute_force():
    for i, ls in enumerate(range(0, 360, 90)):
        for j, lat in enumerate([-90, -30, 30]):
            values, variances = [], []
            for ds in PROFILES:
                if "ch4_vmr" not in ds or not ls <= ds["solar_longitude"] < ls + 90:
                    continue
                there = (ds["latitude"] >= lat) & (ds["latitude"] < lat + 60)
                x = ds["ch4_vmr"].values[there.values]
                s = ds["ch4_vmr_error"].values[there.values]
                if x.size:
                    w = s**-2 / np.sum(s**-2)
                    values.append(np.sum(w * x))
                    variances.append(np.sum(w * s) ** 2)
            cell = WHOLE.isel(solar_longitude=i, latitude=j)
            assert cell["ch4_count"] == len(values)
            if values:
                w = 1 / np.array(variances)
                mean = np.sum(w * values) / w.sum()
                assert float(cell["ch4_mean"]) == pytest.approx(mean, rel=1e-12)
                formal = float(cell["ch4_standard_error_formal"])
                assert formal == pytest.approx(w.sum() ** -0.5, rel=1e-12)


@pytest.mark.parametrize("weights", ["inverse_variance", "uniform"])
def test_grid__of_a_constant_is_the_constant(weights):
    rng = np.random.default_rng(2)
    many = [
        profile(3.5, rng.uniform(1, 2), latitude=rng.uniform(-90, 90)) for _ in range(9)
    ]
    ds = grid_level2(many, Grid(latitude=[-90, 0, 90]), weights=weights)
    np.testing.assert_allclose(ds["ch4_mean"], 3.5, rtol=1e-12)
    np.testing.assert_allclose(ds["ch4_standard_error_scatter"], 0.0, atol=1e-6)


def test_mean__unbiased_where_clipping_is_not():
    rng = np.random.default_rng(3)
    truth, sigma, n = 0.01, 0.05, 150
    noisy = [truth + sigma * rng.normal() for _ in range(n)]
    grid = Grid(latitude=[-90, 90])
    ds = grid_level2([profile(x, sigma) for x in noisy], grid)
    se = float(ds["ch4_standard_error_formal"][0])
    assert se == pytest.approx(sigma / np.sqrt(n))
    assert abs(float(ds["ch4_mean"][0]) - truth) < 3 * se
    assert float(ds["ch4_standard_error_scatter"][0]) == pytest.approx(se, rel=0.1)
    clipped = grid_level2([profile(max(x, 0.0), sigma) for x in noisy], grid)
    assert float(clipped["ch4_mean"][0]) - truth > 3 * se


def test_sample__levels_of_one_profile_are_one_sample():
    ds = profile([1.0, 3.0], 2.0)
    grid = Grid(latitude=[-90, 90])
    cautious = grid_level2(ds, grid)
    assert cautious["ch4_count"].item() == 1
    assert cautious["ch4_mean"].item() == 2.0
    assert cautious["ch4_standard_error_formal"].item() == pytest.approx(2.0)
    free = grid_level2(ds, grid, vertical_correlation_km=0.0)
    assert free["ch4_standard_error_formal"].item() == pytest.approx(np.sqrt(2.0))
    between = grid_level2(ds, grid, vertical_correlation_km=1.0)
    expected = 2.0 * np.sqrt((1 + np.exp(-1.0)) / 2)
    assert between["ch4_standard_error_formal"].item() == pytest.approx(expected)
    assert np.isnan(cautious["ch4_standard_error_scatter"].item())
    covariance = np.array([[4.0, -1.0], [-1.0, 4.0]])
    ds["ch4_vmr_noise_covariance"] = (("altitude", "altitude_in"), covariance)
    known = grid_level2(ds, grid, vertical_correlation_km="covariance")
    assert known["ch4_standard_error_formal"].item() == pytest.approx(np.sqrt(1.5))
    with pytest.raises(TgoError, match="noise"):
        grid_level2(profile(), grid, vertical_correlation_km="covariance")


def test_sample__weak_response_and_unconverged_left_out():
    grid = Grid(latitude=[-90, 90])
    weak = profile([1.0, 9.0], 1.0, kernel=[1.0, 0.45])
    weak["ch4_vmr_apriori"] = ("altitude", [9.0, 9.0])
    ds = grid_level2([weak, profile(7.0, converged=False)], grid)
    assert ds["ch4_mean"].item() == 1.0
    assert ds.attrs["n_profiles_left_out"] == 1
    assert ds.attrs["minimum_response"] == 0.5
    both = grid_level2([weak], grid, minimum_response=0.4)
    # the second level is worth as much as its noise without the a priori
    assert both["ch4_mean"].item() == pytest.approx((1 + 0.45**2 * 9) / (1 + 0.45**2))
    bad = profile([np.nan, 2.0], [1.0, 1.0])
    assert grid_level2(bad, grid)["ch4_mean"].item() == 2.0


def test_best_limit__lowest_of_single_profiles():
    many = [profile(-4.0, 1.0), profile(0.5, 0.5), profile(9.0, 0.1)]
    ds = grid_level2(many, Grid(latitude=[-90, 90]))
    assert ds["ch4_best_upper_limit"].item() == pytest.approx(1.5)
    three = grid_level2(many, Grid(latitude=[-90, 90]), sigma_level=3)
    assert three["ch4_best_upper_limit"].item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("axis", "edges", "value", "cell"),
    [
        ("longitude", [-180, 0, 180], -180.0, 0),
        ("longitude", [-180, 0, 180], 180.0, 0),
        ("longitude", [-180, 0, 180], 359.0, 0),
        ("longitude", [0, 180, 360], -1.0, 1),
        ("longitude", [0, 90], 200.0, -1),
        ("solar_longitude", [0, 180, 360], 360.0, 0),
        ("solar_longitude", [0, 180, 360], 359.99, 1),
        ("solar_longitude", [0, 180, 360], -1e-14, 0),
        ("latitude", [-90, 0, 90], 90.0, 1),
        ("latitude", [-90, 0, 90], 0.0, 1),
        ("altitude", [0, 10, 20], 20.0, -1),
        ("altitude", [0, 10, 20], -0.1, -1),
        ("mars_year", [35, 36, 37], 36.0, 1),
        ("altitude", [0, 10], np.nan, -1),
    ],
)
def test_grid__edges(axis, edges, value, cell):
    grid = Grid(**{axis: edges})
    assert grid.cell({axis: np.array([value])}).tolist() == [cell]


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ({"latitude": [0]}, "two edges"),
        ({"latitude": [0, -10]}, "ascending"),
        ({"latitude": [0, np.nan]}, "finite"),
        ({"latitude": [-100, 0]}, "-90"),
        ({"longitude": [0, 361]}, "360"),
        ({"mars_year": [35.5, 36]}, "whole"),
        ({"altitude": ["a", "b"]}, "numbers"),
        ({"altitude": [0, 1], "pressure": [1, 2]}, "not both"),
    ],
)
def test_grid__wrong_edges_refused(axes, text):
    with pytest.raises(TgoError, match=text) as caught:
        Grid(**axes)
    assert caught.value.rule == "map.grid"


@pytest.mark.parametrize("spec", ["lat=0:1:1", "latitude=0:1", "latitude=0:1:0.3", ""])
def test_grid__wrong_spec_refused(spec):
    with pytest.raises(TgoError) as caught:
        Grid.from_spec(spec)
    assert caught.value.rule == "map.grid"


def test_grid__all_axes_in_order():
    grid = Grid.from_spec(
        "longitude=-180:180:60,latitude=-90:90:30,altitude=0:100:10,"
        "solar_longitude=0:360:30,mars_year=35:37:1,local_time_class"
    )
    ds = grid_level2(profile(1.0, 2.0, latitude=45.0, longitude=-170.0, ls=95.0), grid)
    assert ds["ch4_mean"].dims == grid.dims
    cell = ds.sel(
        mars_year=36, latitude=45, longitude=-150, solar_longitude=105, altitude=15
    )
    assert cell["ch4_count"].values.tolist() == [1, 0]
    assert ds["ch4_count"].sum() == 1
    np.testing.assert_array_equal(ds["latitude_bounds"][0], [-90, -60])


def test_grid__no_axis_sums_all():
    ds = grid_level2([profile(1.0), profile(3.0)], Grid())
    assert ds["ch4_mean"].dims == ()
    assert ds["ch4_mean"].item() == 2.0


def test_input__files_folder_and_map_in_it(tmp_path):
    for i, ds in enumerate(PROFILES[:3]):
        write_level2(ds, tmp_path / "l2" / f"{i}.nc")
    whole = grid_level2(PROFILES[:3], GRID)
    write_map(whole, tmp_path / "map.nc")
    for level2 in (tmp_path, sorted((tmp_path / "l2").iterdir())):
        found = grid_level2(level2, GRID)
        assert found["input_key"].size == 3  # a file is known by itself
        assert_same(found.drop_vars("input_key"), whole.drop_vars("input_key"))
    other = grid_level2(PROFILES[3:], GRID)
    merged = merge_maps([tmp_path / "map.nc", other])
    assert_same(merged, WHOLE)
    assert_same(open_verified(write_map(merged, tmp_path / "b.nc")), WHOLE)


def test_refused__unknown_choices_and_empty():
    grid = Grid(latitude=[-90, 90])
    cases = [
        ({"weights": "best"}, "map.weights"),
        ({"without_kernel": "guess"}, "map.without_kernel"),
        ({"form": "thin"}, "map.form"),
        ({"minimum_response": 2.0}, "map.response"),
        ({"vertical_correlation_km": -1.0}, "map.correlation"),
        ({"vertical_correlation_km": "kernel"}, "map.correlation"),
        ({"gases": ["xe"]}, "map.gas"),
        ({"sigma_level": 0}, "map.sigma_level"),
    ]
    for options, rule in cases:
        with pytest.raises(TgoError) as caught:
            grid_level2(profile(), grid, **options)
        assert caught.value.rule == rule
    with pytest.raises(TgoError) as caught:
        grid_level2([], grid)
    assert caught.value.rule == "map.empty"
    with pytest.raises(TgoError) as caught:
        grid_level2(profile().drop_vars("latitude"), grid)
    assert caught.value.field == "latitude"
    with pytest.raises(TgoError) as caught:
        grid_level2("/no/such/folder", grid)
    assert caught.value.rule == "map.no_input"


def test_merge__different_maps_refused():
    one = grid_level2(profile(), Grid(latitude=[-90, 90]))
    for other in (
        grid_level2(profile(), Grid(latitude=[-80, 0, 90])),
        grid_level2(profile(), Grid(longitude=[-180, 180])),
        grid_level2(profile(), Grid(latitude=[-90, 90]), sigma_level=3),
    ):
        with pytest.raises(TgoError) as caught:
            merge_maps([one, other])
        assert caught.value.rule == "map.merge"
    with pytest.raises(TgoError):
        merge_maps([])
    field = next(n for n in one.data_vars if str(n).endswith("_latitude_count"))
    with pytest.raises(TgoError, match="another version: make it again") as caught:
        merge_maps([one, one.drop_vars(field)])
    assert (caught.value.field, caught.value.rule) == (field, "map.merge")
    assert caught.value.path is not None


def test_input__not_changed():
    before = PROFILES[0].copy(deep=True)
    grid_level2(PROFILES[0], GRID)
    xr.testing.assert_identical(before, PROFILES[0])


def test_map__repeats_what_level_2_says_of_itself():
    def level2(lines, **attrs):
        ds = xr.Dataset(
            {
                "ch4_vmr": ("altitude", [1e-11, 2e-11]),
                "ch4_vmr_error": ("altitude", [1e-11, 1e-11]),
                "ch4_averaging_kernel": (("altitude", "altitude_in"), np.eye(2)),
                "latitude": ((), 10.0),
            },
            {"altitude": [1.0, 2.0]},
        )
        return ds.assign_attrs(
            setup_hash="a", table="so_134_136", ch4_lines=lines, n_orders=6, **attrs
        )

    grid = Grid(latitude=[-90, 90])
    both = grid_level2([level2("one"), level2("two", software="tgo 1")], grid)
    apart = merge_maps(
        [
            grid_level2(level2("two", software="tgo 1"), grid),
            grid_level2(level2("one"), grid),
        ]
    )
    for ds in (both, apart):
        assert ds.attrs["setup_hash"] == "a"
        assert ds.attrs["table"] == "so_134_136"
        assert ds.attrs["ch4_lines"] == "one | two"
        assert ds.attrs["software"] == "tgo 1"
        assert ds.attrs["n_orders"] == "6"
        assert "h2o_lines" not in ds.attrs


def test_map__meets_the_catalogue():
    grid = Grid(
        latitude=[-90, 0, 90],
        altitude=[0, 10],
        solar_longitude=[0, 360],
        mars_year=[35, 36],
        local_time_class=True,
    )
    ds = grid_level2([], grid, gases=["ch4", "h2o"])
    assert grid.dims == tuple(axis for axis in MAP_AXES if axis in grid.dims)
    validate(ds, level=3)
    bounds = {f"{axis}_bounds" for axis in grid.dims}
    assert {n for n in ds.variables if lookup(n) is None} == bounds
