"""Line lists as they are distributed: any molecule, any packing, Fortran's blanks."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest

from tgo_spectra.errors import LineListError, TgoWarning
from tgo_spectra.spectroscopy.absorption import absorption_cross_section
from tgo_spectra.spectroscopy.fetch import fetch_lines
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.partition import molecule_formula, molecules
from tgo_spectra.spectroscopy.ultraviolet import read_uv_cross_section


def record(molecule=2, number=2300.0, isotopologue="1", **columns):
    """Return one record of 160 characters, some columns (c<first>) replaced."""
    head = f"{molecule:2d}{isotopologue}{number:12.6f} 1.234E-20 1.500E+02"
    text = f"{head}.07000.090  100.12340.70-.003000"
    text = f"{text.ljust(127)}377764 2 2 2 2 2 2     7.0    5.0"
    for key, value in columns.items():
        first = int(key[1:]) - 1
        text = text[:first] + value + text[first + len(value) :]
    assert len(text) == 160
    return text


def written(path, *rows):
    path.write_text("\n".join(rows) + "\n")
    return path


CONTENT = "".join(record(2, 2300.0 + i) + "\n" for i in range(5)).encode()


def zipped(*names, method=zipfile.ZIP_DEFLATED):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as archive:
        for name in names:
            archive.writestr(name, CONTENT)
    return memory.getvalue()


# ---- molecules


@pytest.mark.parametrize("molecule", sorted(molecules()))
def test_every_molecule_of_hitran_can_be_read(tmp_path, molecule):
    last = {10: "0", 11: "A", 12: "B"}.get(n := len(molecules()[molecule]), str(n))
    rows = [record(molecule), record(molecule, 2301.0, last)]
    lines = read_line_list(written(tmp_path / "x.par", *rows))
    assert lines["molecule"].values.tolist() == [molecule] * 2
    assert lines["isotopologue"].values.tolist() == [1, n]


@pytest.mark.parametrize("molecule", [0, 62, 99])
def test_numbers_without_a_molecule_are_refused(tmp_path, molecule):
    with pytest.raises(LineListError) as caught:
        read_line_list(written(tmp_path / "x.par", record(molecule)))
    assert caught.value.rule in {"line_list.molecule", "line_list.number"}


@pytest.mark.parametrize("molecule", [13, 30, 46, 61])
def test_cross_sections_ask_for_the_sums_by_name(tmp_path, molecule):
    lines = read_line_list(written(tmp_path / "x.par", record(molecule)))
    grid = np.arange(2299.0, 2301.0, 0.01)
    with pytest.raises(LineListError, match=molecule_formula(molecule)) as caught:
        absorption_cross_section(lines, grid, 100.0, 200.0, broadening="air")
    assert caught.value.rule == "isotopologue.unknown"
    with pytest.raises(LineListError, match="co2"):
        absorption_cross_section(lines, grid, 100.0, 200.0, broadening="co2")


# ---- packing


PACKED = {
    "plain": CONTENT,
    "gzip": gzip.compress(CONTENT),
    "gzip of two parts": gzip.compress(CONTENT[:400]) + gzip.compress(CONTENT[400:]),
    "bzip2": bz2.compress(CONTENT),
    "bzip2 of two parts": bz2.compress(CONTENT[:400]) + bz2.compress(CONTENT[400:]),
    "xz": lzma.compress(CONTENT),
    "xz of two parts": lzma.compress(CONTENT[:161]) + lzma.compress(CONTENT[161:]),
    "xz with padding": lzma.compress(CONTENT) + bytes(8),
    "lzma": lzma.compress(CONTENT, format=lzma.FORMAT_ALONE),
    "zip": zipped("folder/x.par"),
    "zip without compression": zipped("x.par", method=zipfile.ZIP_STORED),
    "zip with bzip2": zipped("x.par", method=zipfile.ZIP_BZIP2),
    "zip of macOS": zipped("x.par", "__MACOSX/._x.par"),
}


@pytest.mark.parametrize("name", ["x.par", "x.par.gz", "x.par.bz2", "X.ZIP", "x"])
@pytest.mark.parametrize("kind", PACKED)
def test_packed_lists_are_told_by_their_first_bytes(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(PACKED[kind])
    lines = read_line_list(path)
    assert lines["wavenumber"].values.tolist() == [2300.0 + i for i in range(5)]


@pytest.mark.parametrize("kind", sorted(set(PACKED) - {"plain"}))
def test_packed_lists_that_are_cut_are_refused(tmp_path, kind):
    path, data = tmp_path / "x.par", PACKED[kind]
    # behind the whole parts of a list and its padding nothing tells a cut
    for size in range(3, len(data) - 8, 7):
        path.write_bytes(data[:size])
        try:
            lines = read_line_list(path)
        except LineListError as error:
            assert error.rule.startswith("line_list.")  # noqa: PT017
        else:
            assert "parts" in kind
            assert lines.sizes["line"] < 5


@pytest.mark.parametrize("kind", ["bzip2", "xz", "gzip"])
def test_bytes_behind_a_packed_list_are_damage(tmp_path, kind):
    path = tmp_path / "x.par"
    path.write_bytes(PACKED[kind] + b"garbage!")
    with pytest.raises(LineListError) as caught:
        read_line_list(path)
    assert caught.value.rule == "line_list.packed"


def tar():
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        info = tarfile.TarInfo("x.par")
        info.size = len(CONTENT)
        archive.addfile(info, io.BytesIO(CONTENT))
    return memory.getvalue()


FOREIGN = {
    "Zstandard": b"\x28\xb5\x2f\xfd" + bytes(40),
    "7-Zip": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    r"\.Z": b"\x1f\x9d" + bytes(40),
    "tar": tar(),
    "tar ": gzip.compress(tar()),
    "second": gzip.compress(bz2.compress(CONTENT)),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_packings_are_named(tmp_path, kind):
    path = tmp_path / "x.par"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(LineListError, match=kind.strip()) as caught:
        read_line_list(path)
    assert caught.value.rule == "line_list.packing"


@pytest.mark.parametrize("names", [(), ("a.par", "b.par"), ("a.data", "a.header")])
def test_zips_of_none_or_several_files_are_refused_by_name(tmp_path, names):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(*names))
    with pytest.raises(LineListError, match=", ".join(names) or "none") as caught:
        read_line_list(path)
    assert caught.value.rule == "line_list.members"


@pytest.mark.parametrize("end", ["bz2", "xz", "zip"])
def test_headers_mirrors_and_cross_sections_of_packed_files(tmp_path, end):
    pack = {"bz2": bz2.compress, "xz": lzma.compress, "zip": lambda _: zipped("x")}[end]
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / f"co2_2200-2400.par.{end}").write_bytes(pack(CONTENT))
    made = fetch_lines("co2", 2300.5, 2303.5, tmp_path, mirror=mirror)
    assert read_line_list(made).sizes["line"] == 3
    (tmp_path / f"t.data.{end}").write_bytes(pack(CONTENT))
    (tmp_path / "t.header").write_text('{"number_of_rows": 4}')
    with pytest.raises(LineListError) as caught:
        read_line_list(tmp_path / f"t.data.{end}")
    assert caught.value.rule == "header.rows"
    if end != "zip":
        ultraviolet = tmp_path / f"o3.csv.{end}"
        ultraviolet.write_bytes(pack(b"wavelength,218\n300,1e-19\n301,2e-19\n"))
        assert read_uv_cross_section(ultraviolet, medium="air").sizes["wavelength"] == 2


# ---- blanks


LEGAL = {
    "shift, blanks behind": ({"c60": "-.0066  "}, "delta_air", -0.0066),
    "shift, blanks around": ({"c60": "  -.006 "}, "delta_air", -0.006),
    "width, blank behind": ({"c36": ".071 "}, "gamma_air", 0.071),
    "width, blanks before": ({"c41": "  .09"}, "gamma_self", 0.09),
    "exponent of temperature": ({"c56": ".7  "}, "n_air", 0.7),
    "energy": ({"c46": "219.9149  "}, "lower_state_energy", 219.9149),
    "wavenumber": ({"c4": "2300.5      "}, "wavenumber", 2300.5),
    "intensity": ({"c16": "1.983E-21 "}, "intensity", 1.983e-21),
    "Einstein A": ({"c26": "1.5E+02   "}, "einstein_a", 150.0),
    "weight": ({"c147": "9.0    "}, "upper_statistical_weight", 9.0),
    "blank weight": ({"c154": " " * 7}, "lower_statistical_weight", np.nan),
    "blank codes": ({"c128": " " * 18}, "n_air", 0.7),
    "molecule": ({"c1": "6 "}, "molecule", 6),
}


@pytest.mark.parametrize("case", LEGAL)
def test_blanks_that_fortran_ignores_are_legal(tmp_path, case):
    columns, name, value = LEGAL[case]
    lines = read_line_list(written(tmp_path / "x.par", record(**columns)))
    np.testing.assert_array_equal(lines[name].values, [value])


@pytest.mark.parametrize(
    ("name", "column", "width"), [("gamma_self", 41, 5), ("delta_air", 60, 8)]
)
def test_blank_optional_fields_are_zero_and_said(tmp_path, name, column, width):
    path = written(tmp_path / "x.par", record(**{f"c{column}": " " * width}))
    with pytest.warns(TgoWarning, match=f"blank_{name}"):
        lines = read_line_list(path)
    assert lines[name].item() == 0.0
    assert lines.attrs[f"blank_{name}"] == 1
    with pytest.raises(LineListError, match=f"blank_{name}"):
        read_line_list(path, strict=True)


ILLEGAL = {
    "blank within a shift": {"c60": "-.0 6   "},
    "blank within a width": {"c36": ".0 1 "},
    "blank behind the sign": {"c60": "- .006  "},
    "blank within an intensity": {"c16": "1.983E -21"},
    "exponent of one digit": {"c16": "1.983E-2  "},
    "exponent of one digit, to the right": {"c16": "  1.983E-2"},
    "exponent without a sign": {"c16": " 1.983E021"},
    "two numbers": {"c46": "21.1  22.2"},
    "blank intensity": {"c16": " " * 10},
    "blank width": {"c36": " " * 5},
    "blank energy": {"c46": " " * 10},
    "blank exponent": {"c56": " " * 4},
    "point alone": {"c60": "   .    "},
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_other_blanks_and_lost_digits_stay_refused(tmp_path, case):
    path = written(tmp_path / "x.par", record(**ILLEGAL[case]))
    with pytest.raises(LineListError) as caught:
        read_line_list(path)
    assert caught.value.rule == "line_list.number"


def test_official_list_with_blanks_behind_the_shifts(shared):
    name = "ch4_10records_trailing_blank_delta_hitran2012.par"
    shifts = read_line_list(shared / "linelists" / name)["delta_air"].values
    assert shifts[0] == -0.0066
    assert np.isfinite(shifts).all()
    assert shifts.size == 10
