"""Binary tables and arrays: mapped from the file, converted when asked for.

Sizes are checked in Python integers before anything is mapped or allocated, and the
type of what is returned follows from the label, never from the values.

References
----------
PDS4 information model 1.15, ``Table_Binary``, ``Array`` and ``PDS4 data types``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.table import parse_cells
from tgo_spectra.pds4.types import KNOWN_TYPES
from tgo_spectra.pds4.xml import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4.label import Field
    from tgo_spectra.pds4.source import Source

__all__ = ["BINARY_TYPES", "ArrayObject", "BinaryTable", "TableBinary"]

BINARY_TYPES: dict[str, np.dtype[Any]] = {
    "SignedByte": np.dtype("i1"),
    "UnsignedByte": np.dtype("u1"),
    **{
        f"{sign}{order}{size}": np.dtype(f"{mark}{kind}{size}")
        for sign, kind in (("Signed", "i"), ("Unsigned", "u"))
        for order, mark in (("LSB", "<"), ("MSB", ">"))
        for size in (2, 4, 8)
    },
    **{
        f"{stem.format(order)}{name}": np.dtype(f"{mark}{kind}")
        for order, mark in (("LSB", "<"), ("MSB", ">"))
        for stem, name, kind in (
            ("IEEE754{}", "Single", "f4"),
            ("IEEE754{}", "Double", "f8"),
            ("Complex{}", "8", "c8"),
            ("Complex{}", "16", "c16"),
        )
    },
}
"""``data_type`` values of binary fields and array elements, as dtypes."""

BIT_TYPES = frozenset({"SignedBitString", "UnsignedBitString"})
TABLE_TYPES = KNOWN_TYPES | BINARY_TYPES.keys() | BIT_TYPES
"""``data_type`` values of the fields of a binary table."""

_HEX = re.compile(r"(?:0[xX]|16#)([0-9A-Fa-f]+)#?")


def find_field(fields: Sequence[Field], name: str, table: str) -> Field:
    """Return the field of a name, or of ``"Group / Field"`` if several share it.

    Raises
    ------
    ProductError
        ``table.fields_mismatch`` if none or several fit.
    """
    found = [f for f in fields if name in {f.name, " / ".join((*f.groups, f.name))}]
    if len(found) == 1:
        return found[0]
    problem = "no field" if not found else "several fields"
    msg = f"table {table!r} has {problem} of this name"
    raise ProductError(msg, value=name, rule="table.fields_mismatch")


def file_bytes(source: Source, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a file as bytes: mapped, or unpacked if it is a member of a zip.

    Raises
    ------
    ProductError
        ``label.filesize_mismatch`` if the size is no longer what was checked.
    """
    found = source.size()
    if found != size:
        msg = f"file changed while in use (had {size} bytes)"
        raise ProductError(
            msg, path=str(source), value=found, rule="label.filesize_mismatch"
        )
    if source.member is None:
        try:
            return np.memmap(source.path, dtype=np.uint8, mode="r")
        except PermissionError:
            msg = "no permission to read"
            rule = "io.permission"
        except (OSError, ValueError):  # gone, or emptied, since its size was taken
            msg = "file changed while in use"
            rule = "label.filesize_mismatch"
        raise ProductError(msg, path=str(source), rule=rule)
    return np.frombuffer(source.read(), dtype=np.uint8)


def _constant(text: str, dtype: np.dtype[Any]) -> Any:
    """Return a special constant as a value of `dtype`, None if it cannot be one."""
    bits = _HEX.fullmatch(text)
    if bits:
        digits = bits[1].zfill(2 * dtype.itemsize)
        if len(digits) != 2 * dtype.itemsize:
            return None
        return np.frombuffer(bytes.fromhex(digits), dtype.newbyteorder(">"))[0]
    real = number(text)
    if real is None:
        return None
    if dtype.kind in "iu":
        # whole numbers not by way of float, which rounds
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,40}", text) else int(real)
        limits = np.iinfo(dtype)
        fits = real.is_integer() and limits.min <= value <= limits.max
        return dtype.type(value) if fits else None
    with np.errstate(over="ignore"):  # 1e300 is infinite as float32: found nowhere
        return dtype.type(real)


def decoded_dtype(
    dtype: np.dtype[Any], fills: Sequence[str], scale: float, offset: float
) -> np.dtype[Any]:
    """Return the type that `decode` gives: from the label alone."""
    native = dtype.newbyteorder("=")
    scaled = scale != 1.0 or offset != 0.0
    if native.kind in "iu":
        return np.dtype(np.float64) if fills or scaled else native
    if scaled:
        return np.dtype(np.complex128 if native.kind == "c" else np.float64)
    return native


def decode(
    stored: np.ndarray[Any, Any], fills: Sequence[str], scale: float, offset: float
) -> np.ndarray[Any, Any]:
    """Return stored numbers as values: native order, missing as NaN, scaled.

    Integers become float64 if a missing value or a scale is declared.

    Raises
    ------
    ProductError
        ``table.field_value_data_type_mismatch`` for a value that this type of result
        cannot hold.
    """
    values = np.array(stored, dtype=decoded_dtype(stored.dtype, fills, scale, offset))
    if scale != 1.0 or offset != 0.0:
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * scale + offset
        lost = np.isfinite(stored) & ~np.isfinite(values)
        msg = "number leaves the range of float64 when scaled"
    else:
        lost = _rounded(stored, values)
        msg = "integer is too large for a float64, which a missing value needs"
    for text in fills:
        # compared as stored: a float32 of -1e32 is not the float64 of that name
        fill = _constant(text, stored.dtype)
        if fill is not None:
            missing = stored == fill
            lost = lost & ~missing
            values = np.where(missing, values.dtype.type(np.nan), values)
    if lost.any():
        first = np.asarray(stored)[lost].flat[0]
        rule = "table.field_value_data_type_mismatch"
        raise ProductError(msg, value=first.item(), rule=rule)
    return values


