"""Files of a simulated product: the truth first, the label last, nothing replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.files.atomic import atomic_file, refuse_existing, write_whole
from tgo_spectra.files.netcdf import write_plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

__all__ = ["write_files"]


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
