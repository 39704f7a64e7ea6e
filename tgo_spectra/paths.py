"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["expanded"]


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
