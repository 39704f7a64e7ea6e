"""NOMAD products: every field, every way in, every fault, and the writer."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pds4_tools
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import OutputError, ProductError, TgoWarning
from tgo_spectra.readers.backend import TgoBackendEntrypoint
from tgo_spectra.readers.finding import find_label
from tgo_spectra.readers.lazy import snake_case
from tgo_spectra.readers.nomad import PRODUCT_NAME
from tgo_spectra.readers.open import read_label
from tgo_spectra.simulate.layout import INFRARED_PIXELS, LAYOUTS
from tgo_spectra.simulate.product import write_product
from tgo_spectra.variables import validate

if TYPE_CHECKING:
    import pathlib

SO_COLUMNS = LAYOUTS["so", True].columns
SO_RECORD_LENGTH = LAYOUTS["so", True].record_length(INFRARED_PIXELS)


@pytest.fixture
def sample(request, shared):
    """Sample product of an order, 134 unless a test says otherwise."""
    order = getattr(request, "param", 134)
    return next((shared / "samples").glob(f"*-{order}_3.0.zip"))


def level1(n: int = 9, *, full_scan: bool = False, seed: int = 5) -> xr.Dataset:
    """Return rows as an SO occultation has them, already rounded as printed."""
    rng = np.random.default_rng(seed)
    altitude = np.sort(rng.uniform(-5, 120, n))[:, None, None]
    point = np.arange(5)[:, None]
    edge = np.array([0.05, -0.05])
    areoid = altitude + 0.3 * point * (-1.0) ** point + edge
    areoid[0, 1, 1] = np.nan
    start = np.datetime64("2018-06-14T03:15:45.877", "ns")
    times = start - (np.arange(n) * 250).astype("m8[ms]")

    def per_edge(value: float) -> tuple[tuple[str, str], np.ndarray]:
        data = value + rng.normal(0, 0.5, (n, 2))
        return ("spectrum", "edge"), data.round(3)

    def per_point(value: np.ndarray | float) -> tuple[tuple[str, ...], np.ndarray]:
        data = np.broadcast_to(value, (n, 5, 2)) + np.zeros((n, 5, 2))
        return ("spectrum", "point", "edge"), data.round(2)

    pixel = np.arange(320)
    wavenumber = (3010 + 0.075 * pixel).round(3)
    order: object = 134
    if full_scan:
        order = ("spectrum", 134 + np.arange(n) % 3)
        wavenumber = np.stack([wavenumber + 22 * (k % 3) for k in range(n)]).round(3)
    signal = rng.normal(0.7, 0.1, (n, 320))
    signal[2, 7] = np.nan
    bins = np.arange(n) % 4
    scales = {"time_bounds": np.stack([times, times + np.timedelta64(170, "ms")], 1)}
    return xr.Dataset(
        {
            "time_bounds": (("spectrum", "edge"), scales["time_bounds"]),
            "transmittance": (("spectrum", "pixel"), signal),
            "transmittance_error": (("spectrum", "pixel"), np.full((n, 320), 1e-3)),
            "order": order,
            "aotf_frequency": ("spectrum", np.full(n, 17859.0)),
            "instrument_temperature": -3.2,
            "detector_temperature": 90.0,
            "bin_start": ("spectrum", 120 + 4 * bins),
            "bin_end": ("spectrum", 123 + 4 * bins),
            "obs_altitude": per_edge(3792.0),
            "sub_obs_longitude": per_edge(-55.9),
            "sub_obs_latitude": per_edge(29.6),
            "l_sub_s": per_edge(192.3),
            "sub_sol_longitude": per_edge(-70.7),
            "sub_sol_latitude": per_edge(-5.2),
            "point_longitude": per_point(-79.9),
            "point_latitude": per_point(38.6),
            "point_local_true_solar_time": per_point(11.39),
            "tangent_altitude_ellipsoid": per_point(areoid - 0.4),
            "tangent_altitude_areoid": per_point(areoid),
            "tangent_altitude_surface": per_point(areoid + 1.8),
            "slant_path_distance": per_point(1707.33),
        },
        {"wavenumber": (("spectrum", "pixel")[not full_scan :], wavenumber)},
        {"observation_type": "ingress", "orbit": 2345},
    )


@pytest.fixture
def product(tmp_path):
    return write_product(tmp_path, level1())


def edit(label: pathlib.Path, old: str, new: str) -> pathlib.Path:
    text = label.read_text()
    assert old in text
    label.write_text(text.replace(old, new, 1))
    return label


def retable(label: pathlib.Path, change) -> pathlib.Path:
    """Change the table and make the label's size and MD5 agree."""
    table = label.with_suffix(".tab")
    data = change(table.read_bytes())
    table.write_bytes(data)
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    text = re.sub(r"(?<=md5_checksum>)\w+", digest, label.read_text())
    text = re.sub(r'(?<=file_size unit="byte">)\d+', str(len(data)), text)
    label.write_text(text)
    return label


