"""ACS products: raw trees, calibrated frames (inferred layout), spectra of stripes."""

from __future__ import annotations

import concurrent.futures
import copy
import hashlib
import logging
import os
import pathlib
import pickle
import shutil
import sys
import warnings
import zipfile

import numpy as np
import pds4_tools
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.readers.acs import PRODUCT_NAME
from tgo_spectra.readers.acs_calibrated import axis_roles
from tgo_spectra.readers.acs_stripes import nearest_records, order_slots
from tgo_spectra.readers.backend import TgoBackendEntrypoint
from tgo_spectra.readers.objects import hex_bytes
from tgo_spectra.variables import validate

sys.path.append(str(pathlib.Path(__file__).parent))

import acs_products as acs

NODES = ["Frame1", "System", "Row", "Frame2", "Command"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return acs.write_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture
def raw_copy(raw, tmp_path):
    """The raw product, to be broken."""
    folder = tmp_path / "copy"
    shutil.copytree(raw.label.parent, folder)
    return acs.Product(folder / raw.label.name, raw.values)


def rows_file(product):
    return next(product.label.parent.glob("*-EC__*.tab"))


def change(product, path, data):
    """Write another data file, with a label that promises it."""
    old = path.read_bytes()
    path.write_bytes(data)
    text = product.label.read_text()
    pair = [hashlib.md5(x, usedforsecurity=False).hexdigest() for x in (old, data)]
    assert pair[0] in text
    product.label.write_text(text.replace(*pair))


def refused(rule, call, *args, match=None, **options):
    with pytest.raises(ProductError, match=match) as caught:
        call(*args, **options)
    assert caught.value.rule == rule
    return str(caught.value)


def oracle(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            return pds4_tools.read(str(path), quiet=True)
        finally:
            logging.disable(logging.NOTSET)


# --- raw ------------------------------------------------------------------------------


def test_raw__nodes_and_values(raw):
    tree = tgo.open_product_tree(raw.label)
    assert list(tree.children) == NODES
    for name, values in raw.values.items():
        ds = tree[name].to_dataset()
        assert list(ds.data_vars) == list(values) or name == "Row"
        assert set(ds.data_vars) == set(values)
        assert ds.sizes["record"] == next(
            records for table, records, *_ in acs.RAW_TABLES.values() if table == name
        )
        for key, wanted in values.items():
            np.testing.assert_array_equal(ds[key].values, wanted, f"{name} {key}")
    assert tree["Row"]["row_data"].dtype == np.uint8
    assert tree["Row"]["row_data"].dims == ("record", "byte")


def test_raw__every_field_equals_pds4_tools(raw):
    """An independent reader: every field of the five tables."""
    tree = tgo.open_product_tree(raw.label)
    tables = oracle(raw.label)
    assert [table.id for table in tables] == NODES
    for table in tables:
        ds = tree[table.id].to_dataset()
        theirs = [np.asarray(field) for field in table.fields]
        assert len(theirs) == len(ds.data_vars)
        for field, (name, ours) in zip(theirs, ds.data_vars.items(), strict=True):
            if name == "row_data" and field.dtype.kind not in "iu":
                field = np.vectorize(lambda text: int(text, 16))(field)
            np.testing.assert_array_equal(ours.values, field, str(name))


def test_raw__times_stay_exact(raw):
    obt = tgo.open_product_tree(raw.label)["Frame1"]["obt"].values
    assert obt.dtype == np.int64
    assert int(obt[0]) == 2**53 + 1
    assert int(np.float64(obt[0])) != int(obt[0])


def test_raw__attributes(raw):
    tree = tgo.open_product_tree(raw.label)
    attrs = tree.attrs
    assert attrs["product_lid"].endswith(":" + acs.RAW_STEM.lower())
    assert (attrs["instrument"], attrs["channel"]) == ("ACS", "nir")
    assert (attrs["processing_level"], attrs["data_kind"]) == ("raw", "science")
    assert (attrs["orbit"], attrs["product_version"]) == (4140, "4.0")
    assert attrs["mission_phase_identifier"] == "psp"
    assert attrs["reading_mode"] == "strict"
    assert (attrs["source_md5_verified"], len(attrs["source_md5"].split())) == (1, 5)
    assert "experimental" not in attrs
    assert tree["Row"].attrs["source_file"].endswith("-EC__4_0.tab")


@pytest.mark.parametrize(("order", "dtype"), [("big", ">u2"), ("little", "<u2")])
def test_raw__bytes_are_joined_on_request_only(raw, order, dtype):
    tree = tgo.open_product_tree(raw.label, row_byte_order=order)
    words = tree["Row"]["row_data"]
    pixels = raw.values["Row"]["row_data"]
    assert (words.dims, words.dtype) == (("record", "pixel"), np.uint16)
    np.testing.assert_array_equal(words.values, pixels.view(dtype))
    assert words.attrs["byte_order"] == order
    assert "to be verified" in words.attrs["comment"]
    np.testing.assert_array_equal(
        words[3:9:2, 5:70:3].values, pixels.view(dtype)[3:9:2, 5:70:3]
    )
    apart = tgo.open_product_tree(raw.label)["Row"]["row_data"]
    assert "byte_order" not in apart.attrs
    assert "inferred" in apart.attrs["comment"]


def test_raw__subsets(raw):
    rows = tgo.open_product_tree(raw.label)["Row"]["row_data"]
    pixels = raw.values["Row"]["row_data"]
    for key in (
        (5,),
        (-1, slice(None, None, -7)),
        (slice(10, 3, -2), 4),
        (slice(0, 0),),
        (slice(3, 9), [1279, 0]),
        ([7, 2], slice(4)),
    ):
        got = rows[key].values
        np.testing.assert_array_equal(got, pixels[key], str(key))


def test_raw__open_product_points_to_the_tree(raw):
    for call in (
        tgo.open_product,
        lambda p: xr.open_dataset(p, engine="tgo"),
    ):
        text = refused("product.several_axes", call, raw.label)
        assert "open_product_tree" in text
        assert "Frame1, System, Row, Frame2, Command" in text


def test_raw__through_xarray(raw):
    wanted = tgo.open_product_tree(raw.label)
    for path in (raw.label, str(raw.label)):
        xr.testing.assert_identical(xr.open_datatree(path, engine="tgo"), wanted)
    xr.testing.assert_identical(xr.open_datatree(raw.label), wanted)  # by content
    groups = xr.open_groups(raw.label, engine="tgo")
    assert list(groups) == ["/", *NODES]
    xr.testing.assert_identical(groups["Row"], wanted["Row"].to_dataset())
    lean = xr.open_datatree(raw.label, engine="tgo", drop_variables="row_data")
    assert "row_data" not in lean["Row"]
    assert "obt" in lean["Row"]
    assert TgoBackendEntrypoint.supports_groups


def test_raw__zip_and_table(raw, tmp_path):
    wanted = tgo.open_product_tree(raw.label)
    zipped = tmp_path / "delivery.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for path in raw.label.parent.iterdir():
            archive.write(path, f"em16_tgo_acs/data_raw/{path.name}")
    for path in (zipped, raw.label.parent):
        tree = tgo.open_product_tree(path)
        for name in NODES:
            xr.testing.assert_equal(tree[name].to_dataset(), wanted[name].to_dataset())


def test_raw__pickle_threads_and_chunks(raw):
    wanted = raw.values["Row"]["row_data"]
    tree = tgo.open_product_tree(raw.label)
    text = pickle.dumps(tree)
    assert len(text) < 300_000  # descriptions, no data
    again = pickle.loads(text)
    np.testing.assert_array_equal(again["Row"]["row_data"].values, wanted)
    lazy = tgo.open_product_tree(raw.label)["Row"]["row_data"].variable
    assert lazy.encoding["preferred_chunks"] == {"byte": acs.ROW_BYTES}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda k: copy.copy(lazy)[k].values, range(200)))
    np.testing.assert_array_equal(np.stack(parts), wanted)
    chunked = xr.open_datatree(raw.label, engine="tgo", chunks={"record": 7})
    rows = chunked["Row"]["row_data"]
    assert rows.chunks[0][:2] == (7, 7)
    got = rows.compute(scheduler="threads", num_workers=4)
    np.testing.assert_array_equal(got.values, wanted)