def _rounded(
    stored: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say which integers a float64 does not hold; false for all other types."""
    if (
        stored.dtype.kind in "iu"
        and values.dtype.kind == "f"
        and (stored.dtype.itemsize == 8)
    ):
        # up to 2**53 all are held; a larger one has to be a multiple of its spacing
        large = (stored > 2**53) | (stored < -(2**53))
        exact = np.zeros(stored.shape, dtype=np.bool_)
        exact[large] = [int(float(v)) == int(v) for v in stored[large].tolist()]
        return large & ~exact
    return np.zeros(stored.shape, dtype=np.bool_)


@dataclass(frozen=True)
class TableBinary:
    """A table of binary records: place in the file and fields of a record."""

    name: str
    offset: int
    records: int
    record_length: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class BinaryTable:
    """A checked table of binary records; holds no file handle and no data.

    Attributes
    ----------
    layout : TableBinary
        From the label.
    source : Source
        File that holds it.
    size : int
        Bytes of that file when it was checked.
    """

    layout: TableBinary
    source: Source
    size: int

    @property
    def name(self) -> str:
        """Name in the label."""
        return self.layout.name

    def read(self, name: str, rows: slice = slice(None)) -> np.ndarray[Any, Any]:
        """Return the values of one field.

        Parameters
        ----------
        name : str
            Name of the field; ``"Group / Field"`` where the name alone would fit
            several.
        rows : slice
            Records wanted.

        Returns
        -------
        ndarray, shape ``(row, *repetitions)``
            In native byte order. A declared missing value is NaN, which makes
            integers float64; text has no blanks around it; bit strings are raw.

        Raises
        ------
        ProductError
            ``table.fields_mismatch`` for an unknown name; for ASCII fields the rules
            of `Table.read`.
        """
        layout = self.layout
        item = find_field(layout.fields, name, layout.name)
        data = file_bytes(self.source, self.size)
        if item.data_type in KNOWN_TYPES:
            return self._text(item, data, rows)
        if item.data_type in BIT_TYPES:
            dtype = np.dtype(f"V{item.length}")
        else:
            dtype = BINARY_TYPES[item.data_type]
        stored: np.ndarray[Any, Any] = np.ndarray(
            (layout.records, *item.shape),
            dtype=dtype,
            buffer=data.data,
            offset=layout.offset + item.start,
            strides=(layout.record_length, *item.strides),
        )[rows]
        if dtype.kind == "V":
            return stored.copy()
        try:
            return decode(stored, item.fill_texts, item.scale, item.offset)
        except ProductError as error:
            error.path, error.field = str(self.source), item.name
            raise

    def _text(
        self, item: Field, data: np.ndarray[Any, np.dtype[np.uint8]], rows: slice
    ) -> np.ndarray[Any, Any]:
        layout = self.layout
        n = layout.records * layout.record_length
        records = data[layout.offset : layout.offset + n].view(np.ndarray)
        records = records.reshape(layout.records, layout.record_length)
        chosen = np.arange(layout.records, dtype=np.int64)[rows]
        values = parse_cells(layout, str(self.source), [item], records, chosen)
        return values[:, 0]


@dataclass(frozen=True)
class ArrayObject:
    """A checked array of any number of axes; holds no file handle and no data.

    Attributes
    ----------
    name : str
        Name in the label.
    kind : str
        Class in the label, such as ``Array_3D_Spectrum``.
    source : Source
        File that holds it.
    size : int
        Bytes of that file when it was checked.
    start : int
        First byte of the array.
    axes : tuple of str
        Names of the axes, slowest first.
    shape : tuple of int
        Elements along each.
    data_type, unit : str, str or None
        As in the label.
    fill_texts : tuple of str
        Special constants that stand for "no value".
    scale, offset : float
        ``value = stored * scale + offset``.
    """

    name: str
    kind: str
    source: Source
    size: int
    start: int
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    data_type: str
    unit: str | None = None
    fill_texts: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        stored = BINARY_TYPES[self.data_type]
        return decoded_dtype(stored, self.fill_texts, self.scale, self.offset)

    def read(self, key: Any = ()) -> np.ndarray[Any, Any]:
        """Return the values, or those of a basic or fancy index.

        Returns
        -------
        ndarray
            In native byte order, missing values NaN; the last axis is the one that
            varies fastest in the file.
        """
        stored: np.ndarray[Any, Any] = np.ndarray(
            self.shape,
            dtype=BINARY_TYPES[self.data_type],
            buffer=file_bytes(self.source, self.size).data,
            offset=self.start,
        )
        chosen = np.asarray(stored[key])
        try:
            return np.asarray(decode(chosen, self.fill_texts, self.scale, self.offset))
        except ProductError as error:
            error.path, error.field = str(self.source), self.name
            raise


def array_bytes(shape: Sequence[int], data_type: str) -> int:
    """Return the number of bytes of an array, as a Python integer of any size.

    Examples
    --------
    >>> array_bytes((2**33, 2**33), "IEEE754MSBDouble")
    590295810358705651712
    """
    return math.prod(shape) * BINARY_TYPES[data_type].itemsize
