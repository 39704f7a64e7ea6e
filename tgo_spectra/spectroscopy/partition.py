"""Partition sums, masses and terrestrial abundances of isotopologues."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import LineListError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.interpolate import CubicSpline

__all__ = [
    "isotopologue_abundance",
    "isotopologue_mass",
    "isotopologues_of",
    "molecule_formula",
    "molecules",
    "partition_sum",
]

_FIRST_SUM = 5  # column


@dataclass(frozen=True)
class _Table:
    temperature_k: NDArray[np.float64]
    name: dict[tuple[int, int], str]
    abundance: dict[tuple[int, int], float]
    mass: dict[tuple[int, int], float]
    sums: dict[tuple[int, int], NDArray[np.float64]]


@cache
def _table() -> _Table:
    text = files(__package__).joinpath("data/tips2021.csv").read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    table = _Table(np.array(rows[0][_FIRST_SUM:], float), {}, {}, {}, {})
    for row in rows[1:]:
        key = (int(row[0]), int(row[1]))
        table.name[key] = row[2]
        table.abundance[key] = float(row[3])
        table.mass[key] = float(row[4])
        table.sums[key] = np.array(row[_FIRST_SUM:], float)
    return table


@cache
def _known() -> tuple[dict[int, str], dict[int, tuple[int, ...]]]:
    """Return formula and isotopologues of each molecule of HITRAN, by number."""
    text = files(__package__).joinpath("data/molecules.csv").read_text(encoding="utf-8")
    lines = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    rows = [(int(number), formula, int(n)) for number, formula, n in lines[1:]]
    formulas = {number: formula for number, formula, _ in rows}
    return formulas, {number: tuple(range(1, n + 1)) for number, _, n in rows}


def _key(molecule: int, isotopologue: int) -> tuple[int, int]:
    key = (int(molecule), int(isotopologue))
    if key not in _table().mass:
        formulas = _known()[0]
        have = ", ".join(
            formulas[n] for n in dict.fromkeys(n for n, _ in _table().mass)
        )
        msg = (
            f"no partition sum and mass of {molecule_formula(key[0])}, isotopologue"
            f" {key[1]}, are in this package: its lines can be read, and not be turned"
            f" into cross sections; there are those of {have}"
        )
        raise LineListError(
            msg,
            field="isotopologue",
            value=key,
            rule="isotopologue.unknown",
        )
    return key


@cache
def _spline(key: tuple[int, int]) -> CubicSpline:
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.log(_table().temperature_k), np.log(_table().sums[key]))


def partition_sum(
    molecule: int, isotopologue: int, temperature_k: ArrayLike
) -> NDArray[np.float64]:
    """Total internal partition sum of an isotopologue (TIPS-2021).

    Parameters
    ----------
    molecule, isotopologue : int
        HITRAN numbers.
    temperature_k : array_like
        Temperatures, K, within 40 to 400.

    Returns
    -------
    ndarray
        Shape of `temperature_k`, dimensionless.

    Raises
    ------
    LineListError
        For an unknown isotopologue, or a temperature outside 40 to 400 K.

    References
    ----------
    Gamache et al. 2021, JQSRT 271, 107713.

    Examples
    --------
    >>> float(partition_sum(6, 1, 296.0))
    590.528
    """
    key = _key(molecule, isotopologue)
    kelvin = np.asarray(temperature_k, dtype=np.float64)
    grid = _table().temperature_k
    good = (kelvin >= grid[0]) & (kelvin <= grid[-1])
    if not np.all(good):
        msg = f"partition sums are tabulated from {grid[0]:g} to {grid[-1]:g} K only"
        raise LineListError(
            msg,
            field="temperature",
            value=float(kelvin[~good].flat[0]),
            rule="temperature.range",
        )
    return np.asarray(np.exp(_spline(key)(np.log(kelvin))), dtype=np.float64)


def isotopologue_mass(molecule: int, isotopologue: int) -> float:
    """Molar mass of an isotopologue, g/mol.

    Parameters
    ----------
    molecule, isotopologue : int
        HITRAN numbers.

    Returns
    -------
    float

    Raises
    ------
    LineListError
        For an unknown isotopologue.

    Examples
    --------
    >>> isotopologue_mass(6, 1)
    16.0313
    """
    return _table().mass[_key(molecule, isotopologue)]


def isotopologue_abundance(molecule: int, isotopologue: int) -> float:
    """Terrestrial abundance that HITRAN intensities contain.

    Parameters
    ----------
    molecule, isotopologue : int
        HITRAN numbers.

    Returns
    -------
    float
        Mole fraction among all isotopologues of the molecule.

    Raises
    ------
    LineListError
        For an unknown isotopologue.

    Examples
    --------
    >>> isotopologue_abundance(1, 4)
    0.0003106928
    """
    return _table().abundance[_key(molecule, isotopologue)]


def molecules() -> dict[int, tuple[int, ...]]:
    """Isotopologue numbers of each molecule of HITRAN, by its number.

    Returns
    -------
    dict of int to tuple of int

    Examples
    --------
    >>> molecules()[23]
    (1, 2, 3)
    """
    return dict(_known()[1])


def molecule_formula(molecule: int) -> str:
    """Give the formula of a HITRAN molecule, ``molecule N`` where there is none.

    Parameters
    ----------
    molecule : int
        HITRAN number.

    Returns
    -------
    str

    Examples
    --------
    >>> molecule_formula(23)
    'HCN'
    """
    return _known()[0].get(molecule, f"molecule {molecule}")


def isotopologues_of(molecule: int) -> tuple[int, ...]:
    """Isotopologue numbers of a HITRAN molecule, empty if there is no such molecule.

    Parameters
    ----------
    molecule : int
        HITRAN number.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> isotopologues_of(6)
    (1, 2, 3, 4)
    """
    return _known()[1].get(molecule, ())