@pytest.mark.parametrize("model", ["1.11.0.0", "1.15.0.0", "1.21.0.0"])
def test_raw__information_models(raw, tmp_path, model):
    other = acs.write_raw(tmp_path, model=model)
    tree = tgo.open_product_tree(other.label)
    assert tree.attrs["information_model_version"] == model
    xr.testing.assert_equal(
        tree["Row"].to_dataset(), tgo.open_product_tree(raw.label)["Row"].to_dataset()
    )


@pytest.mark.parametrize("cell", [b"G0", b"  ", b" 1", b"1 ", b"\xff0"])
def test_raw__bad_pixels(raw_copy, cell):
    path = rows_file(raw_copy)
    data = bytearray(path.read_bytes())
    at = 17 * 2719 + acs.GROUP_START + 2 * 33
    data[at : at + 2] = cell
    change(raw_copy, path, bytes(data))
    rows = tgo.open_product_tree(raw_copy.label)["Row"]["row_data"]
    assert rows[:17].values.shape == (17, acs.ROW_BYTES)
    with pytest.raises(ProductError) as caught:
        rows[15:20].values
    error = caught.value
    assert error.rule == "table.field_value_data_type_mismatch"
    assert (error.record, error.offset) == (17, at)
    assert error.value == cell.decode("ascii", "backslashreplace")


def test_raw__damage(raw_copy):
    path = rows_file(raw_copy)
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    refused("label.filesize_mismatch", tgo.open_product_tree, raw_copy.label)
    digit = b"7" if data[-3:-2] != b"7" else b"8"
    path.write_bytes(data[:-3] + digit + data[-2:])
    refused("label.checksum_mismatch", tgo.open_product_tree, raw_copy.label)
    tree = tgo.open_product_tree(raw_copy.label, verify_md5=False)
    assert tree.attrs["source_md5_verified"] == 0
    assert tree["Row"]["tail_1"].values[-1] % 10 == int(digit)
    path.unlink()
    refused("label.missing_file", tgo.open_product_tree, raw_copy.label)
    refused("label.missing_file", tgo.open_product_tree, raw_copy.label, mode="repair")
    with pytest.warns(TgoWarning, match="left out"):
        tree = tgo.open_product_tree(raw_copy.label, mode="warn")
    assert list(tree.children) == [name for name in NODES if name != "Row"]
    assert tree.attrs["objects_left_out"] == "Row"
    assert tree.attrs["reading_mode"] == "warn"


def test_raw__requests(raw, tmp_path):
    refused(
        "product.row_byte_order", tgo.open_product_tree, raw.label, row_byte_order="x"
    )
    refused("mode.unknown", tgo.open_product_tree, raw.label, mode="maybe")
    refused("mode.unknown", tgo.open_product, raw.label, mode="maybe")
    refused("product.geometry_mismatch", tgo.open_product_tree, raw.label.parent,
            geometry=raw.label)  # fmt: skip
    mir = acs.write_calibrated(tmp_path)
    refused(
        "product.row_byte_order", tgo.open_product_tree, mir.label, row_byte_order="big"
    )
    refused("product.no_mask", tgo.open_product, mir.label, apply_mask=True)


def test_raw__channel_of_the_label_differs(tmp_path):
    product = acs.write_raw(tmp_path, sub="MIR")
    with pytest.warns(TgoWarning, match=r"product\.name_mismatch"):
        tree = tgo.open_product_tree(product.label)
    assert tree.attrs["channel"] == "nir"  # the identifier decides


def test_raw__file_name_does_not_matter(raw_copy):
    label = raw_copy.label.rename(raw_copy.label.with_name("acs_cal_sc_mir.xml"))
    assert tgo.open_product_tree(label).attrs["channel"] == "nir"


