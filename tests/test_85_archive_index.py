"""Catalogue of a folder, questions to it, verification."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra import archive
from tgo_spectra.archive import index
from tgo_spectra.archive.gathering import gather
from tgo_spectra.cli import main
from tgo_spectra.errors import ArchiveError, ProductError

sys.path.append(str(Path(__file__).parent))

import acs_products as acs

STEM = "nmd_cal_sc_so_201804{day:02d}t010203-201804{day:02d}t011203-a-i-134"


@pytest.fixture
def folder(tmp_path, small_product):
    """Three plain products, one zip, one of an older version, one damaged."""
    root = tmp_path / "data"
    for day in (1, 2, 3):
        write(root / f"day{day}", *small_product(STEM.format(day=day)))
    pack(root / "packed.zip", *small_product(STEM.format(day=4)))
    write(root / "old", *small_product(STEM.format(day=1), version="2.10"))
    label, data, stem = small_product(STEM.format(day=5))
    write(root / "bad", label, data[:-1], stem)
    (root / "collection_data.xml").write_text("<anything/>")
    (root / "bad" / "document.xml").write_text("<anything/>")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder, label, data, stem):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.xml").write_bytes(label)
    (folder / f"{stem}.tab").write_bytes(data)
    return folder / f"{stem}.xml"


def pack(path, label, data, stem):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"inner/{stem}_3.0.xml", label)
        file.writestr(f"inner/{stem}_3.0.tab", data)
    return path


def tree(root):
    return {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_index__one_row_a_product(folder):
    before = tree(folder)
    ds = tgo.index_archive(folder)
    assert tree(folder) == before
    assert ds.sizes["product"] == 6
    assert list(ds["path"].values) == sorted(ds["path"].values)
    assert ds["rule"].values.tolist().count("") == 5
    row = ds.isel(product=ds["path"].str.contains("day2").values).squeeze()
    level1 = tgo.open_product(str(row["path"].values))
    assert row["lid"] == level1.attrs["product_lid"]
    assert (row["channel"], row["order"], row["spectra"]) == ("so", 134, 2)
    assert row["start"] == level1["time_bounds"].min()
    assert row["stop"] == level1["time_bounds"].max()
    for name in ("latitude", "altitude"):
        values = level1[{"altitude": "tangent_altitude"}.get(name, name)]
        assert row[f"{name}_min"] == values.min()
        assert row[f"{name}_max"] == values.max()
    assert row["solar_longitude"] == pytest.approx(
        float(level1["solar_longitude"].mean())
    )
    assert row["md5"] == level1.attrs["source_md5"]
    label = Path(str(row["path"].values)).stat().st_size
    assert row["size"] == label + 2 * 12_163


def test_index__damaged_row_has_rule_and_identity(folder):
    found = tgo.find(tgo.index_archive(folder), damaged=True)
    assert found["rule"].values.tolist() == ["label.filesize_mismatch"]
    assert found["lid"].values[0].endswith(STEM.format(day=5))
    assert "24325" in found["message"].values[0]


def test_index__opens_only_what_changed(folder):
    first = tgo.index_archive(folder)
    assert first.attrs["opened"] == 6
    second = tgo.index_archive(folder)
    assert second.attrs["opened"] == 1  # the damaged one: it may have been repaired
    xr.testing.assert_equal(first, second)

    table = folder / "day2" / f"{STEM.format(day=2)}.tab"
    status = table.stat()
    data = bytearray(table.read_bytes())
    data[200] ^= 1
    table.write_bytes(data)
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    third = tgo.index_archive(folder)
    assert third.attrs["opened"] == 2
    changed = tgo.find(third, damaged=True)
    assert "label.checksum_mismatch" in changed["rule"].values

    for path in (*folder.rglob("*.tab"), folder / "packed.zip"):
        os.utime(path, ns=(1, 1))
    assert tgo.index_archive(folder).attrs["opened"] == 2


def test_index__repaired_product_returns(folder, small_product):
    tgo.index_archive(folder)
    write(folder / "bad", *small_product(STEM.format(day=5)))
    assert not (tgo.index_archive(folder)["rule"] != "").any()


def test_index__removed_and_moved_products(folder):
    tgo.index_archive(folder)
    shutil.rmtree(folder / "day3")
    ds = tgo.index_archive(folder)
    assert ds.sizes["product"] == 5
    assert not ds["path"].str.contains("day3").any()


def test_index__catalogue_is_whole_or_made_again(folder, tmp_path):
    file = tmp_path / "c" / "catalogue.jsonl"
    first = tgo.index_archive(folder, file)
    good = file.read_bytes()
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    xr.testing.assert_equal(archive.read_catalogue(file), first)
    rng = np.random.default_rng(0)
    for k in rng.integers(0, len(good), 40):
        bad = bytearray(good)
        bad[k] ^= 1 << int(rng.integers(0, 7))
        file.write_bytes(bad)
        # the head names root and date, which are no part of the rows
        if k > good.index(b"\n"):
            with pytest.raises(ArchiveError) as caught:
                archive.read_catalogue(file)
            assert caught.value.rule == "catalogue.damaged"
    for k in (0, 10, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:k])
        with pytest.raises(ArchiveError):
            archive.read_catalogue(file)
    assert tgo.index_archive(folder, file).attrs["opened"] == 6
    assert file.read_bytes().partition(b"\n")[2] == good.partition(b"\n")[2]


def test_index__hostile_files_get_rows(tmp_path, small_product):
    root = tmp_path / "data"
    label, data, stem = small_product(STEM.format(day=1))
    write(root / "a", label[:5000], data, stem)
    write(root / "b", b"", data, stem)
    (write(root / "c", label, data, stem).with_suffix(".tab")).unlink()
    write(root / "d", label.replace(b":em16_tgo_nmd:", b":em16_tgo_xyz:"), data, stem)
    (root / "link.xml").symlink_to("/dev/zero")
    (root / "no.zip").write_bytes(b"PK\x03\x04 and no more")
    with zipfile.ZipFile(root / "up.zip", "w") as file:
        file.writestr("../x.xml", label)
    (root / "empty").mkdir()
    os.mkfifo(root / "pipe.xml")
    ds = tgo.index_archive(root)
    rules = {
        os.path.relpath(p, root).split("/")[0]: rule
        for p, rule in zip(ds["path"].values, ds["rule"].values, strict=True)
    }
    assert rules == {
        "a": "label.not_xml",
        "b": "label.not_xml",
        "c": "label.missing_file",
        "d": "product.unknown_instrument",
        "link.xml": "file.not_regular",
        "no.zip": "zip.damaged",
        "pipe.xml": "file.not_regular",
        "up.zip": "zip.unsafe_member",
    }


def test_index__no_folder(tmp_path):
    with pytest.raises(ArchiveError, match="no such folder"):
        tgo.index_archive(tmp_path / "none")
    with pytest.raises(ArchiveError, match="tgo-spectra index"):
        tgo.find(tmp_path)


def several(path, products):
    """A delivery zip of more than one product."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bundle_x.xml", "<anything/>")
        file.writestr(
            "data/collection.lblx", "<product_class>Product_Collection</product_class>"
        )
        for label, data, stem in products:
            file.writestr(f"data/{stem}/{stem}.lblx", label)
            file.writestr(f"data/{stem}/{stem}.tab", data)
    return path


