"""Runs: rows, resume, failures that stay with their product, workers."""

from __future__ import annotations

import json
import os
import pathlib

import damage
import numpy as np
import pytest
import xarray as xr

from tgo_spectra.atmosphere.climatology.choices import choose_climatology
from tgo_spectra.batch import products as batch
from tgo_spectra.batch import resume
from tgo_spectra.errors import (
    AtmosphereError,
    OutputError,
    ProductError,
    SetupError,
    TgoError,
)
from tgo_spectra.files.netcdf import open_verified

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
    assert names == [f"urn+esa+psa+b+c+lid_{n}.nc" for n in ("one", "three", "two")]
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


def test_run__every_damaged_output_is_made_again(tmp_path, calls):
    folder = make_products(tmp_path / "in", [f"p{i}" for i in range(20)])
    out = tmp_path / "out"
    first = batch.run(folder, out, progress=False)
    rng = np.random.default_rng(3)
    files = [pathlib.Path(row.output) for row in first]
    for place, file in enumerate(files):
        kind = damage.KINDS[place % len(damage.KINDS)]
        file.write_bytes(damage.damaged(file.read_bytes(), kind, rng))
    again = batch.run(folder, out, progress=False)
    assert [row.state for row in again] == ["done"] * len(files)
    hashes = [open_verified(file).attrs["content_sha256"] for file in files]
    assert hashes == [row.content_sha256 for row in first]
    assert {row.state for row in batch.run(folder, out, progress=False)} == {"skipped"}


def test_resume_key__depends_on_all_inputs(tmp_path):
    from tgo_spectra.retrieval.setups import load_setup

    path = make_products(tmp_path / "in") / "one.xml"
    atmosphere = xr.Dataset({"pressure": ("altitude", [600.0, 300.0])})
    setups = [None, load_setup("so_134"), load_setup("so_136")]
    keys = {
        resume.resume_key(path, setup, air)
        for setup in setups
        for air in (None, atmosphere, atmosphere * 2)
    }
    assert len(keys) == 9
    assert resume.resume_key(path, None, None) in keys
    (tmp_path / "in" / "one.tab").write_text("changed")
    assert resume.resume_key(path, None, None) not in keys


def test_resume_key__holds_the_data_and_not_a_picture(tmp_path, small_product):
    label, data, stem = small_product()
    path, table = tmp_path / f"{stem}.xml", tmp_path / f"{stem}.tab"
    path.write_bytes(label)
    table.write_bytes(data)
    key = resume.resume_key(path, None, None)
    for name in (f"{stem}.png", f"{stem}.txt", f"{stem}.tab.bak", "other.tab"):
        (tmp_path / name).write_text("something that is looked at")
    assert resume.resume_key(path, None, None) == key
    # the whole label and every file that it names, whatever that is called
    table.write_bytes(data[:-1] + b" ")
    changed = resume.resume_key(path, None, None)
    named = label.replace(f">{stem}.tab<".encode(), b">data.tab<")
    assert named != label
    path.write_bytes(named)
    (tmp_path / "data.tab").write_bytes(data)
    other = resume.resume_key(path, None, None)
    (tmp_path / "data.tab").write_bytes(data[::-1])
    keys = {key, changed, other, resume.resume_key(path, None, None)}
    assert len(keys) == 4
    # a name that leads elsewhere is not followed
    path.write_bytes(label.replace(f">{stem}.tab<".encode(), b">../../x.tab<"))
    assert resume.resume_key(path, None, None) not in keys


def test_resume_key__depends_on_the_table(tmp_path):
    from tgo_spectra.retrieval.setups import load_setup

    path = make_products(tmp_path / "in") / "one.xml"
    table = tmp_path / "mine.nc"
    setup = load_setup("so_134").replace(table=str(table))
    keys = [resume.resume_key(path, setup, None)]
    for content in (b"a table", b"another table"):
        table.write_bytes(content)
        os.utime(table, ns=(len(content), len(content)))
        keys.append(resume.resume_key(path, setup, None))
    assert len(set(keys)) == 3
    assert resume.resume_key(path, setup, None) == keys[-1]


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


