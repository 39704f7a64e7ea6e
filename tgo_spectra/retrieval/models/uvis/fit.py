"""Ozone and aerosol from ultraviolet transmittances, on plain arrays.

Transmittance on a grid of wavelengths is exp(-sum over terms of spectrum times path),
averaged over the rays of a field of view and convolved onto pixels. Absorption is
linear in the state, so that one product of matrices gives model and derivatives.
Fitted are transmittances, whose noise is Gaussian also where almost no light is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval import noise
from tgo_spectra.retrieval.conclusion import conclude_plainly
from tgo_spectra.retrieval.noise import standing_out
from tgo_spectra.retrieval.spectra import Whitened

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.joint import Result
    from tgo_spectra.retrieval.noise import Noise
    from tgo_spectra.retrieval.solve import Descent
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]

__all__ = [
    "Model",
    "Profile",
    "Seen",
    "SlantFit",
    "bands_of",
    "conclude_profile",
    "convolved",
    "data_terms",
    "evaluate",
    "fit_profile",
    "fit_slant",
    "gradient_of",
    "spanned",
    "without_outliers",
]

UNKNOWN = 1e-14
"""A parameter without light is held by this part of what it does in full light."""
CLIP_SIGMA = 6.0
"""Pixels farther off than this are left out of their spectrum."""
BAND_PIXELS = 32
"""Convolved together: a line shape reaches over as many."""
_DEEPEST = 50.0
"""Optical depths are kept above minus this: a wild trial step must not overflow."""


@dataclass(frozen=True)
class Model:
    """Arrays of a forward model and its measurement.

    Attributes
    ----------
    spectra : array, shape (term, wavelength)
        Optical depth per unit of the term's path.
    paths : array, shape (term, row, node, level)
        Path of each term through the levels of its part of the state.
    block : array of int, shape (term,)
        Part of the state: 0 ozone, then the continuum's coefficients.
    fixed : array, shape (row, node, wavelength)
        Optical depth that is not fitted.
    node_weight : array, shape (node,)
        Of the rays of a field of view; their sum is one.
    convolution : array, shape (pixel, wavelength)
    transmittance : array, shape (row, pixel)
    weight : array, shape (row, pixel)
        1 / sigma; zero where a pixel is left out.
    nuisance : array, shape (row, pixel, element)
        Changes of a spectrum in units of their 1 sigma, which are allowed for and not
        reported.
    bands : tuple of (slice, slice)
        Pixels and the wavelengths that they see; found where not given.
    """

    spectra: Array
    paths: Array
    block: npt.NDArray[np.intp]
    fixed: Array
    node_weight: Array
    convolution: Array
    transmittance: Array
    weight: Array
    nuisance: Array
    bands: tuple[tuple[slice, slice], ...] = ()

    def __post_init__(self) -> None:
        """Find what part of the convolution is not zero, once for all copies."""
        if not self.bands:
            object.__setattr__(self, "bands", bands_of(self.convolution))


def bands_of(convolution: Array) -> tuple[tuple[slice, slice], ...]:
    """Pixels next to each other, and the wavelengths that they see."""
    found = []
    for first in range(0, len(convolution), BAND_PIXELS):
        pixels = slice(first, first + BAND_PIXELS)
        seen = np.flatnonzero(convolution[pixels].any(axis=0))
        few = slice(int(seen[0]), int(seen[-1]) + 1) if seen.size else slice(0, 0)
        found.append((pixels, few))
    return tuple(found)


def convolved(model: Model, spectra: Array) -> Array:
    """Convolve along the last axis: (..., wavelength) to (..., pixel)."""
    flat = spectra.reshape(-1, spectra.shape[-1])
    # products of full matrices: the sparse one would have to copy its right side
    seen = np.empty((len(flat), len(model.convolution)))
    for pixels, few in model.bands:
        seen[:, pixels] = flat[:, few] @ model.convolution[pixels, few].T
    return seen.reshape(*spectra.shape[:-1], -1)


def _light(model: Model, depth: Array) -> Array:
    """Weighted transmittance of each ray, (row, node, wavelength)."""
    light = np.exp(-np.maximum(depth, -_DEEPEST))
    return np.asarray(light * model.node_weight[:, None])


def evaluate(model: Model, state: Array) -> tuple[Array, Array]:
    """Calculate transmittances and their derivatives by the terms' paths.

    Parameters
    ----------
    model : Model
    state : array, shape (block, level)

    Returns
    -------
    array, shape (row, pixel)
    array, shape (row, node, term, pixel)
        Derivative by the path of a term along a ray.
    """
    along = np.einsum("trql,tl->rqt", model.paths, state[model.block])
    light = _light(model, model.fixed + along @ model.spectra)
    value = convolved(model, light.sum(axis=1))
    slope = convolved(model, -light[:, :, None, :] * model.spectra)
    return value, slope


def _cost(model: Model, residual: Array) -> float:
    """Chi-square with the nuisances taken at their best."""
    scaled = model.weight * residual
    basis = model.weight[:, :, None] * model.nuisance
    inner = np.eye(basis.shape[2]) + np.einsum("rpk,rpm->rkm", basis, basis)
    projected = np.einsum("rpk,rp->rk", basis, scaled)
    best = np.linalg.solve(inner, projected[:, :, None])[:, :, 0]
    return float((scaled**2).sum() - (projected * best).sum())


def _weighted(model: Model, columns: Array) -> Array:
    """Apply the inverse of the noise's covariance, nuisances included.

    `columns` (row, pixel, any): D - D B (1 + B^T D B)^-1 B^T D, D = 1 / sigma^2.
    """
    square = model.weight[:, :, None] ** 2
    heavy = square * model.nuisance
    inner = np.eye(heavy.shape[2]) + np.swapaxes(model.nuisance, 1, 2) @ heavy
    removed = heavy @ np.linalg.solve(inner, np.swapaxes(heavy, 1, 2) @ columns)
    return np.asarray(square * columns - removed)


def _size(model: Model) -> int:
    return (int(model.block.max()) + 1) * int(model.paths.shape[3])


def _elements(model: Model, term: int) -> slice:
    levels, block = model.paths.shape[3], int(model.block[term])
    return slice(block * levels, (block + 1) * levels)


def data_terms(model: Model, slope: Array, residual: Array) -> tuple[Array, Array]:
    """Return K^T Se^-1 K and K^T Se^-1 residual.

    Parameters
    ----------
    model : Model
    slope : array, shape (row, node, term, pixel)
    residual : array, shape (row, pixel)
    """
    rows, nodes, terms, pixels = slope.shape
    columns = np.swapaxes(slope.reshape(rows, nodes * terms, pixels), 1, 2)
    heavy = _weighted(model, columns)
    inner = np.swapaxes(columns, 1, 2) @ heavy
    inner = inner.reshape(rows, nodes, terms, nodes, terms)
    push = np.einsum("rpk,rp->rk", heavy, residual).reshape(rows, nodes, terms)
    levels = model.paths.shape[3]
    flat = model.paths.reshape(terms, rows * nodes, levels)
    matrix, vector = np.zeros((_size(model),) * 2), np.zeros(_size(model))
    for s in range(terms):
        vector[_elements(model, s)] += push[:, :, s].ravel() @ flat[s]
        for t in range(s + 1):
            seen = inner[:, :, s, :, t] @ model.paths[t]
            part = flat[s].T @ seen.reshape(rows * nodes, levels)
            matrix[_elements(model, s), _elements(model, t)] += part
            if t != s:
                matrix[_elements(model, t), _elements(model, s)] += part.T
    return matrix, vector


def gradient_of(model: Model, slope: Array, change: Array) -> Array:
    """Return K^T Se^-1 change for a change (row, pixel) of the transmittances."""
    rows, nodes, terms, _ = slope.shape
    heavy = _weighted(model, change[:, :, None])[:, :, 0]
    push = np.einsum("rqtp,rp->rqt", slope, heavy)
    vector = np.zeros(_size(model))
    for s in range(terms):
        flat = model.paths[s].reshape(rows * nodes, -1)
        vector[_elements(model, s)] += push[:, :, s].ravel() @ flat
    return vector


@dataclass(frozen=True)
class Seen:
    """Transmittances and derivatives of `evaluate` at one state, and their fit."""

    value: Array
    slope: Array
    chi_square: float


@dataclass(frozen=True)
class Profile:
    """Result of a fit of profiles; matrices over the whole state."""

    model: Model
    result: Result[Seen]

    @property
    def state(self) -> Array:
        """Profiles, (block, level)."""
        return np.array(list(self.result.state.values()))


def fit_profile(
    model: Model, space: StateSpace, first: Array, max_iterations: int
) -> Profile:
    """Fit profiles by optimal estimation.

    Parameters
    ----------
    model : Model
    space : StateSpace
        One block for each part of the state, in its order.
    first : array, shape (block, level)
        First guess.
    max_iterations : int

    Raises
    ------
    RetrievalError
        No step lowers the cost.
    """
    from tgo_spectra.retrieval.joint import fit

    def see(state: State, _: bool) -> Seen:
        value, slope = evaluate(model, np.array(list(state.values())))
        return Seen(value, slope, _cost(model, model.transmittance - value))

    def expand(seen: Seen) -> tuple[Array, Array]:
        return data_terms(model, seen.slope, model.transmittance - seen.value)

    names = space.names("level")
    guess = dict(zip(names, first, strict=True))
    return Profile(model, fit(see, expand, space, guess, max_iterations=max_iterations))


def conclude_profile(
    fitted: Profile,
    space: StateSpace,
    height_km: Array,
    errors: Mapping[str, Mapping[str, Array]],
    amounts: Mapping[str, Mapping[str, Array]],
) -> Conclusion:
    """Tell how far a fit of profiles is to be trusted.

    ``errors``, ``amounts``: of the profiles by what is not in the fit, by block and
    source, see `Conclusion`.
    """
    model, result = fitted.model, fitted.result
    residual = model.weight * (model.transmittance - result.final.value)
    basis = spanned(model.weight[:, :, None] * model.nuisance)
    left = residual - np.einsum("rkp,rk->rp", basis, np.einsum(
        "rkp,rp->rk", basis, residual))  # fmt: skip
    return conclude_plainly(
        Whitened.residuals(left, model.weight > 0.0, basis),
        space,
        space.pack(result.state),
        result.data_matrix,
        result.covariance,
        space.constraint,
        np.zeros(len(left), dtype=np.intp),
        height_km,
        result.iterations,
        lambda _: (errors, amounts),
        converged=result.converged,
        at_edge=False,  # shifts are found without a search
    )


@dataclass(frozen=True)
class SlantFit:
    """Result of fits spectrum by spectrum; the first parameter is the ozone column.

    ``state``, ``error`` (row, parameter); ``gain`` (row, pixel): derivative of the
    ozone column by the transmittances; ``chi_square``, ``degrees`` (row,): of the
    fit, and pixels less parameters; ``converged`` (row,); ``noise``: of each row, as
    its residuals have it.
    """

    state: Array
    error: Array
    gain: Array
    value: Array
    chi_square: Array
    degrees: Array
    converged: npt.NDArray[np.bool_]
    noise: list[Noise]


def _rows_evaluated(model: Model, state: Array) -> tuple[Array, Array]:
    """Transmittance and derivatives by a row's own parameters (row, pixel, block)."""
    along = np.einsum("trq,rt->rqt", model.paths[..., 0], state[:, model.block])
    light = _light(model, model.fixed + along @ model.spectra)
    change = np.zeros((light.shape[0], state.shape[1], light.shape[2]))
    for term, block in enumerate(model.block):
        seen = np.einsum("rqw,rq->rw", light, model.paths[term, :, :, 0])
        change[:, block] -= seen * model.spectra[term]
    return (
        convolved(model, light.sum(axis=1)),
        np.swapaxes(convolved(model, change), 1, 2),
    )


