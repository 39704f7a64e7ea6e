"""The lists of some gases from a folder of whatever lists there are.

Names of files mean nothing: the first record tells the molecule, the content the
isotopologues and the range, and the ledger whether a list is complete, a sample, or of
some bands only. Samples are left aside by name, with their numbers; the lists of a gas
are merged; what is missing is said.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import LineListError, TgoWarning
from tgo_spectra.paths import expanded
from tgo_spectra.spectroscopy import gas_info
from tgo_spectra.spectroscopy._records import LENGTH
from tgo_spectra.spectroscopy._unpack import unpacked
from tgo_spectra.spectroscopy.ledger import (
    Share,
    edition_year,
    is_sample,
    is_whole,
    shares,
    too_short,
    with_edition,
)
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.merging import Part, in_order, merge
from tgo_spectra.spectroscopy.partition import isotopologues_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import xarray as xr

__all__ = [
    "Found",
    "GasLines",
    "collect",
    "files_of",
    "find_lists",
    "isotopologues_of_gas",
]


@dataclass(frozen=True)
class Found:
    """One list.

    Attributes
    ----------
    path : Path
    lines : Dataset
        From `read_line_list`; its edition told by content where no file states it.
    judged : tuple of Share
        Over the whole range of the list.
    """

    path: Path
    lines: xr.Dataset
    judged: tuple[Share, ...]

    @property
    def refused(self) -> str:
        """Why it is not used, with numbers; empty for a list that is."""
        if not is_sample(self.judged):
            return ""
        worst = max(self.judged, key=lambda share: share.ledger_intensity)
        return f"{self.path.name} is a sample of a list: {worst.in_words()}"


@dataclass
class GasLines:
    """What was collected of a gas.

    Attributes
    ----------
    gas : str
    lines : Dataset or None
        Merged; None if there is no line.
    record : tuple of Part
        What was taken of each list.
    judged : tuple of Share
        Of the range asked for.
    missing : list of str
        What is missing, in words: the lines will not do.
    unjudged : str
        What the ledger cannot judge, in words, or empty.
    aside : list of str
        Lists that were not needed, and why.
    """

    gas: str
    lines: xr.Dataset | None = None
    record: tuple[Part, ...] = ()
    judged: tuple[Share, ...] = ()
    missing: list[str] = field(default_factory=list)
    unjudged: str = ""
    aside: list[str] = field(default_factory=list)


def isotopologues_of_gas(gas: str, beside: Iterable[str] = ()) -> tuple[int, ...]:
    """Return the isotopologues of a gas, without those that gases beside it are.

    Parameters
    ----------
    gas : str
        Key of the gas table.
    beside : iterable of str
        The gases of the same table or fit.

    Returns
    -------
    tuple of int
        HITRAN numbers.

    Examples
    --------
    >>> isotopologues_of_gas("hdo"), isotopologues_of_gas("ch4")
    ((4, 5, 6), (1, 2, 3, 4))
    """
    info = gas_info(gas)
    known = info.isotopologues or isotopologues_of(info.molecule)
    taken = {
        number
        for other in map(gas_info, beside)
        if other.key != gas and other.molecule == info.molecule and other.own_abundance
        for number in other.isotopologues
    }
    return tuple(n for n in known if info.own_abundance or n not in taken)


def files_of(folder: str | Path) -> list[Path]:
    """Return the files below a folder that may be line lists, in order of name.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of Path

    Raises
    ------
    LineListError
        ``lists.folder``: it is no folder.
    """
    place = expanded(folder)
    if not place.is_dir():
        message = "not a folder of line lists"
        raise LineListError(message, path=place, field="lines", rule="lists.folder")
    return [
        path
        for path in sorted(place.rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix not in {".header", ".json"}
    ]


def find_lists(
    paths: Iterable[Path], molecules: Iterable[int]
) -> tuple[list[Found], list[str]]:
    """Read and judge the lists of some molecules among files.

    Parameters
    ----------
    paths : iterable of Path
        Files of any kind.
    molecules : iterable of int
        HITRAN numbers.

    Returns
    -------
    found : list of Found
        Samples too.
    notes : list of str
        Files of these molecules that cannot be used, and why.
    """
    wanted, found, notes = set(molecules), [], []
    longer: list[tuple[Path, int]] = []
    for path in paths:
        try:
            molecule, length = _first_record(path)
            if molecule not in wanted:
                continue
            found.append(_read(path, []))
        except LineListError as error:
            if error.rule == "line_list.length" and length > LENGTH:
                longer.append((path, molecule))
            else:
                notes.append(f"{path.name} is left out: {error.message}")
    for place, one in enumerate(found):
        molecule = int(one.lines["molecule"].values[0])
        extra = [path for path, number in longer if number == molecule]
        found[place] = _with_extras(one, extra)
    return found, notes


def _first_record(path: Path) -> tuple[int, int]:
    """Molecule and length of the first line, zeros where it is no record."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise LineListError(message, path=path, rule="file.read") from error
    line = unpacked(raw, path)[: 10 * LENGTH].split(b"\n")[0].rstrip(b"\r")
    head = line[:2].strip()
    if len(line) < LENGTH or not head.isdigit():
        return 0, len(line)
    return int(head), len(line)


