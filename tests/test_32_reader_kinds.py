"""Every kind of NOMAD product: written, read, against another reader, its quirks."""

from __future__ import annotations

import logging
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pds4_tools
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import OutputError, ProductError, TgoWarning
from tgo_spectra.readers.backend import TgoBackendEntrypoint
from tgo_spectra.readers.quality import empty_flags, level1_bits
from tgo_spectra.simulate.layout import LAYOUTS
from tgo_spectra.simulate.product import write_product
from tgo_spectra.variables import validate

sys.path.append(str(Path(__file__).parent))

from nomad_products import KINDS, level1

LENGTHS = {
    "so": 12_163,
    "lno occultation": 12_163,
    "lno nadir": 12_235,
    "uvis": 39_383,
    "uvis nadir": 39_527,
}


@pytest.fixture(scope="module", params=KINDS)
def written(request, tmp_path_factory):
    """Name of a kind, its rows, its label."""
    rows = level1(request.param)
    return request.param, rows, write_product(tmp_path_factory.mktemp("p"), rows)


# --- the writer and the reader ----------------------------------------------------


def test_name_and_size(written):
    kind, rows, path = written
    window = "20190213T120858-20190213T120900"
    assert path.stem == f"nmd_cal_sc_{KINDS[kind][0]}_{window}{KINDS[kind][4]}"
    size = path.with_suffix(".tab").stat().st_size
    if kind in LENGTHS:
        assert size == rows.sizes["spectrum"] * LENGTHS[kind]


def test_round_trip(written):
    kind, rows, path = written
    ds = tgo.open_product(path)
    validate(ds, level=1)
    assert ds.attrs["channel"] == KINDS[kind][0]
    assert ds.attrs["observation_type"] == KINDS[kind][1]
    assert ds.sizes["point"] == (9 if ds.attrs["channel"] == "uvis" else 5)
    for name in rows.variables:
        got, wanted = ds[name].values, rows[name].values
        if wanted.dtype.kind in "Mb":
            np.testing.assert_array_equal(got, wanted, name)
        else:
            np.testing.assert_allclose(got, wanted, rtol=1e-5, err_msg=name)
    if "order" in rows:
        assert ds["wavenumber"].dims == rows["wavenumber"].dims
        assert ds["order"].ndim == rows["order"].ndim


def test_every_field_equals_pds4_tools(written):
    """An independent reader: every field of every kind."""
    kind, _, path = written
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            oracle = pds4_tools.read(str(path), quiet=True)[0]
        finally:
            logging.disable(logging.NOTSET)
    layout = LAYOUTS[KINDS[kind][0], KINDS[kind][1] != "dayside_nadir"]
    ds = tgo.open_product(path)
    places = {c.name: (c.variable, c.index) for c in layout.columns}
    places |= {group.inner: (group.variable, ()) for group in layout.groups}
    assert len(oracle.fields) == len(places)
    for field in oracle.fields:
        name = field.meta_data.full_name().rpartition(", ")[2].strip()
        variable, index = places.pop(name)
        ours = ds[variable].values
        theirs = np.asarray(field)
        if theirs.dtype.kind == "U":
            theirs = np.char.rstrip(np.char.strip(theirs), "Z").astype("M8[ns]")
        elif theirs.dtype.kind == "f":
            theirs = np.where(theirs == -999.0, np.nan, theirs)
        if "spectrum" not in ds[variable].dims:
            ours = np.broadcast_to(ours, theirs.shape)
        ours = ours[(slice(None), *index)]
        np.testing.assert_array_equal(ours, theirs, name)
    assert not places


def test_label_is_valid_in_the_schema(written, assert_valid):
    assert_valid(written[2])


