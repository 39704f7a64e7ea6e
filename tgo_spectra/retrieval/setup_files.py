"""Setup files of all kinds: TOML to a checked struct, errors with their place."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tgo_spectra.errors import SetupError
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Choices",
    "Section",
    "changes_of",
    "merged",
    "parse_toml",
    "read_setup_file",
    "shipped_names",
    "table_beside",
    "to_struct",
]

T = TypeVar("T", bound=msgspec.Struct)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Common rules of all sections of setup files."""


class Choices(Section, frozen=True):
    """What the setups of all kinds have in common."""

    def hash(self) -> str:
        """SHA-256 of the canonical form: equal exactly when all choices are."""
        canonical = msgspec.json.encode(
            msgspec.to_builtins(self), order="deterministic"
        )
        return hashlib.sha256(canonical).hexdigest()

    def values_with(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Return the plain values with some top-level keys changed, not checked."""
        raw: dict[str, object] = msgspec.to_builtins(self)
        raw.update(msgspec.to_builtins(dict(changes)))
        return raw


def shipped_names() -> list[str]:
    """Return the names of the shipped setups of all kinds, sorted.

    Examples
    --------
    >>> "uvis_o3" in shipped_names()
    True
    """
    folder = resources.files("tgo_spectra") / "setups"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def read_setup_file(path_or_name: str | Path) -> tuple[dict[str, object], Path]:
    """Read the values of a shipped setup or of a TOML file.

    Parameters
    ----------
    path_or_name : str or path
        Name of a shipped setup, or path of a ``.toml`` file.

    Returns
    -------
    raw : dict
    path : Path
        For messages, and as base of relative file names.

    Raises
    ------
    SetupError
        ``setup.missing``, ``setup.not_toml``.
    """
    text = str(path_or_name)
    if not text.endswith(".toml"):
        return _read_shipped(text)
    path = expanded(path_or_name)
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        message = "there is no such setup file"
        raise SetupError(message, path=path, rule="setup.missing") from error
    except UnicodeDecodeError as error:
        message = f"not valid TOML: {error}"
        raise SetupError(message, path=path, rule="setup.not_toml") from error
    return parse_toml(content, path), path


def _read_shipped(name: str) -> tuple[dict[str, object], Path]:
    names = shipped_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"no setup of that name among {', '.join(names)}{hint}"
        raise SetupError(message, field="setup", value=name, rule="setup.missing")
    source = resources.files("tgo_spectra") / "setups" / f"{name}.toml"
    path = Path(f"{name}.toml")
    return parse_toml(source.read_text(encoding="utf-8"), path), path


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


def table_beside(table: str, path: Path) -> str:
    """Return the path of a table file that lies beside the setup file or at home.

    Parameters
    ----------
    table : str
        Name of a shipped table, or path of a ``.nc`` file.
    path : Path
        The setup file.

    Returns
    -------
    str
        As given where it is neither.

    Examples
    --------
    >>> table_beside("so_189_190", Path("so_190.toml"))
    'so_189_190'
    """
    if table.startswith("~"):
        return str(expanded(table))
    beside = path.parent / table
    inside = Path(table).suffix == ".nc" and beside.exists()
    return str(beside) if inside else table


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


def changes_of(pairs: Iterable[str]) -> dict[str, object]:
    """Read ``key=value`` texts, with dots between section and key.

    Parameters
    ----------
    pairs : iterable of str
        The value in TOML; a text may stand without its quotation marks.

    Returns
    -------
    dict
        Nested as a file would be.

    Raises
    ------
    SetupError
        ``setup.change``: not of that form.

    Examples
    --------
    >>> changes_of(["window.top_km=90.0", "medium=air"])
    {'window': {'top_km': 90.0}, 'medium': 'air'}
    """
    changes: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key.strip()):
            message = "a change is key=value, such as window.top_km=90"
            raise SetupError(message, value=pair, rule="setup.change")
        try:
            found = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found = value.strip()
        for part in reversed(key.strip().split(".")):
            found = {part: found}
        changes = merged(changes, found)
    return changes


def merged(
    values: Mapping[str, object], changes: Mapping[str, object]
) -> dict[str, object]:
    """Return nested values with some of them changed, as deep as those are given.

    Examples
    --------
    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(change, dict)
        result[key] = merged(old, change) if both else change  # type: ignore[arg-type]
    return result
