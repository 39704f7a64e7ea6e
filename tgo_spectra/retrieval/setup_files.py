"""Setup files of all channels: TOML to a checked struct, errors with their place."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tgo_spectra.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["parse_toml", "to_struct"]

T = TypeVar("T", bound=msgspec.Struct)


def parse_toml(text: str, path: Path) -> dict[str, object]:
    """Parse TOML.

    Raises
    ------
    SetupError
        ``setup.not_toml``.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        message = f"not valid TOML: {error}"
        raise SetupError(message, path=path, rule="setup.not_toml") from error


def to_struct(
    raw: dict[str, object],
    kind: type[T],
    path: Path | None,
    hint: Callable[[str], str] = lambda _: "",
) -> T:
    """Make a struct of plain values; `hint` adds to the message of a refusal.

    Raises
    ------
    SetupError
        ``setup.invalid``, with the place in the file as field.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        message = f"{error}{hint(str(error))}"
        found = re.search(r"at `(.+?)`", message)
        raise SetupError(
            message,
            path=path,
            field=found.group(1) if found else "$",
            rule="setup.invalid",
        ) from error
