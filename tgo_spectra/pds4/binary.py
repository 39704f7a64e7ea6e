"""Binary tables and arrays: mapped from the file, converted when asked for.

Sizes are checked in Python integers before anything is mapped or allocated, and the
type of what is returned follows from the label, never from the values.

References
----------
PDS4 information model 1.15, ``Table_Binary``, ``Array`` and ``PDS4 data types``.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4.bits import BIT_TYPES, bit_dtype, unpacked
from tgo_spectra.pds4.constants import (
    limits,
    stored_constants,
    warn_of_values,
)
from tgo_spectra.pds4.coverage import cell_starts
from tgo_spectra.pds4.fields import KNOWN_TYPES
from tgo_spectra.pds4.table import parse_cells

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

TABLE_TYPES = KNOWN_TYPES | BINARY_TYPES.keys() | BIT_TYPES
"""``data_type`` values of the fields of a binary table."""


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


def stored_dtype(
    data_type: str, bits: tuple[int, int] | None = None
) -> np.dtype[Any] | None:
    """Return the native type of stored numbers; None for text and raw bit strings."""
    if bits is not None:
        return bit_dtype(data_type, bits)
    found = BINARY_TYPES.get(data_type)
    return None if found is None else found.newbyteorder("=")


def decoded_dtype(
    dtype: np.dtype[Any],
    fills: Sequence[str],
    scale: float,
    offset: float,
    bits: int | None = None,
) -> np.dtype[Any]:
    """Return the type that `decode` gives: from the label alone."""
    native = dtype.newbyteorder("=")
    scaled = scale != 1.0 or offset != 0.0
    if native.kind in "iu":
        may_miss = bool(stored_constants(tuple(fills), native, bits).values)
        return np.dtype(np.float64) if may_miss or scaled else native
    if scaled:
        return np.dtype(np.complex128 if native.kind == "c" else np.float64)
    return native


def decode(
    stored: np.ndarray[Any, Any],
    fills: Sequence[str],
    scale: float,
    offset: float,
    *,
    valid: tuple[str, str] = ("", ""),
    bits: int | None = None,
    where: str = "",
) -> np.ndarray[Any, Any]:
    """Return stored numbers as values: native order, missing as NaN, scaled.

    Integers become float64 if a missing value or a scale is declared. `valid` are the
    texts of valid_minimum and valid_maximum, `bits` those of integers narrower than
    their type, `where` the file and field for warnings. ProductError
    (``table.field_value_data_type_mismatch``): a value that the result cannot hold.
    """
    result = decoded_dtype(stored.dtype, fills, scale, offset, bits)
    values = np.array(stored, dtype=result)
    native = stored.dtype.newbyteorder("=")
    constants = stored_constants(tuple(fills), native, bits)
    if scale != 1.0 or offset != 0.0:
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * scale + offset
        lost = np.isfinite(stored) & ~np.isfinite(values)
        msg = "number leaves the range of float64 when scaled"
    else:
        lost = _rounded(stored, values)
        msg = "integer is too large for a float64, which a missing value needs"
    missing = np.zeros(stored.shape, dtype=np.bool_)
    for fill in constants.values:
        # compared as stored: a float32 of -1e32 is not the float64 of that name
        missing |= stored == fill
    if missing.any():
        lost = lost & ~missing
        values = np.where(missing, values.dtype.type(np.nan), values)
    if constants.values or any(valid):
        (low, high), _ = limits(valid, native, bits)
        warn_of_values(stored, missing, constants, (low, high), where)
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
    exact : bool
        Hold text to what the archive's own instruments write.
    """

    layout: TableBinary
    source: Source
    size: int
    exact: bool = False

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
            integers float64; text has no blanks around it and ends at the first NUL;
            bit fields are integers, the strings of bits that hold them are raw.

        Raises
        ------
        ProductError
            ``table.fields_mismatch`` for an unknown name; for ASCII fields the rules
            of `Table.read`.

        Warns
        -----
        TgoWarning
            Values that may stand for something else than they say; text after NUL.
        """
        layout = self.layout
        item = find_field(layout.fields, name, layout.name)
        data = file_bytes(self.source, self.size)
        if item.data_type in KNOWN_TYPES:
            return self._text(item, data, rows)
        raw = item.bits is not None or item.data_type in BIT_TYPES
        dtype = np.dtype(f"V{item.length}") if raw else BINARY_TYPES[item.data_type]
        stored: np.ndarray[Any, Any] = np.ndarray(
            (layout.records, *item.shape),
            dtype=dtype,
            buffer=data.data,
            offset=layout.offset + item.start,
            strides=(layout.record_length, *item.strides),
        )[rows]
        width = None
        if item.bits is not None:
            cells = np.ascontiguousarray(stored).view(np.uint8)
            cells = cells.reshape(*stored.shape, item.length)
            stored = unpacked(cells, item.data_type, item.bits)
            width = item.bits[1] - item.bits[0] + 1
        elif raw:
            return stored.copy()
        try:
            return decode(
                stored,
                item.fill_texts,
                item.scale,
                item.offset,
                valid=item.valid,
                bits=width,
                where=f"{self.source}: {' / '.join((*item.groups, item.name))}",
            )
        except ProductError as error:
            error.path, error.field = str(self.source), item.name
            raise

    def dtype(self, item: Field) -> np.dtype[Any] | None:
        """Return the type that a field is read as; None for text."""
        stored = stored_dtype(item.data_type, item.bits)
        if stored is None:
            raw = item.data_type in BIT_TYPES
            return np.dtype(f"V{item.length}") if raw else None
        width = None if item.bits is None else item.bits[1] - item.bits[0] + 1
        return decoded_dtype(stored, item.fill_texts, item.scale, item.offset, width)

    def _text(
        self, item: Field, data: np.ndarray[Any, np.dtype[np.uint8]], rows: slice
    ) -> np.ndarray[Any, Any]:
        layout = self.layout
        n = layout.records * layout.record_length
        records = data[layout.offset : layout.offset + n].view(np.ndarray)
        records = records.reshape(layout.records, layout.record_length)
        if not self.exact:
            records = self._without_nul(item, records)
        chosen = np.arange(layout.records, dtype=np.int64)[rows]
        path = str(self.source)
        values = parse_cells(layout, path, [item], records, chosen, exact=self.exact)
        return values[:, 0]

    def _without_nul(
        self, item: Field, records: np.ndarray[Any, np.dtype[np.uint8]]
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return records in which a text field has blanks from its first NUL on.

        So text ends in FITS (4.0, section 7.3.3.1), whose tables labels describe as
        they are.
        """
        places = cell_starts(item)[..., None] + np.arange(item.length)
        cells = records[:, places]
        if cells.all():
            return records
        ended = np.logical_or.accumulate(cells == 0, axis=-1)
        lost = ended & (cells != 0) & (cells != ord(" "))
        if lost.any():
            rule = "validation.invalid_character_stream"
            name = " / ".join((*item.groups, item.name))
            text = f"{self.source}: {name}: {int(lost.any(axis=-1).sum())} cells have "
            text += f"text after a NUL, which ends them: left out [{rule}]"
            warnings.warn(text, TgoWarning, stacklevel=4)
        cells[ended] = ord(" ")
        changed = records.copy()
        changed[:, places] = cells
        return changed


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
    valid : tuple of str
        valid_minimum and valid_maximum, of what is stored; empty if not given.
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
    valid: tuple[str, str] = ("", "")

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

        Warns
        -----
        TgoWarning
            Values that may stand for something else than they say.
        """
        stored: np.ndarray[Any, Any] = np.ndarray(
            self.shape,
            dtype=BINARY_TYPES[self.data_type],
            buffer=file_bytes(self.source, self.size).data,
            offset=self.start,
        )
        chosen = np.asarray(stored[key])
        try:
            values = decode(
                chosen,
                self.fill_texts,
                self.scale,
                self.offset,
                valid=self.valid,
                where=f"{self.source}: {self.name}",
            )
        except ProductError as error:
            error.path, error.field = str(self.source), self.name
            raise
        return np.asarray(values)


def array_bytes(shape: Sequence[int], data_type: str) -> int:
    """Return the number of bytes of an array, as a Python integer of any size.

    Examples
    --------
    >>> array_bytes((2**33, 2**33), "IEEE754MSBDouble")
    590295810358705651712
    """
    return math.prod(shape) * BINARY_TYPES[data_type].itemsize
