"""Some variables of a level-2 file, without the rest of it.

The netCDF library opens every variable of a file before it gives one; of the 280 of a
profile a map needs some forty. HDF5 alone opens what it is asked for. The bytes of the
file are checked against its seal; its content hash, which takes all variables, was
compared when it was sealed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import OutputError
from tgo_spectra.files.storage import FAULTS, Stored, is_sealed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

__all__ = ["read_partly"]

# what the netCDF library stores for itself, by its own conventions over HDF5
_DIMENSION_NUMBER = b"_Netcdf4Dimid"
_DIMENSION_NUMBERS = b"_Netcdf4Coordinates"
_DIMENSIONS = b"DIMENSION_LIST"
_SCALE_NAME = b"NAME"
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def read_partly(
    path: Path, wanted: Mapping[str, Sequence[str]], keys: Collection[str]
) -> tuple[dict[str, Stored], dict[str, Any]] | None:
    """Read the variables of `wanted` and global attributes, `keys`, that a file has.

    `wanted` names the attributes that are needed of each. None: the file has no seal,
    or holds something else than numbers there; it has to be read as a whole.

    OutputError: its bytes are not those that were written (``io.hash_mismatch``), or it
    is cut or no netCDF-4 file (``io.unreadable``).
    """
    if not is_sealed(path):
        return None
    from h5py import h5f, h5g, h5p

    # the classes of h5py take as long to close a file as to read a third of it
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)  # and all that was opened in it
    try:
        file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY, access)
        try:
            return _read(h5g.open(file, b"/"), wanted, keys)
        finally:
            file.close()
    except FAULTS as error:
        message = f"not readable as netCDF: {error}"
        raise OutputError(message, path=path, rule="io.unreadable") from error


def _read(
    root: Any, wanted: Mapping[str, Sequence[str]], keys: Collection[str]
) -> tuple[dict[str, Stored], dict[str, Any]] | None:
    from h5py import h5a, h5d, h5s

    there = {name.decode() for name in root}
    opened = {name: h5d.open(root, name.encode()) for name in wanted if name in there}
    shapes = {name: item.shape for name, item in opened.items()}
    names = _dimension_names(opened, shapes)
    found = {}
    for name, item in opened.items():
        if name in names.values() and _is_no_variable(item):
            continue
        if item.dtype.kind not in "iuf":
            return None
        data = np.empty(shapes[name], item.dtype)
        if data.size:
            item.read(h5s.ALL, h5s.ALL, data)
        attrs = {key: _attribute(item, key.encode()) for key in wanted[name]}
        known = {key: value for key, value in attrs.items() if value is not None}
        dims = _dims(root, name, item, names) if data.ndim else ()
        found[name] = Stored(dims, data, known)
    stated: list[bytes] = []
    h5a.iterate(root, stated.append)
    return found, {
        key: _attribute(root, name) for name in stated if (key := name.decode()) in keys
    }


def _dimension_names(
    opened: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[int, str]:
    """Names of the dimensions that are among what was opened, by their numbers."""
    found = {}
    for name, item in opened.items():
        flat = len(shapes[name]) == 1
        number = _attribute(item, _DIMENSION_NUMBER) if flat else None
        if number is not None:
            found[int(number)] = name
    return found


def _dims(root: Any, name: str, item: Any, names: dict[int, str]) -> tuple[str, ...]:
    """Names of the dimensions of a variable that has some."""
    numbers = _numbers(item)
    if numbers and all(number in names for number in numbers):
        return tuple(names[number] for number in numbers)
    from h5py import h5a, h5r

    if not h5a.exists(item, _DIMENSIONS):  # a coordinate along itself
        return (name,)
    attribute = h5a.open(item, _DIMENSIONS)
    lists = np.empty(attribute.shape, attribute.dtype)
    attribute.read(lists)
    paths = [h5r.get_name(references[0], root) for references in lists]
    dims = tuple(path.decode().rpartition("/")[2] for path in paths)
    if numbers:
        names.update(zip(numbers, dims, strict=True))
    return dims


def _numbers(item: Any) -> list[int]:
    """Numbers of the dimensions of a variable; empty where they are not stored."""
    from h5py import h5a

    if not h5a.exists(item, _DIMENSION_NUMBERS):
        return []
    numbers = np.empty(item.rank, np.int32)
    h5a.open(item, _DIMENSION_NUMBERS).read(numbers)
    found: list[int] = numbers.tolist()
    return found


def _is_no_variable(item: Any) -> bool:
    """Tell whether it stands for a dimension alone."""
    return str(_attribute(item, _SCALE_NAME)).startswith(_NO_VARIABLE)


def _attribute(item: Any, name: bytes) -> Any:
    """Value of an attribute as the netCDF library gives it; None without it."""
    from h5py import h5a

    if not h5a.exists(item, name):
        return None
    attribute = h5a.open(item, name)
    dtype = attribute.dtype
    # asking for the shape takes as long as reading; most are one text
    text = dtype.kind == "S" and attribute.get_storage_size() == dtype.itemsize
    value = np.empty(() if text else attribute.shape, dtype)
    attribute.read(value)
    if value.ndim:  # an array of one is a number
        return value[0] if value.shape == (1,) else value
    found = value.item()
    return found.decode() if isinstance(found, bytes) else found
