"""Setups by name or file: TOML to the struct of its kind, and changes of keys."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tgo_spectra.errors import SetupError
from tgo_spectra.paths import expanded
from tgo_spectra.retrieval.registry import KINDS, UNSTATED, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tgo_spectra.retrieval.registry import Kind
    from tgo_spectra.retrieval.setup import Setup

__all__ = [
    "changed",
    "changes_of",
    "list_setups",
    "load_setup",
    "merged",
    "parse_toml",
    "read_setup_file",
    "shipped",
    "shipped_of",
]

_BYTES_MAX = 1_000_000  # of a setup file; a thousand times of what one needs


def load_setup(path_or_name: str | Path) -> Setup:
    """Read a setup of any kind: a shipped one by name, or a TOML file.

    Parameters
    ----------
    path_or_name : str or path
        A name that `list_setups` returns, or the path of a ``.toml`` file. The key
        ``kind`` at the top of the file says what kind of retrieval it is for; a file
        without it is read as ``"profile"``.

    Returns
    -------
    setup
        A struct of its kind, such as `RetrievalSetup`; the kinds stand in
        `tgo_spectra.retrieval.registry.KINDS`.

    Raises
    ------
    SetupError
        No such setup (``setup.missing``); not TOML (``setup.not_toml``); unknown kind
        (``setup.kind``); unknown key, wrong type or value, with its place in the file
        (``setup.invalid``, ``setup.inconsistent``); a known interferent neither fitted
        nor named as absent (``setup.interferent``).

    Examples
    --------
    >>> load_setup("so_190").gases
    ('co', 'co2', 'h2o', 'hdo')
    >>> type(load_setup("uvis_o3")).__name__
    'UvisSetup'
    """
    return _parse(*read_setup_file(path_or_name))


def _parse(raw: dict[str, object], path: Path) -> Setup:
    stated = raw.pop("kind", None)
    row = named(UNSTATED if stated is None else stated, path)
    try:
        return row.setup().parse(raw, path)
    except SetupError as error:
        if stated is not None or not _about_keys(error):
            raise
        raise SetupError(
            f"{error.message}; the file states no kind: read as {row.name!r}",
            path=path,
            field=error.field,
            value=error.value,
            rule=error.rule,
        ) from error


def _about_keys(error: SetupError) -> bool:
    """Tell whether a key is unknown or missing, as in a file of another kind."""
    words = ("unknown field", "missing required field")
    return any(word in error.message for word in words)


def shipped(channel: str | None = None) -> Iterator[tuple[Kind, Setup]]:
    """Give the shipped setups, by kind and name.

    Parameters
    ----------
    channel : str, optional
        In small letters; default: all.

    Yields
    ------
    kind : Kind
    setup : Setup

    Examples
    --------
    >>> [setup.name for _, setup in shipped("lno")]
    ['lno_167_169_h2o', 'lno_189_190_co']
    """
    for row in KINDS:
        if channel in {None, row.channel}:
            for setup in shipped_of(row):
                yield row, setup


def shipped_of(row: Kind) -> list[Setup]:
    """Return the shipped setups of a kind by name; those of others are not made."""
    kinds = _shipped_kinds().items()
    return [_shipped(name) for name, kind in kinds if kind == row.name]


@functools.cache
def _shipped_kinds() -> dict[str, object]:
    """Kinds of the shipped setups by name, read once in a process."""
    return {name: _read_shipped(name)[0]["kind"] for name in list_setups()}


@functools.cache
def _shipped(name: str) -> Setup:
    """Read a shipped setup, once in a process."""
    return load_setup(name)


def list_setups() -> list[str]:
    """Return the names of the shipped setups of all kinds, sorted.

    Examples
    --------
    >>> "so_136" in list_setups(), "lno_189_190_co" in list_setups()
    (True, True)
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
    # a device or a pipe may never end
    if path.exists() and not (path.is_file() and path.stat().st_size <= _BYTES_MAX):
        message = f"no file of text of at most {_BYTES_MAX / 1e6:g} MB"
        raise SetupError(message, path=path, rule="setup.not_toml")
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
    names = list_setups()
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


def changed(setup: Setup, changes: Mapping[str, object]) -> Setup:
    """Return a copy with some keys changed, as deep in sections as they are given.

    Parameters
    ----------
    setup : Setup
    changes : mapping
        Nested as a file would be; sections keep their other keys.

    Returns
    -------
    Setup

    Raises
    ------
    SetupError
        As `load_setup`.

    Examples
    --------
    >>> new = changed(load_setup("so_134"), {"window": {"top_km": 90.0}})
    >>> new.window.top_km, new.window.noise_ratio
    (90.0, 2.5)
    """
    return setup.replace(**merged(msgspec.to_builtins(setup), changes))


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