def test_ways_in(written, tmp_path):
    """Label, table, folder, delivery zip and a zip with folders give the same."""
    _, rows, path = written
    ds = tgo.open_product(path).load()
    for way in (path.with_suffix(".tab"), path.parent):
        xr.testing.assert_identical(tgo.open_product(way).load(), ds)
    delivered = write_product(tmp_path, rows, archive=True)
    assert delivered.name.endswith("_3.0.zip")
    xr.testing.assert_equal(tgo.open_product(delivered).load(), ds)
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as archive:
        for file in (path, path.with_suffix(".tab")):
            archive.write(file, f"data_calibrated/x/{file.name}")
    xr.testing.assert_equal(tgo.open_product(nested).load(), ds)


def test_first_bytes_of_fields():
    """Places stated in the description of the layout, 1-based."""
    known = {
        ("so", True): {"YValidFlag": 114, "PointX0": 242, "PointX1": 386},
        ("lno", False): {"YValidFlag": 114, "StartLSubS": 170, "PointX0": 224}
        | {"PointX1": 386, "IncidenceAngleStart0": 296, "SurfaceRadiusEnd0": 377},
        ("uvis", True): {"DetectorTemperature": 57, "YValidFlag": 70, "PointX0": 198}
        | {"StartPointingDeviation": 180, "TangentAltAreoidStart0": 288},
        ("uvis", False): {"StartObsAlt": 72, "EndSubSolLat": 171, "PointX8": 1476},
    }
    for key, places in known.items():
        at, found = 1, {}
        for column in LAYOUTS[key].columns:
            found[column.name] = at
            at += column.length
        assert {name: found[name] for name in places} == places
    lengths = {key: (len(x.columns), x.scalar_length) for key, x in LAYOUTS.items()}
    assert lengths == {
        ("so", True): (105, 961),
        ("lno", True): (105, 961),
        ("lno", False): (113, 1033),
        ("uvis", True): (162, 1493),
        ("uvis", False): (178, 1637),
    }


def test_writer_refuses(tmp_path):
    uvis = level1("uvis binned")
    for rows, options, field in (
        (uvis.assign_attrs(channel="mir"), {}, "channel"),
        (level1().assign_attrs(observation_type="dayside_nadir"), {}, "observation_ty"),
        (uvis.assign_attrs(altitude_part="low"), {}, "altitude_part"),
        (level1("lno nadir").assign_attrs(calibration_letter="x"), {}, "calibration_l"),
        (uvis, {"version": "9.9"}, "version"),
        (uvis, {"repeat_location": True}, "repeat_location"),
        (uvis.drop_vars("transmittance"), {}, "transmittance"),
    ):
        with pytest.raises(OutputError) as caught:
            write_product(tmp_path, rows, **options)
        assert caught.value.field.startswith(field)
    assert not list(tmp_path.iterdir())
    write_product(tmp_path, uvis.drop_vars("mask"))  # nothing is rejected by default
    assert not tgo.open_product(tmp_path)["mask"].any()


# --- the fault of LNO nadir labels ------------------------------------------------


def test_repeated_group_location_is_valid_in_the_schema(tmp_path, assert_valid):
    rows = level1("lno nadir")
    assert_valid(write_product(tmp_path, rows, repeat_location=True))


def test_repeated_group_location(tmp_path):
    rows = level1("lno nadir")
    good = write_product(tmp_path, rows)
    ds = tgo.open_product(good).load()
    assert not np.array_equal(
        ds["reflectance_factor"], ds["reflectance_factor_corrected"]
    )
    bad = write_product(tmp_path, rows, repeat_location=True)
    assert bad.read_text().count('"byte">3914<') == 2
    with pytest.warns(TgoWarning, match=r"table\.field_value_overlap"):
        repaired = tgo.open_product(bad).load()
    xr.testing.assert_equal(repaired, ds)
    assert "8073" in repaired.attrs["source_repairs"]
    text = bad.read_text().replace(">12235<", ">12236<")  # no longer closes
    bad.write_text(text)
    with pytest.raises(ProductError) as caught:
        tgo.open_product(bad)
    assert caught.value.rule == "table.field_value_overlap"


# --- mask, flags, versions --------------------------------------------------------


