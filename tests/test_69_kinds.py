"""One way in for all kinds of retrieval: setups, dispatch, names, batch, maps."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.archive import verify
from tgo_spectra.batch import products as batch
from tgo_spectra.batch import resume
from tgo_spectra.batch.engines import Here
from tgo_spectra.batch.maps import map_files
from tgo_spectra.cli import main
from tgo_spectra.errors import RetrievalError, SetupError, TgoError
from tgo_spectra.files.netcdf import open_verified, write_level2, write_map
from tgo_spectra.retrieval import default_setup, list_setups, registry, setups
from tgo_spectra.retrieval.models.lno import retrieve_nadir
from tgo_spectra.retrieval.models.lno.setup import NadirSetup
from tgo_spectra.retrieval.models.uvis.scene import REFERENCE_NM
from tgo_spectra.retrieval.models.uvis.setup import UvisSetup
from tgo_spectra.retrieval.setup import RetrievalSetup
from tgo_spectra.retrieval.setups import changes_of, read_setup_file
from tgo_spectra.simulate.nadir import simulate_nadir_product
from tgo_spectra.simulate.uvis import (
    simulate_uvis_product,
    synthetic_ozone_cross_section,
)
from tgo_spectra.variables import lookup, validate

SHIPPED = [
    ("so_133_135", 135),
    ("so_134_hydrocarbons", 134),
    ("so_167_168", 168),
    ("so_169", 169),
    ("so_186_191", 187),
]

STRUCTS = {"profile": RetrievalSetup, "ozone": UvisSetup, "nadir": NadirSetup}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One LNO nadir product, one UVIS occultation, cross sections and a setup."""
    place = tmp_path_factory.mktemp("kinds")
    data = synthetic_ozone_cross_section()
    table = data.cross_section.to_pandas()
    table.columns = [f"sigma_{kelvin:.0f}K" for kelvin in table.columns]
    table.to_csv(place / "ozone.csv")
    (place / "mine.toml").write_text(
        'kind = "ozone"\nname = "mine"\ncross_section = "ozone.csv"\n'
        'medium = "vacuum"\n[grid]\nstep_km = 3.0\n'
    )
    products = place / "products"
    simulate_nadir_product(products, n_spectra=4, seed=1)
    simulate_uvis_product(products, data, ozone=2e-7, pixels=128, row_step_km=3.0)
    return place


@pytest.fixture(scope="module")
def products(folder):
    found = sorted((folder / "products").glob("*.xml"))
    return {tgo.open_product(p).attrs["channel"].lower(): p for p in found}


@pytest.fixture(scope="module")
def level2(folder, products):
    setups = {"lno": None, "uvis": folder / "mine.toml"}
    return {
        channel: tgo.retrieve(tgo.open_product(products[channel]), setup)
        for channel, setup in setups.items()
    }


# setups


def test_shipped_files__all_state_a_kind_and_carry_their_name():
    for name in list_setups():
        raw, _ = read_setup_file(name)
        assert registry.named(raw["kind"])
        assert raw["name"] == name
        assert tgo.load_setup(name).name == name
    listed = [setup.name for _, setup in setups.shipped()]
    assert sorted(listed) == list_setups()


@pytest.mark.parametrize("row", registry.KINDS, ids=lambda row: row.name)
def test_rows__name_what_exists(row):
    struct = row.setup()
    assert struct.kind == row.name
    mine = [setup for kind, setup in setups.shipped() if kind is row]
    assert mine
    for setup in mine:
        assert isinstance(setup, struct)
        assert setup.channel == row.channel
        assert registry.kind_of_setup(setup) is row
        assert setup.gases
        assert setup.replace(name="other").hash() != setup.hash()
        for key in row.files:
            assert hasattr(setup, key)
    for method in row.methods:
        assert mine[0].replace(method=method).method == method


def test_load_setup__type_follows_kind(tmp_path):
    for name, struct in (
        ("so_134", RetrievalSetup),
        ("uvis_o3", UvisSetup),
        ("lno_189_190_co", NadirSetup),
    ):
        assert isinstance(tgo.load_setup(name), struct)
    path = tmp_path / "mine.toml"
    path.write_text('kind = "ozone"\ncross_section = "x.csv"\nmedium = "air"\n')
    assert tgo.load_setup(path).cross_section == str(tmp_path / "x.csv")


