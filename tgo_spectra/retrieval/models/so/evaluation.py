"""The forward model along a fit: one scene, evaluated at one state after another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.retrieval import linear
from tgo_spectra.retrieval.elements import ELEMENTS, elements_of
from tgo_spectra.retrieval.kernels import Bands
from tgo_spectra.retrieval.models.so.scene import detector_position

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]

__all__ = [
    "Evaluator",
    "expansion_of",
    "measurement_of",
    "row_paths",
]

REBUILD_PX = 0.05
"""The operator is rebuilt when the mean shift has moved farther than this; within it
the second-order expansion in shift is good to 3e-6 in transmittance (order 134)."""


def measurement_of(scene: Scene) -> linear.Measurement:
    """Return what was measured, and how rows and pixels relate to the model."""
    p = scene.prepared
    pixels = p.pixels.astype(float)
    return linear.Measurement(
        transmittance=p.transmittance,
        weight=p.weight,
        bin=p.bin,
        n_bins=p.n_bins,
        rows=scene.rows,
        jacobian_rows=scene.jacobian_rows,
        position=detector_position(pixels),
        dispersion_cm1=p.dispersion(pixels),
        baseline_degree=scene.setup.baseline_degree,
    )


def expansion_of(scene: Scene, space: StateSpace) -> linear.Expansion:
    """Return what takes the rows' fields to the state."""
    extra = tuple(elements_of(scene.setup))
    return linear.Expansion(space, row_paths(scene), scene.prepared.bin, extra)


def row_paths(scene: Scene) -> dict[str, Array]:
    """Path weights as the rows see them: per gas (row, k, level)."""
    paths: dict[str, Array] = {}
    dtype = scene.limb.dtype
    rows = Bands(scene.rows, dtype)
    altitude, prepared = scene.limb.altitude_km, scene.prepared
    lowest = prepared.altitude_km - 0.5 * prepared.boxcars_km.sum(axis=1)
    hidden = altitude[None, :] + np.diff(altitude).max() < lowest[:, None]
    for gas, item in scene.limb.gases.items():
        k, heights, levels = item.path.shape
        flat = item.path.transpose(1, 0, 2).astype(dtype).reshape(heights, k * levels)
        seen = np.empty((rows.shape[0], k, levels), dtype=dtype)
        rows.times(flat, seen.reshape(-1, k * levels))
        # the spline through the heights leaves crumbs below the line of sight
        for row, count in enumerate(hidden.sum(axis=1)):
            seen[row, :, :count] = 0.0
        paths[gas] = seen
    return paths


@dataclass
class Evaluator:
    """The forward model along an iteration: keeps the operator while it is good.

    ``depth``: aerosol optical depth per row, from the brightness last fitted.
    """

    scene: Scene
    measurement: linear.Measurement

    def __post_init__(self) -> None:
        self.built = (np.inf, np.inf)
        self.elements = tuple(elements_of(self.scene.setup))
        self.settings: tuple[float, ...] = ()
        self.operator: Operator | None = None
        self.beside: list[Operator] = []
        used = self.measurement.weight > 0
        mean = (self.measurement.transmittance * used).sum(axis=1) / used.sum(axis=1)
        self.depth = depth_of(mean)

    def __call__(self, state: State, with_jacobian: bool) -> linear.Linearised:
        """Evaluate at a state."""
        result = self.linearise(state, with_jacobian)
        self.depth = depth_of(result.baseline[:, 0])
        return result

    def linearise(
        self, state: State, with_jacobian: bool, measured: Array | None = None
    ) -> linear.Linearised:
        """Evaluate at a state; with other spectra than those measured if given."""
        fields = self.fields(state, with_jacobian)
        measurement = self.measurement
        if measured is not None:
            measurement = replace(measurement, transmittance=measured)
        extra = self.extra_fields(state)
        return linear.linearise(
            fields, measurement, state, self.built, self.depth, extra
        )

    def fields(self, state: State, with_jacobian: bool) -> forward.PixelFields:
        """Return the convolved fields; rebuild the operator if it has to be."""
        wanted = place_of(state)
        settings = tuple(float(state[name][0]) for name in self.elements)
        moved = max(abs(wanted[0] - self.built[0]), abs(wanted[1] - self.built[1]))
        if self.operator is None or moved > REBUILD_PX or self.settings != settings:
            self.operator, self.beside = self._operators(wanted, settings)
            self.built, self.settings = wanted, settings
        model = forward.pixel_fields if with_jacobian else forward.pixel_values
        return model(self.scene.limb, self.operator, state)

    def _operators(
        self, wanted: tuple[float, float], settings: tuple[float, ...]
    ) -> tuple[Operator, list[Operator]]:
        """Build the operator and, for each element, those on either side."""
        values = dict(zip(self.elements, settings, strict=True))
        middle = self.scene.operator(*wanted, offsets=values)
        sides = []
        for name in self.elements:
            for sign in (1.0, -1.0):
                moved = values | {name: values[name] + sign * ELEMENTS[name].step}
                sides.append(self.scene.operator(*wanted, offsets=moved))
        return middle, sides

    def extra_fields(self, state: State) -> Array | None:
        """Return d(transmittance)/d(element), (height, element, pixel)."""
        if not self.elements:
            return None
        t = forward.node_transmittance(self.scene.limb, state)
        seen = [operator.apply(side, t) for side in self.beside]
        steps = [ELEMENTS[name].step for name in self.elements]
        pairs = zip(seen[::2], seen[1::2], steps, strict=True)
        fields = [(plus - minus) / (2.0 * step) for plus, minus, step in pairs]
        return np.stack(fields).transpose(2, 0, 1)

    def truncation(self, state: State) -> float:
        """Largest change of pixel transmittance by the outermost pair of orders.

        Seen at a few of the lower heights. Light falls off outwards, so that the
        orders beyond would change less.
        """
        assert self.operator is not None
        count = self.scene.limb.height_km.size
        heights = np.unique(np.linspace(0, count // 3, 4).astype(int))
        limb = forward.at_heights(self.scene.limb, heights)
        field = forward.node_transmittance(limb, state)
        return operator.truncation_residual(self.operator, field)


def place_of(state: State) -> tuple[float, float]:
    """Return the mean shift and the stretch (pixel) at which an operator is made."""
    return float(state[linear.SHIFT].mean()), float(state[linear.STRETCH][0])


def depth_of(brightness: Array) -> Array:
    """Aerosol optical depth from the brightness level of a row."""
    return np.clip(-np.log(np.clip(brightness, 1e-3, None)), 0.0, None)