# --- against an independent reader -----------------------------------------------


@pytest.mark.parametrize("sample", [134, 136, 190], indirect=True)
def test_every_field_equals_pds4_tools(sample, tmp_path):
    with zipfile.ZipFile(sample) as archive:
        archive.extractall(tmp_path)
    label = next(tmp_path.glob("*.xml"))
    label.with_suffix(".tab").rename(tmp_path / re.sub("_3.0$", ".tab", label.stem))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            oracle = pds4_tools.read(str(label), quiet=True)[0]
        finally:
            logging.disable(logging.NOTSET)
    ds = tgo.open_product(sample)
    seen = set()
    for name, dims, value in _fields(ds):
        full = next(f for f in oracle.fields if _short(f.meta_data.full_name()) == name)
        theirs = np.asarray(full)
        seen.add(name)
        if theirs.dtype.kind == "U":
            texts = np.char.rstrip(np.char.strip(theirs), "Z")
            np.testing.assert_array_equal(value, texts.astype("M8[ns]"), name)
            continue
        if theirs.dtype.kind == "f":
            theirs = np.where(theirs == -999.0, np.nan, theirs)
        np.testing.assert_array_equal(
            np.broadcast_to(value, theirs.shape), theirs, name
        )
        assert dims[0] == "spectrum" or value.ndim < 2
    assert len(seen) == len(oracle.fields) == 108


def _short(name: str) -> str:
    return name.rpartition(",")[2].strip()


def _fields(ds: xr.Dataset):
    """Yield label name, dims and values of every table field in the Dataset."""
    for variable in ds.variables.values():
        name = variable.attrs.get("label_name")
        if name is None:
            continue
        values = variable.values
        if " / " in name:
            yield name.rpartition(" / ")[2], variable.dims, values
        elif variable.dims[1:] == ("point", "edge"):
            stem = name.partition("Start0")[0]
            for k in range(5):
                for e, word in enumerate(("Start", "End")):
                    yield f"{stem}{word}{k}", variable.dims, values[:, k, e]
        elif variable.dims[1:] == ("point",):
            for k in range(5):
                yield f"{name[:6]}{k}", variable.dims, values[:, k]
        elif variable.dims[1:] == ("edge",):
            for e, part in enumerate(name.split(", ")):
                yield part, variable.dims, values[:, e]
        else:
            yield name, (variable.dims or ("spectrum",)), values


def test_sample_attributes_and_coordinates(sample):
    ds = tgo.open_product(sample)
    validate(ds, level=1)
    expected = {
        "instrument": "NOMAD",
        "channel": "so",
        "observation_type": "ingress",
        "altitude_part": "all",
        "product_version": "3.0",
        "orbit": 2345,
        "source_file_rule": "file_name_version",
        "SpectralResolution": "0.17840",
        "first_lsubs": "192.301",
        "Mission_Phase_name": "Science Phase",
    }
    assert {key: ds.attrs[key] for key in expected} == expected
    assert ds["wavenumber"].dims == ("pixel",)
    assert (ds["order"].item(), ds["aotf_frequency"].item()) == (134, 17859.0)
    assert sorted(set(ds["bin"].values)) == [0, 1, 2, 3]
    centre = ds["tangent_altitude_areoid"].isel(point=0).mean("edge")
    np.testing.assert_allclose(ds["tangent_altitude"], centre)


