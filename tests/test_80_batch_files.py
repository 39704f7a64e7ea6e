"""What a run takes and what it writes: names, copies, obstacles, workers."""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import threading
import zipfile

import dask
import pytest
import xarray as xr

from tgo_spectra.archive.gathering import gather
from tgo_spectra.batch import products as batch
from tgo_spectra.batch import resume, schedulers
from tgo_spectra.batch.resume import output_name
from tgo_spectra.cli import main
from tgo_spectra.errors import OutputError, TgoError
from tgo_spectra.files.netcdf import open_verified

LID = "urn:esa:psa:em16_tgo_nmd:data_calibrated:"
STEM = "nmd_cal_sc_so_2018040{day}t010203-2018040{day}t011203-a-i-134"


@pytest.fixture
def fits(monkeypatch):
    """Replace the retrieval; list the products that are fitted."""
    import tgo_spectra.retrieval as retrieval

    made = []

    def retrieve(level1, setup=None, atmosphere=None):
        lid = level1.attrs["product_lid"]
        made.append(lid)
        values = [float(level1["transmittance"].mean()), float(len(lid))]
        return xr.Dataset(
            {"ch4_vmr": ("altitude", values)},
            {"altitude": [1.0, 2.0]},
            {"product_lid": lid},
        )

    monkeypatch.setattr(retrieval, "retrieve", retrieve)
    return made


def write(folder, made, collection="data_calibrated"):
    label, data, stem = made
    folder.mkdir(parents=True, exist_ok=True)
    text = label.replace(
        LID.encode(), LID.encode().replace(b"data_calibrated", collection.encode())
    )
    (folder / f"{stem}.xml").write_bytes(text)
    (folder / f"{stem}.tab").write_bytes(data)
    return folder / f"{stem}.xml"


def pack(path, made, *, damage=False):
    label, data, stem = made
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{stem}.xml", label)
        file.writestr(f"{stem}.tab", data[:-7] + b"  " if damage else data)
    return path


def hurt(label):
    """Change one byte of a table."""
    table = label.with_suffix(".tab")
    data = bytearray(table.read_bytes())
    data[300] ^= 1
    table.write_bytes(data)
    return label


def journal(out):
    lines = (out / "journal.jsonl").read_text().splitlines()
    return [json.loads(line)["row"] for line in lines]


# names


def test_run__products_that_differ_in_the_collection(tmp_path, small_product, fits):
    made = small_product(STEM.format(day=1))
    collections = ("data_calibrated", "data_derived", "data_raw", "x")
    for name in collections:
        write(tmp_path / "in" / name, made, name)
    out = tmp_path / "out"
    rows = batch.run(tmp_path / "in", out, progress=False)
    assert [row.state for row in rows] == ["done"] * 4
    assert len({row.output for row in rows}) == 4
    for row in rows:
        lid = open_verified(row.output).attrs["product_lid"]
        assert pathlib.Path(row.output).stem == output_name(lid)
    again = batch.run(tmp_path / "in", out, progress=False)
    assert [row.state for row in again] == ["skipped"] * 4
    assert len(fits) == 4


def test_output_name__no_two_alike():
    long = "urn:esa:psa:" + "a" * 120 + ":{}:" + "b" * 200
    lids = [
        "urn:a:b", "urn:a.b", "urn:a_b", "urn:a-b", "urn:a+b", "urn:a:b:", "urn:a%3ab",
        "urn:a/b", "urn:a\\b", "urn:..:b", "urn:ä", "urn:a\x1b", "..", "con",
        long.format("x"), long.format("y"),
    ]  # fmt: skip
    names = [output_name(lid) for lid in lids]
    assert len(set(names)) == len(lids)
    for name in names:
        assert name.isprintable()
        assert name.isascii()
        assert not set(name) & set('/\\:*?"<>|')
        assert len(name) <= 200
        assert pathlib.Path(f"{name}.nc").name == f"{name}.nc"
    assert output_name("URN:A:B") == "urn+a+b"


