"""Commands that make products: one, or a demonstration with all that follows."""

from __future__ import annotations

import sys
from typing import Any

import click

from tgo_spectra.cli.terminal import PATH, SOME_FAILED, say

__all__ = ["demo", "simulate"]


@click.command()
@click.option("--out", default="demo-output", show_default=True, type=PATH)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0))
def demo(out: str, workers: int) -> None:
    """Simulate a small archive, retrieve it, map it (offline)."""
    from tgo_spectra.cli.demo import run_demo

    result = run_demo(out, workers)
    for line in str(result).splitlines():
        say(line)
    if result.failed:
        sys.exit(SOME_FAILED)


def _list_options(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    from tgo_spectra.simulate.options import option_rows
    from tgo_spectra.simulate.scenario import SoScenario

    if not wanted:
        return
    for name, _kind, default, row in sorted(option_rows(SoScenario)):
        unit = f" {row['unit']}" if row["unit"] else ""
        value = "none" if default is None else repr(default)
        say(f"{name} = {value}{unit}: {row['text']}")
    context.exit()


@click.command()
@click.option("--out", required=True, type=PATH, help="Folder for the product.")
@click.option("--order", default=134, show_default=True, help="Diffraction order.")
@click.option("--ch4", default=None, type=float, help="CH4 mole fraction, mol/mol.")
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other option, such as zero_level=0.01; none is no value.",
)
@click.option(
    "--options",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_options,
    help="List all options.",
)
@click.option("--overwrite", is_flag=True, help="Replace a product of the same name.")
def simulate(
    out: str,
    order: int,
    ch4: float | None,
    seed: int,
    changes: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Write one simulated occultation as an archive product."""
    from tgo_spectra.files.atomic import output_folder
    from tgo_spectra.retrieval.setups import changes_of
    from tgo_spectra.simulate import simulate_product

    given: dict[str, Any] = {"order": order, "ch4": ch4, "seed": seed}
    for name, value in changes_of(changes).items():
        given[name] = None if value == "none" else value
    output_folder(out)  # before the spectra: they take a while
    say(str(simulate_product(out, overwrite=overwrite, **given)))
