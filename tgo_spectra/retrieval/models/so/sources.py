"""What else is known to be uncertain, as elements of the state of a fit of SO spectra.

Temperature and pressure on the line of sight, pointing, widths of lines, light of far
orders, zero level and drift of the wavenumber scale. Each has an a priori of its known
size and acts through a derivative taken once: to fit an element with its a priori is to
add K_b S_b K_b^T to the covariance of the noise (Rodgers 2000, section 4.1.2), but for
what the spectra themselves tell of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response.fields import with_fewer_orders
from tgo_spectra.retrieval.elements import ELEMENTS, elements_of, fitted_sources
from tgo_spectra.retrieval.given import air_within, stated
from tgo_spectra.retrieval.linear import DRIFT, seen_by_rows
from tgo_spectra.retrieval.models.so import air as airs
from tgo_spectra.retrieval.models.so import scene as scenes
from tgo_spectra.retrieval.state import Block, exponential_covariance, independent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = [
    "AIR",
    "ANCHORED",
    "ORDER_PAIRS",
    "POINTING",
    "PRESSURE",
    "SOURCES",
    "TEMPERATURE",
    "air_prior",
    "anchored",
    "blocks_of",
    "by_outer_orders",
    "corrections",
    "derivative",
    "derivatives",
    "knots_km",
    "known_blocks",
    "moved_air",
    "names_of",
    "pointed",
    "wave_sigma",
]

TEMPERATURE, PRESSURE = "temperature_correction", "pressure_correction"
POINTING, ORDERS = "pointing_offset", "outer_orders"
ZERO = "zero_level"
BROADENING = "broadening_correction"
ANCHORED = (TEMPERATURE, PRESSURE, POINTING, BROADENING)
"""What a scene can be moved to: the spectra are not linear in it."""

BY_AIR = (TEMPERATURE, PRESSURE, BROADENING)
"""What acts through the cross sections."""

SOURCES = {
    TEMPERATURE: "temperature",
    PRESSURE: "pressure",
    POINTING: "pointing",
    ORDERS: "outer_orders",
    ZERO: "zero_level",
    BROADENING: "broadening",
    DRIFT: "drift",
}
"""Name of the error by each block; the drift last: spectra are not linear in it."""

AIR = {TEMPERATURE: 7.0, PRESSURE: 20.0}
"""Corrections of the air, and km between their knots, linear in between: finer ones
change the methane of a layer by less than 2 pptv when the truth is random over 5 to
20 km."""

KNOTS_TOP_KM = 90.0
"""Above, corrections are those of the highest knot: little gas is left."""

PRESSURE_LENGTH_KM = 40.0
"""Correlation of the pressure's error along altitude (inferred: it follows from
temperatures below over scale heights)."""

STEP_KM = 0.1
"""Of the derivative to the pointing, by differences."""

DRIFT_KM = 60.0
"""Tangent altitude over which the wavenumber scale moves by the drift."""

ORDER_PAIRS = (2, 2, 1)
"""Pairs of orders that the elements take out, from the outermost inwards, each in doubt
with all of its light: that of orders so far out, of ten, was measured by nobody."""


def names_of(setup: RetrievalSetup) -> tuple[str, ...]:
    """Return the blocks that a setup has in its fit."""
    return tuple(
        name
        for name, source in SOURCES.items()
        if source in fitted_sources(setup)
        and (name != ORDERS or setup.instrument.n_orders >= ORDER_PAIRS[0])
    )


def known_blocks(setup: RetrievalSetup) -> dict[str, str]:
    """Return the name of the error by each block of a known source in the fit."""
    found = {name: ELEMENTS[name].source for name in elements_of(setup)}
    return found | {name: SOURCES[name] for name in names_of(setup)}


def wave_sigma(setup: RetrievalSetup) -> float:
    """Return the a priori amplitude of waves in the baseline; zero: none are fitted."""
    return setup.systematics.waves if "waves" in fitted_sources(setup) else 0.0


def knots_km(scene: Scene, step_km: float) -> Array:
    """Altitudes of the knots of a correction."""
    low = float(scene.limb.altitude_km[0])
    top = min(KNOTS_TOP_KM, float(scene.limb.altitude_km[-1]))
    count = max(int((top - low) // step_km), 1)
    return np.asarray(low + step_km * np.arange(count + 1))


def blocks_of(scene: Scene) -> list[Block]:
    """Return the blocks in the fit with their a priori."""
    wish, size = scene.setup.systematics, {}
    size[POINTING], size[ZERO] = wish.pointing_km, wish.zero_level
    size[DRIFT] = wish.drift_px
    blocks = []
    for name in names_of(scene.setup):
        if name in AIR:
            knots, covariance = air_prior(scene, SOURCES[name])
            blocks.append(Block(name, np.zeros(knots.size), covariance, variable="-"))
        elif name == ORDERS:
            count, sigma = _order_count(scene), wish.outer_orders
            blocks.append(independent(name, sigma, size=count, variable="-"))
        elif name == BROADENING:
            count = len(scene.limb.gases)
            blocks.append(independent(name, wish.broadening, size=count, variable="-"))
        else:
            blocks.append(independent(name, size[name], variable=f"fitted_{name}"))
    return blocks


def air_prior(scene: Scene, source: str) -> tuple[Array, Array]:
    """Knots, km, and a priori covariance of a correction of the air.

    The atmosphere's own uncertainty where it states one, else that of the setup.

    Parameters
    ----------
    scene : Scene
    source : {"temperature", "pressure"}
    """
    wish = scene.setup.systematics
    if source == "temperature":
        step, given = AIR[TEMPERATURE], wish.temperature_k
        length = wish.temperature_correlation_km
    else:
        step, given, length = AIR[PRESSURE], wish.pressure, PRESSURE_LENGTH_KM
    knots = knots_km(scene, step)
    altitude = scene.levels["altitude"].values
    sigma = np.interp(knots, altitude, stated(scene.levels, source, given))
    return knots, exponential_covariance(knots, sigma, length)


def _order_count(scene: Scene) -> int:
    return int((np.cumsum(ORDER_PAIRS) <= scene.setup.instrument.n_orders).sum())


def corrections(scene: Scene, state: State) -> tuple[Array, Array]:
    """Corrections of temperature (K) and of the logarithm of pressure at the points."""
    found = {name: np.zeros(scene.points_km.size) for name in AIR}
    for name, step in AIR.items():
        if name in state:
            knots = knots_km(scene, step)
            found[name] = np.interp(scene.points_km, knots, state[name])
    return found[TEMPERATURE], found[PRESSURE]


def moved_air(scene: Scene, warmer_k: Array, log_p: Array) -> xr.Dataset:
    """Return a scene's air at other temperatures and pressures, within its table."""
    return air_within(scene.air, scene.band, warmer_k, log_p)


