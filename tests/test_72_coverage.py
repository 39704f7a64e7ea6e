"""What maps claim: limits and errors cover the truth at their rates, cell by cell.

Cells are made of samples directly; 20,000 cells take a second.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import TgoError
from tgo_spectra.files.netcdf import open_verified, write_map
from tgo_spectra.maps import dense
from tgo_spectra.maps.statistics import follows_values, statistics
from tgo_spectra.maps.sums import Values, single_samples, summed

CELLS = 20_000
MANY = 100_000  # profiles
WHOLE = tgo.Grid(latitude=[-90, 90])


def cells(x, noise, *, systematic=0.0, smoothing=0.0, response=1.0, apriori=0.0):
    """Sums of cells, from values of shape (cell, profile)."""
    shape = x.shape

    def flat(values):
        return np.broadcast_to(np.asarray(values, float), shape).ravel()

    r, nothing = flat(response), np.zeros(x.size)
    values = Values(
        np.repeat(np.arange(shape[0]), shape[1]), nothing, x.ravel(), flat(noise),
        flat(noise) / r, flat(smoothing), flat(systematic), r,
        (1 / r - 1) * (x.ravel() - flat(apriori)), nothing > 1, nothing, nothing,
        nothing, nothing,
    )  # fmt: skip
    return summed([single_samples(values, 2.0)])


def covers(found, truth=0.0):
    """Rates, in percent: of 2 standard errors, of mean + 2 of them, of the limit."""
    mean, error = found["mean"], found["standard_error"]
    return [
        100.0 * np.mean(inside)
        for inside in (
            np.abs(mean - truth) <= 2 * error,
            mean + 2 * error >= truth,
            found["upper_limit"] >= truth,
        )
    ]


WEIGHTS = ("random_effects", "inverse_variance", "uniform")


NUMBERS = [2, 3, 5, 8, 20, 100]
SCATTERS = [0.0, 1.0, 5.0]  # of nature, in units of the noise


def errors_of(kind, rng, n):
    """Errors by noise, (cell, profile)."""
    shape = (CELLS if n < 100 else 4000, n)
    if kind == "alike":
        return np.ones(shape)
    if kind == "fourfold":
        return rng.uniform(0.5, 2.0, shape)
    if kind == "tenfold":
        return 10.0 ** rng.uniform(-0.5, 0.5, shape)
    number = {"one good": 1, "half good": (n + 1) // 2, "one bad": n - 1}[kind]
    return np.where(np.arange(n) < number, 10**-0.5, 10**0.5) * np.ones(shape)


def few(kind, n, scatter):
    """Cells of profiles that nature scatters around zero."""
    rng = np.random.default_rng([n, int(scatter)])
    sigma = errors_of(kind, rng, n)
    x = rng.normal(size=sigma.shape) * np.hypot(sigma, scatter)
    return x, cells(x, sigma)


@pytest.mark.parametrize("scatter", SCATTERS)
@pytest.mark.parametrize("n", NUMBERS)
@pytest.mark.parametrize("errors", ["alike", "fourfold"])
def test_few_profiles__nominal_at_each_number(n, scatter, errors):
    x, sums = few(errors, n, scatter)
    for weights in WEIGHTS if errors == "fourfold" else WEIGHTS[:1]:
        found = statistics(sums, weights, 2.0)
        two, one, limit = covers(found)
        assert 93.4 <= two <= 97.4, weights
        assert 96.7 <= one <= 98.7, weights
        assert limit >= 96.7, weights
        assert abs(found["mean"].mean()) < 5 * found["mean"].std() / x.shape[0] ** 0.5


@pytest.mark.parametrize("scatter", SCATTERS)
@pytest.mark.parametrize("n", NUMBERS)
@pytest.mark.parametrize("errors", ["tenfold", "one good", "half good", "one bad"])
def test_few_profiles__whose_errors_differ_tenfold(n, scatter, errors):
    """Few of them say nothing of nature's spread: what it may be has to be covered."""
    _, sums = few(errors, n, scatter)
    lowest = 94.0 if errors == "tenfold" else 92.6
    for weights in WEIGHTS[:2]:
        two, one, limit = covers(statistics(sums, weights, 2.0))
        assert two >= lowest, weights
        assert one >= 0.5 * (100.0 + lowest) - 0.4, weights
        assert limit >= 0.5 * (100.0 + lowest) - 0.4, weights
        if errors == "tenfold":
            assert two <= 98.8, weights


