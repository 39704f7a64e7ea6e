"""netCDF-4 files as they are: variables, filters, attributes, and the hash of them.

Behind the end of every file that is written here stands a seal, the SHA-256 of all
bytes before it. It is checked before the library sees the file, since HDF5 itself may
loop for ever, or take all memory, on a file with one damaged byte. Other programs do
not see the seal: HDF5 reads as far as its own header says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tgo_spectra.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import FileIO
    from pathlib import Path

    import netCDF4

    Form = Literal["NETCDF4", "NETCDF3_CLASSIC"]

__all__ = [
    "FAULTS",
    "Stored",
    "clean_attributes",
    "content_hash",
    "is_sealed",
    "new_netcdf",
    "read_stored",
    "write_stored",
]

_SEAL = b"\nSHA-256 of the bytes before this line: "
_SEALED = len(_SEAL) + 64  # bytes of a seal: 64 hexadecimal digits follow
# HDF5 file format 3.0, II.A: place of the version of the superblock, and by version
# that of the end of the file.
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_VERSION_BYTE = 8
_END_BYTE = {0: 40, 1: 44, 2: 28, 3: 28}
_HEAD_BYTES = 64
_AT_ONCE = 2**18  # bytes that are read and hashed together: they stay in the cache

# What the libraries raise, besides OSError and RuntimeError, where names, types or
# sizes do not make sense.
FAULTS = (
    OSError,
    RuntimeError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
)

_PROBE_BYTES = 2**20  # written to find out whether the disk is full
_SAMPLED_BYTES = 16_384  # deflating less takes no time worth saving


# Left out of the content hash: they differ between two runs with equal results.
_UNHASHED = frozenset(
    {
        "content_sha256", "tracking_id", "id", "date_created", "date_issued",
        "date_modified", "date_metadata_modified", "history",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """One variable as it stands in the file."""

    dims: tuple[str, ...]
    data: np.ndarray[Any, np.dtype[Any]]
    attrs: dict[str, Any]


def content_hash(variables: Mapping[str, Stored], attrs: Mapping[str, Any]) -> str:
    """Hash (SHA-256) names, dimensions, types, values and attributes of a file.

    ``content_sha256``, identifiers, dates and ``history`` are left out, so that equal
    results have equal hashes.
    """
    digest = hashlib.sha256()
    hashed = {key: value for key, value in attrs.items() if key not in _UNHASHED}
    digest.update(_canonical(hashed))
    for name in sorted(variables):
        variable = variables[name]
        data = variable.data
        head: list[object] = [
            name,
            variable.dims,
            data.shape,
            data.dtype.str.lstrip("<|="),
        ]
        digest.update(json.dumps(head).encode())
        digest.update(_canonical(variable.attrs))
        if data.dtype.kind in "OU":
            digest.update(json.dumps([str(x) for x in data.ravel()]).encode())
        else:
            # little-endian C order, whatever the machine
            little = data.astype(data.dtype.newbyteorder("<"), copy=False)
            digest.update(np.ascontiguousarray(little).data)
    return digest.hexdigest()


def clean_attributes(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Give attributes that netCDF can hold: text, numbers, arrays of numbers.

    None is left out, a dict becomes JSON, text in a list is joined by commas.

    >>> clean_attributes({"a b": ["x", "y"], "n": None, "deep": {"k": 1}})
    {'a_b': 'x, y', 'deep': '{"k": 1}'}
    """
    cleaned: dict[str, Any] = {}
    for key, value in attrs.items():
        name = str(key)
        if not (name.isascii() and name.isidentifier()):
            name = re.sub(r"\W", "_", name, flags=re.ASCII)
            if name[:1].isdigit():
                name = f"n{name}"
        if value is not None:
            cleaned[name] = _clean_value(value)
    return cleaned


def _clean_value(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, str | int | float | np.number):
        return value
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, default=str)
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple | np.ndarray):
        array = np.asarray(value)
        if array.dtype.kind in "iuf" and array.ndim == 1 and array.size:
            return array
        return ", ".join(str(item) for item in np.ravel(array).tolist())
    return str(value)