def anchored(scene: Scene, state: State) -> Scene:
    """Return the scene with air, widths of lines and pointing that a fit has found."""
    changed, air = scene, scene.air
    if BROADENING in state:
        wider = dict(zip(scene.limb.gases, state[BROADENING].tolist(), strict=True))
        changed = replace(changed, wider=wider)
    if any(name in state for name in AIR):
        air = moved_air(scene, *corrections(scene, state))
    if air is not scene.air or changed is not scene:
        changed = scenes.with_air(changed, air)
    if POINTING in state:
        changed = pointed(changed, float(state[POINTING][0]))
    return changed


def pointed(scene: Scene, offset_km: float) -> Scene:
    """Return the scene with all rows seen higher."""
    heights, p = scene.limb.height_km, scene.prepared
    centre = np.clip(p.altitude_km + offset_km, heights[0], heights[-1])
    rows = geometry.fov_operator(heights, centre, p.boxcars_km)
    return scenes.with_rows(scene, rows)


def derivatives(
    scene: Scene,
    state: State,
    seen_by: Operator,
    fields: forward.PixelFields,
    depth: Array,
) -> list[Array]:
    """Return the derivatives to the elements of all blocks in the fit, in their order.

    Parameters
    ----------
    scene, state, seen_by, fields, depth
        As for `derivative`.

    Returns
    -------
    list of array, shape (row, element, pixel)
    """
    names, points = names_of(scene.setup), scene.points_km
    weights = {
        SOURCES[name]: forward.hat_matrix(knots_km(scene, AIR[name]), points)
        if name in AIR
        else np.ones((points.size, 1))
        for name in names
        if name in BY_AIR
    }
    found = airs.slopes(scene, state, seen_by, weights) if weights else {}
    return [
        found[SOURCES[name]]
        if name in BY_AIR
        else derivative(scene, name, state, seen_by, fields, depth)
        for name in names
    ]


