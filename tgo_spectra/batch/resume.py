"""Resume key of a product: equal exactly when the result would be.

It is the hash of the bytes of the input, of the setup and the contents of the files
that this names, of the parameters of the instrument's model, of the atmosphere or the
climatology, and of the version of the processing.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import itertools
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra import instruments
from tgo_spectra.atmosphere.climatology.choices import ClimatologyChoices
from tgo_spectra.files.netcdf import PROCESSING_VERSION
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import Source, archive_members
from tgo_spectra.readers.finding import split_place
from tgo_spectra.retrieval.registry import beside, files_of, kind_of_setup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tgo_spectra.retrieval.setup import Setup

__all__ = ["choices", "instrument_hash", "resume_key"]


def resume_key(path: Path, setup: Setup | None, atmosphere: Any) -> str:
    """Hash all that a result depends on: inputs, choices, tables, instrument, air.

    Parameters
    ----------
    path : path
        Product, as ``zip::label`` where a zip has several.
    setup : Setup or None
        None: whatever shipped setup fits, so that all of them count.
    atmosphere : Dataset, path, ClimatologyChoices or None
        None: the reference atmosphere. Of a climatology the contents of its files, in
        any order, and the choices count.

    Returns
    -------
    str
        SHA-256.
    """
    digest = hashlib.sha256(f"processing {PROCESSING_VERSION}".encode())
    others = () if setup is None else beside(setup, path)
    files = itertools.chain(_inputs(path), *(_inputs(other) for other in others))
    for name, content in files:
        # MD5 because the archive's own labels state it; not for security
        digest.update(f"|{name} {content.hexdigest()}".encode())
    digest.update(f"|{choices(setup)}".encode())
    digest.update(_tables_hash(setup).encode())
    digest.update(f"|{instrument_hash(setup.channel if setup else None)}".encode())
    digest.update(_atmosphere_hash(atmosphere).encode())
    return digest.hexdigest()


def choices(setup: Setup | None) -> str:
    """Return kind and hash of a setup, or "default" for none.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> choices(load_setup("uvis_o3")).split()[0], choices(None)
    ('ozone', 'default')
    """
    if setup is None:
        return "default"
    row = kind_of_setup(setup)
    return f"{row.name if row else type(setup).__name__} {setup.hash()}"


@functools.lru_cache(maxsize=16)
def instrument_hash(channel: str | None = None) -> str:
    """Return a hash of the parameters of an instrument model.

    Parameters
    ----------
    channel : str, optional
        One of `tgo_spectra.instruments.channels`; default: all of them.

    Returns
    -------
    str
        SHA-256 of names, numbers, units and indices; texts do not count.

    Examples
    --------
    >>> instrument_hash("so") == instrument_hash("lno")
    False
    """
    wanted = [channel] if channel in instruments.channels() else instruments.channels()
    rows = [
        (row.name, row.value, row.unit, row.index)
        for name in wanted
        for row in instruments.parameters(str(name)).values()
    ]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _inputs(path: Path) -> Iterator[tuple[str, Any]]:
    """Name and MD5 of the label and of the files that share its name."""
    place, member = split_place(path)
    if member:
        stem = member.rpartition(".")[0]
        for name in sorted(archive_members(place)):
            if name.rpartition(".")[0] == stem:
                text = Source(place, name).read()
                yield name, hashlib.md5(text, usedforsecurity=False)
        return
    for file in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")):
        if file.is_file() and file.stem == path.stem:
            with file.open("rb") as stream:
                yield file.name, hashlib.file_digest(stream, "md5")


def _tables_hash(setup: Setup | None) -> str:
    """Hash of the setup's tables; without a setup, of all that could be chosen."""
    shipped = Path(str(resources.files("tgo_spectra.spectroscopy") / "data"))
    if setup is None:
        setups = Path(str(resources.files("tgo_spectra") / "setups"))
        files = [*sorted(setups.glob("*.toml")), *sorted(shipped.glob("*.nc"))]
    else:
        names = [(shipped / f"{name}.nc", expanded(name)) for name in files_of(setup)]
        files = [inside if inside.is_file() else given for inside, given in names]
    return "".join(
        # a missing table is the retrieval's to report
        f"|{_file_hash(file, file.stat().st_mtime_ns) if file.is_file() else file}"
        for file in files
    )


@functools.lru_cache(maxsize=64)
def _file_hash(file: Path, _modified_ns: int) -> str:
    """Hash of a file, computed once a process unless the file changes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _atmosphere_hash(atmosphere: Any) -> str:
    if atmosphere is None:
        return "|reference"
    if isinstance(atmosphere, ClimatologyChoices):
        files = [Path(path) for path in atmosphere.paths]
        hashes = sorted(_file_hash(file, file.stat().st_mtime_ns) for file in files)
        return f"|climatology {' '.join(hashes)} {atmosphere.text()}"
    if isinstance(atmosphere, str | Path):
        return f"|{hashlib.sha256(expanded(atmosphere).read_bytes()).hexdigest()}"
    digest = hashlib.sha256(repr(sorted(atmosphere.attrs.items())).encode())
    for name in sorted(map(str, atmosphere.variables)):
        # the same numbers in other units are another atmosphere
        units = atmosphere[name].attrs.get("units", "")
        digest.update(f"{name} {units}".encode())
        digest.update(atmosphere[name].values.tobytes())
    return f"|{digest.hexdigest()}"
