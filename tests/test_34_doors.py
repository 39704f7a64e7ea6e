"""The doors to products: paths as users write them, attributes, verification."""

from __future__ import annotations

import collections
import re
import sys
import warnings
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest
import xarray as xr
from xarray.backends import BackendArray

import tgo_spectra as tgo
from tgo_spectra.archive import verify
from tgo_spectra.cli import main
from tgo_spectra.errors import TgoWarning
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import open_structures, parse_label
from tgo_spectra.pds4.check import check_product, open_tables
from tgo_spectra.readers.finding import find_label
from tgo_spectra.simulate.product import write_product

sys.path.append(str(Path(__file__).parent))

import acs_products as acs
import corpus
import nomad_products as nomad
from test_32_reader_kinds import level1


@pytest.fixture
def home(tmp_path, monkeypatch, small_product):
    """A home folder with a product as label and table, in a folder and in a zip."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    label, table, stem = small_product()
    (tmp_path / "one").mkdir()
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for suffix, data in ((".xml", label), (".tab", table)):
            (tmp_path / "one" / f"{stem}{suffix}").write_bytes(data)
            archive.writestr(f"{stem}{suffix}", data)
    return stem


# Paths

GIVEN = {
    "label": "~/one/{}.xml",
    "table": "~/one/{}.tab",
    "folder": "~/one",
    "zip": "~/p.zip",
    "label in a zip": "~/p.zip::{}.xml",
    "as a Path": Path("~/one/{}.xml"),
}
DOORS = {
    "open_product": tgo.open_product,
    "engine": lambda path: xr.open_dataset(path, engine="tgo"),
    "open_products": lambda path: tgo.open_products([path]),
    "tree": tgo.open_product_tree,
    "tree by engine": lambda path: xr.open_datatree(path, engine="tgo"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("given", GIVEN)
def test_home__is_expanded_by_every_reader(home, given, door):
    path = GIVEN[given]
    path = type(path)(str(path).format(home))
    ds = DOORS[door](path)
    assert ds.sizes["spectrum"] == 2
    assert ds["transmittance"].shape == (2, 320)
    assert "~" not in ds.encoding.get("source", "")


def test_home__is_expanded_by_the_generic_layer_and_the_archive(home, tmp_path):
    path = f"~/one/{home}.xml"
    for function in (open_structures, open_tables):
        assert len(function(path)) == 1
    assert check_product(path) == []
    assert find_label("~/p.zip").member == f"{home}.xml"
    for place in (path, "~/one", "~/p.zip"):
        assert [row.rule for row in verify(place)] == [""]
    ds = tgo.index_archive("~/one", "~/c.jsonl")
    assert (tmp_path / "c.jsonl").is_file()
    assert tgo.find("~/c.jsonl").sizes == ds.sizes

    def process(path, out, setup, atmosphere):
        return {"state": "done", "spectra": tgo.open_product(path).sizes["spectrum"]}

    for place in ("~/one", "~/p.zip", "~/o*/*.xml"):
        rows = tgo.run(place, tmp_path / "out", process=process, progress=False)
        assert [row.spectra for row in rows] == [2]


def test_home__geometry_of_calibrated_spectra(home, tmp_path):
    for write in (acs.write_calibrated, acs.write_geometry):
        write(tmp_path)
    (spectra,) = tmp_path.glob("acs_cal*.xml")
    (geometry,) = (p for p in tmp_path.glob("*.xml") if p != spectra)
    tree = tgo.open_product_tree(f"~/{spectra.name}", geometry=f"~/{geometry.name}")
    assert "Geometry-1" in tree.children


def test_home__only_at_the_start_and_of_users_there_are(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a~").mkdir()
    for suffix in (".xml", ".tab"):
        (tmp_path / "one" / f"{home}{suffix}").rename(tmp_path / "a~" / f"~{suffix}")
    assert tgo.open_product("a~/~.xml").sizes["spectrum"] == 2
    assert expanded("~nobody_of_this_name/x") == Path("~nobody_of_this_name/x")


def test_home__is_expanded_on_the_command_line(home, tmp_path, capsys):
    # as a program gets them: a shell would have expanded the first
    given = ["info", f"~/one/{home}.xml"], ["info", f"~/p.zip::{home}.xml"]
    for arguments in (*given, ["verify", "~/one"], ["index", "~/one"]):
        assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert main(["index", "~/p.zip"]) == 64  # no folder
    assert main(["index", "~/one", "--catalogue=~/found.jsonl"]) == 0
    assert main(["find", "~/found.jsonl"]) == 0
    assert (tmp_path / "found.jsonl").is_file()
    assert not Path("~").exists()


# One small product of every channel, through every door


def nomad_writer(kind):
    return lambda folder: write_product(folder, nomad.level1(kind))


PRODUCTS = {f"nomad {kind}": nomad_writer(kind) for kind in nomad.KINDS} | {
    "acs nir": lambda folder: acs.write_calibrated(folder, "nir").label,
    "acs mir": lambda folder: acs.write_calibrated(folder, "mir").label,
    "acs tirvim": lambda folder: acs.write_tirvim(folder).label,
    "acs raw": lambda folder: acs.write_raw(folder).label,
}
PLACES = ("label", "table", "folder", "zip", "label in a zip")
#: What only a tree, or only one Dataset, has to say: what stands beside the spectra.
BESIDE = {"geometry_found", "other_objects"}


@pytest.fixture(scope="module", params=PRODUCTS)
def places(request, tmp_path_factory):
    """A product as it may lie on a disk: kind of place to path."""
    folder = tmp_path_factory.mktemp("one") / "product"
    folder.mkdir()
    label = PRODUCTS[request.param](folder)
    archive = folder.parent / "p.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in folder.iterdir():
            file.write(path, f"inner/{path.name}")
    found = dict(zip(PLACES, (label, None, folder, archive, None), strict=True))
    found["label in a zip"] = f"{archive}::inner/{label.name}"
    if label.with_suffix(".tab").is_file():
        found["table"] = label.with_suffix(".tab")
    return {name: place for name, place in found.items() if place is not None}


def unread(ds):
    """Names of variables whose values are still in the file only."""
    names = set()
    for name, variable in ds.variables.items():
        data = variable._data
        while hasattr(data, "array"):
            data = data.array
        if isinstance(data, BackendArray):
            names.add(name)
    return names


def groups_of(tree):
    """Datasets of a tree by path, none of them read."""
    return {node.path: node.to_dataset(inherit=False) for node in tree.subtree}


def test_doors__give_the_same_tree(places):
    wanted = groups_of(tgo.open_product_tree(places["label"]))
    lazy = {name: unread(ds) for name, ds in wanted.items()}
    for name, ds in wanted.items():
        assert lazy[name] >= set(ds.data_vars), name
    for place in places.values():
        for door in ("tree", "tree by engine"):
            found = groups_of(DOORS[door](place))
            assert list(found) == list(wanted)
            for name, ds in found.items():
                assert unread(ds) == lazy[name], name
                xr.testing.assert_identical(ds, wanted[name])


def test_doors__give_the_same_dataset(places):
    groups = groups_of(tgo.open_product_tree(places["label"]))
    root = groups["/"]
    wanted = groups.get("/Data", root)
    wanted.attrs = root.attrs | wanted.attrs
    if "transmittance" not in wanted and not len(root.variables):
        for place in places.values():
            for door in ("open_product", "engine"):
                with pytest.raises(tgo.errors.ProductError) as caught:
                    DOORS[door](place)
                assert caught.value.rule == "product.several_axes"
        return
    assert {"source_md5", "source_md5_verified", "source_file"} <= set(wanted.attrs)
    assert wanted.attrs["source_md5_verified"] == 1
    assert wanted.attrs["reading_mode"] == "strict"
    lazy = unread(wanted)
    assert lazy >= set(wanted.data_vars)
    for place in places.values():
        many = tgo.open_products([place], combine="tree")
        (node,) = many.children.values()
        for found in (
            tgo.open_product(place),
            xr.open_dataset(place, engine="tgo"),
            node.to_dataset(),
        ):
            assert unread(found) == lazy
            name = next(iter(found.data_vars))
            first = found[name].isel({found[name].dims[0]: 0}).values
            assert unread(found) == lazy  # a part was read, and no more
            assert first.shape == found[name].shape[1:]
            for ds in (found, wanted):
                ds.attrs = {k: v for k, v in ds.attrs.items() if k not in BESIDE}
            xr.testing.assert_identical(found, wanted)


def test_doors__refuse_the_same_damage_as_verification(places, tmp_path):
    for row in verify(list(places.values())):
        assert row.rule == ""
    source = places["folder"]
    for path in source.iterdir():
        data = path.read_bytes()
        if path.suffix not in {".xml", ".zip"}:  # one bit of every table
            data = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
        (tmp_path / path.name).write_bytes(data)
    label = tmp_path / places["label"].name
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
        for path in tmp_path.iterdir():
            if path.suffix != ".zip":
                file.write(path, path.name)
    for place in (label, tmp_path, tmp_path / "p.zip"):
        with pytest.raises(tgo.errors.ProductError) as caught:
            DOORS["tree"](place)
        assert caught.value.rule == "label.checksum_mismatch"
        with pytest.raises(tgo.errors.ProductError) as caught:
            DOORS["tree by engine"](place)
        assert caught.value.rule == "label.checksum_mismatch"
        assert {row.rule for row in verify(place)} == {"label.checksum_mismatch"}


# Attributes

CLASHES = (
    "<a><title>1</title><title>2</title></a><label_title>3</label_title>"
    "<title>4</title><reading_mode>5</reading_mode><source_md5>6</source_md5>"
    "<b><step>7</step><step>8</step></b><b><step>9</step></b><b_step>10</b_step>"
    "<channel>11</channel><quality_notes>12</quality_notes>"
)


def with_mission(label, text):
    """A label with other leaves in its mission area."""
    return re.sub(r"(?s)(<Mission_Area>).*(</Mission_Area>)", rf"\1{text}\2", label)


@pytest.mark.parametrize("mode", ["strict", "repair"])
def test_attributes__keep_every_leaf(tmp_path, small_product, mode):
    label, table, stem = small_product()
    for name, text, data in (
        (stem, label.decode(), table),
        ("p", corpus.LABEL.replace("<M/>", ""), corpus.TABLE),
    ):
        path = tmp_path / f"{name}.xml"
        path.write_text(with_mission(text, CLASHES))
        (tmp_path / f"{name}.tab").write_bytes(data)
        before = parse_label(text.encode(), "p.xml")
        ds = tgo.open_product(path, mode=mode)
        found = [v for k, v in ds.attrs.items() if isinstance(v, str) and v.isdigit()]
        assert sorted(found, key=int) == [str(k) for k in range(1, 13)], name
        assert ds.attrs["title"] == before.title
        assert ds.attrs["reading_mode"] == mode
        assert ds.attrs["source_md5"] == before.areas[0].md5


def leaves(root):
    """Text of all leaves of mission and discipline areas, by nothing but the tree."""
    return collections.Counter(
        leaf.text.strip()
        for area in root.iter()
        if area.tag.rpartition("}")[2] in {"Mission_Area", "Discipline_Area"}
        for leaf in area.iter()
        if not len(leaf) and leaf.text and leaf.text.strip()
    )


def test_attributes__of_real_labels_of_the_spacecraft(shared, tmp_path, small_product):
    label, table, stem = small_product()
    labels = sorted((shared / "foreign" / "psa_labels").glob("*.xml"))
    texts = [path.read_bytes() for path in labels]
    assert len(texts) == 15
    found = 0
    for text in texts:
        root = ET.fromstring(text)
        wanted = leaves(root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TgoWarning)
            kept = parse_label(text, "p.xml").leaves
        assert collections.Counter(kept.values()) == wanted
        # and as attributes of a product that a reader knows
        areas = "".join(
            ET.tostring(child, encoding="unicode")
            for area in root.iter()
            if area.tag.endswith("}Mission_Area")
            for child in area
        )
        path = tmp_path / f"{stem}.xml"
        path.write_text(with_mission(label.decode(), areas.replace("\\", r"\\")))
        path.with_suffix(".tab").write_bytes(table)
        attrs = collections.Counter(map(str, tgo.open_product(path).attrs.values()))
        ours = parse_label(path.read_bytes(), "p.xml").leaves.values()
        assert collections.Counter(ours) - attrs == collections.Counter()
        found += sum(wanted.values())
    assert found > 200


# Verification


def written(folder, product, change=bytes):
    label, table, stem = product
    label = re.sub(rb"<md5_checksum>.*?</md5_checksum>", b"", label)
    (folder / f"{stem}.tab").write_bytes(change(table))
    path = folder / f"{stem}.xml"
    path.write_bytes(label)
    return path


def test_verify__finds_a_record_that_stands_twice(tmp_path, small_product, capsys):
    path = written(tmp_path, small_product(rows=(10, 11, 12, 11)))
    (row,) = verify(path)
    assert (row.rule, row.suspect) == ("table.duplicate_record", True)
    assert "record 3" in row.message
    assert main(["verify", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "0 intact, 0 damaged, 1 suspect\n"
    assert err.startswith(f"suspect {path}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("which", [0, 20, -1])
def test_verify__finds_a_blanked_cell(tmp_path, small_product, which):
    product = small_product(rows=(10, 11, 12))
    path = written(tmp_path, product)
    fields = parse_label(path.read_bytes(), "p.xml").areas[0].tables[0].fields
    item = [f for f in fields if f.data_type == "ASCII_Real" and not f.groups][which]
    size = len(product[1]) // 3

    def blank(table):
        at = size + item.start
        return table[:at] + b" " * item.length + table[at + item.length :]

    (row,) = verify(written(tmp_path, product, blank))
    assert (row.rule, row.suspect) == ("table.blank_field_value", True)
    assert f"field {item.name}" in row.message
    assert "record 1" in row.message


def test_verify__counts_what_is_suspect_apart(tmp_path, small_product, capsys):
    for k, rows in enumerate(((10, 11), (10, 10), (12, 12), (12, 13))):
        product = small_product(
            f"nmd_cal_sc_so_2018042{k}t010203-2018042{k}t011203-a-i-134", rows=rows
        )
        path = written(tmp_path, product)
    path.with_suffix(".tab").write_bytes(b"")
    rows = verify(tmp_path)
    assert [row.suspect for row in rows] == [False, True, True, False]
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().out == "1 intact, 1 damaged, 2 suspect\n"


def test_verify__products_of_other_missions(tmp_path):
    text = corpus.LABEL.replace(corpus.LID, "urn:nasa:pds:other:data:p")
    path = tmp_path / "p.xml"
    path.write_text(text)
    (tmp_path / "p.tab").write_bytes(corpus.TABLE)
    (row,) = verify(path)
    assert (row.rule, row.findings) == ("", ())
    (tmp_path / "p.tab").write_bytes(corpus.TABLE[:-2] + b"\n\n")
    assert verify(path)[0].rule == "label.checksum_mismatch"
    with pytest.raises(tgo.errors.ProductError) as caught:
        tgo.open_product(path)
    assert caught.value.rule == "product.unknown_instrument"


def test_verify__says_all_it_found(tmp_path):
    data = corpus.put(2, "Number", b"x", corpus.put(7, "Value", b"1_0"))
    (tmp_path / "p.xml").write_text(corpus.BARE.replace("1.15.0.0", "9.9.9.9"))
    (tmp_path / "p.tab").write_bytes(data)
    (row,) = verify(tmp_path / "p.xml")
    assert (row.rule, row.suspect) == (corpus.TYPE, False)
    assert [(f.severity, f.rule, f.record) for f in row.findings] == [
        ("warning", "label.model_version", None),
        ("error", corpus.TYPE, 2),
        ("error", corpus.TYPE, 7),
    ]


@pytest.mark.parametrize("suffix", [".xml", ".lblx"])
def test_labels__of_8_GiB_are_refused_by_every_door(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    with path.open("wb") as stream:
        stream.truncate(2**33)  # takes no room on disk
    for door in (tgo.open_product, tgo.open_product_tree, open_structures):
        with pytest.raises(tgo.errors.ProductError) as caught:
            door(path)
        assert caught.value.rule == "label.schema"
    assert verify(path)[0].rule == "label.schema"
    assert verify(tmp_path)[0].rule == "label.schema"


# level 1 stored as Zarr, in chunks or not: all of it comes back


def stored(ds, folder):
    """Write to a Zarr store and compare what is read again."""
    ds.to_zarr(folder, zarr_format=2)  # text has no type in the third format yet
    with xr.open_zarr(folder) as back:
        xr.testing.assert_equal(back.load(), ds.load())
        assert back.attrs.keys() == ds.attrs.keys()


@pytest.mark.parametrize("kind", ["so full scan", "uvis binned"])
def test_zarr__of_spectra_however_chunked(tmp_path, kind):
    label = write_product(tmp_path, level1(kind))

    def lazy(chunks):
        return xr.open_dataset(label, engine="tgo", chunks=chunks)

    for place, ds in enumerate(
        [
            tgo.open_product(label).chunk({"spectrum": 2, "pixel": 7}),
            lazy("auto"),
            lazy({"spectrum": 2}).isel(spectrum=slice(0, 3), pixel=slice(3, 9)),
            # Zarr's chunks are of one size: what a selection cut is to be made even
            lazy({"spectrum": 2}).isel(spectrum=[0, 2, 3]).chunk({"spectrum": 2}),
        ]
    ):
        stored(ds, tmp_path / f"{place}.zarr")


@pytest.mark.parametrize("write", [acs.write_calibrated, acs.write_tirvim])
def test_zarr__of_acs(tmp_path, write):
    label = write(tmp_path).label
    for place, chunks in enumerate(({"frame": 3}, "auto")):
        tree = xr.open_datatree(label, engine="tgo", chunks=chunks)
        folder = tmp_path / f"{place}.zarr"
        tree.to_zarr(folder, zarr_format=2)
        back = xr.open_datatree(folder, engine="zarr")
        for node in tree.subtree:
            xr.testing.assert_equal(back[node.path].to_dataset(), node.to_dataset())
