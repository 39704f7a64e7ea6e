"""HITRAN line lists: strict reading, CO2 broadening from extra files, download."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra.errors import LineListError, TgoWarning
from tgo_spectra.paths import expanded
from tgo_spectra.spectroscopy._origin import HITRAN_CITATION, Origin, read_origin
from tgo_spectra.spectroscopy._records import (
    CODES,
    FIELDS,
    LENGTH,
    Field,
    Records,
    convert,
    cut,
)
from tgo_spectra.spectroscopy._unpack import plain_name, unpacked
from tgo_spectra.spectroscopy.partition import (
    isotopologue_abundance,
    isotopologue_mass,
    molecules,
    partition_sum,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "isotopologue_abundance",
    "isotopologue_mass",
    "partition_sum",
    "read_line_list",
]

PathLike = str | Path
Extra = PathLike | Sequence[PathLike] | Mapping[PathLike, Sequence[str]]

_ATTRS: dict[str, tuple[str, str]] = {
    "molecule": ("1", "HITRAN molecule number"),
    "isotopologue": ("1", "HITRAN isotopologue number"),
    "wavenumber": ("cm-1", "vacuum wavenumber of the line"),
    "intensity": (
        "cm-1/(molecule cm-2)",
        "line intensity at 296 K, times terrestrial isotopologue abundance",
    ),
    "einstein_a": ("s-1", "Einstein A coefficient"),
    "gamma_air": ("cm-1 atm-1", "half-width, broadened by air, at 296 K"),
    "gamma_self": ("cm-1 atm-1", "half-width, self-broadened, at 296 K"),
    "lower_state_energy": ("cm-1", "energy of the lower state, -1 where unknown"),
    "n_air": ("1", "temperature exponent of gamma_air"),
    "delta_air": ("cm-1 atm-1", "pressure shift in air at 296 K"),
    "upper_statistical_weight": ("1", "statistical weight of the upper state"),
    "lower_statistical_weight": ("1", "statistical weight of the lower state"),
    "gamma_co2": ("cm-1 atm-1", "half-width, broadened by CO2, at 296 K"),
    "n_co2": ("1", "temperature exponent of gamma_co2"),
    "delta_co2": ("cm-1 atm-1", "pressure shift in CO2 at 296 K"),
    "band": ("1", "upper and lower global quanta"),
    **{
        f"{name}_code": (
            "1",
            f"uncertainty code of HITRAN for {name}, 0 where unstated",
        )
        for name in CODES
    },
}

_CO2_FIELDS = ("gamma_co2", "n_co2", "delta_co2")
_CO2_RANGE = {"gamma_co2": (0.0, 9.9999), "n_co2": (-9.99, 9.99)}
_SHIFT_RANGE = (-9.0, 9.0)

# Fields of the HITRAN planetary-broadener files, by how many there are; each comes
# as value, error code, reference (Tan et al. 2022, ApJS 262, 40).
_TRIPLES = {
    6: ("gamma_he", "n_he", "gamma_h2", "n_h2", "gamma_co2", "n_co2"),
    1: ("delta_co2",),
}


def _load(path: Path) -> tuple[bytes, str]:
    """Content, unpacked where it is packed, and SHA-256 of the file as it is."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        msg = f"cannot read the line list: {error.strerror}"
        raise LineListError(msg, path=path, rule="file.read") from error
    digest = hashlib.sha256(raw).hexdigest()
    return unpacked(raw, path), digest


def _header(path: Path) -> dict[str, Any] | None:
    """Read the HAPI header beside a ``.data`` file, if there is one."""
    name = plain_name(path.name)
    if not name.endswith(".data"):
        return None
    beside = path.with_name(name.removesuffix(".data") + ".header")
    try:
        header = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        msg = f"not a readable HAPI header: {error}"
        raise LineListError(msg, path=beside, rule="header.json") from error
    expected = {"nu": 3, "sw": 15, "gamma_air": 35, "elower": 45}
    position = header.get("position", {}) if isinstance(header, dict) else None
    if not isinstance(position, dict):
        msg = "not a HAPI header"
        raise LineListError(msg, path=beside, rule="header.json")
    for field, place in expected.items():
        if position.get(field, place) != place:
            msg = "the header describes another record than HITRAN's 160 characters"
            raise LineListError(
                msg,
                path=beside,
                field=field,
                value=position[field],
                rule="header.position",
            )
    return dict(header)


def _extra_number(text: str, name: str, row: int, path: str) -> float:
    """Convert one extra value; HAPI writes '#' where HITRAN has none."""
    text = text.strip()
    if text in {"#", ""}:
        return np.nan
    low, high = _CO2_RANGE.get(name, _SHIFT_RANGE)
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if "_" in text or not low <= value <= high:
        msg = (
            f"line {row + 1}, after column {LENGTH}: not a number within"
            f" {low:g} to {high:g}"
        )
        raise LineListError(
            msg,
            path=path,
            field=name,
            record=row,
            value=text,
            rule="line_list.extra",
        )
    return value