# several setups


@pytest.fixture
def mixed(monkeypatch):
    """Products whose names say channel and order; note which setup each takes."""
    import tgo_spectra.readers as readers
    import tgo_spectra.retrieval as retrieval

    taken = {}

    def open_product(path):
        channel, *orders = pathlib.Path(path).stem.split("_")
        nadir = channel == "lno"
        data = {"x" if nadir else "transmittance": ("spectrum", [1.0, 2.0])}
        if len(orders) > 1:
            data["order"] = ("spectrum", [int(o) for o in orders])
        elif orders:
            data["order"] = int(orders[0])
        attrs = {"channel": channel.upper(), "source_file": str(path)}
        return xr.Dataset(data, attrs=attrs)

    def retrieve(level1, setup=None, atmosphere=None):
        name = pathlib.Path(level1.attrs["source_file"]).stem
        taken[name] = None if setup is None else setup.name
        return fake_level2(xr.Dataset(attrs={"value": 1.0})).assign_attrs(
            setup=getattr(setup, "name", "shipped")
        )

    monkeypatch.setattr(readers, "open_product", open_product, raising=False)
    monkeypatch.setattr(retrieval, "retrieve", retrieve, raising=False)
    return taken


def test_run__each_product_takes_its_setup(tmp_path, mixed, caplog):
    names = ("so_134", "so_190", "uvis", "lno_190")
    folder, out = make_products(tmp_path / "in", names), tmp_path / "out"
    mine = tmp_path / "mine.toml"
    mine.write_text('kind = "ozone"\nname = "mine"\n')
    given = ["so_134", "so_189", mine]
    rows = batch.run(folder, out, given, progress=False)
    assert mixed == {"so_134": "so_134", "uvis": "mine"}
    by = {pathlib.Path(row.product).stem: row for row in rows}
    assert by["uvis"].setup == "mine"
    # never fitted with a setup that was not asked for
    for name, rule, product, fitting in (
        ("so_190", "order", "'so' occultation of order 190", "so_190"),
        ("lno_190", "channel", "'lno' nadir of order 190", "lno_189_190_co"),
    ):
        assert (by[name].state, by[name].rule) == ("failed", f"setup.wrong_{rule}")
        assert "given ('so_134', 'so_189', 'mine') is for this" in by[name].message
        assert product in by[name].message
        assert f"the shipped setup '{fitting}' would fit" in by[name].message
    quarantine = (out / "quarantine.jsonl").read_text().splitlines()
    assert len(quarantine) == 2
    assert "no product was fitted with the setup so_189" in caplog.text
    record = json.loads((out / "run.json").read_text())
    assert [text.split()[0] for text in record["setups"]] == ["profile"] * 2 + ["ozone"]
    mixed.clear()
    rows = batch.run(folder, out, given, progress=False)
    assert [row.state for row in rows if row.rule is None] == ["skipped"] * 2
    assert {row.setup for row in rows} == {"so_134", "mine", None}
    # a change of one setup concerns its products only
    mine.write_text('kind = "ozone"\nname = "mine"\nmax_iterations = 30\n')
    batch.run(folder, out, given, progress=False)
    assert mixed == {"uvis": "mine"}


def test_run__two_setups_for_one_product(tmp_path, mixed):
    folder, out = make_products(tmp_path / "in", ("so_134",)), tmp_path / "out"
    for given in (["so_134", "so_134_hydrocarbons"], ["uvis_o3", "so_190", "uvis_o3"]):
        with pytest.raises(SetupError, match="are both for") as caught:
            batch.run(folder, out, given, progress=False)
        assert caught.value.rule == "setup.overlap"
        assert not out.exists()
    with pytest.raises(SetupError) as caught:
        batch.run(folder, out, ["so_134", 3], progress=False)
    assert (caught.value.rule, caught.value.value) == ("setup.type", 3)
    with pytest.raises(SetupError) as caught:
        batch.run(folder, out, 3, progress=False)
    assert caught.value.rule == "setup.type"
    # rows of two orders, one setup for each: not known before it is opened
    folder = make_products(tmp_path / "more", ("so_134_190", "so_190"))
    rows = batch.run(folder, out, ["so_134", "so_190"], progress=False)
    assert [row.rule for row in rows] == ["setup.overlap", None]
    assert "so_134, so_190" in rows[0].message