def test_identifier_without_channel(raw_copy):
    text = raw_copy.label.read_text()
    raw_copy.label.write_text(text.replace("acs_raw_sc_nir", "acs_raw_sc_xyz"))
    refused("product.name_unknown", tgo.open_product_tree, raw_copy.label)


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("acs_raw_sc_nir_20181027t221352-20181027t223353-4140-1-1", "nir"),
        ("acs_raw_sc_tir_20181027t221352-20181027t223353-O-F-AAAA", "tir"),
        ("acs_raw_hk_be_20181027t221352-20181027t223353", "be"),
        ("acs_cal_sc_mir_20190301T184430-20190301T185948-5666-1-1", "mir"),
        ("acs_cal_sc_tir_20190301t190652-20190301t210431-5666-1-occ-009640", "tir"),
        ("acs_par_sc_tir_20180314t075959-20180314t115950-1365-6-048865", "tir"),
    ],
)
def test_names(name, channel):
    assert PRODUCT_NAME.fullmatch(name)["channel"] == channel


def test_hex__all_bytes_and_strangers():
    every = np.arange(256, dtype=np.uint8)
    for text in (bytes(every).hex(), bytes(every).hex().upper()):
        values, bad = hex_bytes(np.frombuffer(text.encode(), np.uint8))
        np.testing.assert_array_equal(values, every)
        assert not bad.any()
    good = set(b"0123456789abcdefABCDEF")
    strange = [c for c in range(256) if c not in good]
    for c in strange:
        _, bad = hex_bytes(np.array([c, 48, 48, c], np.uint8))
        assert bad.all()


def test_labels_are_valid_in_the_schema(raw, tmp_path, assert_valid):
    assert_valid(raw.label, "PDS4_PDS_1L00.xsd")
    for channel in ("nir", "mir"):
        product = acs.write_calibrated(
            tmp_path, channel, geometry_lid=acs.geometry_lid()
        )
        assert_valid(product.label)
        assert_valid(acs.write_geometry(tmp_path, channel).label)
    assert_valid(acs.write_tirvim(tmp_path).label)


# --- calibrated frames ----------------------------------------------------------------


def parts(values, channel):
    """Return transmittance and error as (frame, row, pixel)."""
    data = values["Data"]
    data = data if channel == "nir" else data.swapaxes(1, 2)
    return data[:, 0], data[:, 1]


@pytest.mark.parametrize("channel", ["nir", "mir"])
@pytest.mark.parametrize("axes", [None, list("abcd")])
def test_calibrated__values(tmp_path, channel, axes):
    product = acs.write_calibrated(tmp_path, channel, axes=axes)
    values = product.values["/"]
    ds = tgo.open_product(product.label)
    signal, error = parts(values, channel)
    for name, wanted in (("transmittance", signal), ("transmittance_error", error)):
        assert ds[name].dims == ("frame", "row", "pixel")
        assert ds[name].dtype == np.float32
        np.testing.assert_array_equal(ds[name].values, wanted)
        np.testing.assert_array_equal(
            ds[name][2:9:3, -1, ::-5].values, wanted[2:9:3, -1, ::-5]
        )
    assert (ds.attrs["experimental"], ds.attrs["channel"]) == (1, channel)
    assert "inferred" in ds.attrs["experimental_note"]
    assert ds.attrs["axes_from"] == ("inferred layout" if axes else "label")
    assert ds.attrs["other_objects"] == "Header Reference"
    axis = values["Wavelength"]
    if channel == "mir":
        wanted = np.where(axis[0] == 0, np.nan, axis[0])
        assert ds["wavenumber"].dims == ("row", "pixel")
        assert ds["wavenumber"].attrs["zeros_made_missing"] == 3
        np.testing.assert_array_equal(ds["stripe_order"], values["Orders"][0, :, 0])
        np.testing.assert_array_equal(ds["stripe_row"], values["Orders"][0, :, 1])
    else:
        wanted = axis
        assert ds["wavenumber"].dims == ("order_slot", "pixel")
        np.testing.assert_array_equal(ds["order"], values["Orders"][:, 0])
        np.testing.assert_array_equal(ds["order_wavenumber"], values["Orders"][:, 1])
    np.testing.assert_array_equal(ds["wavenumber"].values, wanted)
    assert ds["wavenumber"].attrs["units"] == "cm-1"
    assert "inferred" in ds["wavenumber"].attrs["unit_note"]


@pytest.mark.parametrize("channel", ["nir", "mir"])
def test_calibrated__equals_pds4_tools(tmp_path, channel):
    product = acs.write_calibrated(tmp_path, channel)
    tree = tgo.open_product_tree(product.label)
    theirs = oracle(product.label)
    data = np.asarray(theirs["Data"].data)
    signal, error = parts({"Data": data}, channel)
    np.testing.assert_array_equal(tree["Data/transmittance"], signal)
    np.testing.assert_array_equal(tree["Data/transmittance_error"], error)
    np.testing.assert_array_equal(
        tree["Reference/reference"], np.asarray(theirs["Reference"].data)
    )
    axis = np.asarray(theirs["Wavelength"].data)
    ours = tree["Data/wavenumber"].fillna(0.0)
    np.testing.assert_array_equal(ours, axis[0] if channel == "mir" else axis)
    header = theirs["Header"]
    np.testing.assert_array_equal(tree["Header/number"], header["Number"])
    np.testing.assert_array_equal(tree["Header/housekeeping_value"], header.fields[-1])
    times = np.char.rstrip(np.char.strip(np.asarray(header["Time"])), "Z")
    np.testing.assert_array_equal(tree["Header/time"], times.astype("M8[ns]"))


