"""What a result says of itself: the bits of ``quality_flag``.

The one table of reasons. Level 2 carries them in ``quality_flag``, a number with one
bit a reason: of a joint fit a scalar, of spectra fitted each by itself one for each. 0
says that nothing was found. A result with a severe reason is not to be used as it
stands: maps leave it out by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    Flags = npt.NDArray[np.int32]

__all__ = [
    "REASONS",
    "SEVERE",
    "Reason",
    "counts",
    "flag_attributes",
    "names",
    "overall",
    "pack",
    "pack_rows",
    "reasons",
    "severe",
]


@dataclass(frozen=True)
class Reason:
    """Why a result is not to be taken as it stands.

    Attributes
    ----------
    name : str
        As in ``flag_meanings``.
    mask : int
        The bit.
    severe : bool
        Whether the result is not to be used for that.
    meaning : str
        One sentence.
    """

    name: str
    mask: int
    severe: bool
    meaning: str


# The order is that of the bits: a new reason comes last, and none is dropped.
REASONS: tuple[Reason, ...] = tuple(
    Reason(name, 1 << bit, severe, meaning)
    for bit, (name, severe, meaning) in enumerate(
        [
            ("not_converged", True, "The fit ended before it converged."),
            (
                "poor_fit",
                True,
                "The residuals are larger than the errors of the spectra allow.",
            ),
            (
                "noise_inconsistent",
                False,
                "The scatter of the residuals is not that of the stated errors.",
            ),
            (
                "correlated_residuals",
                False,
                "The residuals of neighbouring pixels are correlated.",
            ),
            (
                "lines_disagree",
                True,
                "The lines of a gas do not agree on its amount.",
            ),
            (
                "parameter_at_limit",
                True,
                "A fitted parameter is further from its a priori than it can be.",
            ),
            (
                "reference_atmosphere",
                False,
                "Pressure and temperature are those of the reference atmosphere.",
            ),
            (
                "extrapolated_atmosphere",
                False,
                "The atmosphere was extended beyond the heights that were given.",
            ),
            (
                "interferents_missing",
                False,
                "A gas that absorbs in the window is not fitted.",
            ),
            (
                "calibration_failed",
                True,
                "The producer says that the calibration of the product failed.",
            ),
            (
                "few_spectra",
                False,
                "Few spectra are usable, or none of this row.",
            ),
            (
                "pattern_in_residual",
                False,
                "The same pattern is left in the residuals of many spectra.",
            ),
            (
                "lines_not_compared",
                False,
                "One manifold alone tells of a gas: no other lines can contradict it.",
            ),
            (
                "error_depends_on_value",
                True,
                "Noise makes small columns' errors small, means off: average spectra.",
            ),
        ]
    )
)
"""All reasons, by ascending bit."""

_BY_NAME = {reason.name: reason for reason in REASONS}

SEVERE: int = sum(reason.mask for reason in REASONS if reason.severe)
"""All bits that keep a result out of maps."""


def pack(found: Iterable[str]) -> np.int32:
    """Return the flag of a result.

    Parameters
    ----------
    found : iterable of str
        Names of the reasons.

    Returns
    -------
    int32

    Raises
    ------
    TgoError
        There is no such reason (``quality.reason``).

    Examples
    --------
    >>> int(pack(["poor_fit", "reference_atmosphere"]))
    66
    """
    flag = 0
    for name in found:
        flag |= _reason(name).mask
    return np.int32(flag)


def pack_rows(found: Mapping[str, npt.ArrayLike]) -> Flags:
    """Return the flags of rows that are fitted each by itself.

    Parameters
    ----------
    found : mapping of str to array of bool, shape (row,) or scalar
        By name of the reason: for which rows it holds.

    Returns
    -------
    array of int32, shape (row,)

    Raises
    ------
    TgoError
        There is no such reason (``quality.reason``).

    Examples
    --------
    >>> pack_rows({"not_converged": [True, False], "calibration_failed": True})
    array([513, 512], dtype=int32)
    """
    flags = np.zeros((), dtype=np.int32)
    for name, where in found.items():
        flags = flags | np.where(where, np.int32(_reason(name).mask), np.int32(0))
    return np.asarray(flags, dtype=np.int32)


def names(flags: npt.ArrayLike) -> tuple[str, ...]:
    """Return the names of the reasons in a flag, or of those in any of several.

    Parameters
    ----------
    flags : int or array of int

    Returns
    -------
    tuple of str
        By ascending bit.

    Examples
    --------
    >>> names(66), names([1, 0, 2]), names(0)
    (('poor_fit', 'reference_atmosphere'), ('not_converged', 'poor_fit'), ())
    """
    return tuple(reason.name for reason in REASONS if _any(flags, reason.mask))


def reasons(flags: npt.ArrayLike) -> tuple[str, ...]:
    """Return the reasons in a flag, or in any of several, as sentences.

    Parameters
    ----------
    flags : int or array of int

    Returns
    -------
    tuple of str
        By ascending bit.

    Examples
    --------
    >>> reasons(1)
    ('The fit ended before it converged.',)
    """
    return tuple(reason.meaning for reason in REASONS if _any(flags, reason.mask))


def severe(flags: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which flags have a severe reason.

    Parameters
    ----------
    flags : int or array of int

    Returns
    -------
    array of bool, of the same shape

    Examples
    --------
    >>> bool(severe(2)), severe([0, 1, 64]).tolist()
    (True, [False, True, False])
    """
    return np.asarray((np.asarray(flags) & SEVERE) != 0)


