"""Where the objects of a data file lie: bytes that none or two of them describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tgo_spectra.errors import ProductError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Extent", "extent_faults"]


@dataclass(frozen=True)
class Extent:
    """Bytes that one object takes in its file.

    Attributes
    ----------
    start, length : int
        First byte (0-based), and number of bytes.
    name : str
        Name of the object.
    """

    start: int
    length: int
    name: str


def extent_faults(
    extents: Iterable[Extent], size: int, path: str
) -> Iterator[ProductError]:
    """Say which bytes of a file no object describes, and which ones two describe.

    Neither makes a value wrong, so these errors are meant to be shown, not raised.

    Parameters
    ----------
    extents : iterable of Extent
        All objects of the file.
    size : int
        Bytes of the file.
    path : str
        The file, for messages.

    Yields
    ------
    ProductError
        ``file.bytes_not_described`` (own id) or ``label.invalid_object_definition``,
        in the order of the file; the value is the number of bytes.

    Examples
    --------
    >>> for fault in extent_faults([Extent(0, 4, "A"), Extent(6, 4, "B")], 10, "f"):
    ...     print(fault)
    f: no object describes these bytes [byte 4, value 2, rule file.bytes_not_described]
    """
    end, previous = 0, ""
    last = Extent(size, 0, "")
    for item in (*sorted(extents, key=lambda e: (e.start, e.length)), last):
        if item.start > end:
            msg = "no object describes these bytes"
            rule = "file.bytes_not_described"
            yield ProductError(
                msg, path=path, offset=end, value=item.start - end, rule=rule
            )
        if item.start < end and item is not last:
            msg = f"object shares bytes with {previous!r}"
            yield ProductError(
                msg,
                path=path,
                field=item.name,
                offset=item.start,
                value=min(end, item.start + item.length) - item.start,
                rule="label.invalid_object_definition",
            )
        if item.start + item.length >= end:
            end, previous = item.start + item.length, item.name
