"""Paths as users write them, and the folder of what is kept for them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "cache_root", "expanded"]


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