def test_index__zip_of_several_products(tmp_path, small_product):
    root = tmp_path / "data"
    root.mkdir()
    made = [small_product(STEM.format(day=k)) for k in (1, 2, 3)]
    made[1] = (made[1][0], made[1][1][:-1], made[1][2])
    path = several(root / "many.zip", made)
    ds = tgo.index_archive(root)
    names = [f"{path}::data/{stem}/{stem}.lblx" for _, _, stem in made]
    assert ds["path"].values.tolist() == names
    assert ds["rule"].values.tolist() == ["", "label.filesize_mismatch", ""]
    assert ds["lid"].str.endswith(STEM.format(day=3)).values.tolist()[2]
    assert tgo.index_archive(root).attrs["opened"] == 0
    found = tgo.find(ds, damaged=True)["path"].values.tolist()
    assert found == names[1:2]
    plain = write(tmp_path / "plain", *made[2])
    # one door: the same attributes, and values that are kept once they are read
    inside, alone = (tgo.open_product(name) for name in (names[2], plain))
    for ds in (inside, alone):
        assert not isinstance(ds["transmittance"].variable._data, np.ndarray)
        first, again = ds["transmittance"].values, ds["transmittance"].values
        assert np.shares_memory(first, again)
    xr.testing.assert_identical(inside.load(), alone.load())
    with pytest.raises(ProductError, match=r"data/.*lblx") as caught:
        tgo.open_product(f"{path}::data/none.xml")
    assert caught.value.rule == "label.missing_file"


