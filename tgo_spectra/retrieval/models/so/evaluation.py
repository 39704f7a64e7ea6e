"""The forward model along a fit: one scene, evaluated at one state after another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.instruments.response.fields import truncation_residual
from tgo_spectra.retrieval import linear
from tgo_spectra.retrieval.elements import ELEMENTS, elements_of
from tgo_spectra.retrieval.kernels import Bands
from tgo_spectra.retrieval.linear import REBUILD_PX, place_of
from tgo_spectra.retrieval.models.so import sources
from tgo_spectra.retrieval.models.so.scene import detector_position
from tgo_spectra.retrieval.spectra import RowModel, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]

__all__ = ["Evaluator", "expansion_of", "extra_names", "measurement_of", "row_paths"]


IMPOSSIBLE_SIGMAS = 15.0
"""From its a priori, of an element of the instrument: with it no pixel may get light.
Results are flagged far below."""

FAR = 1.2
"""A priori sigmas by which an element of the instrument may end away from where its
derivative was taken."""

HIGHER_STEP_PX = 0.3
"""Of the differences that give the third and fourth derivative by the shift."""


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
        place=sources.drift_position(p.altitude_km),
    )


def expansion_of(scene: Scene, space: StateSpace) -> linear.Expansion:
    """Return what takes the rows' fields to the state."""
    return linear.Expansion(
        space, row_paths(scene), scene.prepared.bin, extra_names(scene)
    )


def extra_names(scene: Scene) -> tuple[str, ...]:
    """Blocks whose elements are fields of the rows, in their order."""
    return (*elements_of(scene.setup), *sources.names_of(scene.setup))


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


