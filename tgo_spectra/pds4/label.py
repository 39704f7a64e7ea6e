"""PDS4 labels: parsed by local name into frozen records, checked as they are read.

Nothing here knows an instrument. Only character tables are described in full; other
objects of a file (arrays, headers, binary tables) are listed by kind and name.

What PDS4 allows is more than the products of one archive do. Where this package reads
them, they are held to what their producers keep (`exact`): observational products,
every object with a name of its own; and in their files nothing but blanks between
fields, and nothing behind the only object.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4 import label_cache
from tgo_spectra.pds4.fields import Field, Layout, unique
from tgo_spectra.pds4.xml import Elements, leaves_of, parse_xml

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator, Sequence

__all__ = [
    "Field",
    "FileArea",
    "Label",
    "TableCharacter",
    "kind_of",
    "parse_label",
]

Kind = Literal["character", "binary", "delimited", "array", "stream"]
"""What an object is to a reader; a stream has no values for us, only its place."""

DELIMITERS = {
    "carriage-return line-feed": b"\r\n",
    "carriage_return line_feed": b"\r\n",
    "line-feed": b"\n",
}
_KINDS: dict[str, Kind] = {
    "Table_Character": "character",
    "Transfer_Manifest": "character",
    "Table_Binary": "binary",
    "Table_Delimited": "delimited",
    "Table_Delimited_Source_Product_External": "delimited",
    "Table_Delimited_Source_Product_Internal": "delimited",
    "Inventory": "delimited",
    "Manifest_SIP_Deep_Archive": "delimited",
}
"""Classes that the information models 1.11-1.26 derive from the three tables."""
DEFAULT_NAMES: dict[Kind, str] = {
    "character": "TABLE",
    "binary": "TABLE",
    "delimited": "TABLE",
    "array": "ARRAY",
}
"""Names of objects that have none."""
_PACKAGES = (
    "Information_Package_Component",
    "Information_Package_Component_Deep_Archive",
)
PRODUCT_CLASSES = frozenset(
    f"Product_{name}"
    for name in (
        "AIP",
        "Ancillary",
        "Attribute_Definition",
        "Browse",
        "Bundle",
        "Class_Definition",
        "Collection",
        "Context",
        "DIP",
        "DIP_Deep_Archive",
        "Document",
        "External",
        "File_Repository",
        "File_Text",
        "Metadata_Supplemental",
        "Native",
        "Observational",
        "Resource",
        "SIP",
        "SIP_Deep_Archive",
        "SPICE_Kernel",
        "Service",
        "Software",
        "Thumbnail",
        "Update",
        "XML_Schema",
        "Zipped",
    )
)
"""Root elements of labels in PDS4 information models 1.11-1.26."""


@dataclass(frozen=True)
class TableCharacter:
    """A fixed-width text table: place in the file and fields of a record."""

    name: str
    offset: int
    records: int
    record_length: int
    delimiter: bytes
    fields: tuple[Field, ...]
    repairs: tuple[str, ...] = ()

    def field(self, name: str) -> Field:
        """Return the field of this (unique) name.

        Raises
        ------
        ProductError
            If there is none.
        """
        for item in self.fields:
            if item.name == name:
                return item
        msg = f"table {self.name!r} has no field of this name"
        raise ProductError(
            msg,
            value=name,
            rule="table.fields_mismatch",
        )


@dataclass(frozen=True)
class FileArea:
    """One data file of a product and what is in it."""

    file_name: str
    file_size: int | None
    md5: str | None
    tables: tuple[TableCharacter, ...]
    others: tuple[tuple[str, str], ...] = ()
    """(class, name) of objects that are not character tables."""
    element: ET.Element | None = field(default=None, compare=False, repr=False)
    """Description of all objects, where there are others than character tables."""
    padding: int = 0
    """Bytes at the end that were looked at and mean nothing."""

    @property
    def alone(self) -> bool:
        """Whether the file has one object only."""
        return len(self.tables) + len(self.others) == 1


@dataclass(frozen=True)
class Label:
    """What a PDS4 label says, independent of any instrument.

    Attributes
    ----------
    leaves : dict
        Every leaf of Mission_Area and Discipline_Area, local name -> text. A name
        met twice is told apart by its parent: ``Mission_Phase_name``.
    product_class : str
        Such as ``Product_Observational``.
    """

    path: str
    lid: str
    version: str
    title: str
    model_version: str
    start_time: str | None
    stop_time: str | None
    areas: tuple[FileArea, ...]
    leaves: dict[str, str] = field(default_factory=dict)
    product_class: str = "Product_Observational"


def parse_label(
    text: bytes, path: str, *, repair: bool = False, exact: bool = False
) -> Label:
    """Parse a label of any information model from 1.11 on.

    Parameters
    ----------
    text : bytes
        The label file.
    path : str
        Where it came from, for messages.
    repair : bool
        Move groups that lie exactly on their predecessor to the next free byte, if
        the record then closes exactly; noted in ``TableCharacter.repairs``.
    exact : bool
        Refuse what is legal, but not in the products of the archive; see the module.
        Groups are moved as for `repair`: a producer's code is known to repeat places.

    Returns
    -------
    Label

    Raises
    ------
    ProductError
        With the rule broken; see the modules' functions.
    """
    repair = repair or exact
    cut = label_cache.cut(text, repair=repair)
    if cut is not None and cut.record is not None:
        with contextlib.suppress(ProductError):  # found again, and named, in the whole
            return _label(cut.text, path, cut, repair=repair, exact=exact)
    return _label(text, path, cut, repair=repair, exact=exact)


def _label(
    text: bytes, path: str, cut: label_cache.Cut | None, *, repair: bool, exact: bool
) -> Label:
    read = Elements(path)
    root = parse_xml(text, path)
    identification = read.need(root, "Identification_Area")
    observed = "Product_Observational"
    if root.tag not in ({observed} if exact else PRODUCT_CLASSES):
        wanted = observed if exact else "a product of PDS4, such as Product_Ancillary"
        msg = f"root element is not {wanted}"
        raise read.fail(msg, "label.schema", root.tag)
    product_class = read.word(identification, "product_class")
    if product_class != root.tag:
        msg = f"product_class differs from the root element {root.tag}"
        raise read.fail(msg, "label.schema", product_class)
    model = read.word(identification, "information_model_version")
    if not re.fullmatch(r"1\.(1[1-9]|2[0-9])\.\d+\.\d+", model):
        warnings.warn(
            f"{path}: information model {model} was not tested [label.model_version]",
            TgoWarning,
            stacklevel=4,
        )
    context = read.one(root, "Context_Area")
    if root.tag == observed:
        context = read.need(root, "Observation_Area")
    times = None if context is None else read.one(context, "Time_Coordinates")
    areas = tuple(
        _file_area(item, read, cut, repair=repair) for item in _files(root, read)
    )
    if root.tag == observed and not areas:
        msg = "label lacks File_Area_Observational"
        raise read.fail(msg, "label.schema")
    if exact:
        _refuse_equal_names(areas, read)
    parts = ("Mission_Area", "Discipline_Area")
    found = [(root if context is None else context).find(name) for name in parts]
    return Label(
        path=path,
        lid=read.word(identification, "logical_identifier"),
        version=read.word(identification, "version_id"),
        title=read.word(identification, "title"),
        model_version=model,
        start_time=None
        if times is None
        else read.text(times, "start_date_time", required=False),
        stop_time=None
        if times is None
        else read.text(times, "stop_date_time", required=False),
        areas=areas,
        leaves=leaves_of([part for part in found if part is not None]),
        product_class=product_class,
    )


def _files(root: ET.Element, read: Elements) -> Iterator[ET.Element]:
    """Yield the elements that describe files, in the order of the label."""
    if root.tag == "Product_Observational":
        yield from (e for e in root if e.tag.startswith("File_Area_Observational"))
        return
    for item in root:
        if item.tag.startswith("File_Area_"):
            yield item
        elif item.tag in _PACKAGES:
            yield from (e for e in item if e.tag.startswith("File_Area_"))
    for item in root.iterfind("Document/Document_Edition/Document_File"):
        # a document in a folder below is none of this reader's
        if read.text(item, "directory_path_name", required=False) is None:
            yield item


def kind_of(element: ET.Element) -> Kind | None:
    """Say what the element of a file area describes; None if it is no object."""
    tag = element.tag
    if tag in _KINDS:
        return _KINDS[tag]
    if tag == "Array" or tag.startswith("Array_"):
        return "array"
    # any class of byte stream, also of models to come; only its place is checked
    streams = ("Header", "Stream_Text", "Encoded_", "Parsable_")
    if tag.startswith(streams) or element.find("offset") is not None:
        return "stream"
    return None


def _refuse_equal_names(areas: Sequence[FileArea], read: Elements) -> None:
    """Refuse tables and arrays of one name in one file."""
    for area in areas:
        names = [table.name for table in area.tables]
        for item in () if area.element is None else area.element:
            kind = kind_of(item)
            if kind not in {None, "character", "stream"}:
                name = read.text(item, "name", required=False)
                names.append(name or DEFAULT_NAMES[kind])
        for name, times in Counter(names).items():
            if times > 1:
                msg = "two objects of one name"
                raise read.fail(msg, "label.duplicate_identifier", name)


def _file_area(
    element: ET.Element, read: Elements, cut: label_cache.Cut | None, *, repair: bool
) -> FileArea:
    document = element.tag == "Document_File"
    file = element if document else read.need(element, "File")
    tables: list[TableCharacter] = []
    others: list[tuple[str, str]] = []
    for item in () if document else element:
        kind = kind_of(item)
        if kind == "character":
            tables.append(_table(item, read, cut, repair=repair))
        elif kind is not None:
            others.append((item.tag, read.text(item, "name", required=False) or ""))
    md5 = (read.text(file, "md5_checksum", required=False) or "").lower() or None
    if md5 is not None and not re.fullmatch(r"[0-9a-f]{32}", md5):
        msg = "md5_checksum must have 32 hexadecimal digits"
        raise read.fail(msg, "label.schema", md5, "md5_checksum")
    return FileArea(
        file_name=read.text(file, "file_name", required=False) or "",
        file_size=None
        if file.find("file_size") is None
        else read.size(file, "file_size"),
        md5=md5,
        tables=tuple(tables),
        others=tuple(others),
        element=element if others else None,
    )


def _table(
    element: ET.Element, read: Elements, cut: label_cache.Cut | None, *, repair: bool
) -> TableCharacter:
    name = read.text(element, "name", required=False) or DEFAULT_NAMES["character"]
    record = read.need(element, "Record_Character")
    delimiter_text = read.word(element, "record_delimiter")
    delimiter = DELIMITERS.get(delimiter_text.lower())
    if delimiter is None:
        msg = "unknown record_delimiter"
        raise read.fail(msg, "label.schema", delimiter_text)
    records = read.count(element, "records")
    if records == 0:
        msg = "table has no records"
        raise read.fail(msg, "table.empty", records, name)
    if cut is not None and cut.record is not None and label_cache.is_stub(record):
        found = cut.record
        if found.delimiter != delimiter:
            msg = "record_delimiter differs from that of the known record"
            raise read.fail(msg, "label.schema", delimiter_text)
    else:
        found = _record(record, read, delimiter, name, repair=repair)
        if cut is not None and all(f.name == f.label_name for f in found.fields):
            label_cache.remember(cut.key, found)
    return TableCharacter(
        name=name,
        offset=read.size(element, "offset"),
        records=records,
        record_length=found.length,
        delimiter=delimiter,
        fields=found.fields,
        repairs=found.repairs,
    )


def _record(
    record: ET.Element, read: Elements, delimiter: bytes, name: str, *, repair: bool
) -> label_cache.Record:
    length = read.size(record, "record_length", least=1)
    repairs: list[str] = []
    layout = Layout(read, repairs if repair else None)
    fields = layout.fields(record, length - len(delimiter), name)
    return label_cache.Record(length, delimiter, unique(fields, read), tuple(repairs))