@pytest.mark.parametrize("kind", ["uvis binned", "uvis nadir"])
def test_mask_is_applied_on_request(tmp_path, kind):
    path = write_product(tmp_path, level1(kind))
    plain = tgo.open_product(path)
    assert "mask_applied" not in plain.attrs
    ds = tgo.open_product(path, apply_mask=True)
    signal = "transmittance" if kind == "uvis binned" else "radiance"
    for name in (signal, f"{signal}_error"):
        assert not ds[name].variable._in_memory
        wanted = plain[name].where(~plain["mask"])
        xr.testing.assert_equal(ds[name], wanted)
        key = {"spectrum": slice(3, 0, -1), "pixel": [7, 2]}
        part = pickle.loads(pickle.dumps(ds[name].isel(key)))
        xr.testing.assert_equal(part, wanted.isel(key))
        assert ds[name].attrs["mask_applied"] == 1
    assert ds.attrs["mask_applied"] == 1
    assert plain["mask"].any()
    chunked = xr.open_dataset(path, engine="tgo", apply_mask=True, chunks={})
    xr.testing.assert_equal(chunked[signal].compute(), ds[signal])


def test_mask_is_refused_where_there_is_none(tmp_path):
    path = write_product(tmp_path, level1())
    with pytest.raises(ProductError) as caught:
        tgo.open_product(path, apply_mask=True)
    assert caught.value.rule == "product.no_mask"


def test_flags_say_what_they_are_worth(tmp_path):
    flags = {"CalibrationFailed": 1, "UVISOccBoresight": 1}
    ds = tgo.open_product(write_product(tmp_path, level1(), parameters=flags))
    assert ds.attrs["calibration_status"] == "failed"
    assert "failed the criteria" in ds.attrs["quality_notes"]
    assert "boresight of UVIS" in ds.attrs["quality_notes"]
    meaningless = ds.attrs["flags_without_meaning"].split()
    assert {"DetectorSaturated", "YValidFlag", "LNOStraylight"} <= set(meaningless)
    assert "CalibrationFailed" not in meaningless
    assert "always true" in ds["y_valid_flag"].attrs["comment"]
    clean = tgo.open_product(write_product(tmp_path, level1()))
    assert clean.attrs["calibration_status"] == "passed"
    assert "quality_notes" not in clean.attrs


@pytest.mark.parametrize(("letter", "status"), [("p", "passed"), ("f", "failed")])
def test_letter_of_lno_nadir_is_believed_not_the_flag(tmp_path, letter, status):
    rows = level1("lno nadir").assign_attrs(calibration_letter=letter)
    flags = {"CalibrationFailed": 1 - (letter == "f")}
    path = write_product(tmp_path, rows, parameters=flags)
    assert f"-d{letter}-134" in path.stem
    ds = tgo.open_product(path)
    assert ds.attrs["calibration_letter"] == letter
    assert ds.attrs["calibration_status"] == status
    assert ("quality_notes" in ds.attrs) == (letter == "f")
    assert "CalibrationFailed" in ds.attrs["flags_without_meaning"].split()
    assert "comment" not in ds["y_valid_flag"].attrs


def test_no_letter_no_status(tmp_path):
    ds = tgo.open_product(write_product(tmp_path, level1("lno nadir")))
    assert "calibration_status" not in ds.attrs


def test_own_boresight_is_no_fault(tmp_path):
    flags = {"UVISOccBoresight": 1}
    path = write_product(tmp_path, level1("uvis binned"), parameters=flags)
    assert "quality_notes" not in tgo.open_product(path).attrs


def test_empty_flags_of_all_kinds():
    for key in LAYOUTS:
        names = empty_flags(*key)
        assert len(set(names)) == len(names)
        assert ("YValidFlag" in names) == (key in {("so", True), ("lno", True)})


@pytest.mark.parametrize("version", ["1.0", "2.0", "3.0", "3.1", "4.0"])
def test_versions(tmp_path, version):
    path = write_product(tmp_path, level1(), version=version)
    ds = tgo.open_product(path)
    assert ds.attrs["product_version"] == version
    zipped = write_product(tmp_path, level1(), version=version, archive=True)
    assert zipped.stem.endswith(f"_{version}")
    xr.testing.assert_equal(tgo.open_product(zipped), ds)