def _split_extras(
    records: Records, names: Sequence[str], stride: int, separator: str
) -> dict[str, NDArray[np.float64]]:
    """Take the CO2 fields out of the part after column 160."""
    wanted = {
        name.lower(): place * stride
        for place, name in enumerate(names)
        if name.lower() in _CO2_FIELDS
    }
    out = {name: np.full(len(records.text), np.nan) for name in wanted}
    for row, extra in enumerate(records.extras or []):
        parts = extra.decode("latin-1").strip("\r").split(separator)
        if parts and not parts[0].strip():
            parts = parts[1:]
        if len(parts) != len(names) * stride:
            msg = (
                f"line {row + 1}, after column {LENGTH}: {len(parts)} values instead"
                f" of {len(names) * stride}"
            )
            raise LineListError(
                msg,
                path=records.path,
                field="extra",
                record=row,
                value=extra.decode("latin-1")[:60],
                rule="line_list.extra",
            )
        for name, place in wanted.items():
            out[name][row] = _extra_number(parts[place], name, row, records.path)
    return out


def _identity(records: Records) -> list[bytes]:
    """Molecule, isotopologue, wavenumber, lower energy, quanta of each line."""
    text = records.text
    keep = np.concatenate([text[:, :15], text[:, 45:55], text[:, 67:127]], axis=1)
    data = np.ascontiguousarray(keep).tobytes()
    width = keep.shape[1]
    return [data[i : i + width] for i in range(0, len(data), width)]


