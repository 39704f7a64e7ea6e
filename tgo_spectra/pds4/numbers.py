"""Text cells to numbers: one strict grammar, exactly rounded.

Accepted is what the PDS4 types ``ASCII_Real`` and ``ASCII_Integer`` allow: blanks,
an optional sign, digits with an optional point, an optional ``E`` exponent, blanks.
``NaN``, ``Inf``, ``1_0``, ``1.5D+03``, ``0,5`` and an overflow are refused.

A cell whose digits fit in 53 bits and whose decimal exponent is at most 22 in size
is computed with one rounding, so it equals ``float(text)`` bit for bit (W. D.
Clinger, PLDI 1990, doi:10.1145/93542.93557); every other cell is marked for
Python's own ``float``.
"""

from __future__ import annotations

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

__all__ = ["BAD", "BLANK", "GOOD", "SLOW", "parse_integers", "parse_reals"]

GOOD, BLANK, SLOW, BAD = 0, 1, 2, 3
"""State of one cell after a kernel: value set, empty, left to Python, refused."""

# 10**0 ... 10**22 are the powers of ten that a float64 holds exactly.
_POWERS = np.array([10.0**e for e in range(23)])
_EXACT = np.uint64(2**53)  # every smaller integer is a float64
_ROOM = np.uint64((2**64 - 10) // 10)  # one more digit still fits in 64 bits
_USUAL_WIDTH = 13  # bytes of the form that `_usual_reals` knows
_EXPONENT_CAP = 100_000  # beyond every float64; stops the counter from overflowing


@compiled()
def _word(line: np.ndarray, place: int) -> np.uint64:
    """Return eight bytes as one integer, the first one lowest: a single load."""
    p = np.uint64(place)
    return (
        np.uint64(line[p])
        | np.uint64(line[p + np.uint64(1)]) << np.uint64(8)
        | np.uint64(line[p + np.uint64(2)]) << np.uint64(16)
        | np.uint64(line[p + np.uint64(3)]) << np.uint64(24)
        | np.uint64(line[p + np.uint64(4)]) << np.uint64(32)
        | np.uint64(line[p + np.uint64(5)]) << np.uint64(40)
        | np.uint64(line[p + np.uint64(6)]) << np.uint64(48)
        | np.uint64(line[p + np.uint64(7)]) << np.uint64(56)
    )


@compiled()
def _usual_reals(
    records: np.ndarray,
    rows: np.ndarray,
    starts: np.ndarray,
    values: np.ndarray,
    states: np.ndarray,
) -> int:
    """Parse the cells that ``"%12.5e "`` writes; return how many are different.

    Nearly all cells of the archive have this form. It is checked and converted on
    eight bytes at a time (D. Lemire, Softw. Pract. Exper. 51, 1700 (2021),
    doi:10.1002/spe.2984); other cells get the state 4.
    """
    byte = np.uint64(0xFF)
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    pair = np.uint64(0x000000FF000000FF)
    n_other = 0
    for i in range(rows.size):
        line = records[rows[i]]
        for j in range(starts.size):
            head = _word(line, starts[j])  # sign, digit, point, five digits
            tail = _word(line, starts[j] + 5)  # ..., E, sign, two digits, blank
            sign = head & byte
            minus = tail >> np.uint64(32) & byte
            good = (sign == 32) | (sign == 45) | (sign == 43)
            good &= head >> np.uint64(16) & byte == 46
            good &= tail >> np.uint64(24) & np.uint64(0xDF) == 69
            good &= (minus == 45) | (minus == 43)
            good &= tail >> np.uint64(56) == 32
            # eight digits: two zeros, then the six of the number
            word = head & np.uint64(0xFFFFFFFFFF000000) | np.uint64(0x3030)
            word |= head << np.uint64(8) & np.uint64(0xFF0000)
            carry = (word + np.uint64(0x0606060606060606)) & high
            good &= (word & high | carry >> np.uint64(4)) == np.uint64(
                0x3333333333333333
            )
            tens = (tail >> np.uint64(40) & byte) - np.uint64(48)
            ones = (tail >> np.uint64(48) & byte) - np.uint64(48)
            good &= (tens <= 9) & (ones <= 9)
            word -= np.uint64(0x3030303030303030)
            word = word * np.uint64(10) + (word >> np.uint64(8))
            word = (word & pair) * np.uint64(0x000F424000000064) + (
                word >> np.uint64(16) & pair
            ) * np.uint64(0x0000271000000001)
            value = np.float64(np.int64(word >> np.uint64(32)))
            power = np.int64(tens * np.uint64(10) + ones)
            exponent = (-power if minus == 45 else power) - 5
            if not good or exponent > 22 or exponent < -22:
                states[i, j] = 4
                n_other += 1
                continue
            if exponent < 0:
                value /= _POWERS[np.uint64(-exponent)]
            else:
                value *= _POWERS[np.uint64(exponent)]
            values[i, j] = -value if sign == 45 else value
            states[i, j] = 0
    return n_other


@compiled()
def parse_reals(
    records: np.ndarray,
    rows: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    values: np.ndarray,
    states: np.ndarray,
) -> tuple[int, int]:
    """Parse real cells into `values`, and say how each cell went in `states`.

    Parameters
    ----------
    records : ndarray of uint8, shape (record, byte)
        The table as bytes.
    rows : ndarray of int64, shape (row,)
        Records wanted.
    starts, lengths : ndarray of int64, shape (column,)
        First byte and number of bytes of each column.
    values : ndarray of float64, shape (row, column)
        Written here; NaN unless the cell is good.
    states : ndarray of uint8, shape (row, column)
        Written here: ``GOOD``, ``BLANK``, ``SLOW`` (valid, use ``float``) or ``BAD``.

    Returns
    -------
    n_blank, n_other : int
        Number of blank cells, and of cells that are slow or bad.
    """
    n_blank = 0
    n_other = 0
    usual = (lengths == _USUAL_WIDTH).all()
    if usual and not _usual_reals(records, rows, starts, values, states):
        return 0, 0
    for i in range(rows.size):
        line = records[rows[i]]
        for j in range(starts.size):
            p = starts[j]
            if usual and states[i, j] == 0:
                continue
            end = p + lengths[j]
            values[i, j] = np.nan
            while p < end and line[np.uint64(p)] == 32:
                p += 1
            while end > p and line[np.uint64(end - 1)] == 32:
                end -= 1
            if p == end:
                states[i, j] = 1
                n_blank += 1
                continue
            negative = line[np.uint64(p)] == 45
            if negative or line[np.uint64(p)] == 43:
                p += 1
            mantissa = np.uint64(0)
            n_digits = 0
            exponent = np.int64(0)
            full = False  # more digits than 64 bits hold
            fraction = False
            while p < end:
                c = np.int64(line[np.uint64(p)])
                if c == 46 and not fraction:
                    fraction = True
                elif 48 <= c <= 57:
                    n_digits += 1
                    if mantissa <= _ROOM:
                        mantissa = mantissa * np.uint64(10) + np.uint64(c - 48)
                    else:
                        full = True
                    if fraction:
                        exponent -= 1
                else:
                    break
                p += 1
            good = n_digits > 0
            if good and p < end:
                good = line[np.uint64(p)] == 69 or line[np.uint64(p)] == 101
                p += 1
                minus = False
                if (
                    good
                    and p < end
                    and (line[np.uint64(p)] == 45 or line[np.uint64(p)] == 43)
                ):
                    minus = line[np.uint64(p)] == 45
                    p += 1
                good = good and p < end
                power = np.int64(0)
                while p < end:
                    c = np.int64(line[np.uint64(p)])
                    if c < 48 or c > 57:
                        good = False
                        break
                    if power < _EXPONENT_CAP:
                        power = power * 10 + (c - 48)
                    p += 1
                exponent += -power if minus else power
            if not good:
                states[i, j] = 3
                n_other += 1
            elif full or mantissa >= _EXACT or exponent > 22 or exponent < -22:
                states[i, j] = 2
                n_other += 1
            else:
                value = np.float64(mantissa)
                if exponent < 0:
                    value /= _POWERS[-exponent]
                else:
                    value *= _POWERS[exponent]
                values[i, j] = -value if negative else value
                states[i, j] = 0
    return n_blank, n_other


@compiled()
def parse_integers(
    records: np.ndarray,
    rows: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    values: np.ndarray,
    states: np.ndarray,
) -> tuple[int, int]:
    """Parse integer cells as `parse_reals`, values int64; count blank and bad cells.

    A value outside the 64-bit range is ``BAD``.
    """
    n_blank = 0
    n_bad = 0
    for i in range(rows.size):
        line = records[rows[i]]
        for j in range(starts.size):
            p = starts[j]
            end = p + lengths[j]
            values[i, j] = 0
            while p < end and line[np.uint64(p)] == 32:
                p += 1
            while end > p and line[np.uint64(end - 1)] == 32:
                end -= 1
            if p == end:
                states[i, j] = 1
                n_blank += 1
                continue
            negative = line[np.uint64(p)] == 45
            if negative or line[np.uint64(p)] == 43:
                p += 1
            good = p < end
            value = np.int64(0)
            while p < end and good:
                c = np.int64(line[np.uint64(p)])
                if c < 48 or c > 57:
                    good = False
                elif value < -922337203685477580 or (
                    value == -922337203685477580 and c - 48 > (8 if negative else 7)
                ):
                    good = False  # leaves the 64-bit range
                else:
                    value = value * 10 - (c - 48)  # negative: one value more fits
                p += 1
            if good:
                values[i, j] = value if negative else -value
                states[i, j] = 0
            else:
                states[i, j] = 3
                n_bad += 1
    return n_blank, n_bad
