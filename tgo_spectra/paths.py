"""Paths as users write them, and the folder of what is kept for them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "cache_root", "expanded", "is_foreign", "owner_of"]


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` and ``~user`` as folders.

    Whatever takes a path from a user takes it through here: a shell expands ``~``
    only where it stands at the start of a word.

    Parameters
    ----------
    path : path
        Left as it is where there is no such user.

    Returns
    -------
    Path

    Examples
    --------
    >>> expanded("~/a.xml") == Path.home() / "a.xml"
    True
    >>> expanded("~no_such_user/a.xml").name, expanded("a~b").name
    ('a.xml', 'a~b')
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def cache_root() -> Path:
    """Return the user's cache, ``$XDG_CACHE_HOME/tgo_spectra`` or in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tgo_spectra"


def cache_folder(kind: str) -> Path:
    """Return a folder of the user's cache, by the XDG rule.

    Parameters
    ----------
    kind : str
        ``tables`` or ``lines``.

    Returns
    -------
    pathlib.Path
        ``$XDG_CACHE_HOME/tgo_spectra/<kind>``, the variable defaulting to
        ``~/.cache``. It need not exist.

    Examples
    --------
    >>> cache_folder("tables").parts[-2:]
    ('tgo_spectra', 'tables')
    """
    return cache_root() / kind


def is_foreign(path: Path) -> bool:
    """Tell whether a file of the cache is another user's, who is not the administrator.

    Its hash can be right and its numbers wrong; a cache in a folder that others can
    write to is nobody's choice of what to trust.
    """
    if not hasattr(os, "geteuid"):
        return False
    known = {0, os.geteuid()}
    return not {path.stat().st_uid, path.lstat().st_uid} <= known


def owner_of(path: Path) -> str:
    """Name of the user whose file it is, or the number where there is no name."""
    uid = path.stat().st_uid
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"number {uid}"
