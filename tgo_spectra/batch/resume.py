"""What is done already: the file of each product, and the key that it must carry.

A file is named after the whole logical identifier of its product. The key is equal
exactly when the result would be: it is the hash of the bytes of the input, of the setup
and the contents of the files that this names, of the parameters of the instrument's
model, of the atmosphere or the climatology, and of the version of the processing.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import itertools
import logging
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tgo_spectra import instruments
from tgo_spectra.archive.gathering import identity
from tgo_spectra.atmosphere.climatology.choices import ClimatologyChoices
from tgo_spectra.atmosphere.reference import reference_edition
from tgo_spectra.errors import OutputError, ProductError, printable
from tgo_spectra.files.atomic import writing
from tgo_spectra.files.netcdf import PROCESSING_VERSION, open_verified
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import Source, resolve_data
from tgo_spectra.readers.finding import find_label, split_place
from tgo_spectra.retrieval.registry import beside, files_of, kind_of_setup
from tgo_spectra.retrieval.setups import shipped
from tgo_spectra.spectroscopy.tables.files import find_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tgo_spectra.retrieval.setup import Setup

__all__ = [
    "adopt_former",
    "choices",
    "instrument_hash",
    "output_name",
    "resume_key",
    "target_of",
]

_LOG = logging.getLogger(__name__)

_FILE_NAME = re.compile(rb"<(?:\w+:)?file_name>\s*([^<]*?)\s*<")
_LONGEST = 180
"""Characters of a name: file systems take 255, and others are made from these."""


def resume_key(path: Path, setup: Setup | None, atmosphere: Any) -> str:
    """Hash all that a result depends on: inputs, choices, tables, instrument, air.

    Without a setup all shipped ones count, without an atmosphere the reference one; of
    a climatology the contents of its files, in any order, and the choices.
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
    """Return kind and hash of a setup, or "default" for none."""
    if setup is None:
        return "default"
    row = kind_of_setup(setup)
    return f"{row.name if row else type(setup).__name__} {setup.hash()}"


@functools.lru_cache(maxsize=16)
def instrument_hash(channel: str | None = None) -> str:
    """Hash names, numbers, units and indices of a channel's model; default: of all."""
    wanted = [channel] if channel in instruments.channels() else instruments.channels()
    rows = [
        (row.name, row.value, row.unit, row.index)
        for name in wanted
        for row in instruments.parameters(str(name)).values()
    ]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _inputs(path: Path) -> Iterator[tuple[str, Any]]:
    """Name and MD5 of the label and of the files that it names; of a zip, the whole."""
    place, member = split_place(path)
    if not member and place.lower().endswith(".zip"):
        sources = [Source(place)]
    else:
        label = find_label(path)
        sources = [label, *_data_of(label)]
    for source in sorted(sources, key=lambda one: one.name):
        name = source.member or source.name
        if source.member:
            yield name, hashlib.md5(source.read(), usedforsecurity=False)
            continue
        with Path(source.path).open("rb") as stream:
            yield name, hashlib.file_digest(stream, "md5")


def _data_of(label: Source) -> Iterator[Source]:
    """Files that a label names and that are there; a browse image is none of them.

    Of a label that names none, which the reader refuses, the files of its stem.
    """
    text = label.read()
    names = {name.decode("ascii", "replace") for name in _FILE_NAME.findall(text)}
    version = identity(text)[1]
    for name in names:
        # what is missing is the reader's to report
        with contextlib.suppress(ProductError):
            yield resolve_data(label, name, version)[0]
    if not names and label.member is None:
        own = Path(label.path)
        for file in own.parent.glob(f"{glob.escape(own.stem)}.*"):
            if file.is_file() and file.stem == own.stem and file != own:
                yield Source(str(file))


def _tables_hash(setup: Setup | None) -> str:
    """Hash of the setup's tables; without a setup, of all that could be chosen."""
    if setup is None:
        setups = Path(str(resources.files("tgo_spectra") / "setups"))
        names = {name for _, one in shipped() for name in files_of(one)}
        files = [*sorted(setups.glob("*.toml")), *map(_table_file, sorted(names))]
    else:
        files = [_table_file(name) for name in files_of(setup)]
    return "".join(
        # a missing table is the retrieval's to report
        f"|{_file_hash(file, file.stat().st_mtime_ns) if file.is_file() else file}"
        for file in files
    )


def _table_file(name: str) -> Path:
    return find_table(name) or expanded(name)


@functools.lru_cache(maxsize=64)
def _file_hash(file: Path, _modified_ns: int) -> str:
    """Hash of a file, computed once a process unless the file changes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _atmosphere_hash(atmosphere: Any) -> str:
    if atmosphere is None:
        return f"|reference {reference_edition()}"
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


def output_name(lid: str) -> str:
    """Name a file after a logical identifier of any case; no two share a name.

    Colons become plus signs, which no identifier has; what else a file name should not
    hold is written as in addresses (``%2F``). Of a very long one the end stands there,
    with a hash of the whole.

    >>> output_name("urn:esa:psa:em16_tgo_nmd:data_calibrated:nmd_cal_sc_so_a-134")
    'urn+esa+psa+em16_tgo_nmd+data_calibrated+nmd_cal_sc_so_a-134'
    """
    name = quote(lid.lower(), safe=":").replace(":", "+")
    if len(name) <= _LONGEST:
        return name
    check = hashlib.sha256(lid.lower().encode()).hexdigest()[:16]
    return f"{name[-_LONGEST:]}+{check}"


def target_of(product: Path, folder: Path) -> Path:
    """Give the level-2 file of a product; one under a former name has it then.

    Raises ProductError where the label cannot be read.
    """
    label = find_label(product)
    text = label.read()
    # a label without an identifier is refused by the reader
    lid = identity(text)[0] or f"{label.name}:{hashlib.sha256(text).hexdigest()}"
    target = folder / f"{output_name(lid)}.nc"
    adopt_former(target, lid)
    return target


def adopt_former(target: Path, lid: str) -> None:
    """Rename a file that is named after the end of its identifier only.

    Such names do not tell products apart that differ in the collection: the file is
    renamed only if it is whole and says that it holds this product.
    """
    last = re.sub(r"[^\w.-]", "_", lid.rsplit(":", 1)[-1])
    former = target.with_name(f"{last}.nc")
    if target.exists() or not former.is_file():
        return
    try:
        held = str(open_verified(former).attrs.get("product_lid", ""))
    except OutputError as error:
        _LOG.warning("left as it is, under a name no longer used: %s", error)
        return
    if held.lower() == lid.lower():
        # another run may do the same
        with writing(target), contextlib.suppress(FileNotFoundError):
            former.rename(target)
        _LOG.info("%s is now %s", printable(former), printable(target.name))
