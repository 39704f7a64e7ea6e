"""Occultations seen by the fit's own model: truth known to the last digit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from reference.plain_fit import fit_baseline

import tgo_spectra as tgo
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval import linear
from tgo_spectra.retrieval.elements import ELEMENTS, OTHERS
from tgo_spectra.retrieval.models.so import evaluation, optimal_estimation
from tgo_spectra.retrieval.models.so.solution import build_scene

NONE = dict.fromkeys(
    (*(row.source for row in ELEMENTS.values()), *(key for key, _ in OTHERS.values()),
     "spectroscopy", "interferents"), 0.0,
)  # fmt: skip
"""No known source at all; tests add theirs."""


PLAIN = {"in_fit": False, "enabled": False}
"""Neither elements beside the gases nor errors by what is not in the fit."""


def scene_of(level1, setup, *, known=False, **options):
    """Scene of a product; of gases alone unless known sources are asked for."""
    if not known:
        setup = setup.replace(systematics=PLAIN)
    return build_scene(
        level1, setup, tgo.reference_atmosphere(level1=level1), **options
    )[0]


def pinned(scene):
    """Rows at grid heights without a field of view: the fit's Jacobian is exact."""
    heights = scene.limb.height_km
    at = np.abs(heights[None, :] - scene.prepared.altitude_km[:, None]).argmin(axis=1)
    at = np.clip(at, 0, heights.size - 1)
    rows = np.eye(heights.size)[at]
    prepared = replace(
        scene.prepared,
        altitude_km=heights[at],
        boxcars_km=np.zeros_like(scene.prepared.boxcars_km),
    )
    return replace(scene, prepared=prepared, rows=rows, jacobian_rows=rows)


def prior_state(scene):
    return dict(optimal_estimation.space_of(scene).prior)


def state_of(vmr, shift_px, stretch_px=0.0, exponent=0.0, **beside):
    """State by its parts."""
    common = (np.asarray(shift_px), np.array([stretch_px]), np.array([exponent]))
    return {**vmr, **dict(zip(linear.COMMON, common, strict=True)), **beside}


def spectra(scene, state):
    """Model transmittance of the rows, baseline 1."""
    measurement = evaluation.measurement_of(scene)
    evaluator = evaluation.Evaluator(scene, measurement)
    evaluator.depth = np.zeros(len(measurement.rows))
    return evaluator.spectra(state)


def measured(scene, transmittance):
    """Return the scene with other spectra; masked pixels stay masked."""
    values = np.where(scene.prepared.weight > 0, transmittance, 0.0)
    return replace(scene, prepared=replace(scene.prepared, transmittance=values))


def noisy(scene, transmittance, rng):
    weight = scene.prepared.weight
    sigma = np.where(weight > 0, 1.0 / np.where(weight > 0, weight, 1.0), 0.0)
    return measured(scene, transmittance + sigma * rng.standard_normal(sigma.shape))


def dense(scene, state):
    """Whitened Jacobian and residual of all measurements, baselines projected out."""
    measurement, space = (
        evaluation.measurement_of(scene),
        optimal_estimation.space_of(scene),
    )
    evaluator = evaluation.Evaluator(scene, measurement)
    found = evaluator.linearise(state, True)
    fields = evaluator.fields(state, True)
    spectrum, small = linear.row_spectra(
        fields, measurement, state, evaluator.built, evaluator.depth
    )
    columns, inner, coefficients, residual = fit_baseline(measurement, spectrum)
    base = coefficients @ measurement.polynomials
    paths = evaluation.row_paths(scene)
    k = np.zeros((*spectrum.shape, space.size))
    for gas in scene.setup.gases:
        seen = np.einsum("rh,pkh->rkp", measurement.jacobian_rows, fields.gas[gas])
        k[:, :, space[gas]] = np.einsum("rkp,rkl->rpl", seen, paths[gas])
    for row, b in enumerate(measurement.bin):
        k[row, :, space[linear.SHIFT].start + b] = small[0][row]
        k[row, :, space[linear.STRETCH]] = small[1][row][:, None]
        k[row, :, space[linear.EXPONENT]] = small[2][row][:, None]
    k *= (base * measurement.weight)[:, :, None]
    cross = columns.transpose(0, 2, 1) @ k
    k -= columns @ np.linalg.solve(inner, cross)
    return k.reshape(-1, space.size), residual.ravel(), found


def transmittance(scene, vmr, shift_px=0.0, stretch_px=0.0):
    """Model of the rows with an operator built anew: no expansion in shift."""
    built = scene.operator(shift_px, stretch_px)
    return scene.rows @ forward.pixel_values(scene.limb, built, vmr).value.T