# climatologies


def climatology_file(path, low=-45.0, high=45.0):
    lines = ["# altitude_reference = areoid"]
    lines += ["lat[deg],altitude[km],pressure[Pa],temperature[K]"]
    for lat in np.arange(low, high + 1.0, 15.0):
        lines += [f"{lat},0,600,{200 + lat}", f"{lat},100,0.01,{150 + lat}"]
    path.write_text("\n".join(lines))
    return path


def tangent_points(latitude):
    names = ("solar_longitude", "longitude", "local_true_solar_time")
    data = {name: ("spectrum", [10.0, 10.0]) for name in names}
    return xr.Dataset(data | {"latitude": ("spectrum", [latitude, latitude])})


@pytest.fixture
def airs(monkeypatch):
    """Products whose names are latitudes; note the atmosphere each is given."""
    import tgo_spectra.readers as readers
    import tgo_spectra.retrieval as retrieval

    given = {}

    def open_product(path):
        ds = tangent_points(float(pathlib.Path(path).stem.lstrip("lat")))
        return ds.assign_attrs(value=1.0, source_file=str(path))

    def retrieve(level1, setup=None, atmosphere=None):
        given[float(level1.latitude[0])] = atmosphere
        return fake_level2(level1)

    monkeypatch.setattr(readers, "open_product", open_product, raising=False)
    monkeypatch.setattr(retrieval, "retrieve", retrieve, raising=False)
    return given


def test_run__profile_of_each_product_from_a_climatology(tmp_path, airs):
    folder = make_products(tmp_path / "in", ("lat-20", "lat30", "lat60"))
    out, file = tmp_path / "out", climatology_file(tmp_path / "air.csv")

    def run(**choices):
        airs.clear()
        return batch.run(
            folder, out, progress=False, climatology=file, climatology_choices=choices
        )

    rows = run(form="table")
    assert [row.state for row in rows] == ["done", "done", "failed"]
    assert rows[2].rule == "climatology.outside"
    assert "outside the latitude of the climatology, -45..45" in rows[2].message
    assert "value 60.0" in rows[2].message
    for latitude, air in airs.items():
        assert float(air.temperature[0]) == pytest.approx(200.0 + latitude)
        assert air.attrs["climatology_choices"] == (
            '{"form": "table", "method": "linear"}'
        )
    record = json.loads((out / "run.json").read_text())
    assert record["climatology"] == [str(file)]
    assert record["climatology_choices"] == '{"form": "table", "method": "linear"}'
    assert [row.state for row in run(form="table")] == ["skipped"] * 2 + ["failed"]
    # another choice, and another content of the file
    again = run(form="table", method="nearest")
    assert [row.state for row in again] == ["done", "done", "failed"]
    assert float(airs[-20.0].temperature[0]) == 185.0
    climatology_file(file, high=60.0)
    os.utime(file, ns=(1, 1))
    assert {row.state for row in run(form="table", method="nearest")} == {"done"}


def test_run__climatology_is_opened_once(tmp_path, airs, monkeypatch):
    from tgo_spectra.atmosphere.climatology import opening

    calls = []
    original = opening.open_climatology

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(opening, "open_climatology", counted)
    folder = make_products(tmp_path / "in", ("lat-20", "lat20", "lat30"))
    file = climatology_file(tmp_path / "air.csv", low=-60.0)
    rows = batch.run(folder, tmp_path / "out", progress=False, climatology=[file])
    assert {row.state for row in rows} == {"done"}
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("choices", "rule", "words"),
    [
        ({"foo": 1}, "climatology.choice", ["foo", "altitude_reference"]),
        ({"method": "cubic"}, "climatology.choice", ["cubic", "method"]),
        ({"anchor": [1.0]}, "climatology.choice", ["anchor"]),
        ({"altitude_km": "0:100:30"}, "climatology.choice", ["0:100:30"]),
        ({"form": "nope"}, "climatology.form", ["nope"]),
    ],
)
def test_run__wrong_choices_stop_before_anything_runs(tmp_path, choices, rule, words):
    folder, out = make_products(tmp_path / "in"), tmp_path / "out"
    file = climatology_file(tmp_path / "air.csv")
    with pytest.raises(AtmosphereError) as caught:
        batch.run(
            folder, out, progress=False, climatology=file, climatology_choices=choices
        )
    assert caught.value.rule == rule
    for word in words:
        assert word in str(caught.value)
    assert not out.exists()


