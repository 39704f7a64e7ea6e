"""Chosen lines of a list, and their positions, widths and intensities in a state.

For each line, with p in atm and T0 = 296 K (Rothman et al. 1998, JQSRT 60, 665):

* S(T) = S0 Q(T0)/Q(T) exp(-c2 E (1/T - 1/T0)) F(T)/F(T0), F(T) = 1 - exp(-c2 nu/T)
* Lorentz half-width = p sum_k x_k gamma_k (T0/T)^n_k over the broadeners of mole
  fractions x_k; shift = p sum_k x_k delta_k; Doppler half-width from nu, T, M.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tgo_spectra.errors import LineListError, MissingBroadeningError
from tgo_spectra.spectroscopy import gas_info
from tgo_spectra.spectroscopy.partition import (
    isotopologue_abundance,
    isotopologue_mass,
    partition_sum,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "CO2_OR_AIR",
    "UNKNOWN_ENERGY",
    "Broadening",
    "LineArrays",
    "default_broadening",
    "doppler_hwhm",
    "line_arrays",
    "line_parameters",
    "uncertainty_codes",
]

Broadening: TypeAlias = "str | tuple[str, float] | Mapping[str, float]"

# hc/k, cm K (CODATA 2018)
SECOND_RADIATION_CM_K = 1.438776877
# K, reference temperature of HITRAN
REFERENCE_K = 296.0
# Pa per atm, exact
PASCAL_PER_ATM = 101325.0
# cm-1, what HITRAN writes where it does not know the energy of a lower state
UNKNOWN_ENERGY = -1.0
# Mole fractions of a mixture must add up to 1 as well as this.
_FRACTIONS = 1e-6
# sqrt(2 ln2 R)/c with R = 8.314462618 J/(mol K), c = 299792458 m/s, M in g/mol
DOPPLER_FACTOR = math.sqrt(2.0 * math.log(2.0) * 8314.462618) / 299792458.0

CO2_OR_AIR = "co2 or air"
"""Broadening by CO2 where a line has it, else by air times a factor."""

_COLUMNS = {
    "co2": ("gamma_co2", "n_co2", "delta_co2"),
    "self": ("gamma_self", "n_air", "delta_air"),
    "air": ("gamma_air", "n_air", "delta_air"),
}


@dataclass(frozen=True)
class LineArrays:
    """Arrays of the chosen lines, ready for any state.

    Attributes
    ----------
    molecule : int
        HITRAN number.
    isotopologue : ndarray of int
        Per line.
    position, intensity, lower_state_energy : ndarray
        cm-1, cm-1/(molecule cm-2) at 296 K with all factors, cm-1.
    gamma, exponent : ndarray
        (broadener, line), cm-1/atm and 1; gamma times the broadener's mole fraction.
    shift : ndarray
        cm-1/atm, of the mixture.
    broadening : str
        The choice in words, with the number of lines where it differs between lines,
        for attributes.
    unknown_energy : int
        Lines left out since HITRAN does not know the energy of their lower state.
    """

    molecule: int
    isotopologue: NDArray[np.int64]
    position: Floats
    intensity: Floats
    lower_state_energy: Floats
    gamma: Floats
    exponent: Floats
    shift: Floats
    broadening: str
    unknown_energy: int = 0


def default_broadening(gas: str) -> Broadening:
    """Return what broadens the lines of a gas on Mars, as the gas table has it.

    Parameters
    ----------
    gas : str
        Key of the gas table.

    Returns
    -------
    broadening
        ``"self"`` for CO2; by CO2 line by line where the list has it and else by air
        times the documented factor; ``"co2"`` where there is none.

    Examples
    --------
    >>> default_broadening("co2"), default_broadening("h2o"), default_broadening("hcl")
    ('self', ('co2 or air', 1.7), 'co2')
    """
    info = gas_info(gas)
    if info.default_broadening == "self" or info.air_factor is None:
        return info.default_broadening
    return CO2_OR_AIR, info.air_factor


def doppler_hwhm(wavenumber_cm1: ArrayLike, temperature_k: ArrayLike, mass_g_mol: ArrayLike) -> Floats:  # noqa: E501  # fmt: skip
    """Doppler half-width at half maximum.

    Parameters
    ----------
    wavenumber_cm1, temperature_k, mass_g_mol : array_like
        cm-1, K, g/mol; broadcast together.

    Returns
    -------
    ndarray
        cm-1.

    Examples
    --------
    >>> round(float(doppler_hwhm(3000.0, 200.0, 16.0313)), 5)
    0.00379
    """
    ratio = np.sqrt(np.asarray(temperature_k, float) / np.asarray(mass_g_mol, float))
    return np.asarray(DOPPLER_FACTOR * np.asarray(wavenumber_cm1, float) * ratio)


def _broadening_columns(lines: xr.Dataset, broadening: Broadening) -> tuple[Floats, Floats, Floats, str]:  # noqa: E501  # fmt: skip
    """Width, exponent and shift columns, and the choice in words."""
    factor = 1.0
    name: object = broadening
    if isinstance(broadening, tuple | list) and len(broadening) == 2:
        name, factor = broadening[0], float(broadening[1])
    if name == CO2_OR_AIR and factor > 0.0:
        return _co2_or_air(lines, factor)
    if name not in _COLUMNS or not (factor == 1.0 or name == "air") or not factor > 0.0:
        msg = (
            "broadening must be 'co2', 'self', 'air', ('air', factor), "
            f"({CO2_OR_AIR!r}, factor) or a mapping of names to mole fractions"
        )
        raise LineListError(
            msg,
            field="broadening",
            value=broadening,
            rule="broadening.unknown",
        )
    width, exponent, shift = _COLUMNS[str(name)]
    if name == "co2":
        absent = [key for key in (width, exponent) if key not in lines]
        gaps = 0 if absent else int(np.isnan(lines[width] + lines[exponent]).sum())
        if absent or gaps:
            what = f"{', '.join(absent)} absent" if absent else f"NaN in {gaps} lines"
            msg = (
                f"no broadening by CO2 in the line list ({what}); merge a file with"
                " read_line_list(..., extra=...), or choose broadening='self', 'air'"
                " or ('air', factor)"
            )
            raise MissingBroadeningError(
                msg,
                path=lines.attrs.get("source_file"),
                field="gamma_co2",
                rule="broadening.missing",
            )
        if shift in lines and not np.isnan(lines[shift]).any():
            label = "co2: gamma_co2, n_co2, delta_co2"
            deltas = lines[shift].values
        else:
            label = "co2: gamma_co2, n_co2; delta_co2 where known, else delta_air"
            deltas = lines["delta_air"].values
            if shift in lines:
                deltas = np.where(np.isnan(lines[shift]), deltas, lines[shift])
    else:
        label = f"{name}: {width}, {exponent}, {shift}"
        deltas = lines[shift].values
    if factor != 1.0:
        label = f"air: gamma_air times {factor:g}, n_air, delta_air"
    return lines[width].values * factor, lines[exponent].values, deltas, label


def _co2_or_air(lines: xr.Dataset, factor: float) -> tuple[Floats, Floats, Floats, str]:
    """Widths by CO2 line by line where the list has them, else by air with a factor."""
    gamma, exponent, shift, air = _broadening_columns(lines, ("air", factor))
    known = np.zeros(gamma.size, bool)
    if all(name in lines for name in _COLUMNS["co2"][:2]):
        known = ~np.isnan(lines["gamma_co2"].values + lines["n_co2"].values)
    if not known.any():
        return gamma, exponent, shift, air
    some = lines.isel(line=np.flatnonzero(known))
    gamma, exponent, shift = gamma.copy(), exponent.copy(), shift.copy()
    gamma[known], exponent[known], shift[known], co2 = _broadening_columns(some, "co2")
    if known.all():
        return gamma, exponent, shift, co2
    counts = int(known.sum()), int((~known).sum())
    label = f"{co2} ({counts[0]} lines); {air} ({counts[1]} lines)"
    return gamma, exponent, shift, label


def _mixture(lines: xr.Dataset, broadening: Broadening) -> tuple[Floats, Floats, Floats, str]:  # noqa: E501  # fmt: skip
    """Widths and exponents (broadener, line), shifts (line,), the choice in words."""
    if not isinstance(broadening, Mapping):
        gamma, exponent, shift, label = _broadening_columns(lines, broadening)
        return gamma[None], exponent[None], shift, label
    fractions = {str(name): float(x) for name, x in broadening.items()}
    total = sum(fractions.values())
    positive = all(x > 0.0 for x in fractions.values())
    if not (positive and abs(total - 1.0) <= _FRACTIONS):
        msg = f"mole fractions of broadeners must be positive with sum 1, not {total:g}"
        raise LineListError(
            msg,
            field="broadening",
            value=fractions,
            rule="broadening.fractions",
        )
    parts = [_broadening_columns(lines, name) for name in fractions]
    x = np.array(list(fractions.values()))[:, None]
    gamma = x * np.stack([part[0] for part in parts])
    shift = (x * np.stack([part[2] for part in parts])).sum(axis=0)
    words = [f"{f:g} {part[3]}" for f, part in zip(fractions.values(), parts, strict=True)]  # noqa: E501  # fmt: skip
    return gamma, np.stack([part[1] for part in parts]), shift, " + ".join(words)


def line_arrays(
    lines: xr.Dataset,
    low_cm1: float,
    high_cm1: float,
    broadening: Broadening = "co2",
    isotopologues: Sequence[int] | None = None,
    isotopologue_factor: Mapping[int, float] | None = None,
    wing: float = 25.0,
    gas: str | None = None,
) -> LineArrays:
    """Choose lines and broadening.

    Parameters
    ----------
    lines : xarray.Dataset
        From `read_line_list`.
    low_cm1, high_cm1 : float
        Window, cm-1.
    broadening, isotopologues, isotopologue_factor, wing, gas
        As in `absorption_cross_section`.

    Returns
    -------
    LineArrays

    Raises
    ------
    LineListError
        If no line is left, or the choices do not fit the list.
    MissingBroadeningError
        If CO2 broadening is wanted and missing.

    Examples
    --------
    >>> line_arrays(lines, 2880.0, 3220.0, ("air", 1.3))  # doctest: +SKIP
    """
    factors = dict(isotopologue_factor or {})
    if gas is not None:
        isotopologues, factors = _gas_choice(lines, gas, isotopologues, factors)
    if not wing >= 0.0:
        msg = "must not be negative"
        raise LineListError(msg, field="wing", value=wing)
    wavenumber = lines["wavenumber"].values
    iso = lines["isotopologue"].values
    keep = (wavenumber >= low_cm1 - wing) & (wavenumber <= high_cm1 + wing)
    if isotopologues is not None:
        keep &= np.isin(iso, list(isotopologues))
    # without the energy the intensity is known at 296 K only
    unknown = keep & (lines["lower_state_energy"].values == UNKNOWN_ENERGY)
    keep &= ~unknown
    if not keep.any():
        msg = (
            f"no line of isotopologues {isotopologues or 'all'} within {wing:g} cm-1 of"
            f" {low_cm1:g} to {high_cm1:g} cm-1"
        )
        if unknown.any():
            msg += f" but {int(unknown.sum())} of unknown lower state energy"
        raise LineListError(
            msg,
            path=lines.attrs.get("source_file"),
            field="wavenumber",
            rule="line_list.no_lines",
        )
    chosen = lines.isel(line=np.flatnonzero(keep))
    gamma, exponent, shift, label = _mixture(chosen, broadening)
    scale = np.ones(int(keep.sum()))
    numbers = chosen["isotopologue"].values.astype(np.int64)
    for key, factor in factors.items():
        if not (math.isfinite(factor) and factor >= 0.0):
            msg = "factors must be finite and not negative"
            raise LineListError(
                msg,
                field="isotopologue_factor",
                value={key: factor},
            )
        scale[numbers == key] = factor
    return LineArrays(
        molecule=int(chosen["molecule"].values[0]),
        isotopologue=numbers,
        position=chosen["wavenumber"].values.astype(np.float64),
        intensity=chosen["intensity"].values * scale,
        lower_state_energy=chosen["lower_state_energy"].values.astype(np.float64),
        gamma=np.asarray(gamma, float),
        exponent=np.asarray(exponent, float),
        shift=np.asarray(shift, float),
        broadening=label,
        unknown_energy=int(unknown.sum()),
    )


def _gas_choice(
    lines: xr.Dataset,
    gas: str,
    isotopologues: Sequence[int] | None,
    factors: dict[int, float],
) -> tuple[Sequence[int] | None, dict[int, float]]:
    """Isotopologues and factors of a gas of the gas table."""
    info = gas_info(gas)
    molecule = int(lines["molecule"].values[0]) if lines.sizes.get("line") else -1
    if molecule != info.molecule:
        msg = f"{gas} is HITRAN molecule {info.molecule}, the list holds {molecule}"
        raise LineListError(
            msg,
            path=lines.attrs.get("source_file"),
            field="molecule",
            value=molecule,
            rule="line_list.molecule",
        )
    if isotopologues is None and info.isotopologues:
        isotopologues = info.isotopologues
    if info.own_abundance:
        total = sum(isotopologue_abundance(molecule, i) for i in isotopologues or ())
        for i in isotopologues or ():
            factors[i] = factors.get(i, 1.0) / total
    return isotopologues, factors


def uncertainty_codes(lines: xr.Dataset, name: str) -> str:
    """Say what uncertainty codes of HITRAN the lines have, by share of intensity.

    Parameters
    ----------
    lines : xarray.Dataset
        From `read_line_list`.
    name : str
        Parameter, such as ``intensity`` or ``gamma_air``.

    Returns
    -------
    str
        Such as ``4: 61 %, 5: 39 %``: code (of intensities 4 = 10 to 20 %, 5 = 5 to 10
        %, 6 = 2 to 5 %, 7 = 1 to 2 %, 8 = below 1 %) and share of the summed intensity.
        ``not stated`` for a list without codes.

    References
    ----------
    Rothman et al. 2005, JQSRT 96, 139, table 5.

    Examples
    --------
    >>> import xarray as xr
    >>> lines = xr.Dataset({"intensity": ("line", [3.0, 1.0]),
    ...     "intensity_code": ("line", [4, 6])})
    >>> uncertainty_codes(lines, "intensity")
    '4: 75 %, 6: 25 %'
    """
    if f"{name}_code" not in lines:
        return "not stated"
    share = np.bincount(lines[f"{name}_code"].values, weights=lines["intensity"].values)
    share = 100.0 * share / share.sum()
    return ", ".join(f"{code}: {part:.0f} %" for code, part in enumerate(share) if part >= 0.5)  # noqa: E501  # fmt: skip


def line_parameters(
    lines: LineArrays, pressure_pa: float, temperature_k: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Position, Doppler width, Lorentz width and intensity in one state.

    Parameters
    ----------
    lines : LineArrays
        From `line_arrays`.
    pressure_pa, temperature_k : float
        State.

    Returns
    -------
    tuple of ndarray
        cm-1, half-widths in cm-1, and cm-1/(molecule cm-2), each per line.

    Raises
    ------
    LineListError
        For a state that is not physical, or a temperature outside 40 to 400 K.

    Examples
    --------
    >>> line_parameters(arrays, 100.0, 180.0)  # doctest: +SKIP
    """
    if not (math.isfinite(pressure_pa) and pressure_pa >= 0.0):
        msg = "must be finite and not negative"
        raise LineListError(msg, field="pressure", value=pressure_pa)
    atm = pressure_pa / PASCAL_PER_ATM
    ratio = np.zeros(lines.position.size)
    mass = np.zeros(lines.position.size)
    for iso in np.unique(lines.isotopologue):
        sums = partition_sum(lines.molecule, int(iso), [REFERENCE_K, temperature_k])
        here = lines.isotopologue == iso
        ratio[here] = sums[0] / sums[1]
        mass[here] = isotopologue_mass(lines.molecule, int(iso))
    c2 = SECOND_RADIATION_CM_K
    colder = c2 * (1.0 / temperature_k - 1.0 / REFERENCE_K)
    boltzmann = np.exp(-colder * lines.lower_state_energy)
    stimulated = np.expm1(-c2 / temperature_k * lines.position)
    stimulated /= np.expm1(-c2 / REFERENCE_K * lines.position)
    intensity = lines.intensity * ratio * boltzmann * stimulated
    warmth = math.log(REFERENCE_K / temperature_k)
    lorentz = atm * (lines.gamma * np.exp(warmth * lines.exponent)).sum(axis=0)
    doppler = doppler_hwhm(lines.position, temperature_k, mass)
    return lines.position + atm * lines.shift, doppler, lorentz, intensity
