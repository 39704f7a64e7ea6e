"""What of a NOMAD product is unusual, and what its flags are worth.

The flags of a label and of a row are not all implemented by the producer: zero does
not mean good.

References
----------
``l1p0a_to_psa`` of the producer's ``nomad_ops`` (version 3.0).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import TgoWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from tgo_spectra.pds4 import Table

__all__ = [
    "BORESIGHT_FLAGS",
    "EMPTY_FLAGS",
    "check",
    "empty_flags",
    "flag_notes",
    "level1_bits",
]

EMPTY_FLAGS = (
    "HSKDisturbed",
    "HSKOutOfBounds",
    "DiscardedPackets",
    "DetectorSaturated",
    "PointingError",
    "BadPixelsVInterpolated",
    "BadPixelsMasked",
)
"""Flags that never say anything: the first five are written 0 when the producer has no
value, the others are the same in every product of a channel."""

BORESIGHT_FLAGS = {
    "UVISOccBoresight": "UVIS",
    "LNOOccBoresight": "LNO",
    "MIROccBoresight": "ACS MIR",
    "TIRVIMOccBoresight": "ACS TIRVIM",
}
"""Label flag to the boresight that was pointed at the Sun when it is not 0. All 0: that
of SO, or no occultation."""

VERSIONS = ("1.0", "2.0", "3.0", "3.1", "4.0")
"""Product versions known to exist; the layout below is that of 3.0."""

_ENOUGH_VALID = 0.5  # of the rows; a product with fewer has few spectra

# channel, occultation -> scalar fields, their bytes, bytes for each pixel
_LAYOUTS = {
    ("so", True): (105, 961, 35),
    ("lno", True): (105, 961, 35),
    ("lno", False): (113, 1033, 35),
    ("uvis", True): (162, 1493, 37),
    ("uvis", False): (178, 1637, 37),
}

# Rows are sorted by this altitude before it is rounded to 0.01 km at both edges.
_SORT_TOLERANCE_KM = 0.0101


def empty_flags(channel: str, occultation: bool) -> tuple[str, ...]:
    """Return the flags that carry no information in a kind of product.

    Parameters
    ----------
    channel : {"so", "lno", "uvis"}
        Spectrometer.
    occultation : bool
        Occultation, or nadir.

    Returns
    -------
    tuple of str
        Label names; ``YValidFlag`` is that of the rows.

    Examples
    --------
    >>> empty_flags("lno", False)[-1]
    'CalibrationFailed'
    >>> "YValidFlag" in empty_flags("so", True)
    True
    """
    names = list(EMPTY_FLAGS)
    if channel != "lno":
        names.append("HighInstrumentTemperature")  # set for LNO above 10 degC only
    if channel != "lno" or occultation:
        names.append("LNOStraylight")
    if channel != "uvis" and occultation:
        names.append("YValidFlag")  # constant 1
    if channel == "uvis":
        names.append("BadPixelsHInterpolated")
    if channel == "lno" and not occultation:
        names.append("CalibrationFailed")  # a list is compared with a letter: always 0
    return tuple(names)


def flag_notes(ds: xr.Dataset) -> str:
    """Say what the flags that can be trusted report; empty if nothing.

    Also sets the attributes ``flags_without_meaning`` and, where the label or the
    name says it, ``calibration_status`` (passed, failed) of `ds`.

    Parameters
    ----------
    ds : Dataset
        Level 1, with the flags of the label in its attributes.

    Returns
    -------
    str
        Sentences.
    """
    occultation = "tangent_altitude" in ds.variables
    empty = empty_flags(ds.attrs["channel"], occultation)
    found = [name for name in empty if name in ds.attrs]
    if "y_valid_flag" in ds.variables and "YValidFlag" in empty:
        found.append("YValidFlag")
        ds.variables["y_valid_flag"].attrs["comment"] = (
            "always true in this kind of product"
        )
    if found:
        ds.attrs["flags_without_meaning"] = " ".join(found)
    failed = ds.attrs.get("CalibrationFailed")
    if failed is not None and "CalibrationFailed" not in empty:
        status = "failed" if _is_set(failed) else "passed"
        ds.attrs.setdefault("calibration_status", status)
    notes = []
    if ds.attrs.get("calibration_status") == "failed":
        notes.append(
            "At least one detector bin failed the criteria of the calibration."
            if occultation
            else "No solar and atmospheric lines were found to calibrate with."
        )
    for name, boresight in BORESIGHT_FLAGS.items():
        if occultation and _is_set(ds.attrs.get(name, "0")):
            own = ds.attrs["channel"].upper()
            if boresight != own:
                notes.append(
                    f"The boresight of {boresight} was pointed at the Sun: "
                    f"{own} may look beside its centre."
                )
    return " ".join(notes)


def level1_bits(level1: xr.Dataset) -> set[str]:
    """Return what the product itself says against a result that is made of it.

    ``calibration_failed`` where the producer says so, of the product or of one of
    several that were joined: by the flag of the label, or, of LNO nadir, by the letter
    in the name. ``few_spectra`` where the rows' own flag means something (LNO nadir:
    straylight) and leaves less than half of them. No other flag of a label bears on a
    result in a way that the producer's code bears out; what a boresight of another
    instrument means stands in the attribute ``quality_notes``. Products of ACS carry no
    flags.

    Parameters
    ----------
    level1 : Dataset
        As opened, or with rows selected.

    Returns
    -------
    set of str
        Names of `tgo_spectra.quality.REASONS`.

    Examples
    --------
    >>> import xarray as xr
    >>> level1_bits(xr.Dataset(attrs={"calibration_status": "failed"}))
    {'calibration_failed'}
    """
    found = set()
    status = level1.attrs.get("calibration_status", level1.get("calibration_status"))
    if status is not None and np.any(np.asarray(status) == "failed"):
        found.add("calibration_failed")
    valid = level1.get("y_valid_flag")
    # what the pipeline of UVIS means by the flag is not known
    silent = str(level1.attrs.get("flags_without_meaning", "")).split()
    if level1.attrs.get("channel") == "uvis" or "YValidFlag" in silent:
        return found
    if valid is not None and np.mean(valid.values.astype(bool)) < _ENOUGH_VALID:
        found.add("few_spectra")
    return found


def _is_set(value: object) -> bool:
    return str(value).strip().lower() not in ("0", "0.0", "false", "")


def check(
    ds: xr.Dataset, table: Table, order: int | None, *, repairs: bool = True
) -> None:
    """Warn (`TgoWarning`) of what is unusual though readable.

    Parameters
    ----------
    ds : Dataset
        Level 1.
    table : Table
        Where it comes from.
    order : int or None
        Diffraction order in the name of the product.
    repairs : bool
        Warn of what was repaired too.
    """
    # the warning is to point at the reader, whatever finds the fault
    for text in (*_of_the_label(ds, table, repairs), *_of_the_rows(ds, order)):
        warnings.warn(f"{table.source}: {text}", TgoWarning, stacklevel=3)


def _of_the_label(ds: xr.Dataset, table: Table, repairs: bool) -> Iterator[str]:
    layout = table.layout
    version = ds.attrs["product_version"]
    if version not in VERSIONS:
        yield (
            f"product version {version} is not one of {', '.join(VERSIONS)} "
            "[product.unknown_version]"
        )
    key = (ds.attrs["channel"], "tangent_altitude" in ds.variables)
    usual = _LAYOUTS.get(key)
    if usual is None:
        yield f"a kind of product not known: {key[0]}, nadir [product.unknown_kind]"
    else:
        scalar = sum(1 for item in layout.fields if not item.groups)
        length = usual[1] + usual[2] * ds.sizes.get("pixel", 0)
        found = layout.record_length - len(layout.delimiter)
        if (scalar, found) != (usual[0], length):
            yield (
                f"table has {scalar} fields in {found} bytes of a record, version 3.0 "
                f"has {usual[0]} in {length} "
                "[table.fields_mismatch]"
            )
    for text in layout.repairs if repairs else ():
        moved = text.startswith("group_location")
        yield f"{text} [{'table.field_value_overlap' if moved else 'table.repaired'}]"
    named = layout.name.rpartition("_")[2].lower()
    if named in ("so", "lno", "uvis") and named != ds.attrs["channel"]:
        yield (
            f"channel is {ds.attrs['channel']} by the name and {named} by the table "
            "[product.name_mismatch]"
        )
    count = str(ds.attrs.get("NSpec", ""))
    if count.isdigit() and int(count) != layout.records:
        yield (
            f"label counts {count} spectra, the table has {layout.records} "
            "[product.name_mismatch]"
        )


def _of_the_rows(ds: xr.Dataset, order: int | None) -> Iterator[str]:
    if "order" in ds.variables and order is not None:
        found = np.unique(ds.variables["order"].values)
        if found.tolist() != [order]:
            yield (
                f"name says order {order}, the rows say {found.tolist()} "
                "[product.name_mismatch]"
            )
    if "tangent_altitude" in ds.variables:
        altitude = ds.variables["tangent_altitude"].values
        altitude = altitude[np.isfinite(altitude)]
        falls = np.flatnonzero(np.diff(altitude) < -_SORT_TOLERANCE_KM)
        if falls.size:
            yield (
                f"tangent altitude falls after record {falls[0]}, rows should be "
                "sorted [table.records_not_monotonic]"
            )
