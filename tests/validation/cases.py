"""Occultations with a known truth, noise drawn again and again, and what fits say.

Truths are made on levels 0.125 km apart in double precision, with light of ten
neighbouring orders on either side, bins at shifts of their own and a field of view by
quadrature; the fit has levels 1 km apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

import tgo_spectra as tgo
from tgo_spectra.retrieval import setups
from tgo_spectra.retrieval.diagnostics import gas_diagnostics
from tgo_spectra.retrieval.given import prior_sigma
from tgo_spectra.retrieval.limits import of_profile
from tgo_spectra.retrieval.models.so import optimal_estimation
from tgo_spectra.retrieval.models.so.solution import build_scene
from tgo_spectra.retrieval.setups import changes_of
from tgo_spectra.simulate import simulate_level1

ATMOSPHERES = {
    "standard": {"temperature_offset_k": 0.0, "h2o": 1.0, "dust": 1.2},
    "cold and dry": {"temperature_offset_k": -15.0, "h2o": 0.1, "dust": 0.5},
    "warm, wet and dusty": {"temperature_offset_k": 12.0, "h2o": 1.5, "dust": 2.5},
}
GASES = ("h2o", "ch4")
RESPONSE = 0.3
"""Diagonal of the averaging kernel of the levels whose z counts."""


class Case(NamedTuple):
    """What the fit has of one occultation, and its truth."""

    scene: object
    clean: np.ndarray
    """Spectra of the fitted rows and pixels without noise."""
    truth: object


@lru_cache(maxsize=6)
def occultation(atmosphere="standard", ch4=0.0, order=134, shift_px=None):
    """Return level 1, truth and the atmosphere that the fit is to know."""
    options = ATMOSPHERES[atmosphere]
    air = tgo.reference_atmosphere(temperature_offset_k=options["temperature_offset_k"])
    air["h2o_vmr"][:] *= options["h2o"]
    made = simulate_level1(
        order=order,
        table="so_134_136",
        n_orders=10,
        atmosphere=air,
        vmr={"ch4": ch4},
        aerosol_depth=options["dust"],
        noisy_pixels=(),
        shift_px=shift_px,
        seed=7,
    )
    return made, air


@lru_cache(maxsize=4)
def case(atmosphere="standard", ch4=0.0, changes=(), order=134, **truth):
    """Return one case; `changes` are (key, value) of the setup, or of the knowledge.

    ``temperature_k`` and ``altitude_km`` are not keys of a setup: they are what the fit
    has wrong of the atmosphere and of the pointing.
    """
    made, air = occultation(atmosphere, ch4, order, **truth)
    changes = dict(changes)
    level1 = made.level1
    if step := changes.pop("temperature_k", 0.0):
        warm = air.temperature + step
        density = air.number_density * air.temperature / warm
        air = air.assign(
            temperature=air.temperature.copy(data=warm.values),
            number_density=air.number_density.copy(data=density.values),
        )
    if step := changes.pop("altitude_km", 0.0):
        moved = level1.tangent_altitude + step
        level1 = level1.assign_coords(tangent_altitude=moved)
    nested = changes_of(f"{key}={json.dumps(value)}" for key, value in changes.items())
    # of gases alone: the campaign tries the fit's own errors
    plain = tgo.load_setup(f"so_{order}").replace(
        systematics={"in_fit": False, "enabled": False}
    )
    setup = setups.changed(plain, nested)
    scene, _ = build_scene(level1, setup, air)
    clean = made.truth["transmittance_clean"] * made.truth["calibration_factor"]
    p = scene.prepared
    return Case(scene, clean.values[p.rows][:, p.pixels], made.truth)


def noisy(scene, clean, rng, factor=1.0):
    """Return the scene with noise drawn afresh, `factor` times what the file says."""
    p = scene.prepared
    used = p.weight > 0
    sigma = np.where(used, 1.0 / np.where(used, p.weight, 1.0), 0.0)
    drawn = clean + factor * sigma * rng.standard_normal(clean.shape)
    values = np.where(used, drawn, p.transmittance)
    return replace(scene, prepared=replace(p, transmittance=values))


def on_levels(scene, truth):
    """Return the truth's mole fractions at the levels of the fit."""
    altitude = scene.limb.altitude_km
    return {
        gas: np.interp(altitude, truth.altitude.values, truth[f"{gas}_vmr"].values)
        for gas in scene.setup.gases
    }


@dataclass
class Found:
    """What a fit says of one gas, against its truth."""

    z: np.ndarray
    """From the truth seen through the averaging kernel, over the noise error."""
    total_z: np.ndarray
    """From the truth itself, over the total error (systematic too if asked for)."""
    knowledge_z: np.ndarray
    """As `z`, over the root of noise and systematic errors in squares."""
    detected: np.ndarray
    """Flags of all levels that may be flagged."""
    vmr: np.ndarray = field(repr=False)
    total_error: np.ndarray = field(repr=False)
    good: np.ndarray = field(repr=False)
    degrees_of_freedom: float = 0.0


def compare(scene, solution, true, errors=None):
    """Return a `Found` per gas; `errors` are systematic ones per gas and source."""
    altitude = scene.limb.altitude_km
    found = {}
    for gas in scene.setup.gases:
        d = gas_diagnostics(
            solution.data_matrix, solution.covariance, solution.space[gas]
        )
        vmr, prior = solution.state[gas], scene.prior_vmr[gas]
        good = np.diag(d.averaging_kernel) > RESPONSE
        expected = prior + d.averaging_kernel @ (true[gas] - prior)
        _, length = prior_sigma(scene, gas)
        wish = scene.setup.detection
        flags = of_profile(
            vmr, d, altitude, 0.5 * length,
            wish.detection_sigma, wish.limit_sigma, wish.minimum_response,
        )  # fmt: skip
        may = d.averaging_kernel.sum(axis=1) >= wish.minimum_response
        squares = sum((e**2 for e in (errors or {}).get(gas, {}).values()), 0.0)
        total = np.sqrt(d.total_error**2 + squares)
        found[gas] = Found(
            ((vmr - expected) / d.noise_error)[good],
            ((vmr - true[gas]) / total)[good],
            ((vmr - expected) / np.sqrt(d.noise_error**2 + squares))[good],
            flags.detected[may],
            vmr,
            d.total_error,
            good,
            d.degrees_of_freedom,
        )
    return found


def fit(scene, true, *, with_systematics=False):
    """Return the `Found` of each gas and the reduced chi-square of one fit."""
    solution = optimal_estimation.solve(scene)
    errors = beside(solution) if with_systematics else None
    used = (scene.prepared.weight > 0).sum()
    dof = float(np.trace(solution.covariance @ solution.data_matrix))
    free = used - solution.end.seen.baseline.size - dof
    return compare(scene, solution, true, errors), solution.end.seen.chi_square / free


def beside(solution):
    """Errors by what is not in the fit, per gas and source, on the levels."""
    return {
        gas: {k: v[: solution.state[gas].size] for k, v in errors.items()}
        for gas, errors in solution.end.errors.items()
    }


def coverage(z):
    """Return the parts within 1 and 2."""
    return float(np.mean(np.abs(z) < 1)), float(np.mean(np.abs(z) < 2))
