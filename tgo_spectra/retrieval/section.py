"""One section of a setup file: its rules, and how plain values become it.

An unknown key, a wrong type or a value out of range is refused with its path in the
file, and so are values that contradict each other.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from tgo_spectra.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Checks", "Fraction", "NonNegative", "Positive", "Section", "convert"]

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
Checks = tuple[tuple[bool, str, object, str], ...]
"""Whether it is well; otherwise the key within the section, its value, and why not."""

T = TypeVar("T", bound="Section")


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Common rules of all sections of setup files."""

    def checks(self) -> Checks:
        """Return what must hold between the values of this section itself."""
        return ()


def convert(raw: dict[str, object], kind: type[T], path: Path | None) -> T:
    """Make a struct of plain values, or refuse them with their place in the file."""
    try:
        made = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        message = f"{error}{_nearest(str(error), kind)}"
        found = re.search(r"at `(.+?)`", message)
        place = found.group(1) if found else "$"
        raise SetupError(
            message, path=path, field=place, rule="setup.invalid"
        ) from error
    for where, value, text in _contradictions(made, "$"):
        raise SetupError(
            text, path=path, field=where, value=value, rule="setup.inconsistent"
        )
    return made


def _contradictions(section: Any, where: str) -> Iterator[tuple[str, object, str]]:
    """Give place, value and reason of all checks that fail, its own ones first."""
    for good, key, value, text in section.checks():
        if not good:
            yield f"{where}.{key}" if key else where, value, text
    for key in section.__struct_fields__:
        inner = getattr(section, key)
        parts = inner.items() if isinstance(inner, dict) else [("", inner)]
        for name, part in parts:
            if isinstance(part, Struct):
                yield from _contradictions(part, f"{where}.{key}.{name}".rstrip("."))


def _nearest(message: str, kind: type[Section]) -> str:
    """Suggest the nearest valid key for an unknown one."""
    found = re.search(r"unknown field `(.+?)`", message)
    near = found and difflib.get_close_matches(
        found.group(1), {"kind", *_known_keys(kind)}, 1
    )
    return f"; did you mean `{near[0]}`?" if near else ""


def _known_keys(kind: type[Struct]) -> Iterator[str]:
    for item in msgspec.structs.fields(kind):
        yield item.name
        for part in (item.type, *get_args(item.type)):
            if isinstance(part, type) and issubclass(part, Struct):
                yield from _known_keys(part)