def test_run__files_of_former_names(tmp_path, small_product, fits, caplog):
    """Renamed if they hold the product, whatever else lies under such a name."""
    folder, out = tmp_path / "in", tmp_path / "out"
    stems = [STEM.format(day=k) for k in (1, 2, 3, 4)]
    for stem in stems:
        write(folder, small_product(stem))
    rows = batch.run(folder, out, progress=False)
    first = [pathlib.Path(row.output) for row in rows]
    former = [out / "l2" / f"{stem}.nc" for stem in stems]
    for new, old in zip(first, former, strict=True):
        new.rename(old)
    hurt_file = former[1].read_bytes()[:-300]
    former[1].write_bytes(hurt_file)
    # another product under the name, as where collections differ
    shutil.copy(former[3], former[2])
    fits.clear()
    rows = batch.run(folder, out, progress=False)
    assert [row.state for row in rows] == ["skipped", "done", "done", "skipped"]
    assert [pathlib.Path(row.output) for row in rows] == first
    assert [file.exists() for file in former] == [False, True, True, False]
    assert former[1].read_bytes() == hurt_file
    assert "under a name no longer used" in caplog.text
    # one that is done already keeps its file
    shutil.copy(first[0], former[0])
    assert {r.state for r in batch.run(folder, out, progress=False)} == {"skipped"}
    assert former[0].exists()


def test_target_of__label_without_identifier(tmp_path):
    names = set()
    for k in range(3):
        label = tmp_path / str(k) / "a.xml"
        label.parent.mkdir()
        label.write_text(f"<x>{k}</x>")
        names.add(resume.target_of(label, tmp_path).name)
    assert len(names) == 3


# copies


def test_gather__intact_copy_wins(tmp_path, small_product):
    made = [small_product(STEM.format(day=k)) for k in range(1, 7)]
    bad_first = hurt(write(tmp_path / "a", made[0]))
    good_second = write(tmp_path / "b", made[0])
    bad_unpacked = hurt(write(tmp_path / "a", made[1]))
    good_zip = pack(tmp_path / "z" / "one.zip", made[1])
    bad_zip = pack(tmp_path / "a" / "two.zip", made[2], damage=True)
    good_unpacked = write(tmp_path / "z", made[2])
    both_bad = [hurt(write(tmp_path / name, made[3])) for name in ("a", "b")]
    equal = [write(tmp_path / name, made[4]) for name in ("a", "b", "c")]
    cut = write(tmp_path / "a", made[5])
    cut.write_bytes(cut.read_bytes()[:-200])
    whole = write(tmp_path / "b", made[5])
    found = gather([tmp_path])
    assert set(found.paths) == {
        good_second, good_zip, good_unpacked, both_bad[0], equal[0], whole
    }  # fmt: skip
    assert found.older == len(found.left_out) == 7
    known = {left.path: (left.taken, left.rule) for left in found.left_out}
    assert known == {
        bad_first: (good_second, "batch.damaged_copy"),
        bad_unpacked: (good_zip, "batch.damaged_copy"),
        bad_zip: (good_unpacked, "batch.copy"),  # not read: one outside is intact
        both_bad[1]: (both_bad[0], "batch.damaged_copy"),
        equal[1]: (equal[0], "batch.copy"),
        equal[2]: (equal[0], "batch.copy"),
        cut: (whole, "batch.damaged_copy"),
    }
    # given by hand in this order, and inside one zip
    assert gather([bad_first, good_second]).paths == [good_second]
    several = tmp_path / "several.zip"
    with zipfile.ZipFile(several, "w") as file:
        for name, label in (("a", bad_first), ("b", good_second)):
            for suffix in (".xml", ".tab"):
                part = label.with_suffix(suffix)
                file.write(part, f"{name}/{part.name}")
    (path,) = gather([several]).paths
    assert str(path) == f"{several}::b/{good_second.name}"


