"""What a run would be: kinds, setups and costs, from a folder or from an archive."""

from __future__ import annotations

import time

import pytest

from tgo_spectra import archive
from tgo_spectra.archive import Remote
from tgo_spectra.batch import plan
from tgo_spectra.batch import products as batch
from tgo_spectra.batch.engines import Here
from tgo_spectra.cli import main
from tgo_spectra.retrieval.choice import load_setups


@pytest.fixture
def folder(tmp_path, small_product):
    """Three products of order 134, and one that is damaged."""
    name = "nmd_cal_sc_so_2018042{}t010203-2018042{}t011203-a-i-134"
    (tmp_path / "in").mkdir()
    for number in range(1, 5):
        text, data, stem = small_product(name.format(number, number))
        (tmp_path / "in" / f"{stem}.xml").write_bytes(text)
        (tmp_path / "in" / f"{stem}.tab").write_bytes(data[number == 4 :])
    return tmp_path / "in"


@pytest.fixture
def calls(monkeypatch):
    """Instead of a fit: a file of a thousand bytes after a moment."""
    made = []

    def process(path, out, setups, air):
        time.sleep(0.2)
        made.append(path)
        (out / "x.nc").write_bytes(bytes(1000))
        return {"state": "done", "output": str(out / "x.nc")}

    monkeypatch.setattr(plan, "process_product", process)
    return made


def test_plan__of_a_folder(folder, calls, tmp_path, capsys):
    found = archive.find(archive.index_archive(folder, tmp_path / "c.jsonl"))
    assert found.sizes["product"] == 3  # what is damaged is not found
    with Here() as engine:
        (row,) = plan.plan_catalogue(found, engine=engine, sample=2)
        about = (row.channel, row.order, row.products, row.setup)
        assert about == ("so", 134, 3, "so_134")
        assert (row.cost.n_products, row.cost.size) == (2, 1000.0)
        # waiting does not count
        assert row.cost.seconds < 0.15
        assert len(calls) == 3
        assert len({path.stem for path in calls}) == 2
        # what is known needs no sample
        known = {"so_134": plan.Cost(7200.0, 5e8, 9)}
        lines = list(plan.report(plan.plan_catalogue(found, (), known, engine=engine)))
        assert lines[-2:] == [
            "3 products, 3 with a setup, 0 without",
            "6 core hours, 1.5 GB of level 2",
        ]
        given = load_setups(["so_136"])
        (row,) = plan.plan_catalogue(found, given, engine=engine)
        assert (row.setup, row.cost) == (None, None)
        assert "none of the setups given ('so_136')" in row.reason
        assert len(calls) == 3
    out = tmp_path / "out"
    batch.run(folder, out, progress=False, process=lambda p, *_: made_by(p, out))
    assert plan.measured_in(out)["so_134"].size == 1000.0
    capsys.readouterr()
    assert main(["plan", str(folder), "--measured", str(out)]) == 0
    assert "1 damaged, left out" in capsys.readouterr().out


def made_by(path, out):
    file = out / f"{path.stem}.nc"
    file.write_bytes(bytes(1000))
    return {"state": "done", "setup": "so_134", "output": str(file)}


def test_plan__of_what_an_archive_offers(tmp_path, monkeypatch, capsys):
    names = [
        *(f"nmd_cal_sc_so_2018042{k}t010203-2018042{k}t011203-a-i-134" for k in "123"),
        "nmd_cal_sc_so_20180421t010203-20180421t011203-a-i-140",
        "nmd_cal_sc_lno_20180421t010203-20180421t011203-d-189",
        "nmd_cal_sc_uvis_20180421t010203-20180421t011203-i",
    ]
    offered = [Remote(name, "3.0", "") for name in names]
    rows = {(row.channel, row.order): row for row in plan.plan_remote(offered)}
    assert rows["so", 134].products == 3
    assert {key: row.setup for key, row in rows.items()} == {
        ("so", 134): "so_134", ("so", 140): None, ("lno", 189): "lno_189_190_co",
        ("uvis", None): "uvis_o3",
    }  # fmt: skip
    given = load_setups(["so_136", "so_134"])
    rows = {(row.channel, row.order): row for row in plan.plan_remote(offered, given)}
    assert {row.setup for row in rows.values()} == {"so_134", None}
    monkeypatch.setattr(archive, "search", lambda **_: offered)
    assert main(["plan", "--query"]) == 0
    out = capsys.readouterr().out
    assert "6 products, 5 with a setup, 1 without" in out
    assert "for 0 of them, others not measured" in out
    assert main(["plan"]) == 64
    assert main(["plan", "--query", str(tmp_path)]) == 64
    assert main(["plan", "--query", "--measured", str(tmp_path)]) == 1
