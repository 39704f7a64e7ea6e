"""Linear algebra and profile Jacobian of the fit with whole arrays, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval import linear
from tgo_spectra.retrieval.linear import place_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.forward.transmittance import PixelFields
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]


def fit_baseline(
    measurement: linear.Measurement, spectrum: Array
) -> tuple[Array, Array, Array, Array]:
    """Weighted least squares of the baseline of each row.

    Returns the whitened columns (row, pixel, coefficient), their Gram matrices, the
    coefficients (row, coefficient) and the whitened residual (row, pixel).
    """
    m = measurement
    columns = m.polynomials.T[None] * (spectrum * m.weight)[:, :, None]
    target = m.transmittance * m.weight
    gram = columns.transpose(0, 2, 1) @ columns
    right = columns.transpose(0, 2, 1) @ target[:, :, None]
    coefficients = np.linalg.solve(gram, right)[:, :, 0]
    residual = target - (columns @ coefficients[:, :, None])[:, :, 0]
    return columns, gram, coefficients, residual


def linearise_plainly(
    fields: PixelFields,
    measurement: linear.Measurement,
    state: State,
    built: tuple[float, float],
    depth: Array,
) -> linear.Linearised:
    """Do the same as `tgo_spectra.retrieval.linear.linearise` with whole arrays."""
    m = measurement
    spectrum, small = linear.row_spectra(fields, m, state, built, depth)
    columns, inner, coefficients, residual = fit_baseline(m, spectrum)
    base = coefficients @ m.polynomials
    scale = base * m.weight
    chi_square = float(np.einsum("rp,rp->", residual, residual))
    gram, gradient = _reduced(fields, m, small, scale, columns, inner, residual)
    return linear.Linearised(
        base * spectrum, residual, coefficients, chi_square, gram, gradient
    )


def _reduced(
    fields: PixelFields,
    m: linear.Measurement,
    small: list[Array],
    scale: Array,
    columns: Array,
    inner: Array,
    residual: Array,
) -> tuple[Array, Array]:
    """Gram matrix and gradient of the whitened derivatives without the baseline."""
    dtype = next((f.dtype for f in fields.gas.values()), scale.dtype)
    rows = m.jacobian_rows.astype(dtype)
    ranks = [f.shape[1] for f in fields.gas.values()]
    derivative = np.empty((*scale.shape, sum(ranks) + 3), dtype=dtype)
    start = 0
    for field, k in zip(fields.gas.values(), ranks, strict=True):
        seen = rows @ field.reshape(-1, field.shape[2]).T
        derivative[:, :, start : start + k] = seen.reshape(*scale.shape, k)
        start += k
    for index, term in enumerate(small):
        derivative[:, :, start + index] = term
    derivative *= scale[:, :, None].astype(dtype)
    transposed = derivative.transpose(0, 2, 1)
    gram = (transposed @ derivative).astype(np.float64)
    cross = (transposed @ columns.astype(dtype)).astype(np.float64)
    gram -= cross @ np.linalg.solve(inner, cross.transpose(0, 2, 1))
    gradient = (transposed @ residual[:, :, None].astype(dtype))[:, :, 0]
    return gram, gradient.astype(np.float64)


def full_jacobian(scene: Scene, state: State) -> tuple[Array, Array]:
    """Model without baseline and its derivative to every profile element.

    The slow, explicit path: the product of field and path is averaged over the field
    of view, not the factors. With a scene whose limb keeps all directions in float64
    this is the exact derivative; the fit uses the fast one.

    Shapes (row, pixel) and (row, pixel, gas x level).
    """
    built = scene.operator(*place_of(state))
    fields = forward.pixel_fields(scene.limb, built, state)
    blocks = []
    for gas in scene.setup.gases:
        path = scene.limb.gases[gas].path
        by_height = np.einsum("pkh,khl->hpl", fields.gas[gas], path, optimize=True)
        blocks.append(np.einsum("rh,hpl->rpl", scene.rows, by_height, optimize=True))
    return scene.rows @ fields.value.T, np.concatenate(blocks, axis=2)