def test_calibrated__label_wins_over_the_inferred_layout(tmp_path):
    """NIR with the axis order of MIR, and the pixels first."""
    values = acs.calibrated_values("nir")
    signal, error = parts(values, "nir")
    values["Data"] = np.ascontiguousarray(values["Data"].transpose(3, 2, 1, 0))
    product = acs.write_calibrated(
        tmp_path, "nir", values=values, axes=["Pixel", "Row", "Quantity", "Frame"]
    )
    ds = tgo.open_product(product.label)
    np.testing.assert_array_equal(ds["transmittance"].values, signal)
    np.testing.assert_array_equal(ds["transmittance_error"].values, error)
    np.testing.assert_array_equal(
        ds["transmittance"][4, 2:5, 10].values, signal[4, 2:5, 10]
    )
    np.testing.assert_array_equal(
        ds["transmittance"][[4, 1], 2:5].values, signal[[4, 1], 2:5]
    )


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (list("abcd"), (2, 2, 20, 64)),  # two frames: which is it?
        (list("abcd"), (12, 20, 2, 64)),  # not where NIR has it
        (["Frame", "x", "y", "Pixel"], (12, 20, 2, 64)),
        (["Frame", "Frame", "Row", "Pixel"], (12, 2, 20, 64)),
        (["Frame", "Quantity", "Row", "Pixel"], (12, 3, 20, 64)),
        (["Frame", "Quantity", "Row", "x"], (12, 20, 2, 64)),
    ],
)
def test_axes__refused_rather_than_guessed(axes, shape):
    text = refused("product.ambiguous_axes", axis_roles, axes, shape, "nir", "a.xml")
    assert str(list(shape)) in text


def test_axes__names_decide():
    for axes, shape, origin in (
        (["Frame", "Quantity", "Row", "Pixel"], (2, 2, 2, 2), "label"),
        (["Frame", "x", "Row", "Pixel"], (2, 2, 20, 64), "label, one by elimination"),
        (["Frame", "x", "y", "Pixel"], (9, 2, 20, 64), "inferred layout"),
    ):
        roles = axis_roles(axes, shape, "nir", "a.xml")
        assert roles == (("frame", "part", "row", "pixel"), origin)
    refused(
        "product.unknown_layout", axis_roles, ["Frame"] * 3, (1, 2, 3), "nir", "a.xml"
    )


def test_calibrated__ambiguous_product_is_refused(tmp_path):
    values = acs.calibrated_values("nir", frames=2, orders=(49, 54))
    made = acs.write_calibrated(tmp_path, "nir", values=values, axes=list("abcd"))
    refused("product.ambiguous_axes", tgo.open_product, made.label)
    refused("product.ambiguous_axes", tgo.open_product_tree, made.label)


def test_calibrated__spectral_axis(tmp_path):
    values = acs.calibrated_values("mir")
    values["Wavelength"][0, 7, 30] = values["Wavelength"][0, 7, 29]
    made = acs.write_calibrated(tmp_path, "mir", values=values)
    text = refused("product.axis_not_monotonic", tgo.open_product, made.label)
    assert "row 7" in text
    values = acs.calibrated_values("mir")
    made = acs.write_calibrated(tmp_path, "mir", values=values, unit="cm**-1")
    assert "unit_note" not in tgo.open_product(made.label)["wavenumber"].attrs
    values["Wavelength"] = 1e4 / np.where(
        values["Wavelength"] == 0, np.inf, values["Wavelength"]
    )
    made = acs.write_calibrated(tmp_path, "mir", values=values, unit="micrometer")
    ds = tgo.open_product(made.label)
    assert "wavenumber" not in ds.variables
    wanted = 1000 * np.where(
        values["Wavelength"][0] == 0, np.nan, values["Wavelength"][0]
    )
    np.testing.assert_array_equal(ds["wavelength"].values, wanted)
    made = acs.write_calibrated(tmp_path, "mir", values=values, unit="furlong")
    refused("product.unknown_unit", tgo.open_product, made.label, match="furlong")
    values["Wavelength"] = values["Wavelength"][:, :-1].copy()
    made = acs.write_calibrated(tmp_path, "mir", values=values)
    refused("product.lengths_differ", tgo.open_product, made.label, match="19 x 64")


def test_calibrated__orders(tmp_path):
    wanted = tgo.open_product(acs.write_calibrated(tmp_path, "nir").label).load()
    table = acs.write_calibrated(tmp_path, "nir", orders_as_table=True)
    other = tgo.open_product(table.label).load()
    xr.testing.assert_equal(other, wanted)
    values = acs.calibrated_values("nir")
    values["Orders"] = values["Orders"][:-1].copy()
    made = acs.write_calibrated(tmp_path, "nir", values=values)
    refused(
        "product.lengths_differ", tgo.open_product, made.label, match="11 entries.* 12"
    )
    values = acs.calibrated_values("mir")
    values["Orders"][0, 1, 1] = 20.0
    made = acs.write_calibrated(tmp_path, "mir", values=values)
    refused("product.unknown_layout", tgo.open_product, made.label, match="20 detector")
    values["Orders"][0, 1, 1] = 4.5
    made = acs.write_calibrated(tmp_path, "mir", values=values)
    refused("product.unknown_layout", tgo.open_product, made.label, match="whole")
    values["Orders"] = values["Orders"][:, :2].round()
    made = acs.write_calibrated(tmp_path, "mir", values=values)
    refused("product.ambiguous_axes", tgo.open_product, made.label)


def two_orders(channel):
    """Contents with two orders, whose wavenumbers an echelle could have."""
    orders = (175, 176) if channel == "mir" else (49, 50)
    values = acs.calibrated_values(channel, frames=2, orders=orders)
    slope = 0.2 * np.arange(64)
    if channel == "mir":
        stripe = np.repeat(orders, 10)[:, None]
        values["Wavelength"] = (16.84 * stripe - slope)[None]
    else:
        values["Wavelength"] = 150.0 * np.array(orders)[:, None] + slope
        values["Orders"][:, 1] = values["Wavelength"][:, 32]
    return values


