"""Where a line list comes from, in a small JSON file beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tgo_spectra.errors import LineListError
from tgo_spectra.files.atomic import write_whole

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HITRAN_CITATION", "Origin", "origin_path", "read_origin", "write_origin"]

HITRAN_CITATION = (
    "HITRAN; cite the edition, such as Gordon et al. 2022, JQSRT 277, 107949,"
    " doi:10.1016/j.jqsrt.2021.107949, and the sources it names"
)


@dataclass(frozen=True)
class Origin:
    """Origin of a line list.

    Attributes
    ----------
    gas : str
        Gas key.
    low, high : float
        Range asked for, cm-1.
    source : str
        HITRANonline, or the file it was taken from.
    edition : str
        Edition of HITRAN, as far as told.
    fetched : str
        UTC date and time.
    query : dict
        What was asked for.
    citation : str
        What to cite.
    lines : int
        Number of lines.
    sha256 : str
        Of the list.
    """

    gas: str
    low: float
    high: float
    source: str
    edition: str
    fetched: str
    query: dict[str, Any] = field(default_factory=dict)
    citation: str = HITRAN_CITATION
    lines: int = 0
    sha256: str = ""


def origin_path(path: Path) -> Path:
    """Return the name of the file beside a list."""
    return path.with_name(f"{path.name}.origin.json")


def write_origin(path: Path, origin: Origin) -> None:
    """Write the origin of the list `path`."""
    text = json.dumps(asdict(origin), indent=1, sort_keys=True)
    write_whole(origin_path(path), text + "\n")


def read_origin(path: Path) -> Origin | None:
    """Return the origin of the list `path`, None if no such file is there.

    Raises
    ------
    LineListError
        The file is there and is not what `write_origin` writes.
    """
    beside = origin_path(path)
    try:
        return Origin(**json.loads(beside.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        msg = f"not a readable origin of a line list: {error}"
        raise LineListError(msg, path=beside, rule="origin.json") from error
