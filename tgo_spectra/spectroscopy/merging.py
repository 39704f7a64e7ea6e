"""Several line lists of one molecule as one, without a transition twice.

Of an isotopologue that a newer list holds whole (by the ledger), nothing of an older
one is taken within the newer's range. Where a newer list has some of its bands only,
those bands of the older are dropped within that range and its other bands are kept.
Whatever the editions, a line of the older at the place and with the lower energy of a
line of the newer is that line and is dropped. What was taken and dropped is recorded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import LineListError
from tgo_spectra.spectroscopy.ledger import edition_year, is_whole, shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

__all__ = ["Part", "in_order", "merge"]

PLACE_CM1 = 0.02
"""Lines of two editions farther apart are two lines: positions of strong ones moved by
3.5e-4 cm-1 (rms) between the editions of 2012 and 2026 of methane."""
ENERGY_CM1 = 0.02
"""The same for the energy of the lower state."""
COPIED = 1e-3
"""Within one edition lines agree to their last digit: these limits times 1e-3."""


@dataclass(frozen=True)
class Part:
    """What was taken of one list.

    Attributes
    ----------
    lines : str
        Name of the file.
    sha256 : str
        Of the file.
    edition : str
        As far as known.
    taken : int
        Lines.
    intensity : float
        Their sum at 296 K, cm-1/(molecule cm-2).
    isotopologues : tuple of int
        Of the lines taken.
    replaced_isotopologues, replaced_bands, replaced_lines : int
        Lines dropped since a newer list holds their isotopologue whole, their band, or
        the line itself.
    """

    lines: str
    sha256: str
    edition: str
    taken: int
    intensity: float
    isotopologues: tuple[int, ...]
    replaced_isotopologues: int = 0
    replaced_bands: int = 0
    replaced_lines: int = 0

    def in_words(self) -> str:
        """Say it in a line.

        Examples
        --------
        >>> part = Part("a.par", "", "HITRAN2012", 7, 1e-20, (1,), replaced_bands=3)
        >>> part.in_words()
        '7 lines of a.par (HITRAN2012); 3 more are of bands of a newer list'
        """
        reasons = (
            (
                self.replaced_isotopologues,
                "of isotopologues in a newer list",
            ),
            (self.replaced_bands, "of bands of a newer list"),
            (self.replaced_lines, "in another list"),
        )
        more = "".join(f"; {n} more are {why}" for n, why in reasons if n)
        return f"{self.taken} lines of {self.lines} ({self.edition}){more}"


def in_order(lists: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Sort lists of one molecule from the oldest edition to the newest.

    Parameters
    ----------
    lists : sequence of Dataset
        From `read_line_list`; the attribute ``edition`` names a year, if it is known.

    Returns
    -------
    list of Dataset

    Raises
    ------
    LineListError
        ``merge.edition``: two lists hold the same isotopologue in the same range, and
        which is newer is not stated.
    """
    years = [edition_year(str(ds.attrs.get("edition", ""))) for ds in lists]
    for i, first in enumerate(lists):
        for j, second in enumerate(lists[i + 1 :], i + 1):
            if years[i] and years[j]:
                continue
            both = _in_both(first, second)
            if both:
                names = " and ".join(_name(ds) for ds in (first, second))
                message = (
                    f"{names} both hold lines of isotopologue {both}, and the edition "
                    "of one is not known, so which replaces which is not: keep one of "
                    "them, or state its edition ('tgo-spectra lines fetch ... --file "
                    "FILE --edition EDITION' keeps it with the list)"
                )
                raise LineListError(
                    message, field="edition", value=both, rule="merge.edition"
                )
    sizes = [ds.sizes["line"] for ds in lists]
    return [lists[k] for k in sorted(range(len(lists)), key=lambda k: (years[k], sizes[k]))]  # noqa: E501  # fmt: skip


def merge(lists: Sequence[xr.Dataset]) -> tuple[xr.Dataset, tuple[Part, ...]]:
    """Make one list of several of one molecule.

    Parameters
    ----------
    lists : sequence of Dataset
        From `read_line_list`, the newest last, as `in_order` sorts them.

    Returns
    -------
    lines : Dataset
        Sorted by wavenumber. Its attribute ``parts`` is the record as JSON; a list by
        itself is returned with its other attributes as they are.
    record : tuple of Part
        In the order of `lists`.

    Raises
    ------
    LineListError
        ``merge.molecule``: of different molecules; ``merge.empty``: no list.

    Examples
    --------
    >>> merged, record = merge([lines_2012, lines_2026])  # doctest: +SKIP
    """
    if not lists:
        message = "no line list to merge"
        raise LineListError(message, field="lines", value=0, rule="merge.empty")
    molecules = {int(ds["molecule"].values[0]) for ds in lists}
    if len(molecules) > 1:
        names = ", ".join(map(_name, lists))
        message = f"the lists are of several molecules of HITRAN: {names}"
        raise LineListError(
            message,
            field="molecule",
            value=sorted(molecules),
            rule="merge.molecule",
        )
    kept: list[xr.Dataset] = []
    record: list[Part] = []
    for place in reversed(range(len(lists))):
        older, newer = lists[place], lists[place + 1 :]
        isotopologue, band, line = _replaced(older, newer)
        stays = np.flatnonzero(~(isotopologue | band | line))
        part = older.isel(line=stays)
        kept.insert(0, part)
        record.insert(
            0,
            Part(
                lines=_name(older),
                sha256=str(older.attrs.get("source_sha256", "not stated")),
                edition=str(older.attrs.get("edition", "not stated")),
                taken=stays.size,
                intensity=float(f"{part['intensity'].values.sum():.6g}"),
                isotopologues=tuple(np.unique(part["isotopologue"].values).tolist()),
                replaced_isotopologues=int(isotopologue.sum()),
                replaced_bands=int((band & ~isotopologue).sum()),
                replaced_lines=int((line & ~(band | isotopologue)).sum()),
            ),
        )
    text = json.dumps([asdict(part) for part in record])
    if len(lists) == 1:
        return lists[0].assign_attrs(parts=text), tuple(record)
    return _joined(kept, record).assign_attrs(parts=text), tuple(record)