class SoModel(RowModel):
    """Spectra of SO, which hold light of several orders of the grating."""

    operator: Operator | None

    def on_nodes(self, state: State, heights: npt.NDArray[np.intp]) -> Array:
        """Return the transmittance on the nodes at some heights, (node, height)."""
        raise NotImplementedError

    def truncation(self, state: State) -> float:
        """Largest change of pixel transmittance by the outermost pair of orders.

        Seen at a few of the lower heights. Light falls off outwards, so that the
        orders beyond would change less.
        """
        assert self.operator is not None
        count = self.measurement.rows.shape[1]
        heights = np.unique(np.linspace(0, count // 3, 4).astype(int))
        return truncation_residual(self.operator, self.on_nodes(state, heights))


@dataclass
class Evaluator(SoModel):
    """The forward model along an iteration: keeps the operator while it is good.

    Derivatives to the elements of the instrument and to the sources of
    `tgo_spectra.retrieval.models.so.sources` are taken once, where the model is first
    linearised. The instrument itself is built anew as its elements move; the sources
    act through their derivatives alone, from ``anchor``, where the scene has them.

    ``depth``: aerosol optical depth per row, from the brightness last fitted; ``last``:
    the fields last made, with what they were made of, since a state is often asked for
    twice; ``sides``: settings of the elements and change of the operator by each there.
    """

    scene: Scene
    measurement: linear.Measurement
    anchor: State = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.last: tuple[Operator, bool, State, forward.PixelFields] | None = None
        self.sides: tuple[tuple[float, ...], list[Operator]] | None = None
        self.start()
        self.elements = tuple(elements_of(self.scene.setup))
        self.known = sources.names_of(self.scene.setup)
        self.settings: tuple[float, ...] = ()
        self.operator: Operator | None = None
        self.derivatives: Array | None = None
        self.higher: Array | None = None

    def seen(self, state: State, with_jacobian: bool) -> Seen:
        """Return what the rows see at a state, with or without derivatives."""
        fields = self.fields(state, with_jacobian)
        extra = self.extra(state, fields) if with_jacobian else None
        return Seen(fields, extra, self.beside(state, fields))

    def fields(self, state: State, with_jacobian: bool) -> forward.PixelFields:
        """Return the convolved fields; rebuild the operator if it has to be."""
        wanted = place_of(state)
        settings = tuple(float(state[name][0]) for name in self.elements)
        moved = max(abs(wanted[0] - self.built[0]), abs(wanted[1] - self.built[1]))
        if self.operator is None or moved > REBUILD_PX or self.settings != settings:
            values = dict(zip(self.elements, settings, strict=True))
            self._refuse(values)
            self.operator = self.scene.operator(*wanted, offsets=values)
            self.built, self.settings = wanted, settings
        gases = {gas: np.array(state[gas]) for gas in self.scene.limb.gases}
        if self.last is not None:
            seen_by, whole, at, made = self.last
            same = all(np.array_equal(gases[gas], at[gas]) for gas in gases)
            if same and seen_by is self.operator and whole >= with_jacobian:
                return made if with_jacobian else replace(made, gas={})
        model = forward.pixel_fields if with_jacobian else forward.pixel_values
        fields = model(self.scene.limb, self.operator, state)
        self.last = self.operator, with_jacobian, gases, fields
        return fields

    def follow(self, other: Evaluator) -> None:
        """Go on from another model of these spectra, with the same instrument.

        Costs must compare: the aerosol is the same. What was made of the instrument
        stays while it is good.
        """
        self.depth = other.depth
        self.operator, self.built = other.operator, other.built
        self.settings = other.settings or (0.0,) * len(self.elements)
        self.sides = other.sides

    def _refuse(self, values: Mapping[str, float]) -> None:
        """Refuse elements that no instrument has: a step went too far."""
        for name, sigma in elements_of(self.scene.setup).items():
            if not abs(values[name]) <= IMPOSSIBLE_SIGMAS * sigma:
                raise RetrievalError(
                    f"{name} is over {IMPOSSIBLE_SIGMAS:g} sigma from its a priori",
                    value=values[name],
                    rule="fit.diverged",
                )

    def extra(self, state: State, fields: forward.PixelFields) -> Array | None:
        """Return d(transmittance)/d(element), (row, element, pixel), taken once."""
        if not (self.elements or self.known):
            return None
        if self.derivatives is None:
            assert self.operator is not None
            parts = [self._by_instrument(state)] if self.elements else []
            parts += sources.derivatives(
                self.scene, state, self.operator, fields, self.depth
            )
            self.derivatives = np.concatenate(parts, axis=1)
        return self.derivatives

    def beside(self, state: State, fields: forward.PixelFields) -> Array | None:
        """Return what the sources change in the rows' transmittance, (row, pixel)."""
        off = [
            np.asarray(state[name]) - self.anchor.get(name, 0.0)
            for name in self.known
            if name in state and name != linear.DRIFT
        ]
        found = self._far_shifts(state)
        if not any(part.any() for part in off):
            return found
        extra = self.extra(state, fields)
        assert extra is not None
        change = np.concatenate(off).astype(extra.dtype)
        first = len(self.elements)
        linear_in = extra[:, first : first + change.size]
        made = np.asarray(np.einsum("rep,e->rp", linear_in, change))
        return made if found is None else made + found

    def _far_shifts(self, state: State) -> Array | None:
        """Third and fourth order in the drift, which takes rows far from the middle."""
        drift = state.get(linear.DRIFT)
        m = self.measurement
        if drift is None or m.place is None or not abs(drift[0]) > REBUILD_PX:
            return None
        if self.higher is None:
            t = forward.node_transmittance(self.scene.limb.sparse, state)
            values = dict(zip(self.elements, self.settings, strict=True))
            shift, stretch = self.built
            low, middle, high = (
                operator.apply(
                    self.scene.operator(shift + step, stretch, offsets=values),
                    t,
                    "curvature",
                )
                for step in (-HIGHER_STEP_PX, 0.0, HIGHER_STEP_PX)
            )
            step = HIGHER_STEP_PX * m.dispersion_cm1[:, None]
            third = (high - low) / (2.0 * step)
            fourth = (high - 2.0 * middle + low) / step**2
            heights = np.stack([third, fourth]).transpose(2, 0, 1)
            self.higher = linear.seen_by_rows(
                self.scene.jacobian_rows, np.ascontiguousarray(heights)
            )
        offset = drift[0] * m.place[:, None] * m.dispersion_cm1
        third, fourth = self.higher[:, 0], self.higher[:, 1]
        return np.asarray(offset**3 * (third / 6.0 + offset * fourth / 24.0))

    def _by_instrument(self, state: State) -> Array:
        """Central differences by the elements of the instrument."""
        t = forward.node_transmittance(self.scene.limb.sparse, state)
        if self.sides is None or self.is_far(self.sides[0], self.settings):
            self.sides = self.settings, self._made_sides()
        seen = [operator.apply(side, t) for side in self.sides[1]]
        heights = np.stack(seen).transpose(2, 0, 1)
        return linear.seen_by_rows(
            self.scene.jacobian_rows, np.ascontiguousarray(heights)
        )

    def _made_sides(self) -> list[Operator]:
        values = dict(zip(self.elements, self.settings, strict=True))
        sides = []
        for name in self.elements:
            step = ELEMENTS[name].step
            plus, minus = (
                self.scene.operator(
                    *self.built,
                    offsets=values | {name: values[name] + sign * step},
                    kinds=1,
                )
                for sign in (1.0, -1.0)
            )
            sides.append(operator.change(plus, minus, 2.0 * step))
        return sides

    def is_far(self, place: Sequence[float], other: Sequence[float]) -> bool:
        """Tell whether a derivative by the instrument has to be taken anew."""
        sigmas = elements_of(self.scene.setup).values()
        off = np.abs(np.subtract(place, other))
        return bool((off > FAR * np.array([*sigmas])).any())

    def on_nodes(self, state: State, heights: npt.NDArray[np.intp]) -> Array:
        """Return the transmittance on the nodes at some heights, (node, height)."""
        limb = forward.at_heights(self.scene.limb, heights)
        return forward.node_transmittance(limb, state)
