"""What complete line lists hold, to tell a complete list from a sample of one.

A list of every hundredth line reads like a whole one, and the table made from it looks
right. ``data/ledger.csv`` therefore states how many lines HITRAN has of each
isotopologue in each 50 cm-1, and the sum of their intensities at 296 K: numbers counted
by `census` in complete lists, no lines. They are for the windows of TGO only; what lies
outside them cannot be judged, which is said and not guessed.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import xarray as xr

__all__ = [
    "CITATIONS",
    "Share",
    "census",
    "edition_of",
    "edition_year",
    "is_sample",
    "is_whole",
    "shares",
    "too_short",
    "with_edition",
    "write_ledger",
]

BIN = 50
"""cm-1; bins begin at whole multiples."""

CITATIONS = {
    "HITRAN2012": "Rothman et al. 2013, JQSRT 130, 4, doi:10.1016/j.jqsrt.2013.07.002",
    "HITRAN2016": "Gordon et al. 2017, JQSRT 203, 3, doi:10.1016/j.jqsrt.2017.06.038",
    "HITRAN2020": (
        "Gordon et al. 2022, JQSRT 277, 107949, doi:10.1016/j.jqsrt.2021.107949"
    ),
}
"""What to cite for an edition."""

SAMPLE = 0.5
"""A list with less of the intensity than this is a sample, or another part."""
WHOLE = 0.99
"""A list with this part of the intensity, and `WHOLE_LINES` of the lines, is whole:
editions of the gases here agree to a few 1e-3 in windows of 100 cm-1 and more."""
WHOLE_LINES = 0.7
HOLE = 0.5
"""A bin with less of its intensity than this is a hole, if it matters: `HOLE_MATTERS`
of the isotopologue's intensity."""
HOLE_MATTERS = 0.01
SAME = 1e-5
"""Sums of intensities of one list agree to this, relative."""
MISSING = 0.01
"""Part of a gas's intensity that may be missing in all."""
MOST = 0.9
"""Part of the intensity whose numbers must be those of an edition."""

_HEADER = """\
# Lines of HITRAN and the sum of their intensities at 296 K, cm-1/(molecule cm-2), by
# molecule, isotopologue, edition and 50 cm-1 from the wavenumber given. Counted by
# tgo_spectra.spectroscopy.ledger; no line can be taken from them.
# whole: 1 = all lines of the isotopologue, 0 = some bands only, to know the edition by.
# HITRAN2012: {HITRAN2012}
# HITRAN2016: {HITRAN2016}
# HITRAN2020: {HITRAN2020}
"""


@dataclass(frozen=True)
class _Entry:
    edition: str
    whole: bool
    lines: int
    intensity: float


@dataclass(frozen=True)
class Share:
    """What a list holds of an isotopologue, beside what the ledger states.

    Attributes
    ----------
    isotopologue : int
        HITRAN number.
    low, high : float
        What could be judged, cm-1: whole bins that the ledger knows.
    lines, ledger_lines : int
        Numbers of lines.
    intensity, ledger_intensity : float
        Summed intensities at 296 K, cm-1/(molecule cm-2).
    edition : str
        Edition that the ledger's numbers are of.
    holes : tuple of int
        Lower edges of bins that hold less than half of what they must.
    """

    isotopologue: int
    low: float
    high: float
    lines: int
    ledger_lines: int
    intensity: float
    ledger_intensity: float
    edition: str
    holes: tuple[int, ...] = ()

    @property
    def part(self) -> float:
        """Part of the ledger's intensity."""
        return self.intensity / self.ledger_intensity

    def in_words(self) -> str:
        """Say it for a message.

        Examples
        --------
        >>> Share(1, 3000, 3100, 5, 400, 1e-22, 1e-20, "HITRAN2020").in_words()
        'isotopologue 1: 5 of 400 lines, 1.0 % of the intensity of HITRAN2020 in 3000-3100 cm-1'
        """  # noqa: E501
        holes = ""
        if self.holes:
            some = ", ".join(f"{low}-{low + BIN}" for low in self.holes[:3])
            more = f" and {len(self.holes) - 3} more" if len(self.holes) > 3 else ""
            holes = f", little or nothing in {some}{more}"
        return (
            f"isotopologue {self.isotopologue}: {self.lines} of {self.ledger_lines} "
            f"lines, {100 * self.part:.1f} % of the intensity of {self.edition} in "
            f"{self.low:g}-{self.high:g} cm-1{holes}"
        )


@cache
def _ledger() -> dict[tuple[int, int], dict[int, tuple[_Entry, ...]]]:
    """Entries by molecule and isotopologue and by bin, the newest edition first."""
    text = files(__package__).joinpath("data/ledger.csv").read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    found: dict[tuple[int, int], dict[int, tuple[_Entry, ...]]] = {}
    for molecule, isotopologue, edition, whole, low, lines, intensity in rows[1:]:
        bins = found.setdefault((int(molecule), int(isotopologue)), {})
        entry = _Entry(edition, whole == "1", int(lines), float(intensity))
        some = (*bins.get(int(low), ()), entry)
        bins[int(low)] = tuple(sorted(some, key=lambda e: e.edition, reverse=True))
    return found