def _of_rows(model: Model, rows: npt.NDArray[np.intp]) -> Model:
    """Keep some rows; nuisances, which single spectra do not use, are left alone."""
    return replace(
        model,
        paths=model.paths[:, rows],
        fixed=model.fixed[rows],
        transmittance=model.transmittance[rows],
        weight=model.weight[rows],
    )


def _first_guess(model: Model, free: npt.NDArray[np.bool_], start: Array) -> Array:
    """Solve for optical depths, weighted with the light that is left."""
    y = np.maximum(model.transmittance, 0.02)
    unlit = np.zeros_like(start)
    held = start * ~free
    base, slope = _rows_evaluated(model, unlit)
    slope = slope / base[:, :, None]
    depth = np.log(y) - np.log(base) - np.einsum("rpb,rb->rp", slope, held)
    weight = model.weight * y
    a = weight[:, :, None] * slope[:, :, free]
    return _solved(a, weight * depth, free, held)


def _solved(a: Array, b: Array, free: npt.NDArray[np.bool_], start: Array) -> Array:
    """Least squares of each row for its free parameters, added to `start`."""
    scale = np.sqrt((a**2).sum(axis=1))
    scale = np.where(scale > 0.0, scale, 1.0)
    a = a / scale[:, None, :]
    inner = np.swapaxes(a, 1, 2) @ a
    inner += UNKNOWN * np.eye(a.shape[2])
    step = np.linalg.solve(inner, np.einsum("rpb,rp->rb", a, b)[:, :, None])[:, :, 0]
    result = start.copy()
    result[:, free] += step / scale
    return result