@pytest.mark.parametrize("sample", [136], indirect=True)
def test_samples_are_written_to_the_byte(tmp_path, sample):
    ds = tgo.open_product(sample)
    window = tuple(
        np.datetime64(re.sub(r"(....)(..)(..T..)(..)", r"\1-\2-\3:\4:", ds.attrs[key]))
        for key in ("ClockStartCount", "ClockStopCount")
    )
    path = write_product(tmp_path, ds, command_window=window, archive=True)
    assert path.name == sample.name
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(sample) as theirs:
        names = [n for n in theirs.namelist() if n.endswith(".tab")]
        assert ours.read(names[0]) == theirs.read(names[0])
        assert sorted(ours.namelist()) == sorted(theirs.namelist())


# --- ways in ---------------------------------------------------------------------


def test_all_ways_in_give_the_same(product, tmp_path):
    ds = tgo.open_product(product).load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in (product.with_suffix(".tab"), str(product), product.parent):
            xr.testing.assert_identical(tgo.open_product(path).load(), ds)
    for keywords in ({}, {"chunks": {"spectrum": 4}}, {"chunks": {}}):
        other = xr.open_dataset(product, engine=TgoBackendEntrypoint, **keywords)
        assert other.encoding["source"] == str(product)
        xr.testing.assert_identical(other.load(), ds)
    zipped = tmp_path / "z"
    zipped.mkdir()
    path = write_product(zipped, level1(), archive=True)
    assert path.name == "nmd_cal_sc_so_20180614-03154300-a-i-134_3.0.zip"
    other = tgo.open_product(path).load()
    assert other.attrs["source_md5"] == ds.attrs["source_md5"]
    xr.testing.assert_equal(other, ds)
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as archive:
        archive.write(product, f"a/b/{product.name}")
        archive.write(product.with_suffix(".tab"), f"a/b/{product.stem}.tab")
        archive.writestr("a/b/nmd_cal_sc_browse_x.xml", "<a/>")
    xr.testing.assert_equal(tgo.open_product(nested).load(), ds)


def test_names_in_another_case(product):
    upper = product.with_name(product.stem.upper() + ".tab")
    product.with_suffix(".tab").rename(upper)
    assert tgo.open_product(product).attrs["source_file_rule"] == "label_stem"


def test_engine_is_found_by_name_and_by_content(product):
    assert "tgo" in xr.backends.list_engines()
    engine = TgoBackendEntrypoint()
    assert engine.guess_can_open(product)
    assert engine.guess_can_open(product.with_suffix(".tab"))
    for other in ("a.nc", "absent.xml", "absent.zip", 3, b"x"):
        assert not engine.guess_can_open(other)
    foreign = product.with_name("foreign.xml")
    foreign.write_text("<Product_Observational/>")
    assert not engine.guess_can_open(foreign)
    ds = xr.open_dataset(product, drop_variables=["transmittance"])
    assert "transmittance" not in ds


def test_lazy_pickles_small_and_indexes_alike(product):
    ds = tgo.open_product(product)
    assert not ds["transmittance"].variable._in_memory
    data = pickle.dumps(ds["transmittance_error"])
    assert len(data) < 40_000
    full = tgo.open_product(product).load()
    keys = [
        {"spectrum": 3},
        {"spectrum": -1, "pixel": slice(None, None, -7)},
        {"spectrum": slice(4, 0, -2), "pixel": 5},
        {"spectrum": [5, 1, 1], "pixel": [2, 300]},
        {"spectrum": slice(0, 0)},
    ]
    for key in keys:
        got = pickle.loads(pickle.dumps(ds["transmittance"].isel(key)))
        xr.testing.assert_identical(got.load(), full["transmittance"].isel(key))
    for key in ({"point": 2}, {"edge": 1, "point": slice(3, None)}, {"spectrum": 1}):
        name = "tangent_altitude_areoid"
        xr.testing.assert_identical(ds[name].isel(key).load(), full[name].isel(key))