def _name(lines: xr.Dataset) -> str:
    return str(lines.attrs.get("source_file", "a list without a name"))


def _inside(lines: xr.Dataset, other: xr.Dataset) -> Flags:
    """Tell which lines lie within the range of another list."""
    wavenumber, reach = lines["wavenumber"].values, other["wavenumber"].values
    return np.asarray((wavenumber >= reach.min()) & (wavenumber <= reach.max()))


def _in_both(first: xr.Dataset, second: xr.Dataset) -> int:
    """Return an isotopologue of which both have lines in a common range, or 0."""
    here = first["isotopologue"].values[_inside(first, second)]
    there = second["isotopologue"].values[_inside(second, first)]
    common = np.intersect1d(here, there)
    return int(common[0]) if common.size else 0


def _replaced(
    older: xr.Dataset, newer: Sequence[xr.Dataset]
) -> tuple[Flags, Flags, Flags]:
    """Tell which lines newer lists replace: by isotopologue, by band, one by one."""
    size = older.sizes["line"]
    isotopologue, band, line = (np.zeros(size, bool) for _ in range(3))
    year = edition_year(str(older.attrs.get("edition", "")))
    number = older["isotopologue"].values
    for other in newer:
        inside = _inside(older, other)
        later = edition_year(str(other.attrs.get("edition", ""))) != year or not year
        if later:
            whole = [s.isotopologue for s in shares(other) if is_whole(s)]
            isotopologue |= inside & np.isin(number, whole)
            if "band" in older and "band" in other:
                named = np.unique(_bands(other)[_named(other)])
                band |= inside & _named(older) & np.isin(_bands(older), named)
        line |= inside & _same_lines(older, other, 1.0 if later else COPIED)
    return isotopologue, band, line


def _bands(lines: xr.Dataset) -> NDArray[np.bytes_]:
    """Isotopologue and quanta of each line."""
    code = np.char.add(lines["isotopologue"].values.astype("S3"), b":")
    return np.char.add(code, lines["band"].values.astype("S"))


def _named(lines: xr.Dataset) -> Flags:
    """Tell which lines have all quanta; minus signs stand where they are not known."""
    band = lines["band"].values.astype("S")
    known = ~(np.char.startswith(band, b"<") | np.char.endswith(band, b"<"))
    return np.asarray(known & (np.char.find(band, b"-") < 0))


def _same_lines(older: xr.Dataset, newer: xr.Dataset, strictness: float) -> Flags:
    """Tell which lines of one list stand in another, by place and lower energy."""
    reach, apart = PLACE_CM1 * strictness, ENERGY_CM1 * strictness
    found = np.zeros(older.sizes["line"], bool)
    columns = ("isotopologue", "wavenumber", "lower_state_energy")
    iso, place, energy = (older[name].values for name in columns)
    other_iso, other_place, other_energy = (newer[name].values for name in columns)
    for number in np.intersect1d(iso, other_iso).tolist():
        here = np.flatnonzero(iso == number)
        there = np.flatnonzero(other_iso == number)
        places, energies = other_place[there], other_energy[there]
        first = np.searchsorted(places, place[here] - reach)
        last = np.searchsorted(places, place[here] + reach, "right")
        for step in range(int((last - first).max(initial=0))):
            near = np.minimum(first + step, places.size - 1)
            same = np.abs(energies[near] - energy[here]) <= apart
            found[here] |= same & (first + step < last)
    return found


def _joined(parts: Sequence[xr.Dataset], record: Sequence[Part]) -> xr.Dataset:
    """Put the lines of parts in one order; what a list lacks is NaN, 0 or empty."""
    import xarray as xr

    variables: dict[str, tuple[str, NDArray[Any], dict[str, Any]]] = {}
    names = dict.fromkeys(str(name) for ds in parts for name in ds.data_vars)
    order = np.argsort(
        np.concatenate([ds["wavenumber"].values for ds in parts]), kind="stable"
    )
    for name in names:
        like = next(ds[name] for ds in parts if name in ds)
        absent = np.nan if like.dtype.kind == "f" else np.zeros((), like.dtype)
        columns = [
            ds[name].values if name in ds else np.full(ds.sizes["line"], absent)
            for ds in parts
        ]
        variables[name] = ("line", np.concatenate(columns)[order], dict(like.attrs))
    used = [
        (ds, part) for ds, part in zip(parts, record, strict=True) if part.taken > 0
    ]
    hashes = " ".join(part.sha256 for _, part in used)
    if len(used) > 1:  # the record has those of the parts
        hashes = hashlib.sha256(hashes.encode()).hexdigest()
    attrs: dict[str, Any] = {
        "source_file": " + ".join(part.lines for _, part in used),
        "source_sha256": hashes,
    }
    for key in ("edition", "citation"):
        texts = dict.fromkeys(str(ds.attrs.get(key, "not stated")) for ds, _ in used)
        attrs[key] = "; ".join(texts)
    return xr.Dataset(variables, attrs=attrs)
