"""Closed-loop validation of the ozone retrieval on simulated UVIS occultations.

Nothing here has seen a real file: the numbers tell whether fit and error bars are
consistent with the simulator, whose calculation is finer than the fit's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.retrieval.models.uvis import ozone as uvis_ozone
from tgo_spectra.retrieval.models.uvis.scene import UvisScene, build_scene
from tgo_spectra.retrieval.models.uvis.setup import UvisSetup
from tgo_spectra.retrieval.models.uvis.solve import (
    UvisSolution,
    fit_columns,
    solve,
    space_of,
)
from tgo_spectra.simulate.uvis import (
    simulate_uvis_level1,
    synthetic_ozone_cross_section,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    Array = npt.NDArray[np.floating]

__all__ = ["ozone_profile", "validate_uvis"]

_WOBBLE = 5e-4
_MINIMUM_KERNEL = 0.3
_AGREE_CM3 = 3e8
"""Number density above which the profiles with and without a priori are compared."""


def ozone_profile(altitude_km: npt.ArrayLike) -> Array:
    """Mole fraction with a layer at 22 km and one at 46 km, as in northern winter.

    Parameters
    ----------
    altitude_km : array_like

    Returns
    -------
    ndarray

    Examples
    --------
    >>> (1e9 * ozone_profile([22.0, 46.0])).round().tolist()
    [153.0, 254.0]
    """
    z = np.asarray(altitude_km, dtype=float)
    low = 1.5e-7 * np.exp(-0.5 * ((z - 22.0) / 9.0) ** 2)
    return np.asarray(low + 2.5e-7 * np.exp(-0.5 * ((z - 46.0) / 8.0) ** 2))


def validate_uvis(
    n_draws: int = 200,
    seed: int = 0,
    *,
    cross_section: xr.Dataset | None = None,
    setup: UvisSetup | None = None,
    scenario: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Measure bias, coverage of error bars and false positives.

    Parameters
    ----------
    n_draws : int
        Fits of each kind: noisy copies of one truth, truths drawn around the a priori,
        and noisy copies without ozone.
    seed : int
    cross_section : Dataset, optional
        Of ozone; default a synthetic one.
    setup : UvisSetup, optional
        Default: that of `UvisSetup`.
    scenario : mapping, optional
        Fields of `UvisScenario`; default 512 pixels, spectra 1.5 km apart.

    Returns
    -------
    dict of str to float
        ``slant_*``, ``profile_*``, ``onion_*`` of one truth: ``mean_z``,
        ``coverage`` (within 1 sigma) and ``z_width``; ``slant_worst_band_z``: largest
        mean z of a band of 10 km; ``drawn_coverage``, ``drawn_mean_z``: total error
        bars for truths drawn around the a priori; ``false_positive_rate`` of rows,
        ``profile_false_positive_rate`` of levels; ``detection_rate`` of rows whose true
        column is above six errors; ``agreement``: median difference of the two profiles
        where ozone is dense, relative; ``reduced_chi_square``; ``converged``.

    Examples
    --------
    >>> coarse = UvisSetup().replace(grid={"step_km": 4.0, "onion_step_km": 6.0})
    >>> small = {"pixels": 128, "row_step_km": 4.0}
    >>> figures = validate_uvis(1, setup=coarse, scenario=small)
    >>> 0.0 <= figures["slant_coverage"] <= 1.0
    True
    """
    data = synthetic_ozone_cross_section() if cross_section is None else cross_section
    choices = UvisSetup() if setup is None else setup
    options = {"pixels": 512, "row_step_km": 1.5, "wobble": 0.0} | dict(scenario or {})
    rng = np.random.default_rng(seed)
    figures = _one_truth(data, choices, options, n_draws, rng)
    figures |= _drawn_truths(data, choices, options, n_draws, rng)
    figures |= _no_ozone(data, choices, options, n_draws, rng)
    return figures


def _scene(
    data: xr.Dataset, setup: UvisSetup, options: Mapping[str, Any], **more: Any
) -> tuple[UvisScene, xr.Dataset]:
    level1, truth = simulate_uvis_level1(data, **{**options, "noise": False, **more})
    names = ["pressure", "temperature", "co2_vmr"]
    air = truth[names].isel(altitude=slice(None, None, 5))
    from tgo_spectra.atmosphere import read_atmosphere

    return build_scene(level1, data, setup, read_atmosphere(air)), truth


def with_measurement(scene: UvisScene, transmittance: Array) -> UvisScene:
    """Return the scene with other transmittances, (row, pixel)."""
    return replace(scene, model=replace(scene.model, transmittance=transmittance))


def detected_levels(solution: UvisSolution, setup: UvisSetup) -> npt.NDArray[np.bool_]:
    """Tell at which levels of the profile ozone is detected."""
    assert solution.end is not None
    _, found = uvis_ozone.limits_of(solution.end, solution.scene, setup)
    return found.detected


def _noisy(scene: UvisScene, rng: np.random.Generator) -> UvisScene:
    clean, weight = scene.model.transmittance, scene.model.weight
    sigma = np.where(weight > 0.0, 1.0 / np.where(weight > 0.0, weight, 1.0), 0.0)
    gain = 1.0 + _WOBBLE * rng.standard_normal((clean.shape[0], 1))
    return with_measurement(
        scene, clean * gain + sigma * rng.standard_normal(clean.shape)
    )


