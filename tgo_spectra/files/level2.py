"""The level 2 that a map is made of: opened one by one, each observation once.

A map says of which products it is made (attribute ``input_products``), holds a key of
each observation of each mapped quantity (variable ``input_key``), so that maps that
share one do not merge, and names what it had to leave out for want of a place.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra import quality
from tgo_spectra.errors import TgoError, TgoWarning
from tgo_spectra.files.netcdf import open_partly, open_verified
from tgo_spectra.files.observations import (
    Observation,
    is_truth,
    observations_of,
    place_of,
)
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "KEY",
    "Found",
    "Inputs",
    "Part",
    "files_in",
    "flags_of",
    "flags_or_convergence",
    "merged_inputs",
    "profiles",
    "reasons_of",
    "results_in",
    "warn_of_places",
]

_LOG = logging.getLogger(__name__)

Level2Input = xr.Dataset | str | Path | Iterable[xr.Dataset | str | Path]
Keys = npt.NDArray[np.int64]

KEY = "input_key"
"""Variable of a map: one number for each observation of each mapped quantity."""
LISTED = 1000
"""Most inputs that a map names one by one; the keys are complete at any number."""
BETWEEN = " | "
"""Between the entries of an attribute that lists."""
_LISTS = ("products_without_place", "products_in_several_forms")
_COUNTS = (
    "n_inputs",
    "n_inputs_without_identity",
    "n_products_without_place",
    "n_values_without_place",
)


@dataclass(frozen=True)
class Part:
    """What is needed of level 2: variables, and global attributes besides its identity.

    `variables` names the attributes that are needed of each.
    """

    variables: Mapping[str, Sequence[str]]
    attributes: frozenset[str] = frozenset()


class Found(tuple[Path, ...]):
    """Files found in a folder: of these only level 2 is taken."""

    __slots__ = ()


_NAMES = ("product_lid", "input_products")
_OF_IDENTITY = frozenset(
    {
        *_NAMES,
        "processing_level",
        "product_version",
        "setup_hash",
        "simulated",
        "source_md5",
        "tracking_id",
    }
)


def profiles(
    level2: Level2Input,
    *,
    leave_out: str | Path | None = None,
    part: Part | None = None,
) -> Iterator[xr.Dataset]:
    """Give level-2 Datasets one at a time; files are opened when their turn comes.

    Of a folder all files are taken but `leave_out`, such as a map that is made again;
    of a file all variables, or `part` at least.
    TgoError ``map.no_input``: no such file or folder.
    """
    if isinstance(level2, xr.Dataset):
        yield level2
    elif isinstance(level2, str | Path):
        path = expanded(level2)
        if not path.exists():
            message = "no such file or folder"
            raise TgoError(message, path=path, rule="map.no_input")
        if path.is_dir():
            yield from results_in(files_in(path, leave_out=leave_out), part)
        else:
            yield _opened(path, part)
    elif isinstance(level2, Found):
        yield from results_in(level2, part)
    else:
        for item in level2:
            yield from profiles(item, leave_out=leave_out, part=part)


def files_in(folder: str | Path, *, leave_out: str | Path | None = None) -> list[Path]:
    """Give the netCDF files in a folder and below but `leave_out`, in their order.

    The truths beside simulated products are left out as well.

    TgoError ``map.no_input``: there is no such folder.
    """
    path = expanded(folder)
    if not path.is_dir():
        message = "no such folder"
        raise TgoError(message, path=path, rule="map.no_input")
    besides = None if leave_out is None else expanded(leave_out).resolve()
    return [
        file
        for file in sorted(path.rglob("*.nc"))
        if file.resolve() != besides and not is_truth(file)
    ]


def results_in(files: Iterable[Path], part: Part | None = None) -> Iterator[xr.Dataset]:
    """Open those files that are level 2: a map may lie in the folder of its input."""
    for file in files:
        ds = _opened(file, part)
        if ds.attrs.get("processing_level", "L2") == "L2":
            yield ds


def _opened(path: Path, part: Part | None) -> xr.Dataset:
    """Open a file; without a LID all of its values say which observation it is."""
    if part is not None:
        keys = part.attributes | _OF_IDENTITY
        ds = open_partly(path, part.variables, keys)
        if ds is not None and any(map(ds.attrs.get, _NAMES)):
            return ds
    return open_verified(path)


def flags_of(level2: xr.Dataset) -> npt.NDArray[np.int32] | None:
    """Return ``quality_flag``, a scalar or of shape (spectrum,); None without one."""
    if "quality_flag" not in level2.variables:
        return None
    flags = level2.variables["quality_flag"].values
    return np.asarray(flags).astype(np.int32)


def flags_or_convergence(level2: xr.Dataset) -> npt.NDArray[np.int32]:
    """Return `flags_of`, or what stands for them without: what did not converge."""
    flags = flags_of(level2)
    if flags is not None:
        return flags
    if "status" in level2.variables:
        lost = level2.variables["status"].values != 0
        return quality.pack_rows({"not_converged": lost})
    bad = "converged" in level2 and not bool(level2["converged"])
    return np.asarray(quality.pack(["not_converged"] if bad else []))


def reasons_of(level2: xr.Dataset) -> tuple[str, ...] | None:
    """Return the reasons that hold for a result as a whole; None if it has no flag."""
    flags = flags_of(level2)
    return None if flags is None else quality.names(quality.overall(flags))


class Inputs:
    """What a map, or a merged profile, was made of so far.

    An observation that is there already raises `error` with `rule`.

    >>> inputs = Inputs()
    >>> one = xr.Dataset(attrs={"product_lid": "urn:a:b", "product_version": "2.0"})
    >>> inputs.add(one, ["ch4"])
    >>> inputs.attributes()["input_products"]
    'urn:a:b::2.0'
    """

    def __init__(
        self, error: type[TgoError] = TgoError, rule: str = "map.repeated"
    ) -> None:
        self._error, self._rule = error, rule
        self._number = 0
        self._listed: set[str] = set()
        self._keys: dict[int, tuple[int, str]] = {}
        self._forms: dict[tuple[str, str], tuple[int, str]] = {}
        self._nameless = 0
        self._things: dict[str, tuple[tuple[int, str], weakref.ref[xr.Dataset]]] = {}
        self._several: set[str] = set()
        self._without_place: dict[int, tuple[str, int]] = {}

    def add(self, level2: xr.Dataset, fields: Iterable[str]) -> None:
        """Record a result and its mapped quantities; refuse what was there already.

        The same observation may give two quantities in two results.
        """
        self._number += 1
        here = (self._number, self._place(level2))
        tracking = str(level2.attrs.get("tracking_id", ""))
        found = observations_of(level2)
        if not found:
            self._add_nameless(level2, here, fields)
        for one in found:
            self._listed.add(_entry(one, tracking))
            for field in fields:
                first = self._keys.setdefault(_key(one, field), here)
                if first != here:
                    raise self._repeated(first[1], here[1], field, one.product)
                other = self._forms.setdefault((one.lid, field), here)
                if other != here and one.lid != "unnamed":
                    self._several.add(one.lid)
                    _LOG.warning(
                        "%s and %s are of one product in several versions or setups: "
                        "they count as two samples of %s", here[1], other[1], field,
                    )  # fmt: skip

    def _add_nameless(
        self, level2: xr.Dataset, here: tuple[int, str], fields: Iterable[str]
    ) -> None:
        """Refuse the same file or the same Dataset; more cannot be known.

        Of a file its keys tell other maps, such as those of other processes.
        """
        self._nameless += 1
        of_file = level2.attrs.get("tracking_id") or level2.encoding.get("source")
        name = str(of_file or id(level2))
        first, kept = self._things.setdefault(name, (here, weakref.ref(level2)))
        # without the reference another Dataset might come to stand in the same place
        if first != here and (of_file or kept() is level2):
            raise self._repeated(first[1], here[1], None, None)
        self._things[name] = (here, weakref.ref(level2))
        if of_file:
            one = Observation(f"file::{name}")
            self._keys |= {_key(one, field): here for field in fields}

    def leave_out(
        self, level2: xr.Dataset, reasons: Mapping[str, float], n: int
    ) -> None:
        """Record `n` levels or spectra without a place; an impossible value by axis."""
        values = ", ".join(f"{axis} {value:g}" for axis, value in reasons.items())
        before = self._without_place.get(self._number, ("", 0))[1]
        name = f"{self._place(level2)} ({values})"
        self._without_place[self._number] = (name, max(n, before))

    def attributes(self) -> dict[str, Any]:
        """Return what a map says of its inputs."""
        lost = sorted(name for name, _ in self._without_place.values())
        return {
            "n_inputs": self._number,
            "n_inputs_without_identity": self._nameless,
            "input_products": _list_text(self._listed),
            "input_keys_sha256": _hash(self.keys()),
            "n_products_without_place": len(lost),
            "n_values_without_place": sum(n for _, n in self._without_place.values()),
            "products_without_place": BETWEEN.join(lost[:LISTED]),
            "products_in_several_forms": BETWEEN.join(sorted(self._several)[:LISTED]),
        }

    def keys(self) -> Keys:
        """Return the keys of all observations, ascending."""
        return np.array(sorted(self._keys), dtype=np.int64)

    def _repeated(
        self, first: str, second: str, field: str | None, product: str | None
    ) -> TgoError:
        message = (
            f"one observation is given twice, here and as {first}: it would count as "
            "two; leave one of them out"
        )
        return self._error(
            message, path=second, field=field, value=product, rule=self._rule
        )

    def _place(self, level2: xr.Dataset) -> str:
        lid = str(level2.attrs.get("product_lid") or "")
        otherwise = f"Dataset {self._number}" + (f" of {lid}" if lid else "")
        return place_of(level2, otherwise)


def warn_of_places(attrs: Mapping[str, Any]) -> None:
    """Warn of what a map left out because it has no place, by the map's attributes.

    Once a map, where it is whole: parts of one are summed without a word.
    """
    if n_products := attrs["n_products_without_place"]:
        lost = attrs["products_without_place"].split(BETWEEN)
        shown = BETWEEN.join(lost[:3]) + (" ..." if n_products > 3 else "")
        text = (
            f"{attrs['n_values_without_place']} levels or spectra of {n_products} "
            f"products have no possible place and are left out: {shown}"
        )
        warnings.warn(text, TgoWarning, stacklevel=3)


def merged_inputs(
    left: xr.Dataset, right: xr.Dataset, places: Sequence[str]
) -> tuple[Keys, dict[str, Any]]:
    """Join keys and attributes of two maps' inputs; refuse maps that share one.

    TgoError: an observation is in both (``map.repeated``), or a map does not say of
    what it was made (``map.merge``).
    """
    for ds, place in zip((left, right), places, strict=True):
        if KEY not in ds:
            message = "the map does not say of which observations it is made"
            raise TgoError(message, path=place, field=KEY, rule="map.merge")
    shared = np.intersect1d(left[KEY].values, right[KEY].values)
    lists = [_listed(ds) for ds in (left, right)]
    if shared.size:
        seen = _products(lists[0])
        named = sorted({p for p, s in _products(lists[1]) if (p, s) in seen})
        message = (
            f"{shared.size} observations are also in {places[0]}: they would count as "
            "two"
        )
        raise TgoError(
            message, path=places[1], field=KEY, value=named[:3] or shared[:3].tolist(),
            rule="map.repeated",
        )  # fmt: skip
    keys = np.union1d(left[KEY].values, right[KEY].values).astype(np.int64)
    attrs: dict[str, Any] = {
        name: int(left.attrs.get(name, 0)) + int(right.attrs.get(name, 0))
        for name in _COUNTS
    }
    for name in _LISTS:
        parts = [str(ds.attrs.get(name, "")) for ds in (left, right)]
        both = {part for text in parts for part in text.split(BETWEEN) if part}
        attrs[name] = BETWEEN.join(sorted(both)[:LISTED])
    complete = all(
        listed or not ds[KEY].size
        for listed, ds in zip(lists, (left, right), strict=True)
    )
    attrs["input_products"] = _list_text(lists[0] | lists[1]) if complete else _TOO_MANY
    attrs["input_keys_sha256"] = _hash(keys)
    return keys, attrs


_TOO_MANY = f"more than {LISTED}: see input_keys_sha256"


def _list_text(entries: set[str]) -> str:
    return BETWEEN.join(sorted(entries)) if len(entries) <= LISTED else _TOO_MANY


def _listed(ds: xr.Dataset) -> set[str]:
    """Entries of a map's list; empty where there were too many to list."""
    text = str(ds.attrs.get("input_products", ""))
    return set() if text == _TOO_MANY else {e for e in text.split(BETWEEN) if e}


def _products(entries: Iterable[str]) -> set[tuple[str, str]]:
    """Product and setup of entries of a list."""
    return {(e.partition(" ")[0], e.partition(" setup:")[2]) for e in entries}


def _entry(one: Observation, tracking: str) -> str:
    """One input as a map lists it."""
    named = {"md5": one.md5, "tracking_id": tracking, "setup": one.setup}
    rest = [f"{name}:{value}" for name, value in named.items() if value]
    return " ".join([one.product, *rest])


def _key(one: Observation, field: str) -> int:
    """64 bits of a hash: of 1e6 keys two are equal by chance once in 4e7 maps."""
    digest = hashlib.sha256(f"{one.identity} {field}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _hash(keys: Keys) -> str:
    return hashlib.sha256(keys.astype("<i8").tobytes()).hexdigest()
