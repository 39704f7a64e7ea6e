"""Line list reader: every malformed list is refused or flagged, with the place."""

import gzip
import hashlib
import json

import numpy as np
import pytest

from tgo_spectra.errors import LineListError, TgoWarning
from tgo_spectra.spectroscopy.absorption import cross_section_grid
from tgo_spectra.spectroscopy.linelist import read_line_list

GOOD = (
    " 61 3000.000000 1.234E-20 1.000E+00.05000.065  100.00000.70-.006000"
    + " " * 60
    + "455555 1 2 3 4 5 6     9.0   11.0"
)
assert len(GOOD) == 160


def row(i=0, **columns):
    """Return one good record with some columns (c<first>) replaced."""
    text = GOOD[:3] + f"{3000 + i:12.6f}" + GOOD[15:]
    for key, value in columns.items():
        first = int(key[1:]) - 1
        text = text[:first] + value + text[first + len(value) :]
    return text


ROWS = [row(i) for i in range(8)]


def write(tmp_path, rows, name="x.par", end="\n", encoding="latin-1"):
    path = tmp_path / name
    path.write_bytes((end.join(rows) + end).encode(encoding))
    return path


def changed(place, text):
    rows = list(ROWS)
    rows[place] = text
    return rows


BAD = {
    "cut in mid-line": ("\n".join(ROWS)[:-37], "line 8", 7, "record"),
    "character deleted": (
        changed(3, ROWS[3][:20] + ROWS[3][21:]),
        "line 4",
        3,
        "record",
    ),
    "character inserted": (
        changed(3, ROWS[3][:20] + "1" + ROWS[3][20:]),
        "line 4",
        3,
        "record",
    ),
    "letter in S": (changed(2, row(2, c19="x")), "columns 16-25", 2, "intensity"),
    "blank in S": (changed(2, row(2, c20=" ")), "columns 16-25", 2, "intensity"),
    "stars in S": (changed(2, row(2, c16="*" * 10)), "columns 16-25", 2, "intensity"),
    "blank S": (changed(2, row(2, c16=" " * 10)), "columns 16-25", 2, "intensity"),
    "NaN in S": (changed(2, row(2, c16="       NaN")), "columns 16-25", 2, "intensity"),
    "inf in S": (changed(2, row(2, c16="       inf")), "columns 16-25", 2, "intensity"),
    "Fortran exponent": (
        changed(2, row(2, c16=" 4.000-121")),
        "Fortran",
        2,
        "intensity",
    ),
    "D exponent": (changed(2, row(2, c16=" 4.000D-21")), "Fortran", 2, "intensity"),
    "negative S": (changed(2, row(2, c16="-1.234E-20")), "range", 2, "intensity"),
    "huge S": (changed(2, row(2, c16=" 1.234E+20")), "range", 2, "intensity"),
    "underscore in nu": (
        changed(2, row(2, c5="1_00.000000")),
        "columns 4-15",
        2,
        "wavenumber",
    ),
    "zero nu": (changed(2, row(2, c4="    0.000000")), "range", 2, "wavenumber"),
    "negative gamma": (
        changed(4, row(4, c36="-.050")),
        "columns 36-40",
        4,
        "gamma_air",
    ),
    "two points in gamma": (
        changed(4, row(4, c36=".0.50")),
        "columns 36-40",
        4,
        "gamma_air",
    ),
    "letter in gamma_self": (
        changed(4, row(4, c41="O.065")),
        "columns 41-45",
        4,
        "gamma_self",
    ),
    "negative energy": (
        changed(4, row(4, c46="  -30.0000")),
        "columns 46-55",
        4,
        "lower_state_energy",
    ),
    "blank n": (changed(4, row(4, c56="    ")), "columns 56-59", 4, "n_air"),
    "shift of letters": (
        changed(4, row(4, c60="-.0O6000")),
        "columns 60-67",
        4,
        "delta_air",
    ),
    "weights": (
        changed(4, row(4, c147="    9.x")),
        "columns 147-153",
        4,
        "upper_statistical_weight",
    ),
    "codes": (changed(4, row(4, c128="4x5555")), "columns 128-145", 4, "codes"),
    "other molecule": (changed(5, row(5, c1=" 2")), "another molecule", 5, "molecule"),
    "unknown molecule": (
        [row(i, c1="99") for i in range(2)],
        "not known",
        0,
        "molecule",
    ),
    "no molecule": (changed(5, row(5, c1="  ")), "columns 1-2", 5, "molecule"),
    "isotopologue 9": (changed(5, row(5, c3="9")), "isotopologue", 5, "isotopologue"),
    "isotopologue A": (changed(5, row(5, c3="A")), "isotopologue", 5, "isotopologue"),
    "isotopologue ?": (changed(5, row(5, c3="?")), "isotopologue", 5, "isotopologue"),
    "old format": ([text[:100] for text in ROWS], "before 2004", 0, "record"),
    "empty": ("", "empty", 0, None),
    "blanks only": ("   \n\n  ", "blanks", 0, None),
    "byte-order mark": ("ï»¿" + "\n".join(ROWS) + "\n", "byte-order", 0, None),
    "comment": (["# made by hand", *ROWS], "comment", 0, "record"),
    "comment within": ([*ROWS[:3], "# by hand", *ROWS[3:]], "comment", 3, "record"),
    "web page": ("<html><body>404</body></html>\n", "web page", 0, None),
    "zero block": (changed(6, "\0" * 160), "byte 0", 6, "record"),
    "zero bytes in quanta": (
        changed(6, row(6, c80="\0\0")),
        "columns 80-80",
        6,
        "record",
    ),
    "blank line": ([*ROWS[:3], "", *ROWS[3:]], "line 4 is blank", 3, "record"),
    "line of blanks": (changed(3, " " * 160), "line 4 is blank", 3, "record"),
    "latin-1": (changed(6, row(6, c80="é")), "columns 80-80", 6, "record"),
    "tab": (changed(6, row(6, c80="\t")), "columns 80-80", 6, "record"),
    "mixed line ends": (changed(6, ROWS[6] + "\r"), "line 7", 6, "record"),
    "overflow in S": (
        changed(2, row(2, c16=" 1.00E+999")),
        "columns 16-25",
        2,
        "intensity",
    ),
    "hexadecimal S": (
        changed(2, row(2, c16="  0x1.8p-7")),
        "columns 16-25",
        2,
        "intensity",
    ),
    "comma for point": (
        changed(2, row(2, c16=" 1,234E-20")),
        "columns 16-25",
        2,
        "intensity",
    ),
    "exponent lost": (
        changed(2, row(2, c16="     1.234")),
        "columns 16-25",
        2,
        "intensity",
    ),
    "two signs": (
        changed(2, row(2, c16="--1.2E-020")),
        "columns 16-25",
        2,
        "intensity",
    ),
    "huge A": (changed(2, row(2, c26=" 1.000E+30")), "range", 2, "einstein_a"),
    "blank in nu": (
        changed(3, row(3, c4="  3003.000 0")),
        "columns 4-15",
        3,
        "wavenumber",
    ),
    "NaN in gamma": (
        changed(4, row(4, c36="  NaN")),
        "columns 36-40",
        4,
        "gamma_air",
    ),
    "stars in the energy": (
        changed(4, row(4, c46="*" * 10)),
        "columns 46-55",
        4,
        "lower_state_energy",
    ),
    "huge shift": (changed(4, row(4, c60="-99.6000")), "range", 4, "delta_air"),
    "isotopologue blank": (
        changed(5, row(5, c3=" ")),
        "isotopologue",
        5,
        "isotopologue",
    ),
    "old Mac line ends": ("\r".join(ROWS) + "\r", "byte 13|characters", 0, "record"),
    "heading": (
        ["molec iso nu sw a gamma_air", *ROWS],
        "27 characters",
        0,
        "record",
    ),
    "page within": (
        [*ROWS[:3], "</body></html>", *ROWS[3:]],
        "markup",
        3,
        "record",
    ),
    "UTF-16": ("\xff\xfe" + "".join(c + "\0" for c in ROWS[0]), "byte-order", 0, None),
    "still compressed": ("\x1f\x8b\x08\x00" + "x" * 60, "compressed", 0, None),
    "extra columns without header": (
        [text + ", 0.07" for text in ROWS],
        "166 characters",
        0,
        "record",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_lists_are_refused(tmp_path, case):
    content, match, place, field = BAD[case]
    path = tmp_path / "bad.par"
    if isinstance(content, list):
        content = "\n".join(content) + "\n"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(LineListError, match=match) as caught:
        read_line_list(path)
    error = caught.value
    assert error.record == place
    assert error.field == field
    assert error.value is not None
    assert error.rule.startswith("line_list.")
    assert error.path == str(path)
    assert str(path) in str(error)


def test_good_lists(tmp_path):
    lines = read_line_list(write(tmp_path, ROWS), edition="HITRAN2020")
    assert dict(lines.sizes) == {"line": 8}
    first = {k: v.item() for k, v in lines.isel(line=0).items()}
    assert first == {
        "molecule": 6, "isotopologue": 1, "wavenumber": 3000.0, "intensity": 1.234e-20,
        "einstein_a": 1.0, "gamma_air": 0.05, "gamma_self": 0.065,
        "lower_state_energy": 100.0, "n_air": 0.7, "delta_air": -0.006,
        "upper_statistical_weight": 9.0, "lower_statistical_weight": 11.0, "band": b"<",
        "wavenumber_code": 4, "intensity_code": 5, "gamma_air_code": 5,
        "gamma_self_code": 5, "n_air_code": 5, "delta_air_code": 5,
    }  # fmt: skip
    assert lines.attrs["edition"] == "HITRAN2020"
    content = (tmp_path / "x.par").read_bytes()
    assert lines.attrs["source_sha256"] == hashlib.sha256(content).hexdigest()
    assert all("units" in v.attrs for v in lines.data_vars.values())
    path = write(tmp_path, ROWS, "crlf.par", "\r\n")
    assert read_line_list(path).identical(
        lines.assign_attrs(
            source_file=path.name,
            source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            edition="not stated",
        )
    )
    packed = tmp_path / "x.par.gz"
    packed.write_bytes(gzip.compress(content))
    np.testing.assert_array_equal(
        read_line_list(packed)["wavenumber"], lines["wavenumber"]
    )


def test_bands_are_the_quanta_without_their_blanks(tmp_path):
    quanta = "    0 0 1 0 1F2", "    0 0 0 0 1A1"
    other = "0 0 1  0 1F2   ", "0 0 0 0 1A1    "
    rows = [row(k, c68="".join(both)) for k, both in enumerate((quanta, other))]
    lines = read_line_list(write(tmp_path, rows))
    assert set(lines["band"].values) == {b"0 0 1 0 1F2<0 0 0 0 1A1"}
    blank = read_line_list(write(tmp_path, [row(c128=" " * 18)]))
    assert blank["intensity_code"].item() == 0


def test_fortran_exponents_on_request(tmp_path):
    rows = [row(0, c16=" 4.000D-21"), row(1, c16=" 4.000-121"), row(2)]
    lines = read_line_list(write(tmp_path, rows), fortran_exponents=True)
    np.testing.assert_allclose(lines["intensity"], [4e-21, 4e-121, 1.234e-20])


def test_unsorted_list_is_sorted(tmp_path):
    lines = read_line_list(write(tmp_path, ROWS[::-1]))
    np.testing.assert_array_equal(lines["wavenumber"], 3000.0 + np.arange(8))
    assert "order" in lines.attrs["sorted_on_reading"]


SUSPECT = {
    "duplicate line": ([*ROWS, ROWS[2]], "\n", "duplicate_lines"),
    "unknown energy": (
        [*ROWS[:7], row(7, c46="   -1.0000")],
        "\n",
        "unknown_lower_state_energy",
    ),
    "no last line end": (ROWS, "", "missing_final_line_end"),
}


@pytest.mark.parametrize("case", SUSPECT)
def test_suspect_lists_are_flagged(tmp_path, case):
    rows, end, name = SUSPECT[case]
    path = tmp_path / "x.par"
    path.write_bytes(("\n".join(rows) + end).encode())
    with pytest.warns(TgoWarning, match=name):
        lines = read_line_list(path)
    assert lines.attrs[name] == 1
    with pytest.raises(LineListError, match=name):
        read_line_list(path, strict=True)


def test_fifty_cases_at_least():
    # and one more, the unsorted list, is sorted and noted
    assert len(BAD) + len(SUSPECT) + 1 >= 50


def test_isotopologue_codes(tmp_path):
    rows = [row(i, c1=" 2", c3=c) for i, c in enumerate("1290AB")]
    lines = read_line_list(write(tmp_path, rows))
    assert lines["isotopologue"].values.tolist() == [1, 2, 9, 10, 11, 12]


def truncations(tmp_path, **options):
    """Sizes at which a cut list of three lines (483 bytes) is read in silence."""
    content = ("\n".join(ROWS[:3]) + "\n").encode()
    assert len(content) == 483
    path = tmp_path / "cut.par"
    silent = []
    for size in range(483):
        path.write_bytes(content[:size])
        try:
            read_line_list(path, **options)
        except (LineListError, TgoWarning):
            continue
        silent.append(size)
    return silent


def test_every_truncation_is_found(tmp_path):
    content = ("\n".join(ROWS[:3]) + "\n").encode()
    whole = hashlib.sha256(content).hexdigest()
    assert truncations(tmp_path, sha256=whole) == []
    # between two lines nothing but a hash or a count can tell
    assert truncations(tmp_path) == [161, 322]
    # both lie beside a list that was fetched
    origin = {"gas": "ch4", "low": 1, "high": 2, "source": "", "edition": "", "fetched": ""}  # noqa: E501  # fmt: skip
    text = json.dumps({**origin, "sha256": whole})
    (tmp_path / "cut.par.origin.json").write_text(text)
    assert truncations(tmp_path) == []


def test_flipped_bits_are_found_by_the_hash(tmp_path):
    content = (ROWS[0] + "\n").encode()
    whole = hashlib.sha256(content).hexdigest()
    path = tmp_path / "flipped.par"
    silent = 0
    for bit in range(8 * 160):
        bad = bytearray(content)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises((LineListError, TgoWarning)):
            read_line_list(path, sha256=whole)
        try:
            read_line_list(path)
        except (LineListError, TgoWarning):
            continue
        silent += 1
    # digits that become others, and letters of the blank quanta here
    assert silent < 700


def test_rows_that_the_header_states(tmp_path):
    path = hapi_files(tmp_path, ROWS[:7], [], number_of_rows=8)
    with pytest.raises(LineListError, match="7 lines, the header states 8"):
        read_line_list(path)
    assert read_line_list(hapi_files(tmp_path, ROWS, [], number_of_rows=-1)).sizes


def test_unreadable_origin(tmp_path):
    path = write(tmp_path, ROWS)
    (tmp_path / "x.par.origin.json").write_text('{"gas": "ch4", "colour": 1}')
    with pytest.raises(LineListError, match="origin"):
        read_line_list(path)


def test_damaged_gzip_and_absent_file(tmp_path):
    packed = gzip.compress("\n".join(ROWS).encode())
    path = tmp_path / "x.par.gz"
    for data in (
        packed[:-9],
        packed[:30],
        b"",
        b"plain text",
        packed[:12] + b"\xff" * 20,
    ):
        path.write_bytes(data)
        with pytest.raises(LineListError):
            read_line_list(path)
    with pytest.raises(LineListError, match="cannot read"):
        read_line_list(tmp_path / "absent.par")


# ---- HAPI files and extra files


def hapi_files(tmp_path, rows, extra, **change):
    header = {"extra": extra, "extra_separator": ",", "position": {"nu": 3}} | change
    (tmp_path / "t.header").write_text(json.dumps(header))
    return write(tmp_path, rows, "t.data")


def test_hapi_data_with_co2_broadening(tmp_path):
    names = ["gamma_co2", "n_co2", "delta_co2"]
    rows = [
        text + f",{0.07 + i / 1e3},0.7,{'#' if i else -0.01}"
        for i, text in enumerate(ROWS)
    ]
    lines = read_line_list(hapi_files(tmp_path, rows, names))
    np.testing.assert_allclose(lines["gamma_co2"], 0.07 + np.arange(8) / 1e3)
    assert lines["delta_co2"].values[0] == -0.01
    assert np.isnan(lines["delta_co2"].values[1:]).all()
    sigma = cross_section_grid(lines, 3000 + 0.002 * np.arange(100), 100.0, 180.0)
    assert (sigma > 0).all()


@pytest.mark.parametrize(
    ("tail", "match"),
    [(",0.07", "1 values"), (",0.07,x", "not a number"), (",0.07,1,2", "3 values"),
     (",nan,0.7", "not a number"), (",-0.07,0.7", "not a number")],
)  # fmt: skip
def test_bad_hapi_extras(tmp_path, tail, match):
    rows = [text + ",0.07,0.7" for text in ROWS]
    rows[4] = ROWS[4] + tail
    with pytest.raises(LineListError, match=match) as caught:
        read_line_list(hapi_files(tmp_path, rows, ["gamma_co2", "n_co2"]))
    assert caught.value.record == 4


def test_bad_hapi_header(tmp_path):
    path = hapi_files(tmp_path, ROWS, [], position={"nu": 5})
    with pytest.raises(LineListError, match="another record"):
        read_line_list(path)
    (tmp_path / "t.header").write_text("{")
    with pytest.raises(LineListError, match="header"):
        read_line_list(path)


def test_extra_file_with_names(tmp_path):
    main = write(tmp_path, ROWS)
    rows = [
        text + f", {0.07 + i / 1e3:.4f}, 5, 17,  0.70, 5, 17"
        for i, text in enumerate(ROWS)
    ]
    extra = write(tmp_path, rows[::-1], "extra.txt")
    lines = read_line_list(main, extra={extra: ["gamma_co2", "n_co2"]})
    np.testing.assert_allclose(lines["gamma_co2"], 0.07 + np.arange(8) / 1e3)
    assert lines.attrs["extra_file_1"] == "extra.txt"
    with pytest.raises(LineListError, match="cannot tell"):
        read_line_list(main, extra=extra)
    other = write(tmp_path, rows[:5], "short.txt")
    with pytest.raises(LineListError, match="is not in") as caught:
        read_line_list(main, extra={other: ["gamma_co2", "n_co2"]})
    assert caught.value.record == 5
    rows[3] = row(3, c16=" 9.999E-21") + rows[3][160:]
    other = write(tmp_path, rows, "drift.txt")
    with pytest.raises(LineListError, match="other values"):
        read_line_list(main, extra={other: ["gamma_co2", "n_co2"]})
    with pytest.raises(LineListError, match="nothing follows"):
        read_line_list(main, extra=main)


def test_co_list_with_co2_files(shared):
    stem = shared / "linelists" / "co_alliso_3-14478_hitran2020"
    extra = [f"{stem}_CO2-shifts.txt.gz", f"{stem}_H2-He-CO2-broadening.txt.gz"]
    lines = read_line_list(f"{stem}.par.gz", extra=extra)
    assert lines.sizes["line"] == 5381
    line = lines.isel(line=0)
    assert [float(line[k]) for k in ("gamma_co2", "n_co2", "delta_co2")] == [
        0.1076, 0.6983, -0.000287,
    ]  # fmt: skip
    near = (lines["wavenumber"] > 2000) & (lines["wavenumber"] < 2300)
    near |= (lines["wavenumber"] > 4000) & (lines["wavenumber"] < 4400)
    ratio = (lines["gamma_co2"] / lines["gamma_air"])[near]
    assert float(ratio.mean()) == pytest.approx(1.199, abs=2e-3)
    grid = 2140 + 0.001 * np.arange(2000)
    sigma = cross_section_grid(lines, grid, [100.0], [200.0])
    assert sigma.max() > 0


@pytest.mark.parametrize(
    ("name", "count"),
    [("co2_alliso_1percent_0-14044_hitran2016-20", 5599),
     ("h2o_iso123_2000-3333_hitran2020online", 14540),
     ("o3_iso1_4000-4500_hitran2020online", 11228)],
)  # fmt: skip
def test_real_lists(name, count, shared):
    lines = read_line_list(shared / "linelists" / f"{name}.par.gz", strict=True)
    assert lines.sizes["line"] == count
    assert (np.diff(lines["wavenumber"]) >= 0).all()
