"""Tables that shipped setups name but whose lines cannot be shipped: how to build them.

Complete lists of these gases were not at hand when the package was made. The user
fetches them from HITRAN and builds the table once; it is then found by its name in the
user's cache.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tgo_spectra.paths import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["USER_TABLES", "UserTable", "build_commands", "user_table_path"]

WING = 25  # cm-1 outside the window from which lines are taken


@dataclass(frozen=True)
class UserTable:
    """What a table must hold.

    Attributes
    ----------
    window : tuple of int
        cm-1; ten neighbours on either side of the orders at -25 to 20 degC, with 1 cm-1
        for the line shape of the instrument and 6 pixels of shift.
    orders : tuple of int
        Orders of SO it is for.
    gases : dict of str to str
        Broadening of each gas, as ``tgo-spectra tables build`` takes it.
    step : float
        Fine step, cm-1, at most 0.8 of the Doppler half width of the heaviest gas near
        110 K.
    """

    window: tuple[int, int]
    orders: tuple[int, ...]
    gases: dict[str, str]
    step: float


USER_TABLES: dict[str, UserTable] = {
    # HITRAN gives HCl widths in CO2 (Wilzewski et al. 2016, JQSRT 168, 193)
    "so_126_130_hcl": UserTable(
        (2602, 3175),
        (126, 127, 129, 130),
        {"hcl": "co2", "h2o": "air*1.7", "hdo": "air*1.7"},
        0.0014,
    ),
    "so_119_124_hdo": UserTable(
        (2445, 3040),
        (119, 121, 124),
        {"hdo": "air*1.7", "h2o": "air*1.7", "co2": "self"},
        0.0012,
    ),
    "so_148_149_co2": UserTable(
        (3097, 3605), (148, 149), {"co2": "self", "h2o": "air*1.7"}, 0.0014
    ),
    "so_164_165_co2": UserTable(
        (3457, 3967), (164, 165), {"co2": "self", "h2o": "air*1.7"}, 0.0014
    ),
}


def user_table_path(name: str) -> Path:
    """Return where a table of the user is looked for.

    Parameters
    ----------
    name : str
        Key of `USER_TABLES`.

    Returns
    -------
    pathlib.Path
        In the user's cache; it need not exist.

    Examples
    --------
    >>> user_table_path("so_126_130_hcl").name
    'so_126_130_hcl.nc'
    """
    return cache_folder("tables") / f"{name}.nc"


def build_commands(name: str) -> list[str]:
    """Return the commands that fetch the lines of a table and build it.

    Parameters
    ----------
    name : str
        Key of `USER_TABLES`.

    Returns
    -------
    list of str
        One ``lines fetch`` for each gas, then ``tables build``.

    Examples
    --------
    >>> build_commands("so_126_130_hcl")[0]
    'tgo-spectra lines fetch hcl --range 2577 3200 --out lines'
    >>> build_commands("so_126_130_hcl")[-1].split()[:5]
    ['tgo-spectra', 'tables', 'build', '--band', 'so_126_130_hcl']
    """
    table = USER_TABLES[name]
    low, high = table.window
    first, last = low - WING, high + WING
    commands = [
        f"tgo-spectra lines fetch {gas} --range {first} {last} --out lines"
        for gas in table.gases
    ]
    words = ["tgo-spectra", "tables", "build", "--band", name,
             "--range", str(low), str(high), "--step", str(table.step)]  # fmt: skip
    for gas, broadening in table.gases.items():
        words += ["--lines", f"{gas}=lines/{gas}_{first}-{last}.data:{broadening}"]
    words += ["--out", str(user_table_path(name))]
    return [*commands, shlex.join(words)]
