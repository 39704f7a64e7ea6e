"""Line lists from HITRANonline, a mirror folder or a file, into a cache folder."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import io
import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgo_spectra.errors import LineListError
from tgo_spectra.files.atomic import output_folder, writing
from tgo_spectra.paths import cache_folder, expanded, is_foreign
from tgo_spectra.spectroscopy import gas_info
from tgo_spectra.spectroscopy._origin import (
    Origin,
    origin_path,
    read_origin,
    write_origin,
)
from tgo_spectra.spectroscopy._unpack import PACKED_NAMES, plain_name, unpacked
from tgo_spectra.spectroscopy.collecting import (
    Found,
    files_of,
    find_lists,
    isotopologues_of_gas,
)
from tgo_spectra.spectroscopy.ledger import (
    edition_year,
    shares,
    too_short,
    with_edition,
)
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.partition import isotopologues_of

__all__ = ["fetch_lines"]

_LOG = logging.getLogger(__name__)

# anything, LOW-HIGH in cm-1, anything, suffix
_RANGE = re.compile(
    r"(?:.*_)?(?P<low>\d+(?:\.\d+)?)-(?P<high>\d+(?:\.\d+)?)"
    rf"(?:_[^.]*)?\.(?:par|data)(?:{PACKED_NAMES})?"
)


@dataclass(frozen=True)
class _Request:
    """What is wanted: gas, range in cm-1, and the edition if the caller knows it."""

    gas: str
    low: float
    high: float
    edition: str | None = None

    @property
    def name(self) -> str:
        """Stem of the files."""
        return f"{self.gas}_{self.low:.10g}-{self.high:.10g}"


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _cached(folder: Path, name: str) -> Path | None:
    """Return a list that lies in the folder whole."""
    for suffix in (".data", ".par"):
        path = folder / f"{name}{suffix}"
        if not (path.is_file() and origin_path(path).is_file()):
            continue
        if folder == cache_folder("lines") and is_foreign(path):
            _LOG.warning("%s is another user's and is fetched again", path)
            continue
        origin = read_origin(path)
        if origin is not None and origin.sha256 == _sha256(path):
            return path
        _LOG.warning("%s is not as it was fetched and is fetched again", path)
    return None


def fetch_lines(
    gas: str,
    low: float,
    high: float,
    cache_dir: str | Path | None = None,
    *,
    mirror: str | Path | None = None,
    file: str | Path | None = None,
    edition: str | None = None,
    refresh: bool = False,
) -> Path:
    """Get the lines of a gas: from the cache, a mirror, a file, or HITRANonline.

    Beside the list lies ``<name>.origin.json`` with edition, date, query, citation
    and hash, which `read_line_list` checks and copies into the attributes.

    Parameters
    ----------
    gas : str
        Name such as ``ch4``.
    low, high : float
        Range, cm-1.
    cache_dir : path, optional
        Folder for the files, made if absent; default ``lines`` in the user's cache
        (``XDG_CACHE_HOME``). A list that lies there whole is not fetched again.
    mirror : path, optional
        Folder of lists, such as the cache of another machine. Of those that cover the
        range and hold what `tgo_spectra.spectroscopy.ledger` says they must, the one
        of the newest edition is cut to it; a sample is refused by name. A range in a
        name (``ch4_2900-3200.par``) is believed, else the first and the last line
        count. No network is used.
    file : path, optional
        A list of your own, checked and cut to the range. No network is used.
    edition : str, optional
        Edition of HITRAN, if you know it; the service does not state it.
    refresh : bool, optional
        Fetch again.

    Returns
    -------
    Path
        The list, readable by `read_line_list`.

    Raises
    ------
    LineListError
        Nothing could be downloaded, or the hitran-api package is absent, or no list of
        the mirror is complete in the range, or several are for all that is known, or
        the list is malformed.

    Examples
    --------
    >>> fetch_lines("hcl", 2600, 3100)  # doctest: +SKIP
    """
    folder = cache_folder("lines") if cache_dir is None else expanded(cache_dir)
    request = _Request(gas, float(low), float(high), edition)
    gas_info(request.gas)
    if not request.low < request.high:
        msg = "the range must have low < high"
        value = (request.low, request.high)
        raise LineListError(msg, field="range", value=value, rule="fetch.range")
    if mirror is not None and file is not None:
        msg = "take a mirror or a file, not both"
        both = (str(mirror), str(file))
        raise LineListError(msg, field="mirror", value=both, rule="fetch.source")
    if not refresh and mirror is None and file is None:
        found = _cached(folder, request.name)
        if found is not None:
            return found
    output_folder(folder)
    with writing(folder):
        work = tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-")
    with work as made_here:
        place = Path(made_here)
        if file is not None:
            made, origin = _from_file(request, expanded(file), place)
        elif mirror is not None:
            made, origin = _from_file(
                request, _in_mirror(request, expanded(mirror)), place
            )
        else:
            made, origin = _from_service(request, place)
        return _keep(made, origin, folder, request)


def _keep(made: Path, origin: Origin, folder: Path, request: _Request) -> Path:
    """Check a list and move it, its header and its origin to the folder."""
    lines = read_line_list(made)
    number = int(lines["molecule"].values[0])
    if number != gas_info(request.gas).molecule:
        msg = (
            f"the list holds HITRAN molecule {number}, {request.gas} is"
            f" {gas_info(request.gas).molecule}"
        )
        raise LineListError(msg, path=made.name, value=number, rule="fetch.molecule")
    whole = Origin(
        **{
            **vars(origin),
            "lines": int(lines.sizes["line"]),
            "sha256": _sha256(made),
        }
    )
    target = folder / made.name
    with writing(target):
        # the origin goes last: without it the list is not taken from the cache
        origin_path(target).unlink(missing_ok=True)
        for part in (made.with_suffix(".header"), made):
            if part.is_file():
                part.replace(folder / part.name)
    write_origin(target, whole)
    return target


def _in_mirror(request: _Request, mirror: Path) -> Path:
    """Return the list of the mirror that is complete in the range, the newest one."""
    if not mirror.is_dir():
        msg = "the mirror is not a folder"
        raise LineListError(msg, path=mirror, field="mirror", rule="fetch.mirror")
    numbers = isotopologues_of_gas(request.gas)
    found, refused = find_lists(files_of(mirror), {gas_info(request.gas).molecule})
    found = [one for one in found if np.isin(one.lines["isotopologue"], numbers).any()]
    fitting: list[Found] = []
    for one in found:
        low, high = _reach(one)
        if not (low <= request.low and request.high <= high):
            continue
        judged = shares(one.lines, request.low, request.high, numbers)
        short = "; ".join(share.in_words() for share in too_short(judged))
        if one.refused or short:
            why = f"{one.path.name} is not complete: {short}"
            refused.append(one.refused or why)
        else:
            fitting.append(one)
    years = [edition_year(str(one.lines.attrs["edition"])) for one in fitting]
    newest = [
        one for one, year in zip(fitting, years, strict=True) if year == max(years)
    ]
    if newest and (len(newest) == 1 or max(years)):
        return max(newest, key=lambda one: _inside(one, request)).path
    if newest:
        names = ", ".join(one.path.name for one in newest)
        msg = f"several lists cover the range; name one as the file: {names}"
    else:
        names = ", ".join(one.path.name for one in found) or "none"
        msg = (
            f"no complete list of {request.gas} covers {request.low:g} to "
            f"{request.high:g} cm-1; there are: {names}"
        )
    if refused:
        msg += f"; {'; '.join(refused)}"
    raise LineListError(
        msg,
        path=mirror,
        field="range",
        value=(request.low, request.high),
        rule="fetch.mirror",
    )


def _reach(one: Found) -> tuple[float, float]:
    """Range of a list, cm-1: by its origin, its name, or its lines."""
    origin, named = read_origin(one.path), _RANGE.fullmatch(one.path.name)
    if origin is not None:
        return origin.low, origin.high
    if named is not None:
        return float(named["low"]), float(named["high"])
    wavenumber = one.lines["wavenumber"].values
    return float(wavenumber.min()), float(wavenumber.max())


def _inside(one: Found, request: _Request) -> int:
    """Count the lines of a list in the range."""
    wavenumber = one.lines["wavenumber"].values
    return int(((wavenumber >= request.low) & (wavenumber <= request.high)).sum())


def _from_file(request: _Request, source: Path, place: Path) -> tuple[Path, Origin]:
    """Cut a list to the range; its header goes with it."""
    known = read_origin(source)
    lines = with_edition(read_line_list(source, edition=request.edition))
    raw = source.read_bytes()
    records = unpacked(raw, source).replace(b"\r\n", b"\n").splitlines()
    inside = [r for r in records if request.low <= float(r[3:15]) <= request.high]
    if not inside:
        msg = f"no line within {request.low:g} to {request.high:g} cm-1"
        raise LineListError(msg, path=source, field="range", rule="fetch.empty")
    plain = plain_name(source.name)
    header = source.with_name(plain.removesuffix(".data") + ".header")
    with_header = plain.endswith(".data") and header.is_file()
    made = place / f"{request.name}{'.data' if with_header else '.par'}"
    with writing(place.parent):
        made.write_bytes(b"\n".join(inside) + b"\n")
    if with_header:
        # the header tells the columns; how many rows it states holds for the whole
        text = header.read_text(encoding="utf-8")
        text = re.sub(r'("number_of_rows":\s*)-?\d+', rf"\g<1>{len(inside)}", text)
        with writing(place.parent):
            made.with_suffix(".header").write_text(text, encoding="utf-8")
    origin = Origin(
        request.gas,
        request.low,
        request.high,
        source=f"{source.name}, SHA-256 {lines.attrs['source_sha256']}",
        edition=str(lines.attrs["edition"]),
        fetched=known.fetched if known else _now(),
        query=known.query if known else {"file": source.name},
        citation=str(lines.attrs["citation"]),
    )
    return made, origin


def _unreachable(error: BaseException) -> BaseException | None:
    """Return the network error under another one: hitran-api trips over its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _hapi() -> Any:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import hapi
    except ImportError as error:
        msg = (
            "downloading lines needs the hitran-api package: pip install"
            " 'tgo-spectra[lines]'; or name a mirror folder or a file"
        )
        raise LineListError(msg, rule="fetch.package") from error
    return hapi