@pytest.mark.parametrize("channel", ["mir", "nir"])
@pytest.mark.parametrize("turned", [False, True])
def test_calibrated__two_orders_are_told_apart_by_the_echelle(
    tmp_path, channel, turned
):
    values = two_orders(channel)
    pairs = values["Orders"].reshape(2, 2)
    if turned:
        values["Orders"] = values["Orders"].swapaxes(-1, -2).copy()
    ds = tgo.open_product(acs.write_calibrated(tmp_path, channel, values=values).label)
    names = ("stripe_order", "stripe_row") if channel == "mir" else (
        "order", "order_wavenumber"
    )  # fmt: skip
    for name, wanted in zip(names, pairs.T, strict=True):
        np.testing.assert_array_equal(ds[name], wanted)


def test_calibrated__two_orders_that_could_be_either_are_refused(tmp_path):
    values = two_orders("mir")
    # order 4 at row 4, order 5 at row 5: rows and orders can change places
    values["Wavelength"] = (600.0 * np.arange(1, 21)[:, None] - np.arange(64))[None]
    values["Orders"] = np.array([[(4.0, 4.0), (5.0, 5.0)]])
    made = acs.write_calibrated(tmp_path, "mir", values=values)
    text = refused("product.ambiguous_axes", tgo.open_product, made.label)
    assert "2 of the two agree" in text
    # and where nothing can be compared
    del values["Wavelength"]
    made = acs.write_calibrated(tmp_path, "mir", values=values)
    text = refused("product.ambiguous_axes", tgo.open_product, made.label)
    assert "0 of the two agree" in text


def test_calibrated__lazy_in_threads_and_workers(tmp_path):
    product = acs.write_calibrated(tmp_path, "mir", frames=40)
    signal, _ = parts(product.values["/"], "mir")
    ds = xr.open_dataset(product.label, engine="tgo", chunks={"frame": 3})
    assert ds["transmittance"].chunks[0][0] == 3
    got = ds["transmittance"].compute(scheduler="threads", num_workers=4)
    np.testing.assert_array_equal(got.values, signal)
    plain = tgo.open_product(product.label)
    assert plain["transmittance"].encoding["preferred_chunks"] == {
        "row": 20,
        "pixel": 64,
    }
    again = pickle.loads(pickle.dumps(plain))
    xr.testing.assert_identical(again.load(), plain.load())
    left = pickle.loads(pickle.dumps(tgo.open_product(product.label)))
    product.label.with_suffix(".dat").write_bytes(b"short")
    refused("label.filesize_mismatch", lambda: left["transmittance"].values)


# --- geometry and spectra -------------------------------------------------------------


@pytest.fixture
def mir_occultation(tmp_path):
    """MIR frames every 2 s, geometry every second, in one folder."""
    geometry = acs.write_geometry(tmp_path)
    product = acs.write_calibrated(tmp_path, geometry_lid=acs.geometry_lid())
    return product, geometry


def test_geometry__found_by_identifier(mir_occultation, tmp_path):
    product, geometry = mir_occultation
    tree = tgo.open_product_tree(product.label)
    assert list(tree.children) == [
        "Header", "Reference", "Data", "Geometry-1", "Geometry-2", "Geometry-3"
    ]  # fmt: skip
    assert tree.attrs["geometry_found"] == 1
    assert tree.attrs["geometry_product"] == f"{acs.geometry_lid()}::1.0"
    np.testing.assert_array_equal(
        tree["Geometry-1/height"], geometry.values["Geometry-1"]["height"]
    )
    # as in the archive: a tree of its own
    end = ("Science_Phase", "Orbit_Range_5600_5699", "Orbit_5666")
    there = tmp_path.joinpath("bundle", "geometry", *end)
    here = tmp_path.joinpath("bundle", "data_calibrated", *end)
    there.mkdir(parents=True)
    here.mkdir(parents=True)
    acs.write_geometry(there)
    moved = acs.write_calibrated(here, geometry_lid=acs.geometry_lid())
    assert "Geometry-1" in tgo.open_product_tree(moved.label).children
    shutil.rmtree(there)
    alone = tgo.open_product_tree(moved.label)
    assert (alone.attrs["geometry_found"], "Geometry-1" in alone.children) == (0, False)
    given = tgo.open_product_tree(moved.label, geometry=geometry.label)
    assert "Geometry-1" in given.children


