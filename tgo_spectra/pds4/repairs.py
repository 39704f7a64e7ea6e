"""What of a damaged or mislabelled table can be repaired without changing a value.

The repairs:

* a group that lies exactly on its predecessor follows it, if the record then closes;
* a data file whose name differs from the label in upper and lower case only is taken;
* records that end in LF although CR LF is declared are read as such, if their number
  and length then fit the file exactly;
* blanks, NULs, line ends and Ctrl-Z after the last record are ignored, up to 64 KiB.

Nothing is repaired in a file that differs from the MD5 of its label.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgo_spectra.pds4.label import FileArea, TableCharacter
    from tgo_spectra.pds4.source import Source

__all__ = ["repaired"]

_PADDING = b" \0\r\n\x1a"  # Ctrl-Z ends text files of old systems
_PADDING_MAX = 2**16  # bytes; a block of an old tape has less, a fault may have GiB


def repaired(
    layout: TableCharacter, area: FileArea, source: Source
) -> tuple[TableCharacter, FileArea]:
    """Return what label and file agree on, if that cannot change a value."""
    if source.name != area.file_name and source.name.lower() == area.file_name.lower():
        note = f"file_name {area.file_name!r} read from {source.name!r}"
        layout = replace(layout, repairs=(*layout.repairs, note))
    size = source.size()
    wanted = layout.offset + layout.records * layout.record_length
    if not area.alone or size in {wanted, 0}:
        return layout, area
    short = wanted - layout.records == size and layout.delimiter == b"\r\n"
    if not short and not wanted < size <= wanted + _PADDING_MAX:
        return layout, area
    data = source.read()
    if area.md5 not in {None, hashlib.md5(data, usedforsecurity=False).hexdigest()}:
        return layout, area
    if short:
        length = layout.record_length - 1
        ends = data[layout.offset + length - 1 :: length]
        if ends == b"\n" * layout.records and b"\r" not in data[layout.offset :]:
            note = f"record_length {length + 1} read as {length}: records end in LF"
            layout = replace(
                layout,
                record_length=length,
                delimiter=b"\n",
                repairs=(*layout.repairs, note),
            )
            area = replace(area, file_size=None)
    elif not data[wanted:].strip(_PADDING):
        note = f"{size - wanted} bytes of padding after the last record ignored"
        layout = replace(layout, repairs=(*layout.repairs, note))
        area = replace(area, file_size=None, padding=size - wanted)
    return layout, area
