"""What commands take and say, and the exit codes that they end with."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tgo_spectra.errors import Terminated, TgoError, printable
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "DONE",
    "ENDED",
    "EXISTING",
    "FAILED",
    "PATH",
    "SOME_FAILED",
    "STOPPED",
    "USAGE",
    "Product",
    "UserPath",
    "configure",
    "exit_code",
    "leave",
    "naming",
    "say",
    "without_place",
]

# Exit codes, after BSD sysexits for wrong usage (click's own 2 means quarantine here)
# and the shells' 128 + SIGINT, 128 + SIGTERM
DONE, FAILED, SOME_FAILED, USAGE, STOPPED, ENDED = 0, 1, 2, 64, 130, 143


class UserPath(click.Path):
    """A path in which ``~`` is a folder: shells leave it alone in ``--out=~/maps``."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path, checked as `click.Path` does."""
        return super().convert(str(expanded(value)), param, ctx)


class Product(UserPath):
    """A path that exists; of a zip with several products also ``zip::label``."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return place and label, the place checked."""
        place, mark, member = str(value).partition("::")
        return f"{super().convert(place, param, ctx)}{mark}{member}"


PATH = UserPath()
EXISTING = UserPath(exists=True)


def say(*cells: object, err: bool = False) -> None:
    """Print one line, cells with tabs in between; terminal codes are escaped."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = (
        "\t".join(map(printable, cells))
        .encode(encoding, "backslashreplace")
        .decode(encoding)
    )
    click.echo(line, err=err)


def without_place(message: str, *places: object) -> str:
    """Give a message without the path that it begins with, for it is said already."""
    for place in places:
        message = message.removeprefix(f"{printable(place)}: ")
    return message


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let errors that name no file or folder name this one."""
    try:
        yield
    except TgoError as error:
        if error.path is None:
            error.path = path
        raise


def leave(n_good: int, n_bad: int, what: str) -> NoReturn:
    """End a command that worked through many products or files, by what was good.

    A command that found nothing to do has failed: TgoError.
    """
    if not n_good and not n_bad:
        message = f"no {what} found in what was given"
        raise TgoError(message, rule="command.nothing_found")
    sys.exit(SOME_FAILED if n_bad else DONE)


class _Plain(logging.Formatter):
    """Log lines, with what is not printable escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, or the lines of a traceback."""
        return "\n".join(map(printable, super().format(record).split("\n")))


def configure(*, verbose: bool) -> None:
    """Log to the error stream (verbose: from INFO on), warnings in a line each."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig()
    root = logging.getLogger()
    root.setLevel(level)  # -v may be said behind the name of a command, after this
    for handler in root.handlers:
        handler.setLevel(level)  # loggers of Dask have levels of their own
        handler.setFormatter(_Plain("%(levelname)s %(name)s: %(message)s"))
        change = handler.removeFilter if verbose else handler.addFilter
        change(_without_dask)
    warnings.formatwarning = _warning


def _without_dask(record: logging.LogRecord) -> bool:
    """Leave out what Dask logs: what matters is raised, or the row of a product."""
    return not record.name.startswith("distributed")


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Leave out where in the program it was said."""
    return f"warning: {printable(message)}\n"


def exit_code(command: Callable[[], object]) -> int:
    """Run a command; say in one line why it ends early, and give its exit code.

    0 all done, 1 failed, 2 some products failed, 64 wrong usage, 130 stopped by
    Ctrl-C, 143 by SIGTERM.
    """
    try:
        # click returns the code of --help and --version, and None from a command
        code = command()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # the help, in its lines
        return USAGE
    except click.UsageError as error:
        if error.ctx is not None:
            for line in error.ctx.get_usage().splitlines():
                say(line, err=True)
            say(f"Try '{error.ctx.command_path} --help'.", err=True)
        say(f"error: {error.format_message()}", err=True)
        return USAGE
    except click.ClickException as error:
        say(f"error: {error.format_message()}", err=True)
        return FAILED
    except (click.Abort, KeyboardInterrupt) as stop:
        # click makes the one of the other
        cause = stop.__cause__ if isinstance(stop, click.Abort) else stop
        say(str(cause or "") or "stopped", err=True)
        return ENDED if isinstance(cause, Terminated) else STOPPED
    except TgoError as error:
        say(f"error: {error}", err=True)
        return FAILED
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        say(f"error: {place}{error.strerror or error}", err=True)
        return FAILED
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return code if isinstance(code, int) else DONE
