"""Generated lines of bands whose true lists are not at hand: for tests only.

Positions follow a rigid rotor (with centrifugal distortion for linear molecules),
intensities the line strengths of that rotor times nuclear spin, Boltzmann factor and
stimulated emission, scaled to a band strength. Good enough to ask what a retrieval
does with such a band; not good enough to analyse a spectrum. All attributes say
"synthetic".

Marks of the numbers: [C] read in the named source, [I] derived, [V] recalled and to be
verified. Nothing was fitted to measured lines.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.spectroscopy.partition import isotopologue_abundance, partition_sum

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Asymmetric",
    "Linear",
    "asymmetric_band",
    "co2_combination",
    "co2_dipole",
    "h2o_2nu2",
    "hapi_list",
    "hcl_fundamental",
    "hdo_nu1",
    "linear_band",
    "o3_3nu3",
    "par_text",
]

C2 = 1.438776877  # hc/k, cm K (CODATA 2018) [C]
LIGHT_CM_S = 2.99792458e10  # exact
T0 = 296.0  # K, of HITRAN intensities


@dataclass(frozen=True)
class Widths:
    """Broadening at 296 K: half-widths in cm-1/atm falling with J, exponent, shift."""

    air: float
    self_: float
    co2: float
    exponent: float = 0.65
    shift: float = -0.003
    fall: float = 0.02
    """Relative fall of the widths per unit of the lower J, down to half."""


@dataclass(frozen=True)
class Linear:
    """A band of a linear molecule: E = B x - D x^2, x = J(J+1).

    `kind` "parallel" has P and R branches, "perpendicular" (lower K = 0) Q as well.
    """

    molecule: int
    isotopologue: int
    origin: float
    lower: tuple[float, float]
    upper: tuple[float, float]
    strength: float
    """cm per molecule of this isotopologue at 296 K."""
    kind: str
    even_only: bool
    spin_weight: float
    widths: Widths
    highest_j: int


@dataclass(frozen=True)
class Asymmetric:
    """A band of a rigid asymmetric rotor; constants A, B, C in cm-1."""

    molecule: int
    isotopologue: int
    origin: float
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    strength: float
    dipole: tuple[float, float]
    """Shares of the a and b components of the transition moment, squared; sum 1."""
    even_only: bool
    """Only lower levels of even Ka + Kc exist (two equal nuclei of spin 0)."""
    spin_weight: float
    widths: Widths
    highest_j: int
    weakest: float = 1e-4
    """Lines weaker than this part of the strongest are left out."""


# nu2+nu3 (01111-00001) of 16O12C16O, magnetic dipole: branches P, Q and R, even J [C:
# abstract of Trokhimovskiy et al. 2020, A&A 639, A142]; ACS saw them in its orders
# 178-180, 2985-3025 cm-1 [I], which fits the origin [V]. B and D of the ground state
# and B of the upper one [V]. With this strength the deepest of the periodic lines is
# 1.6 % [C] deep for a column of 4.2e24 cm-2 (10 km) at 195 K and a line shape of 0.11
# cm-1 FWHM (ACS MIR), and 0.93 % for one of 0.19 cm-1 (NOMAD SO) [I].
CO2_DIPOLE = Linear(
    molecule=2, isotopologue=1, origin=3004.012, lower=(0.390219, 1.333e-7),
    upper=(0.387780, 1.34e-7), strength=1.9e-26, kind="perpendicular", even_only=True,
    spin_weight=1.0, widths=Widths(0.072, 0.090, 0.090, 0.70, -0.003, 0.012),
    highest_j=60,
)  # fmt: skip

# 003-000 of ozone: origin and strength [V]; ground constants A, B, C [V], the upper
# ones less three quanta of a guessed change [V]. A-type: the dipole lies along a.
O3_3NU3 = Asymmetric(
    molecule=3, isotopologue=1, origin=3046.09, lower=(3.5537, 0.4453, 0.3948),
    upper=(3.3960, 0.4355, 0.3845), strength=1.4e-19, dipole=(1.0, 0.0), even_only=True,
    spin_weight=1.0, widths=Widths(0.075, 0.100, 0.100, 0.74, -0.002, 0.006),
    highest_j=36,
)  # fmt: skip

# nu1 (OD stretch) of HDO: origin [V]; ground constants [V], upper ones guessed [V];
# hybrid of a- and b-type, shares guessed [V]. Strength: order of magnitude of the one
# per cent sample of HITRAN's HDO lines at 2550-2900 cm-1, over the abundance [I].
HDO_NU1 = Asymmetric(
    molecule=1, isotopologue=4, origin=2723.68, lower=(23.41, 9.10, 6.41),
    upper=(23.05, 8.93, 6.31), strength=1.6e-18, dipole=(0.7, 0.3), even_only=False,
    spin_weight=6.0, widths=Widths(0.085, 0.40, 0.140, 0.65, -0.004, 0.025),
    highest_j=15, weakest=1e-3,
)  # fmt: skip

# 2 nu2 of water: origin, strength and ground constants [V], upper ones guessed [V]. The
# dipole lies along b. The 3:1 of its nuclear spins is left out.
H2O_2NU2 = Asymmetric(
    molecule=1, isotopologue=1, origin=3151.63, lower=(27.88, 14.52, 9.28),
    upper=(35.59, 15.0, 8.97), strength=7.5e-20, dipole=(0.0, 1.0), even_only=False,
    spin_weight=1.0, widths=Widths(0.085, 0.40, 0.140, 0.65, -0.004, 0.025),
    highest_j=15, weakest=1e-7,
)  # fmt: skip

# Dunham constants of H35Cl, cm-1: omega_e and its anharmonic terms; B_e, alpha_e,
# gamma_e; D_e, beta_e (Huber and Herzberg 1979, as recalled [V]).
HCL_VIBRATION = (2990.9463, -52.8186, 0.22437, -0.01218)
HCL_ROTATION = (10.59341, -0.30718, 0.00177)
HCL_DISTORTION = (5.3194e-4, -7.5e-6)
# reduced-mass ratio of H35Cl and H37Cl from the atomic masses 1.007825, 34.968853 and
# 36.965903 u [V]
HCL_MASSES = {1: 1.0, 2: 0.998487}
HCL_STRENGTH = 5.3e-18  # cm per molecule, 1-0 at 296 K [V]
HCL_WIDTHS = Widths(0.080, 0.200, 0.110, 0.65, -0.004, 0.03)


# CO2 between 3200 and 3750 cm-1: isotopologue, origin, vibrational energy of the lower
# state, B of the lower and the upper state, strength per molecule of the isotopologue.
# Origins and strengths of the first two and of their hot bands are of the right order
# [V]; those of the bands near 3340 cm-1 are guesses [V]. Hot bands are parallel here
# and have all J (no l-doubling, no Q branch).
CO2_COMBINATION = (
    (1, 3612.84, 0.0, 0.39022, 0.38706, 1.05e-18, True),  # 10012-00001
    (1, 3714.78, 0.0, 0.39022, 0.38714, 1.60e-18, True),  # 10011-00001
    (1, 3580.33, 667.38, 0.39064, 0.38751, 8.0e-20, False),  # 11112-01101
    (1, 3723.25, 667.38, 0.39064, 0.38760, 1.2e-19, False),  # 11111-01101
    (1, 3552.85, 1335.13, 0.39167, 0.38860, 3.5e-21, False),  # 12212-02201
    (1, 3568.22, 1285.41, 0.39048, 0.38740, 3.0e-21, True),  # 20013-10002
    (1, 3711.48, 1388.18, 0.39019, 0.38700, 5.0e-21, True),  # 20011-10001
    (2, 3527.74, 0.0, 0.39024, 0.38730, 0.9e-18, True),  # 10012-00001
    (2, 3632.91, 0.0, 0.39024, 0.38720, 1.5e-18, True),  # 10011-00001
    (1, 3339.36, 0.0, 0.39022, 0.38850, 1.1e-22, True),
    (1, 3340.53, 667.38, 0.39064, 0.38900, 3.0e-23, False),
)
CO2_WIDTHS = Widths(0.075, 0.095, 0.095, 0.72, -0.004, 0.008)


@functools.cache
def co2_combination() -> xr.Dataset:
    """CO2 between 3200 and 3750 cm-1, main isotopologue and 13C, with hot bands."""
    parts = []
    for isotopologue, origin, energy, lower, upper, strength, even in CO2_COMBINATION:
        band = Linear(
            molecule=2, isotopologue=isotopologue, origin=origin,
            lower=(lower, 1.333e-7), upper=(upper, 1.33e-7), strength=strength,
            kind="parallel", even_only=even, spin_weight=float(isotopologue),
            widths=CO2_WIDTHS, highest_j=70,
        )  # fmt: skip
        lines = linear_band(band)
        # the band's strength holds its Boltzmann factor, Einstein's A does not
        lines["einstein_a"] = lines["einstein_a"] * np.exp(C2 * energy / T0)
        lines["lower_state_energy"] = lines["lower_state_energy"] + energy
        parts.append(lines)
    both = xr.concat(parts, "line", combine_attrs="override")
    order = np.argsort(both["wavenumber"].values, kind="stable")
    values = {name: both[name].values[order] for name in both.data_vars}
    return _labelled(values, "CO2 3200-3750 cm-1")


def co2_dipole() -> xr.Dataset:
    """CO2 magnetic dipole band near 3.3 um, main isotopologue."""
    return linear_band(CO2_DIPOLE)


@functools.cache
def o3_3nu3() -> xr.Dataset:
    """Ozone 003-000 near 3.3 um, main isotopologue."""
    return asymmetric_band(O3_3NU3)


@functools.cache
def hdo_nu1() -> xr.Dataset:
    """HDO nu1, 2550-2900 cm-1, HD16O only."""
    return asymmetric_band(HDO_NU1)


@functools.cache
def h2o_2nu2() -> xr.Dataset:
    """Water 2 nu2 near 3.2 um, main isotopologue."""
    return asymmetric_band(H2O_2NU2)


def hcl_fundamental(isotopologues: tuple[int, ...] = (1, 2)) -> xr.Dataset:
    """HCl 1-0 of H35Cl (1) and H37Cl (2), 2600-3100 cm-1."""
    parts = [linear_band(_hcl(number)) for number in isotopologues]
    both = xr.concat(parts, "line", combine_attrs="override")
    order = np.argsort(both["wavenumber"].values, kind="stable")
    return _labelled(
        {name: both[name].values[order] for name in both.data_vars}, "HCl 1-0"
    )


def _hcl(isotopologue: int) -> Linear:
    """Constants of an isotopologue by the isotopic rules of Dunham's expansion."""
    rho = np.sqrt(HCL_MASSES[isotopologue])

    def term(v: int) -> tuple[float, float, float]:
        x = (v + 0.5) * rho
        energy = sum(c * x ** (k + 1) for k, c in enumerate(HCL_VIBRATION))
        b = rho**2 * sum(c * x**k for k, c in enumerate(HCL_ROTATION))
        d = rho**4 * sum(c * x**k for k, c in enumerate(HCL_DISTORTION))
        return float(energy), float(b), float(d)

    ground, excited = term(0), term(1)
    return Linear(
        molecule=15, isotopologue=isotopologue, origin=excited[0] - ground[0],
        lower=ground[1:], upper=excited[1:], strength=HCL_STRENGTH, kind="parallel",
        even_only=False, spin_weight=8.0, widths=HCL_WIDTHS, highest_j=15,
    )  # fmt: skip


