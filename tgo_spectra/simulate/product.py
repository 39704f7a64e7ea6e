"""Write synthetic products in the byte layout of the archive, one writer for all.

NOMAD tables have the layout of product version 3.0, see `tgo_spectra.simulate.layout`;
that of ACS MIR is *inferred*. The labels say that the product is synthetic.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import OutputError
from tgo_spectra.files.atomic import (
    atomic_file,
    output_folder,
    refuse_existing,
    write_whole,
)
from tgo_spectra.files.netcdf import write_plain
from tgo_spectra.paths import expanded
from tgo_spectra.simulate.binary import binary_array, binary_table
from tgo_spectra.simulate.label import label_text, nomad_label, reference
from tgo_spectra.simulate.layout import (
    LAYOUTS,
    Layout,
    table_arrays,
    table_bytes,
    utc,
    with_defaults,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.simulate.label import Element

__all__ = [
    "mir_files",
    "product_files",
    "product_stem",
    "write_files",
    "write_product",
    "write_simulated",
    "write_with_truth",
]

_KINDS = {"ingress": "i", "egress": "e", "dayside_nadir": "d"}
_PARTS = {"all": "a", "high": "h", "low": "l"}
_VERSIONS = ("1.0", "2.0", "3.0", "3.1", "4.0")


def product_stem(rows: xr.Dataset, start: np.datetime64, stop: np.datetime64) -> str:
    """Return the product name without suffix.

    Parameters
    ----------
    rows : Dataset
        Its attributes ``channel`` (so, lno, uvis; default so), ``observation_type``
        (ingress, egress, dayside_nadir), ``altitude_part`` (SO: all, high, low;
        default all) and ``calibration_letter`` (LNO, optional: p passed, f failed)
        and its ``order`` make the name.
    start, stop : datetime64
        Telecommand window.

    Returns
    -------
    str
        Such as ``nmd_cal_sc_so_20180614T030920-20180614T031605-a-i-134``. Full scans
        have no order at the end, UVIS neither.

    Raises
    ------
    OutputError
        If an attribute has another value.
    """
    layout = _layout(rows)
    kind = _KINDS[rows.attrs["observation_type"]]
    part = _PARTS.get(rows.attrs.get("altitude_part", "all"))
    letter = rows.attrs.get("calibration_letter", "") if layout.channel == "lno" else ""
    if part is None or (part != "a" and layout.channel != "so"):
        name = "altitude_part"
        message = "attribute altitude_part is not one of those of the channel"
        raise OutputError(message, field=name, value=rows.attrs[name])
    if letter not in ("", "p", "f"):
        message = "attribute calibration_letter must be p or f"
        raise OutputError(message, field="calibration_letter", value=letter)
    name = f"nmd_cal_sc_{layout.channel}_{_stamp(start)}-{_stamp(stop)}"
    orders: list[int] = []
    if layout.channel != "uvis":
        orders = np.unique(rows["order"].values).tolist()
    if layout.channel == "so":
        name += f"-{part if len(orders) == 1 else 'a'}"
    name += f"-{kind}{letter}"
    return f"{name}-{orders[0]}" if len(orders) == 1 else name


def _layout(rows: xr.Dataset) -> Layout:
    channel = rows.attrs.get("channel", "so")
    kind = rows.attrs.get("observation_type")
    if channel not in ("so", "lno", "uvis"):
        message = "attribute channel is not one of so, lno, uvis"
        raise OutputError(message, field="channel", value=channel)
    layout = LAYOUTS.get((channel, kind in ("ingress", "egress")))
    if kind not in _KINDS or layout is None:
        message = f"attribute observation_type is not one of those of {channel}"
        raise OutputError(message, field="observation_type", value=kind)
    return layout


def _stamp(time: np.datetime64) -> str:
    text = str(np.datetime_as_string(time, unit="s"))
    return text.replace("-", "").replace(":", "")


def write_product(
    out_dir: str | Path,
    rows: xr.Dataset,
    *,
    command_window: tuple[np.datetime64, np.datetime64] | None = None,
    archive: bool = False,
    md5: bool = True,
    version: str = "3.0",
    repeat_location: bool = False,
    parameters: Mapping[str, object] | None = None,
) -> Path:
    """Write a synthetic NOMAD product of any kind.

    Reading it back gives the same variables, rounded to the printed digits.
    Occultations have their rows sorted by ascending tangent altitude (areoid, centre
    of the field of view, mean of start and end; missing first); nadir rows keep
    their order.

    Parameters
    ----------
    out_dir : path
        Existing folder.
    rows : Dataset
        Level-1 names. All kinds: ``time_bounds`` (spectrum, edge; UTC),
        ``detector_temperature`` (K); over (spectrum, edge) ``obs_altitude`` (km from
        the centre of Mars), ``sub_obs_longitude``, ``sub_obs_latitude``,
        ``l_sub_s``, ``sub_sol_longitude``, ``sub_sol_latitude`` (degree); over
        (spectrum, point, edge) ``point_longitude``, ``point_latitude`` (degree),
        ``point_local_true_solar_time`` (hour). 5 points, UVIS 9.

        SO and LNO, 320 pixels: ``wavenumber`` (pixel, or spectrum and pixel; cm-1),
        ``order``, ``aotf_frequency`` (kHz), ``instrument_temperature`` (degC)
        (scalar or spectrum), ``bin_start``, ``bin_end`` (spectrum). UVIS, any number
        of pixels: ``wavelength`` (nm), ``mask``.

        Occultation: ``transmittance``, ``transmittance_error`` (spectrum, pixel),
        ``tangent_altitude_ellipsoid``, ``tangent_altitude_areoid``,
        ``tangent_altitude_surface``, ``slant_path_distance`` (spectrum, point,
        edge; km). Nadir: ``reflectance_factor`` and ``reflectance_factor_corrected``
        (LNO), or ``radiance`` and ``radiance_error`` (UVIS; W m-2 sr-1 nm-1);
        ``incidence_angle``, ``emission_angle``, ``phase_angle`` (degree),
        ``surface_altitude_areoid``, ``surface_radius`` (km).

        Optional: ``pointing_deviation`` (arcminute, 0), ``point_x``, ``point_y``,
        ``y_valid_flag`` (true), ``mask`` (false), ``bin_top``, ``bin_height`` (from
        the bins). Attributes as for `product_stem`, and ``orbit``.
    command_window : pair of datetime64, optional
        Times in the name; default the whole seconds around the spectra.
    archive : bool
        Write a delivery zip, whose members have the version in their names.
    md5 : bool
        Give the MD5 of the table in the label.
    version : str
        Product version to state, 1.0 to 4.0; the layout is that of 3.0.
    repeat_location : bool
        LNO nadir: give the second reflectance the ``group_location`` of the first,
        as the producer's code of version 3.0 does.
    parameters : mapping, optional
        Further elements of the Mission_Area class, name to text, such as flags.

    Returns
    -------
    Path
        Label, or zip. Files of these names are replaced.

    Raises
    ------
    OutputError
        If a variable is missing, has a wrong shape, a missing value where none can
        be written, or a value too wide for its field.
    """
    options: dict[str, Any] = {
        "command_window": command_window,
        "archive": archive,
        "md5": md5,
        "version": version,
        "repeat_location": repeat_location,
        "parameters": parameters,
    }
    return write_files(product_files(out_dir, rows, **options), overwrite=True)


def write_simulated(
    out_dir: str | Path,
    rows: xr.Dataset,
    truth: xr.Dataset,
    *,
    window: tuple[np.datetime64, np.datetime64] | None = None,
    archive: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a simulated product, and the truth beside it, ``<name>.truth.nc``.

    Parameters
    ----------
    out_dir : path
        Folder, made if missing.
    rows : Dataset
        As for `write_product`.
    truth : Dataset
    window : pair of datetime64, optional
        As ``command_window`` of `write_product`.
    archive : bool
        Write a delivery zip.
    overwrite : bool
        Replace a product of this name; by default that is refused.

    Returns
    -------
    Path
        Label, or zip.

    Raises
    ------
    OutputError
        ``io.exists``; as `write_product`.
    """
    folder = output_folder(out_dir)
    window = window or _whole_seconds(rows["time_bounds"].values)
    files = product_files(folder, rows, command_window=window, archive=archive)
    stem = product_stem(rows, *window)
    return write_with_truth(files, truth, stem=stem, overwrite=overwrite)


