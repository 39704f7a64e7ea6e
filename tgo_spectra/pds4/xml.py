"""XML of labels: parsed safely, matched by local name, read with types.

Prefixes and namespaces differ between versions of the information model, so they
are dropped from the tree.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import defusedxml.ElementTree as SafeTree
from defusedxml.common import DefusedXmlException, DTDForbidden

from tgo_spectra.errors import ProductError

__all__ = ["Elements", "parse_xml"]

LABEL_BYTES_MAX = 16 * 2**20
"""Largest label read (bytes); NOMAD labels are below 0.1 MiB."""
DEPTH_MAX = 256
"""Deepest nesting of elements accepted."""


def _localise(root: ET.Element) -> None:
    """Drop the namespaces of all tags; refuse a depth that nobody needs."""
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            message = "elements nested too deeply"
            raise ProductError(message, value=depth, rule="label.too_deep")
        for element in level:
            element.tag = element.tag.rpartition("}")[2]
        level = [item for element in level for item in element]


def parse_xml(text: bytes, path: str) -> ET.Element:
    """Parse XML bytes; a DOCTYPE, deep nesting or bad syntax is refused.

    Raises
    ------
    ProductError
        ``label.schema`` (too large), ``label.doctype_refused``, ``label.too_deep``,
        ``label.not_xml``.
    """
    if len(text) > LABEL_BYTES_MAX:
        msg = f"label larger than {LABEL_BYTES_MAX} bytes"
        raise ProductError(
            msg,
            path=path,
            value=len(text),
            rule="label.schema",
        )
    parser = SafeTree.XMLParser(forbid_dtd=True)
    try:
        parser.feed(text)
        root: ET.Element = parser.close()
        _localise(root)
    except ProductError as error:
        error.path = path
        raise
    except DTDForbidden as error:
        msg = "label has a DOCTYPE, which is refused"
        raise ProductError(
            msg,
            path=path,
            value=error.name,
            rule="label.doctype_refused",
        ) from None
    except (ET.ParseError, DefusedXmlException, ValueError, LookupError) as e:
        msg = f"label is not well-formed XML ({e})"
        raise ProductError(msg, path=path, rule="label.not_xml") from None
    return root


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
        """Return a child element that must be there."""
        found = element.find(name)
        if found is None:
            msg = f"label element {element.tag} lacks {name}"
            raise self.fail(msg, "label.schema")
        return found

    def text(
        self, element: ET.Element, name: str, *, required: bool = True
    ) -> str | None:
        """Return the text of a child element, None if it is absent or empty."""
        found = element.find(name)
        text = "" if found is None else (found.text or "").strip()
        if text:
            return text
        if required:
            msg = f"label element {element.tag} lacks {name}"
            raise self.fail(msg, "label.schema")
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
        try:
            return float(text)
        except ValueError:
            message = f"{name} must be a number"
            raise self.fail(message, "label.schema", text, name) from None