def _at_levels(scene: UvisScene, truth: xr.Dataset) -> Array:
    z, vmr = truth["altitude"].values, truth["o3_vmr"].values
    return np.asarray(np.interp(scene.level_km, z, vmr))


def _profile_z(
    solution: UvisSolution, true_vmr: Array
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Errors of a profile in units of its noise, smoothing taken out; used levels."""
    profile, scene = solution.profile, solution.scene
    assert profile is not None
    n = true_vmr.size
    gain = profile.result.covariance[:n] @ profile.result.data_matrix
    kernel = gain[:, :n]
    noise = np.sqrt(np.einsum("ij,ij->i", gain, profile.result.covariance[:n]))
    expected = scene.prior_vmr + kernel @ (true_vmr - scene.prior_vmr)
    return (profile.state[0] - expected) / noise, np.diag(kernel) > _MINIMUM_KERNEL


def _summary(name: str, z: Array) -> dict[str, float]:
    z = z[np.isfinite(z)]
    return {
        f"{name}_mean_z": float(z.mean()),
        f"{name}_coverage": float((np.abs(z) < 1.0).mean()),
        f"{name}_z_width": float(z.std()),
    }


def _one_truth(
    data: xr.Dataset,
    setup: UvisSetup,
    options: Mapping[str, Any],
    n_draws: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    z = np.arange(-5.0, 131.0)
    scene, truth = _scene(data, setup, options, ozone=(z, ozone_profile(z)))
    column = truth["o3_slant_column"].values[scene.rows]
    true_vmr = _at_levels(scene, truth)
    slant, profile, onion = [], [], []
    agreement, chi_square, converged, found = [], [], [], []
    for _ in range(n_draws):
        solution = solve(_noisy(scene, rng), setup)
        assert solution.profile is not None
        assert solution.onion is not None
        s, o = solution.slant, solution.onion
        slant.append((s.column - column) / s.error)
        found.append(s.limits.detected[column > 6.0 * s.total_error].mean())
        offset, used = _profile_z(solution, true_vmr)
        profile.append(np.where(used, offset, np.nan))
        density = np.interp(
            o.level_km, truth["altitude"].values, truth["o3_number_density"].values
        )
        onion.append((o.density - density) / np.sqrt(np.diag(o.covariance)))
        mine = np.interp(
            o.level_km, scene.level_km, solution.profile.state[0] * scene.air_cm3
        )
        dense = density > _AGREE_CM3
        agreement.append(np.median(np.abs(mine / o.density - 1.0)[dense]))
        free = (scene.model.weight > 0.0).sum() - np.trace(
            solution.profile.result.covariance @ solution.profile.result.data_matrix
        )
        chi_square.append(solution.profile.result.final.chi_square / free)
        converged.append(
            solution.profile.result.converged and bool(s.fit.converged.all())
        )
    bands = (scene.tangent_km // 10.0).astype(int)
    means = [np.mean(np.array(slant)[:, bands == b]) for b in np.unique(bands)]
    return {
        **_summary("slant", np.array(slant)),
        **_summary("profile", np.array(profile)),
        **_summary("onion", np.array(onion)),
        "slant_worst_band_z": float(np.abs(means).max()),
        "agreement": float(np.mean(agreement)),
        "reduced_chi_square": float(np.mean(chi_square)),
        "detection_rate": float(np.mean(found)),
        "converged": float(np.mean(converged)),
    }


def _drawn_truths(
    data: xr.Dataset,
    setup: UvisSetup,
    options: Mapping[str, Any],
    n_draws: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Coverage of the total error bars, with truths that the a priori describes."""
    setup = setup.replace(
        prior={"constant": 1e-7, "sigma": 5e-8, "correlation_km": 4.0}
    )
    inside, offsets = [], []
    scene, _ = _scene(data, setup, options)
    levels = scene.level_km
    block = slice(0, levels.size)
    root = np.linalg.cholesky(space_of(scene, setup).covariance[block, block])
    for _ in range(n_draws):
        vmr = 1e-7 + root @ rng.standard_normal(levels.size)
        drawn = {"ozone": (levels, vmr), "negative": True}
        scene, _ = _scene(data, setup, options, **drawn)
        solution = solve(_noisy(scene, rng), setup)
        assert solution.profile is not None
        error = np.sqrt(np.diag(solution.profile.result.covariance)[: vmr.size])
        offset = (solution.profile.state[0] - vmr) / error
        inside.append(np.abs(offset) < 1.0)
        offsets.append(offset)
    return {
        "drawn_coverage": float(np.mean(inside)),
        "drawn_mean_z": float(np.mean(offsets)),
    }


def _no_ozone(
    data: xr.Dataset,
    setup: UvisSetup,
    options: Mapping[str, Any],
    n_draws: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    scene, _ = _scene(data, setup, options, ozone=0.0)
    rows, levels = [], []
    for draw in range(n_draws):
        noisy = _noisy(scene, rng)
        if draw % 4 == 0:
            solution = solve(noisy, setup)
            rows.append(solution.slant.limits.detected)
            levels.append(detected_levels(solution, setup))
            continue
        shape = np.ones(scene.level_km.size)
        rows.append(fit_columns(noisy, setup, shape, shape).limits.detected)
    return {
        "false_positive_rate": float(np.mean(rows)),
        "profile_false_positive_rate": float(np.mean(levels)),
    }
