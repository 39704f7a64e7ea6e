"""The command that compares level 2 with profiles of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tgo_spectra.cli.terminal import EXISTING, PATH, naming, say

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["compare"]

_FORMS = (".csv", ".nc")


def _limit(_context: click.Context, option: click.Parameter, text: str) -> float | None:
    """Return a number; None for ``none``."""
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        message = f"{option.opts[0]} wants a number or none, not {text!r}"
        raise click.UsageError(message) from error


@click.command()
@click.argument("level2", type=EXISTING)
@click.argument("other", type=EXISTING)
@click.option("--quantity", required=True, help="Such as h2o_vmr or temperature.")
@click.option("--out", type=PATH, help="Table (.csv), or all of it (.nc).")
@click.option("--plot", "picture", type=PATH, help="Picture to draw (.png).")
@click.option("--hours", callback=_limit, default="1", show_default=True)
@click.option("--km", callback=_limit, default="300", show_default=True)
@click.option("--solar-longitude", callback=_limit, default="none", show_default=True)
@click.option("--local-time-hours", callback=_limit, default="none", show_default=True)
@click.option(
    "--altitude",
    default="0:120:5",
    show_default=True,
    metavar="FIRST:LAST:STEP",
    help="Bins, km.",
)
@click.option(
    "--no-kernels",
    is_flag=True,
    help="Do not see OTHER through the averaging kernels of LEVEL2.",
)
def compare(
    level2: str,
    other: str,
    quantity: str,
    out: str | None,
    picture: str | None,
    hours: float | None,
    km: float | None,
    solar_longitude: float | None,
    local_time_hours: float | None,
    altitude: str,
    no_kernels: bool,
) -> None:
    """Compare LEVEL2 with OTHER, where the two saw the same air.

    Each is a file or a folder; OTHER may be level 2 of another setup, HARP (.nc),
    ozone of UVIS (.h5), or nine columns of text. --hours, --km, --solar-longitude
    (degree) and --local-time-hours are what two profiles may be apart; "none": any.
    """
    from pathlib import Path

    from tgo_spectra.comparison import compare as differences
    from tgo_spectra.comparison import comparison_table
    from tgo_spectra.files.atomic import write_whole
    from tgo_spectra.files.netcdf import write_map
    from tgo_spectra.files.published import profiles_of_others
    from tgo_spectra.maps.grid import Grid

    if out is not None and Path(out).suffix not in _FORMS:
        message = f"--out ends with {' or '.join(_FORMS)}, not {out!r}"
        raise click.UsageError(message)
    cells = Grid.from_spec(f"altitude={altitude}").cells["altitude"]
    with naming(level2):
        found = differences(
            level2, profiles_of_others(other, quantity), quantity, hours=hours, km=km,
            solar_longitude=solar_longitude, local_time_hours=local_time_hours,
            altitude=[*cells[:, 0], cells[-1, 1]], kernels=not no_kernels,
        )  # fmt: skip
    _say_bins(found)
    if out is not None and out.endswith(".csv"):
        say(str(write_whole(out, comparison_table(found))))
    elif out is not None:
        about = {
            "title": "Profiles of Mars compared with those of others",
            "summary": "Differences of pairs of profiles, and their statistics",
            "cdm_data_type": "Profile",
        }
        say(str(write_map(found, out, attributes=about)))
    if picture is not None:
        from tgo_spectra.plots.comparison import plot_comparison
        from tgo_spectra.plots.style import new_figure, save_figure

        axes = new_figure("pair", shown=False).subplots(1, 2, sharey=True)
        say(str(save_figure(plot_comparison(found, axes)[0], picture)))


def _say_bins(found: xr.Dataset) -> None:
    """Print the mean difference and its errors in each bin, and what there was."""
    quantity, attrs = found.attrs["quantity"], found.attrs
    names = (
        "mean_difference",
        "mean_difference_error",
        "mean_systematic_error",
        "deviation",
        "expected_deviation",
    )
    units = found[f"{quantity}_mean_difference"].attrs.get("units", "1")
    say("km", "pairs", *(f"{name} ({units})" for name in names))
    for k in range(found.sizes["altitude"]):
        at = found.isel(altitude=k)
        if pairs := int(at[f"{quantity}_pairs"]):
            numbers = (f"{float(at[f'{quantity}_{name}']):.3g}" for name in names)
            say(f"{float(at['altitude']):g}", pairs, *numbers)
    left = attrs["n_profiles_left_out"] + attrs["n_profiles_of_other_left_out"]
    rest = f", {left} left out" if left else ""
    of = f"{attrs['n_profiles']} and {attrs['n_profiles_of_other']} profiles"
    say(f"{attrs['n_pairs']} pairs of {of}{rest}")