def overall(flags: npt.ArrayLike) -> np.int32:
    """Return the flag of a product: its own, or what holds for half of its rows.

    Parameters
    ----------
    flags : int or array of int, shape (row,)

    Returns
    -------
    int32
        The reasons of at least half of the rows; where half of the rows have a severe
        reason, be it each another one, also all the severe reasons that there are.

    Examples
    --------
    >>> names(overall([1, 2, 64, 64]))
    ('not_converged', 'poor_fit', 'reference_atmosphere')
    >>> names(overall([1, 0, 0]))
    ()
    """
    rows = np.atleast_1d(np.asarray(flags))
    if not rows.size:
        return np.int32(0)
    half = rows.size / 2
    found = [r.mask for r in REASONS if np.count_nonzero(rows & r.mask) >= half]
    if np.count_nonzero(severe(rows)) >= half:
        found.append(int(np.bitwise_or.reduce(rows)) & SEVERE)
    return np.int32(np.bitwise_or.reduce(found, initial=0, dtype=np.int64))


def counts(flags: npt.ArrayLike) -> dict[str, int]:
    """Count the flags that have each reason; those that none has are left out.

    Parameters
    ----------
    flags : int or array of int

    Returns
    -------
    dict of str to int
        By ascending bit.

    Examples
    --------
    >>> counts([2, 66, 0])
    {'poor_fit': 2, 'reference_atmosphere': 1}
    """
    bits = np.asarray(flags)
    found = {r.name: int(np.count_nonzero(bits & r.mask)) for r in REASONS}
    return {name: number for name, number in found.items() if number}


def flag_attributes() -> dict[str, str | Flags]:
    """Return what CF asks for of a variable with these bits.

    Returns
    -------
    dict
        ``flag_masks``, ``flag_meanings`` and ``comment``.

    Examples
    --------
    >>> flag_attributes()["flag_meanings"].split()[:2]
    ['not_converged', 'poor_fit']
    """
    grave = ", ".join(reason.name for reason in REASONS if reason.severe)
    return {
        "flag_masks": np.array([reason.mask for reason in REASONS], dtype=np.int32),
        "flag_meanings": " ".join(reason.name for reason in REASONS),
        "comment": f"0: nothing to say; not to be used as it stands with {grave}",
    }


def _reason(name: str) -> Reason:
    if name not in _BY_NAME:
        message = f"no reason of quality_flag; those are {', '.join(_BY_NAME)}"
        raise TgoError(message, field="quality_flag", value=name, rule="quality.reason")
    return _BY_NAME[name]


def _any(flags: npt.ArrayLike, mask: int) -> bool:
    return bool(np.any(np.asarray(flags) & mask))
