"""The command line; one module a group of commands."""

from tgo_spectra.cli.commands import cli, main

__all__ = ["cli", "main"]