def test_geometry__hostile_neighbours_and_versions(mir_occultation, tmp_path):
    product, geometry = mir_occultation
    text = geometry.label.read_text()
    os.mkfifo(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_bytes(b"<" * 99 + acs.geometry_lid().encode())
    (tmp_path / "c.xml").symlink_to("/dev/zero")
    newer = text.replace("<version_id>1.0<", "<version_id>10.0<")
    (tmp_path / "d.xml").write_text(newer)
    older = text.replace("<version_id>1.0<", "<version_id>9.0<")
    (tmp_path / "e.xml").write_text(older)
    tree = tgo.open_product_tree(product.label)
    assert tree.attrs["geometry_product"].endswith("::10.0")


def test_geometry__of_another_product(mir_occultation, tmp_path):
    product, _ = mir_occultation
    (tmp_path / "nir").mkdir()
    other = acs.write_geometry(tmp_path / "nir", "nir")
    for geometry in (other.label, product.label):
        refused(
            "product.geometry_mismatch",
            tgo.open_product_tree,
            product.label,
            geometry=geometry,
        )


@pytest.mark.parametrize("half_width", [0, 1, 3])
def test_spectra__mir(mir_occultation, half_width):
    product, geometry = mir_occultation
    tree = tgo.open_product_tree(product.label)
    ds = tgo.acs_spectra(tree, half_width)
    validate(ds, level=1)
    values = product.values["/"]
    signal, error = parts(values, "mir")
    axis = np.where(values["Wavelength"][0] == 0, np.nan, values["Wavelength"][0])
    height = geometry.values["Geometry-1"]["height"]
    pairs = values["Orders"][0].astype(int)
    n = 2 * half_width + 1
    assert ds.sizes["spectrum"] == 12 * 3
    for k in range(ds.sizes["spectrum"]):
        frame, (order, row) = k // 3, pairs[k % 3]
        one = ds.isel(spectrum=k)
        rows = slice(row - half_width, row + half_width + 1)
        mean = signal[frame, rows].astype(float).sum(0) / n
        noise = np.sqrt((error[frame, rows].astype(float) ** 2).sum(0)) / n
        np.testing.assert_allclose(one["transmittance"], mean, rtol=1e-14)
        np.testing.assert_allclose(one["transmittance_error"], noise, rtol=1e-14)
        np.testing.assert_array_equal(one["wavenumber"], axis[row])
        assert (one["order"], one["frame"], one["center_row"]) == (order, frame, row)
        assert one["tangent_altitude"] == height[2 * frame]
        assert one["time"] == acs.START + np.timedelta64(2 * frame, "s")
    assert ds.attrs["row_half_width"] == half_width
    assert ds.attrs["wavenumber_spread"] == pytest.approx(0.01 * half_width)
    assert (ds.attrs["experimental"], ds.attrs["frames_without_geometry"]) == (1, 0)


def test_spectra__nir(tmp_path):
    product = acs.write_calibrated(tmp_path, "nir")
    tree = tgo.open_product_tree(product.label)
    ds = tgo.acs_spectra(tree, 2, center_row=9, geometry="none")
    validate(ds, level=1)
    values = product.values["/"]
    signal, _ = parts(values, "nir")
    np.testing.assert_allclose(
        ds["transmittance"], signal[:, 7:12].astype(float).mean(1), rtol=1e-14
    )
    np.testing.assert_array_equal(ds["order"], [49, 54, 60] * 4)
    np.testing.assert_array_equal(ds["wavenumber"], values["Wavelength"][[0, 1, 2] * 4])
    assert "tangent_altitude" not in ds.variables
    frames = tgo.open_product(product.label)
    other = tgo.acs_spectra(frames, 2, center_row=9, geometry="none")
    xr.testing.assert_equal(other, ds)


def test_spectra__refused(mir_occultation, tmp_path):
    product, _ = mir_occultation
    tree = tgo.open_product_tree(product.label)
    for half_width in (-1, 20, 1.5, True):
        refused("product.half_width", tgo.acs_spectra, tree, half_width)
    refused("product.half_width", tgo.acs_spectra, tree, 5, match="rows -1 to 9 leave")
    refused("product.center_row", tgo.acs_spectra, tree, 1, center_row=4)
    (tmp_path / "nir").mkdir()
    nir = tgo.open_product_tree(acs.write_calibrated(tmp_path / "nir", "nir").label)
    refused("product.center_row", tgo.acs_spectra, nir, 1, geometry="none")
    refused("product.not_calibrated_frames", tgo.acs_spectra, tree["Header"], 1)
    refused("product.not_calibrated_frames", tgo.acs_spectra, xr.Dataset(), 1)
    refused("product.order_slots", order_slots, np.array([49, 49, 54]), 2)
    refused("product.order_slots", order_slots, np.array([49, 54, 60]), 2)


def test_join__lengths_are_never_assumed(tmp_path):
    """No times in the geometry: both numbers are named, though they are equal."""
    acs.write_geometry(tmp_path, records=12, with_times=False)
    product = acs.write_calibrated(tmp_path, geometry_lid=acs.geometry_lid())
    tree = tgo.open_product_tree(product.label)
    rule = "product.geometry_not_joined"
    refused(rule, tgo.acs_spectra, tree, 1, match="12 frames and 12 geometry records")
    ds = tgo.acs_spectra(tree, 1, geometry="record")
    assert ds["tangent_altitude"].values[::3].tolist() == [
        150.0 - 2.5 * k for k in range(12)
    ]
    assert "time" not in ds.variables
    refused(rule, tgo.acs_spectra, tree, 1, geometry="maybe")
    refused(rule, tgo.acs_spectra, tree, 1, geometry_table="Geometry-9")


@pytest.mark.parametrize("records", [5, 11, 13, 40])
def test_join__another_number_of_records(tmp_path, records):
    acs.write_geometry(tmp_path, records=records)
    product = acs.write_calibrated(tmp_path, geometry_lid=acs.geometry_lid())
    tree = tgo.open_product_tree(product.label)
    text = f"12 frames and {records} geometry"
    rule = "product.geometry_not_joined"
    refused(rule, tgo.acs_spectra, tree, 1, geometry="record", match=text)
    ds = tgo.acs_spectra(tree, 1)
    known = min(12, (records + 1) // 2)  # a frame every 2 s, a record every second
    height = ds["tangent_altitude"].values[::3]
    wanted = [150.0 - 5.0 * k if k < known else np.nan for k in range(12)]
    np.testing.assert_array_equal(height, wanted)
    assert ds.attrs["frames_without_geometry"] == 12 - known


def test_join__without_times_of_frames(tmp_path):
    acs.write_geometry(tmp_path, records=15)
    product = acs.write_calibrated(
        tmp_path, geometry_lid=acs.geometry_lid(), header_times=False
    )
    tree = tgo.open_product_tree(product.label)
    refused(
        "product.geometry_not_joined",
        tgo.acs_spectra,
        tree,
        1,
        match="12 frames and 15",
    )


def test_join__far_in_time(mir_occultation):
    tree = tgo.open_product_tree(mir_occultation[0].label).load()
    later = tree["Header/time"] + np.timedelta64(1, "h")
    tree["Header/time"] = later
    rule = "product.geometry_not_joined"
    refused(rule, tgo.acs_spectra, tree, 1, match="none of 12 frames .* 30 geometry")
    ds = tgo.acs_spectra(tree, 1, time_tolerance=3600.0)
    # the last record, 29 s after the start, is 3571 s to 3593 s before the frames
    assert ds.attrs["frames_without_geometry"] == 0
    assert (ds["tangent_altitude"] == 150.0 - 2.5 * 29).all()


def test_join__column_by_name_and_unit(tmp_path):
    acs.write_geometry(tmp_path, last="Tangent altitude", unit="m")
    product = acs.write_calibrated(tmp_path, geometry_lid=acs.geometry_lid())
    ds = tgo.acs_spectra(tgo.open_product_tree(product.label), 1)
    assert ds["tangent_altitude"].values[0] == pytest.approx(0.150)
    acs.write_geometry(tmp_path, unit="deg")
    tree = tgo.open_product_tree(product.label)
    refused("product.geometry_not_joined", tgo.acs_spectra, tree, 1, match="deg")


def test_nearest__unsorted_and_ties():
    start = np.datetime64("2019-01-01", "ns")
    records = start + np.array([30, 10, 20]) * np.timedelta64(1, "s")
    frames = start + np.array([9, 15, 21, 36]) * np.timedelta64(1, "s")
    assert nearest_records(frames, records, None).tolist() == [1, 1, 2, -1]
    assert nearest_records(frames, records, 6.0).tolist() == [1, 1, 2, 0]


# --- TIRVIM ---------------------------------------------------------------------------


def test_tirvim__one_spectrum(tmp_path):
    product = acs.write_tirvim(tmp_path)
    ds = tgo.open_product(product.label)
    values = product.values["/"]
    names = ("spectrum_re", "spectrum_im", "res_phase", "phase_error", "transmittance")
    assert list(ds.data_vars) == list(names)
    theirs = oracle(product.label)
    for name, key in zip(names, acs.TIRVIM_OBJECTS, strict=True):
        assert ds[name].dims == ("spectrum", "pixel")
        np.testing.assert_array_equal(ds[name].values[0], values[key])
        np.testing.assert_array_equal(ds[name].values[0], np.asarray(theirs[key].data))
        np.testing.assert_array_equal(ds[name][0, ::-3].values, values[key][::-3])
    np.testing.assert_array_equal(ds["wavenumber"], values["Wavenumber"])
    assert ds["spectrum_counter"].values.tolist() == [9640]
    assert ds["target_altitude"].values.tolist() == [12.5]
    assert (ds.attrs["channel"], ds.attrs["experimental"]) == ("tirvim", 1)
    validate(ds, level=1)
    tree = tgo.open_product_tree(product.label)
    xr.testing.assert_equal(tree["Data"].to_dataset(), ds)


def test_tirvim__spectra_of_an_orbit(tmp_path):
    products = [acs.write_tirvim(tmp_path, counter=k) for k in (9640, 9641, 9642)]
    ds = tgo.open_products([p.label for p in products])
    assert ds.sizes["spectrum"] == 3
    assert ds["spectrum_counter"].values.tolist() == [9640, 9641, 9642]
    assert ds["wavenumber"].dims == ("pixel",)
    for k, product in enumerate(products):
        np.testing.assert_array_equal(
            ds["transmittance"][k], product.values["/"]["Transmittance"]
        )
    tree = tgo.open_product_tree(tmp_path)
    assert len(tree.children) == 3
    name = acs.STEMS["tir"].lower()
    np.testing.assert_array_equal(
        tree[f"{name}/Data/transmittance"][0], products[0].values["/"]["Transmittance"]
    )


def test_tirvim__without_axis(tmp_path):
    ds = tgo.open_product(acs.write_tirvim(tmp_path, axis=False).label)
    assert "wavenumber" not in ds.variables


def test_tirvim__partially_processed(tmp_path):
    """An interferogram: known by its name, arrays of one axis and another length."""
    made = acs.write_tirvim(tmp_path, axis=False)
    text = made.label.read_text()
    for old, new in (
        ("data_calibrated:acs_cal_sc", "data_partially_processed:acs_par_sc"),
        ("-5666-1-occ-009640", "-5666-6-009640"),
        ("<name>SpectrumRe</name>", "<name>Interferogram</name>"),
    ):
        assert old in text
        text = text.replace(old, new)
    made.label.write_text(text)
    ds = tgo.open_product(made.label)
    assert ds.attrs["processing_level"] == "partially_processed"
    np.testing.assert_array_equal(
        ds["interferogram"].values[0], made.values["/"]["SpectrumRe"]
    )


def test_unknown_objects_come_through(tmp_path):
    """Calibrated without an array Data: nodes as the label has them, no meaning."""
    made = acs.write_calibrated(tmp_path, "mir")
    text = made.label.read_text().replace("<name>Data</name>", "<name>Cube</name>")
    made.label.write_text(text)
    tree = tgo.open_product_tree(made.label)
    assert list(tree.children) == [
        "Header", "Reference", "Wavelength", "Orders", "Cube"
    ]  # fmt: skip
    assert tree["Cube/cube"].dims == ("frame", "row", "quantity", "pixel")
    np.testing.assert_array_equal(tree["Cube/cube"], made.values["/"]["Data"])
    np.testing.assert_array_equal(
        tree["Wavelength/wavelength"], made.values["/"]["Wavelength"]
    )
    refused("product.several_axes", tgo.open_product, made.label, match="Cube")


@pytest.mark.parametrize("name", [".", "..", "a/b", "/"])
def test_object_names_are_no_paths(tmp_path, name):
    made = acs.write_calibrated(tmp_path, "mir")
    text = made.label.read_text().replace("<name>Reference<", f"<name>{name}<")
    made.label.write_text(text)
    tree = tgo.open_product_tree(made.label)
    assert list(tree.children)[:2] == [
        "Header",
        name.replace(".", "_").replace("/", "_"),
    ]
    text = text.replace("<name>Header<", f"<name>{name.replace('/', '_')}<")
    made.label.write_text(text)
    if "/" in name:
        refused("label.duplicate_identifier", tgo.open_product_tree, made.label)


def test_housekeeping_of_one_table(raw, tmp_path):
    text = raw.label.read_text().replace("acs_raw_sc_nir", "acs_raw_hk_nir")
    first = text.index("<File_Area_Observational>")
    second = text.index("<File_Area_Observational>", first + 1)
    end = text.index("</Product_Observational>")
    label = tmp_path / "one.xml"
    label.write_text(text[:first] + text[first:second] + text[end:])
    table = next(raw.label.parent.glob("*-EB__*.tab"))
    shutil.copy(table, tmp_path / table.name.replace("raw_sc", "raw_hk"))
    ds = tgo.open_product(label)
    assert (ds.sizes["record"], ds.attrs["data_kind"]) == (40, "housekeeping")
    np.testing.assert_array_equal(ds["obt"], raw.values["Frame1"]["obt"])


def test_trees_can_be_stored(raw, mir_occultation, tmp_path):
    for path in (raw.label, mir_occultation[0].label):
        tree = tgo.open_product_tree(path).load()
        tree.to_netcdf(tmp_path / "tree.nc")
        with xr.open_datatree(tmp_path / "tree.nc") as copied:
            for node in tree.subtree:
                xr.testing.assert_equal(
                    copied[node.path].to_dataset().load(), node.to_dataset()
                )
    spectra = tgo.acs_spectra(tree, 1)
    spectra.to_netcdf(tmp_path / "spectra.nc")
    with xr.open_dataset(tmp_path / "spectra.nc") as copied:
        xr.testing.assert_equal(copied.load(), spectra)


# --- objects of any kind --------------------------------------------------------------


def test_delimited_table_as_a_node(tmp_path):
    """Frames and a table of another kind beside them."""
    text = b"name,value\nalpha,1.5\nbe,-2\n"
    fields = "".join(
        f"<Field_Delimited><name>{name}</name><field_number>{k}</field_number>"
        f"<data_type>{kind}</data_type></Field_Delimited>"
        for k, (name, kind) in enumerate((("Name", acs.TEXT), ("Value", acs.REAL)), 1)
    )
    element = (
        '<Table_Delimited><name>Notes</name><offset unit="byte">11</offset>'
        "<parsing_standard_id>PDS DSV 1</parsing_standard_id><records>2</records>"
        "<record_delimiter>Line-Feed</record_delimiter>"
        "<field_delimiter>Comma</field_delimiter><Record_Delimited><fields>2</fields>"
        f"<groups>0</groups>{fields}</Record_Delimited></Table_Delimited>"
    )
    product = acs.write_raw(tmp_path)
    area = acs.file_area(tmp_path / "notes.csv", text, element)
    xml = product.label.read_text()
    end = "</Product_Observational>"
    product.label.write_text(xml.replace(end, area + end))
    with pytest.warns(TgoWarning):  # the line of titles is not described
        tree = tgo.open_product_tree(product.label)
    assert tree["Notes/name"].values.tolist() == ["alpha", "be"]
    assert tree["Notes/value"][::-1].values.tolist() == [-2.0, 1.5]
    assert tree["Notes/name"][1].item() == "be"


def test_bytes_that_do_not_pair(raw_copy):
    text = raw_copy.label.read_text()
    for old, new in (
        ("<repetitions>1280<", "<repetitions>1279<"),
        (">2560</group_length", ">2558</group_length"),
    ):
        assert old in text
        text = text.replace(old, new)
    raw_copy.label.write_text(text)
    path = rows_file(raw_copy)
    rows = path.read_bytes().splitlines(keepends=True)
    at = acs.GROUP_START + 2558
    change(raw_copy, path, b"".join(r[:at] + b"  " + r[at + 2 :] for r in rows))
    ds = tgo.open_product_tree(raw_copy.label)["Row"]["row_data"]
    np.testing.assert_array_equal(ds, raw_copy.values["Row"]["row_data"][:, :-1])
    refused(
        "table.fields_mismatch",
        tgo.open_product_tree,
        raw_copy.label,
        row_byte_order="big",
    )


# --- many products, NOMAD -------------------------------------------------------------


def test_frames_are_not_joined(tmp_path):
    mir = acs.write_calibrated(tmp_path)
    text = refused("product.not_alike", tgo.open_products, [mir.label])
    assert "frame x row x pixel" in text
    tree = tgo.open_products([mir.label], combine="tree")
    assert tree[acs.STEMS["mir"].lower()]["transmittance"].ndim == 3


def test_nomad_as_a_tree(nomad_product):
    tree = tgo.open_product_tree(nomad_product)
    ds = tgo.open_product(nomad_product)
    xr.testing.assert_equal(tree.to_dataset(), ds)
    assert ds.attrs["reading_mode"] == "strict"
    for name, value in (("row_byte_order", "big"), ("geometry", "a.xml")):
        refused(
            f"product.{name}",
            tgo.open_product_tree,
            nomad_product,
            **{name: value},
        )


@pytest.fixture
def nomad_product(small_product, tmp_path):
    label, data, stem = small_product()
    (tmp_path / f"{stem}.tab").write_bytes(data)
    path = tmp_path / f"{stem}.xml"
    path.write_bytes(label)
    return path


def test_nomad_parts_of_one_occultation(small_product, tmp_path):
    wanted = {}
    for letter, part, rows in (("h", "high", (40, 41)), ("l", "low", (10, 11, 12))):
        stem = f"nmd_cal_sc_so_20180421t010203-20180421t011203-{letter}-i-134"
        label, data, _ = small_product(stem, rows=rows)
        (tmp_path / f"{stem}.tab").write_bytes(data)
        (tmp_path / f"{stem}.xml").write_bytes(label)
        wanted[part] = tgo.open_product(tmp_path / f"{stem}.xml")
    tree = tgo.open_product_tree(tmp_path)
    assert sorted(tree.children) == ["high", "low"]
    for part, ds in wanted.items():
        xr.testing.assert_equal(tree[part].to_dataset(), ds)


def test_engine_guesses_by_content(raw, tmp_path):
    engine = TgoBackendEntrypoint()
    assert engine.guess_can_open(raw.label)
    other = tmp_path / raw.label.name
    other.write_text("<Product_Observational/>")
    assert not engine.guess_can_open(other)
    assert not engine.guess_can_open(12)