def write_with_truth(
    files: Mapping[Path, bytes],
    truth: xr.Dataset,
    *,
    stem: str | None = None,
    overwrite: bool,
) -> Path:
    """Write the files of a product, and its truth beside the last one.

    The truth has the name of the last file, or ``stem``; see `write_files`.
    """
    last = list(files)[-1]
    stem = stem or last.stem
    known = {last.with_name(f"{stem}.truth.nc"): truth.assign_attrs(product=stem)}
    return write_files({**known, **files}, overwrite=overwrite)


def write_files(
    contents: Mapping[Path, bytes | xr.Dataset], *, overwrite: bool
) -> Path:
    """Write the files of a product one after the other, each as a whole.

    Parameters
    ----------
    contents : mapping of Path to bytes or Dataset
        In the order of writing, the label last: a product without one is none.
    overwrite : bool
        Whether files that are there are replaced. If not, nothing is written where
        any of them is there.

    Returns
    -------
    Path
        The last one.

    Raises
    ------
    OutputError
        ``io.exists``, and as `tgo_spectra.files.atomic.writing`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> files = {folder / "a.tab": b"1", folder / "a.xml": b"<x/>"}
    >>> write_files(files, overwrite=False).name
    'a.xml'
    """
    refuse_existing(contents, overwrite=overwrite)
    for path, content in contents.items():
        if isinstance(content, bytes):
            write_whole(path, content)
            continue
        with atomic_file(path) as temporary:
            write_plain(content, temporary)
    return path


