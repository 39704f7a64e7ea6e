"""Absorption tables: small bands built here, and the shipped ones."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import xarray as xr
from threadpoolctl import threadpool_info, threadpool_limits

from tgo_spectra.errors import TableError
from tgo_spectra.spectroscopy import tables
from tgo_spectra.spectroscopy.absorption import cross_section_grid
from tgo_spectra.spectroscopy.tables import build as building
from tgo_spectra.spectroscopy.tables import cells, compression, scratch, training
from tgo_spectra.spectroscopy.tables import error_estimate as measuring
from tgo_spectra.spectroscopy.tables import grid as states
from tgo_spectra.spectroscopy.tables.shipped import BANDS

WINDOW = (3010.0, 3014.0)


def synthetic_lines(molecule, count, strongest, seed):
    """Random lines in the form of a list that was read."""
    rng = np.random.default_rng(seed)
    number = np.sort(rng.uniform(WINDOW[0] - 3.0, WINDOW[1] + 3.0, count))
    values = {
        "wavenumber": number,
        "intensity": strongest * 10.0 ** -rng.uniform(0.0, 4.0, count),
        "einstein_a": np.full(count, 1.0),
        "gamma_air": rng.uniform(0.04, 0.1, count),
        "gamma_self": rng.uniform(0.06, 0.4, count),
        "lower_state_energy": rng.uniform(0.0, 1500.0, count),
        "n_air": rng.uniform(0.5, 0.8, count),
        "delta_air": rng.uniform(-0.01, 0.005, count),
    }
    data = {name: ("line", value) for name, value in values.items()}
    data["molecule"] = ("line", np.full(count, molecule, np.int32))
    data["isotopologue"] = ("line", np.ones(count, np.int32))
    attrs = {
        "source_file": "synthetic",
        "source_sha256": "0" * 64,
        "edition": "none",
        "citation": "none",
    }
    return xr.Dataset(data, attrs=attrs)


@pytest.fixture(scope="module")
def lines():
    return {
        "h2o": (synthetic_lines(1, 30, 3e-21, 1), ("air", 1.7)),
        "ch4": (synthetic_lines(6, 60, 1e-19, 2), ("air", 1.3)),
    }


@pytest.fixture(scope="module")
def table(lines):
    return tables.build_table(lines, WINDOW, band="small", verify_atmospheres=0)


QUICK = {"band": "small", "atmospheres": 8, "verify_atmospheres": 0}
"""Of tables that are only compared with each other."""


@pytest.fixture(scope="module")
def quick(lines):
    return tables.build_table(lines, WINDOW, **QUICK)


@pytest.fixture
def written(table, tmp_path):
    return tables.write_table(table, tmp_path / "small.nc")


def functions(lines, low, high):
    return {g: building._function(g, *choice, low, high) for g, choice in lines.items()}


def test_layout(table):
    assert tables.table_gases(table) == ("h2o", "ch4")
    assert table.sizes["cell"] == 40
    assert table.sizes["moment"] == 5
    assert table.attrs["cell_width"] == 0.1
    number = table["node_wavenumber"].values
    cell = table["node_cell"].values
    assert (np.diff(number) > 0).all()
    assert (np.diff(cell) >= 0).all()
    start = table["cell_start"].values
    assert ((number > start[cell]) & (number < start[cell] + 0.1)).all()
    assert table.sizes["node"] < 0.3 * 2000
    assert table["h2o_vectors"].dtype == np.float32
    assert table.attrs["h2o_broadening"] == "air x 1.7"


def test_moments_of_one_are_exact(table):
    cell = table["node_cell"].values
    sums = np.zeros((table.sizes["cell"], 5))
    np.add.at(sums, cell, table["node_weight"].values)
    exact = cells.legendre_values(50, 5).sum(axis=0)
    np.testing.assert_allclose(sums, np.tile(exact, (40, 1)), atol=1e-8)


def test_discrete_moments_are_not_integrals():
    sums = cells.legendre_values(50, 5).sum(axis=0)
    assert sums[0] == 50.0
    assert abs(sums[2]) > 5e-3  # its integral is zero


def test_unseen_atmospheres_against_line_by_line(table, lines):
    worst, rms = measuring.measure_direct(
        table,
        functions(lines, *WINDOW),
        low=WINDOW[0],
        width=4.0,
        atmospheres=20,
        seed=4711,
    )
    assert worst <= 2e-4
    assert rms <= 1e-5


def test_errors_are_stated(table):
    assert 0.0 < table.attrs["truncation_error_transmittance"] < 2e-4
    assert 0.0 < table.attrs["quantisation_error_transmittance"] < 5e-5


def test_equal_inputs_give_equal_tables(quick, lines, monkeypatch):
    """Whatever the threads of the linear algebra are, and with one in the build."""
    seen, choose = [], building._choose

    def look(*args):
        seen.extend(
            x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"
        )
        return choose(*args)

    monkeypatch.setattr(building, "_choose", look)
    with threadpool_limits(2, user_api="blas"):
        again = tables.build_table(lines, WINDOW, **QUICK)
    xr.testing.assert_identical(again, quick)
    assert set(seen) == {1}


class Stop(Exception):
    """A build that is interrupted."""


@pytest.mark.parametrize(
    ("stage", "pieces"),
    [("cross sections of ch4", 22), ("choice of wavenumbers", 43), ("vectors", 44)],
)
def test_interrupted_build_goes_on(quick, lines, tmp_path, monkeypatch, stage, pieces):
    """Stopped in each stage: the rest is made, what was made is not made again."""
    count = scratch.Progress.done

    def stop(self, name, share, *, made, text):
        count(self, name, share, made=made, text=text)
        if name == stage:
            raise Stop

    folder = tmp_path / "pieces"
    how = QUICK | {"scratch": folder}
    with monkeypatch.context() as patch:
        patch.setattr(scratch.Progress, "done", stop)
        with pytest.raises(Stop):
            tables.build_table(lines, WINDOW, workers=1, **how)
    before = {file.name for file in folder.iterdir()}
    assert len(before) == pieces
    again, made = [], scratch.keep

    def kept(path, make):
        again.append(path.name)
        return made(path, make) and again.append(f"made {path.name}") is None

    monkeypatch.setattr(states, "keep", kept)
    monkeypatch.setattr(building, "keep", kept)
    whole = tables.build_table(lines, WINDOW, workers=2, memory_gb=1.0, **how)
    xr.testing.assert_identical(whole, quick)
    assert before <= set(again)
    assert not before & {name[5:] for name in again if name.startswith("made ")}
    assert not folder.exists()


def test_progress__says_what_is_left(lines, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "REPORT_SECONDS", 0.0)
    said = []
    tables.build_table(
        lines, (3010.0, 3011.0), band="small", atmospheres=8, verify_atmospheres=1,
        verify_width=1.0, largest_error=1.0, workers=1, report=said.append,
    )  # fmt: skip
    assert said[0].startswith("small: cross sections of h2o 1 of 21, about ")
    assert said[0].endswith(" s left")
    assert any("choice of wavenumbers 1 of 1" in line for line in said)
    assert any("vectors ch4: " in line for line in said)
    assert said[-1].startswith("small: line by line 1 of 1, about 0 s left")


def test_memory__too_little_is_refused_with_what_is_needed(lines):
    with pytest.raises(TableError, match=r"needs .* GB of memory, allowed are 0\.3 GB"):
        tables.build_table(lines, WINDOW, memory_gb=0.3)
    assert scratch.workers_within(2.0, 0.5e9, 8, "x") == 3
    assert scratch.workers_within(2.0, 0.5e9, 2, "x") == 2


def test_room__a_disk_too_small_is_refused_before_the_start(tmp_path):
    with pytest.raises(TableError, match="GB of disk"):
        scratch.check_room(tmp_path, 1e18)


def test_error__a_table_that_is_too_coarse_is_refused(lines):
    """Loose tolerances: the measured error decides, not what was asked for."""
    with pytest.raises(TableError, match="is off by") as caught:
        tables.build_table(
            lines, WINDOW, tolerance=1e-2, rank_tolerance=1e-2, atmospheres=8,
            largest_error=1e-4,
        )  # fmt: skip
    assert caught.value.rule == "table.error"
    assert caught.value.value > 1e-4


def test_rounding__is_bounded_where_lines_are_saturated(monkeypatch):
    """Steps are made finer until rounding costs little, down to single precision.

    Little is its share of the tolerance. What single precision leaves depends on the
    processor (sums in another order): it is less than what nodes and vectors cost, and
    far from what the first steps cost, with which the table is refused.
    """
    lines = {"co2": (synthetic_lines(2, 40, 3e-21, 5), "self")}
    how = {"verify_atmospheres": 1, "verify_width": 4.0, "rank_tolerance": 3e-5}
    steps, packed = [], compression.packed

    def noted(sigma, vectors, scale, finest):
        steps.append(finest)
        return packed(sigma, vectors, scale, finest)

    monkeypatch.setattr(compression, "packed", noted)
    made = tables.build_table(lines, WINDOW, **how)
    cost = made.attrs["quantisation_error_transmittance"]
    assert steps == [compression.FIRST_STEP * 0.5**k for k in range(len(steps))]
    little = compression.ROUNDING_SHARE * how["rank_tolerance"]
    assert cost <= little or steps[-1] == compression.FINEST_STEP
    assert cost < made.attrs["truncation_error_transmittance"]
    assert made.attrs["line_by_line_error_transmittance"] <= 5e-4
    monkeypatch.setattr(compression, "FINEST_STEP", compression.FIRST_STEP)
    with pytest.raises(TableError, match="is off by") as caught:
        tables.build_table(lines, WINDOW, largest_error=1e-4, **how)
    assert caught.value.value > 30.0 * cost


def test_cross_sections_of_the_table(table, lines):
    state = ([50.0, 300.0], [160.0, 203.0])
    number = table["node_wavenumber"].values
    grid = WINDOW[0] + (np.arange(2000) + 0.5) * 0.002
    exact = cross_section_grid(lines["ch4"][0], grid, *state, ("air", 1.3), gas="ch4")
    exact = exact[:, np.rint((number - grid[0]) / 0.002).astype(int)]
    band = tables.table_arrays(table, ["ch4"])
    levels = tables.interpolate_coefficients(
        band.coefficients["ch4"], band.ln_pressure, band.temperature_k, *state
    )
    made = levels.T @ band.vectors["ch4"]
    assert np.abs(made - exact).max() < 1e-3 * exact.max()


@pytest.mark.parametrize(
    ("pressure", "temperature", "named"),
    [
        (1e-5, 200.0, "pressure"),
        (2010.0, 200.0, "pressure"),
        (100.0, 85.0, "temperature"),
        (100.0, 330.0, "temperature"),
        (100.0, np.nan, "temperature"),
        (np.nan, 200.0, "pressure"),
        (-1.0, 200.0, "pressure"),
    ],
)
def test_no_extrapolation(table, pressure, temperature, named):
    band = tables.table_arrays(table, ["h2o"])
    with pytest.raises(TableError, match=named):
        tables.interpolate_coefficients(
            band.coefficients["h2o"],
            band.ln_pressure,
            band.temperature_k,
            [10.0, pressure],
            [200.0, temperature],
        )


def test_doppler_limit_on_request(table):
    band = tables.table_arrays(table, ["h2o"])
    grid = band.ln_pressure, band.temperature_k
    thin = tables.interpolate_coefficients(
        band.coefficients["h2o"], *grid, [1e-7], [150.0], doppler_limit=True
    )
    edge = tables.interpolate_coefficients(
        band.coefficients["h2o"], *grid, [1e-3], [150.0]
    )
    np.testing.assert_array_equal(thin, edge)


def test_interpolation_is_exact_on_the_grid_and_for_cubics():
    ln_p, t = np.log(building.default_pressures()), building.default_temperatures()
    x, y = ln_p[:, None], (t[None, :] - 180.0) / 50.0
    field = (1.0 + x + 0.1 * x**3) * (2.0 - y + y**3)
    p, k = np.array([0.02, 7.0, 444.0]), np.array([113.0, 177.0, 251.0])
    u, v = np.log(p), (k - 180.0) / 50.0
    got = tables.interpolate_coefficients(field[None], ln_p, t, p, k)[0]
    np.testing.assert_allclose(
        got, (1.0 + u + 0.1 * u**3) * (2.0 - v + v**3), rtol=1e-10
    )
    slope = tables.interpolate_coefficients(
        field[None], ln_p, t, p, k, derivative=(1, 0)
    )
    np.testing.assert_allclose(
        slope[0], (1.0 + 0.3 * u**2) * (2.0 - v + v**3), rtol=1e-9
    )


def test_states_between_three_pressures(tmp_path):
    """The low-pressure states that are filled in agree with computed ones."""
    lines = synthetic_lines(1, 30, 3e-21, 1)
    pressure, temperature = building.default_pressures(), np.array([100.0, 180.0])
    band = training.Band(WINDOW[0], 0.002, 2000, pressure, temperature, tmp_path)
    function = building._function("h2o", lines, ("air", 1.7), *WINDOW)
    building.fill_states(band, "h2o", function, 1)
    made = band.sigma("h2o").reshape(pressure.size, 2, 2000)
    low = pressure < 30.0
    for k, kelvin in enumerate(temperature):
        exact = function(band.wavenumber, pressure[low], np.full(low.sum(), kelvin))
        error = np.abs(made[low, k] / training.SCALE - exact).max(axis=1)
        assert (error / exact.max(axis=1)).max() < 3e-5


def test_arrays_of_a_window(table):
    band = tables.table_arrays(table, ["ch4"], window=(3011.05, 3012.0))
    assert band.cell_start_cm1[0] == pytest.approx(3011.0)
    assert band.cell_start_cm1[-1] == pytest.approx(3011.9)
    assert band.node_cell[0] == 0
    assert band.node_cell[-1] == band.cell_start_cm1.size - 1
    assert band.vectors["ch4"].shape[1] == band.nodes_cm1.size
    assert band.vectors["ch4"].flags.c_contiguous


def test_coverage(table):
    tables.check_covers(table, 3010.5, 3013.5)
    with pytest.raises(TableError, match=r"order 134 needs 2990.000 to 3030.000 cm-1"):
        tables.check_covers(table, 2990.0, 3030.0, "order 134")
    with pytest.raises(TableError, match=r"covers 3010\.000 to"):
        tables.table_arrays(table, window=(3009.0, 3012.0))


def test_unknown_gas_is_named(table):
    with pytest.raises(TableError, match="co is not in the table, which has h2o, ch4"):
        tables.table_arrays(table, ["co"])


def test_empty_window_refused(lines):
    with pytest.raises(TableError, match="window"):
        tables.build_table(lines, (3014.0, 3010.0))
    with pytest.raises(TableError, match="window"):
        tables.build_table({}, WINDOW)


def test_round_trip(table, written):
    again = tables.open_table(written)
    assert set(again.variables) == set(table.variables)
    for name in table.variables:
        np.testing.assert_array_equal(again[name].values, table[name].values)
        assert again[name].dims == table[name].dims
    assert tables.verify_table(written) == again.attrs["content_sha256"]


def test_files__hold_whole_numbers_of_few_bits(table, written):
    import netCDF4

    with netCDF4.Dataset(written) as file:
        assert file.getncattr("format") == "tgo_spectra absorption table 3"
        assert file["node_place"].dtype == np.uint8
        assert file["node_count"].dtype == np.uint8
        assert "node_wavenumber" not in file.variables
        assert "cell_start" not in file.variables
        assert int(file["node_count"][:].sum()) == table.sizes["node"]
        assert int(file["node_place"][:].max()) < cells.CELL_POINTS


def test_files__of_the_former_format_are_read(table, tmp_path):
    """Without steps of the weights a table is written, and read, as floats."""
    import netCDF4

    attrs = {k: v for k, v in table.attrs.items() if k != "weight_step"}
    former = table.copy()
    former.attrs = attrs
    path = tables.write_table(former, tmp_path / "former.nc")
    with netCDF4.Dataset(path) as file:
        assert file.getncattr("format") == "tgo_spectra absorption table 1"
        assert file["node_weight"].dtype == np.float64
    again = tables.open_table(path)
    for name in table.variables:
        np.testing.assert_array_equal(again[name].values, table[name].values)


def test_files__of_format_2_are_read(table, written, tmp_path):
    """Vectors as they are, in place of their differences."""
    from tgo_spectra.files import storage

    variables, attrs = storage.read_stored(written)
    for name, stored in variables.items():
        if name.endswith("_vectors"):
            whole = cells.unsigned(cells.summed(cells.signed(stored.data)))
            variables[name] = storage.Stored(stored.dims, whole, stored.attrs)
    attrs["format"] = "tgo_spectra absorption table 2"
    attrs["content_sha256"] = storage.content_hash(variables, attrs)
    path = tmp_path / "former.nc"
    with storage.new_netcdf(path) as file:
        file.setncatts(attrs)
        for name, stored in variables.items():
            for dim, size in zip(stored.dims, stored.data.shape, strict=True):
                if dim not in file.dimensions:
                    file.createDimension(dim, size)
            kind = stored.data.dtype
            variable = file.createVariable(name, kind, stored.dims)
            variable.setncatts(stored.attrs)
            variable[...] = stored.data
    again = tables.open_table(path)
    for name in table.variables:
        np.testing.assert_array_equal(again[name].values, table[name].values)


@pytest.mark.parametrize("values", [[0, -1, 1, 2**30, -(2**30)], [-(2**31), 2**31 - 1]])
def test_signed__undoes_unsigned(values):
    whole = np.array(values, np.int32)
    np.testing.assert_array_equal(cells.signed(cells.unsigned(whole)), whole)


def test_restored_weights__are_the_same_again(table):
    """To the bit, since a file holds the rounded ones."""
    weight, cell = table["node_weight"].values, table["node_cell"].values
    whole = cells.whole_weights(weight, 1e-4)
    again = cells.restored_weights(whole, cell, table.sizes["cell"], 1e-4)
    np.testing.assert_array_equal(again, weight)


def test_every_changed_byte_of_the_data_is_seen(written):
    good = written.read_bytes()
    refused = 0
    places = np.random.default_rng(5).integers(len(good) // 4, len(good), 30)
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 0x10
        written.write_bytes(bytes(bad))
        try:
            table = tables.open_table(written)
        except TableError:
            refused += 1
        else:  # unused space of the container: then nothing may have changed
            assert tables.verify_table(written) == table.attrs["content_sha256"]
    assert refused > 15


def test_tampered_attribute_refused(written):
    import netCDF4

    with netCDF4.Dataset(written, "a") as file:
        file.setncattr("h2o_broadening", "air x 1")
    with pytest.raises(TableError, match="SHA-256"):
        tables.open_table(written)


def test_not_a_table(tmp_path):
    path = tmp_path / "no.nc"
    path.write_bytes(b"not a table")
    with pytest.raises(TableError, match="readable"):
        tables.open_table(path)
    with pytest.raises(TableError, match="neither a file nor one of so_"):
        tables.open_table("so_999")


def test_incomplete_table_is_not_written(table, tmp_path):
    with pytest.raises(TableError, match="ch4_vectors"):
        tables.write_table(table.drop_vars("ch4_vectors"), tmp_path / "x.nc")
    broken = table.assign(pressure=table["pressure"] * np.nan)
    with pytest.raises(TableError, match="finite"):
        tables.write_table(broken, tmp_path / "x.nc")
    assert not (tmp_path / "x.nc").exists()


@pytest.mark.parametrize("name", tables.list_tables())
def test_shipped(name):
    table = tables.open_table(name)
    band = BANDS[name]
    attrs = table.attrs
    assert "HITRAN" in attrs["edition"]
    assert "10.1016/j.jqsrt.2021.107949" in attrs["citation"]
    assert tables.table_gases(table) == tuple(band.gases)
    for gas in tables.table_gases(table):
        assert len(attrs[f"{gas}_lines_sha256"]) == 64
        assert "/" not in attrs[f"{gas}_lines"]
        assert "percent" not in attrs[f"{gas}_lines"]
    assert attrs["truncation_error_transmittance"] <= band.largest_error == 1e-4
    # made by the command alone, with what the band says
    assert attrs["rank_tolerance"] == band.rank_tolerance
    assert attrs["fine_step"] == band.step
    assert "history" not in attrs
    assert attrs["line_by_line_error_transmittance"] <= band.largest_error
    assert attrs["line_by_line_error_rms"] <= 1e-5
    count, heights, width = attrs["line_by_line_error_measured"].split(", ")
    assert int(count.removesuffix(" unseen random atmospheres")) >= 2
    assert heights == "20 tangent heights of 0-100 km"
    low, high = band.window
    assert float(width.split()[0]) == pytest.approx(high - low, abs=0.2)
    assert attrs["build_cpu_seconds"] > 0.0
    assert attrs["absent"] == "; ".join(band.absent) != ""
    assert table["temperature"].values[[0, -1]].tolist() == [90.0, 320.0]
    assert table["pressure"].values[0] == pytest.approx(1e-3)
    assert table["pressure"].values[-1] >= 2000.0


def test_shipped_tables__damage_is_found_before_the_library_sees_it(tmp_path):
    """Of every shipped table the bytes are sealed; HDF5 may loop on a damaged one."""
    folder = pathlib.Path(tables.__file__).parents[1] / "data"
    for file in sorted(folder.glob("*.nc")):
        assert b"SHA-256 of the bytes before this line" in file.read_bytes()[-104:]
    content = bytearray((folder / "so_186_191.nc").read_bytes())
    for place in (100, 5_000, len(content) // 2, len(content) - 110):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path = tmp_path / "damaged.nc"
        path.write_bytes(damaged)
        with pytest.raises(TableError, match="bytes have SHA-256"):
            tables.open_table(path)


def test_shipped_tables_are_small():
    folder = pathlib.Path(tables.__file__).parents[1] / "data"
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert set(tables.list_tables()) == set(BANDS) == set(PIECES)
    assert sum(sizes) <= 40e6


@pytest.mark.parametrize("name", tables.list_tables())
def test_shipped_tables_cover_their_orders(name):
    """At -25 to 20 degC, with 2 cm-1 for the search and the line shape."""
    first, last = BANDS[name].orders
    # pixel 0 at 20 degC and pixel 319 at -25 degC, Villanueva et al. 2022
    low, high = 22.4566 * first - 2.0, 22.658 * last + 2.0
    tables.check_covers(tables.open_table(name), low, high)


# 3 cm-1 with strong lines of the gas that the band is for
PIECES = {
    "so_119_124_hdo": 2720.0,
    "so_134_136": 3015.0,
    "so_134_hydrocarbons": 2985.0,
    "so_164_170": 3800.0,
    "so_186_191": 4290.0,
}


# lines of C2H4 whose lower state HITRAN does not know are left out, as in the table
@pytest.mark.filterwarnings("ignore:.*lower state energy:tgo_spectra.errors.TgoWarning")
@pytest.mark.parametrize("name", tables.list_tables())
def test_shipped_against_line_by_line(name, shared):
    from tgo_spectra.spectroscopy.tables.shipped import band_lines

    lines = band_lines(name, shared / "linelists")
    worst, rms = measuring.measure_direct(
        tables.open_table(name),
        # lines of the whole band, as in the table: wings of water reach far
        functions(lines, *BANDS[name].window),
        low=PIECES[name],
        width=3.0,
        atmospheres=4,
        seed=99,
    )
    # the atmospheres are random, far beyond Mars: SO noise is 4e-4 at best
    assert worst <= 2e-4
    assert rms <= 2e-5
