"""The absorption table that a setup needs: what it must hold, where it is, its making.

A table with a name is shared by all shipped setups that name it, so that it is made for
all of them; one that a setup names by its path is made there, for that setup.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import LineListError, MissingBroadeningError, SetupError
from tgo_spectra.instruments import lno, so
from tgo_spectra.retrieval.choice import CHANNELS
from tgo_spectra.retrieval.setup import TableSetup
from tgo_spectra.retrieval.setups import shipped
from tgo_spectra.spectroscopy import gas_info, gas_names
from tgo_spectra.spectroscopy.lineparameters import (
    UNKNOWN_ENERGY,
    default_broadening,
    doppler_hwhm,
)
from tgo_spectra.spectroscopy.tables.files import prepared_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tgo_spectra.retrieval.setup import Setup
    from tgo_spectra.spectroscopy.collecting import GasLines
    from tgo_spectra.spectroscopy.lineparameters import Broadening

__all__ = ["TableNeed", "fetched", "lines_for", "prepare_table", "table_need"]

WING_CM1 = 25
"""Lines are taken this far outside the window."""
MARGIN_CM1 = 2.0
"""For the line shape of the instrument; 1.5 are left where a window is rounded."""
PIXELS = (-6, 325)
"""The detector, with the shift of its wavenumbers that a fit searches."""
CELSIUS = (20.0, -25.0)
"""Temperatures of the instrument at which an order begins lowest and ends highest."""
COLDEST_K = 110.0
"""Of the air, for the fine step."""
STEP_HWHM = 0.8
"""Fine step of a table over the Doppler half width of its heaviest gas."""
STEP_DIGITS = 4
"""Of a fine step in cm-1, decimal."""


@dataclass(frozen=True)
class TableNeed:
    """What a table must hold.

    Attributes
    ----------
    table : str
        Its name or path, as setups name it.
    setups : tuple of str
        Setups that it is made for.
    window : tuple of float
        cm-1, nearest whole numbers: all orders with their neighbours.
    gases : dict of str to broadening
        As `build_table` takes them.
    step : float
        Fine step, cm-1.
    """

    table: str
    setups: tuple[str, ...]
    window: tuple[float, float]
    gases: dict[str, Broadening]
    step: float

    @property
    def lines_range(self) -> tuple[float, float]:
        """Range from which lines are needed, cm-1."""
        return self.window[0] - WING_CM1, self.window[1] + WING_CM1


def table_need(setup: Setup) -> TableNeed:
    """Find out what the table of a setup must hold.

    Parameters
    ----------
    setup : Setup
        Of SO or LNO.

    Returns
    -------
    TableNeed
        For a table with a name: what all shipped setups with that name need, too.

    Raises
    ------
    SetupError
        ``setup.no_table``: this kind of setup has no table, or one whose window its
        product tells. ``setup.table_shared``: an isotopologue is a gas of its own in
        one setup, and not in another with the same table.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> need = table_need(load_setup("so_co2_temperature_low"))
    >>> need.table, need.window
    ('so_148_149_co2', (3097.0, 3605.0))
    """
    if not isinstance(setup, TableSetup) or setup.channel not in CHANNELS:
        message = (
            f"the setup {setup.name!r} is for the channel {setup.channel!r}, for which "
            "no table can be prepared: see 'tgo-spectra tables build'"
        )
        raise SetupError(
            message, field="channel", value=setup.channel, rule="setup.no_table"
        )
    sharing = [
        other
        for _, other in shipped()
        if isinstance(other, TableSetup)
        and other.table == setup.table
        and setup.table.isidentifier()
    ]
    if setup not in sharing:
        sharing.append(setup)
    windows = [_window(one) for one in sharing]
    low = round(min(window[0] for window in windows))
    high = round(max(window[1] for window in windows))
    wanted = {gas for one in sharing for gas in one.gases}
    for one in sharing:
        split = [g for g in sorted(wanted - {*one.gases}) if gas_info(g).parent in one.gases]  # noqa: E501  # fmt: skip
        if split:
            message = (
                f"{', '.join(split)} would be missing from {gas_info(split[0]).parent} "
                f"in the setup {one.name!r}, which has the table {setup.table!r} too: "
                "name a table of its own in the setup that fits it, such as 'own.nc'"
            )
            raise SetupError(
                message, field="table", value=setup.table, rule="setup.table_shared"
            )
    gases = [gas for gas in gas_names() if gas in wanted]
    heaviest = max(gas_info(gas).mass for gas in gases)
    width = float(doppler_hwhm(0.5 * (low + high), COLDEST_K, heaviest))
    return TableNeed(
        table=setup.table,
        setups=tuple(one.name for one in sharing),
        window=(float(low), float(high)),
        gases={gas: default_broadening(gas) for gas in gases},
        step=min(round(STEP_HWHM * width, STEP_DIGITS), 0.002),
    )


def _window(setup: TableSetup) -> tuple[float, float]:
    """Wavenumbers of all orders of a setup and their neighbours, cm-1."""
    n = setup.instrument.n_orders  # type: ignore[attr-defined]
    ends = []
    for order in (min(setup.orders) - n, max(setup.orders) + n):
        pair = []
        for pixel, celsius in zip(PIXELS, CELSIUS, strict=True):
            if setup.channel == "so":
                at = so.pixel_wavenumber(order, [pixel], celsius, "archive")
            else:
                at = lno.pixel_wavenumber(order, [pixel], celsius)
            pair.append(float(np.asarray(at)[0]))
        ends.append(pair)
    return min(ends[0]) - MARGIN_CM1, max(ends[1]) + MARGIN_CM1


def fetched(need: TableNeed, report: Callable[[str], None]) -> list[Path]:
    """Get the lists of a table from HITRANonline, or from the cache of former ones.

    Parameters
    ----------
    need : TableNeed
    report : callable
        Takes a line for each gas.

    Returns
    -------
    list of Path

    Raises
    ------
    LineListError
        As `fetch_lines`.
    """
    from tgo_spectra.spectroscopy.fetch import fetch_lines

    paths = []
    for gas in need.gases:
        low, high = need.lines_range
        report(f"{gas}: lines of {low:g}-{high:g} cm-1 from HITRANonline or the cache")
        paths.append(fetch_lines(gas, low, high))
    return paths


def lines_for(
    need: TableNeed,
    paths: Iterable[Path],
    report: Callable[[str], None],
    *,
    incomplete: bool = False,
) -> dict[str, GasLines]:
    """Collect the lines of a table from files, and judge them by the ledger.

    Parameters
    ----------
    need : TableNeed
    paths : iterable of Path
        Files of any kind.
    report : callable
        Takes lines that say what is used, what is left out and why.
    incomplete : bool
        Take what there is; what is missing goes into the attributes of the table.

    Returns
    -------
    dict of str to GasLines
        By gas.

    Raises
    ------
    LineListError
        ``lists.incomplete``: lines are missing; the message names them all, and the
        files that were left out.
    """
    from tgo_spectra.spectroscopy.collecting import collect

    found, notes = collect(paths, list(need.gases), *need.lines_range)
    for note in notes:
        report(f"left aside: {note}")
    for gas, one in found.items():
        for note in one.aside:
            report(f"left aside: {gas}: {note}")
        for part in one.record:
            if part.taken:
                report(f"{gas}: {part.in_words()}")
        if one.lines is not None:
            energy = one.lines["lower_state_energy"].values
            unknown = int(np.count_nonzero(energy == UNKNOWN_ENERGY))
            if unknown:
                report(f"{gas}: {unknown} lines of unknown lower energy are left out")
        if one.unjudged:
            report(one.unjudged)
    missing = [text for one in found.values() for text in one.missing]
    absent = [gas for gas, one in found.items() if one.lines is None]
    if missing and (absent or not incomplete):
        message = (
            f"lines are missing for {need.table!r}: {'; '.join([*missing, *notes])}"
        )
        raise LineListError(
            message,
            field="lines",
            value=absent or [gas for gas, one in found.items() if one.missing],
            rule="lists.incomplete",
        )
    for text in missing:
        report(f"missing and left out: {text}")
    return found


def prepare_table(
    need: TableNeed,
    paths: Sequence[Path],
    report: Callable[[str], None],
    *,
    incomplete: bool = False,
    workers: int = 2,
    memory_gb: float = 2.0,
) -> Path:
    """Make the table that a setup needs from lists, and keep it where it is looked for.

    Parameters
    ----------
    need : TableNeed
    paths : sequence of Path
        Files of any kind, the lists among them.
    report : callable
        Takes lines that say how far it is.
    incomplete : bool
        As `lines_for` takes it.
    workers : int
        Tasks at a time; no number of them changes the table.
    memory_gb : float
        Memory the build may take, GB.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    LineListError
        As `lines_for`; ``broadening.missing``: a gas that has no factor for air needs
        widths in CO2, which its list has not.
    TableError
        As `build_table`.
    """
    from tgo_spectra.spectroscopy.tables.cache import TableSettings, cached_table
    from tgo_spectra.spectroscopy.tables.files import open_table, write_table

    found = lines_for(need, paths, report, incomplete=incomplete)
    inputs = {}
    for gas, one in found.items():
        if one.lines is not None:
            notes = "; ".join([*one.missing, *filter(None, [one.unjudged])])
            lines = one.lines.assign_attrs(completeness=notes or "judged complete")
            inputs[gas] = lines, need.gases[gas]
    low, high = need.window
    gases = ", ".join(need.gases)
    report(f"{need.table}: {low:g}-{high:g} cm-1, step {need.step:g} cm-1, {gases}")
    named = need.table.isidentifier()
    try:
        made = cached_table(
            inputs,
            need.window,
            band=need.table if named else Path(need.table).stem,
            settings=TableSettings(step=need.step),
            workers=workers,
            memory_gb=memory_gb,
            report=report,
        )
    except MissingBroadeningError as error:
        raise MissingBroadeningError(
            _widths_wanted(need),
            path=error.path,
            field=error.field,
            rule="broadening.missing",
        ) from error
    target = prepared_path(need.table) if named else Path(need.table)
    return write_table(open_table(made), target)


def _widths_wanted(need: TableNeed) -> str:
    """Say what to do about lines without widths in CO2."""
    gases = [gas for gas, broadening in need.gases.items() if broadening == "co2"]
    lists = " ".join(
        f"--lines {gas}=FILE" + (":'air*FACTOR'" if gas in gases else "")
        for gas in need.gases
    )
    low, high = need.window
    return (
        f"{', '.join(gases)}: lines without widths in CO2 (gamma_co2, n_co2), and no "
        "factor for those in air is established: put HITRAN's widths by CO2 for the "
        "same lines into the folder (planetary broadeners; --fetch asks for them), or "
        f"choose a factor yourself: 'tgo-spectra tables build {lists} --range {low:g} "
        f'{high:g} --step {need.step:g} --out own.nc\', with table = "own.nc" in a '
        "setup of your own"
    )