def derivative(
    scene: Scene,
    name: str,
    state: State,
    seen_by: Operator,
    fields: forward.PixelFields,
    depth: Array,
) -> Array:
    """Return the derivative of the transmittance to the elements of a block.

    Parameters
    ----------
    scene : Scene
        At the state.
    name : str
        One of `names_of`, none of `BY_AIR`.
    state : State
    seen_by : Operator
        At the state.
    fields : PixelFields
        There.
    depth : array, shape (row,)
        Aerosol optical depth.

    Returns
    -------
    array, shape (row, element, pixel)
    """
    return _DERIVATIVES[name](scene, state, seen_by, fields, depth)


def _by_pointing(
    scene: Scene,
    state: State,
    _seen_by: Operator,
    fields: forward.PixelFields,
    _depth: Array,
) -> Array:
    at = float(state[POINTING][0])
    rows = [pointed(scene, at + sign * STEP_KM).rows for sign in (1.0, -1.0)]
    slope = (rows[0] - rows[1]) / (2.0 * STEP_KM)
    return np.asarray((slope.astype(fields.value.dtype) @ fields.value.T)[:, None, :])


def _by_orders(
    scene: Scene,
    state: State,
    seen_by: Operator,
    _fields: forward.PixelFields,
    _depth: Array,
) -> Array:
    seen = forward.node_transmittance(scene.limb.sparse, state)
    return by_outer_orders(scene, seen_by, seen)


def by_outer_orders(scene: Scene, seen_by: Operator, transmittance: Array) -> Array:
    """Change by the light of each of some pairs of orders, from the outermost.

    ``transmittance``: (node, height of the Jacobian). Returns (row, pair, pixel).
    """
    pairs = ORDER_PAIRS[: _order_count(scene)]
    seen = with_fewer_orders(seen_by, transmittance, pairs)
    change = (seen[:-1] - seen[1:]).transpose(2, 0, 1)
    return seen_by_rows(scene.jacobian_rows, np.ascontiguousarray(change))


def _by_zero_level(
    scene: Scene,
    _state: State,
    _seen_by: Operator,
    fields: forward.PixelFields,
    depth: Array,
) -> Array:
    """Light added to all spectra, and to that of the Sun: (t + z) / (1 + z)."""
    value = scene.rows.astype(fields.value.dtype) @ fields.value.T
    return np.asarray((np.exp(depth).astype(value.dtype)[:, None] - value)[:, None, :])


def _by_drift(
    scene: Scene,
    _state: State,
    _seen_by: Operator,
    fields: forward.PixelFields,
    _depth: Array,
) -> Array:
    """Shift that grows with the tangent altitude, 1 pixel in `DRIFT_KM`."""
    prepared = scene.prepared
    along = drift_position(prepared.altitude_km)
    shift = scene.rows.astype(fields.shift.dtype) @ fields.shift.T
    shift *= prepared.dispersion(prepared.pixels.astype(float)).astype(shift.dtype)
    return np.asarray((shift * along.astype(shift.dtype)[:, None])[:, None, :])


def drift_position(altitude_km: Array) -> Array:
    """Place of rows along a drift: -1 at the ground, 1 at 120 km.

    The tangent altitude runs with time, and does so in any selection of rows.
    """
    return np.asarray(altitude_km / DRIFT_KM - 1.0)


_DERIVATIVES: Mapping[str, Callable[..., Array]] = {
    POINTING: _by_pointing,
    ORDERS: _by_orders,
    ZERO: _by_zero_level,
    DRIFT: _by_drift,
}
