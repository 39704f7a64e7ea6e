"""The table of gases, and cross sections of the ultraviolet."""

import gzip
import pathlib
import re

import compliance_checker
import numpy as np
import pytest

from tgo_spectra.errors import LineListError
from tgo_spectra.spectroscopy import gas_info, gas_names
from tgo_spectra.spectroscopy.collecting import isotopologues_of_gas
from tgo_spectra.spectroscopy.partition import partition_sum
from tgo_spectra.spectroscopy.ultraviolet import (
    ozone_cross_section,
    read_uv_cross_section,
    vacuum_wavelength,
)
from tgo_spectra.variables import FORMULAE

# ---- gases


def test_every_gas_of_the_catalogue_is_there():
    assert set(gas_names()) == set(FORMULAE)


@pytest.mark.parametrize("gas", gas_names())
def test_every_gas_is_the_molecule_of_its_formula_and_mass(gas, capsys):
    import hapi

    info = gas_info(gas)
    isotopologue = min(info.isotopologues or [1])
    name = hapi.moleculeName(info.molecule)
    molecule = info.parent or gas
    assert name.lower() == {"hdo": "h2o"}.get(molecule, FORMULAE[molecule].lower())
    mass = hapi.molecularMass(info.molecule, isotopologue)
    assert info.mass == pytest.approx(mass, abs=1e-3)
    assert partition_sum(info.molecule, isotopologue, 200.0) > 1.0


def test_isotopologues_that_are_gases_of_their_own():
    for gas in ("ch4_13", "co2_636", "co2_628", "co2_627"):
        info = gas_info(gas)
        assert gas.startswith(info.parent)
        assert info.own_abundance
        assert len(info.isotopologues) == 1
        assert info.molecule == gas_info(info.parent).molecule
        both = isotopologues_of_gas(info.parent, [info.parent, gas])
        assert info.isotopologues[0] not in both
        assert isotopologues_of_gas(gas, [info.parent, gas]) == info.isotopologues
        assert info.isotopologues[0] in isotopologues_of_gas(info.parent)


@pytest.mark.parametrize("gas", gas_names())
def test_every_gas_names_sources_and_sound_windows(gas):
    info = gas_info(gas)
    assert any("10.1016/j.jqsrt.2021.107949" in text for text in info.references)
    assert (info.air_factor is None) == (info.air_factor_source == "")
    for window in info.windows:
        assert 0 < window.low < window.high
        assert window.channel in {"so", "lno", "uvis", "nir", "mir"}
        assert window.status in {"read", "to be verified"}
        assert window.reference
        if window.channel in {"so", "lno"}:
            # pixel 0 of the first order to pixel 319 of the last
            assert window.low == pytest.approx(22.473 * min(window.orders), abs=0.06)
            assert window.high == pytest.approx(22.653 * max(window.orders), abs=0.06)


def test_windows_by_order():
    seen = [w.channel for w in gas_info("ch4").windows if 134 in w.orders]
    assert seen == ["so", "lno"]
    assert not any(134 in w.orders for w in gas_info("co").windows)
    with pytest.raises(LineListError, match="unknown gas"):
        gas_info("xe")


def test_cf_species_are_in_the_standard_names():
    folder = pathlib.Path(compliance_checker.__file__).parent / "data"
    table = (folder / "cf-standard-name-table.xml").read_text(encoding="utf-8")
    known = set(re.findall(r'entry id="mole_fraction_of_(\w+)_in_air"', table))
    for gas in gas_names():
        species = gas_info(gas).cf_species
        assert species in known or species == ""


# ---- tables of wavelength and cross section

CSV = """\
# measured somewhere
wavelength_nm,sigma_218K_cm2,sigma_243K_cm2,sigma_295K_cm2
250.0,1.0E-17,1.1E-17,1.3E-17
260.0,2.0E-17,2.1E-17,2.3E-17
270.0,3.0E-17,,3.3E-17
"""


