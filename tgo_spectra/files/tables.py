"""Results as tables of text, for papers and spreadsheets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.files.observations import is_simulated

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

__all__ = ["table_text"]


def table_text(ds: xr.Dataset, keys: Sequence[str], count: str) -> str:
    """Give the rows of a Dataset whose `count` is above zero, separated by commas.

    Lines before them, with ``#``, say the attributes `keys`, and how many results were
    simulated if any.
    """
    names = [*keys, *(["n_simulated"] if is_simulated(ds) else [])]
    head = "".join(f"# {key} = {ds.attrs[key]}\n" for key in names)
    frame = ds.drop_vars([n for n in ds.coords if n not in ds.dims])
    if not frame.dims:
        frame = frame.expand_dims("all")
    rows = frame.to_dataframe()
    there = rows[rows[count] > 0]
    return head + str(there.to_csv(float_format="%.6g", lineterminator="\n"))
