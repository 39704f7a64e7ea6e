"""Runs: rows, resume, failures that stay with their product, workers."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest
import xarray as xr

from tgo_spectra import batch
from tgo_spectra.errors import OutputError, ProductError, TgoError
from tgo_spectra.netcdf import open_verified

LABEL = "<Product><logical_identifier>urn:esa:psa:b:c:{}</logical_identifier></Product>"


def make_products(folder, names=("one", "two", "three")):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.xml").write_text(LABEL.format(f"lid_{name}"))
        (folder / f"{name}.tab").write_text(name)
    (folder / "collection_x.xml").write_text("<Collection/>")
    return folder


def fake_process(path, out, setup, atmosphere):
    if path.stem == "bad":
        message = "wrong number of records"
        raise ProductError(message, path=path, rule="table.records_mismatch")
    if path.stem == "odd":
        raise ZeroDivisionError
    if path.stem == "deadly":
        os._exit(3)
    threads = os.environ.get("NUMBA_NUM_THREADS", "")
    (out / f"{path.stem}.txt").write_text(f"{threads} {os.getpid()}")
    return {"state": "done", "output": str(out / f"{path.stem}.txt"), "spectra": 7}


def fake_level2(level1, setup=None, atmosphere=None):
    return xr.Dataset(
        {"ch4_vmr": ("altitude", np.full(3, level1.attrs["value"]))},
        {"altitude": [1.0, 2.0, 3.0]},
        {"product_lid": "urn:esa:psa:b:c:lid"},
    )


@pytest.fixture
def calls(monkeypatch):
    """Replace reader and retrieval; count the retrievals."""
    import tgo_spectra.readers as readers
    import tgo_spectra.retrieval as retrieval

    made = []

    def open_product(path):
        value = float(len(pathlib.Path(path).with_suffix(".tab").read_text()))
        return xr.Dataset({"x": ("spectrum", [1.0, 2.0])}, attrs={"value": value})

    def retrieve(level1, setup=None, atmosphere=None):
        made.append(level1.attrs["value"])
        return fake_level2(level1)

    monkeypatch.setattr(readers, "open_product", open_product, raising=False)
    monkeypatch.setattr(retrieval, "retrieve", retrieve, raising=False)
    return made


def test_run__rows_in_order_and_failures_stay_alone(tmp_path):
    names = ("a", "bad", "c", "odd", "p")
    folder = make_products(tmp_path / "in", names)
    rows = batch.run(folder, tmp_path / "out", progress=False, process=fake_process)
    assert [pathlib.Path(row.product).stem for row in rows] == list(names)
    assert [row.state for row in rows] == ["done", "failed", "done", "failed", "done"]
    assert rows[1].rule == "table.records_mismatch"
    assert "wrong number of records" in rows[1].message
    assert rows[3].rule == "batch.unexpected"
    assert "ZeroDivisionError" in rows[3].message
    assert rows[0].spectra == 7
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert json.loads(lines[1])["row"]["state"] == "failed"
    quarantine = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert len(quarantine) == 2


def test_run__writes_verified_files_named_from_the_identifier(tmp_path, calls):
    folder = make_products(tmp_path / "in")
    rows = batch.run(folder, tmp_path / "out", progress=False)
    assert {row.state for row in rows} == {"done"}
    level2 = sorted((tmp_path / "out" / "l2").iterdir())
    names = [path.name for path in level2]
    assert names == ["lid_one.nc", "lid_three.nc", "lid_two.nc"]
    ds = open_verified(rows[0].output)
    assert ds.attrs["content_sha256"] == rows[0].content_sha256
    assert ds.attrs["resume_key"] == rows[0].resume_key
    assert ds.attrs["n_spectra"] == 2
    assert len(calls) == 3


def test_run__again_skips_what_is_done_and_verified(tmp_path, calls):
    folder, out = make_products(tmp_path / "in"), tmp_path / "out"
    first = batch.run(folder, out, progress=False)
    second = batch.run(folder, out, progress=False)
    assert {row.state for row in second} == {"skipped"}
    assert len(calls) == 3
    assert [r.content_sha256 for r in first] == [r.content_sha256 for r in second]
    # a damaged output, a changed input and a changed atmosphere are made again
    pathlib.Path(first[0].output).write_bytes(b"cut")
    (folder / "two.tab").write_text("other")
    third = batch.run(folder, out, progress=False)
    states = {pathlib.Path(row.product).stem: row.state for row in third}
    assert states == {"one": "done", "two": "done", "three": "skipped"}
    assert open_verified(first[0].output)["ch4_vmr"].size == 3


def test_resume_key__depends_on_all_inputs(tmp_path):
    from tgo_spectra.retrieval.setup import load_setup

    path = make_products(tmp_path / "in") / "one.xml"
    atmosphere = xr.Dataset({"pressure": ("altitude", [600.0, 300.0])})
    setups = [None, load_setup("so_134"), load_setup("so_136")]
    keys = {
        batch._resume_key(path, setup, air)
        for setup in setups
        for air in (None, atmosphere, atmosphere * 2)
    }
    assert len(keys) == 9
    assert batch._resume_key(path, None, None) in keys
    (tmp_path / "in" / "one.tab").write_text("changed")
    assert batch._resume_key(path, None, None) not in keys


def test_resume_key__depends_on_the_table(tmp_path):
    from tgo_spectra.retrieval.setup import load_setup

    path = make_products(tmp_path / "in") / "one.xml"
    table = tmp_path / "mine.nc"
    setup = load_setup("so_134").replace(table=str(table))
    keys = [batch._resume_key(path, setup, None)]
    for content in (b"a table", b"another table"):
        table.write_bytes(content)
        os.utime(table, ns=(len(content), len(content)))
        keys.append(batch._resume_key(path, setup, None))
    assert len(set(keys)) == 3
    assert batch._resume_key(path, setup, None) == keys[-1]


def test_run__full_disk_stops_the_run(tmp_path):
    def full(path, out, setup, atmosphere):
        message = "no space left"
        raise OutputError(message, path=path, rule="io.no_space")

    folder = make_products(tmp_path / "in")
    with pytest.raises(OutputError) as caught:
        batch.run(folder, tmp_path / "out", progress=False, process=full)
    assert caught.value.rule == "io.no_space"


def test_run__products_from_paths_and_patterns(tmp_path):
    folder = make_products(tmp_path / "in")
    out = tmp_path / "out"
    for products, number in [
        (str(folder / "t*.xml"), 2),
        ([folder / "one.xml", str(folder / "two.xml"), folder / "one.xml"], 2),
        (folder / "one.xml", 1),
    ]:
        rows = batch.run(products, out, progress=False, process=fake_process)
        assert len(rows) == number
    for nothing in (tmp_path / "out", str(folder / "x*.xml"), []):
        with pytest.raises(TgoError) as caught:
            batch.run(nothing, out, progress=False, process=fake_process)
        assert caught.value.rule == "batch.no_products"


def test_run__missing_product_is_a_row(tmp_path):
    rows = batch.run(tmp_path / "no.xml", tmp_path / "out", progress=False)
    assert [row.rule for row in rows] == ["product.missing"]


def test_run__workers_one_thread_each_and_a_death_stays_alone(tmp_path):
    names = [f"p{i}" for i in range(12)] + ["bad", "deadly"]
    folder = make_products(tmp_path / "in", names)
    rows = batch.run(
        folder, tmp_path / "out", workers=2, progress=False, process=fake_process
    )
    states = {pathlib.Path(row.product).stem: row for row in rows}
    assert states["bad"].rule == "table.records_mismatch"
    assert states["deadly"].rule == "batch.worker_died"
    assert all(states[f"p{i}"].state == "done" for i in range(12))
    notes = [pathlib.Path(states[f"p{i}"].output).read_text() for i in range(12)]
    assert {note.split()[0] for note in notes} == {"1"}
    assert str(os.getpid()) not in {note.split()[1] for note in notes}
