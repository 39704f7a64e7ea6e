"""Special constants of a label, as values of the type that they stand for.

A constant is text. It is compared with what is stored, before any scaling, in the
type of the field: ``-1E32`` of a single-precision field is the float nearest to it.
What is written in base 2, 8 or 16 (``16#FF7FFFFB#``, ``0xFFFF``) are the bits, the
most significant one first. No constant is dropped without a word: one that is no
value of its type is taken as the bits of an integer of the other sign, where it can
be, and said to be; all others are reported as of no use.

References
----------
PDS4 information model 1.15, ``Special_Constants``.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tgo_spectra.errors import TgoWarning
from tgo_spectra.pds4.fields import (
    INTEGER_TYPES,
    KNOWN_TYPES,
    REAL_TYPES,
    TEXT_TYPES,
    base_of,
)
from tgo_spectra.pds4.xml import number

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Constants",
    "based",
    "complex_or_real",
    "integer_constants",
    "limits",
    "notes_of",
    "real_constants",
    "same_word",
    "stored_constants",
    "warn_of_values",
    "whole",
]

_BASED = re.compile(r"(?:0([xXoObB])|(2|8|16)#)([0-9A-Fa-f]+)#?")
_LETTERS = {"x": 16, "o": 8, "b": 2}
_BITS = {2: 1, 8: 3, 16: 4}  # of one digit
_WORDS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
_DIGITS = re.compile(r"[+-]?[0-9]{1,255}")
_PART = r"[+-]?[0-9.]+(?:[Ee][+-]?[0-9]+)?"
_COMPLEX = re.compile(
    rf"\(\s*({_PART})\s*,\s*({_PART})\s*\)|({_PART})\s*((?=[+-]){_PART})[ijIJ]"
)
_EXPONENT = re.compile(r"[Ee]([+-]?[0-9]+)")
_EXPONENT_MAX = 400  # beyond every float64, and small enough to write out
_SURE_DIGITS = 6  # with so many, a decimal constant was cut from a binary float
_BY_LETTERS = "no such number: cells are compared with it letter by letter"
_NO_LIMIT = "of no use as a limit"
# relative: eight spacings of single precision, as neighbouring floats are used as
# constants of different meaning
_SINGLE = 2.0**-20


class Constants(NamedTuple):
    """Special constants of one type, and what is to be said of them.

    Attributes
    ----------
    values : tuple
        Of the type, to be compared for equality.
    texts : tuple of str
        As in the label, one for each value.
    notes : tuple of (str, str)
        Constants that are of no use, or are read otherwise than as written, and how.
    """

    values: tuple[Any, ...]
    texts: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


def based(text: str) -> tuple[int, int] | None:
    """Return an integer written with its base, and the bits that its digits hold.

    Examples
    --------
    >>> based("16#00FF#"), based("0b101"), based("8#17"), based("2#3#"), based("17")
    ((255, 16), (5, 3), (15, 6), None, None)
    """
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    base = _LETTERS[match[1].lower()] if match[1] else int(match[2])
    try:
        return int(match[3], base), _BITS[base] * len(match[3])
    except ValueError:
        return None


def whole(text: str) -> int | None:
    """Return a decimal number as an integer of any size, None if it is none.

    Examples
    --------
    >>> whole("-32768.0"), whole("1.8446744073709551615E19"), whole("0.5")
    (-32768, 18446744073709551615, None)
    """
    if _DIGITS.fullmatch(text):
        return int(text)  # not by way of float, which rounds
    exponent = _EXPONENT.search(text)
    if number(text) is None or (exponent and abs(int(exponent[1])) > _EXPONENT_MAX):
        return None
    exact = Fraction(text)
    return int(exact) if exact.denominator == 1 else None


def _word(text: str) -> float | None:
    """Return what words such as ``-Infinity`` and ``NaN`` stand for."""
    value = _WORDS.get(text.lstrip("+-").lower()) if text[1:2] not in "+-" else None
    return -value if value is not None and text.startswith("-") else value


def same_word(cell: str, texts: Sequence[str]) -> bool:
    """Say whether a cell is one of the constants: letter by letter, or the same word.

    Examples
    --------
    >>> same_word("N/A", ["N/A"]), same_word("-inf", ["-Infinity"])
    (True, True)
    >>> same_word("inf", ["-Infinity", "n/a"])
    False
    """
    if cell in texts:
        return True
    value = _word(cell)
    # by their letters, as NaN is not equal to itself
    return value is not None and str(value) in {str(_word(text)) for text in texts}


def complex_or_real(text: str) -> complex | None:
    """Return text as a number of any kind, infinite ones and NaN among them.

    Examples
    --------
    >>> complex_or_real("-Infinity"), complex_or_real("(1, -2)")
    ((-inf+0j), (1-2j))
    """
    real = number(text)
    real = _word(text) if real is None else real
    if real is not None:
        return complex(real)
    match = _COMPLEX.fullmatch(text)
    if match is None:
        return None
    parts = [number(part) for part in match.groups() if part is not None]
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        return None
    return complex(parts[0], parts[1])


def _integer(text: str, bits: int, *, signed: bool) -> tuple[int | None, str]:
    """Return a constant as an integer of so many bits, and what is odd about it."""
    least, most = (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    )
    found = based(text)
    if found is not None:
        value = found[0] if found[0] <= most else found[0] - 2**bits
        return (value, "") if value >= least and found[0] < 2**bits else (None, "")
    decimal = whole(text)
    if decimal is None:
        return None, ""
    if least <= decimal <= most:
        return decimal, ""
    if -(2 ** (bits - 1)) <= decimal < 2**bits:
        value = decimal % 2**bits if not signed else decimal - 2**bits
        return value, f"read as its {bits} bits, which are {value}"
    return None, ""


def _floating(text: str, dtype: np.dtype[Any]) -> Any:
    """Return a constant as a value of a real or complex type, None if it is none."""
    found = based(text)
    if found is not None:
        value, bits = found
        if bits != 8 * dtype.itemsize:
            return None
        data = value.to_bytes(dtype.itemsize, "big")
        return np.frombuffer(data, dtype.newbyteorder(">"))[0].astype(dtype)
    exact = complex_or_real(text)
    if exact is None or (exact.imag and dtype.kind != "c"):
        return None
    with np.errstate(over="ignore", under="ignore"):
        result = dtype.type(exact if dtype.kind == "c" else exact.real)
    for given, got in ((exact.real, result.real), (exact.imag, result.imag)):
        # 1e300 is no float32, and 1e-300 is not its zero
        if (math.isfinite(given) and not math.isfinite(got)) or (given and not got):
            return None
    return result


@lru_cache(maxsize=256)
def stored_constants(
    texts: tuple[str, ...], dtype: np.dtype[Any], bits: int | None = None
) -> Constants:
    """Return special constants as values of a binary type in native byte order.

    `texts` are as in the label; `bits` those of an integer narrower than `dtype`.

    Examples
    --------
    >>> stored_constants(("-999", "16#FFFF#", "N/A"), np.dtype("i2")).values
    (np.int16(-999), np.int16(-1))
    """
    values: list[Any] = []
    used: list[str] = []
    notes: list[tuple[str, str]] = []
    for text in texts:
        note = ""
        value: Any
        if dtype.kind in "iu":
            wide = 8 * dtype.itemsize if bits is None else bits
            value, note = _integer(text, wide, signed=dtype.kind == "i")
            value = None if value is None else dtype.type(value)
        else:
            value = _floating(text, dtype)
        if value is None:
            note = "of no use: values that stand for it cannot be told from data"
        else:
            values.append(value)
            used.append(text)
        if note:
            notes.append((text, note))
    return Constants(tuple(values), tuple(used), tuple(notes))


@lru_cache(maxsize=256)
def real_constants(texts: tuple[str, ...]) -> Constants:
    """Return special constants as values of real numbers that are written as text.

    Words are left out: cells are compared with them letter by letter, which is said of
    those that have digits. A constant in another base is tried as an integer and as the
    bits of a float.
    """
    values: list[float] = []
    used: list[str] = []
    notes: list[tuple[str, str]] = []
    for text in texts:
        real = number(text)
        found = based(text)
        if found is not None:
            readings = [float(found[0])] if found[0].bit_length() <= 64 else []
            bits = (_floating(text, np.dtype(kind)) for kind in ("f4", "f8"))
            readings += [float(value) for value in bits if value is not None]
            notes.append((text, f"read as {' or '.join(map(repr, readings))}"))
        else:
            readings = [] if real is None else [real]
            if real is None and _word(text) is None and re.search("[0-9]", text):
                notes.append((text, _BY_LETTERS))
        values += readings
        used += [text] * len(readings)
    return Constants(tuple(values), tuple(used), tuple(notes))


@lru_cache(maxsize=256)
def integer_constants(
    texts: tuple[str, ...], base: int | None = None, length: int = 0
) -> Constants:
    """Return special constants as integers that are written as text, of any size.

    Words are left out, as by `real_constants`. `base`: of the numbers in the cells, and
    so of their constants; `length`: characters of a cell, 0 if not known; a constant
    that needs more is a decimal number, and said to be.

    Examples
    --------
    >>> integer_constants(("-1.0", "16#FF#", "N/A")).values
    (-1, 255)
    >>> integer_constants(("ff", "65535"), 16, 4).values
    (255, 65535)
    >>> integer_constants(("ff", "65535"), 16, 4).notes
    (('65535', 'read as the decimal number'),)
    """
    values: list[int] = []
    used: list[str] = []
    notes: list[tuple[str, str]] = []
    for text in texts:
        value = None
        if base is not None and text.isalnum() and text.isascii():
            with contextlib.suppress(ValueError):
                value = int(text, base)
        if value is not None and length and len(text.lstrip("0")) > length:
            value = None
        if value is None:
            value = (based(text) or (whole(text),))[0]
            if base is not None and value is not None and based(text) is None:
                notes.append((text, "read as the decimal number"))
        if value is not None:
            values.append(value)
            used.append(text)
        elif number(text) is None and _word(text) is None and re.search("[0-9]", text):
            notes.append((text, _BY_LETTERS))
    return Constants(tuple(values), tuple(used), tuple(notes))


def notes_of(
    texts: tuple[str, ...],
    valid: tuple[str, str],
    data_type: str,
    dtype: np.dtype[Any] | None,
    bits: int | None = None,
    length: int = 0,
) -> list[tuple[str, str]]:
    """Return what is to be said of the special constants of a field or an array.

    `dtype` is that of what is stored, None for text and bit strings; `length` the
    characters of a cell, 0 if not known.
    """
    notes: list[tuple[str, str]] = []
    base = base_of(data_type, length)
    kind = dtype
    if dtype is not None:
        notes += stored_constants(texts, dtype, bits).notes
    elif data_type in REAL_TYPES:
        notes += real_constants(texts).notes
        kind = np.dtype(np.float64)
    elif data_type in INTEGER_TYPES or base is not None:
        notes += integer_constants(texts, base, length).notes
        kind = np.dtype(np.int64)
    elif data_type in TEXT_TYPES or data_type == "ASCII_Boolean":
        return notes  # words have no order, so no limits
    elif data_type not in KNOWN_TYPES:
        why = "of no use: bit strings are given as they are"
        notes += [(text, why) for text in texts]
    if kind is None or kind.kind == "c":
        return [*notes, *((text, _NO_LIMIT) for text in valid if text)]
    return [*notes, *limits(valid, kind, bits)[1]]


def limits(
    valid: tuple[str, str], dtype: np.dtype[Any], bits: int | None = None
) -> tuple[list[Any], list[tuple[str, str]]]:
    """Return valid_minimum and valid_maximum as numbers, and which are none.

    `valid` are the texts of the label, empty if not given; None is no such limit. As in
    `stored_constants` otherwise.

    Examples
    --------
    >>> limits(("-0.5", "1E2"), np.dtype("i1"))
    ([0, 100], [])
    >>> limits(("low", ""), np.dtype("f4"))
    ([None, None], [('low', 'of no use as a limit')])
    """
    found: list[Any] = []
    notes: list[tuple[str, str]] = []
    for text, rounded in zip(valid, (math.ceil, math.floor), strict=True):
        number_ = complex_or_real(text) if text else None
        value: Any = None
        if based(text) is not None:
            value = stored_constants((text,), dtype, bits).values[:1] or None
            value = None if value is None else value[0]
        elif number_ is not None and not number_.imag and number_ == number_:
            value = number_.real
            if dtype.kind in "iu" and math.isfinite(value):
                exact = whole(text)
                value = rounded(value) if exact is None else exact
            elif dtype.itemsize == 4 and abs(value) <= np.finfo(np.float32).max:
                value = np.float32(value)
        if text and value is None:
            notes.append((text, _NO_LIMIT))
        found.append(value)
    return found, notes


def _nearness(text: str, dtype: np.dtype[Any]) -> float:
    """Return the relative distance at which a value may be meant by a constant."""
    mantissa = re.split("[Ee]", text)[0]
    digits = len(re.sub(r"\D", "", mantissa).lstrip("0"))
    written = 0.5 * 10.0 ** (1 - digits) if digits >= _SURE_DIGITS else 0.0
    return max(written, _SINGLE if dtype.kind in "fc" else 0.0)


def warn_of_values(
    stored: np.ndarray[Any, Any],
    missing: np.ndarray[Any, np.dtype[np.bool_]],
    constants: Constants,
    valid: tuple[Any, Any],
    where: str,
) -> None:
    """Warn of values that are kept as data and may stand for something else.

    A value that differs from a special constant by no more than the digits written or
    single precision may have been meant by it, and so may a complex number of which
    both parts equal a real constant. `stored`: numbers before scaling; `missing`, of
    its shape: which are no data; `valid`: lowest and highest; `where`: file and field.
    """
    kind = stored.dtype.kind
    if kind in "fc":
        done = missing.copy()
        for value, text in zip(constants.values, constants.texts, strict=True):
            if not np.isfinite(value) or value == 0:
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                room = abs(value) * _nearness(text, stored.dtype)
                close = np.abs(stored - value) <= room
            if kind == "c" and value.imag == 0:
                close |= (stored.real == value.real) & (stored.imag == value.real)
            _warn(stored, close & ~done, f"nearly the special constant {text}", where)
            done |= close
    if kind != "c":
        for limit, wrong, name in zip(
            valid,
            (np.less, np.greater),
            ("below valid_min", "above valid_max"),
            strict=True,
        ):
            if limit is not None:
                beyond = wrong(stored, limit) & ~missing
                _warn(stored, beyond, f"{name}imum {limit}", where)


def _warn(
    stored: np.ndarray[Any, Any],
    which: np.ndarray[Any, np.dtype[np.bool_]],
    what: str,
    where: str,
) -> None:
    n = int(np.count_nonzero(which))
    if n:
        first = np.asarray(stored)[which].flat[0].item()
        rule = "table.field_value_out_of_special_constant_min_max_range"
        if what.startswith("nearly"):
            rule = "label.special_constant_mismatch"
        text = f"{where}: {n} of {which.size} values are {what} of the label"
        text += f", the first is {first}: kept as data [{rule}]"
        warnings.warn(text, TgoWarning, stacklevel=4)
