"""Fixed 160-character HITRAN records: cut, check and convert, strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import LineListError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CODES", "FIELDS", "LENGTH", "Field", "Records", "convert", "cut"]

LENGTH = 160

_ISOTOPOLOGUES = {**{str(n): n for n in range(1, 10)}, "0": 10, "A": 11, "B": 12}


@dataclass(frozen=True)
class Field:
    """One numeric field: 1-based inclusive columns and the allowed range.

    `blank` is what a field without a number means, None where it must have one.
    """

    first: int
    last: int
    low: float
    high: float
    exponent: bool = False
    blank: float | None = None


# Columns: HITRAN 2004 and later; limits: no physical line exceeds them.
FIELDS = {
    "wavenumber": Field(4, 15, 1e-9, 1e6),
    "intensity": Field(16, 25, 0.0, 1e-10, exponent=True),
    "einstein_a": Field(26, 35, 0.0, 1e15, exponent=True),
    "gamma_air": Field(36, 40, 0.0, 9.9999),
    # zero is HITRAN's own sign of "no value" here, and what Fortran reads from blanks
    "gamma_self": Field(41, 45, 0.0, 9.9999, blank=0.0),
    # -1 = unknown to HITRAN
    "lower_state_energy": Field(46, 55, -1.0, 1e6),
    "n_air": Field(56, 59, -9.99, 9.99),
    "delta_air": Field(60, 67, -9.0, 9.0, blank=0.0),
    "upper_statistical_weight": Field(147, 153, 0.0, 1e6, blank=np.nan),
    "lower_statistical_weight": Field(154, 160, 0.0, 1e6, blank=np.nan),
}

# What the six uncertainty codes of columns 128 to 133 are of, in their order.
CODES = ("wavenumber", "intensity", "gamma_air", "gamma_self", "n_air", "delta_air")

# Formatted reading in Fortran ignores blanks before and behind a number (BLANK='NULL',
# the default since Fortran 77). It ignores those within as well, which no writer
# makes: there a digit was lost.
_PLAIN = re.compile(rb" *[+-]?(\d+\.\d*|\.\d+) *\Z")
_EXPONENT = re.compile(rb" *[+-]?(\d+\.\d*|\.\d+)[Ee][+-]\d{2,3} *\Z")
_FORTRAN = re.compile(rb" *[+-]?(\d+\.\d*|\.\d+)([Dd][+-]\d{2,3}|[+-]\d{3}) *\Z")

_BLANK, _POINT, _NINE, _ZERO = 32, 46, 57, 48


def _byte_set(characters: bytes) -> NDArray[np.bool_]:
    allowed = np.zeros(256, bool)
    allowed[list(characters)] = True
    return allowed


_NUMBER = _byte_set(b" +-.0123456789")
_NUMBER_E = _byte_set(b" +-.0123456789Ee")
_INTEGER = _byte_set(b" 0123456789")


@dataclass(frozen=True)
class Records:
    """Records of one file.

    Attributes
    ----------
    path : str
        File, for messages.
    text : ndarray
        (line, 160) bytes.
    extras : list of bytes or None
        What follows column 160 in each line, if lines are longer.
    open_end : bool
        Nothing ends the last line: the file may have been cut there.
    """

    path: str
    text: NDArray[np.uint8]
    extras: list[bytes] | None
    open_end: bool = False

    def column(self, first: int, last: int) -> NDArray[np.bytes_]:
        """Characters of columns first..last (1-based, inclusive) of every line."""
        part = np.ascontiguousarray(self.text[:, first - 1 : last])
        return part.view(f"S{last - first + 1}").ravel()

    def fail(self, row: int, field: str, first: int, last: int, why: str, rule: str) -> LineListError:  # noqa: E501  # fmt: skip
        """Build the error for one field of one line."""
        value = self.text[row, first - 1 : last].tobytes().decode("latin-1")
        return LineListError(
            f"line {row + 1}, columns {first}-{last}: {why}",
            path=self.path,
            field=field,
            record=row,
            value=value,
            rule=f"line_list.{rule}",
        )


def _first_bytes_error(data: bytes, path: str) -> None:
    """Refuse files that are evidently no line list."""
    head = data[:200].lstrip()
    why = ""
    if not data:
        why = "the file is empty"
    elif not head and not data.strip():
        why = "the file holds blanks only"
    elif data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        why = "line 1 starts with a byte-order mark, which HITRAN files do not have"
    elif head.startswith(b"<"):
        why = "line 1 starts with '<': a web page, not a line list"
    if why:
        raise LineListError(
            why, path=path, record=0, value=data[:20], rule="line_list.content"
        )


def _length_error(line: bytes, row: int, path: str, offset: int) -> LineListError:
    size = len(line)
    if not line.strip():
        why = "is blank"
    elif line.lstrip().startswith(b"#"):
        why = "is a comment, which the format does not have"
    elif line.lstrip().startswith(b"<"):
        why = "holds markup, not a HITRAN record"
    elif size == 100:
        why = "has 100 characters: the HITRAN format before 2004, not supported"
    else:
        why = f"has {size} characters instead of {LENGTH}"
    return LineListError(
        f"line {row + 1} {why}",
        path=path,
        field="record",
        record=row,
        offset=offset,
        value=line[:40].decode("latin-1"),
        rule="line_list.length",
    )


def cut(data: bytes, path: str, *, longer: bool = False) -> Records:
    """Cut the content of a file (LF or CRLF) into records and check every character.

    `longer` allows characters after column 160 (HAPI ``.data`` files).

    Raises
    ------
    LineListError
        With line number, column range and value, at the first fault.
    """
    _first_bytes_error(data, path)
    end = b"\r\n" if data[: data.find(b"\n") + 1].endswith(b"\r\n") else b"\n"
    body = data if data.endswith(end) else data + end
    width = LENGTH + len(end)
    extras: list[bytes] | None = None
    text = np.empty((0, LENGTH), np.uint8)
    regular = len(body) % width == 0
    if regular:
        block = np.frombuffer(body, np.uint8).reshape(-1, width)
        text = block[:, :LENGTH]
        ends = np.frombuffer(end, np.uint8)
        regular = bool(np.all(block[:, LENGTH:] == ends) and not np.any(text == 10))
    if not regular:
        lines = body.split(end)[:-1]
        offset = 0
        for row, line in enumerate(lines):
            if len(line) < LENGTH or (len(line) > LENGTH and not longer):
                raise _length_error(line, row, path, offset)
            offset += len(line) + len(end)
        joined = b"".join(s[:LENGTH] for s in lines)
        text = np.frombuffer(joined, np.uint8).reshape(-1, LENGTH)
        extras = [line[LENGTH:] for line in lines]
    records = Records(path, text, extras, not data.endswith(b"\n"))
    wrong = (text < _BLANK) | (text > 126)
    if wrong.any():
        row, place = (int(i) for i in np.argwhere(wrong)[0])
        raise records.fail(
            row, "record", place + 1, place + 1,
            f"byte {int(text[row, place])} is no printable ASCII character",
            "character",
        )  # fmt: skip
    blank = np.all(text == _BLANK, axis=1)
    if blank.any():
        row = int(np.argmax(blank))
        raise _length_error(text[row].tobytes(), row, path, row * width)
    return records


def _explain(value: bytes, spec: Field, fortran: bool) -> str | None:
    """Say what is wrong with the text of a number, None if nothing is."""
    if spec.blank is not None and not value.strip():
        return None
    if (_EXPONENT if spec.exponent else _PLAIN).match(value):
        return None
    if spec.exponent and _FORTRAN.match(value):
        if fortran:
            return None
        return "Fortran exponent; pass fortran_exponents=True to accept it"
    return "not a number in the HITRAN format"


def _to_float(value: bytes) -> float:
    if _FORTRAN.match(value):
        value = re.sub(rb"[Dd]", b"E", value)
        if b"E" not in value:
            value = re.sub(rb"([+-]\d{3})\Z", rb"E\1", value)
    return float(value)


def _one_word(filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which rows (line, character) have no blank within, only around."""
    starts = filled[:, 0] + (filled[:, 1:] & ~filled[:, :-1]).sum(axis=1)
    return np.asarray(starts == 1)


