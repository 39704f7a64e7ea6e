"""XML of labels: parsed safely, matched by local name, read with types.

Prefixes and namespaces differ between versions of the information model, so they
are dropped from the tree.
"""

from __future__ import annotations

import math
import re
import warnings
import xml.etree.ElementTree as ET
from collections import Counter
from typing import TYPE_CHECKING
from xml.parsers import expat

from tgo_spectra.errors import ProductError, TgoWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Elements", "leaves_of", "number", "parse_xml"]

LABEL_BYTES_MAX = 16 * 2**20
"""Largest label read (bytes); NOMAD labels are below 0.1 MiB."""
DEPTH_MAX = 256
"""Deepest nesting of elements accepted."""
ELEMENTS_MAX = 100_000
"""Most elements accepted in a label; NOMAD labels have below 2,000."""
_REAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([Ee][+-]?[0-9]+)?")


class _DoctypeError(Exception):
    """The label has a DOCTYPE."""


def _tree(text: bytes) -> tuple[ET.Element, bool]:
    """Build the tree with local names; refuse a DOCTYPE and needless depth or size.

    Also says whether the root element has a namespace.

    Expat calls the compiled tree builder, some ten times faster than a parser
    written in Python. Entities can only be declared in a DOCTYPE, which is refused
    where it starts, so nothing is ever expanded or fetched.
    """
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    depth = 0
    elements = 0
    namespace = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements, namespace
        depth += 1
        elements += 1
        if elements == 1:
            namespace = "}" in tag
        if depth > DEPTH_MAX:
            message = "elements nested too deeply"
            raise ProductError(message, value=depth, rule="label.too_deep")
        if elements > ELEMENTS_MAX:
            message = "label has too many elements"
            raise ProductError(message, value=elements, rule="label.schema")
        builder.start(tag.rpartition("}")[2], attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag.rpartition("}")[2])

    def doctype(name: str, *_: object) -> None:
        raise _DoctypeError(name)

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.Parse(text, True)
    return builder.close(), namespace


def parse_xml(text: bytes, path: str) -> ET.Element:
    """Parse XML bytes; a DOCTYPE, deep nesting or bad syntax is refused.

    ProductError ``label.schema`` (too large), ``label.doctype_refused``,
    ``label.too_deep``, ``label.not_xml``; TgoWarning ``label.schema``, if the root
    element has no namespace.
    """
    if len(text) > LABEL_BYTES_MAX:
        msg = f"label larger than {LABEL_BYTES_MAX} bytes"
        raise ProductError(
            msg,
            path=path,
            value=len(text),
            rule="label.schema",
        )
    try:
        root, namespace = _tree(text)
    except ProductError as error:
        error.path = path
        raise
    except _DoctypeError as error:
        msg = "label has a DOCTYPE, which is refused"
        raise ProductError(
            msg,
            path=path,
            value=error.args[0],
            rule="label.doctype_refused",
        ) from None
    except (expat.ExpatError, ValueError, LookupError) as e:
        msg = f"label is not well-formed XML ({e})"
        raise ProductError(msg, path=path, rule="label.not_xml") from None
    if not namespace:
        warnings.warn(
            f"{path}: label has no namespace [label.schema]", TgoWarning, stacklevel=5
        )
    return root


def number(text: str) -> float | None:
    """Return text as a number, None if it is none by the grammar of ``ASCII_Real``.

    Examples
    --------
    >>> number("-1.5E3"), number("1_0"), number("nan"), number("1E999")
    (-1500.0, None, None, None)
    """
    if not _REAL.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


class Elements:
    """Typed access to the elements of one label, with errors that name the place."""

    def __init__(self, path: str) -> None:
        self.path = path

    def fail(
        self, message: str, rule: str, value: object = None, name: str | None = None
    ) -> ProductError:
        """Return an error about this label."""
        return ProductError(message, path=self.path, field=name, value=value, rule=rule)

    def need(self, element: ET.Element, name: str) -> ET.Element:
        """Return a child element that must be there, once."""
        found = self.one(element, name)
        if found is None:
            msg = f"label element {element.tag} lacks {name}"
            raise self.fail(msg, "label.schema", None, name)
        return found

    def one(self, element: ET.Element, name: str) -> ET.Element | None:
        """Return a child element that may be there, but not twice."""
        found = element.findall(name)
        if len(found) > 1:
            msg = f"label element {element.tag} has {name} more than once"
            raise self.fail(msg, "label.schema", len(found), name)
        return found[0] if found else None

    def text(
        self, element: ET.Element, name: str, *, required: bool = True
    ) -> str | None:
        """Return the text of a child element, None if it is absent or empty."""
        found = self.one(element, name)
        text = "" if found is None else (found.text or "").strip()
        if text:
            return text
        if required:
            msg = f"label element {element.tag} lacks {name}"
            raise self.fail(msg, "label.schema", None, name)
        return None

    def word(self, element: ET.Element, name: str) -> str:
        """Return the text of a child element that must be there."""
        return self.text(element, name) or ""

    def count(self, element: ET.Element, name: str, *, least: int = 0) -> int:
        """Return a child element that must be a plain integer."""
        text = self.word(element, name)
        if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
            msg = f"{name} must be an integer of at least {least}"
            raise self.fail(
                msg,
                "label.schema",
                text,
                name,
            )
        return int(text)

    def size(self, element: ET.Element, name: str, *, least: int = 0) -> int:
        """Return a child element that must be an integer in unit byte."""
        unit = self.need(element, name).get("unit")
        if unit != "byte":
            msg = f"{name} must be in unit byte"
            raise self.fail(msg, "label.schema", unit, name)
        return self.count(element, name, least=least)

    def real(self, element: ET.Element, name: str, default: float) -> float:
        """Return a child element as a number, or the default."""
        text = self.text(element, name, required=False)
        if text is None:
            return default
        value = number(text)
        if value is None:
            message = f"{name} must be a number"
            raise self.fail(message, "label.schema", text, name)
        return value


def _walk(element: ET.Element, parent: str) -> Iterator[tuple[str, str, str]]:
    name = element.tag
    if len(element):
        for item in element:
            yield from _walk(item, name)
    elif element.text and element.text.strip():
        yield parent, name, element.text.strip()


def leaves_of(elements: list[ET.Element]) -> dict[str, str]:
    """Return every leaf below some elements, local name -> text; none is lost.

    A name met twice is told apart by its parent, then by a number.
    """
    found = [leaf for element in elements for leaf in _walk(element, "")]
    names = Counter(name for _, name, _ in found)
    leaves: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for parent, name, text in found:
        key = stem = name if names[name] == 1 else f"{parent}_{name}"
        while key in leaves:  # the counter goes on where it stopped: never quadratic
            numbers[stem] += 1
            key = f"{stem}_{numbers[stem] + 1}"
        leaves[key] = text
    return leaves