# --- what the values are ----------------------------------------------------------


def test_round_trip_of_all_variables(product):
    rows, ds = level1(), tgo.open_product(product)
    validate(ds, level=1)
    assert ds.attrs["product_lid"].startswith("urn:esa:psa:em16_tgo_nmd:data_cali")
    assert "SYNTHETIC" in ds.attrs["title"]
    assert ds.attrs["SyntheticNotice"]
    assert (ds.attrs["orbit"], ds.attrs["observation_type"]) == (2345, "ingress")
    for name in rows.variables:
        wanted = (
            np.broadcast_to(rows[name].values, ds[name].shape)
            if (rows[name].ndim == 0)
            else rows[name].values
        )
        got = ds[name].values
        if name == "aotf_frequency":
            assert got.item() == 17859.0
        elif wanted.dtype.kind == "M":
            np.testing.assert_array_equal(got, wanted)
        else:
            np.testing.assert_allclose(got, wanted, rtol=6e-6, err_msg=name)
    assert np.isnan(ds["transmittance"][2, 7])
    assert np.isnan(ds["tangent_altitude_areoid"][0, 1, 1])
    assert ds["point_x"][0].values.tolist() == [0, 1, -1, -1, 1]
    assert product.with_suffix(".tab").stat().st_size == 9 * SO_RECORD_LENGTH


def test_rows_are_sorted_when_written(tmp_path):
    rows = level1().isel(spectrum=[3, 0, 8, 1, 2, 7, 6, 5, 4])
    ds = tgo.open_product(write_product(tmp_path, rows))
    xr.testing.assert_allclose(
        ds["obs_altitude"].reset_coords(drop=True), level1()["obs_altitude"]
    )


def test_full_scan_keeps_the_axis_of_each_row(tmp_path):
    rows = level1(full_scan=True)
    path = write_product(tmp_path, rows)
    assert path.stem.endswith("-a-i")
    ds = tgo.open_product(path)
    assert ds["order"].values.tolist() == [134, 135, 136] * 3
    assert ds["wavenumber"].dims == ("spectrum", "pixel")
    np.testing.assert_allclose(ds["wavenumber"], rows["wavenumber"])
    validate(ds, level=1)


def test_centre_of_a_cyclic_coordinate(tmp_path):
    rows = level1()
    rows["point_longitude"][0, 0] = [179.99, -179.97]
    rows["l_sub_s"][0] = [359.9, 0.3]
    rows["point_local_true_solar_time"][0, 0] = [23.9, 0.0]
    ds = tgo.open_product(write_product(tmp_path, rows))
    assert ds["longitude"][0].item() == pytest.approx(-179.99)
    assert ds["solar_longitude"][0].item() == pytest.approx(0.1)
    assert ds["local_true_solar_time"][0].item() == pytest.approx(23.95)


def test_a_field_of_another_version_comes_through(product):
    """One more field at the end of the scalar part, groups moved by its length."""

    def widen(data: bytes) -> bytes:
        rows = np.frombuffer(data, np.uint8).reshape(-1, SO_RECORD_LENGTH)
        extra = np.tile(np.frombuffer(b"    4.5 ", np.uint8), (len(rows), 1))
        return np.hstack([rows[:, :961], extra, rows[:, 961:]]).tobytes()

    text = product.read_text()
    new = (
        "<Field_Character><name>NewThing2</name><field_number>106</field_number>"
        '<field_location unit="byte">962</field_location>'
        "<data_type>ASCII_Real</data_type>"
        '<field_length unit="byte">8</field_length></Field_Character>'
    )
    at = text.index("<Group_Field_Character>")
    text = text[:at] + new + text[at:]
    text = text.replace("<fields>105<", "<fields>106<").replace(">12163<", ">12171<")
    for old in (962, 3842, 8002):
        was = f'<group_location unit="byte">{old}<'
        text = text.replace(was, was.replace(str(old), str(old + 8)))
    product.write_text(text)
    retable(product, widen)
    with pytest.warns(TgoWarning, match="106 fields"):
        ds = tgo.open_product(product)
    assert (ds["new_thing2"] == 4.5).all()
    np.testing.assert_allclose(ds["transmittance"], level1()["transmittance"], 6e-6)