def census(
    lines: xr.Dataset, low: float, high: float
) -> dict[tuple[int, int], tuple[int, float]]:
    """Count the lines of each isotopologue in whole bins, and sum their intensities.

    Parameters
    ----------
    lines : Dataset
        From `read_line_list`.
    low, high : float
        Only bins between these are counted, cm-1.

    Returns
    -------
    dict
        By isotopologue and lower edge of the bin: lines, and cm-1/(molecule cm-2).
        Bins without a line are left out.

    Examples
    --------
    >>> import xarray as xr
    >>> lines = xr.Dataset({"wavenumber": ("line", [3001.0, 3060.0, 3061.0]),
    ...     "isotopologue": ("line", [1, 1, 1]), "intensity": ("line", [1.0, 2.0, 2])})
    >>> census(lines, 3000, 3100)
    {(1, 3000): (1, 1.0), (1, 3050): (2, 4.0)}
    """
    edges = np.arange(np.ceil(low / BIN), np.floor(high / BIN) + 1) * BIN
    found: dict[tuple[int, int], tuple[int, float]] = {}
    if edges.size < 2:
        return found
    wavenumber = lines["wavenumber"].values
    iso, intensity = lines["isotopologue"].values, lines["intensity"].values
    for number in np.unique(iso).tolist():
        here = iso == number
        counts = np.histogram(wavenumber[here], edges)[0]
        sums = np.histogram(wavenumber[here], edges, weights=intensity[here])[0]
        for edge, count, total in zip(edges, counts, sums, strict=False):
            if count:
                found[number, int(edge)] = int(count), float(total)
    return found


def _molecule(lines: xr.Dataset) -> int:
    return int(lines["molecule"].values[0])


def _reach(lines: xr.Dataset) -> tuple[float, float]:
    wavenumber = lines["wavenumber"].values
    return float(wavenumber.min()), float(wavenumber.max())


def shares(
    lines: xr.Dataset,
    low: float | None = None,
    high: float | None = None,
    isotopologues: Sequence[int] | None = None,
) -> tuple[Share, ...]:
    """Compare a list with the ledger.

    Parameters
    ----------
    lines : Dataset
        From `read_line_list`, at least one line.
    low, high : float, optional
        Range to be judged, cm-1; default: from the first line of the list to its last.
    isotopologues : sequence of int, optional
        HITRAN numbers; default: those of which the list has lines.

    Returns
    -------
    tuple of Share
        One for each isotopologue that the ledger knows there; of several editions that
        counts in each bin whose intensity is nearest.
    """
    first, last = _reach(lines)
    low, high = first if low is None else low, last if high is None else high
    if isotopologues is None:
        isotopologues = np.unique(lines["isotopologue"].values).tolist()
    counted = census(lines, low, high)
    known, found = _ledger(), []
    for iso in isotopologues:
        bins = {
            edge: _nearest(entries, counted.get((iso, edge), (0, 0.0))[1])
            for edge, entries in sorted(known.get((_molecule(lines), iso), {}).items())
            if low <= edge and edge + BIN <= high and any(e.whole for e in entries)
        }
        total = sum(entry.intensity for entry in bins.values())
        if not total > 0.0:
            continue
        here = {edge: counted.get((iso, edge), (0, 0.0)) for edge in bins}
        holes = tuple(
            edge
            for edge, entry in bins.items()
            if entry.intensity > HOLE_MATTERS * total
            and here[edge][1] < HOLE * entry.intensity
        )
        found.append(
            Share(
                isotopologue=int(iso),
                low=float(min(bins)),
                high=float(max(bins) + BIN),
                lines=sum(n for n, _ in here.values()),
                ledger_lines=sum(entry.lines for entry in bins.values()),
                intensity=sum(s for _, s in here.values()),
                ledger_intensity=total,
                edition=" and ".join(sorted({e.edition for e in bins.values()})),
                holes=holes,
            )
        )
    return tuple(found)


def _nearest(entries: Iterable[_Entry], intensity: float) -> _Entry:
    """Return the complete entry whose intensity is nearest, in proportion."""

    def distance(entry: _Entry) -> float:
        return abs(float(np.log((intensity + 1e-40) / (entry.intensity + 1e-40))))

    return min((entry for entry in entries if entry.whole), key=distance)


def is_sample(judged: Iterable[Share]) -> bool:
    """Tell whether a list holds too little of its isotopologues to be their list."""
    some = list(judged)
    wanted = sum(share.ledger_intensity for share in some)
    return bool(some) and sum(share.intensity for share in some) < SAMPLE * wanted


