"""Commands that make products: one, or a demonstration with all that follows."""

from __future__ import annotations

import sys

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


@click.command()
@click.option("--out", required=True, type=PATH, help="Folder for the product.")
@click.option("--order", default=134, show_default=True, help="Diffraction order.")
@click.option("--ch4", default=None, type=float, help="CH4 mole fraction, mol/mol.")
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option("--overwrite", is_flag=True, help="Replace a product of the same name.")
def simulate(
    out: str, order: int, ch4: float | None, seed: int, overwrite: bool
) -> None:
    """Write one simulated occultation as an archive product."""
    from tgo_spectra.simulate import simulate_product

    path = simulate_product(out, order=order, ch4=ch4, seed=seed, overwrite=overwrite)
    say(str(path))