def test_load_setup__without_kind_is_a_profile(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nchannel = "so"\norders = [190]\ntable = "so_186_191"\n'
        'gases = ["co"]\ninterferents_absent = ["co2", "h2o", "hdo"]\n'
    )
    assert isinstance(tgo.load_setup(path), RetrievalSetup)
    path.write_text("[window]\nlow_nm = 230.0\n")
    with pytest.raises(SetupError, match="states no kind: read as 'profile'"):
        tgo.load_setup(path)


@pytest.mark.parametrize(
    ("text", "rule", "field", "words"),
    [
        ('kind = "profiles"', "setup.kind", "$.kind", ["profiles", "ozone, nadir"]),
        ("kind = 3", "setup.kind", "$.kind", ["3"]),
        ('kind = "ozone"\nfoo = 1', "setup.invalid", "$", ["foo"]),
        ('kind = "nadir"\nname = "x"', "setup.invalid", "$", ["orders"]),
        ('kind = "ozone"\n[window]\nlow_nm = 330.0', "setup.inconsistent",
         "$.window.high_nm", ["40 nm"]),
    ],
)  # fmt: skip
def test_load_setup__errors_carry_file_field_and_value(
    tmp_path, text, rule, field, words
):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SetupError) as caught:
        tgo.load_setup(path)
    assert caught.value.rule == rule
    assert caught.value.field == field
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_load_setup__names_a_forgotten_interferent_already(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'kind = "profile"\nname = "mine"\nchannel = "so"\norders = [190]\n'
        'table = "so_186_191"\ngases = ["co"]\ninterferents_absent = ["co2"]\n'
    )
    with pytest.raises(SetupError, match="'h2o' absorbs in the co window") as caught:
        tgo.load_setup(path)
    assert caught.value.rule == "setup.interferent"
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (("so", 134, "occultation"), "so_134"),
        (("so", 134), "so_134"),
        (("lno", 168, "nadir"), "lno_167_169_h2o"),
        (("lno", 190), "lno_189_190_co"),
        (("uvis", None, "occultation"), "uvis_o3"),
        (("uvis",), "uvis_o3"),
    ],
)
def test_default_setup__by_channel_order_and_observation(asked, name):
    assert default_setup(*asked).name == name


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (("lno", 190, "occultation"), "order"),
        (("so", 99), "order"),
        (("uvis", None, "nadir"), "channel"),
        (("nir", 40), "order"),
    ],
)
def test_default_setup__none_lists_those_there_are(asked, field):
    with pytest.raises(SetupError, match="lno nadir") as caught:
        default_setup(*asked)
    assert caught.value.rule == "setup.none_for_order"
    assert caught.value.field == field
    assert str(asked[0]) in str(caught.value)