def linear_band(band: Linear) -> xr.Dataset:
    """Lines of a linear molecule, in the form that `read_line_list` returns."""
    step = 2 if band.even_only else 1
    below = np.arange(0, band.highest_j + 1, step)
    rows = []
    for change in (-1, 0, 1):
        above = below + change
        strength = _honl_london(below, change, band.kind)
        good = (above >= 0) & (strength > 0)
        rows.append(np.stack([below, above, strength])[:, good])
    j, upper_j, strength = np.concatenate(rows, axis=1)
    energy = _linear_energy(band.lower, j)
    position = band.origin + _linear_energy(band.upper, upper_j) - energy
    name = f"{band.kind} band of molecule {band.molecule}"
    return _finish(band, j, upper_j, energy, position, strength, name)


def _linear_energy(constants: tuple[float, float], j: np.ndarray) -> np.ndarray:
    x = j * (j + 1.0)
    return constants[0] * x - constants[1] * x**2


def _honl_london(j: np.ndarray, change: int, kind: str) -> np.ndarray:
    """Rotational line strength; the sum over branches is 2J+1."""
    if kind == "parallel":
        return {-1: 1.0 * j, 0: 0.0 * j, 1: j + 1.0}[change]
    return {-1: 0.5 * (j - 1.0), 0: 0.5 * (2.0 * j + 1.0), 1: 0.5 * (j + 2.0)}[change]