def is_whole(share: Share) -> bool:
    """Tell whether a list holds all of an isotopologue where it could be judged."""
    enough = share.lines >= WHOLE_LINES * share.ledger_lines
    return share.part >= WHOLE and enough and not share.holes


def too_short(judged: Iterable[Share]) -> list[Share]:
    """Return the isotopologues of which so much is missing that a list will not do.

    Nothing is missing up to 1 % of the intensity of all together and without a hole;
    beyond, the isotopologues are returned that make up most of it.
    """
    some = list(judged)
    wanted = sum(share.ledger_intensity for share in some)
    lost = [max(share.ledger_intensity - share.intensity, 0.0) for share in some]
    return [
        share
        for share, short in zip(some, lost, strict=True)
        if (sum(lost) > MISSING * wanted and short > 0.1 * sum(lost))
        or (share.holes and share.ledger_intensity > MISSING * wanted)
    ]


def with_edition(lines: xr.Dataset) -> xr.Dataset:
    """Return a list with the edition that its content tells, where none is stated."""
    if lines.attrs.get("edition", "not stated") != "not stated":
        return lines
    edition = edition_of(lines)
    if edition:
        lines = lines.assign_attrs(edition=edition)
    if edition in CITATIONS:
        lines = lines.assign_attrs(citation=f"{edition}: {CITATIONS[edition]}")
    return lines


def edition_of(lines: xr.Dataset) -> str:
    """Name the edition of a list by its content.

    Parameters
    ----------
    lines : Dataset
        From `read_line_list`.

    Returns
    -------
    str
        The edition of the ledger whose numbers of lines and sums are those of the list
        in all whole bins, for isotopologues with nearly all of the intensity; empty if
        there is none.
    """
    low, high = _reach(lines)
    counted, known = census(lines, low, high), _ledger()
    agree: dict[str, float] = {}
    judged = 0.0
    for iso in np.unique(lines["isotopologue"].values).tolist():
        bins = known.get((_molecule(lines), iso), {})
        inside = [edge for edge in bins if low <= edge and edge + BIN <= high]
        here = {edge: counted.get((iso, edge), (0, 0.0)) for edge in inside}
        judged += sum(total for _, total in here.values())
        same: dict[str, bool] = {}
        for edge, (number, total) in here.items():
            for entry in bins[edge]:
                one = number == entry.lines
                one &= abs(total - entry.intensity) <= SAME * entry.intensity
                same[entry.edition] = same.get(entry.edition, True) and one
        for edition in (name for name, all_same in same.items() if all_same):
            stated = sum(
                total
                for edge, (_, total) in here.items()
                if any(entry.edition == edition for entry in bins[edge])
            )
            agree[edition] = agree.get(edition, 0.0) + stated
    if not agree:
        return ""
    best = max(agree, key=lambda edition: (agree[edition], edition))
    return best if agree[best] > MOST * judged else ""


def edition_year(edition: str) -> int:
    """Return the year in the name of an edition, 0 if it has none.

    Examples
    --------
    >>> edition_year("HITRANonline, March 2026, not stated: HITRAN2020 or later")
    2026
    >>> edition_year("not stated")
    0
    """
    years = re.findall(r"(?<!\d)20\d\d(?!\d)", edition)
    return max(map(int, years), default=0)


def write_ledger(
    lists: Iterable[tuple[xr.Dataset, str, bool, float, float]], path: Path
) -> int:
    """Write the ledger anew.

    Parameters
    ----------
    lists : iterable of tuple
        Complete list, its edition, whether it holds all bands of its isotopologues, and
        the range that it is complete in, cm-1.
    path : Path
        File to write.

    Returns
    -------
    int
        Number of entries.
    """
    rows: dict[tuple[int, int, str, bool, int], tuple[int, float]] = {}
    for lines, edition, whole, low, high in lists:
        counted = census(lines, low, high)
        edges = range(-(-int(low) // BIN) * BIN, int(high) // BIN * BIN, BIN)
        numbers = {iso for iso, _ in counted}
        for iso, edge in itertools.product(numbers, edges):
            count, total = counted.get((iso, edge), (0, 0.0))
            key = (_molecule(lines), iso, edition, whole, edge)
            # of two lists of one edition the one with more lines is the complete one
            rows[key] = max(rows.get(key, (0, 0.0)), (count, total))
    text = [
        f"{molecule},{iso},{edition},{int(whole)},{edge},{count},{total:.6e}"
        for (molecule, iso, edition, whole, edge), (count, total) in sorted(
            rows.items()
        )
    ]
    head = "molecule,isotopologue,edition,whole,low,lines,intensity"
    content = "\n".join((head, *text))
    path.write_text(f"{_HEADER.format(**CITATIONS)}{content}\n", encoding="utf-8")
    return len(text)