def write(tmp_path, text, name="o3.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_table(tmp_path):
    data = read_uv_cross_section(write(tmp_path, CSV), medium="vacuum")
    assert data["temperature"].values.tolist() == [218.0, 243.0, 295.0]
    assert data["wavelength"].values.tolist() == [250.0, 260.0, 270.0]
    assert data["cross_section"].attrs["units"] == "cm2"
    assert np.isnan(data["cross_section"].values[2, 1])
    assert data.attrs["wavelength_medium_of_file"] == "vacuum"
    packed = tmp_path / "o3.csv.gz"
    packed.write_bytes(gzip.compress(CSV.encode()))
    again = read_uv_cross_section(packed, medium="vacuum")
    np.testing.assert_array_equal(again["cross_section"], data["cross_section"])


def test_medium_must_be_stated(tmp_path):
    path = write(tmp_path, CSV)
    with pytest.raises(TypeError, match="medium"):
        read_uv_cross_section(path)
    with pytest.raises(LineListError, match="'air' or of 'vacuum'") as caught:
        read_uv_cross_section(path, medium="unknown")
    assert caught.value.rule == "cross_section.medium"
    air = read_uv_cross_section(path, medium="air")
    shift = air["wavelength"].values - [250.0, 260.0, 270.0]
    assert ((shift > 0.07) & (shift < 0.085)).all()


def test_index_of_air():
    # mercury 253.65 nm in vacuum is 253.65167 - 0.0762: n - 1 = 3.005e-4 there
    assert vacuum_wavelength(253.575) - 253.575 == pytest.approx(0.0763, abs=2e-4)
    # sodium D2: 588.9951 nm in air, 589.1583 nm in vacuum
    assert vacuum_wavelength(588.9951) == pytest.approx(589.1583, abs=2e-4)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("2.1E-17", "x", "line 4: not a number"),
        ("2.1E-17", "nan", "line 4: not a number"),
        ("2.1E-17", "2_1", "line 4: not a number"),
        ("2.1E-17,", "", "line 4: 3 values instead of 4"),
        ("260.0", "249.0", "line 4: wavelengths must ascend"),
        ("sigma_243K_cm2", "sigma", "line 2: a column names no temperature"),
        ("sigma_243K_cm2", "sigma_218K_cm2", "line 2: a temperature comes twice"),
        (CSV, "wavelength_nm\n1\n2\n", "no column of cross sections"),
        (CSV, "", "a heading and at least two rows"),
    ],
)
def test_malformed_tables(tmp_path, old, new, match):
    path = write(tmp_path, CSV.replace(old, new))
    with pytest.raises(LineListError, match=match) as caught:
        read_uv_cross_section(path, medium="air")
    assert caught.value.path == str(path)
    with pytest.raises(LineListError, match="cannot read"):
        read_uv_cross_section(tmp_path / "absent.csv", medium="air")


# ---- the format of HITRAN


def block(low, high, kelvin, values, count=None):
    count = len(values) if count is None else count
    title = f"{'O3':>20}{low:10.3f}{high:10.3f}{count:7d}{kelvin:7.1f}{0.0:6.1f}"
    title += f"{max(values):10.3E}"
    rows = [
        "".join(f"{value:10.3E}" for value in values[start : start + 10])
        for start in range(0, len(values), 10)
    ]
    return "\n".join([title.ljust(100), *rows]) + "\n"


