"""Writing: files that appear whole or not at all, and faults of the disk as errors.

Everything that the package writes for a user goes through this module, so that a full
disk, a folder without permission or a file where a folder is needed is one
`OutputError` that names the place.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.errors import OutputError
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "append_line",
    "atomic_file",
    "host_tag",
    "is_alive",
    "output_folder",
    "refuse_existing",
    "sweep_temporary",
    "write_whole",
    "writing",
]

# What the operating system says, our rule, and what to do.
_FAULTS = (
    (
        {errno.ENOSPC, errno.EFBIG},
        "io.no_space",
        "no space left in {folder}; make room and run again",
    ),
    (
        {errno.EDQUOT},
        "io.quota",
        "the quota of the disk is used up in {folder}; make room and run again",
    ),
    (
        {errno.EIO},
        "io.device",
        "the disk reports an input/output error in {folder}; run again",
    ),
    (
        {errno.ESTALE},
        "io.stale",
        "the disk was taken away meanwhile (stale file handle) in {folder}; run again",
    ),
    (
        {errno.EACCES, errno.EPERM, errno.EROFS},
        "io.permission",
        "no permission to write in {folder}; choose another folder",
    ),
    (
        {errno.EEXIST, errno.ENOTDIR},
        "io.not_a_folder",
        "a file stands where a folder is needed; choose another folder",
    ),
    ({errno.ENOENT}, "io.no_folder", "the folder to write to does not exist"),
    (
        {errno.EISDIR, errno.ENOTEMPTY},
        "io.is_a_folder",
        "a folder stands where the file is to be written; choose another name",
    ),
    ({errno.ENAMETOOLONG}, "io.name_too_long", "the name is too long for this disk"),
)


_OLD_S = 86_400.0


def _output_error(error: OSError, path: Path) -> OutputError:
    """Say what a fault of the operating system means for the one who writes."""
    folder = path if path.is_dir() else path.parent
    for numbers, rule, message in _FAULTS:
        if error.errno in numbers:
            return OutputError(message.format(folder=folder), path=path, rule=rule)
    message = f"could not write: {error.strerror or error}"
    return OutputError(message, path=path, rule="io.write_failed")


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn faults of the operating system inside the block into one `OutputError`.

    >>> import pathlib
    >>> with writing("no/such/folder/a.txt"):
    ...     pathlib.Path("no/such/folder/a.txt").write_text("x")
    Traceback (most recent call last):
    tgo_spectra.errors.OutputError: no/such/folder/a.txt: the folder to write to ...
    """
    try:
        yield
    except OSError as error:
        raise _output_error(error, expanded(path)) from error


def output_folder(path: str | Path) -> Path:
    """Make a folder to write to, with all above it, unless it is there."""
    folder = expanded(path)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_existing(files: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse (OutputError ``io.exists``) to replace files, unless told to."""
    there = [] if overwrite else [file for file in files if os.path.lexists(file)]
    if there:
        message = (
            "is there already and is not replaced; choose another folder, or say "
            "overwrite=True (command line: --overwrite)"
        )
        raise OutputError(message, path=there[0], rule="io.exists")


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary name that becomes `path` when the block ends well.

    The temporary file lies in the folder of `path`, which must exist (a rename is
    atomic only inside one file system). It is synchronised, renamed, and the folder is
    synchronised; if the block raises, it is removed and `path` is left as it was.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with atomic_file(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    final = expanded(path)
    tag = f"{host_tag()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    temporary = final.with_name(f"{final.name}.tmp-{tag}")
    with writing(final):
        try:
            # netCDF4 takes whatever hinders it for a lack of permission
            temporary.touch(exist_ok=False)
            yield temporary
            _sync(temporary, os.O_RDWR)
            temporary.replace(final)
            _sync(final.parent, os.O_RDONLY)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes to a file as a whole, see `atomic_file`."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return expanded(path)


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a record in one write; a torn last line keeps to itself.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "journal.jsonl"
    >>> _ = file.write_text('{"cut')
    >>> append_line(file, "{}")
    >>> file.read_text().splitlines()
    ['{"cut', '{}']
    """
    file = expanded(path)
    with writing(file), file.open("a+b") as stream:
        end = b""
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            end = b"" if stream.read(1) == b"\n" else b"\n"
        stream.write(end + line.encode() + b"\n")


def sweep_temporary(folder: str | Path) -> int:
    """Remove temporary files of dead writers; give their number.

    Those of this host whose process is gone, and of others what is older than a day,
    which no writing takes, by the clock of the disk. An entry that is gone meanwhile
    was swept by another.
    """
    swept, here, place = 0, host_tag(), expanded(folder)
    with writing(place):
        now = _clock_of(place) if any(place.glob("*.tmp-*")) else 0.0
        for file in place.glob("*.tmp-*"):
            match = re.search(r"\.tmp-([0-9a-f]+)-(\d+)-[0-9a-f]+$", file.name)
            if match is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                if match[1] == here:
                    dead = not is_alive(int(match[2]))
                else:
                    dead = now - file.stat().st_mtime > _OLD_S
                if dead:
                    file.unlink()
                    swept += 1
    return swept


def _clock_of(folder: Path) -> float:
    """Time (s) that the disk of a folder gives to what is written now."""
    probe = folder / f"probe.tmp-{host_tag()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def host_tag() -> str:
    """Name what numbers processes: a host since it was started, or a container there.

    Containers may have one host name and the same numbers.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """Tell whether a process of this host is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