def fit_slant(
    model: Model,
    max_iterations: int,
    *,
    held_column: Array | None = None,
    first: Array | None = None,
) -> SlantFit:
    """Fit each spectrum by itself.

    Parameters
    ----------
    model : Model
        With one level: ``paths`` (term, row, node, 1) are relative to the row.
        Nuisances are not used: the continuum takes them.
    max_iterations : int
    held_column : array, shape (row,), optional
        Ozone columns that are kept, for the chi-square with them; by default fitted.
    first : array, shape (row, parameter), optional
        First guess.

    Returns
    -------
    SlantFit
    """
    from tgo_spectra.retrieval.solve import Evaluation, descend

    blocks = int(model.block.max()) + 1
    rows = model.transmittance.shape[0]
    free = np.ones(blocks, dtype=bool)
    state = np.zeros((rows, blocks)) if first is None else first.copy()
    if held_column is not None:
        free[0] = False
        state[:, 0] = held_column
    if first is None or held_column is not None:
        state = _first_guess(model, free, state)

    def see(items: npt.NDArray[np.intp], x: Array) -> Evaluation:
        whole, part = state[items], _of_rows(model, items)
        whole[:, free] = x
        value, slope = _rows_evaluated(part, whole)
        residual = part.weight * (part.transmittance - value)
        a = part.weight[:, :, None] * slope[:, :, free]
        return Evaluation(
            (residual**2).sum(axis=1),
            np.swapaxes(a, 1, 2) @ a,
            np.einsum("rpb,rp->rb", a, residual),
            {"value": value, "slope": a},
        )

    size = int(free.sum())
    # units of the parameters: the inverse of what one of them does to all the light
    bright = see(np.arange(rows), np.zeros((rows, size))).matrix
    scale = np.einsum("rbb->rb", bright)
    scale = np.where(scale > 0.0, scale, 1.0)[:, :, None] * np.eye(size)
    found = descend(
        see,
        state[:, free],
        state[:, free],
        UNKNOWN * scale,
        max_iterations=max_iterations,
        scale=scale,
    )
    state[:, free] = found.vector
    return _slant_result(model, state, found, free)