def _read(path: Path, extra: Sequence[Path]) -> Found:
    with warnings.catch_warnings():
        # what warnings say of a list is in its attributes, and is counted at the end
        warnings.simplefilter("ignore", TgoWarning)
        lines = read_line_list(path, extra=extra or None)
    lines = with_edition(lines)
    return Found(path, lines, shares(lines))


def _with_extras(one: Found, extra: Sequence[Path]) -> Found:
    """Take the widths of files with the same lines and more columns."""
    good = []
    for path in extra:
        try:
            _read(one.path, [path])
        except LineListError:  # of another list of the molecule
            continue
        good.append(path)
    return _read(one.path, good) if good else one


def collect(
    paths: Iterable[Path], gases: Sequence[str], low: float, high: float
) -> tuple[dict[str, GasLines], list[str]]:
    """Collect the lines of gases from files.

    Parameters
    ----------
    paths : iterable of Path
        Files of any kind, such as `files_of` returns.
    gases : sequence of str
        Keys of the gas table.
    low, high : float
        Range, cm-1.

    Returns
    -------
    gases : dict of str to GasLines
    notes : list of str
        Files that were left out, by name and with the numbers that tell why.

    Raises
    ------
    LineListError
        ``merge.edition``: see `in_order`.
    """
    found, notes = find_lists(paths, {gas_info(gas).molecule for gas in gases})
    notes += [one.refused for one in found if one.refused]
    usable: list[xr.Dataset] = []
    for one in found:
        if one.refused:
            continue
        twin = next((ds for ds in usable if _same(ds, one.lines)), None)
        if twin is None:
            usable.append(one.lines)
        else:
            name = twin.attrs["source_file"]
            notes.append(f"{one.path.name} has the lines of {name}")
    return {
        gas: _of_gas(gas, isotopologues_of_gas(gas, gases), usable, low, high)
        for gas in gases
    }, notes


def _same(first: xr.Dataset, second: xr.Dataset) -> bool:
    """Tell whether two lists are the same but for how they are packed."""
    names = ("molecule", "isotopologue", "wavenumber", "intensity", "gamma_air")
    return first.sizes == second.sizes and all(
        np.array_equal(first[name].values, second[name].values) for name in names
    )


def _of_gas(
    gas: str,
    numbers: tuple[int, ...],
    lists: Sequence[xr.Dataset],
    low: float,
    high: float,
) -> GasLines:
    """Merge the lines of a gas and judge what they hold of it."""
    molecule = gas_info(gas).molecule
    parts = []
    for lines in lists:
        if int(lines["molecule"].values[0]) != molecule:
            continue
        wavenumber = lines["wavenumber"].values
        keep = (wavenumber >= low) & (wavenumber <= high)
        keep &= np.isin(lines["isotopologue"].values, numbers)
        if keep.any():
            parts.append(lines.isel(line=np.flatnonzero(keep)))
    made = GasLines(gas)
    if not parts:
        made.missing.append(f"{gas}: no list has lines within {low:g}-{high:g} cm-1")
        return made
    made.lines, made.record = merge(in_order(_needed(parts, low, high, made.aside)))
    made.judged = shares(made.lines, low, high, numbers)
    made.missing += [f"{gas}: {share.in_words()}" for share in too_short(made.judged)]
    made.unjudged = _unjudged(made, low, high)
    return made


def _needed(
    parts: Sequence[xr.Dataset], low: float, high: float, aside: list[str]
) -> list[xr.Dataset]:
    """Leave out lists of unknown edition whose isotopologues others hold whole."""
    dated = [ds for ds in parts if edition_year(str(ds.attrs["edition"]))]
    if not dated or len(dated) == len(parts):
        return list(parts)
    judged = shares(merge(in_order(dated))[0], low, high)
    whole = [share.isotopologue for share in judged if is_whole(share)]
    needed = []
    for ds in parts:
        year = edition_year(str(ds.attrs["edition"]))
        if year or not np.isin(ds["isotopologue"].values, whole).all():
            needed.append(ds)
        else:
            name = ds.attrs["source_file"]
            aside.append(f"{name} is of unknown edition, and others hold its lines")
    return needed


def _unjudged(made: GasLines, low: float, high: float) -> str:
    """Say which part of a range the ledger knows nothing of."""
    if not made.judged:
        return f"{made.gas}: not judged, the ledger has no complete list of this range"
    first = min(share.low for share in made.judged)
    last = max(share.high for share in made.judged)
    if first - low < 50.0 and high - last < 50.0:  # parts of a bin at either end
        return ""
    return f"{made.gas}: judged within {first:g}-{last:g} of {low:g}-{high:g} cm-1 only"