def test_gather__highest_version_even_if_damaged(tmp_path, small_product):
    stem = STEM.format(day=1)
    old = write(tmp_path / "1", small_product(stem, version="2.0"))
    new = hurt(write(tmp_path / "2", small_product(stem, version="3.0")))
    packed = pack(tmp_path / "3" / "new.zip", small_product(stem, version="3.0"))
    found = gather([tmp_path / "1", tmp_path / "2"])
    assert found.paths == [new]
    (left,) = found.left_out
    assert (left.path, left.rule) == (old, "batch.older_version")
    assert left.message == "version 2.0, and there is version 3.0"
    assert gather([tmp_path]).paths == [packed]


def test_run__names_what_is_left_out(tmp_path, small_product, fits, capsys, caplog):
    made = small_product(STEM.format(day=1))
    bad = hurt(write(tmp_path / "in" / "a\x1b[31m", made))
    good = write(tmp_path / "in" / "b", made)
    older = write(
        tmp_path / "in" / "old", small_product(STEM.format(day=1), version="1.0")
    )
    out = tmp_path / "out"
    rows = batch.run(tmp_path / "in", out, progress=False)
    assert [(row.state, row.product) for row in rows] == [("done", str(good))]
    record = json.loads((out / "run.json").read_text())
    assert record["older_versions_left_out"] == 2
    assert {row["path"]: row["rule"] for row in record["left_out"]} == {
        str(bad): "batch.damaged_copy",
        str(older): "batch.older_version",
    }
    assert {row["taken"] for row in record["left_out"]} == {str(good)}
    lines = [row for row in journal(out) if row["state"] == "left_out"]
    assert {row["product"] for row in lines} == {str(bad), str(older)}
    assert all(str(good) in row["message"] for row in lines)
    assert all(row.keys() == journal(out)[-1].keys() for row in lines)
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said.startswith("2 left out, see run.json: ")
    assert said.isprintable()
    assert "a\\x1b[31m" in said
    assert str(older) in said
    assert main(["verify", str(tmp_path / "in")]) == 2
    assert "\x1b" not in capsys.readouterr().err


# obstacles


def make_products(folder, n=3):
    folder.mkdir(exist_ok=True)
    for k in range(n):
        lid = f"<logical_identifier>urn:esa:psa:b:c:{k}</logical_identifier>"
        (folder / f"{k}.xml").write_text(lid)
    return folder


def fake(path, out, setups, atmosphere):
    file = out / f"{path.stem}.nc"
    return {"state": "done", "output": str(file), "message": "m" * 300}


