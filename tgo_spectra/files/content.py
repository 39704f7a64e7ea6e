"""What a netCDF file of ours holds, and the hash of it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Stored", "clean_attributes", "content_hash"]

# Left out of the content hash: they differ between two runs with equal results.
_UNHASHED = frozenset({"content_sha256", "tracking_id", "date_created", "history"})


@dataclass(frozen=True)
class Stored:
    """One variable as it stands in the file."""

    dims: tuple[str, ...]
    data: np.ndarray[Any, np.dtype[Any]]
    attrs: dict[str, Any]


def content_hash(variables: Mapping[str, Stored], attrs: Mapping[str, Any]) -> str:
    """SHA-256 of names, dimensions, types, values and attributes of a file.

    ``content_sha256``, ``tracking_id``, ``date_created`` and ``history`` are left
    out, so that equal results have equal hashes.

    Parameters
    ----------
    variables : mapping of str to Stored
        As stored in the file.
    attrs : mapping of str to value
        Global attributes.

    Returns
    -------
    str
        64 hexadecimal digits.
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

    Parameters
    ----------
    attrs : mapping
        Any attributes; None is left out, a dict becomes JSON, text in a list is
        joined by commas.

    Returns
    -------
    dict of str to value
        Names are letters, digits and underscores.

    Examples
    --------
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
