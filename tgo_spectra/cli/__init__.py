"""The command line; one module a group of commands, imports inside commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tgo_spectra._version import __version__
from tgo_spectra.cli import (
    archive,
    information,
    levels,
    pictures,
    retrieval,
    simulation,
    spectroscopy,
)
from tgo_spectra.cli.terminal import configure, exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]


SECTIONS = {
    "First": ("demo", "simulate", "info", "plot"),
    "Products": ("fetch", "index", "find", "verify"),
    "Retrieval": ("setups", "prepare", "plan", "retrieve", "status", "report"),
    "Results": ("map", "merge", "collect", "limits", "deuterium", "compare", "export"),
    "Line data": ("lines", "tables", "cache"),
}
"""Commands as the help lists them, in the order in which they are needed."""


class _Sections(click.Group):
    """A group whose help lists its commands by what they are for, each in full."""

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the sections."""
        for title, names in SECTIONS.items():
            rows = [
                (name, self.commands[name].get_short_help_str(limit=200))
                for name in names
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="tgo_spectra")
@click.option("-v", "--verbose", is_flag=True, help="Log one line a product.")
def cli(verbose: bool) -> None:
    """Read, fit and map spectra of the ExoMars Trace Gas Orbiter."""
    configure(verbose=verbose)


def _say_more(_context: click.Context, _option: click.Parameter, more: bool) -> None:
    if more:
        configure(verbose=True)


def _with_verbose(command: click.Command) -> click.Command:
    """Take -v behind the name of a command too, and behind those in a group."""
    if isinstance(command, click.Group):
        for one in command.commands.values():
            _with_verbose(one)
        return command
    option = click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_say_more,
        help="Log one line a product.",
    )
    command.params.append(option)
    return command


for _command in (
    *(
        simulation.demo,
        information.info,
        retrieval.retrieve,
        retrieval.status,
        retrieval.plan,
    ),
    *(levels.map_, levels.merge, levels.limits, levels.collect),
    pictures.compare,
    *(pictures.plot, pictures.report),
    *(simulation.simulate, archive.index, archive.find, archive.verify),
    *(archive.fetch, retrieval.setups, levels.export, levels.deuterium),
    *(
        spectroscopy.prepare,
        spectroscopy.lines,
        spectroscopy.tables,
        spectroscopy.cache,
    ),
):
    cli.add_command(_with_verbose(_command))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        0 all done, 1 failed, 2 some products failed, 64 wrong usage, 130 stopped by
        Ctrl-C, 143 by SIGTERM.
    """
    given = None if arguments is None else list(arguments)
    code = exit_code(
        lambda: cli.main(given, prog_name="tgo-spectra", standalone_mode=False)
    )
    if arguments is None:
        sys.exit(code)
    return code
