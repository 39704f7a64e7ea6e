"""One tree of errors; each says where, what value, which rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ArchiveError",
    "AtmosphereError",
    "InstrumentError",
    "LineListError",
    "MissingBroadeningError",
    "OutputError",
    "ProductError",
    "RetrievalError",
    "SetupError",
    "TableError",
    "Terminated",
    "TgoError",
    "TgoWarning",
    "printable",
]


def printable(text: object) -> str:
    r"""Give text as one line that is safe to show: what cannot be printed is escaped.

    Names of files and texts of labels may hold line breaks, escape sequences that move
    the cursor or recolour the terminal, marks that turn the direction of writing, and
    bytes that are no text.

    Parameters
    ----------
    text : object
        What is to be shown; its ``str``.

    Returns
    -------
    str
        The same text, each such character as Python writes it in a literal.

    Examples
    --------
    >>> print(printable("a\x1b[2Jb\nc µ"))
    a\x1b[2Jb\nc µ
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )


class TgoError(Exception):
    """Base of every error that this package raises on bad input.

    Parameters
    ----------
    message : str
        What is invalid, the value, the rule broken, what to do.
    path : path, optional
        File (and member) in which the fault sits.
    field : str, optional
        Field, key path or column.
    record : int, optional
        0-based record (table row, line of a line list).
    offset : int, optional
        0-based byte offset in the file.
    value : object, optional
        The offending value as found.
    rule : str, optional
        Stable dotted rule id, such as ``table.records_mismatch``.

    Examples
    --------
    >>> error = TgoError("bad cell", path="a.tab", field="X", record=3, value="1_0")
    >>> str(error)
    "a.tab: bad cell [field X, record 3, value '1_0']"
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        field: str | None = None,
        record: int | None = None,
        offset: int | None = None,
        value: object = None,
        rule: str | None = None,
    ) -> None:
        self.message = message
        self.path = None if path is None else str(path)
        self.field = field
        self.record = record
        self.offset = offset
        self.value = value
        self.rule = rule
        super().__init__(message)

    def __str__(self) -> str:
        """Message with the place and the value."""
        where = [
            f"{name} {text}"
            for name, text in (
                ("field", None if self.field is None else printable(self.field)),
                ("record", self.record),
                ("byte", self.offset),
                ("value", None if self.value is None else repr(self.value)),
                ("rule", self.rule),
            )
            if text is not None
        ]
        head = f"{printable(self.path)}: " if self.path else ""
        tail = f" [{', '.join(where)}]" if where else ""
        return f"{head}{printable(self.message)}{tail}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with all fields, so that workers can report."""
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(cls: type[TgoError], message: str, fields: dict[str, object]) -> TgoError:
    error = cls(message)
    error.__dict__.update(fields)
    return error


class ProductError(TgoError):
    """An archive product breaks its label or its format."""


class ArchiveError(TgoError):
    """A catalogue, a search of the archive or a download failed."""


class LineListError(TgoError):
    """A line list is malformed, empty or not usable."""


class MissingBroadeningError(LineListError):
    """The wanted broadening coefficients are not in the line list."""


class TableError(TgoError):
    """An absorption table is malformed or does not cover what is asked."""


class AtmosphereError(TgoError):
    """An atmosphere does not fit its contract."""


class InstrumentError(TgoError):
    """Unknown channel, order or instrument setting."""


class SetupError(TgoError):
    """A retrieval setup has a wrong key, type or value."""


class RetrievalError(TgoError):
    """A fit cannot be made from these inputs."""


class OutputError(TgoError):
    """A result could not be written or verified."""


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM): what Ctrl-C is, sent by a program."""


class TgoWarning(UserWarning):
    """Something harmless that the user should know."""
