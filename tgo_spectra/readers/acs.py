"""ACS products (NIR, MIR, TIRVIM) as Datasets and trees, driven by the label.

Raw labels are known from a real one. Calibrated and geometry products are known only
through scripts of others that index their arrays: whatever follows from those carries
the attribute ``experimental`` = 1 and says what was inferred.

References
----------
Korablev et al., Space Sci. Rev. 214, 7 (2018), doi:10.1007/s11214-017-0437-6.
Raw data: doi:10.57780/esa-yy83w6t; partially processed TIRVIM data:
doi:10.57780/esa-xx8shx1.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from tgo_spectra.errors import ProductError, TgoError, TgoWarning
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import Source, open_structures, parse_label
from tgo_spectra.pds4.binary import ArrayObject
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX, parse_xml
from tgo_spectra.readers.acs_calibrated import calibrated_dataset, tirvim_dataset
from tgo_spectra.readers.lazy import ByteOrder, node_name, with_leaves
from tgo_spectra.readers.objects import array_dataset, table_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tgo_spectra.pds4 import Label, Structure
    from tgo_spectra.pds4.check import Mode

__all__ = ["PRODUCT_NAME", "find_geometry", "read", "read_groups"]

PRODUCT_NAME = re.compile(
    r"acs_(?P<level>raw|par|cal)_(?P<kind>sc|hk)_(?P<channel>nir|mir|tir|be)"
    r"_(?P<start>\d{8}t\d{6})-(?P<stop>\d{8}t\d{6})(?:-(?P<rest>.+))?",
    re.IGNORECASE,
)
"""Last part of the logical identifier of a product."""

_CHANNELS = {"nir": "nir", "mir": "mir", "tir": "tirvim", "be": "electronics"}
_KINDS = {"sc": "science", "hk": "housekeeping"}
_COLLECTIONS = {
    "data_raw": "raw",
    "data_partially_processed": "partially_processed",
    "data_calibrated": "calibrated",
    "geometry": "geometry",
}
_EXPERIMENTAL = (
    "Layout inferred from third-party scripts of 2022, not from a label of the "
    "producer or its documents: check before you rely on it."
)
_ROW_NOTE = (
    "two bytes for each pixel; the label does not state their order. The byte that "
    "varies slowly comes first in the one record seen, which hints at big endian "
    "(inferred, to be verified)"
)
# 1 s is 2**24 units of the on-board time, by the description of a raw label
_OBT_NOTE = "on-board time in units of 2**-24 s, kept as an integer as it is exact"


def read(
    label: Label,
    source: Source,
    *,
    apply_mask: bool = False,
    verify_md5: bool = True,
    mode: Mode = "strict",
) -> xr.Dataset:
    """Build the Dataset of an ACS product that has one record axis.

    Calibrated NIR and MIR: (frame, row, pixel). Calibrated and partially processed
    TIRVIM: (spectrum, pixel) with one spectrum. Others: the fields of their only table
    (record); several are refused (``product.several_axes``), and so is `apply_mask`.
    """
    if apply_mask:
        msg = "product has no mask to apply"
        raise ProductError(
            msg, path=label.path, value=label.lid, rule="product.no_mask"
        )
    arrays = any(kind != "Header" for area in label.areas for kind, _ in area.others)
    names = [table.name for area in label.areas for table in area.tables]
    spectra = _level(label) in ("calibrated", "partially_processed")
    if not spectra and not arrays and len(names) > 1:
        raise _several(label, names)
    groups = read_groups(
        label, source, verify_md5=verify_md5, mode=mode, geometry=False
    )
    root = groups.pop("/")
    if "Data" in groups:
        ds = groups["Data"]
        ds.attrs = root.attrs | ds.attrs
        others = sorted(set(groups) - {"Data"})
        if others:
            ds.attrs["other_objects"] = " ".join(others)
        return ds
    if len(groups) != 1:
        raise _several(label, list(groups))
    ds = next(iter(groups.values()))
    ds.attrs = root.attrs | ds.attrs
    return ds


def _several(label: Label, names: list[str]) -> ProductError:
    msg = (
        f"product has {len(names)} objects with axes of their own "
        f"({', '.join(names)}), which one Dataset cannot hold: use "
        "tgo_spectra.open_product_tree(path) or "
        'xarray.open_datatree(path, engine="tgo")'
    )
    return ProductError(
        msg, path=label.path, value=label.lid, rule="product.several_axes"
    )


def read_groups(
    label: Label,
    source: Source,
    *,
    verify_md5: bool = True,
    mode: Mode = "strict",
    row_byte_order: ByteOrder | None = None,
    geometry: str | Path | Literal[False] | None = None,
) -> dict[str, xr.Dataset]:
    """Build a Dataset for each object of an ACS product; ``"/"`` has attributes alone.

    `row_byte_order` joins the two bytes of a pixel of raw rows, whose order the label
    does not state. A `geometry` of None is the product that the label names, if it is
    found; False is none. In the mode ``"warn"`` the objects of a missing or damaged
    file are left out; no repair is known, so ``"repair"`` refuses what ``"strict"``
    does.
    """
    attrs = _attributes(label, source)
    if row_byte_order not in {None, "big", "little"}:
        msg = "row_byte_order must be big or little, or None"
        raise ProductError(msg, value=row_byte_order, rule="product.row_byte_order")
    structures = _open(source, verify_md5=verify_md5, mode=mode)
    groups = {"/": xr.Dataset(attrs=attrs)}
    for name, item in structures.items():
        if node_name(name) in groups:
            msg = "two objects have names that a tree cannot tell apart"
            raise ProductError(
                msg, path=label.path, value=name, rule="label.duplicate_identifier"
            )
        groups[node_name(name)] = _object(item, row_byte_order)
    _note_raw(groups, label, row_byte_order)
    if attrs["processing_level"] == "calibrated" and "Data" in structures:
        groups["Data"] = calibrated_dataset(structures, attrs["channel"], label.path)
        groups.pop("Wavelength", None)  # are coordinates now
        groups.pop("Orders", None)
    elif attrs["channel"] == "tirvim" and attrs["processing_level"] in {
        "calibrated",
        "partially_processed",
    }:
        spectra = {k: v for k, v in structures.items() if isinstance(v, ArrayObject)}
        if spectra:
            groups = {
                k: v for k, v in groups.items() if k not in map(node_name, spectra)
            }
            groups["Data"] = tirvim_dataset(spectra, attrs, label.path)
    if attrs["processing_level"] != "raw":
        for ds in groups.values():
            ds.attrs |= {"experimental": 1, "experimental_note": _EXPERIMENTAL}
    _note_files(groups, structures, label, verify_md5=verify_md5)
    if geometry is None:
        geometry = find_geometry(label, source)
        if "geometry_lid" in attrs:
            groups["/"].attrs["geometry_found"] = int(geometry is not None)
    if geometry:
        _add_geometry(groups, geometry, verify_md5=verify_md5, mode=mode)
    return groups


def _open(source: Source, *, verify_md5: bool, mode: Mode) -> dict[str, Structure]:
    # no repair of these products is known: "repair" refuses what "strict" does
    return open_structures(
        source,
        verify_md5=verify_md5,
        mode="warn" if mode == "warn" else "strict",
        exact=True,
    )


def _object(item: Structure, byte_order: ByteOrder | None) -> xr.Dataset:
    if isinstance(item, ArrayObject):
        return array_dataset(item)
    return table_dataset(item, byte_order=byte_order)


def _note_raw(
    groups: Mapping[str, xr.Dataset], label: Label, byte_order: ByteOrder | None
) -> None:
    """Say what is known of raw rows and times, and that joined bytes are a choice."""
    joined = 0
    for ds in groups.values():
        for name, variable in ds.variables.items():
            if "byte" in variable.dims or "byte_order" in variable.attrs:
                variable.attrs["comment"] = _ROW_NOTE
                joined += 1
            elif name == "obt":
                variable.attrs["comment"] = _OBT_NOTE
    if byte_order is not None and not joined:
        msg = "product has no rows of base-16 text whose bytes could be joined"
        raise ProductError(
            msg, path=label.path, value=byte_order, rule="product.row_byte_order"
        )


def _note_files(
    groups: Mapping[str, xr.Dataset],
    structures: Mapping[str, Structure],
    label: Label,
    *,
    verify_md5: bool,
) -> None:
    """Add file names, checksums and repairs to the attributes."""
    files = {node_name(name): item.source.name for name, item in structures.items()}
    digests = [area.md5 for area in label.areas]
    everything = list(dict.fromkeys(files.values()))
    root = groups["/"].attrs
    root["source_file"] = " ".join(everything)
    known = [digest for digest in digests if digest is not None]
    if known:
        root["source_md5"] = " ".join(known)
    root["source_md5_verified"] = int(verify_md5 and len(known) == len(digests))
    told = [table.name for area in label.areas for table in area.tables]
    told += [
        name or kind.upper().partition("_")[0]  # as `open_structures` calls them
        for area in label.areas
        for kind, name in area.others
        if kind.startswith(("Table_", "Array"))
    ]
    there = {name.partition("[")[0] for name in files}
    lost = [name for name in told if node_name(name) not in there]
    if lost:
        root["objects_left_out"] = " ".join(lost)
    repairs = [
        f"{name}: {text}"
        for name, item in structures.items()
        for text in getattr(getattr(item, "layout", item), "repairs", ())
    ]
    if repairs:
        root["source_repairs"] = "; ".join(repairs)
    for name, ds in groups.items():
        if name in files:
            ds.attrs["source_file"] = files[name]


# --- identity --------------------------------------------------------------------


def _level(label: Label) -> str:
    parts = label.lid.split(":")
    return _COLLECTIONS.get(parts[4] if len(parts) > 4 else "", "")


def _attributes(label: Label, source: Source) -> dict[str, Any]:
    """Return what the identifier and the label say of a product."""
    stem = label.lid.rpartition(":")[2]
    level = _level(label)
    name = PRODUCT_NAME.fullmatch(stem)
    if not level or (name is None and level != "geometry"):
        msg = (
            "identifier names no ACS collection and channel: expected "
            "urn:esa:psa:em16_tgo_acs:<collection>:acs_<raw|par|cal>_<sc|hk>_"
            "<nir|mir|tir|be>_<start>-<stop>..."
        )
        raise ProductError(
            msg,
            path=label.path,
            field="logical_identifier",
            value=label.lid,
            rule="product.name_unknown",
        )
    attrs: dict[str, Any] = {
        "title": label.title,
        "product_lid": label.lid,
        "product_version": label.version,
        "instrument": "ACS",
        "channel": "",
        "processing_level": level,
    }
    if name is not None:
        attrs["channel"] = _CHANNELS[name["channel"].lower()]
        attrs["data_kind"] = _KINDS[name["kind"].lower()]
        attrs["name_parts"] = name["rest"] or ""
        _check_channel(label, attrs["channel"])
    orbit = label.leaves.get("start_orbit_number", "")
    if orbit.isdigit():
        attrs["orbit"] = int(orbit)
    if label.start_time and label.stop_time:
        attrs["start_date_time"] = label.start_time
        attrs["stop_date_time"] = label.stop_time
    attrs["information_model_version"] = label.model_version
    lid = _geometry_lid(label, source)
    if lid:
        attrs["geometry_lid"] = lid
    return with_leaves(attrs, label.leaves)


def _check_channel(label: Label, channel: str) -> None:
    """Warn if the label's sub-instrument is not the channel of the identifier."""
    keys = ("identifier", "Sub-Instrument_identifier")
    named = next((label.leaves[key] for key in keys if key in label.leaves), "")
    known = _CHANNELS.get(named[:3].lower())
    if known is not None and known != channel:
        warnings.warn(
            f"{label.path}: channel is {channel} by the identifier and {named} by the "
            "label [product.name_mismatch]",
            TgoWarning,
            stacklevel=3,
        )