@pytest.mark.parametrize("model", ["1.11.0.0", "1.21.0.0"])
def test_information_models(tmp_path, model):
    path = write_product(tmp_path, level1())
    ds = tgo.open_product(path).load()
    text = path.read_text().replace("1.15.0.0", model)
    text = text.replace(
        "http://psa.esa.int/psa/em16/tgo/nmd/v1",
        "https://psa.esa.int/psa/mission/em16/v1/",
    ).replace("em16_tgo_nmd:", "em16:")
    text = text.replace("psa:em16:data", "psa:em16_tgo_nmd:data")
    path.write_text(text.replace("xmlns:em16_tgo_nmd=", "xmlns:em16="))
    other = tgo.open_product(path).load()
    xr.testing.assert_equal(other, ds)
    assert other.attrs["information_model_version"] == model
    assert other.attrs["SyntheticNotice"] == ds.attrs["SyntheticNotice"]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<version_id>3.0", "<version_id>5.0", "product.unknown_version"),
        ("CAL_NOMAD_SO", "CAL_NOMAD_LNO", "product.name_mismatch"),
        ("NSpec>5<", "NSpec>6<", "product.name_mismatch"),
        ("-a-e-134<", "-a-e-135<", "product.name_mismatch"),
    ],
)
def test_contradictions_warn(tmp_path, old, new, rule):
    path = write_product(tmp_path, level1())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    if "135" in new:
        path.write_text(text.replace(old, new, 1))  # in the identifier only
    with pytest.warns(TgoWarning, match=re.escape(f"[{rule}]")):
        tgo.open_product(path)


# --- unusual rows -----------------------------------------------------------------


def test_a_bin_is_missing(tmp_path):
    rows = level1(n=12)
    rows = rows.isel(spectrum=rows["bin_start"].values != 124)
    ds = tgo.open_product(write_product(tmp_path, rows))
    assert sorted(set(ds["bin"].values)) == [0, 1, 2]
    first = [ds["bin_start"].values[ds["bin"].values == k][0] for k in range(3)]
    assert first == [120, 128, 132]


def test_a_row_without_values(tmp_path):
    rows = level1()
    rows["transmittance"][2] = np.nan
    rows["transmittance_error"][2] = np.nan
    ds = tgo.open_product(write_product(tmp_path, rows))
    assert ds["transmittance"][2].isnull().all()
    assert ds["transmittance"][3].notnull().all()


def test_corner_below_the_surface(tmp_path):
    ds = tgo.open_product(write_product(tmp_path, level1()))
    assert ds["tangent_altitude_areoid"][1, 1].isnull().all()
    assert ds["tangent_altitude"].notnull().all()


# --- many products ----------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three SO products of one order, the last with another wavenumber axis."""
    folder = tmp_path_factory.mktemp("three")
    paths = []
    for k in range(3):
        rows = level1("so", n=3 + k, seed=k, start=k)
        if k == 2:
            rows = rows.assign_coords(wavenumber=rows["wavenumber"] + 0.125)
            rows["instrument_temperature"] = -4.0
        paths.append(write_product(folder, rows))
    return paths


def test_products_are_joined(three):
    ds = tgo.open_products(three)
    validate(ds, level=1)
    singles = [tgo.open_product(path) for path in three]
    assert ds.sizes["spectrum"] == 3 + 4 + 5
    assert ds["product_index"].values.tolist() == [0] * 3 + [1] * 4 + [2] * 5
    for k, one in enumerate(singles):
        part = ds.isel(spectrum=ds["product_index"].values == k)
        for name in one.variables:
            wanted = np.broadcast_to(one[name].values, part[name].shape)
            np.testing.assert_array_equal(part[name].values, wanted, str(name))
        assert ds["product_lid"][k] == one.attrs["product_lid"]
        assert ds["source_md5"][k] == one.attrs["source_md5"]
    assert ds["order"].ndim == 0
    assert ds["wavenumber"].dims == ("spectrum", "pixel")
    assert ds["instrument_temperature"].dims == ("spectrum",)
    assert (ds.attrs["channel"], "product_lid" in ds.attrs) == ("so", False)