def test_repeated_group_location_is_repaired_and_recorded(product):
    """As the label of LNO nadir products has it."""
    place = '<group_location unit="byte">'
    edit(product, f"{place}8002<", f"{place}3842<")
    with pytest.warns(TgoWarning, match=r"table\.field_value_overlap"):
        ds = tgo.open_product(product)
    assert "8001" in ds.attrs["source_repairs"]
    assert (ds["transmittance_error"] == 1e-3).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("so_20180524t022525-20180524t024316-h-i-165", ("so", "h", "i", "165")),
        ("lno_20190213t120858-20190213t131138-d-190", ("lno", None, "d", "190")),
        ("lno_20190213T120858-20190213T131138-dp-169", ("lno", None, "dp", "169")),
        ("so_20180524t022525-20180524t024316-a-e", ("so", "a", "e", None)),
        ("uvis_20180524t022525-20180524t024316-i_3.0", ("uvis", None, "i", None)),
    ],
)
def test_product_names(name, expected):
    found = PRODUCT_NAME.fullmatch(f"nmd_cal_sc_{name}")
    assert tuple(found[k] for k in ("channel", "part", "kind", "order")) == expected


def test_snake_case():
    names = ("AOTFFrequency", "BinStart", "YValidFlag", "Pixel mask (2)", "ÅÅ")
    expected = ["aotf_frequency", "bin_start", "y_valid_flag", "pixel_mask_2", "field"]
    assert list(map(snake_case, names)) == expected


# --- faults: one clear error each -------------------------------------------------


def no_delimiter(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"  ", 1)