# --- geometry --------------------------------------------------------------------


def _geometry_lid(label: Label, source: Source) -> str:
    """Return the geometry product that a calibrated label names; empty if unclear."""
    text = source.read(LABEL_BYTES_MAX) if _level(label) == "calibrated" else b""
    if b"geometry" not in text:
        return ""
    root = parse_xml(text, str(source))
    found = {
        (element.text or "").strip().partition("::")[0]
        for tag in ("lid_reference", "lidvid_reference")
        for element in root.iter(tag)
        if "geometry" in (element.text or "")
    }
    return found.pop() if len(found) == 1 else ""


def _add_geometry(
    groups: dict[str, xr.Dataset],
    path: str | Path,
    *,
    verify_md5: bool,
    mode: Mode,
) -> None:
    """Put the tables of a geometry product beside the spectra it belongs to."""
    source = Source(str(expanded(path).absolute()))
    label = parse_label(source.read(LABEL_BYTES_MAX), str(source), exact=True)
    attrs = _attributes(label, source)
    root = groups["/"].attrs
    wanted = root.get("geometry_lid")
    problem = None
    if root["processing_level"] != "calibrated":
        problem = "only a calibrated product takes a geometry product"
    elif attrs["processing_level"] != "geometry":
        problem = "not a geometry product"
    elif wanted and label.lid.lower() != str(wanted).lower():
        problem = f"the spectra name another geometry product, {wanted}"
    if problem is not None:
        raise ProductError(
            problem, path=path, value=label.lid, rule="product.geometry_mismatch"
        )
    for name, item in _open(source, verify_md5=verify_md5, mode=mode).items():
        node = node_name(name)
        if node in groups:
            msg = "spectra and geometry have an object of the same name"
            raise ProductError(
                msg, path=path, value=name, rule="label.duplicate_identifier"
            )
        groups[node] = _object(item, None)
        groups[node].attrs |= {
            "product_lid": label.lid,
            "product_version": label.version,
            "processing_level": "geometry",
            "source_file": item.source.name,
            "experimental": 1,
            "experimental_note": _EXPERIMENTAL,
        }
    root["geometry_product"] = f"{label.lid}::{label.version}"


def find_geometry(label: Label, source: Source) -> Path | None:
    """Look for the highest version of the geometry product that a label names.

    Looked at are the labels in the folder of `source`, and those in the folder that
    stands in its place in the tree of the geometry collection.
    """
    lid = _geometry_lid(label, source)
    if not lid or source.member is not None:
        return None
    here = Path(source.path).parent
    folders = [here]
    for k, part in enumerate(here.parts):
        if part == "data_calibrated":
            folders.append(Path(*here.parts[:k], "geometry", *here.parts[k + 1 :]))
    found: list[tuple[tuple[int, ...], Path]] = []
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            # names narrow the search only: the identifier decides
            if path.suffix.lower() not in {".xml", ".lblx"} or path.name == source.name:
                continue
            try:
                text = Source(str(path)).read(LABEL_BYTES_MAX)
                if lid.lower().encode() not in text.lower():
                    continue
                other = parse_label(text, str(path))
            except TgoError:
                continue  # a damaged neighbour is no concern of this product
            if other.lid.lower() == lid.lower():
                version = tuple(int(n) for n in re.findall(r"\d{1,9}", other.version))
                found.append((version, path))
    return max(found)[1] if found else None