def _canonical(attrs: Mapping[str, Any]) -> bytes:
    """Attributes as bytes that do not depend on their order or on the machine."""
    rows: list[list[object]] = []
    for key in sorted(attrs):
        value = attrs[key]
        if isinstance(value, str):
            rows.append([key, value])
        else:
            array = np.atleast_1d(np.asarray(value))
            rows.append([key, array.dtype.kind, [repr(x) for x in array.tolist()]])
    return json.dumps(rows).encode()


@contextlib.contextmanager
def new_netcdf(path: Path, form: Form = "NETCDF4") -> Iterator[netCDF4.Dataset]:
    """Give an empty netCDF file that is closed when the block ends (OSError)."""
    import netCDF4

    # Of a netCDF-3 file that cannot grow, closing ends the interpreter: it is made in
    # memory. netCDF-4 in memory would lose the order of its variables.
    first_bytes = None if form == "NETCDF4" else 65_536
    try:
        file = netCDF4.Dataset(path, "w", format=form, memory=first_bytes)
        try:
            file.set_auto_maskandscale(False)
            yield file
        finally:
            content = _close(file)
    except (RuntimeError, OSError) as error:  # any fault below HDF5
        _raise_if_full(path)
        message = f"netCDF4: {error}"
        raise OSError(message) from error
    if first_bytes is not None:
        path.write_bytes(content)
    else:
        _seal(path)


def _seal(path: Path) -> None:
    """Write the seal behind a whole file."""
    with path.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(_SEAL + digest.encode())


