"""Queries of a Table Access Protocol service.

A query is one form; its answer, a VOTable, is read by astropy and pyvo. The bytes come
through `request_bytes`, so hosts, time limits and retries are those of a download.

References
----------
IVOA Table Access Protocol 1.1 (Dowler et al. 2019), VOTable 1.4 (Ochsenbein et al.
2019).
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from tgo_spectra.archive.http import request_bytes
from tgo_spectra.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tgo_spectra.archive.settings import ArchiveSettings

__all__ = ["query"]

_FORM = "application/x-www-form-urlencoded"
_HEAD_BYTES = 2**16  # a document type declaration stands before the root element


def query(
    adql: str, columns: Sequence[str], service: str, settings: ArchiveSettings
) -> list[dict[str, str]]:
    """Ask one service, synchronously; give the whole answer or an error.

    A row is text by column, empty where the service has no value; `columns`, in lower
    case, must be there. Refused are an answer that is cut, or has ``maxrec`` rows and
    may be (``search.overflow``), a query that the service refuses
    (``search.refused``), what is no table (``search.answer``), and all without pyvo
    (``search.no_pyvo``).
    """
    try:
        from astropy.io.votable import parse
        from pyvo.dal import DALFormatError, DALQueryError, TAPResults
    except ImportError as error:
        message = "a search needs pyvo: pip install 'tgo-spectra[archive]'"
        raise ArchiveError(message, path=service, rule="search.no_pyvo") from error
    form = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": adql}
    body = urlencode(form | {"MAXREC": settings.maxrec}).encode()
    answer = request_bytes(f"{service}/sync", settings, form=(_FORM, body))
    _refuse_entities(answer, service)
    with warnings.catch_warnings():
        # how far a VOTable keeps to its standard is not the user's affair; what is
        # needed of it is checked below
        warnings.simplefilter("ignore")
        try:
            found = TAPResults(_parsed(parse, answer, service), url=service)
        except DALQueryError as error:
            message = f"the service refused the query: {_words(error)}"
            raise ArchiveError(message, path=service, rule="search.refused") from error
        except DALFormatError as error:
            raise _no_table(answer, service, error) from error
        status = str(found.query_status).upper()
        names = {str(name).lower(): name for name in found.fieldnames}
        missing = [name for name in columns if name not in names]
        if missing:
            message = f"the answer lacks {', '.join(missing)}"
            raise ArchiveError(
                message, path=service, value=sorted(names), rule="search.answer"
            )
        cells = {name: _texts(found.getcolumn(names[name])) for name in columns}
    if status == "OVERFLOW" or len(found) >= settings.maxrec:
        message = "the answer is cut, or may be, after so many rows: ask for less time"
        raise ArchiveError(
            message, path=service, value=len(found), rule="search.overflow"
        )
    rows = zip(*cells.values(), strict=True)
    return [dict(zip(cells, row, strict=True)) for row in rows]


def _parsed(parse: Callable[[io.BytesIO], Any], answer: bytes, service: str) -> Any:
    """Read a VOTable; whatever the parser makes of other bytes is one error."""
    try:
        return parse(io.BytesIO(answer))
    except Exception as error:
        raise _no_table(answer, service, error) from error


def _no_table(answer: bytes, service: str, error: Exception) -> ArchiveError:
    message = f"the service sent no readable VOTable: {_words(error)}"
    return ArchiveError(message, path=service, value=answer[:60], rule="search.answer")


def _refuse_entities(answer: bytes, url: str) -> None:
    """Refuse what could unfold to gigabytes when the XML is read."""
    if b"<!ENTITY" in answer[:_HEAD_BYTES]:
        message = "the answer declares XML entities"
        raise ArchiveError(message, path=url, rule="search.answer")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _texts(column: Any) -> list[str]:
    """Cells as text; what the service left out is empty."""
    masks = np.ma.getmaskarray(column)
    values = np.ma.getdata(column).tolist()
    return [
        "" if left_out or value is None else _text(value)
        for value, left_out in zip(values, masks, strict=True)
    ]


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip()