def test_one_axis_stays_one(three, tmp_path):
    ds = tgo.open_products(three[:2], ["transmittance", "tangent_altitude"])
    assert ds["wavenumber"].dims == ("pixel",)
    assert list(ds.data_vars) == ["transmittance"]
    ds.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as copy:
        xr.testing.assert_equal(copy.load(), ds)
    one = tgo.open_products(three[0])
    assert one.sizes["product"] == 1


def test_products_side_by_side(three, tmp_path):
    uvis = write_product(tmp_path, level1("uvis binned"))
    tree = tgo.open_products([*three, uvis], combine="tree")
    assert set(tree.children) == {path.stem.lower() for path in (*three, uvis)}
    node = tree[uvis.stem.lower()].to_dataset()
    xr.testing.assert_identical(node.load(), tgo.open_product(uvis).load())


def test_products_that_differ_in_the_collection(tmp_path):
    paths = [write_product(tmp_path, level1())]
    lid = tgo.open_product(paths[0]).attrs["product_lid"]
    bundle, _, last = lid.rsplit(":", 2)
    for name in ("data_derived", "data_x"):
        other = tmp_path / name
        other.mkdir()
        for suffix in (".xml", ".tab"):
            data = paths[0].with_suffix(suffix).read_bytes()
            data = data.replace(b":data_calibrated:", f":{name}:".encode())
            (other / paths[0].with_suffix(suffix).name).write_bytes(data)
        paths.append(other / paths[0].name)
    uvis = write_product(tmp_path, level1("uvis binned"))
    tree = tgo.open_products([*paths, uvis], combine="tree")
    names = {
        f"{bundle}:{c}:{last}" for c in ("data_calibrated", "data_derived", "data_x")
    }
    assert set(tree.children) == {*names, uvis.stem.lower()}
    for name in names:
        assert tree[name].attrs["product_lid"] == name


def test_products_that_do_not_go_together(three, tmp_path):
    other = level1("so", start=9)
    other["order"] = 136
    cases = {
        "diffraction order differs: 134": write_product(tmp_path, other),
        "diffraction order differs: 134 in .* full scan": write_product(
            tmp_path, level1("so full scan", start=8)
        ),
        "channel differs": write_product(tmp_path, level1("lno nadir")),
    }
    for message, path in cases.items():
        with pytest.raises(ProductError, match=message) as caught:
            tgo.open_products([three[0], path])
        assert caught.value.rule == "product.not_alike"
    binned = [
        write_product(tmp_path, level1(kind)) for kind in ("uvis binned", "uvis nadir")
    ]
    with pytest.raises(ProductError, match="kind of observation differs"):
        tgo.open_products(binned)
    lno = [
        write_product(tmp_path, level1(kind))
        for kind in ("lno occultation", "lno nadir")
    ]
    with pytest.raises(ProductError, match="kind of observation"):
        tgo.open_products(lno)


def test_pixels_must_be_as_many(tmp_path):
    short = level1("uvis binned").isel(pixel=slice(100))
    long = level1("uvis binned", start=3)
    paths = [write_product(tmp_path, rows) for rows in (short, long)]
    with pytest.raises(ProductError, match="number of pixels differs: 100"):
        tgo.open_products(paths)
    both = tgo.open_products([paths[1]], apply_mask=True)
    assert both.attrs["mask_applied"] == 1


def test_one_product_in_two_versions_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    first = write_product(tmp_path, level1(), version="3.0")
    second = write_product(tmp_path / "a", level1(), version="4.0")
    for combine in ("spectrum", "tree"):
        with pytest.raises(ProductError, match=r"3\.0 and 4\.0") as caught:
            tgo.open_products([first, second], combine=combine)
        assert caught.value.rule == "product.duplicate"