def asymmetric_band(band: Asymmetric) -> xr.Dataset:
    """Lines of a rigid asymmetric rotor, in the form that `read_line_list` returns."""
    rows = []
    for j in range(band.highest_j + 1):
        energy, states = _rotor(band.lower, j)
        index = np.arange(2 * j + 1)
        exists = ((index + 1) // 2 + j - index // 2) % 2 == 0  # Ka + Kc even
        exists |= not band.even_only
        for upper_j in (j - 1, j, j + 1):
            if upper_j < 0:
                continue
            upper_energy, upper_states = _rotor(band.upper, upper_j)
            strength = np.zeros((2 * j + 1, 2 * upper_j + 1))
            for share, axis in zip(band.dipole, "ab", strict=True):
                moment = states.T @ _direction(j, upper_j, axis) @ upper_states
                strength += share * moment**2
            low, up = np.nonzero((strength > 1e-6) & exists[:, None])
            position = band.origin + upper_energy[up] - energy[low]
            rows.append(
                np.stack([np.full(low.size, j), np.full(low.size, upper_j),
                          energy[low], position, strength[low, up]])
            )  # fmt: skip
    j, upper_j, energy, position, strength = np.concatenate(rows, axis=1)
    lines = _finish(
        band, j, upper_j, energy, position, strength,
        f"rigid rotor, molecule {band.molecule}",
    )  # fmt: skip
    keep = lines["intensity"] >= band.weakest * lines["intensity"].max()
    return lines.isel(line=keep.values)


def _rotor(
    constants: tuple[float, float, float], j: int
) -> tuple[np.ndarray, np.ndarray]:
    """Energies, ascending, and states in the basis K = -J..J along the a axis."""
    a, b, c = constants
    k = np.arange(-j, j + 1.0)
    square = j * (j + 1.0)
    matrix = np.diag(0.5 * (b + c) * square + (a - 0.5 * (b + c)) * k**2)
    step = np.sqrt((square - k[:-2] * (k[:-2] + 1)) * (square - (k[:-2] + 1) * k[2:]))
    if j > 0:
        matrix += np.diag(0.25 * (b - c) * step, 2) + np.diag(0.25 * (b - c) * step, -2)
    return np.linalg.eigh(matrix)


def _direction(j: int, upper_j: int, axis: str) -> np.ndarray:
    """Direction cosine between symmetric tops, summed over space: (K, K')."""
    if axis == "a":
        return _cosine(j, upper_j, 0)
    # the sign between the two parts makes the b axis out of K + 1 and K - 1
    return (_cosine(j, upper_j, -1) - _cosine(j, upper_j, 1)) / np.sqrt(2.0)


def _cosine(j: int, upper_j: int, q: int) -> np.ndarray:
    """sqrt(2J+1) times the Clebsch-Gordan coefficient <J K 1 q | J' K+q>."""
    k = np.arange(-j, j + 1.0)
    m = k + q
    if q == 0:
        values = {
            1: (j + 1 - k) * (j + 1 + k) / ((2 * j + 1) * (j + 1)),
            0: k**2 / (j * (j + 1.0)) if j else 0.0 * k,
            -1: (j - k) * (j + k) / (j * (2 * j + 1.0)) if j else 0.0 * k,
        }
        sign = {1: 1.0, 0: np.sign(k), -1: -1.0}
    else:
        n = q * m
        values = {
            1: (j + n) * (j + n + 1) / ((2 * j + 1) * (2 * j + 2.0)),
            0: (j + n) * (j - n + 1) / (2 * j * (j + 1.0)) if j else 0.0 * k,
            -1: (j - n) * (j - n + 1) / (2 * j * (2 * j + 1.0)) if j else 0.0 * k,
        }
        sign = {1: 1.0, 0: -float(q), -1: 1.0}
    change = upper_j - j
    value = np.sqrt(2 * j + 1.0) * sign[change] * np.sqrt(np.maximum(values[change], 0))
    matrix = np.zeros((2 * j + 1, 2 * upper_j + 1))
    inside = np.abs(m) <= upper_j
    matrix[np.flatnonzero(inside), (m[inside] + upper_j).astype(int)] = value[inside]
    return matrix


def _finish(
    band: Linear | Asymmetric,
    j: np.ndarray,
    upper_j: np.ndarray,
    energy: np.ndarray,
    position: np.ndarray,
    strength: np.ndarray,
    name: str,
) -> xr.Dataset:
    """Intensities by Boltzmann and stimulated emission, scaled to the band strength."""
    weight = strength * position * np.exp(-C2 * energy / T0)
    weight *= -np.expm1(-C2 * position / T0)
    abundance = isotopologue_abundance(band.molecule, band.isotopologue)
    intensity = abundance * band.strength * weight / weight.sum()
    g_upper = band.spin_weight * (2.0 * upper_j + 1.0)
    total = float(partition_sum(band.molecule, band.isotopologue, T0))
    decay = intensity * 8.0 * np.pi * LIGHT_CM_S * position**2 * total
    decay /= abundance * g_upper * np.exp(-C2 * energy / T0)
    decay /= -np.expm1(-C2 * position / T0)
    w = band.widths
    fall = np.maximum(1.0 - w.fall * j, 0.5)
    size = j.size
    values = {
        "molecule": np.full(size, band.molecule, np.int32),
        "isotopologue": np.full(size, band.isotopologue, np.int32),
        "wavenumber": position,
        "intensity": intensity,
        "einstein_a": decay,
        "gamma_air": w.air * fall,
        "gamma_self": w.self_ * fall,
        "lower_state_energy": energy,
        "n_air": np.full(size, w.exponent),
        "delta_air": np.full(size, w.shift),
        "upper_statistical_weight": g_upper,
        "lower_statistical_weight": band.spin_weight * (2.0 * j + 1.0),
        "gamma_co2": w.co2 * fall,
        "n_co2": np.full(size, w.exponent),
        "delta_co2": np.full(size, w.shift),
    }
    order = np.argsort(position, kind="stable")
    return _labelled({key: value[order] for key, value in values.items()}, name)


_UNITS = {
    "wavenumber": "cm-1",
    "intensity": "cm-1/(molecule cm-2)",
    "einstein_a": "s-1",
    "lower_state_energy": "cm-1",
    **dict.fromkeys(
        ("gamma_air", "gamma_self", "delta_air", "gamma_co2", "delta_co2"),
        "cm-1 atm-1",
    ),
}


def _labelled(values: dict[str, np.ndarray], name: str) -> xr.Dataset:
    """Dataset over ``line`` whose every attribute says that it is synthetic."""
    data = {
        key: (
            "line",
            value,
            {
                "units": _UNITS.get(key, "1"),
                "long_name": f"synthetic {key.replace('_', ' ')}",
                "origin": "synthetic",
            },
        )
        for key, value in values.items()
    }
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(v) for v in values.values()))
    attrs = {
        "title": f"synthetic lines for tests: {name}",
        "source_file": f"synthetic ({name})",
        "source_sha256": digest.hexdigest(),
        "edition": "synthetic, of no edition",
        "citation": "synthetic lines for tests, not to be cited",
        "origin": "synthetic",
    }
    return xr.Dataset(data, attrs=attrs)


