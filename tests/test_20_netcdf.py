"""Files: whole or absent, verified, clean under CF-1.11."""

from __future__ import annotations

import collections
import os
import warnings
from typing import TYPE_CHECKING

import damage
import netCDF4
import numpy as np
import pytest
import xarray as xr

from tgo_spectra.errors import OutputError, TgoError
from tgo_spectra.files.netcdf import (
    atomic_file,
    open_verified,
    sweep_temporary,
    write_level2,
    write_map,
    write_plain,
)
from tgo_spectra.files.partial import read_partly
from tgo_spectra.files.storage import read_stored
from tgo_spectra.maps import Grid, grid_level2
from tgo_spectra.variables import lookup, validate

if TYPE_CHECKING:
    import pathlib

ACDD = "acdd:1.3"
NAMES = ("vmr_apriori", "vmr_noise_error", "vmr_smoothing_error", "vmr_error")


def synthetic_level2(seed=0, levels=40, gases=("ch4", "h2o")) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    z = np.arange(levels) + 0.5
    ds = {}
    for gas in gases:
        sigma = 2e-11 if gas == "ch4" else 5e-6
        ds[f"{gas}_vmr"] = ("altitude", rng.normal(0, sigma, levels))
        for name in (*NAMES, "upper_limit", "delta_chi_square"):
            ds[f"{gas}_{name}"] = ("altitude", rng.uniform(1, 2, levels) * sigma)
        ds[f"{gas}_detected"] = ("altitude", rng.random(levels) > 0.5)
        ds[f"{gas}_averaging_kernel"] = (
            ("altitude", "altitude_in"),
            0.5 * np.exp(-np.abs(z[:, None] - z) / 2),
        )
        ds[f"{gas}_slant_column"] = ("spectrum", rng.normal(0, 1e15, 30))
        ds[f"{gas}_degrees_of_freedom"] = ((), 12.0)
    ds |= {
        "pressure": ("altitude", 610 * np.exp(-z / 10)),
        "temperature": ("altitude", np.full(levels, 200.0)),
        "number_density": ("altitude", 1e17 * np.exp(-z / 10)),
        "latitude": ("altitude", 60 + 0.01 * z),
        "longitude": ("altitude", 10 + 0.01 * z),
        "local_true_solar_time": ("altitude", np.full(levels, 6.1)),
        "wavenumber_shift": ("bin", rng.normal(size=4)),
        "wavenumber_shift_error": ("bin", np.full(4, 0.001)),
        "baseline": (("spectrum", "coefficient"), rng.normal(size=(30, 5))),
        "residual": (("spectrum", "pixel"), rng.normal(0, 1e-3, (30, 20))),
        "reduced_chi_square": ((), 1.01),
        "degrees_of_freedom": ((), 24.0),
        "converged": ((), True),
        "iterations": ((), 5),
        "solar_longitude": ((), 120.0),
        "mars_year": ((), 36),
        "time": ((), np.datetime64("2021-06-01T12:00:00.123456", "ns")),
    }
    coords = {
        "altitude": z,
        "altitude_in": z,
        "bin": np.arange(4),
        "wavenumber": ("pixel", np.linspace(3011.0, 3035.0, 20)),
        "tangent_altitude": ("spectrum", np.linspace(100.0, 5.0, 30)),
    }
    attrs = {
        "product_lid": "urn:esa:psa:em16_tgo_nmd:data_calibrated:nmd_cal_sc_so_x",
        "product_version": "1.0",
        "source_md5": "abc",
        "broadening": {"h2o": "air x 1.7"},
        "interferents_absent": ["o3", "hdo"],
        "masked pixels": [84, 269],
        "nothing": None,
        "joint": True,
    }
    return xr.Dataset(ds, coords, attrs)


def errors_of(path: pathlib.Path) -> list[str]:
    """What CF 1.11 and ACDD 1.3 require and a file has not.

    ACDD wants a standard name of everything; what has none in the table is no error.
    """
    wanted = issues_of(path, weight=3)
    return [
        f"{name}: {message}"
        for name, message in wanted
        if message != "standard_name" or has_standard_name(name)
    ]


