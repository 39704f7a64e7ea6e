"""Line lists, line shapes, absorption cross sections and absorption tables.

Only the table of gases is loaded here; everything else sits in its own module.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tgo_spectra.errors import LineListError

__all__ = ["GasInfo", "ObservedWindow", "gas_info", "gas_names"]


@dataclass(frozen=True)
class ObservedWindow:
    """A window in which TGO observes a gas.

    Attributes
    ----------
    low, high : float
        cm-1, vacuum.
    channel : str
        ``so``, ``lno`` or ``uvis`` of NOMAD, ``nir`` or ``mir`` of ACS.
    orders : tuple of int
        Diffraction orders used; empty where the source tells the range only.
    status : str
        ``read`` in a public source, or ``to be verified``.
    reference : str
        Where it comes from.
    """

    low: float
    high: float
    channel: str
    orders: tuple[int, ...]
    status: str
    reference: str


@dataclass(frozen=True)
class GasInfo:
    """One gas of ``gases.toml``.

    Attributes
    ----------
    key : str
        Name used in variable names, such as ``ch4``.
    name : str
        Name in words.
    molecule : int
        HITRAN molecule number.
    isotopologues : tuple of int
        HITRAN isotopologue numbers of the gas; empty means all.
    mass : float
        Molar mass of the most abundant isotopologue, g/mol.
    own_abundance : bool
        True when amounts of the gas count only these isotopologues (HDO), so that
        HITRAN intensities are divided by the terrestrial abundance.
    cf_species : str
        Species in CF standard names, empty if there is none.
    default_broadening : str
        ``co2`` or ``self``.
    air_factor, air_factor_uncertainty : float or None
        Documented ratio of CO2 to air broadening, and its relative uncertainty.
        Never used unless asked for.
    air_factor_source : str
        Where the ratio comes from.
    parent : str
        Gas of which it is an isotopologue, empty for a gas of its own. Where both are
        in one table, the parent's lines are those of its other isotopologues.
    references : tuple of str
        Of the lines, and of observations by TGO.
    windows : tuple of ObservedWindow
        Where TGO observes the gas, empty if no source was read.
    """

    key: str
    name: str
    molecule: int
    isotopologues: tuple[int, ...]
    mass: float
    own_abundance: bool
    cf_species: str
    default_broadening: str
    air_factor: float | None = None
    air_factor_uncertainty: float | None = None
    air_factor_source: str = ""
    parent: str = ""
    references: tuple[str, ...] = ()
    windows: tuple[ObservedWindow, ...] = ()


@cache
def _gases() -> dict[str, GasInfo]:
    text = files(__package__).joinpath("gases.toml").read_text(encoding="utf-8")
    gases = {}
    for key, row in tomllib.loads(text).items():
        windows = tuple(
            ObservedWindow(**{**window, "orders": tuple(window["orders"])})
            for window in row.pop("windows")
        )
        for name in ("isotopologues", "references"):
            row[name] = tuple(row[name])
        gases[key] = GasInfo(key=key, windows=windows, **row)
    return gases


def gas_names() -> tuple[str, ...]:
    """Return the names of all known gases.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> gas_names()[:3]
    ('ch4', 'h2o', 'hdo')
    """
    return tuple(_gases())


def gas_info(gas: str) -> GasInfo:
    """Return what is known about a gas.

    Parameters
    ----------
    gas : str
        Name such as ``ch4``; see `gas_names`.

    Returns
    -------
    GasInfo

    Raises
    ------
    LineListError
        If the gas is unknown.

    Examples
    --------
    >>> gas_info("hdo").isotopologues
    (4, 5, 6)
    """
    try:
        return _gases()[gas]
    except KeyError:
        msg = f"unknown gas; known are {', '.join(_gases())}"
        raise LineListError(
            msg,
            field="gas",
            value=gas,
            rule="gas.unknown",
        ) from None