def test_hitran_format(tmp_path):
    cold = [1e-19 * (1 + i) for i in range(13)]
    text = block(38000.0, 38012.0, 295.0, [2 * v for v in cold])
    text += block(38000.0, 38012.0, 218.0, cold)
    data = read_uv_cross_section(write(tmp_path, text, "o3.xsc"), medium="vacuum")
    assert data["temperature"].values.tolist() == [218.0, 295.0]
    assert (np.diff(data["wavelength"]) > 0).all()
    assert data["wavelength"].values[-1] == pytest.approx(1e7 / 38000.0)
    np.testing.assert_allclose(data["cross_section"].values[::-1, 0], cold, rtol=1e-3)
    np.testing.assert_allclose(
        data["cross_section"].values[:, 1], 2 * data["cross_section"].values[:, 0]
    )
    with pytest.raises(LineListError, match="vacuum wavenumbers"):
        read_uv_cross_section(tmp_path / "o3.xsc", medium="air")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text[:-30], "11 values, the title states 12|title states 12"),
        (lambda text: text.replace("1.000E-19", "1.000X-19"), "line 2: not a number"),
        (lambda text: text.replace("  218.0", " -218.0"), "line 1: ends, points"),
        (lambda text: "short\n" + text, "line 1: not the title"),
        (lambda text: text + text, "a temperature comes twice"),
        (lambda text: "\n", "the file is empty"),
    ],
)
def test_malformed_hitran_format(tmp_path, change, match):
    text = block(38000.0, 38011.0, 218.0, [1e-19] * 12)
    path = write(tmp_path, change(text), "o3.xsc")
    with pytest.raises(LineListError, match=match):
        read_uv_cross_section(path, medium="vacuum")


# ---- interpolation


@pytest.fixture
def data(tmp_path):
    return read_uv_cross_section(write(tmp_path, CSV), medium="vacuum")


def test_between_temperatures_and_wavelengths(data):
    found = ozone_cross_section(data, [255.0, 260.0], [218.0, 230.5, 295.0])
    np.testing.assert_allclose(
        found["cross_section"] * 1e17, [[1.5, 1.55, 1.8], [2.0, 2.05, 2.3]]
    )
    assert found.attrs["temperature_clamped"] == "none"
    assert found.attrs["temperature_clamped_values"] == 0
    assert found.attrs["source_file"] == "o3.csv"


def test_below_the_coldest_is_held_and_said(data):
    found = ozone_cross_section(data, [260.0], [150.0, 217.9, 218.0, 310.0])
    np.testing.assert_allclose(found["cross_section"][0] * 1e17, [2.0, 2.0, 2.0, 2.3])
    assert found.attrs["temperature_clamped"] == "below 218 K and above 295 K"
    assert found.attrs["temperature_clamped_values"] == 3


def test_a_temperature_that_misses_a_wavelength_is_passed_over(data):
    found = ozone_cross_section(data, [270.0], [256.5])
    np.testing.assert_allclose(found["cross_section"] * 1e17, [[3.15]])


def test_outside_is_refused(data):
    for wavelength in (249.9, 270.1, np.nan):
        with pytest.raises(LineListError, match="cover 250 to 270 nm"):
            ozone_cross_section(data, [260.0, wavelength], 200.0)
    for kelvin in (0.0, -5.0, np.nan):
        with pytest.raises(LineListError, match="must be positive"):
            ozone_cross_section(data, 260.0, [200.0, kelvin])
    hole = data.copy(deep=True)
    hole["cross_section"][1] = np.nan
    with pytest.raises(LineListError, match="no temperature was measured"):
        ozone_cross_section(hole, 260.0, 200.0)


def test_measured_ozone(shared):
    name = "o3_uvvis_xsec_daumont-brion-malicet_195-830nm.csv.gz"
    data = read_uv_cross_section(shared / "linelists" / name, medium="air")
    found = ozone_cross_section(data, vacuum_wavelength(255.0), [150.0, 218.0, 295.0])
    values = found["cross_section"].values[0]
    # Hartley peak as printed by the authors
    np.testing.assert_allclose(values, [1.1436e-17, 1.1436e-17, 1.1286e-17], rtol=5e-3)
    assert found.attrs["temperature_clamped"] == "below 218 K"
    huggins = ozone_cross_section(data, vacuum_wavelength(330.0), [218.0, 295.0])
    cold, warm = huggins["cross_section"].values[0]
    assert warm > 1.2 * cold