def _whole_exponent(
    part: NDArray[np.uint8], filled: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which rows end with E, a sign and two or three digits.

    A number whose mantissa swallowed the exponent has no E; one whose last digit was
    lost would be wrong by a power of ten.
    """
    letter = (part == ord("E")) | (part == ord("e"))
    place = np.argmax(letter, axis=1)
    last = part.shape[1] - 1 - np.argmax(filled[:, ::-1], axis=1)
    behind = np.minimum(place + 1, part.shape[1] - 1)
    signed = np.isin(part[np.arange(len(part)), behind], (ord("+"), ord("-")))
    digits = last - place - 1
    good = (letter.sum(axis=1) == 1) & signed & ((digits == 2) | (digits == 3))
    return np.asarray(good)


def _number(
    records: Records, name: str, spec: Field, *, fortran: bool
) -> NDArray[np.float64]:
    """Convert one field of all lines; refuse anything but clean numbers."""
    part = records.text[:, spec.first - 1 : spec.last]
    strings = records.column(spec.first, spec.last)
    allowed = _NUMBER_E if spec.exponent else _NUMBER
    filled = part != _BLANK
    clean = (
        allowed[part].all(axis=1)
        & ((part == _POINT).sum(axis=1) == 1)
        & _one_word(filled)
    )
    if spec.exponent:
        clean &= _whole_exponent(part, filled)
    values = np.full(strings.size, np.nan if spec.blank is None else spec.blank)
    try:
        values[clean] = strings[clean].astype(np.float64)
    except ValueError:
        clean[:] = False
    row: int
    for row in np.flatnonzero(~clean).tolist():
        why = _explain(part[row].tobytes(), spec, fortran)
        if why:
            raise records.fail(row, name, spec.first, spec.last, why, "number")
        if filled[row].any():
            values[row] = _to_float(part[row].tobytes())
    bad = (values < spec.low) | (values > spec.high)
    if name == "lower_state_energy":
        # ground states of some lists lie a little below zero, such as -0.0038
        bad |= (values < -0.1) & (values != -1.0)
    if bad.any():
        row = int(np.argmax(bad))
        why = f"outside the possible range {spec.low:g} to {spec.high:g}"
        raise records.fail(row, name, spec.first, spec.last, why, "range")
    return values


def _molecule(records: Records) -> NDArray[np.int32]:
    part = records.text[:, :2]
    # a blank behind the number counts as one before it
    part = np.where(part[:, 1:] == _BLANK, part[:, ::-1], part)
    tens = np.where(part[:, 0] == _BLANK, _ZERO, part[:, 0]).astype(np.int32)
    units = part[:, 1].astype(np.int32)
    bad = (tens < _ZERO) | (tens > _NINE) | (units < _ZERO) | (units > _NINE)
    number = (tens - _ZERO) * 10 + units - _ZERO
    bad |= number == 0
    if bad.any():
        row = int(np.argmax(bad))
        raise records.fail(row, "molecule", 1, 2, "not a molecule number", "number")
    other = number != number[0]
    if other.any():
        row = int(np.argmax(other))
        why = f"another molecule than in line 1 ({int(number[0])}); one list, one gas"
        raise records.fail(row, "molecule", 1, 2, why, "molecule")
    return number


def _isotopologue(records: Records, known: tuple[int, ...]) -> NDArray[np.int32]:
    code = records.text[:, 2]
    decode = np.zeros(256, np.int32)
    for character, meaning in _ISOTOPOLOGUES.items():
        decode[ord(character)] = meaning
    number: NDArray[np.int32] = decode[code]
    unknown = ~np.isin(number, known)
    if unknown.any():
        row = int(np.argmax(unknown))
        why = f"unknown isotopologue; known: {', '.join(map(str, known)) or 'none'}"
        raise records.fail(row, "isotopologue", 3, 3, why, "isotopologue")
    return number


def _codes(records: Records) -> dict[str, NDArray[np.int8]]:
    """Uncertainty codes, blank as 0; they and the references are digits and blanks."""
    part = records.text[:, 127:145]
    bad = ~_INTEGER[part].all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise records.fail(
            row, "codes", 128, 145, "error codes and references must be digits", "codes"
        )
    digits = np.maximum(part.astype(np.int16) - _ZERO, 0).astype(np.int8)
    return {f"{name}_code": digits[:, i].copy() for i, name in enumerate(CODES)}


def _band(records: Records) -> NDArray[np.bytes_]:
    """Upper and lower global quanta of each line, such as ``V11<GROUND``.

    Editions write the same quanta with other blanks, so that only one is kept between
    two words.
    """
    ends = [records.column(68, 82), records.column(83, 97)]
    words = []
    for column in ends:
        known, place = np.unique(column, return_inverse=True)
        tidy = [b" ".join(name.split()) for name in known.tolist()]
        words.append(np.array(tidy, "S15")[place])
    return np.char.add(np.char.add(words[0], b"<"), words[1])


def convert(
    records: Records, isotopologues: dict[int, tuple[int, ...]], *, fortran: bool
) -> dict[str, NDArray[Any]]:
    """Convert ``molecule``, ``isotopologue``, `FIELDS`, ``band`` and `CODES`.

    `isotopologues`: those of each molecule of HITRAN; `fortran` accepts ``1.0D-20`` and
    ``1.0-120`` in the intensities.

    Raises
    ------
    LineListError
        At the first faulty field.
    """
    molecule = _molecule(records)
    number = int(molecule[0])
    if number not in isotopologues:
        low, high = min(isotopologues), max(isotopologues)
        why = f"the molecule is not known: HITRAN has numbers {low} to {high}"
        raise records.fail(0, "molecule", 1, 2, why, "molecule")
    out: dict[str, NDArray[Any]] = {
        "molecule": molecule,
        "isotopologue": _isotopologue(records, isotopologues[number]),
    }
    for name, spec in FIELDS.items():
        out[name] = _number(records, name, spec, fortran=fortran)
    return {**out, "band": _band(records), **_codes(records)}