def test_bad_requests(three):
    for arguments, options, rule in (
        (([],), {}, "product.none"),
        ((three, ["no_such"]), {}, "product.unknown_variable"),
        ((three,), {"combine": "maybe"}, "product.combine"),
        ((three,), {"apply_mask": True}, "product.no_mask"),
    ):
        with pytest.raises(ProductError) as caught:
            tgo.open_products(*arguments, **options)
        assert caught.value.rule == rule


def test_engine_takes_only_what_it_knows():
    with pytest.raises(TypeError):
        TgoBackendEntrypoint().open_dataset("x.xml", chunks={})


def _padding(path):
    with path.with_suffix(".tab").open("ab") as file:
        file.write(b"\x1a\r\n")


def _line_feeds(path):
    table = path.with_suffix(".tab")
    table.write_bytes(table.read_bytes().replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("fault", [_padding, _line_feeds])
def test_harmless_faults_are_repaired_on_request(tmp_path, fault):
    path = write_product(tmp_path, level1(n=3), md5=False)
    text = re.sub(r"<file_size.*?</file_size>", "", path.read_text())
    path.write_text(text)
    good = tgo.open_product(path).load()
    assert good.attrs["reading_mode"] == "strict"
    assert "source_repairs" not in good.attrs
    fault(path)
    with pytest.raises(ProductError):
        tgo.open_product(path)
    mended = tgo.open_product(path, mode="repair")
    assert mended.attrs["reading_mode"] == "repair"
    assert mended.attrs["source_repairs"]
    assert mended.load().equals(good)
    with pytest.warns(TgoWarning, match=r"table\.repaired"):
        aloud = tgo.open_product(path, mode="warn").load()
    assert aloud.equals(good)
    engine = xr.open_dataset(path, engine="tgo", mode="repair")
    assert engine.attrs["source_repairs"] == mended.attrs["source_repairs"]


def test_nothing_is_repaired_against_the_md5(tmp_path):
    path = write_product(tmp_path, level1(n=3))
    _padding(path)
    with pytest.raises(ProductError, match=r"filesize_mismatch"):
        tgo.open_product(path, mode="repair")


# --- what a product itself says against results made of it ---------------------------


@pytest.mark.parametrize("failed", [False, True])
def test_failed_calibration_reaches_results(tmp_path, failed):
    flags = {"CalibrationFailed": int(failed), "DetectorSaturated": 1}
    ds = tgo.open_product(write_product(tmp_path, level1(), parameters=flags))
    expected = {"calibration_failed"} if failed else set()
    assert level1_bits(ds) == level1_bits(ds.isel(spectrum=[0])) == expected


def test_failed_calibration_of_one_of_several_counts(tmp_path, three):
    rows = level1(start=9)
    bad = write_product(tmp_path, rows, parameters={"CalibrationFailed": 1})
    assert level1_bits(tgo.open_products(three)) == set()
    assert level1_bits(tgo.open_products([three[0], bad])) == {"calibration_failed"}


@pytest.mark.parametrize(
    ("kind", "letter", "n_valid", "expected"),
    [
        ("lno nadir", "f", None, {"calibration_failed"}),
        ("lno nadir", "p", None, set()),
        ("lno nadir", "p", 0, {"few_spectra"}),
        ("lno nadir", "f", 0, {"few_spectra", "calibration_failed"}),
        ("uvis binned", "", 0, set()),  # its pipeline's flag is not understood
        ("so", "", 0, set()),  # constant in the archive
    ],
)
def test_flags_of_rows_count_where_they_mean_something(
    tmp_path, kind, letter, n_valid, expected
):
    rows = level1(kind)
    if letter:
        rows = rows.assign_attrs(calibration_letter=letter)
    ds = tgo.open_product(write_product(tmp_path, rows))
    if n_valid is not None:
        valid = np.arange(ds.sizes["spectrum"]) < n_valid
        ds["y_valid_flag"] = ds["y_valid_flag"].copy(data=valid)
    assert level1_bits(ds) == expected
    # without the variable there is nothing to say of rows
    assert "few_spectra" not in level1_bits(ds.drop_vars("y_valid_flag"))