def is_sealed(path: Path) -> bool:
    """Check the bytes of a file; tell whether a seal says that they are whole.

    OutputError: they are not those that were sealed (``io.hash_mismatch``), or the file
    is cut or no netCDF-4 file (``io.unreadable``): one without a seal, made by another
    program, must end where its header says.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _is_sealed(file, path)
    except OSError as error:
        message = f"not readable: {error.strerror}"
        raise OutputError(message, path=path, rule="io.unreadable") from error


def _is_sealed(file: FileIO, path: Path) -> bool:
    size = os.fstat(file.fileno()).st_size
    head = file.read(_HEAD_BYTES)
    if not head.startswith(_SIGNATURE):
        message = "not readable as netCDF: it does not start as a netCDF-4 file does"
        raise OutputError(message, path=path, rule="io.unreadable")
    file.seek(max(size - _SEALED, 0))
    seal = file.read(_SEALED)
    if seal.startswith(_SEAL):
        file.seek(0)
        found = _digest(file, size - _SEALED)
        if found != seal[-64:].decode("latin-1"):
            message = f"the file is damaged: its bytes have SHA-256 {found}"
            raise OutputError(message, path=path, rule="io.hash_mismatch")
        return True
    head = head.ljust(_HEAD_BYTES, b"\0")
    place = _END_BYTE.get(head[_VERSION_BYTE], _HEAD_BYTES - 8)
    (stated,) = struct.unpack_from("<Q", head, place)
    if stated != size:
        message = f"cut or damaged: {size} bytes, its header says {stated}"
        raise OutputError(message, path=path, rule="io.unreadable")
    return False


def _digest(file: FileIO, size: int) -> str:
    """SHA-256 of the next bytes, through one small buffer.

    Memory for all of a file costs as much as reading it.
    """
    digest, near = hashlib.sha256(), memoryview(bytearray(_AT_ONCE))
    while size > 0:
        part = near[: min(size, _AT_ONCE)]
        n = file.readinto(part)
        if not n:
            break  # it was cut meanwhile
        digest.update(part[:n])
        size -= n
    return digest.hexdigest()


def _close(file: netCDF4.Dataset) -> Any:
    """Close a file for good, whether or not that fails; give the contents of one."""
    try:
        return file.close()
    except RuntimeError:
        # it would be closed again when it is freed, which ends the interpreter
        file._isopen = 0
        raise


def _raise_if_full(path: Path) -> None:
    """Raise what the system says when a file is to grow; HDF5 does not tell."""
    with path.open("ab") as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())


def write_stored(
    variables: Mapping[str, Stored], attrs: Mapping[str, Any], path: Path
) -> None:
    """Write a netCDF-4 file: every array with checksums, deflated where it pays.

    All arrays that share a dimension agree on its size; OSError where the disk is full.
    """
    try:
        _write_once(variables, attrs, path)
    except OSError as error:
        # HDF5 keeps the cause to itself, and the disk, when asked, had none to tell
        if error.errno is not None:
            raise
        _write_once(variables, attrs, path)


def _write_once(
    variables: Mapping[str, Stored], attrs: Mapping[str, Any], path: Path
) -> None:
    """Write the file, without a second try."""
    with new_netcdf(path) as file:
        file.setncatts(attrs)
        sizes: dict[str, int] = {}
        for variable in variables.values():
            sizes |= dict(zip(variable.dims, variable.data.shape, strict=True))
        for name, size in sizes.items():
            file.createDimension(name, size)
        # all definitions before any value: the library then builds its metadata once
        targets = {
            name: _define(file, name, variable) for name, variable in variables.items()
        }
        for name, variable in variables.items():
            _put(targets[name], variable.data)


def _define(
    file: netCDF4.Dataset, name: str, variable: Stored
) -> netCDF4.Variable[Any]:
    """Define one variable; scalars and text cannot have filters."""
    text = variable.data.dtype.kind == "O"
    plain = text or not variable.dims
    deflate = not plain and _is_compressible(variable.data)
    target = file.createVariable(
        name,
        str if text else variable.data.dtype,
        variable.dims,
        zlib=deflate,
        complevel=4,
        shuffle=deflate,
        fletcher32=not plain,
        chunksizes=None if plain else _chunks(variable),
        fill_value=None if text else variable.attrs.get("_FillValue", False),
    )
    rest = {k: v for k, v in variable.attrs.items() if k != "_FillValue"}
    target.setncatts(rest)
    return target


def _put(target: netCDF4.Variable[Any], data: np.ndarray[Any, np.dtype[Any]]) -> None:
    """Write a whole variable.

    The public way, ``target[...] = data``, takes 0.2 ms of Python to find out that
    an ellipsis means everything, longer than all the rest for a small variable; it
    ends in the call that is made here.
    """
    if data.dtype.kind == "O" or not data.size:
        target[...] = data[()]
        return
    whole = np.ascontiguousarray(data)  # a scalar becomes one value
    target._put(whole, [0] * whole.ndim, list(whole.shape), [1] * whole.ndim)


def _get(variable: netCDF4.Variable[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """Read a whole variable, see `_put`."""
    shape = list(variable.shape)
    if variable.dtype is str:
        return np.asarray(variable[...], dtype=object)
    if not all(shape):
        return np.asarray(variable[...])
    n = max(len(shape), 1)  # a scalar is asked for as one value
    values = variable._get([0] * n, shape or [1], [1] * n)
    return np.asarray(values).reshape(shape)


def _is_compressible(data: np.ndarray[Any, np.dtype[Any]]) -> bool:
    """Tell whether deflating saves more than 30 %, from samples of a large array."""
    if data.nbytes < _SAMPLED_BYTES:
        return True
    flat = data.ravel()
    starts = np.linspace(0, flat.size - 128, 8).astype(int)
    sample = np.concatenate([flat[start : start + 128] for start in starts])
    # byte by byte, as the shuffle filter orders them
    shuffled = sample.view(np.uint8).reshape(sample.size, -1).T.tobytes()
    return len(zlib.compress(shuffled, 1)) < 0.7 * len(shuffled)


def _chunks(variable: Stored) -> list[int] | None:
    """One chunk a variable; one per leading slice when it is larger than 8 MB."""
    shape = [max(size, 1) for size in variable.data.shape]
    if variable.data.nbytes > 8_000_000 and len(shape) > 1:
        shape[0] = 1
    return shape


def read_stored(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Read variables and global attributes of a netCDF-4 file as they are stored.

    OutputError: its bytes are not those that were written (``io.hash_mismatch``), or it
    is cut or no netCDF-4 file (``io.unreadable``).
    """
    import netCDF4

    is_sealed(path)
    try:
        with netCDF4.Dataset(path, "r") as file:
            file.set_auto_maskandscale(False)
            variables = {
                name: Stored(
                    tuple(variable.dimensions),
                    _get(variable),
                    _attributes(variable),
                )
                for name, variable in file.variables.items()
            }
            return variables, _attributes(file)
    except FAULTS as error:
        message = f"not readable as netCDF: {error}"
        raise OutputError(message, path=path, rule="io.unreadable") from error


def _attributes(item: netCDF4.Dataset | netCDF4.Variable[Any]) -> dict[str, Any]:
    return {name: item.getncattr(name) for name in item.ncattrs()}
