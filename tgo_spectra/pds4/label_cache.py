"""Record descriptions met before, so that a label like the last one is parsed fast.

The labels of one kind of product differ in their heads; the description of a record,
nine tenths of the text, is the same to the byte. Where it is, it is cut out before
the XML is parsed, and the fields found the first time are used again. They are the
same objects, so what is derived from them can be kept too.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from tgo_spectra.pds4.fields import Field

__all__ = ["Cut", "Record", "cut", "is_stub", "kept", "remember"]

_KEPT = 32  # records, and results derived from them, remembered in a process
_BYTES_MAX = 2**20  # longest description remembered; those of NOMAD have 0.06 MiB
_ELEMENTS_MAX = 50_000  # half of what a label may have, so the limit still holds
_NAME = b"Record_Character"
_OPEN, _CLOSE = b"<Record_Character>", b"</Record_Character>"
_token = secrets.token_hex(16)  # what no label can contain
_lock = threading.Lock()
_records: OrderedDict[tuple[bytes, bytes, bool], Record] = OrderedDict()
_derived: OrderedDict[tuple[str, int], tuple[object, Any]] = OrderedDict()

T = TypeVar("T")


class Record(NamedTuple):
    """What a description says."""

    length: int
    delimiter: bytes
    fields: tuple[Field, ...]
    repairs: tuple[str, ...]


class Cut(NamedTuple):
    """A label without its record description.

    ``key`` tells the description, ``record`` what it says if it was met before.
    """

    text: bytes
    key: tuple[bytes, bytes, bool]
    record: Record | None


def cut(text: bytes, *, repair: bool) -> Cut | None:
    """Cut out the one record description of a label; None if it cannot be told apart.

    The head of the label, with its encoding and namespaces, is part of the key. A
    label with CDATA, or with a comment in the head or around the record, is left
    alone.
    """
    if text.count(_OPEN) != 1 or text.count(_NAME) != 2 or _CLOSE not in text:
        return None
    first, last = text.index(_OPEN), text.index(_CLOSE) + len(_CLOSE)
    head = text[: text.find(b"Identification_Area", 0, first)]
    if b"Product_Observational" not in head or b"<!--" in head:
        return None
    comment = text.rfind(b"<!--", 0, first) > text.rfind(b"-->", 0, first)
    if comment or b"<![CDATA[" in text or not 0 < last - first <= _BYTES_MAX:
        return None
    if text.count(b"<") > _ELEMENTS_MAX:
        return None
    key = head, text[first:last], repair
    with _lock:
        record = _records.get(key)
        if record is not None:
            _records.move_to_end(key)
    stub = f'<Record_Character known="{_token}"/>'.encode()
    return Cut(text[:first] + stub + text[last:], key, record)


def is_stub(element: Element) -> bool:
    """Say whether an element stands for a description that was cut out."""
    return element.attrib.get("known") == _token


def remember(key: tuple[bytes, bytes, bool], record: Record) -> None:
    """Keep what a description says."""
    with _lock:
        _records[key] = record
        while len(_records) > _KEPT:
            _records.popitem(last=False)


def kept(kind: str, origin: object, make: Callable[[], T]) -> T:
    """Return what `make` gives for an object, made once as long as it is in use.

    `origin` is what it is derived from, and only from, told apart by identity; the
    result is shared, so it must not be changed.
    """
    key = kind, id(origin)
    with _lock:
        found = _derived.get(key)
        if found is not None and found[0] is origin:
            _derived.move_to_end(key)
            return found[1]  # type: ignore[no-any-return]
    made = make()
    with _lock:
        _derived[key] = origin, made  # holds the origin, so its identity stays its own
        while len(_derived) > 4 * _KEPT:
            _derived.popitem(last=False)
    return made
