"""The three ozone results of a UVIS occultation: columns, profile, peeled profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.limits import Limits
from tgo_spectra.retrieval.models.uvis import fit as uvis_fit
from tgo_spectra.retrieval.models.uvis.scene import UvisScene, slant_model
from tgo_spectra.retrieval.solve import invert
from tgo_spectra.retrieval.state import StateSpace, profile

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.models.uvis.setup import UvisSetup

    Array = npt.NDArray[np.floating]

__all__ = [
    "Onion",
    "Slant",
    "UvisSolution",
    "fit_columns",
    "peel",
    "solve",
    "space_of",
    "unconstrained_profile",
]

_PASSES = 2
"""Looks for outliers: what they hid the first time shows the second."""
_ROWS_A_LEVEL = 1.3
"""Spectra for each level of the peeled profile, at least."""
_DAMPED = 1e-2
"""Relative size of the errors assumed for the columns of the first guess."""


@dataclass(frozen=True)
class Slant:
    """Slant columns and whether ozone is there; arrays over the fitted rows.

    ``limits`` are of the columns. ``systematic``: shift of the columns by 1 sigma of
    each source; ``error``: by noise as it is; ``total_error``: by both.
    """

    model: uvis_fit.Model
    fit: uvis_fit.SlantFit
    column: Array
    error: Array
    total_error: Array
    limits: Limits
    systematic: dict[str, Array]


@dataclass(frozen=True)
class Onion:
    """Profile without a priori: number density (cm-3) on its own levels (km)."""

    level_km: Array
    density: Array
    covariance: Array
    systematic: dict[str, Array]


@dataclass(frozen=True)
class UvisSolution:
    """All results; those but of single spectra are missing with method "slant"."""

    scene: UvisScene
    slant: Slant
    profile: uvis_fit.Profile | None
    end: Conclusion | None
    onion: Onion | None


def space_of(scene: UvisScene, setup: UvisSetup) -> StateSpace:
    """Return the state, ozone and the coefficients of the continuum, with its prior."""
    z, continuum, prior = scene.level_km, setup.continuum, setup.prior
    blocks = [profile("o3", z, scene.prior_vmr, prior.sigma, prior.correlation_km)]
    ratios = (1.0, *continuum.slope_ratios)
    fall = np.exp(-np.maximum(z, 0.0) / continuum.scale_height_km)
    for order in range(continuum.degree + 1):
        ratio = ratios[min(order, len(ratios) - 1)]
        sigma = ratio * continuum.extinction_sigma_km1 * fall
        name = f"continuum_{order}"
        blocks.append(profile(name, z, 0.0, sigma, continuum.correlation_km))
    return StateSpace(tuple(blocks))


def solve(scene: UvisScene, setup: UvisSetup) -> UvisSolution:
    """Fit slant columns and, unless the method is "slant", profiles.

    Parameters
    ----------
    scene : UvisScene
    setup : UvisSetup

    Returns
    -------
    UvisSolution
        With method "oe" the slant columns are fitted a second time, with the shape of
        the profiles inside the field of view.

    Raises
    ------
    RetrievalError
        The fit of the profiles diverges, or a level is not seen.
    """
    shape = np.ones(scene.level_km.size)
    haze = np.exp(-scene.level_km / setup.continuum.scale_height_km)
    for _ in range(_PASSES):
        model = slant_model(scene, shape, haze)
        first = uvis_fit.fit_slant(model, setup.max_iterations)
        scene = replace(scene, model=uvis_fit.without_outliers(scene.model, first))
    if setup.method == "slant":
        slant = fit_columns(scene, setup, shape, haze)
        return UvisSolution(scene, slant, None, None, None)
    profile = _profile(scene, setup, first)
    slant = fit_columns(scene, setup, profile.state[0], profile.state[1])
    errors = _profile_systematic(scene, setup, profile)
    # as much ozone over other air
    amounts = {
        source: change + profile.state[0] * scene.air_error
        for source, change in errors["o3"].items()
        if source == "air_density"
    }
    return UvisSolution(
        scene=scene,
        slant=slant,
        profile=profile,
        end=uvis_fit.conclude_profile(
            profile,
            space_of(scene, setup),
            scene.tangent_km,
            errors,
            {"o3": amounts},
        ),
        onion=peel(scene, setup, slant),
    )


def _profile(
    scene: UvisScene, setup: UvisSetup, fit: uvis_fit.SlantFit
) -> uvis_fit.Profile:
    space = space_of(scene, setup)
    first = [
        _guess(scene, fit, number, block.prior, block.covariance)
        for number, block in enumerate(space.blocks)
    ]
    model = replace(scene.model, nuisance=_nuisance(scene, setup, fit))
    return uvis_fit.fit_profile(model, space, np.array(first), setup.max_iterations)


def _nuisance(scene: UvisScene, setup: UvisSetup, fit: uvis_fit.SlantFit) -> Array:
    """Brightness and its tilt along the window, in units of the fitted spectrum."""
    tilt = scene.wavelength_nm - scene.wavelength_nm.mean()
    tilt = tilt / np.abs(tilt).max()
    basis = np.stack([np.ones_like(tilt), tilt], axis=1)
    size = setup.continuum.brightness_sigma
    return np.asarray(size * fit.value[:, :, None] * basis)


def _guess(
    scene: UvisScene,
    fit: uvis_fit.SlantFit,
    block: int,
    prior: Array,
    covariance: Array,
) -> Array:
    """Profile that explains the slant columns of one part of the state."""
    model = scene.model
    ours = np.flatnonzero(model.block == block)
    paths = model.paths[ours]
    # the temperatures' shares of ozone add up to the air
    summed = paths.sum(axis=0) if block == 0 else paths[0]
    path = np.einsum("rql,q->rl", summed, model.node_weight)
    column = fit.state[:, block]
    sigma = fit.error[:, block] + _DAMPED * np.abs(column)
    good = np.isfinite(column) & np.isfinite(sigma) & (sigma > 0.0)
    weighted = path[good] / sigma[good, None] ** 2
    hessian = path[good].T @ weighted + invert(covariance)
    off = column[good] - path[good] @ prior
    return np.asarray(prior + invert(hessian) @ (weighted.T @ off))


def fit_columns(
    scene: UvisScene, setup: UvisSetup, vmr: Array, extinction: Array
) -> Slant:
    """Fit slant columns and tell whether ozone is needed.

    Ozone is detected where the column exceeds k of its total errors and chi-square
    rises by more than k^2 without it. Where the fit is worse than the noise, both are
    judged in units of the residuals: structure that is not modelled is no detection
    (Piccialli et al. 2023, doi:10.1029/2022EA002429, rejected up to 98 % of the
    detections near perihelion).

    Parameters
    ----------
    scene : UvisScene
    setup : UvisSetup
    vmr, extinction : array, shape (level,)
        Shapes inside the field of view, see `slant_model`.

    Returns
    -------
    Slant
    """
    model = slant_model(scene, vmr, extinction)
    most = setup.max_iterations
    fit = uvis_fit.fit_slant(model, most)
    column, error = fit.state[:, 0], fit.error[:, 0]
    # without ozone the continuum must bend far: that takes more steps
    without = uvis_fit.fit_slant(model, 4 * most, held_column=np.zeros_like(column))
    wish = setup.detection
    k, size = wish.detection_sigma, wish.limit_sigma
    more = uvis_fit.fit_slant(
        model, most, held_column=column + k * error, first=fit.state
    )
    rise = np.maximum(more.chi_square - fit.chi_square, 1e-12)
    one = k * error / np.sqrt(rise)
    delta = without.chi_square - fit.chi_square
    systematic = {
        name: np.einsum("rp,rp->r", fit.gain, change)
        for name, change in _changes(scene, setup, model, fit.state, True).items()
    }
    excess = np.array([one.inflation for one in fit.noise])
    noisy = excess * error
    total = np.sqrt(noisy**2 + sum(v**2 for v in systematic.values()))
    detected = (column > k * total) & (delta > (k * excess) ** 2)
    detected &= fit.converged & without.converged
    return Slant(
        model=model,
        fit=fit,
        column=column,
        error=noisy,
        total_error=total,
        limits=Limits(
            detected,
            delta,
            linear=noisy,
            by_chi_square=size * excess * one,
            by_flag=k * np.maximum(total, excess * one),
        ),
        systematic=systematic,
    )


def peel(scene: UvisScene, setup: UvisSetup, slant: Slant) -> Onion:
    """Invert the slant columns without a priori.

    The mole fraction is linear between the levels and the air between them that of the
    atmosphere, so that the density may fall exponentially.

    Parameters
    ----------
    scene : UvisScene
    setup : UvisSetup
    slant : Slant

    Returns
    -------
    Onion

    Raises
    ------
    RetrievalError
        A level is seen by no column.
    """
    low, high = float(scene.tangent_km.min()), float(scene.tangent_km.max())
    spacing = float(np.median(np.diff(np.sort(scene.tangent_km))))
    step = max(setup.grid.onion_step_km, _ROWS_A_LEVEL * spacing)
    count = max(int((high - low) / step), 2)
    levels = np.linspace(low, high, count + 1)
    step = levels[1] - levels[0]
    # the lowest rays of the field of view look a little below the lowest row
    levels = np.concatenate([[min(low, float(scene.ray_km.min())) - 1e-6], levels[1:]])
    levels = np.append(levels, high + step)
    hats = np.stack(
        [np.interp(scene.level_km, levels, unit) for unit in np.eye(levels.size)], 1
    )
    inside = (scene.level_km >= levels[0] - step) & (scene.level_km <= levels[-1])
    hats *= inside[:, None]
    ozone = scene.model.paths[scene.model.block == 0].sum(axis=0)
    path = np.einsum("rql,q->rl", ozone, scene.model.node_weight) @ hats
    air = np.exp(np.interp(levels, scene.level_km, np.log(scene.air_cm3)))
    good = np.isfinite(slant.error) & (slant.error > 0.0)
    # the topmost level is above the rows: the mole fraction is that of the next one
    path[:, -2] += path[:, -1]
    path, levels, air = path[:, :-1] / air[:-1], levels[:-1], air[:-1]
    density, covariance, gain = unconstrained_profile(
        path[good], slant.column[good], slant.error[good]
    )
    systematic: dict[str, Array] = {
        name: gain @ change[good] for name, change in slant.systematic.items()
    }
    return Onion(levels, density, covariance, systematic)


def unconstrained_profile(
    path_cm: Array, column_cm2: Array, sigma_cm2: Array
) -> tuple[Array, Array, Array]:
    """Peel slant columns: least squares without a priori.

    With as many levels as columns this is onion peeling from the top; with more columns
    the same, overdetermined.

    Parameters
    ----------
    path_cm : array, shape (row, level)
    column_cm2, sigma_cm2 : array, shape (row,)

    Returns
    -------
    density : array, shape (level,)
        cm-3.
    covariance : array, shape (level, level)
        Propagated from the columns' errors.
    gain : array, shape (level, row)
        Derivative by the columns.

    Raises
    ------
    RetrievalError
        A level is seen by no column.
    """
    a = path_cm / sigma_cm2[:, None]
    scale = np.sqrt((a**2).sum(axis=0))
    if not (scale > 0.0).all():
        message = "a level of the profile is seen by no slant column"
        raise RetrievalError(
            message, value=int(np.argmin(scale)), rule="fit.undetermined"
        )
    a = a / scale
    inverse = np.linalg.pinv(a) / scale[:, None]
    covariance = inverse @ inverse.T
    gain = inverse / sigma_cm2
    return gain @ column_cm2, covariance, gain


def _changes(
    scene: UvisScene, setup: UvisSetup, model: uvis_fit.Model, state: Array, rows: bool
) -> dict[str, Array]:
    """Change of the transmittances (row, pixel) that a source's 1 sigma looks like.

    A fit takes the negative of a model's change for a change of the measurement.
    """
    sizes, ozone = setup.systematics, model.block == 0
    if rows:
        along = np.einsum("trq,rt->rqt", model.paths[..., 0], state[:, model.block])
    else:
        along = np.einsum("trql,tl->rqt", model.paths, state[model.block])
    depth = model.fixed + along @ model.spectra
    light = np.exp(-np.maximum(depth, -50.0)) * model.node_weight[:, None]
    column = along[..., ozone].sum(axis=-1)[..., None]
    of_ozone = along[..., ozone] @ model.spectra[ozone]

    def seen(extra: Array) -> Array:
        return uvis_fit.convolved(model, (light * extra).sum(axis=1))

    bright = light.sum(axis=1)
    moved = bright @ scene.shift.T
    haze = along[..., int(ozone.sum())][..., None]
    stray = np.where(scene.wavelength_nm < sizes.straylight_limit_nm, 1.0, 0.0)
    found = {
        "cross_section": sizes.cross_section * seen(-of_ozone),
        "temperature": sizes.temperature_k * seen(-column * scene.ozone_slope),
        "wavelength": sizes.wavelength_nm * moved,
        "line_width": bright @ scene.wider.T,
        "air_density": sizes.air_density * seen(-model.fixed),
        "aerosol_form": sizes.aerosol_form * seen(-haze * scene.next_shape),
        "straylight": sizes.straylight * np.broadcast_to(stray, moved.shape),
    }
    return {name: change for name, change in found.items() if change.any()}


def _profile_systematic(
    scene: UvisScene, setup: UvisSetup, profile: uvis_fit.Profile
) -> dict[str, dict[str, Array]]:
    """Change of each profile by 1 sigma of each source, by block and source."""
    final = profile.result.final
    changes = _changes(scene, setup, profile.model, profile.state, False)
    space = space_of(scene, setup)
    steps = {
        source: profile.result.covariance
        @ uvis_fit.gradient_of(profile.model, final.slope, change)
        for source, change in changes.items()
    }
    found: dict[str, dict[str, Array]] = {
        name: {source: step[space[name]] for source, step in steps.items()}
        for name in space.names("level")
    }
    # spectra tell of ozone, its mole fraction is that over the air
    if scene.air_error.any():
        more = profile.state[0] * scene.air_error
        found["o3"]["air_density"] = found["o3"].get("air_density", 0.0) - more
    return found