def _whole_seconds(bounds: Any) -> tuple[np.datetime64, np.datetime64]:
    last = np.datetime64(bounds.max(), "s") + np.timedelta64(1, "s")
    return np.datetime64(bounds.min(), "s"), last


def product_files(
    out_dir: str | Path,
    rows: xr.Dataset,
    *,
    command_window: tuple[np.datetime64, np.datetime64] | None = None,
    archive: bool = False,
    md5: bool = True,
    version: str = "3.0",
    repeat_location: bool = False,
    parameters: Mapping[str, object] | None = None,
) -> dict[Path, bytes]:
    """Give table and label of a product, or its zip, see `write_product`."""
    layout = _layout(rows)
    if version not in _VERSIONS:
        message = f"version is not one of {', '.join(_VERSIONS)}"
        raise OutputError(message, field="version", value=version)
    if repeat_location and (layout.channel, layout.occultation) != ("lno", False):
        message = "only LNO nadir labels repeat a group_location"
        raise OutputError(message, field="repeat_location", value=repeat_location)
    rows = with_defaults(rows, layout)
    arrays = table_arrays(rows, layout)
    table = table_bytes(arrays, layout)
    bounds = arrays["time_bounds"]
    first, last = bounds.min(), bounds.max()
    command_window = command_window or _whole_seconds(bounds)
    stem = product_stem(rows, *command_window)
    text = nomad_label(
        stem=stem,
        layout=layout,
        arrays=arrays,
        window=(_stamp(command_window[0]), _stamp(command_window[1])),
        times=(utc(first), utc(last)),
        attributes=rows.attrs,
        parameters=dict(parameters or {}),
        version=version,
        repeat_location=repeat_location,
        table=table,
        md5=md5,
    ).encode()
    folder = expanded(out_dir)
    if archive:
        return _packed(folder, stem, version, text, table)
    return {folder / f"{stem}.tab": table, folder / f"{stem}.xml": text}


def _packed(
    folder: Path, stem: str, version: str, label: bytes, table: bytes
) -> dict[Path, bytes]:
    """Give a delivery zip, whose name has one stamp, YYYYMMDD-hhmmss00."""
    head, _, tail = stem.partition("T")
    date, clock = head[-8:], tail[:6]
    rest = stem.split("-", 2)[2]
    path = folder / f"{head[:-8]}{date}-{clock}00-{rest}_{version}.zip"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix, data in (("xml", label), ("tab", table)):
            # fixed date: the same product gives the same bytes
            info = zipfile.ZipInfo(f"{stem}_{version}.{suffix}")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return {path: stream.getvalue()}


_ACS = "urn:esa:psa:em16_tgo_acs"


def mir_files(
    folder: Path,
    times: npt.NDArray[np.datetime64],
    orbit: int,
    geometry: Mapping[str, tuple[npt.NDArray[Any], str]],
    spectra: Mapping[str, tuple[npt.NDArray[Any], str]],
) -> dict[Path, bytes]:
    """Give the files of a calibrated MIR product and of the geometry that it names.

    ``times`` (frame,); ``geometry`` are columns (frame,), ``spectra`` arrays of the
    product, each with its unit. The label of the calibrated product is the last one.
    """
    span = f"{_stamp(times[0])}-{_stamp(times[-1])}-{orbit}-1-1"
    stem, place = f"acs_cal_sc_mir_{span}", f"acs_geo_mir_{span}"
    where = f"{_ACS}:geometry:{place.lower()}"
    lid = f"{_ACS}:data_calibrated:{stem.lower()}"
    table = binary_table("Geometry-1", 0, times, geometry)
    objects = [binary_table("Header", 0, times, {})]
    start = len(objects[0][0])
    for name, (values, unit) in spectra.items():
        objects.append(binary_array(name, start, values, unit))
        start += len(objects[-1][0])
    named = [reference(where, "data_to_geometry")]
    files: dict[Path, bytes] = {}
    for stem_, lid_, parts, references in (
        (place, where, [table], []),
        (stem, lid, objects, named),
    ):
        data = b"".join(part for part, _ in parts)
        label = label_text(
            instrument="ACS",
            title="ACS MIR (SYNTHETIC)",
            description="ACS MIR Calibrated Science Product",
            lid=lid_,
            version="1.0",
            times=(utc(times[0]), utc(times[-1])),
            mission=_acs_mission(orbit),
            references=references,
            file_name=f"{stem_}.dat",
            data=data,
            objects=[element for _, element in parts],
        )
        files[folder / f"{stem_}.dat"] = data
        files[folder / f"{stem_}.xml"] = label.encode()
    return files


def _acs_mission(orbit: int) -> list[Element]:
    phase = [
        ("psa:mission_phase_identifier", "psp"),
        ("psa:start_orbit_number", orbit),
    ]
    return [
        ("psa:Mission_Information", phase),
        ("psa:Sub-Instrument", [("psa:identifier", "MIR")]),
    ]
