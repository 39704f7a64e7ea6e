"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["atomic_file", "sweep_temporary"]


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary name that becomes `path` when the block ends well.

    The temporary file lies in the folder of `path` (a rename is atomic only inside
    one file system). It is synchronised, renamed, and the folder is synchronised;
    if the block raises, it is removed and `path` is left as it was.

    Parameters
    ----------
    path : path
        The final name. Its folder must exist.

    Yields
    ------
    pathlib.Path
        The temporary name to write to.

    Raises
    ------
    OutputError
        The folder does not exist, or the disk is full (``io.no_space``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with atomic_file(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    final = Path(path)
    if not final.parent.is_dir():
        message = "the folder to write to does not exist"
        raise OutputError(message, path=final, rule="io.no_folder")
    tag = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    temporary = final.with_name(f"{final.name}.tmp-{tag}")
    try:
        yield temporary
        _sync(temporary, os.O_RDWR)
        temporary.replace(final)
        _sync(final.parent, os.O_RDONLY)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            message = f"no space left to write: {error.strerror}"
            raise OutputError(message, path=final, rule="io.no_space") from error
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep_temporary(folder: str | Path) -> int:
    """Remove temporary files of dead writers of this host; return how many.

    Parameters
    ----------
    folder : path
        Folder to sweep (not its subfolders).

    Returns
    -------
    int
        Number of files removed.

    Examples
    --------
    >>> import tempfile
    >>> sweep_temporary(tempfile.mkdtemp())
    0
    """
    swept = 0
    for file in Path(folder).glob(f"*.tmp-{_host()}-*"):
        match = re.search(r"\.tmp-[0-9a-f]+-(\d+)-[0-9a-f]+$", file.name)
        if match and not _alive(int(match.group(1))):
            file.unlink(missing_ok=True)
            swept += 1
    return swept


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