def test_setups__load_without_the_numerical_libraries():
    code = (
        "import sys, tgo_spectra as tgo; "
        "from tgo_spectra.retrieval import default_setup, list_setups; "
        "[tgo.load_setup(name) for name in list_setups()]; default_setup('lno', 190); "
        "heavy = {'numpy', 'xarray', 'scipy', 'numba', 'dask', 'netCDF4'}; "
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_changes__nested_and_with_or_without_quotation_marks():
    found = changes_of(["window.top_km=90.0", 'medium="air"', "window.bottom_km = 5.0",
                        "cross_section=a/b.csv"])  # fmt: skip
    assert found == {
        "window": {"top_km": 90.0, "bottom_km": 5.0},
        "medium": "air",
        "cross_section": "a/b.csv",
    }
    new = setups.changed(tgo.load_setup("so_134"), {"window": found["window"]})
    assert (new.window.top_km, new.window.bottom_km) == (90.0, 5.0)
    assert new.window.noise_ratio == 2.5
    assert new.prior["ch4"].sigma == 5e-9
    for bad in ("top_km", "=3", "a b=3"):
        with pytest.raises(SetupError) as caught:
            changes_of([bad])
        assert caught.value.value == bad


# dispatch


def test_retrieve__gives_what_the_functions_of_the_kinds_give(folder, products, level2):
    from tgo_spectra.retrieval.models.uvis import retrieve_uvis

    lno, uvis = (tgo.open_product(products[c]) for c in ("lno", "uvis"))
    direct = {
        "lno": retrieve_nadir(lno, tgo.load_setup("lno_189_190_co")),
        "uvis": retrieve_uvis(uvis, setup=tgo.load_setup(folder / "mine.toml")),
    }
    for channel, kind in (("lno", "nadir"), ("uvis", "ozone")):
        assert level2[channel].attrs["retrieval_kind"] == kind
        # they say more than the function of the kind
        of_product = ("quality_flag", "unusable_pixels")
        front, back = (
            ds.drop_vars(of_product, errors="ignore")
            for ds in (level2[channel], direct[channel])
        )
        xr.testing.assert_equal(front, back)


def test_retrieve__method_of_the_kind(folder, products, level2):
    uvis = tgo.open_product(products["uvis"])
    slant = tgo.retrieve(uvis, folder / "mine.toml", method="slant")
    assert "o3_vmr" not in slant
    assert slant.attrs["setup_hash"] != level2["uvis"].attrs["setup_hash"]
    with pytest.raises(SetupError, match="'ozone' have oe, slant") as caught:
        tgo.retrieve(uvis, folder / "mine.toml", method="onion")
    assert caught.value.value == "onion"
    with pytest.raises(SetupError, match="none to choose from"):
        tgo.retrieve(tgo.open_product(products["lno"]), method="oe")


@pytest.mark.parametrize(
    ("channel", "setup", "rule", "value"),
    [
        ("uvis", "so_134", "setup.wrong_channel", "uvis"),
        ("uvis", "lno_189_190_co", "setup.wrong_channel", "uvis"),
        ("lno", "uvis_o3", "setup.wrong_channel", "lno"),
        ("lno", "so_190", "setup.wrong_channel", "lno"),
        ("lno", "lno_167_169_h2o", "setup.wrong_order", 190),
        ("uvis", "uvis_o3", "setup.no_cross_section", None),
        ("uvis", 134, "setup.type", 134),
    ],
)
def test_retrieve__setup_that_does_not_fit_is_refused(
    products, channel, setup, rule, value
):
    with pytest.raises(SetupError) as caught:
        tgo.retrieve(tgo.open_product(products[channel]), setup)
    assert caught.value.rule == rule
    assert caught.value.value == value
    if value is not None:
        assert repr(value) in str(caught.value)


def test_retrieve__observation_that_does_not_fit_is_refused(products):
    lno = tgo.open_product(products["lno"])
    occultation = lno.rename(reflectance_factor="transmittance")
    with pytest.raises(SetupError, match="products of kind nadir") as caught:
        tgo.retrieve(occultation, "lno_189_190_co")
    assert caught.value.rule == "setup.wrong_observation"
    with pytest.raises(SetupError, match="no shipped setup"):
        tgo.retrieve(occultation)
    several = lno.assign(order=("spectrum", np.arange(189, 193)))
    with pytest.raises(RetrievalError, match="rows differ in order"):
        tgo.retrieve(several)


def test_retrieve__says_where_the_given_air_ended(folder, products, level2):
    low = tgo.reference_atmosphere(np.arange(2.0, 61.0))
    setups = {"lno": None, "uvis": folder / "mine.toml"}
    for channel, setup in setups.items():
        found = tgo.retrieve(tgo.open_product(products[channel]), setup, low)
        assert found.attrs["extended_above_km"] == 60.0
        whole = level2[channel].attrs
        assert whole.get("extended_above_km", 200.0) > 100.0
    # below as well, for surfaces that lie lower
    nadir = tgo.retrieve(tgo.open_product(products["lno"]), None, low)
    assert nadir.attrs["extended_below_km"] == 2.0


# names


@pytest.mark.parametrize("channel", ["lno", "uvis"])
def test_catalogue__knows_every_variable_of_the_outputs(level2, channel):
    ds = level2[channel]
    validate(ds, 2)
    for name, variable in ds.variables.items():
        known = lookup(str(name))
        assert known is not None, name
        assert variable.dims in known.forms[2], name
        if variable.dtype.kind != "M":
            assert variable.attrs["units"] == known.units, name
    wrong = "co_column_normalised" if channel == "lno" else "o3_number_density"
    other = ds.assign({wrong: ds[wrong].assign_attrs(units="m-2")})
    with pytest.raises(TgoError, match=wrong) as caught:
        validate(other, 2)
    assert caught.value.rule == "variables.units"


def test_level2__names_the_reference_of_the_aerosol(level2):
    for name in ("aerosol_extinction", "aerosol_extinction_error"):
        assert level2["uvis"][name].attrs["reference_wavelength_nm"] == REFERENCE_NM


@pytest.mark.parametrize("channel", ["lno", "uvis"])
def test_files__round_trip_verify_and_bits(level2, channel, tmp_path, capsys):
    ds = level2[channel]
    path = write_level2(ds, tmp_path / "a.nc")
    back = open_verified(path)
    for name, variable in ds.variables.items():
        np.testing.assert_array_equal(back[name].values, variable.values, str(name))
    assert back.attrs["retrieval_kind"] == ds.attrs["retrieval_kind"]
    assert ("nadir" in back.attrs["source"]) == (channel == "lno")
    assert [row.rule for row in verify([path])] == [""]
    assert main(["verify", str(path)]) == 0
    assert "1 intact" in capsys.readouterr().out
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert main(["verify", str(path)]) == 2


# batch and command line


def test_batch__default_setups_and_quarantine(folder, products, tmp_path):
    rows = batch.run(folder / "products", tmp_path, progress=False)
    found = {row.product: row for row in rows}
    lno, uvis = (found[str(products[c])] for c in ("lno", "uvis"))
    assert lno.state == "done"
    assert lno.spectra == 4
    assert open_verified(lno.output).attrs["setup"] == "lno_189_190_co"
    assert (uvis.state, uvis.rule) == ("failed", "setup.no_cross_section")
    quarantine = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert len(quarantine) == 1
    assert "cross_section" in quarantine[0]
    again = batch.run(
        folder / "products", tmp_path, folder / "mine.toml", progress=False
    )
    states = {row.product: (row.state, row.rule) for row in again}
    assert states[str(products["uvis"])] == ("done", None)
    # a setup was given, and it is not for this product
    assert states[str(products["lno"])] == ("failed", "setup.wrong_channel")
    third = batch.run(products["uvis"], tmp_path, folder / "mine.toml", progress=False)
    assert [row.state for row in third] == ["skipped"]


def test_resume_key__depends_on_kind_files_and_instrument(
    folder, products, tmp_path, monkeypatch
):
    setup = tgo.load_setup(folder / "mine.toml")
    copy = tmp_path / "ozone.csv"
    copy.write_bytes((folder / "ozone.csv").read_bytes())
    mine = setup.replace(cross_section=str(copy))

    def key(setup):
        return resume.resume_key(products["uvis"], setup, None)

    before = key(mine)
    assert key(mine) == before
    copy.write_bytes(copy.read_bytes() + b"\n")
    assert key(mine) != before
    # another number in the instrument's table
    keys = [key(mine), key(tgo.load_setup("so_134"))]
    rows = dict(resume.instruments.parameters("uvis"))
    name, row = next(iter(rows.items()))
    changed = {
        field: getattr(row, field) for field in ("name", "value", "unit", "index")
    }
    rows[name] = SimpleNamespace(**changed | {"value": 1.0})
    given = resume.instruments.parameters
    monkeypatch.setattr(
        resume.instruments,
        "parameters",
        lambda channel: rows if channel == "uvis" else given(channel),
    )
    resume.instrument_hash.cache_clear()
    assert key(mine) != keys[0]
    assert key(tgo.load_setup("so_134")) == keys[1]
    monkeypatch.undo()
    resume.instrument_hash.cache_clear()
    assert key(mine) == keys[0]


def test_cli__setups_lists_all_kinds(capsys):
    assert main(["setups"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = ["name", "kind", "channel", "observation", "orders", "gases", "table"]
    assert lines[0].split() == head
    cells = {line.split()[0]: re.split(r"\s{2,}", line) for line in lines[1:]}
    assert sorted(cells) == list_setups()
    assert cells["lno_189_190_co"][1:] == [
        *("nadir", "lno", "nadir", "189 190", "co co2 h2o hdo", "in the package"),
    ]
    assert cells["uvis_o3"][1:] == ["ozone", "uvis", "occultation", "-", "o3", "-"]


def test_cli__retrieve_with_a_changed_setup(folder, products, tmp_path, capsys):
    given = ["retrieve", str(products["uvis"]), "--out", str(tmp_path)]
    given += ["--workers", "0"]
    change = ["--setup", "uvis_o3", "--set", f"cross_section={folder / 'ozone.csv'}",
              "--set", "medium=vacuum", "--set", "method=slant"]  # fmt: skip
    assert main([*given, *change]) == 0
    assert "1 done" in capsys.readouterr().out
    (file,) = (tmp_path / "l2").glob("*.nc")
    assert "o3_slant_column" in open_verified(file)
    assert main([*given, "--setup", "uvis_o3"]) == 2
    assert "none are shipped" in capsys.readouterr().err
    # the change is of the setup that the product has by default, which lacks the same
    assert main([*given, "--set", "medium=air"]) == 2
    assert "none are shipped" in capsys.readouterr().err
    assert main([*given, "--setup", "uvis_o3", "--set", "medium=water"]) == 1
    assert "'water'" in capsys.readouterr().err


# maps


def nadir(column, error, latitude, *, ls=10.0, status=0, freedom=1.0, normalised=2.0):
    """Level 2 of a nadir product, by hand."""
    n = len(column)

    def along(value):
        return ("spectrum", np.broadcast_to(np.asarray(value, float), (n,)).copy())

    names = {
        "co_column": column,
        "co_column_error": error,
        "co_column_noise_error": 0.5 * np.asarray(error),
        "co_column_normalised": normalised * np.asarray(column),
        "co_column_normalised_error": normalised * np.asarray(error),
        "co_column_detected": np.asarray(column) > 0.0,
        "co_degrees_of_freedom_of_spectrum": freedom,
        "status": status,
        "latitude": latitude,
        "longitude": 0.0,
        "solar_longitude": ls,
        "local_true_solar_time": 12.0 + np.arange(n),
        "mars_year": 35,
    }
    return xr.Dataset({name: along(value) for name, value in names.items()})


COLUMNS = np.array([3.0, 5.0, -1.0, 8.0]) * 1e17
ERRORS = np.array([1.0, 2.0, 1.0, 4.0]) * 1e17
LATITUDES = [-10.0, 10.0, 20.0, 30.0]
GRID = tgo.Grid(latitude=[-90, 0, 90], mars_year=[35, 36])


def test_map__columns_are_samples_at_their_own_places():
    choice = {"weights": "inverse_variance"}
    level3 = tgo.grid_level2(
        nadir(COLUMNS, ERRORS, LATITUDES), GRID, **choice
    ).squeeze()
    validate(level3, 3)
    w = ERRORS[1:] ** -2.0
    for field, factor in (("co_column", 1.0), ("co_column_normalised", 2.0)):
        assert level3[f"{field}_count"].values.tolist() == [1, 3]
        mean = (w * COLUMNS[1:]).sum() / w.sum()
        np.testing.assert_allclose(
            level3[f"{field}_mean"], [factor * 3e17, factor * mean], rtol=1e-12
        )
        np.testing.assert_allclose(
            level3[f"{field}_standard_error_formal"],
            # noise is half of the error
            [factor * 0.5e17, factor * 0.5 * w.sum() ** -0.5],
            rtol=1e-12,
        )
        best = np.array([5e17, 2e17])
        np.testing.assert_allclose(level3[f"{field}_best_upper_limit"], factor * best)
        systematic = level3[f"{field}_systematic_error"].values
        assert systematic[0] == pytest.approx(factor * 0.75**0.5 * 1e17)
        assert level3[f"{field}_detected_count"].values.tolist() == [1, 2]
        assert level3[f"{field}_mean"].attrs["units"] == "cm-2"
        assert level3[f"{field}_sum_wx2"].attrs["units"] == "cm-4"
    assert level3["co_column_local_time_max"].values.tolist() == [12.0, 15.0]
    assert level3.attrs["n_spectra"] == 4
    assert "co_count" not in level3


def test_map__columns_left_out_and_choices():
    ds = nadir(COLUMNS, ERRORS, LATITUDES, status=[0, 7, 0, 0], freedom=[1, 1, 0.05, 1])
    ds["co_column"][3] = np.nan
    count = tgo.grid_level2(ds, GRID)["co_column_count"].values.sum()
    assert count == 1
    loose = tgo.grid_level2(ds, GRID, quality="all", minimum_response=0.0)
    assert loose["co_column_count"].values.sum() == 2  # the third is known by nothing
    ds["co_column_apriori"] = ("spectrum", np.zeros(4))
    loose = tgo.grid_level2(ds, GRID, quality="all", minimum_response=0.0)
    assert loose["co_column_count"].values.sum() == 3


def test_map__merges_to_the_whole_and_writes(tmp_path):
    parts = [nadir(COLUMNS, ERRORS, LATITUDES), nadir(2 * COLUMNS, ERRORS, LATITUDES)]
    whole = tgo.grid_level2(parts, GRID)
    merged = tgo.merge_maps([tgo.grid_level2(part, GRID) for part in parts])
    assert merged.attrs["n_spectra"] == 8
    for name in whole.variables:
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-12)
    back = open_verified(write_map(whole, tmp_path / "map.nc"))
    np.testing.assert_array_equal(back["co_column_mean"], whole["co_column_mean"])


def test_map__spectra_that_are_no_fit_do_not_count():
    bad = nadir(COLUMNS, ERRORS, LATITUDES)
    ratios = np.ones(COLUMNS.size)
    ratios[1] = 500.0
    bad["spectrum_reduced_chi_square"] = ("spectrum", ratios)
    there = int(np.isfinite(COLUMNS).sum())
    level3 = tgo.grid_level2(bad, GRID)
    assert level3.attrs["n_spectra"] == there - 1
    assert level3.attrs["n_spectra_left_out"] == 1
    assert level3.attrs["n_left_out_chi_square"] == 1
    for choice in ({"maximum_chi_square": None}, {"quality": "all"}):
        level3 = tgo.grid_level2(bad, GRID, **choice)
        assert level3.attrs["n_spectra"] == there


def test_map__columns_have_no_altitude(level2, tmp_path):
    high = tgo.Grid(latitude=[-90, 90], altitude=[0, 50, 100])
    with pytest.raises(TgoError, match="leave the vertical axis out") as caught:
        tgo.grid_level2(nadir(COLUMNS, ERRORS, LATITUDES), high)
    assert caught.value.rule == "map.columns"
    # and so where the files are mapped in parts
    write_level2(level2["lno"], tmp_path / "lno.nc")
    with pytest.raises(TgoError, match="leave the vertical axis out") as caught:
        map_files(tmp_path, high, Here(), {})
    assert caught.value.rule == "map.columns"
    both = tgo.grid_level2(list(level2.values()), high)
    assert "co_column_count" not in both
    assert both["o3_count"].values.tolist() == [[1], [1]]


def test_map__of_real_outputs(level2):
    lat = level2["lno"].latitude.values
    edges = [-90.0, float(np.median(lat)), 90.0]
    level3 = tgo.grid_level2(
        list(level2.values()), tgo.Grid(latitude=edges), weights="inverse_variance"
    )
    for name in ("co_column_count", "co_column_normalised_count"):
        assert level3[name].values.tolist() == [2, 2]
    column = level2["lno"].co_column_normalised
    low = column[lat < edges[1]]
    noise = level2["lno"].co_column_noise_error / level2["lno"].co_column_error
    freedom = level2["lno"].co_degrees_of_freedom_of_spectrum
    noise = noise * level2["lno"].co_column_normalised_error / np.minimum(freedom, 1.0)
    w = noise[lat < edges[1]] ** -2.0
    expected = float((w * low).sum() / w.sum())
    found = float(level3["co_column_normalised_mean"][0])
    assert found == pytest.approx(expected, rel=1e-12)
    assert level3["o3_count"].values.sum() == 1


def test_plot__map_of_columns_has_their_units():
    from matplotlib import pyplot as plt

    from tgo_spectra.plots import plot_map

    parts = [nadir(COLUMNS, ERRORS, LATITUDES, ls=ls) for ls in (10.0, 100.0)]
    grid = tgo.Grid(latitude=[-90, 0, 90], solar_longitude=[0, 90, 180])
    level3 = tgo.grid_level2(parts, grid)
    figure = plot_map(level3, "co_column", minimum_count=1).get_figure()
    assert figure.axes[1].get_ylabel() == "CO mean column (cm$^{-2}$)"
    figure = plot_map(level3, "co_column_normalised", "count").get_figure()
    assert figure.axes[1].get_ylabel() == "CO number (spectra)"
    plt.close("all")


@pytest.mark.parametrize(("name", "order"), SHIPPED)
def test_shipped_setup__retrieves_its_orders(tmp_path, name, order):
    setup = tgo.load_setup(name)
    path = tgo.simulate_product(
        tmp_path, order=order, table=setup.table, vertical_speed_km_s=3.0, seed=3
    )
    level2 = tgo.retrieve(path, setup)
    assert int(level2.converged) == 1
    assert 0.95 < float(level2.reduced_chi_square) < 1.05
    truth = xr.open_dataset(next(tmp_path.glob("*.nc")))
    for gas in setup.gases:
        good = np.diag(level2[f"{gas}_averaging_kernel"]) > 0.3
        if good.sum() < 10:  # carbon dioxide, say: known better than measured
            continue
        true = np.interp(level2.altitude, truth.altitude, truth[f"{gas}_vmr"])
        z = ((level2[f"{gas}_vmr"] - true) / level2[f"{gas}_vmr_error"]).values[good]
        # levels are correlated over some 4 km, so one draw scatters this much
        assert abs(z.mean()) < 0.6, gas
        assert (np.abs(z) < 2.0).mean() > 0.85, gas