FAULTS = {
    "truncated": (
        lambda p: p.with_suffix(".tab").write_bytes(
            p.with_suffix(".tab").read_bytes()[:-500]
        ),
        "label.filesize_mismatch",
        "500 bytes are missing",
    ),
    "wrong size in label": (
        lambda p: edit(p, ">109467<", ">109468<"),
        "label.filesize_mismatch",
        "109468",
    ),
    "missing table": (
        lambda p: p.with_suffix(".tab").unlink(),
        "label.missing_file",
        ".tab",
    ),
    "unknown instrument": (
        lambda p: edit(p, "psa:em16_tgo_nmd:data_cal", "psa:em16_tgo_xyz:data_cal"),
        "product.unknown_instrument",
        "em16_tgo_xyz",
    ),
    "flipped byte": (
        lambda p: p.with_suffix(".tab").write_bytes(
            p.with_suffix(".tab").read_bytes().replace(b"17859", b"17858", 1)
        ),
        "label.checksum_mismatch",
        "MD5",
    ),
    "missing delimiter": (
        lambda p: retable(p, no_delimiter),
        "table.missing_CRLF",
        "record 0",
    ),
    "bad cell": (
        lambda p: retable(p, lambda d: d.replace(b"1.00000e-03", b"1.00_00e-03", 1)),
        "table.field_value_data_type_mismatch",
        "1.00_00e-03",
    ),
    "NaN text": (
        lambda p: retable(p, lambda d: d.replace(b"-9.99000e+02", b"         NaN", 1)),
        "table.field_value_data_type_mismatch",
        "record 2",
    ),
    "fill in an integer": (
        lambda p: retable(p, lambda d: d.replace(b" 134 ", b" -999", 1)),
        "table.field_value_is_special_constant",
        "DiffractionOrder",
    ),
    "no spectral axis": (
        lambda p: edit(p, "<name>Wavenumber<", "<name>Something<"),
        "table.fields_mismatch",
        "Wavenumber",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(product, name):
    change, rule, text = FAULTS[name]
    change(product)
    with pytest.raises(ProductError, match=re.escape(text)) as caught:
        tgo.open_product(product).load()
    assert caught.value.rule == rule
    assert caught.value.path


def test_unsorted_rows_warn(product):
    def swap(data: bytes) -> bytes:
        n = SO_RECORD_LENGTH
        return data[n : 2 * n] + data[:n] + data[2 * n :]

    with pytest.warns(TgoWarning, match=r"table\.records_not_monotonic"):
        tgo.open_product(retable(product, swap))


def test_paths_without_one_label(tmp_path):
    for path in (tmp_path, tmp_path / "a.xml", tmp_path / "a.tab", tmp_path / "a.zip"):
        with pytest.raises(ProductError) as caught:
            tgo.open_product(path)
        assert caught.value.rule == "label.missing_file"
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ProductError, match="neither a label"):
        tgo.open_product(tmp_path / "a.txt")


# --- the writer -------------------------------------------------------------------


def test_layout_of_the_record():
    places = dict(
        zip(
            (c.name for c in SO_COLUMNS),
            np.cumsum([1, *(c.length for c in SO_COLUMNS)]).tolist(),
            strict=False,
        )
    )
    assert len(SO_COLUMNS) == 105
    assert sum(c.length for c in SO_COLUMNS) == 961
    known = {
        "ObservationDatetimeEnd": 29,
        "DiffractionOrder": 84,
        "YValidFlag": 114,
        "EndObsAlt": 125,
        "StartLSubS": 170,
        "StartPointingDeviation": 224,
        "PointX0": 242,
        "TangentAltAreoidStart0": 332,
        "SlantPathDistanceEnd4": 953,
    }
    assert {name: places[name] for name in known} == known


def test_table_uses_the_quirks_of_the_archive(product):
    line = product.with_suffix(".tab").read_bytes().split(b"\r\n")[2]
    assert line[:28] == b"2018-06-14T03:15:45.377Z    "
    assert line[56:68] == b"  17859.00 1"
    assert line[961:970] == b"3010.000 "
    assert line[3841 + 7 * 13 : 3841 + 8 * 13] == b"-9.99000e+02 "
    text = product.read_text()
    assert f"<file_name>{product.stem}.tab</file_name>" in text
    plain = write_product(product.parent, level1(), md5=False)
    assert "md5_checksum" not in plain.read_text()
    tgo.open_product(plain)


def test_writer_refuses_what_it_cannot_write(tmp_path):
    rows = level1()
    wide = rows.copy(deep=True)
    wide["slant_path_distance"][1, 0, 0] = 1e7
    hole = rows.copy(deep=True)
    hole["l_sub_s"][3, 0] = np.nan
    for bad, field in (
        (rows.drop_vars("l_sub_s"), "l_sub_s"),
        (rows.isel(pixel=slice(10)), "wavenumber"),
        (wide, "SlantPathDistanceStart0"),
        (hole, "StartLSubS"),
        (rows.assign_attrs(observation_type="limb"), "observation_type"),
        (rows.isel(spectrum=slice(0)), None),
    ):
        with pytest.raises(OutputError) as caught:
            write_product(tmp_path, bad)
        assert caught.value.field == field
    assert not list(tmp_path.iterdir())


def test_label_is_valid_in_the_schema(product, assert_valid):
    assert_valid(product)
    assert read_label(find_label(product)).title.endswith("(SYNTHETIC)")


def test_survives_netcdf_and_threads(product, tmp_path):
    ds = tgo.open_product(product)
    ds.to_netcdf(tmp_path / "copy.nc")
    with xr.open_dataset(tmp_path / "copy.nc") as copy:
        xr.testing.assert_equal(copy.load(), ds)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda k: ds["transmittance"][k].values, range(9)))
    np.testing.assert_array_equal(rows, ds["transmittance"])


def test_dask_computes_in_chunks(product):
    ds = xr.open_dataset(product, engine="tgo", chunks={"spectrum": 4})
    assert ds["transmittance"].chunks == ((4, 4, 1), (320,))
    xr.testing.assert_identical(
        pickle.loads(pickle.dumps(ds)).compute(), tgo.open_product(product).load()
    )