def _merge(
    records: Records, path: Path, names: Sequence[str] | None
) -> tuple[dict[str, NDArray[np.float64]], str]:
    """Read the CO2 fields of an extra file in the order of the main list."""
    data, digest = _load(path)
    other = cut(data, str(path), longer=True)
    if not other.extras or not other.extras[0]:
        msg = f"nothing follows column {LENGTH}"
        raise LineListError(msg, path=path, rule="line_list.extra")
    count = other.extras[0].decode("latin-1").lstrip(", ").count(",") + 1
    if names is None and count % 3 == 0:
        names = _TRIPLES.get(count // 3)
    if names is None:
        msg = (
            f"cannot tell what the {count} values after column {LENGTH} are; pass"
            " extra={path: names}"
        )
        raise LineListError(
            msg,
            path=path,
            field="extra",
            rule="line_list.extra",
        )
    stride = 3 if count == 3 * len(names) else 1
    fields = _split_extras(other, names, stride, ",")
    place = {key: row for row, key in enumerate(_identity(other))}
    order = np.empty(len(records.text), np.int64)
    for row, key in enumerate(_identity(records)):
        found = place.get(key)
        if found is None or not np.array_equal(
            other.text[found, 15:45], records.text[row, 15:45]
        ):
            why = "is not in" if found is None else "has other values in"
            msg = f"line {row + 1} of the list {why} the extra file"
            raise LineListError(
                msg,
                path=path,
                field="line identity",
                record=row,
                value=key.decode("latin-1")[:30],
                rule="line_list.extra_mismatch",
            )
        order[row] = found
    return {name: values[order] for name, values in fields.items()}, digest


def _filled(records: Records, spec: Field) -> NDArray[np.bool_]:
    """Tell which lines have anything in a field."""
    part = records.text[:, spec.first - 1 : spec.last]
    return np.asarray((part != ord(" ")).any(axis=1))


def _flag(records: Records, energy: NDArray[Any], *, strict: bool) -> dict[str, int]:
    """Count lines that are suspect but readable; refuse or warn."""
    counts: dict[str, int] = {}
    unknown = energy == -1.0
    cut_off = np.zeros(energy.size, bool)
    cut_off[-1] = records.open_end
    keys = [
        key + line
        for key, line in zip(
            _identity(records), records.column(16, 25).tolist(), strict=True
        )
    ]
    seen: set[bytes] = set()
    duplicate = np.zeros(len(keys), bool)
    if len(set(keys)) < len(keys):
        for row, key in enumerate(keys):
            duplicate[row] = key in seen
            seen.add(key)
    blanks = [
        (f"blank_{name}", ~_filled(records, spec), (spec.first, spec.last),
         "the field is blank, which counts as zero")
        for name, spec in FIELDS.items() if spec.blank == 0.0
    ]  # fmt: skip
    for name, bad, columns, why in (
        *blanks,
        ("unknown_lower_state_energy", unknown, (46, 55),
         ("HITRAN does not know the lower state energy (-1): left out of cross"
          " sections, since the intensity is right near 296 K only")),
        ("duplicate_lines", duplicate, (1, 25),
         "the same transition stands in the list before"),
        ("missing_final_line_end", cut_off, (1, LENGTH),
         "the last line does not end: the file may have been cut there"),
    ):  # fmt: skip
        if not bad.any():
            continue
        counts[name] = int(bad.sum())
        error = records.fail(int(np.argmax(bad)), name, *columns, why, name)
        if strict:
            raise error
        warnings.warn(f"{error}; {counts[name]} such lines", TgoWarning, stacklevel=4)
    return counts


def _check_whole(
    path: Path,
    digest: str,
    count: int,
    stated: Mapping[str, Any],
    origin: Origin | None,
) -> None:
    """Compare hash and number of lines with what other files or the caller state."""
    wanted = stated["sha256"] or (origin.sha256 if origin else "")
    if wanted and digest != wanted.lower():
        msg = f"SHA-256 of the file is {digest}, {wanted} is stated: not the same file"
        raise LineListError(
            msg, path=path, field="sha256", value=digest, rule="file.hash"
        )
    rows = stated["rows"]
    if isinstance(rows, int) and rows >= 0 and rows != count:
        msg = f"{count} lines, the header states {rows}: the file was cut or changed"
        raise LineListError(
            msg, path=path, field="number_of_rows", value=count, rule="header.rows"
        )


def _extra_items(extra: Extra | None) -> list[tuple[Path, Sequence[str] | None]]:
    if extra is None:
        return []
    if isinstance(extra, Mapping):
        return [(expanded(path), names) for path, names in extra.items()]
    if isinstance(extra, str | Path):
        return [(expanded(extra), None)]
    return [(expanded(path), None) for path in extra]


def read_line_list(
    path: PathLike,
    extra: Extra | None = None,
    *,
    edition: str | None = None,
    strict: bool = False,
    fortran_exponents: bool = False,
    sha256: str | None = None,
) -> xr.Dataset:
    """Read a line list in the HITRAN format of 160 characters.

    Parameters
    ----------
    path : path
        ``.par`` file, LF or CRLF line ends, or a HAPI ``.data`` file with its
        ``.header`` beside it, whose fields gamma_co2, n_co2 and delta_co2 are taken
        too; plain, or packed as gzip, bzip2, xz or a zip of one file, which its first
        bytes tell. Any molecule of HITRAN can be read.
    extra : path, sequence of paths, or mapping of path to names, optional
        Files with the same lines and comma-separated values after column 160, such
        as those of the HITRAN planetary broadeners; names are needed for others.
        Every line must be found there with the same columns 1-55.
    edition : str, optional
        Edition of HITRAN, recorded in the attributes.
    strict : bool, optional
        Refuse what is otherwise a `TgoWarning`: duplicate lines, unknown energies,
        blank gamma_self and delta_air (zero then, as Fortran reads them), a last line
        without an end.
    fortran_exponents : bool, optional
        Accept ``1.0D-20`` and ``1.0-120`` as intensities.
    sha256 : str, optional
        Hash that the file must have: the only thing that tells a list cut between
        two lines, or a changed digit. A list from `fetch_lines` has it beside itself.

    Returns
    -------
    xarray.Dataset
        Over ``line``, sorted by wavenumber. Variables: molecule, isotopologue,
        wavenumber, intensity, einstein_a, gamma_air, gamma_self,
        lower_state_energy, n_air, delta_air, statistical weights, band (upper and lower
        global quanta, as bytes), the uncertainty codes of HITRAN (such as
        intensity_code) and, when there, gamma_co2, n_co2, delta_co2 (NaN where
        missing). Units are in the attributes.

    Raises
    ------
    LineListError
        At the first fault, with line number, column range, field and value.

    References
    ----------
    Gordon et al. 2022, JQSRT 277, 107949.

    Examples
    --------
    >>> lines = read_line_list("ch4.par", edition="HITRAN2020")  # doctest: +SKIP
    >>> lines["gamma_air"].attrs["units"]  # doctest: +SKIP
    'cm-1 atm-1'
    """
    file = expanded(path)
    data, digest = _load(file)
    header = _header(file)
    names = [str(name) for name in (header or {}).get("extra", [])]
    records = cut(data, str(file), longer=bool(names))
    origin = read_origin(file)
    stated = {"sha256": sha256, "rows": (header or {}).get("number_of_rows")}
    _check_whole(file, digest, len(records.text), stated, origin)
    fields = convert(records, molecules(), fortran=fortran_exponents)
    counts = _flag(records, fields["lower_state_energy"], strict=strict)
    attrs: dict[str, Any] = {
        "source_file": file.name,
        "source_sha256": digest,
        "edition": edition or (origin.edition if origin else "not stated"),
        "citation": origin.citation if origin else HITRAN_CITATION,
        **counts,
    }
    if origin is not None:
        attrs["source"], attrs["fetched"] = origin.source, origin.fetched
        attrs["query"] = json.dumps(origin.query, sort_keys=True)
    more: dict[str, NDArray[np.float64]] = {}
    if names and header is not None:
        separator = str(header.get("extra_separator", ","))
        more.update(_split_extras(records, names, 1, separator))
    for place, (other, given) in enumerate(_extra_items(extra)):
        values, other_digest = _merge(records, other, given)
        more.update(values)
        attrs[f"extra_file_{place + 1}"] = other.name
        attrs[f"extra_sha256_{place + 1}"] = other_digest
    order = np.argsort(fields["wavenumber"], kind="stable")
    if np.any(np.diff(order) < 0):
        attrs["sorted_on_reading"] = "yes: the file is not in order of wavenumber"
    variables = {
        name: (
            "line",
            values[order],
            {"units": _ATTRS[name][0], "long_name": _ATTRS[name][1]},
        )
        for name, values in {**fields, **more}.items()
    }
    return xr.Dataset(variables, attrs=attrs)