def test_zip__one_product_beside_a_collection(tmp_path, small_product):
    """A label that is no product must neither hide the product nor be taken for it."""
    root = tmp_path / "data"
    root.mkdir()
    made = small_product(STEM.format(day=1))
    path = several(root / "one.zip", [made])
    name = f"{path}::data/{made[2]}/{made[2]}.lblx"
    ds = tgo.index_archive(root)
    assert ds["path"].values.tolist() == [str(path)]
    assert [str(p) for p in gather([root]).paths] == [str(path)]
    for place in (path, name):
        assert tgo.open_product(place).sizes["spectrum"] == 2
    with pytest.raises(ProductError, match="no such label"):
        tgo.open_product(f"{path}::none.xml")


def test_zip__several_products_are_named(tmp_path, small_product):
    made = [small_product(STEM.format(day=k)) for k in range(1, 8)]
    path = several(tmp_path / "many.zip", made)
    with pytest.raises(ProductError) as caught:
        tgo.open_product(path)
    text = str(caught.value)
    assert "zip of 7 products; name one as many.zip::LABEL" in text
    assert f"data/{made[0][2]}/{made[0][2]}.lblx" in text
    assert "and 2 more" in text


def test_command_line__info_of_one_product_in_a_zip(tmp_path, small_product, capsys):
    made = [small_product(STEM.format(day=k)) for k in (1, 2)]
    path = several(tmp_path / "many.zip", made)
    stem = made[1][2]
    assert main(["info", f"{path}::data/{stem}/{stem}.lblx"]) == 0
    assert stem in capsys.readouterr().out
    assert main(["info", f"{path}::nothing.xml"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{stem}.lblx" in err
    assert main(["info", f"{tmp_path}/none.zip::nothing.xml"]) == 64


def test_index__products_of_several_files(tmp_path):
    """Raw ACS: five tables, which no single Dataset can hold."""
    for name, write_product in (("raw", acs.write_raw), ("cal", acs.write_calibrated)):
        (tmp_path / "data" / name).mkdir(parents=True)
        write_product(tmp_path / "data" / name)
    root = tmp_path / "data"
    ds = tgo.index_archive(root)
    assert ds["rule"].values.tolist() == ["", ""]
    assert ds["instrument"].values.tolist() == ["acs", "acs"]
    assert ds["channel"].values.tolist() == ["mir", "nir"]
    files = sum(p.stat().st_size for p in (root / "raw").iterdir())
    assert ds["size"].values[1] == files
    assert not any(row.rule for row in archive.verify(root))
    assert tgo.index_archive(root).attrs["opened"] == 0
    last = max((root / "raw").glob("*.tab"))
    data = bytearray(last.read_bytes())
    data[100] ^= 1
    last.write_bytes(data)
    ds = tgo.index_archive(root)
    assert ds.attrs["opened"] == 1
    assert ds["rule"].values.tolist() == ["", "label.checksum_mismatch"]
    assert [row.rule != "" for row in archive.verify(root)] == [False, True]


def test_gather__each_product_once(tmp_path, small_product):
    old, new = (small_product(STEM.format(day=1), version=v) for v in ("4.9", "4.10"))
    write(tmp_path / "a", *old)
    newest = write(tmp_path / "b", *new)
    pack(tmp_path / "b.zip", *new)
    several(tmp_path / "many.zip", [small_product(STEM.format(day=k)) for k in (1, 2)])
    label, data, stem = small_product(STEM.format(day=3))
    write(tmp_path / "c", label, data, stem).rename(tmp_path / "c" / f"{stem}.LBLX")
    (tmp_path / "bundle.xml").write_text("<x/>")
    (tmp_path / "other.xml").write_text("<product_class>Product_Document</")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as file:
        file.writestr("a.txt", "a")
    found = gather([tmp_path])
    names = [str(p.relative_to(tmp_path)) for p in found.paths]
    second = STEM.format(day=2)
    assert names == [
        f"b/{newest.name}",
        "broken.zip",
        f"c/{stem}.LBLX",
        f"many.zip::data/{second}/{second}.lblx",
    ]
    assert (found.others, found.older) == (3, 3)
    many = tmp_path / "many.zip"
    inside = gather([many])
    assert [len(inside.paths), inside.others, inside.older] == [2, 0, 0]
    # given one by one, in this order; what is named is never silently left out
    given = [tmp_path / "none.xml", tmp_path / "other.xml", *inside.paths[::-1], many]
    assert gather(given).paths == given[:-1]
    old = tmp_path / "a"
    assert gather([old]).paths == [next(old.glob("*.xml"))]
    assert gather([old, newest]).paths == [newest]
    assert gather([newest, newest]).older == 0


def test_run__takes_zips_and_both_kinds_of_labels(
    tmp_path, small_product, monkeypatch, capsys
):
    import tgo_spectra.retrieval

    def retrieve(level1, setup=None, atmosphere=None):
        value = float(level1["wavenumber"].mean())
        return xr.Dataset(
            {"ch4_vmr": ("altitude", [value])},
            {"altitude": [1.0]},
            {"product_lid": level1.attrs["product_lid"]},
        )

    monkeypatch.setattr(tgo_spectra.retrieval, "retrieve", retrieve)
    root, out = tmp_path / "data", tmp_path / "out"
    write(root / "one", *small_product(STEM.format(day=1), version="2.0"))
    pack(root / "one.zip", *small_product(STEM.format(day=1)))
    several(root / "many.zip", [small_product(STEM.format(day=k)) for k in (2, 3)])
    label, data, stem = small_product(STEM.format(day=4))
    path = write(root / "four", label, data, stem)
    path.rename(path.with_suffix(".lblx"))
    (root / "collection.lblx").write_text("<x/>")
    rows = tgo.run(root, out, progress=False)
    assert [row.state for row in rows] == ["done"] * 4, rows
    start = "urn+esa+psa+em16_tgo_nmd+data_calibrated+"
    names = [f"{start}{STEM.format(day=k)}.nc" for k in (1, 2, 3, 4)]
    assert sorted(p.name for p in (out / "l2").iterdir()) == names
    record = json.loads((out / "run.json").read_text())
    assert record["products"] == 4
    assert record["other_labels_left_out"] == 1
    assert record["older_versions_left_out"] == 1
    # done ones are known again, a changed one of a zip is not
    many = root / "many.zip"
    assert main(["retrieve", str(many), "--out", str(out)]) == 0
    assert "0 done, 2 skipped" in capsys.readouterr().out
    several(many, [small_product(STEM.format(day=k), rows=(k, 12)) for k in (2, 3)])
    assert [r.state for r in tgo.run(root, out, progress=False)].count("done") == 2
    with zipfile.ZipFile(many, "a") as file:
        file.writestr("more/readme.txt", "no part of a product")
    assert {r.state for r in tgo.run(root, out, progress=False)} == {"skipped"}
    found = tgo.find(tgo.index_archive(root))["path"].values.tolist()
    assert {r.state for r in tgo.run(found, out, progress=False)} == {"skipped"}
    rows = tgo.run(f"{many}::data/none.xml", out, progress=False)
    assert [row.rule for row in rows] == ["label.missing_file"]
    assert stem not in rows[0].message
    assert STEM.format(day=2) in rows[0].message


def test_index__unchanged_files_are_not_read(folder, monkeypatch):
    tgo.index_archive(folder)
    # files of this test are too young to be trusted, so make all old enough
    assert tgo.index_archive(folder).attrs["hashed"] == 6
    monkeypatch.setattr(index, "_SETTLED_NS", -(10**12))
    tgo.index_archive(folder)
    ds = tgo.index_archive(folder)
    assert (ds.attrs["hashed"], ds.attrs["opened"]) == (1, 1)  # the damaged one
    assert tgo.index_archive(folder, rehash=True).attrs["hashed"] == 6

    def change(path):
        status = path.stat()
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    change(folder / "day2" / f"{STEM.format(day=2)}.tab")
    change(folder / "packed.zip")
    ds = tgo.index_archive(folder)
    assert ds.attrs["hashed"] == 3
    assert set(tgo.find(ds, damaged=True)["rule"].values) >= {
        "label.checksum_mismatch",
        "zip.damaged",
    }


def test_index__killed_leaves_the_former_and_goes_on(folder, small_product, tmp_path):
    file = tmp_path / "catalogue.jsonl"
    code = (
        "import os, signal, sys; from tgo_spectra.archive import index\n"
        "index._SAVE_S, opened, real = -1.0, [], index.describe\n"
        "def describe(*given):\n"
        "    opened.append(1)\n"
        "    if len(opened) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*given)\n"
        "index.describe = describe\n"
        "index.index_archive(*sys.argv[1:])\n"
    )
    call = [sys.executable, "-c", code, str(folder), str(file)]
    assert subprocess.run(call, check=False).returncode == -signal.SIGKILL
    assert not file.exists()
    ds = tgo.index_archive(folder, file)
    # three rows were saved; one of them is damaged and looked at again
    assert (ds.sizes["product"], ds.attrs["opened"]) == (6, 4)
    good = file.read_bytes()
    for day in range(10, 16):
        write(folder / f"day{day}", *small_product(STEM.format(day=day)))
    assert subprocess.run(call, check=False).returncode == -signal.SIGKILL
    assert file.read_bytes() == good
    assert tgo.find(file).sizes["product"] == 4
    ds = tgo.index_archive(folder, file)
    assert ds.sizes["product"] == 12
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {file.name}


def test_index__work_grows_with_the_products_only(tmp_path, small_product, monkeypatch):
    """Rows looked at per product stay the same, as plain files and as zips."""
    monkeypatch.setattr(index, "_SETTLED_NS", -(10**12))
    looks = []

    class Rows(dict):
        def get(self, *given):
            looks.append(given)
            return super().get(*given)

        def items(self):
            for item in super().items():
                looks.append(item)
                yield item

    counts = {}
    for n in (20, 80):
        root = tmp_path / str(n)
        first = write(root / "0", *small_product(STEM.format(day=1)))
        packed = pack(root / "0.zip", *small_product(STEM.format(day=1)))
        for k in range(1, n):
            (root / f"{k}").mkdir()
            for file in (first, first.with_suffix(".tab")):
                os.link(file, root / f"{k}" / file.name)
            os.link(packed, root / f"{k}.zip")
        ds = tgo.index_archive(root, tmp_path / "c.jsonl")
        assert ds.sizes["product"] == 2 * n
        known = Rows(index._known(tmp_path / "c.jsonl"))
        looks.clear()
        scan = index._Scan(root, known, rehash=False)
        scan.zips = Rows(scan.zips)
        assert len(list(scan.entries())) == 2 * n
        assert scan.hashed == 0
        counts[n] = len(looks)
    assert counts[80] <= 4 * counts[20]


def test_newest__numbers_not_text(tmp_path, small_product):
    stem = STEM.format(day=1)
    for version in ("2.0", "4.9", "4.10"):
        write(tmp_path / version, *small_product(stem, version=version))
    pack(tmp_path / "a.zip", *small_product(stem, version="4.10"))
    ds = tgo.index_archive(tmp_path, tmp_path / "c.jsonl")
    found = tgo.find(ds)
    assert found["version"].values.tolist() == ["4.10"]
    assert found["path"].values[0].endswith(".xml")
    assert tgo.find(ds, versions="all").sizes["product"] == 4
    assert tgo.find(ds, versions="2.0").sizes["product"] == 1


def test_newest__damaged_hides_older(tmp_path, small_product):
    stem = STEM.format(day=1)
    write(tmp_path / "3", *small_product(stem))
    label, data, _ = small_product(stem, version="4.0")
    write(tmp_path / "4", label, data + b" ", stem)
    ds = tgo.index_archive(tmp_path, tmp_path / "c.jsonl")
    assert tgo.find(ds).sizes["product"] == 0
    assert tgo.find(ds, versions="3.0").sizes["product"] == 1


def table(**columns):
    """A catalogue of given values."""
    n = len(next(iter(columns.values())))
    fixed = {"rule": [""] * n, "newest": [True] * n, "version": ["3.0"] * n}
    return xr.Dataset(
        {k: ("product", np.array(v)) for k, v in (fixed | columns).items()}
    )


@pytest.mark.parametrize(
    ("ls", "wanted"),
    [((0, 10), [0, 1]), ((350, 5), [0, 1, 3]), ((180, 180), [2]), ((5, 350), [2])],
)
def test_find__solar_longitude(ls, wanted):
    ds = table(solar_longitude=[0.0, 5.0, 180.0, 350.5, np.nan], k=[0, 1, 2, 3, 4])
    if ls == (5, 350):
        wanted = [1, 2]
    assert tgo.find(ds, ls=ls)["k"].values.tolist() == wanted


def test_find__ranges_overlap_and_times_are_half_open():
    ds = table(
        latitude_min=[-10.0, 5.0, np.nan],
        latitude_max=[0.0, 9.0, np.nan],
        start=np.array(["2018-05-01", "2018-06-01", "NaT"], "datetime64[ns]"),
        stop=np.array(["2018-05-02", "2018-06-02", "NaT"], "datetime64[ns]"),
        order=[134, 136, -1],
        orbit=[5, 6, 7],
        k=[0, 1, 2],
    )

    def which(**given):
        return tgo.find(ds, **given)["k"].values.tolist()

    assert which(latitude=(0, 5)) == [0, 1]
    assert which(latitude=(1, 4)) == []
    assert which(start="2018-05-02", stop="2018-06-01") == [0]
    assert which(start="2018-05-02T00:00:01Z") == [1]
    assert which(start="2018-05-02T02:00:01+02:00") == [1]
    assert which(stop=np.datetime64("2018-06-02")) == [0, 1]
    assert which(order=[134, 136]) == [0, 1]
    assert which(order=136) == [1]
    assert which(orbit=(6, 9)) == [1, 2]
    assert which(orbit=5) == [0]


@pytest.mark.parametrize(
    "given",
    [
        {"start": "yesterday"},
        {"ls": (1, np.nan)},
        {"ls": (1, 2, 3)},
        {"latitude": (5, 1)},
        {"lid": "("},
    ],
)
def test_find__bad_conditions(given, tmp_path):
    ds = tgo.index_archive(tmp_path)
    with pytest.raises(ArchiveError) as caught:
        tgo.find(ds, **given)
    assert caught.value.rule == "catalogue.condition"


def test_run__takes_found_paths(folder, tmp_path):
    found = tgo.find(tgo.index_archive(folder), order=134)
    paths = found["path"].values.tolist()
    assert len(paths) == 4

    def process(path, out, setup, atmosphere):
        return {"state": "done", "spectra": tgo.open_product(path).sizes["spectrum"]}

    rows = tgo.run(paths, tmp_path / "out", process=process, progress=False)
    assert [row.spectra for row in rows] == [2] * 4


def test_verify__products_and_own_files(folder, tmp_path):
    ds = xr.Dataset({"ch4_vmr": ("altitude", [1e-11, 2e-11])}, {"altitude": [1.0, 2.0]})
    file = tgo.write_level2(ds, folder / "l2" / "a.nc")
    truth = file.with_name("a.truth.nc")
    truth.write_bytes(b"beside a simulated product, without a hash")
    rows = {r.path: r.rule for r in archive.verify(folder)}
    assert len(rows) == 7
    assert archive.verify(truth)[0].rule == "io.unreadable"
    assert [r for r in rows.values() if r] == ["label.filesize_mismatch"]
    assert rows[str(file)] == ""
    with netCDF4.Dataset(file, "r+") as stored:
        stored["ch4_vmr"][0] = 3e-11
    assert archive.verify(file)[0].rule == "io.hash_mismatch"
    file.write_bytes(file.read_bytes()[:-100])
    assert archive.verify(file)[0].rule == "io.unreadable"
    assert archive.verify([tmp_path / "no.xml"])[0].rule == "label.missing_file"


def test_verify__reads_every_number(tmp_path, small_product):
    label, data, stem = small_product()
    label = label.replace(b"<md5_checksum>", b"<comment>").replace(
        b"</md5_checksum>", b"</comment>"
    )
    text = bytearray(data)
    text[12_163 + 9000] = ord("x")
    path = write(tmp_path, label, bytes(text), stem)
    assert not (tgo.index_archive(tmp_path)["rule"] != "").any()
    row = archive.verify(path)[0]
    assert row.rule == "table.field_value_data_type_mismatch"
    assert "byte" in row.message


def test_command_line(folder, capsys):
    assert main(["index", str(folder)]) == 2
    captured = capsys.readouterr()
    assert "6 products, 6 opened, 1 damaged" in captured.out
    assert captured.err.count("\n") == 1
    assert "label.filesize_mismatch" in captured.err
    given = ["find", str(folder), "--order", "134", "--start", "2000-01-01"]
    assert main(given) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main([*given, "--details", "--ls", "0", "360"]) == 0
    assert capsys.readouterr().out.startswith("path\tchannel\torder")
    assert main([*given, "--json", "--details"]) == 64
    capsys.readouterr()
    assert main([*given, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 4
    assert {row["order"] for row in rows} == {134}
    assert all(row["path"].startswith(str(folder)) for row in rows)
    assert main(["find", str(folder), "--damaged"]) == 0
    assert capsys.readouterr().out.endswith("label.filesize_mismatch\n")
    assert main(["find", str(folder), "--order", "1"]) == 0
    assert capsys.readouterr() == ("", "no product matches\n")
    assert main(["find", str(folder), "--start", "x"]) == 1
    assert "2018-04-21" in capsys.readouterr().err
    assert main(["index", str(folder), "--rehash"]) == 2
    capsys.readouterr()
    assert main(["verify", str(folder / "none.xml")]) == 2
    assert capsys.readouterr().err.count("none.xml") == 1
    assert main(["verify", str(folder)]) == 2
    assert "5 intact, 1 damaged" in capsys.readouterr().out
    assert main(["verify", str(folder / "packed.zip")]) == 0


def test_gather__takes_little_memory(tmp_path):
    name = "nmd_cal_sc_so_20180421t202111-20180421t202629-{:06d}-1-136.xml"
    for k in range(300):
        text = f"<logical_identifier>urn:a:b:{k}</logical_identifier>"
        (tmp_path / name.format(k)).write_text(text)
    gather([tmp_path])
    tracemalloc.start()
    found = gather([tmp_path])
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.names) == 300
    # of each product its name is held, and not much more meanwhile
    assert held < 300 * 1.5 * sys.getsizeof(found.names[0])
    assert most < 300 * 6.0 * sys.getsizeof(found.names[0])