def without_most_sums(level3: xr.Dataset) -> xr.Dataset:
    """Leave out what the checker takes long for and is alike."""
    return level3.drop_vars(
        n for n in level3.data_vars if "_sum_" in n and not n.endswith("_sum_w")
    )


def without_most_sources(level2: xr.Dataset) -> xr.Dataset:
    """Leave out all errors by one source but the first: they are alike, too."""
    sources = [
        n
        for n in level2.data_vars
        if "_systematic_" in n and not n.endswith("_systematic_error")
    ]
    return level2.drop_vars(sources[1:])


def has_standard_name(issue: str) -> bool:
    known = lookup(issue.split('"')[1])
    return known is not None and known.standard_name is not None


def issues_of(
    path: pathlib.Path, weight: int, conventions: tuple[str, ...] = ("cf:1.11", ACDD)
) -> list[tuple[str, str]]:
    from compliance_checker.runner import CheckSuite

    if not CheckSuite.checkers:
        CheckSuite.load_all_available_checkers()
    suite = CheckSuite()
    with netCDF4.Dataset(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the checker's own
        scores = suite.run_all(file, list(conventions), skip_checks=[])
    found = []
    for groups, errors in scores.values():
        assert not errors
        found += [
            (str(group.name), message)
            for group in groups
            if group.weight == weight and group.value[0] < group.value[1]
            for message in [*group.msgs, *(m for c in group.children for m in c.msgs)]
        ]
    return found


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from tgo_spectra import simulate_product

    folder = tmp_path_factory.mktemp("product")
    return simulate_product(folder, order=134, n_bins=1, vertical_speed_km_s=4.0)


def metadata(path: pathlib.Path) -> dict[str, str]:
    with netCDF4.Dataset(path) as file:
        return {
            name: f"{variable.dimensions} {sorted(variable.__dict__.items())}"
            for name, variable in file.variables.items()
        }


def test_level2__round_trip(tmp_path):
    ds = synthetic_level2()
    back = open_verified(write_level2(ds, tmp_path / "a.nc", resume_key="k" * 64))
    for name in ds.variables:
        np.testing.assert_array_equal(back[name].values, ds[name].values, str(name))
        assert back[name].dims == ds[name].dims
    assert back["ch4_averaging_kernel"].dims == ("altitude", "altitude_in")
    assert back["ch4_detected"].dtype == bool
    assert back["altitude"].attrs["positive"] == "up"
    assert back["ch4_vmr"].attrs["units"] == "1"
    assert {"latitude", "time", "mars_year"} <= set(back.coords)
    assert back.attrs["resume_key"] == "k" * 64
    assert back.attrs["masked_pixels"].tolist() == [84, 269]
    assert back.attrs["joint"] == "true"
    assert back.attrs["interferents_absent"] == "o3, hdo"
    assert back.attrs["input_products"].endswith("nmd_cal_sc_so_x::1.0 abc")
    assert "Conventions" not in ds.attrs, "the input is not changed"


def test_level2__storage(tmp_path):
    path = write_level2(synthetic_level2(), tmp_path / "a.nc")
    with netCDF4.Dataset(path) as file:
        assert file.data_model == "NETCDF4"
        for name in ("residual", "ch4_vmr", "altitude"):
            filters = file[name].filters()
            assert filters["zlib"]
            assert filters["complevel"] == 4
            assert filters["shuffle"]
            assert filters["fletcher32"]
        for name in ("altitude", "latitude", "wavenumber", "time"):
            assert "_FillValue" not in file[name].ncattrs()
        assert file["crs"].dtype == np.int32
        assert "49900" in file["crs"].crs_wkt
        assert file["ch4_vmr"].grid_mapping == "crs"


def test_level2__noise_is_not_deflated_but_checked(tmp_path):
    ds, rng = synthetic_level2(), np.random.default_rng(3)
    smooth = np.repeat(np.linspace(0, 1, 100), 100).reshape(100, 100)
    ds["noise"] = (("x", "y"), rng.normal(size=(100, 100)).astype(np.float32))
    ds["smooth"] = (("x", "y"), smooth)
    ds["steps"] = (("x", "y"), rng.poisson(1.0, (100, 100)).astype(np.int32))
    path = write_level2(ds, tmp_path / "a.nc")
    with netCDF4.Dataset(path) as file:
        deflated = {name: file[name].filters()["zlib"] for name in file.variables}
        checked = [n for n in file.variables if file[n].filters()["fletcher32"]]
    assert not deflated["noise"]
    assert deflated["smooth"]
    assert deflated["steps"]
    assert {"noise", "smooth", "steps"} <= set(checked)
    back = open_verified(path)
    for name in ("noise", "smooth", "steps"):
        np.testing.assert_array_equal(back[name].values, ds[name].values)
        assert back[name].dtype == ds[name].dtype


def test_write__empty_text_and_strided_arrays(tmp_path):
    ds = synthetic_level2(gases=("ch4",))
    ds["text"] = ("pair", np.array(["one", "two"]))
    ds["word"] = ((), "three")
    ds["empty"] = (("none", "pair"), np.zeros((0, 2)))
    ds["turned"] = (("p", "q"), np.arange(6.0).reshape(2, 3).T)
    ds["one_cell"] = (("u", "v"), np.full((1, 1), 7.0))
    back = open_verified(write_level2(ds, tmp_path / "a.nc"))
    for name in ("text", "word", "empty", "turned", "one_cell"):
        assert back[name].dims == ds[name].dims
        np.testing.assert_array_equal(back[name].values, ds[name].values)


def test_write__against_the_catalogue_refused_before_writing(tmp_path):
    wrong = synthetic_level2().drop_vars("ch4_vmr")
    wrong["ch4_vmr"] = ("pixel", np.zeros(20))
    with pytest.raises(TgoError) as caught:
        write_level2(wrong, tmp_path / "new" / "a.nc")
    assert caught.value.rule == "variables.dims"
    assert caught.value.field == "ch4_vmr"
    with pytest.raises(TgoError) as caught:
        write_map(synthetic_level2(), tmp_path / "new" / "a.nc")
    assert caught.value.rule == "variables.missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["oe", "slant"])
def test_level2__retrieved_has_only_known_names(tmp_path, simulated, method):
    import tgo_spectra as tgo

    level1 = tgo.open_product(simulated)
    if method == "slant":
        level1 = level1.isel(spectrum=slice(6, 18))
    level2 = tgo.retrieve(level1, method=method)
    validate(level2, level=2)
    unknown = [n for n in level2.variables if 2 not in getattr(lookup(n), "forms", {})]
    assert unknown == []
    back = open_verified(write_level2(level2, tmp_path / "a.nc"))
    for name in level2.variables:
        np.testing.assert_array_equal(back[name].values, level2[name].values, name)
    assert {v.attrs.get("units", "1") for n, v in back.items() if "shift" in n} == {"1"}


def columns_level2() -> xr.Dataset:
    from tgo_spectra import retrieve
    from tgo_spectra.simulate.nadir import simulate_nadir_level1

    level1, _ = simulate_nadir_level1(order=190, n_spectra=2)
    return retrieve(level1)


def ozone_level2() -> xr.Dataset:
    from tgo_spectra.retrieval.models.uvis import retrieve_uvis
    from tgo_spectra.simulate import uvis

    data = uvis.synthetic_ozone_cross_section()
    options = {"ozone": 2e-7, "pixels": 128, "row_step_km": 3.0}
    level1, _ = uvis.simulate_uvis_level1(data, **options)
    return retrieve_uvis(level1, data)


@pytest.mark.parametrize(
    "kind",
    ["level2", "map", "map_all_axes", "map_sparse", "columns", "map_columns", "ozone"],
)
def test_files__cf_clean_also_after_open_and_save(tmp_path, kind):
    # the checker takes a time that grows with the square of the variables
    ds, write = synthetic_level2(gases=("ch4",)), write_level2
    ones = np.ones(ds.sizes["altitude"])
    ds["not_in_the_catalogue"] = ("altitude", ones, {"units": "1"})
    if kind == "map":
        grid = Grid(latitude=[-90, 0, 90], solar_longitude=range(0, 361, 90))
        ds, write = grid_level2(ds, grid), write_map
    elif kind in {"map_all_axes", "map_sparse"}:
        grid = Grid(
            latitude=[-90, 0, 90],
            longitude=[-180, 0, 180],
            altitude=[0, 10, 20],
            solar_longitude=[0, 180, 360],
            mars_year=[35, 36, 37],
            local_time_class=True,
        )
        form = "sparse" if kind == "map_sparse" else "dense"
        ds, write = grid_level2(ds, grid, form=form), write_map
    elif kind == "columns":
        ds = columns_level2()
    elif kind == "map_columns":
        grid = Grid(latitude=[-90, 0, 90])
        ds, write = grid_level2(columns_level2(), grid, gases=["co"]), write_map
    elif kind == "ozone":
        ds = ozone_level2()
    if kind in {"map_all_axes", "map_sparse", "map_columns"}:
        ds = without_most_sums(ds)  # the map of two axes has them all
    path = write(without_most_sources(ds), tmp_path / "a.nc")
    with xr.open_dataset(path) as lazy:
        again = write(lazy.load(), tmp_path / "b.nc")
    assert metadata(again) == metadata(path)
    assert errors_of(again) == []
    first, second = open_verified(path), open_verified(again)
    for name in first.variables:
        np.testing.assert_array_equal(first[name].values, second[name].values)


@pytest.mark.parametrize("kind", ["level2", "map"])
def test_files__clean_also_as_xarray_writes_them_again(tmp_path, kind):
    if kind == "map":
        grid = Grid(latitude=[-90, 0, 90], longitude=[-180, 0, 180])
        level3 = grid_level2(synthetic_level2(gases=("ch4",)), grid)
        level3 = without_most_sums(level3)
        path = write_map(level3, tmp_path / "a.nc")
        level3.to_netcdf(tmp_path / "memory.nc")
    else:
        ds = synthetic_level2(gases=("ch4",), levels=5)
        path = write_level2(ds, tmp_path / "a.nc")
    open_verified(path).to_netcdf(tmp_path / "b.nc")
    with xr.open_dataset(path, engine="tgo") as ds:
        ds.to_netcdf(tmp_path / "c.nc")
    assert errors_of(tmp_path / "c.nc") == []
    assert metadata(tmp_path / "b.nc") == metadata(tmp_path / "c.nc")
    for file in tmp_path.glob("*.nc"):
        with netCDF4.Dataset(file) as raw:
            for name in ("latitude", "latitude_bounds", "altitude"):
                if name in raw.variables:
                    assert "_FillValue" not in raw[name].ncattrs()


def test_files__what_a_user_adds_completes_acdd(tmp_path):
    """All that ACDD recommends is there, but who made the file and may use it."""
    grid = Grid(latitude=[-90, 0, 90], longitude=[-180, 0, 180], altitude=[0, 9])
    level3 = grid_level2(synthetic_level2(gases=("ch4",), levels=5), grid)
    file = write_map(level3, tmp_path / "a.nc")
    lacking = [message for _, message in issues_of(file, 2, (ACDD,))]
    people = {
        f"{who}_{what}"
        for who in ("creator", "publisher")
        for what in ("name", "url", "email")
    }
    of_user = {"acknowledgement", "license"} | people
    times = {f"time_coverage_{x}" for x in ("start", "end", "duration", "resolution")}
    names = {m.split()[0].split("/")[-1] for m in lacking}
    assert names - times <= of_user
    mine = dict.fromkeys(of_user, "see text") | {"institution": "of mine"}
    path = write_map(level3, tmp_path / "b.nc", attributes=mine)
    assert open_verified(path).attrs["institution"] == "of mine"
    rest = {m.split()[0].split("/")[-1] for _, m in issues_of(path, 2, (ACDD,))}
    assert rest <= times | {"creator_url", "creator_email"} | people


def test_content_hash__same_result_same_hash(tmp_path):
    first = open_verified(write_level2(synthetic_level2(), tmp_path / "a.nc"))
    second = open_verified(write_level2(synthetic_level2(), tmp_path / "b.nc"))
    other = open_verified(write_level2(synthetic_level2(1), tmp_path / "c.nc"))
    assert first.attrs["content_sha256"] == second.attrs["content_sha256"]
    assert first.attrs["tracking_id"] != second.attrs["tracking_id"]
    assert first.attrs["content_sha256"] != other.attrs["content_sha256"]


def test_open_verified__changed_contents_refused(tmp_path):
    path = write_level2(synthetic_level2(), tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        file["pressure"][3] = 1.0
    with pytest.raises(OutputError, match="SHA-256") as caught:
        open_verified(path)
    assert caught.value.rule == "io.hash_mismatch"


def test_open_verified__other_files_refused(tmp_path):
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(foreign)
    with pytest.raises(OutputError) as caught:
        open_verified(foreign)
    assert caught.value.rule == "io.incomplete"
    foreign.write_bytes(b"not netCDF")
    with pytest.raises(OutputError) as caught:
        open_verified(foreign)
    assert caught.value.rule == "io.unreadable"


def a_map() -> xr.Dataset:
    grid = Grid(latitude=[-90, 0, 90], solar_longitude=range(0, 361, 90))
    return grid_level2(synthetic_level2(gases=("ch4",)), grid)


@pytest.mark.parametrize("kind", ["level2", "map"])
def test_open_verified__every_damage_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "a.nc"
    if kind == "map":
        write_map(a_map(), path)
    else:
        write_level2(synthetic_level2(levels=10), path)
    good, counts = path.read_bytes(), collections.Counter()
    for what, bad in damage.damages(good, 700, seed=1):
        path.write_bytes(bad)
        counts[what, damage.outcome(path)] += 1
    assert counts == {(what, "refused"): 140 for what in damage.KINDS}


def unsealed(path: pathlib.Path) -> bytes:
    """Content as another program, or the library alone, writes it."""
    with netCDF4.Dataset(path, "a"):
        pass
    return path.read_bytes()


def test_open_verified__files_without_a_seal_are_taken_by_their_contents(tmp_path):
    path = write_level2(synthetic_level2(levels=10), tmp_path / "a.nc")
    sealed, whole = path.read_bytes(), open_verified(path)
    plain = unsealed(path)
    assert plain == sealed[: len(plain)]
    assert open_verified(path).identical(whole)
    # such files cut are never given to the library
    for size in (0, 7, 8, 20, 40, 100, len(plain) // 2, len(plain) - 1):
        path.write_bytes(plain[:size])
        with pytest.raises(OutputError) as caught:
            open_verified(path)
        assert caught.value.rule == "io.unreadable"


@pytest.mark.parametrize("error", [AttributeError, UnicodeDecodeError, KeyError])
def test_open_verified__no_error_of_the_library_comes_through(
    tmp_path, monkeypatch, error
):
    def fail(_: object) -> None:
        raise error(*(("utf-8", b"", 0, 1, "") if error is UnicodeDecodeError else ()))

    path = write_level2(synthetic_level2(levels=10), tmp_path / "a.nc")
    monkeypatch.setattr("tgo_spectra.files.storage._attributes", fail)
    with pytest.raises(OutputError) as caught:
        open_verified(path)
    assert caught.value.rule == "io.unreadable"


def test_read_partly__gives_what_the_whole_file_holds(tmp_path):
    path = write_level2(synthetic_level2(), tmp_path / "a.nc")
    whole, attrs = read_stored(path)
    found, stated = read_partly(
        path, {n: list(v.attrs) for n, v in whole.items()}, attrs
    )
    assert found.keys() == whole.keys()
    for name, one in found.items():
        assert one.dims == whole[name].dims, name
        assert one.data.dtype == whole[name].data.dtype
        np.testing.assert_array_equal(one.data, whole[name].data)
        for key, value in whole[name].attrs.items():
            np.testing.assert_array_equal(one.attrs[key], value, err_msg=key)
            assert type(one.attrs[key]) is type(value)
    assert stated.keys() == attrs.keys()
    for key, value in attrs.items():
        np.testing.assert_array_equal(stated[key], value)
    # dimensions by name though their own variables are not asked for
    names = ("ch4_slant_column", "baseline", "ch4_averaging_kernel", "pixel")
    some, none = read_partly(path, dict.fromkeys(names, ()), {"absent"})
    assert {n: v.dims for n, v in some.items()} == {n: whole[n].dims for n in names[:3]}
    assert not none


def test_read_partly__whole_file_where_it_must(tmp_path, monkeypatch):
    path = write_level2(synthetic_level2(levels=10), tmp_path / "a.nc")
    sealed = path.read_bytes()
    for place in (9, 300, len(sealed) // 2):
        path.write_bytes(sealed[:place] + b"x" + sealed[place + 1 :])
        with pytest.raises(OutputError) as caught:
            read_partly(path, {"pressure": ()}, ())
        assert caught.value.rule == "io.hash_mismatch"
    path.write_bytes(sealed)
    with monkeypatch.context() as change:
        change.setattr("tgo_spectra.files.partial._read", lambda *_: {}["no"])
        with pytest.raises(OutputError) as caught:
            read_partly(path, {"pressure": ()}, ())
    assert caught.value.rule == "io.unreadable"
    unsealed(path)
    assert read_partly(path, {"pressure": ()}, ()) is None
    words = xr.Dataset({"ch4_vmr": ("altitude", [1.0]), "word": ((), "a")})
    with_text = tmp_path / "b.nc"
    write_plain(words, with_text)
    assert read_partly(with_text, {"word": ()}, ()) is None


def test_sealed_files_are_netcdf_to_others(tmp_path):
    path = write_level2(synthetic_level2(), tmp_path / "a.nc")
    whole = open_verified(path)
    with xr.open_dataset(path) as lazy:
        np.testing.assert_array_equal(lazy["ch4_vmr"].values, whole["ch4_vmr"].values)
    with netCDF4.Dataset("memory", memory=path.read_bytes()) as file:
        assert file.content_sha256 == whole.attrs["content_sha256"]


def test_atomic_file__error_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def stop_halfway():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        stop_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_file__full_disk_named(tmp_path):
    path = tmp_path / "a.txt"

    def fill_disk():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, os.strerror(28))

    with pytest.raises(OutputError) as caught:
        fill_disk()
    assert caught.value.rule == "io.no_space"
    assert list(tmp_path.iterdir()) == []


def test_atomic_file__no_folder(tmp_path):
    with (
        pytest.raises(OutputError, match="folder") as caught,
        atomic_file(tmp_path / "b" / "a"),
    ):
        pass
    assert caught.value.rule == "io.no_folder"


def test_sweep_temporary__dead_writers_only(tmp_path):
    with atomic_file(tmp_path / "a.nc") as temporary:
        temporary.write_text("x")
        mine = temporary.name
        dead = tmp_path / mine.replace(f"-{os.getpid()}-", "-999999999-")
        dead.write_text("x")
        assert sweep_temporary(tmp_path) == 1
        assert temporary.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["a.nc"]


def test_write__nothing_or_unwritable_refused(tmp_path):
    with pytest.raises(OutputError) as caught:
        write_level2(xr.Dataset(), tmp_path / "a.nc")
    assert caught.value.rule == "io.empty"
    with pytest.raises(OutputError) as caught:
        write_level2(xr.Dataset({"a": ("x", [1j])}), tmp_path / "a.nc")
    assert caught.value.rule == "io.type"
    assert list(tmp_path.iterdir()) == []
