"""Names of the level-2 files of a run: one for each product, from its whole LID."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from tgo_spectra.archive.gathering import identity
from tgo_spectra.errors import OutputError, printable
from tgo_spectra.files.atomic import writing
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.readers.finding import find_label

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["adopt_former", "output_name", "target_of"]

_LOG = logging.getLogger(__name__)

_LONGEST = 180
"""Characters of a name: file systems take 255, and others are made from these."""


def output_name(lid: str) -> str:
    """Name a file after a logical identifier.

    Two identifiers never share a name. Colons become plus signs, which no identifier
    has; what else a file name should not hold is written as in addresses (``%2F``). Of
    a very long one the end stands there, with a hash of the whole.

    Parameters
    ----------
    lid : str
        Logical identifier, of any case: it does not count.

    Returns
    -------
    str
        Without suffix.

    Examples
    --------
    >>> output_name("urn:esa:psa:em16_tgo_nmd:data_calibrated:nmd_cal_sc_so_a-134")
    'urn+esa+psa+em16_tgo_nmd+data_calibrated+nmd_cal_sc_so_a-134'
    """
    name = quote(lid.lower(), safe=":").replace(":", "+")
    if len(name) <= _LONGEST:
        return name
    check = hashlib.sha256(lid.lower().encode()).hexdigest()[:16]
    return f"{name[-_LONGEST:]}+{check}"


def target_of(product: Path, folder: Path) -> Path:
    """Give the level-2 file of a product in a folder.

    Parameters
    ----------
    product : Path
        Label, zip of one label, or ``zip::label``.
    folder : Path

    Returns
    -------
    Path
        Need not exist. A file of a former name that holds this product has it now.

    Raises
    ------
    ProductError
        The label cannot be read.
    """
    label = find_label(product)
    text = label.read()
    # a label without an identifier is refused by the reader
    lid = identity(text)[0] or f"{label.name}:{hashlib.sha256(text).hexdigest()}"
    target = folder / f"{output_name(lid)}.nc"
    adopt_former(target, lid)
    return target


def adopt_former(target: Path, lid: str) -> None:
    """Give a file that is named after the end of its identifier only its whole name.

    Such names do not tell products apart that differ in the collection: the file is
    renamed only if it is whole and says that it holds this product.

    Parameters
    ----------
    target : Path
        The name it is to have.
    lid : str
        Logical identifier of the product.
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