def _from_service(request: _Request, place: Path) -> tuple[Path, Origin]:
    """Download from HITRANonline through hitran-api."""
    hapi = _hapi()
    info = gas_info(request.gas)
    numbers = info.isotopologues or isotopologues_of(info.molecule)
    ids = [
        hapi.ISO[(info.molecule, iso)][hapi.ISO_INDEX["id"]]
        for iso in numbers
        if (info.molecule, iso) in hapi.ISO
    ]
    # the widths of CO2 in CO2 are those by itself, which every record has
    own = info.default_broadening == "self"
    groups = ["160-char"] if own else ["160-char", "Voigt_CO2"]
    made = place / f"{request.name}.data"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            hapi.db_begin(str(place))
            hapi.fetch_by_ids(
                request.name, ids, request.low, request.high, ParameterGroups=groups
            )
    # the package raises bare Exception for anything from HTTP errors to no network
    except Exception as error:
        network = _unreachable(error)
        what = (
            f"HITRANonline cannot be reached ({network})"
            if network is not None
            else f"HITRANonline gave no lines: {error}"
        )
        msg = (
            f"{what}. Without the network, take the list from a mirror folder"
            " (--mirror DIR) or a file of yours (--file FILE)"
        )
        rule = "fetch.network" if network is not None else "fetch.service"
        raise LineListError(msg, field="gas", value=request.gas, rule=rule) from error
    if not made.is_file() or made.stat().st_size == 0:
        msg = "HITRANonline returned no lines for this range"
        value = (request.low, request.high)
        raise LineListError(msg, path=made.name, value=value, rule="fetch.empty")
    version = getattr(hapi, "HAPI_VERSION", "of unknown version")
    origin = Origin(
        request.gas,
        request.low,
        request.high,
        source=f"HITRANonline through hitran-api {version}",
        edition=request.edition
        or f"HITRANonline on {_now()[:10]}; the service does not state the edition",
        fetched=_now(),
        query={
            "isotopologue_ids": ids,
            "low": request.low,
            "high": request.high,
            "parameter_groups": groups,
        },
    )
    return made, origin