def test_run__unknown_altitudes_stop_before_anything_runs(tmp_path):
    folder, out = make_products(tmp_path / "in"), tmp_path / "out"
    file = climatology_file(tmp_path / "air.csv")
    file.write_text(file.read_text().partition("\n")[2])
    with pytest.raises(AtmosphereError, match="give altitude_reference") as caught:
        batch.run(folder, out, progress=False, climatology=file)
    assert caught.value.rule == "climatology.altitude_reference"
    assert not out.exists()


def test_run__one_source_of_air(tmp_path):
    folder, out = make_products(tmp_path / "in"), tmp_path / "out"
    file = climatology_file(tmp_path / "air.csv")
    for given, rule in (
        ({"climatology": file, "atmosphere": xr.Dataset()}, "batch.two_airs"),
        ({"climatology": tmp_path / "no.nc"}, "climatology.no_file"),
        ({"climatology": []}, "climatology.no_file"),
        ({"climatology_choices": {"form": "mcd"}}, "climatology.no_file"),
        ({"atmosphere": folder / "one.xml"}, "atmosphere.csv_empty"),
    ):
        with pytest.raises(AtmosphereError) as caught:
            batch.run(folder, out, progress=False, **given)
        assert caught.value.rule == rule
        assert not out.exists()


def profile_process(path, out, setups, atmosphere):
    air = atmosphere.profile_for(tangent_points(float(path.stem.lstrip("lat"))))
    value = float(air.temperature[0])
    return {"state": "done", "spectra": round(value), "output": str(os.getpid())}


def test_run__workers_read_netcdf_climatologies_by_themselves(tmp_path):
    season = np.arange(0.0, 360.0, 30.0)
    temperature = np.full((season.size, 3), 200.0) + season[:, None]
    ds = xr.Dataset(
        {
            "temperature": (("solar_longitude", "altitude"), temperature),
            "pressure": ("altitude", [600.0, 3.0, 0.01], {"units": "Pa"}),
        },
        {
            "solar_longitude": ("solar_longitude", season, {"units": "degree"}),
            "altitude": ("altitude", [0.0, 50.0, 100.0], {"units": "km"}),
        },
    )
    ds.temperature.attrs["units"] = "K"
    file = tmp_path / "air.nc"
    ds.to_netcdf(file, engine="netcdf4")
    folder = make_products(tmp_path / "in", [f"lat{i}" for i in range(6)])
    rows = batch.run(
        folder, tmp_path / "out", workers=2, progress=False, process=profile_process,
        climatology=file, climatology_choices={"altitude_reference": "areoid"},
    )  # fmt: skip
    assert [(row.state, row.spectra) for row in rows] == [("done", 210)] * 6
    assert str(os.getpid()) not in {row.output for row in rows}


def test_choices__levels_and_types(tmp_path):
    file = climatology_file(tmp_path / "air.csv")
    found = choose_climatology(
        [file],
        {"altitude_km": "-10:120:65", "anchor": [0, 610], "units": {"CO": "ppm"}},
    )
    assert found.altitude_km == (-10.0, 55.0, 120.0)
    assert found.anchor == (0.0, 610.0)
    assert found == choose_climatology(
        file, {"altitude_km": np.array([-10.0, 55.0, 120.0]), "anchor": (0.0, 610.0),
               "units": {"CO": "ppm"}},
    )  # fmt: skip