def test_few_profiles__the_formal_error_alone_would_not_cover():
    x = np.random.default_rng(1).normal(0, 5.1, (CELLS, 5))
    found = statistics(cells(x, 1.0), "inverse_variance", 2.0)
    inside = np.abs(found["mean"]) <= 2 * found["standard_error_formal"]
    assert inside.mean() < 0.4


@pytest.mark.parametrize("k", [1.0, 3.0])
def test_few_profiles__other_sigma_levels(k):
    nominal = {1.0: 0.6827, 3.0: 0.9973}[k]
    x = np.random.default_rng(2).normal(0, 5.1, (CELLS, 4))
    found = statistics(cells(x, 1.0), "random_effects", k)
    inside = np.abs(found["mean"]) <= k * found["standard_error"]
    assert inside.mean() == pytest.approx(nominal, abs=0.01)


@pytest.mark.parametrize("n", [2, 5, 50])
def test_systematic_error__does_not_fall_with_the_number(n):
    rng = np.random.default_rng(n)
    shape = (MANY // n, n)
    lines = rng.normal(size=(shape[0], 1))  # what all profiles of a cell share
    x = 1.0 + 0.1 * lines + 0.3 * rng.normal(size=shape)
    found = statistics(cells(x, 0.3, systematic=0.1), "inverse_variance", 2.0)
    two, one, limit = covers(found, 1.0)
    # the square of Student's quantile and those of the others cover more at two
    wider = 1.0 if n == 2 else 0.0
    assert 93.4 <= two <= 97.4 + wider
    assert 96.7 <= one <= 98.7 + wider
    assert limit >= 96.7
    np.testing.assert_allclose(found["systematic_error"], 0.1)
    if n == 50:
        formal = np.abs(found["mean"] - 1.0) <= 2 * found["standard_error_formal"]
        assert formal.mean() < 0.75


@pytest.mark.parametrize("response", [0.11, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("n", [1, 5, 50])
def test_apriori__limit_covers_whatever_the_kernel(response, n):
    """A priori zero, of a width that level 2 does not say."""
    rng = np.random.default_rng(n)
    for truth in (0.0, 0.1, 0.3, 1.0):
        noise = 0.1 * response
        x = response * truth + noise * rng.normal(size=(MANY // n, n))
        found = statistics(cells(x, noise, response=response), "inverse_variance", 2.0)
        two, _, limit = covers(found, truth)
        assert limit >= 97.0
        assert two >= 93.4 or n == 1
        np.testing.assert_allclose(found["apriori_share"], 1 - response)


@pytest.mark.parametrize("shared", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 5, 50])
def test_limit__covers_truths_about_itself(n, shared):
    rng = np.random.default_rng(n)
    for times in (0.0, 0.5, 1.0, 2.0):
        truth = times * 2.0 * np.hypot(n**-0.5, shared)
        common = shared * rng.normal(size=(MANY // n, 1))
        x = truth + common + rng.normal(size=(MANY // n, n))
        found = statistics(cells(x, 1.0, systematic=shared), "inverse_variance", 2.0)
        chance = 3 * 100 * (0.0228 * 0.9772 * n / MANY) ** 0.5
        assert covers(found, truth)[2] >= 97.72 - chance


def test_limit__of_a_negative_mean_is_not_below_the_sensitivity():
    x = np.array([[-2.0], [-9.0], [0.0], [3.0]])
    found = statistics(cells(x, 1.0), "inverse_variance", 2.0)
    np.testing.assert_allclose(found["upper_limit"], [2.0, 2.0, 2.0, 5.0])
    np.testing.assert_allclose(found["mean"], x[:, 0])
    pair = statistics(cells(np.array([[-1.0, -1.0]]), 1.0), "inverse_variance", 2.0)
    np.testing.assert_allclose(pair["upper_limit"], 2.0 / 2**0.5)


def test_weights__random_effects_are_close_to_the_best():
    """Against 1 / (noise^2 + spread^2), with the spread known."""
    rng = np.random.default_rng(7)
    sigma = rng.uniform(0.5, 2.0, (8000, 20))
    for scatter in (0.0, 0.5, 1.0, 5.0):
        x = rng.normal(size=sigma.shape) * np.hypot(sigma, scatter)
        sums = cells(x, sigma)
        size = {
            name: statistics(sums, name, 2.0)["mean"].var()
            for name in ("random_effects", "inverse_variance", "uniform")
        }
        best = np.mean(1 / np.sum(1 / (sigma**2 + scatter**2), axis=1))
        assert size["random_effects"] <= 1.06 * best
        assert size["random_effects"] <= 1.05 * min(size.values())


@pytest.mark.parametrize("gas", ["ch4", "h2o"])
def test_weights__errors_in_proportion_do_not_draw_the_mean_down(gas):
    rng = np.random.default_rng(8)
    many = [level2(100 * (1 + 0.2 * e), gas=gas, part=0.2) for e in rng.normal(size=99)]
    found = tgo.grid_level2(many, WHOLE)
    assert found[f"{gas}_mean"].item() == pytest.approx(100.0, abs=6.0)
    assert found[f"{gas}_mean"].attrs["weights"] == "uniform"
    low = tgo.grid_level2(many, WHOLE, weights="inverse_variance")
    assert low[f"{gas}_mean"].item() < 95.0
    told = tgo.grid_level2(
        many, WHOLE, weights="inverse_variance", proportional_errors=True
    )
    assert told[f"{gas}_mean"].item() == pytest.approx(found[f"{gas}_mean"].item())
    with pytest.raises(TgoError, match="above zero") as caught:
        tgo.grid_level2(level2(-1.0), WHOLE, proportional_errors=True)
    assert caught.value.rule == "map.proportional"


def test_weights__absolute_errors_are_not_taken_for_proportional():
    rng = np.random.default_rng(9)
    for scatter in (0.0, 5.0):
        sigma = rng.uniform(0.5, 2.0, (1000, 8))
        for _ in range(10):
            x = rng.normal(size=sigma.shape) * np.hypot(sigma, scatter)
            assert not follows_values(cells(x, sigma))


def test_weights__by_gas_and_fitted_as_a_logarithm():
    found = tgo.grid_level2([level2(1.0), level2(2.0, gas="h2o")], WHOLE)
    assert found["ch4_mean"].attrs["weights"] == "inverse_variance"
    assert found["h2o_mean"].attrs["weights"] == "random_effects"
    # of logarithms the errors count in proportion: here as those of equal size
    many = [level2(x, part=0.2, apriori=1.0) for x in (1.0, 4.0)]
    for ds in many:
        ds["ch4_vmr"].attrs["state"] = "log"
    log = tgo.grid_level2(many, WHOLE, weights="inverse_variance")
    assert log["ch4_mean"].item() == pytest.approx(2.5)


def level2(
    value, *, error=1.0, part=None, gas="ch4", kernel=1.0, apriori=None, **change
):
    """One level, by hand."""
    error = error if part is None else part * value
    data = {
        f"{gas}_vmr": value,
        f"{gas}_vmr_error": error,
        f"{gas}_vmr_noise_error": error,
        "latitude": 10.0,
        "longitude": 20.0,
        "local_true_solar_time": 6.0,
    } | change
    if apriori is not None:
        data[f"{gas}_vmr_apriori"] = apriori
    ds = xr.Dataset(
        {name: ("altitude", [float(x)]) for name, x in data.items()},
        {"altitude": [10.0]},
    )
    if kernel is not None:
        matrix = np.atleast_2d(kernel)
        ds[f"{gas}_averaging_kernel"] = (("altitude", "altitude_in"), matrix)
    return ds.assign(solar_longitude=350.0, mars_year=35)


def test_level2__parts_of_the_error_go_their_own_ways():
    parts = {"ch4_vmr_noise_error": 3.0, "ch4_vmr_smoothing_error": 4.0}
    many = [level2(1.0, error=13.0, **parts) for _ in range(4)]
    found = tgo.grid_level2(many, WHOLE)
    assert found["ch4_standard_error_formal"].item() == pytest.approx(1.5)
    assert found["ch4_smoothing_error"].item() == pytest.approx(4.0)
    assert found["ch4_systematic_error"].item() == pytest.approx(12.0)
    whole = np.sqrt((0.6 * 0.75 * 1.5) ** 2 + 4.0**2 + 12.0**2)
    assert found["ch4_standard_error"].item() == pytest.approx(whole)
    assert found["ch4_standard_error"].attrs["standard_name"].endswith("standard_error")
    assert "standard_name" not in found["ch4_standard_error_formal"].attrs


def test_level2__levels_that_follow_the_apriori_are_left_out():
    weak = level2(0.1, kernel=0.3, apriori=0.0)
    assert tgo.grid_level2(weak, WHOLE)["ch4_count"].item() == 0
    loose = tgo.grid_level2(weak, WHOLE, minimum_response=0.1)
    assert loose["ch4_apriori_share"].item() == pytest.approx(0.7)
    assert loose["ch4_smoothing_error"].item() == pytest.approx(0.7 / 0.3 * 0.1)
    # neither a priori nor smoothing error: what is missing is not known
    assert tgo.grid_level2(level2(1.0, kernel=0.9), WHOLE)["ch4_count"].item() == 0
    said = level2(1.0, kernel=0.9, ch4_vmr_smoothing_error=0.5)
    assert tgo.grid_level2(said, WHOLE)["ch4_count"].item() == 1


def test_level2__rows_of_the_kernel_count_not_its_diagonal():
    """Of fine levels each diagonal is small, though nothing is a priori."""
    n = 8
    ds = xr.Dataset(
        {
            "ch4_vmr": ("altitude", np.ones(n)),
            "ch4_vmr_error": ("altitude", np.ones(n)),
            "ch4_averaging_kernel": (
                ("altitude", "altitude_in"), np.full((n, n), 1 / n),
            ),
            "latitude": 0.0,
        },
        {"altitude": np.arange(n)},
    )  # fmt: skip
    found = tgo.grid_level2(ds, WHOLE)
    assert found["ch4_count"].item() == 1
    assert found["ch4_apriori_share"].item() == pytest.approx(0.0)


def test_level2__without_kernel_is_refused_left_out_or_named():
    bare = level2(1.0, kernel=None)
    with pytest.raises(TgoError, match="prior_free") as caught:
        tgo.grid_level2(bare, WHOLE)
    assert (caught.value.rule, caught.value.field) == ("map.kernel", "ch4")
    both = tgo.grid_level2([bare, level2(3.0)], WHOLE, without_kernel="leave_out")
    assert both["ch4_mean"].item() == 3.0
    assert both.attrs["n_profiles_without_kernel"] == 1
    taken = tgo.grid_level2([bare, level2(3.0)], WHOLE, without_kernel="prior_free")
    assert taken["ch4_mean"].item() == 2.0
    assert taken.attrs["without_kernel"] == "prior_free"
    with pytest.raises(TgoError, match="1 without averaging kernel"):
        tgo.grid_level2(bare, WHOLE, without_kernel="leave_out")


def test_level2__chi_square_above_the_highest_is_left_out():
    bad = level2(9.0).assign(reduced_chi_square=500.0)
    good = level2(1.0).assign(reduced_chi_square=1.1)
    found = tgo.grid_level2([bad, good], WHOLE)
    assert found["ch4_mean"].item() == 1.0
    assert found.attrs["n_left_out_chi_square"] == found.attrs["n_profiles_left_out"]
    assert found.attrs["maximum_chi_square"] == 10.0
    every = tgo.grid_level2([bad, good], WHOLE, maximum_chi_square=None)
    assert every["ch4_count"].item() == 2


def test_places__are_means_on_the_circle():
    east, west = level2(1.0, longitude=170.0), level2(1.0, longitude=-170.0)
    late = level2(1.0, longitude=180.0, latitude=40.0, local_true_solar_time=22.0)
    found = tgo.grid_level2([east, west, late.assign(solar_longitude=20.0)], WHOLE)
    assert abs(found["ch4_mean_longitude"].item()) == pytest.approx(180.0)
    assert found["ch4_mean_latitude"].item() == pytest.approx(20.0)
    assert found["ch4_mean_solar_longitude"].item() == pytest.approx(360.0, abs=1.0)
    assert found["ch4_mean_local_time"].item() == pytest.approx(4.0)


@pytest.mark.parametrize("kind", ["profile", "layer"])
def test_places__that_are_missing_leave_the_others(kind):
    """One place that is not known says nothing of the rest of a cell."""
    many = [level2(1.0, latitude=y, longitude=2 * y) for y in (10.0, 20.0, 60.0)]
    for name in ("latitude", "longitude", "local_true_solar_time"):
        many[2][name] = many[2][name] * np.nan
    if kind == "layer":
        for ds in many:
            ds["ch4_layer_vmr"] = ((), 1.0, {"layer_km": "5 30"})
            ds["ch4_layer_vmr_error"] = ds["ch4_layer_vmr_noise_error"] = 1.0
    field = {"profile": "ch4", "layer": "ch4_layer"}[kind]
    found = tgo.grid_level2(many, tgo.Grid(mars_year=[35, 36]))
    assert found[f"{field}_count"].item() == 3
    assert found[f"{field}_latitude_count"].item() == 2
    assert found[f"{field}_mean_latitude"].item() == pytest.approx(15.0)
    assert found[f"{field}_mean_longitude"].item() == pytest.approx(30.0)
    assert found[f"{field}_mean_local_time"].item() == pytest.approx(6.0)
    none = tgo.grid_level2(many[2:], tgo.Grid(mars_year=[35, 36]))
    for name in ("latitude", "longitude", "local_time"):
        assert np.isnan(none[f"{field}_mean_{name}"].item())
    # one level of a profile, the other has a place
    along = {n: ("altitude", [1.0, 1.0]) for n in ("ch4_vmr", "ch4_vmr_error")}
    along |= {"latitude": ("altitude", [10.0, np.nan])}
    along |= {"longitude": ("altitude", [20.0, np.nan]), "mars_year": 35}
    two = xr.Dataset(along, {"altitude": [10.0, 11.0]})
    half = tgo.grid_level2(
        two, tgo.Grid(mars_year=[35, 36]), without_kernel="prior_free"
    )
    assert half["ch4_mean_latitude"].item() == pytest.approx(10.0)
    assert half["ch4_mean_longitude"].item() == pytest.approx(20.0)


# --- merging -------------------------------------------------------------------------


def test_merge__years_and_edges_that_differ_by_rounding(tmp_path, capsys):
    from tgo_spectra.cli import main

    years = [level2(x).assign(mars_year=35 + k) for k, x in enumerate((1.0, 2.0, 4.0))]
    one = np.arange(-90.0, 90.1, 0.1)
    other = np.linspace(-90.0, 90.0, 1801)
    assert (one != other).any()
    maps = [
        tgo.grid_level2(ds, tgo.Grid(mars_year=[y, y + 1], latitude=edges))
        for ds, y, edges in zip(years, (35, 36, 37), (one, other, one), strict=True)
    ]
    files = [str(tgo.write_map(ds, tmp_path / f"{k}.nc")) for k, ds in enumerate(maps)]
    out = tmp_path / "all.nc"
    assert main(["merge", files[2], files[0], files[1], "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("3 profiles, ")
    merged = open_verified(out)
    whole = tgo.grid_level2(years, tgo.Grid(mars_year=[35, 36, 37, 38], latitude=one))
    assert merged["mars_year"].values.tolist() == [35, 36, 37]
    for name in whole.data_vars:
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-12, atol=1e-12)


def test_merge__longitudes_of_either_count():
    west = tgo.grid_level2(level2(1.0), tgo.Grid(longitude=range(-180, 181, 60)))
    east = tgo.grid_level2(
        level2(3.0, longitude=-150.0), tgo.Grid(longitude=range(0, 361, 60))
    )
    merged = tgo.merge_maps([west, east])
    assert merged["longitude"].values.tolist() == [-150, -90, -30, 30, 90, 150]
    assert merged["ch4_count"].values.tolist() == [1, 0, 0, 1, 0, 0]
    other = tgo.merge_maps([east, west])
    assert other["longitude"].values.tolist() == [30, 90, 150, 210, 270, 330]
    assert other["ch4_count"].values.tolist() == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "edges", [{"latitude": [-90, 30]}, {"longitude": [0, 360]}, {}], ids=str
)
def test_merge__cells_that_overlap_in_part_are_refused(edges):
    one = tgo.grid_level2(level2(1.0), tgo.Grid(latitude=[-90, 0, 90]))
    with pytest.raises(TgoError) as caught:
        tgo.merge_maps([one, tgo.grid_level2(level2(1.0), tgo.Grid(**edges))])
    assert caught.value.rule == "map.merge"


# --- large grids ---------------------------------------------------------------------


def test_sparse__a_grid_of_millions_costs_what_its_samples_cost(tmp_path):
    grid = tgo.Grid.from_spec(
        "mars_year=34:38:1,solar_longitude=0:360:5,altitude=0:100:2.5,"
        "latitude=-90:90:5,longitude=-180:180:5"
    )
    rng = np.random.default_rng(3)
    many = [level2(x, latitude=rng.uniform(-90, 90)) for x in range(30)]
    parts = [tgo.grid_level2(p, grid) for p in (many[:9], many[9:])]
    whole = tgo.grid_level2(many, grid)
    assert whole["ch4_mean"].dims == ("cell",)
    assert whole["cell"].attrs["compress"] == " ".join(grid.dims)
    assert whole.nbytes < 2e5
    merged = tgo.merge_maps([tgo.write_map(parts[1], tmp_path / "a.nc"), parts[0]])
    for name in whole.data_vars:
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-12, atol=1e-12)
    small = tgo.Grid(latitude=[-90, 0, 90], altitude=[0, 5, 20])
    thin = tgo.grid_level2(many, small, form="sparse")
    thick = tgo.grid_level2(many, small)
    xr.testing.assert_identical(dense(thin), thick)
    assert dense(thick) is thick
    back = open_verified(write_map(thin, tmp_path / "b.nc"))
    np.testing.assert_array_equal(dense(back)["ch4_mean"], thick["ch4_mean"])


def test_sums__the_compiled_loop_gives_what_numpy_gives():
    from tgo_spectra.maps import sums

    rng = np.random.default_rng(0)
    cell = rng.integers(0, 5000, 30_000)
    table = rng.normal(size=(cell.size, 18))
    for places in (slice(8, 9), slice(15, 18)):
        table[:, places][rng.random((cell.size, 18))[:, places] < 0.5] = np.nan
    fast = sums._compiled(cell, table)
    plain = sums._by_cell(cell, sums._terms(table), table[:, 15:])
    np.testing.assert_array_equal(fast.cell, plain.cell)
    np.testing.assert_allclose(fast.table, plain.table, rtol=1e-12, atol=1e-12)


def test_sums__are_those_of_exact_arithmetic():
    """Values that cancel, in any order and partition: to the last digits."""
    import math

    from tgo_spectra.maps import sums

    rng = np.random.default_rng(1)
    n, cells = 30_000, 3
    table = rng.normal(size=(n, 18)) * 10.0 ** rng.uniform(-6, 6, (n, 1))
    cell = rng.integers(0, cells, n)
    parts = [sums._compiled(cell[k::2], table[k::2]) for k in (1, 0)]
    both = sums._of_two(*parts)
    for found in (sums._compiled(cell, table), both):
        for c in range(cells):
            for name, column in (("sum_x", 0), ("sum_variance", 1), ("sum_w", 2)):
                exact = math.fsum(table[cell == c, column])
                largest = max(abs(p.column(name)[c]) for p in parts)
                assert abs(found.column(name)[c] - exact) <= 2e-16 * 2 * largest
    small = sums.joined(parts)
    np.testing.assert_allclose(small.table, both.table, rtol=1e-12)


def test_layer__is_mapped_beside_the_profile(tmp_path):
    def one(value, latitude, layer="5 30"):
        ds = level2(9.0, latitude=latitude)
        for name, number in (("", value), ("_error", 5.0), ("_noise_error", 3.0)):
            ds[f"ch4_layer_vmr{name}"] = number
        ds["ch4_layer_vmr"].attrs["layer_km"] = layer
        return ds.assign(ch4_layer_vmr_smoothing_error=0.0, ch4_layer_detected=1)

    grid = tgo.Grid(latitude=[-90, 0, 90], mars_year=[35, 36])
    many = [one(1.0, 10.0), one(3.0, 20.0), one(7.0, -80.0)]
    found = tgo.grid_level2(many, grid).squeeze()
    np.testing.assert_allclose(found["ch4_layer_mean"], [7.0, 2.0])
    np.testing.assert_allclose(found["ch4_layer_systematic_error"], 4.0)
    np.testing.assert_allclose(
        found["ch4_layer_standard_error_formal"], [3, 3 / 2**0.5]
    )
    np.testing.assert_allclose(found["ch4_layer_best_upper_limit"], [17.0, 11.0])
    np.testing.assert_allclose(found["ch4_layer_mean_latitude"], [-80.0, 15.0])
    assert found["ch4_layer_detected_count"].values.tolist() == [1, 2]
    assert found.attrs["ch4_layer_km"] == "5 30"
    back = open_verified(write_map(found, tmp_path / "a.nc"))
    np.testing.assert_array_equal(back["ch4_layer_mean"], found["ch4_layer_mean"])
    high = tgo.grid_level2(many, tgo.Grid(altitude=[0, 50]))
    assert "ch4_layer_mean" not in high
    assert high["ch4_count"].item() == 3


# --- grids ---------------------------------------------------------------------------


def test_grid__usual_steps():
    equal = tgo.Grid.over("solar_longitude", "latitude", equal_area=True)
    area = np.diff(np.sin(np.deg2rad(equal.latitude)))
    np.testing.assert_allclose(area, 2 / 36)
    for axes, shape in (
        (("solar_longitude", "altitude"), (72, 40)),
        (("longitude", "latitude"), (36, 72)),
        (("mars_year", "solar_longitude", "altitude", "latitude"), (6, 72, 40, 36)),
        (("local_time_class", "pressure"), (2, 20)),
    ):
        assert tgo.Grid.over(*axes).shape == shape
    east = tgo.Grid.over("longitude", longitude_to_360=True)
    found = tgo.grid_level2(level2(1.0, longitude=-1.0), east)
    assert found["longitude"][found["ch4_count"].values > 0].values.tolist() == [357.5]
    with pytest.raises(TgoError, match="unknown axis"):
        tgo.Grid.over("lat")


def test_grid__pressure_in_either_order():
    down, up = [1000.0, 100.0, 1.0], [1.0, 100.0, 1000.0]
    assert tgo.Grid(pressure=down).axes["pressure"].tolist() == up
    maps = [
        tgo.grid_level2(level2(1.0, pressure=50.0), tgo.Grid(pressure=edges))
        for edges in (down, up)
    ]
    xr.testing.assert_identical(
        maps[0].drop_vars("input_key"), maps[1].drop_vars("input_key")
    )


# --- many files ----------------------------------------------------------------------


def test_map_command__any_number_of_processes_gives_the_same(tmp_path, monkeypatch):
    from tgo_spectra.batch import maps
    from tgo_spectra.cli import main
    from tgo_spectra.files.netcdf import write_level2

    monkeypatch.setattr(maps, "_PART", 3)
    rng = np.random.default_rng(5)
    for k in range(7):
        ds = level2(rng.normal(), latitude=rng.uniform(-90, 90))
        ds.attrs |= {"product_lid": f"urn:a:b:c:{k}"}
        if k < 3:  # nothing is left of one part
            ds["reduced_chi_square"] = 99.0
        write_level2(ds, tmp_path / "l2" / f"{k}.nc")
    grid = ["--grid", "latitude=-90:90:60"]
    files = [str(tmp_path / f"{n}.nc") for n in (1, 2)]
    given = ["map", str(tmp_path / "l2"), *grid, "--out"]
    assert main([*given, files[0]]) == 0
    assert main([*given, files[1], "--workers", "2"]) == 0
    one, two = map(open_verified, files)
    assert two.attrs["n_left_out_chi_square"] == 3
    assert two.attrs["n_profiles"] == 4
    whole = tgo.grid_level2(tmp_path / "l2", tgo.Grid(latitude=[-90, -30, 30, 90]))
    for name in whole.data_vars:
        np.testing.assert_array_equal(one[name], two[name])
        np.testing.assert_allclose(one[name], whole[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lid", ["", "urn:a:b:c:d"])
def test_map_command__copies_in_two_parts_are_found(tmp_path, monkeypatch, lid):
    """With neither LID nor time too: each file has an identity of its own."""
    from tgo_spectra.batch import maps
    from tgo_spectra.batch.engines import Here
    from tgo_spectra.files.netcdf import write_level2

    monkeypatch.setattr(maps, "_PART", 2)
    for k in range(4):
        ds = level2(float(k)).assign_attrs({"product_lid": f"{lid}{k}"} if lid else {})
        write_level2(ds, tmp_path / f"{k}.nc")
    assert maps.map_files(tmp_path, WHOLE, Here(), {})["ch4_count"].item() == 4
    (tmp_path / "a copy.nc").write_bytes((tmp_path / "3.nc").read_bytes())
    with pytest.raises(TgoError, match="given twice") as caught:
        maps.map_files(tmp_path, WHOLE, Here(), {})
    assert caught.value.rule == "map.repeated"
    assert all(name in str(caught.value) for name in ("a copy.nc", "/3.nc"))


def test_map_command__nothing_left_is_an_error(tmp_path, capsys):
    from tgo_spectra.cli import main
    from tgo_spectra.files.netcdf import write_level2

    write_level2(level2(1.0).assign(reduced_chi_square=99.0), tmp_path / "a.nc")
    assert main(["map", str(tmp_path), "--out", str(tmp_path / "m.nc")]) == 1
    assert "1 left out" in capsys.readouterr().err
    nothing = tgo.grid_level2([], WHOLE, allow_empty=True)
    assert nothing.attrs["n_profiles"] == 0


def test_ratio__deuterium_is_mapped_where_its_flag_allows(tmp_path):
    """Levels of water at 15 and 25 km; the second is flagged in the last profile."""

    def one(ratio, latitude, flag=(0, 0)):
        numbers = {"": ratio, "_noise_error": 0.3, "_error": 0.5}
        data = {
            f"deuterium_ratio{name}": ("altitude", np.full(2, value))
            for name, value in numbers.items()
        }
        # what it was divided from is no profile of its own
        data |= {f"{gas}_vmr": ("altitude", np.ones(2)) for gas in ("hdo", "h2o")}
        data["deuterium_ratio_flag"] = ("altitude", np.array(flag, np.int8))
        data["latitude"] = ("altitude", np.full(2, latitude))
        ds = xr.Dataset(data, {"altitude": [15.0, 25.0]})
        return ds.assign(solar_longitude=250.0, mars_year=34)

    many = [one(4.0, 10.0), one(6.0, 20.0), one(99.0, 30.0, (0b100, 0b1))]
    grid = tgo.Grid(latitude=[-90, 0, 90], altitude=[10, 20, 30])
    found = tgo.grid_level2(many, grid)
    assert [n for n in found if n.endswith("_mean")] == ["deuterium_ratio_mean"]
    north = found.sel(latitude=45.0)
    np.testing.assert_allclose(north["deuterium_ratio_mean"], 5.0)
    assert north["deuterium_ratio_count"].values.tolist() == [2, 2]
    np.testing.assert_allclose(north["deuterium_ratio_smoothing_error"], 0.4)
    np.testing.assert_allclose(north["deuterium_ratio_systematic_error"], 0.0)
    assert found["deuterium_ratio_mean"].attrs["weights"] == "random_effects"
    assert found.attrs["n_products_of_unknown_quality"] == 0
    path = write_map(found, tmp_path / "a.nc")
    merged = tgo.merge_maps([path, tgo.grid_level2(one(2.0, -9.0), grid)])
    assert merged["deuterium_ratio_count"].sum() == 6
    for k, ds in enumerate(many):
        lid = f"urn:a:{k}::1.0"
        tgo.write_level2(ds, tmp_path / "ratios" / f"{k}.nc", inputs=[lid])
    of_files = tgo.grid_level2(tmp_path / "ratios", grid)
    for name in ("mean", "standard_error", "count"):
        np.testing.assert_array_equal(
            of_files[f"deuterium_ratio_{name}"], found[f"deuterium_ratio_{name}"]
        )
    assert "hdo_mean" in tgo.grid_level2(level2(1.0, gas="hdo"), grid)
    with pytest.raises(TgoError, match="deuterium_ratio"):
        tgo.grid_level2(many, grid, gases=["d2o"])