@contextlib.contextmanager
def largest_file(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def obstacle(out, how):
    if how == "file as folder":
        out.write_text("mine")
    elif how == "file above":
        out.parent.write_text("mine")
    else:
        (out / "l2").mkdir(parents=True)
        blocked = out / how
        if how == "l2":
            blocked.rmdir()
            blocked.write_text("mine")
        else:
            blocked.mkdir()


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        ("file as folder", "io.not_a_folder"),
        ("file above", "io.not_a_folder"),
        ("l2", "io.not_a_folder"),
        ("run.json", "io.is_a_folder"),
        ("journal.jsonl", "io.is_a_folder"),
        ("quarantine.jsonl", "io.is_a_folder"),
    ],
)
def test_run__obstacles_are_one_line(tmp_path, capsys, how, rule):
    products, out = make_products(tmp_path / "in"), tmp_path / "deep" / "out"
    if how != "file above":
        out.parent.mkdir()
    obstacle(out, how)
    with pytest.raises(OutputError) as caught:
        batch.run(products, out, progress=False, process=fake)
    assert caught.value.rule == rule
    assert str(tmp_path / "deep") in str(caught.value)
    assert main(["retrieve", str(products), "--out", str(out)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("size", [0, 300, 1_000, 1_300])
def test_run__full_disk_whatever_is_written(tmp_path, size):
    """run.json, the journal and quarantine.jsonl alike; the next run goes on."""
    products, out = make_products(tmp_path / "in"), tmp_path / "out"
    with largest_file(size), pytest.raises(OutputError) as caught:
        batch.run(products, out, progress=False, process=fake)
    assert caught.value.rule == "io.no_space"
    assert str(out) in str(caught.value)
    assert not list(out.glob("*.tmp-*"))
    batch.run(products, out, progress=False, process=fake)
    for line in (out / "journal.jsonl").read_text().splitlines()[-3:]:
        assert json.loads(line)["row"]["state"] == "done"


@pytest.mark.parametrize("size", [0, 4_000, 9_000])
def test_run__full_disk_in_a_product_stops(tmp_path, small_product, fits, size):
    folder, out = tmp_path / "in", tmp_path / "out"
    for day in (1, 2, 3):
        write(folder, small_product(STEM.format(day=day)))
    out.mkdir()
    (out / "l2").mkdir()
    target = str(out / "l2")

    def process(path, level2, setups, atmosphere):
        with largest_file(size):
            return batch.process_product(path, level2, setups, atmosphere)

    with pytest.raises(OutputError) as caught:
        batch.run(folder, out, progress=False, process=process)
    assert caught.value.rule == "io.no_space"
    assert target in str(caught.value)
    assert list((out / "l2").iterdir()) == []
    assert len(journal(out)) == 1
    rows = batch.run(folder, out, progress=False)
    assert {row.state for row in rows} == {"done"}


def test_run__home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_products(tmp_path / "in")
    for products in ("~/in", "~/in/*.xml", [pathlib.Path("~/in/0.xml")]):
        rows = batch.run(products, "~/out", progress=False, process=fake)
        assert rows[0].product == str(tmp_path / "in" / "0.xml")
    assert (tmp_path / "out" / "journal.jsonl").is_file()


# workers and schedulers


def test_workers__script_without_main_guard(tmp_path):
    """Workers do not import it, also where it holds what they are to do."""
    folder, out = make_products(tmp_path / "in"), tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(
        "import tgo_spectra as tgo\n"
        "print('once')\n"
        "def mine(path, out, setups, air):\n"
        "    return {'state': 'done', 'message': tgo.__version__}\n"
        f"rows = tgo.run({str(folder)!r}, {str(out)!r}, workers=2, process=mine)\n"
        "print([row.state for row in rows])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "once\n['done', 'done', 'done']\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "address",
    [
        "nonsense", "", " ", "tcp://", "tcp://host", "tcp://host:port", "tcp://:8786",
        "http://127.0.0.1:8786", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999",
        "scheduler.json", "tls://127.0.0.1:8786", "tcp://a\x1b[2J:8786",
    ],
)  # fmt: skip
def test_scheduler__no_such_address(tmp_path, capsys, address):
    folder = make_products(tmp_path / "in")
    given = ["retrieve", str(folder), "--out", str(tmp_path / "out")]
    assert main([*given, "--scheduler", address]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "batch.scheduler" in err
    assert err[:-1].isprintable()


def test_scheduler__nobody_answers(capfd):
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}):
        for address in ("tcp://127.0.0.1:1", "127.0.0.1:1"):
            with (
                pytest.raises(TgoError, match=r"within 0\.2 s") as caught,
                schedulers.connected(address),
            ):
                pass
            assert caught.value.rule == "batch.scheduler"
            assert caught.value.value == address
    assert "Traceback" not in capfd.readouterr().err


def test_scheduler__another_server_answers(capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    link, _ = server.accept()
                    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    link.close()

        threading.Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            with pytest.raises(TgoError) as caught, schedulers.connected(address):
                pass
            assert caught.value.rule == "batch.scheduler"
    assert "Traceback" not in capfd.readouterr().err
