"""What temperature, pressure and the widths of lines do to the spectra of a fit of SO.

They act through the cross sections. Along one atmosphere those of a gas and their
derivatives span few directions, so that the derivatives to all knots of all corrections
are weights of the same few fields: see `tgo_spectra.forward.transmittance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.retrieval.linear import seen_by_rows
from tgo_spectra.retrieval.models.so import scene as scenes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = ["slopes"]


SPAN_TOLERANCE = 3e-3
"""Singular values of the changes of a gas's cross sections along an atmosphere,
weighted by the root of the density, that are left out, relative to the largest.
Derivatives are good to 3e-3 below 60 km (order 134, four gases)."""


def slopes(
    scene: Scene, state: State, seen_by: Operator, weights: Mapping[str, Array]
) -> dict[str, Array]:
    """Return derivatives of the rows' transmittance.

    Parameters
    ----------
    scene : Scene
        At the state.
    state : State
    seen_by : Operator
        At the state.
    weights : dict of array, shape (point, element)
        How much of each element a quadrature point has: of ``temperature`` (K), of the
        logarithm of ``pressure``, of ``broadening``, the widths of all lines, relative.

    Returns
    -------
    dict of array, shape (row, element, pixel)
        Of ``broadening``, the elements of one gas after those of another.
    """
    limb, rates = scene.limb.sparse, _rates(scene)
    turns = [_span(rate, scene.air["number_density"].values) for rate in rates.values()]
    factors = forward.turned(limb.table, turns)
    seen = operator.apply_factors(
        seen_by, factors, forward.node_transmittance(limb, state)
    )  # (pixel, direction, height)
    ends = np.cumsum([turn.shape[1] for turn in turns])
    fields = dict(zip(rates, np.split(seen, ends[:-1], axis=1), strict=True))
    found = {}
    for kind, hats in weights.items():
        parts = []
        for (gas, rate), turn in zip(rates.items(), turns, strict=True):
            along = turn.T @ (rate[kind] * (limb.hats @ state[gas]))
            # (height, element, direction), of minus the optical depth
            path = -np.einsum("hp,pe,kp->hek", limb.air_cm2, hats, along, optimize=True)
            field = fields[gas].transpose(2, 1, 0)
            parts.append(path.astype(field.dtype) @ field)
        by_gas = kind == "broadening"
        heights = np.concatenate(parts, axis=1) if by_gas else np.sum(parts, axis=0)
        found[kind] = seen_by_rows(scene.jacobian_rows, heights)
    return found


def _rates(scene: Scene) -> dict[str, dict[str, Array]]:
    """Give changes of cross section times density at the points, over the density.

    By gas and kind, (rank, point), cm2 per unit of `slopes`.
    """
    gases, temperature = tuple(scene.limb.gases), scene.air["temperature"].values
    by_ln_p, by_t = (
        scenes.in_columns(scene, gases, scene.air, scene.wider, order)
        for order in ((1, 0), (0, 1))
    )
    free = scenes.free_gases(scene.setup)
    rates = {}
    for gas in gases:
        # n ~ p / T: of a mole fraction there is more in denser air
        more = 0.0 if gas in free else scene.limb.gases[gas].coefficients
        rates[gas] = {
            "temperature": by_t[gas] - more / temperature,
            "pressure": by_ln_p[gas] + more,
            "broadening": by_ln_p[gas] / (1.0 + scene.wider.get(gas, 0.0)),
        }
    return rates


def _span(rates: Mapping[str, Array], number_density_cm3: Array) -> Array:
    """Directions that the changes span along an atmosphere, (rank, few)."""
    weighted = [rate * np.sqrt(number_density_cm3) for rate in rates.values()]
    # each kind counts alike: their units differ
    together = np.concatenate([one / np.linalg.norm(one) for one in weighted], axis=1)
    squares, turned = np.linalg.eigh(together @ together.T)
    few = squares > SPAN_TOLERANCE**2 * squares[-1]
    return np.asarray(turned[:, few])
