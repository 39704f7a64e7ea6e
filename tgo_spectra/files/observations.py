"""Which observations a level-2 result is made of, so that none is counted twice.

An observation is known by the LID and the version of its product and by the hash of
the setup that it was fitted with. A result without a LID, such as a profile of someone
else, is known by its time, its values and what it says of how it was made; one without
a time either cannot be told from another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import xarray as xr

__all__ = [
    "Observation",
    "input_products",
    "is_simulated",
    "is_truth",
    "observations_of",
    "place_of",
]

SETUP_DIGITS = 16
"""Digits of a setup's SHA-256 that tell it from others."""

# how a result without a LID was made; what the writer of files adds is none of it
_MADE_BY = ("setup", "method", "table", "atmosphere", "software", "instrument")
_OF_GAS = ("broadening", "edition", "citation", "lines", "lines_sha256")


@dataclass(frozen=True)
class Observation:
    """One product, fitted with one setup.

    `product` is ``LID::version``, of a result without a LID ``unnamed::`` and a hash;
    `setup` the first digits of the setup's hash, `md5` that of the product's data, or
    empty.
    """

    product: str
    setup: str = ""
    md5: str = ""

    @property
    def identity(self) -> str:
        """What two counts of the same observation have in common."""
        return f"{self.product} {self.setup}"

    @property
    def lid(self) -> str:
        """The product's LID, whatever its version."""
        return self.product.partition("::")[0]


def is_truth(file: Path) -> bool:
    """Tell whether a file is the truth of a simulated product, which is no result."""
    return file.name.endswith(".truth.nc")


def is_simulated(ds: xr.Dataset) -> bool:
    """Tell whether a Dataset of any level holds something that nobody measured.

    >>> import xarray as xr
    >>> is_simulated(xr.Dataset(attrs={"title": "NOMAD Experiment (SYNTHETIC)"}))
    True
    """
    attrs = ds.attrs
    if attrs.get("simulated") or attrs.get("n_simulated"):
        return True
    # the title of simulated labels; writers of files give titles of their own
    return "SYNTHETIC" in str(attrs.get("title", ""))


def observations_of(level2: xr.Dataset) -> tuple[Observation, ...]:
    """Return the observations that level 2 is made of; none without LID and time.

    >>> import xarray as xr
    >>> ds = xr.Dataset(attrs={
    ...     "product_lid": "urn:a:b", "product_version": "2.0", "setup_hash": "c0ffee"})
    >>> observations_of(ds)
    (Observation(product='urn:a:b::2.0', setup='c0ffee', md5=''),)
    """
    attrs = level2.attrs
    setups = str(attrs.get("setup_hash", "")).split(" ")
    lid = str(attrs.get("product_lid", ""))
    if lid:
        product = f"{lid}::{attrs.get('product_version', '')}"
        md5 = str(attrs.get("source_md5", ""))
        return (Observation(product, setups[0][:SETUP_DIGITS], md5),)
    parts = [part for part in str(attrs.get("input_products", "")).split(", ") if part]
    if not parts and "time" not in level2.variables:
        return ()
    if not parts:
        return (Observation(f"unnamed::{_digest(level2)}", setups[0][:SETUP_DIGITS]),)
    if len(setups) != len(parts):
        setups = ["".join(setups)] * len(parts)
    found = []
    for part, setup in zip(parts, setups, strict=True):
        product, _, md5 = part.partition(" ")
        found.append(Observation(product, setup[:SETUP_DIGITS], md5))
    return tuple(found)


def input_products(observations: Iterable[Observation]) -> list[str]:
    """Return the observations as files name them: ``LID::version md5``."""
    return [f"{one.product} {one.md5}".strip() for one in observations]


def place_of(ds: xr.Dataset, otherwise: str) -> str:
    """Return the file that a Dataset was read from, or another name for it."""
    return str(ds.encoding.get("source") or otherwise)


def _digest(ds: xr.Dataset) -> str:
    """Hash of the values of all variables and of how they were made."""
    digest = hashlib.sha256()
    for name in sorted(map(str, ds.variables)):
        values = np.asarray(ds[name].values)
        digest.update(f"{name} {ds[name].dims} {values.dtype.kind}".encode())
        digest.update(_bytes(values))
    for key in sorted(map(str, ds.attrs)):
        if key in _MADE_BY or key.endswith(tuple(f"_{end}" for end in _OF_GAS)):
            digest.update(f"{key}={ds.attrs[key]}".encode())
    return digest.hexdigest()[:SETUP_DIGITS]


def _bytes(values: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """Bytes that do not change when a Dataset goes through a file."""
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]").tobytes()
    if values.dtype.kind in "OUS":
        return "\n".join(map(str, values.ravel().tolist())).encode()
    return np.ascontiguousarray(values).tobytes()