def without_outliers(model: Model, fit: SlantFit) -> Model:
    """Leave out pixels that are far from the fit of their spectrum, or of all.

    In units of its errors, or of the robust width of its residuals if that is larger.
    """
    used = model.weight > 0.0
    residual = model.weight * (model.transmittance - fit.value)
    seen = np.where(used, np.abs(residual), np.nan)
    known = np.isfinite(seen).any(axis=1)
    width = np.ones(len(seen))
    width[known] = np.maximum(1.4826 * np.nanmedian(seen[known], axis=1), 1.0)
    residual = residual / width[:, None]
    far = (np.abs(residual) > CLIP_SIGMA) | standing_out(residual, used)
    return replace(model, weight=np.where(far, 0.0, model.weight))


def _slant_result(
    model: Model, state: Array, found: Descent, free: npt.NDArray[np.bool_]
) -> SlantFit:
    information = np.einsum("rbb->rb", found.final.matrix)
    known = (information > 0.0).all(axis=1)
    error = np.zeros_like(state)
    variance = np.einsum("rbb->rb", found.covariance)
    error[:, free] = np.sqrt(np.where(known[:, None], variance, np.nan))
    slope = np.asarray(found.final.beside["slope"], dtype=float)
    gain = np.einsum("rb,rpb->rp", found.covariance[:, 0], slope) * model.weight
    value = np.asarray(found.final.beside["value"], dtype=float)
    residual = model.weight * (model.transmittance - value)
    return SlantFit(
        state=state,
        error=error,
        gain=gain,
        value=value,
        noise=noise.of_rows(residual, model.weight > 0.0, spanned(slope)),
        chi_square=found.final.chi_square,
        degrees=(model.weight > 0.0).sum(axis=1) - float(free.sum()),
        converged=found.converged & known,
    )


def spanned(columns: Array) -> Array:
    """Orthonormal basis of columns, (row, pixel, column) to (row, column, pixel)."""
    size = np.sqrt((columns**2).sum(axis=1, keepdims=True))
    return np.swapaxes(np.linalg.qr(columns / np.where(size > 0.0, size, 1.0))[0], 1, 2)
