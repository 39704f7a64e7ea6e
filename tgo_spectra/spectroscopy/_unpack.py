"""Lists as they are distributed: plain, or packed as gzip, bzip2, xz or zip.

The first bytes tell how a file is packed; its name is only looked at to find out what
it would be called without the packing.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from typing import TYPE_CHECKING

from tgo_spectra.errors import LineListError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["PACKED_NAMES", "plain_name", "unpacked"]

PACKED_NAMES = r"\.(?:gz|bz2|xz|lzma|zip)"
"""Ends of the names of packed files, as a regular expression."""

_FAULTS = (
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What the packers raise on damaged input; RuntimeError: an encrypted zip,
MemoryError: a size that is damaged."""

# First bytes of what cannot be read. A tar archive names itself further on.
_FOREIGN = {
    b"\x1f\x9d": "compress (.Z)",
    b"\x1f\xa0": "compress (.Z)",
    b"\x28\xb5\x2f\xfd": "Zstandard (.zst)",
    b"\x04\x22\x4d\x18": "LZ4",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
}
_TAR_MARK = slice(257, 262)  # "ustar" (POSIX.1-2017, pax, ustar interchange format)


def unpacked(raw: bytes, path: Path) -> bytes:
    """Return the content of a file, whatever it is packed with, if it is.

    Raises
    ------
    LineListError
        ``line_list.packed`` (damaged or cut), ``line_list.packing`` (packed with
        something else), ``line_list.members`` (a zip of none or several files).
    """
    for mark, (name, unpack) in _PACKERS.items():
        if raw.startswith(mark):
            try:
                data = unpack(raw, path)
            except _FAULTS as error:
                why = f"compressed as {name}, and damaged or cut: {error}"
                raise _error(why, path, raw, "packed") from error
            return _refuse_foreign(data, path)
    return _refuse_foreign(raw, path)


def _error(why: str, path: Path, data: bytes, rule: str) -> LineListError:
    """Build the error on a file that starts with `data`."""
    value = data[:8].decode("latin-1")
    return LineListError(
        why, path=path, record=0, value=value, rule=f"line_list.{rule}"
    )


def plain_name(name: str) -> str:
    """Return a file name without what says that it is packed.

    Examples
    --------
    >>> plain_name("ch4.data.bz2"), plain_name("ch4.data")
    ('ch4.data', 'ch4.data')
    """
    return re.sub(rf"{PACKED_NAMES}\Z", "", name, flags=re.IGNORECASE)


def _refuse_foreign(data: bytes, path: Path) -> bytes:
    found = next((name for mark, name in _FOREIGN.items() if data.startswith(mark)), "")
    if data[_TAR_MARK] == b"ustar":
        found = "tar"
    elif data.startswith(tuple(_PACKERS)):
        found = "a second packer inside the first"
    if found:
        msg = f"the content is compressed or packed with {found}: unpack it first"
        raise _error(msg, path, data, "packing")
    return data


def _streams(
    raw: bytes, start: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
) -> bytes:
    """Unpack streams one after the other; what follows the last is damage.

    The functions of the standard library leave out in silence what they cannot read
    behind the first stream.
    """
    parts = []
    while raw:
        stream = start()
        parts.append(stream.decompress(raw))
        if not stream.eof:
            message = "it ends within its data"
            raise EOFError(message)
        raw = stream.unused_data
        if isinstance(stream, lzma.LZMADecompressor) and len(raw) % 4 == 0:
            raw = raw.lstrip(b"\0")  # padding, a multiple of four (xz format 1.2, 2.2)
    return b"".join(parts)


def _gzip(raw: bytes, _path: Path) -> bytes:
    return gzip.decompress(raw)


def _bzip2(raw: bytes, _path: Path) -> bytes:
    return _streams(raw, bz2.BZ2Decompressor)


def _xz(raw: bytes, _path: Path) -> bytes:
    return _streams(raw, lzma.LZMADecompressor)


def _zip(raw: bytes, path: Path) -> bytes:
    """Unpack the one file of a zip."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [
            info.filename
            for info in archive.infolist()
            # macOS packs a second, hidden file with every file
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        ]
        if len(names) == 1:
            return archive.read(names[0])
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    msg = f"zip of {len(names)} files ({listed or 'none'}); give one with one list"
    raise _error(msg, path, raw, "members")


_Packer = tuple[str, "Callable[[bytes, Path], bytes]"]
_PACKERS: dict[bytes, _Packer] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"BZh": ("bzip2", _bzip2),
    b"\xfd7zXZ\0": ("xz", _xz),
    b"\x5d\0\0": ("lzma", _xz),
    b"PK\x03\x04": ("zip", _zip),
    b"PK\x05\x06": ("zip", _zip),
}
"""First bytes, name and unpacker."""