def par_text(lines: xr.Dataset) -> str:
    """Write lines as records of 160 characters; the quanta say ``synthetic``."""
    rows = []
    for n in range(lines.sizes["line"]):
        v = {key: lines[key].values[n] for key in lines.data_vars}
        row = (
            f"{int(v['molecule']):2d}{int(v['isotopologue']):1d}"
            f"{v['wavenumber']:12.6f}{v['intensity']:10.3E}{v['einstein_a']:10.3E}"
            f"{_dot(v['gamma_air'], 4, 5)}{_dot(v['gamma_self'], 3, 5)}"
            f"{v['lower_state_energy']:10.4f}{v['n_air']:4.2f}"
            f"{_dot(v['delta_air'], 6, 8)}"
            f"{'synthetic':>15}{'synthetic':>15}{n:15d}{n:15d}"
            f"{'000000':6}{'':12} "
            f"{v['upper_statistical_weight']:7.1f}{v['lower_statistical_weight']:7.1f}"
        )
        assert len(row) == 160, row
        rows.append(row)
    return "\n".join(rows) + "\n"


def hapi_list(lines: xr.Dataset, path: Path) -> Path:
    """Write a HAPI ``.data`` file with CO2 broadening, and its header beside it."""
    names = ["gamma_co2", "n_co2", "delta_co2"]
    extras = zip(*(lines[name].values for name in names), strict=True)
    records = par_text(lines).splitlines()
    rows = [
        f"{record},{gamma:.4f},{n:.2f},{delta:.6f}"
        for record, (gamma, n, delta) in zip(records, extras, strict=True)
    ]
    path.write_text("\n".join(rows) + "\n", encoding="ascii")
    header = {
        "table_name": path.stem,
        "number_of_rows": len(rows),
        "position": {"nu": 3, "sw": 15, "gamma_air": 35, "elower": 45},
        "extra": names,
        "extra_separator": ",",
        "comment": "synthetic lines for tests",
    }
    path.with_suffix(".header").write_text(json.dumps(header), encoding="utf-8")
    return path


def _dot(value: float, digits: int, width: int) -> str:
    """Fortran's way: no zero before the point."""
    return f"{value:.{digits}f}".replace("0.", ".", 1).rjust(width)
