"""Settings of search and download: every address is one of them."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path

import msgspec

from tgo_spectra.errors import ArchiveError

__all__ = ["ArchiveSettings", "load_settings"]


class ArchiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the Planetary Science Archive answers, and how long to wait for it.

    Parameters
    ----------
    tap_url : str
        Table Access Protocol service; it has moved at least twice.
    tap_fallback_urls : tuple of str
        Asked in turn when the first does not answer.
    download_root : str or None
        Put before the ``download_path`` of a row; default `tap_url` without its last
        part ``/tap``.
    allowed_hosts : tuple of str
        Only these are ever connected to, also after a redirect.
    https_only : bool
        Refuse plain ``http``.
    maxrec : int
        Most rows a query may give; as many are taken as a cut answer.
    max_parallel_per_host : int
        Connections to one server at a time.
    connect_timeout_s, read_timeout_s : float
        Seconds without a connection, or without a byte.
    min_rate_bytes_s, stall_window_s : float
        A server that sends less than this, over this many seconds, is left.
    retries : int
        Further attempts after the first, of each kind of fault: no connection, an
        answer that breaks off or never comes, a busy server.
    backoff_s, backoff_max_s : float
        Unit and longest of the waits between attempts, seconds: none, 2, 4, 8 ...
        units, up to one more by chance, where the server does not say how long.
    max_product_bytes : int
        Larger files are refused.
    offline : bool
        Open no connection at all.

    Examples
    --------
    >>> ArchiveSettings(retries=2).allowed_hosts
    ('psa.esa.int', 'archives.esac.esa.int')
    """

    tap_url: str = "https://psa.esa.int/psa-tap/tap"
    tap_fallback_urls: tuple[str, ...] = ("https://archives.esac.esa.int/psa-tap/tap",)
    download_root: str | None = None
    allowed_hosts: tuple[str, ...] = ("psa.esa.int", "archives.esac.esa.int")
    https_only: bool = True
    maxrec: int = 100_000
    max_parallel_per_host: int = 2
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    min_rate_bytes_s: float = 1024.0
    stall_window_s: float = 60.0
    retries: int = 5
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    max_product_bytes: int = 4 * 2**30
    offline: bool = False


def load_settings(path: str | Path | None = None) -> ArchiveSettings:
    """Read settings from a TOML file; what it leaves out keeps its default.

    Parameters
    ----------
    path : path, optional
        File with a table ``[archive]``. Default: the file that the environment
        variable ``TGO_SPECTRA_ARCHIVE`` names, else the defaults.

    Returns
    -------
    ArchiveSettings

    Raises
    ------
    ArchiveError
        ``settings.unreadable``, ``settings.unknown_key``, ``settings.type``.

    Examples
    --------
    >>> load_settings().retries
    5
    """
    named = path or os.environ.get("TGO_SPECTRA_ARCHIVE")
    if not named:
        return ArchiveSettings()
    try:
        text = Path(named).read_text(encoding="utf-8")
        found = tomllib.loads(text).get("archive", {})
    except (OSError, ValueError, RecursionError) as error:
        message = f"settings cannot be read: {error}"
        raise ArchiveError(message, path=named, rule="settings.unreadable") from error
    known = ArchiveSettings.__struct_fields__
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"unknown setting{hint}"
            raise ArchiveError(
                message, path=named, value=key, rule="settings.unknown_key"
            )
    try:
        return msgspec.convert(found, ArchiveSettings)
    except msgspec.ValidationError as error:
        message = f"wrong setting: {error}"
        raise ArchiveError(message, path=named, rule="settings.type") from error
