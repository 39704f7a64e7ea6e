"""Optimal estimation of ACS MIR profiles: all orders jointly, by the common solver.

State: mole fraction profiles, a wavenumber shift for each order (what other channels
have for each bin), one stretch, and if asked the line shape of each order. The
baseline of each spectrum is eliminated as elsewhere. No order is added to another, so
that an aerosol's slope is part of the baseline: the exponent is kept at zero.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tgo_spectra.errors import InstrumentError, RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operators
from tgo_spectra.retrieval.conclusion import conclude
from tgo_spectra.retrieval.given import prior_sigma
from tgo_spectra.retrieval.joint import Result, fit
from tgo_spectra.retrieval.linear import (
    EXPONENT,
    REBUILD_PX,
    SHIFT,
    STRETCH,
    Expansion,
    Linearised,
    Measurement,
    place_of,
    seen_by_rows,
)
from tgo_spectra.retrieval.models.mir.scene import SHAPE, SHAPE_SOURCES
from tgo_spectra.retrieval.spectra import (
    RowModel,
    Seen,
    Whitened,
    best_shift,
    compare_shifts,
)
from tgo_spectra.retrieval.state import StateSpace, independent, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.models.mir.scene import MirScene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = [
    "MirEvaluator",
    "MirSolution",
    "coarse_shifts",
    "expansion_of",
    "known_blocks",
    "row_paths",
    "solve_mir",
    "space_of",
]

SEARCH_ROWS = 8
"""Lowest rows of an order that the whole-pixel search looks at: lines are deepest."""

SHAPE_KINDS = {
    "width": ("fwhm_low",),
    "second_shift": ("second_shift",),
    "second_amplitude": ("amplitude_low", "amplitude_high"),
}
"""Rows of the operator whose sum is the derivative by an element of the line shape."""

SHAPE_STEP = 1e-6
"""The operator is built anew when an element of `SHAPE` has moved by more."""


@dataclass(frozen=True)
class MirSolution:
    """Where the fit ended; see `Result` and `Conclusion`."""

    result: Result[Linearised]
    end: Conclusion
    evaluator: MirEvaluator
    coarse_shift_px: npt.NDArray[np.intp]

    @property
    def space(self) -> StateSpace:
        """Blocks."""
        return self.end.space


def fitted_shape(scene: MirScene) -> tuple[str, ...]:
    """Elements of `SHAPE` that the setup lets vary."""
    sigma = scene.setup.registration.shape_sigma
    return tuple(name for name in SHAPE if sigma[name] > 0.0)


def known_blocks(scene: MirScene) -> dict[str, str]:
    """Return the name of the error by each block of a known source in the fit."""
    fitted = fitted_shape(scene)
    return {e: name for e, (name, _, _) in SHAPE_SOURCES.items() if e in fitted}


def space_of(scene: MirScene) -> StateSpace:
    """Return the state with its a priori; what others have for a bin, an order has."""
    register, count = scene.setup.registration, len(scene.orders)
    stretch = register.stretch_sigma_px if register.stretch else 0.0
    gases = [
        profile(gas, scene.altitude_km, scene.prior_vmr[gas], *prior_sigma(scene, gas))
        for gas in scene.setup.gases
    ]
    shape = register.shape_sigma
    return StateSpace(
        (
            *gases,
            independent(
                SHIFT, register.shift_sigma_px, size=count, per="bin", searched=True
            ),
            independent(STRETCH, stretch, searched=True),
            independent(EXPONENT, 0.0, variable="-"),
            *(
                independent(
                    name,
                    shape[name],
                    size=count,
                    per="bin",
                    variable=f"fitted_{name}",
                )
                for name in fitted_shape(scene)
            ),
        )
    )


def expansion_of(
    scene: MirScene, space: StateSpace, order: int | None = None
) -> Expansion:
    """Return what takes the fields of all rows, or of one order's, to the state."""
    sizes = [one.rows.size for one in scene.orders]
    bins = np.repeat(np.arange(len(sizes)), sizes)
    chosen = slice(None)
    if order is not None:
        chosen = slice(sum(sizes[:order]), sum(sizes[: order + 1]))
    paths = {gas: path[chosen] for gas, path in row_paths(scene).items()}
    return Expansion(space, paths, bins[chosen], fitted_shape(scene))


def row_paths(scene: MirScene) -> dict[str, Array]:
    """Path weights as the rows of all orders see them: per gas (row, k, level)."""
    altitude = scene.altitude_km
    half = 0.5 * scene.setup.instrument.field_of_view_km
    paths: dict[str, list[Array]] = {gas: [] for gas in scene.setup.gases}
    for one, limb, view in zip(scene.orders, scene.limbs, scene.rows, strict=True):
        lowest = one.altitude_km - half
        hidden = altitude[None, :] + np.diff(altitude).max() < lowest[:, None]
        for gas, item in limb.gases.items():
            k, heights, levels = item.path.shape
            flat = item.path.transpose(1, 0, 2).reshape(heights, k * levels)
            seen = (view @ flat).reshape(-1, k, levels).astype(limb.dtype)
            # the spline through the heights leaves crumbs below the line of sight
            paths[gas].append(np.where(hidden[:, None, :], limb.dtype(0.0), seen))
    return {gas: np.concatenate(parts) for gas, parts in paths.items()}


@dataclass
class _OrderModel(RowModel):
    """One order along an iteration: keeps its operator while it is good."""

    scene: MirScene
    index: int
    shape: Mapping[str, float] = field(default_factory=dict)
    operator: Operator | None = None

    def __post_init__(self) -> None:
        one, scene = self.scene.orders[self.index], self.scene
        self.measurement = Measurement(
            transmittance=one.transmittance,
            weight=one.weight,
            bin=np.full(one.rows.size, self.index, dtype=np.intp),
            n_bins=len(scene.orders),
            rows=scene.rows[self.index],
            jacobian_rows=scene.jacobian_rows[self.index],
            position=one.position,
            dispersion_cm1=one.dispersion_cm1,
            baseline_degree=scene.setup.baseline_degree,
        )
        self.start()
        self.depth = np.zeros(one.rows.size)  # no light of other orders to change

    def shape_of(self, state: State) -> dict[str, float]:
        """Line shape of this order in a state."""
        shape = dict.fromkeys(SHAPE, 0.0)
        for name in fitted_shape(self.scene):
            shape[name] = float(state[name][self.index])
        return shape

    def seen(self, state: State, with_jacobian: bool) -> Seen:
        """Return what the rows see at a state, with or without derivatives."""
        seen_by = self._operator(state)
        limb = self.scene.limbs[self.index]
        t = forward.node_transmittance(limb, state)
        seen = operators.apply_many(seen_by, t)
        gas: dict[str, Array] = {}
        if with_jacobian:
            directions = [path.directions for path in limb.gases.values()]
            at = np.ascontiguousarray(t[:, limb.jacobian_heights])
            field = operators.apply_factors(
                seen_by, np.concatenate(directions, axis=1), at
            )
            ends = np.cumsum([d.shape[1] for d in directions])[:-1]
            gas = dict(zip(limb.gases, np.split(-field, ends, axis=1), strict=True))
        value, shift, curvature, slope = seen[: len(operators.KINDS)]
        fields = forward.PixelFields(value, shift, curvature, slope, gas)
        return Seen(fields, self._extra(seen_by, seen) if with_jacobian else None)

    def _operator(self, state: State) -> Operator:
        wanted = (float(state[SHIFT][self.index]), place_of(state)[1])
        shape = self.shape_of(state)
        far = max(abs(wanted[0] - self.built[0]), abs(wanted[1] - self.built[1]))
        other = any(abs(shape[k] - v) > SHAPE_STEP for k, v in self.shape.items())
        if self.operator is None or far > REBUILD_PX or other:
            dtype = self.scene.limbs[self.index].dtype
            try:
                self.operator = self.scene.operator(self.index, *wanted, shape, dtype)
            except InstrumentError as error:
                if not any(shape.values()):
                    raise
                message = f"the line shape has run away: {error.message}"
                raise RetrievalError(
                    message, field="shape", value=shape, rule="fit.diverged"
                ) from error
            self.built, self.shape = wanted, shape
        return self.operator

    def _extra(self, seen_by: Operator, seen: Array) -> Array | None:
        """Return derivatives by the line shape in the rows, (row, element, pixel)."""
        names = fitted_shape(self.scene)
        if not names:
            return None
        _, pixels, heights = seen.shape
        result = np.zeros((heights, len(names), pixels), seen.dtype)
        one = self.scene.orders[self.index]
        # the width is relative to that of the setup
        image = self.scene.image(self.index, dict.fromkeys(SHAPE, 0.0))
        moved = {"order_stretch": one.position, "bend": one.curve}
        for at, name in enumerate(names):
            if name in moved:
                along = (one.dispersion_cm1 * moved[name]).astype(seen.dtype)
                result[:, at] = along * seen[seen_by.kinds.index("shift")].T
                continue
            rows = [seen_by.kinds.index(k) for k in SHAPE_KINDS[name]]
            scale = image.fwhm_low if name == "width" else 1.0
            result[:, at] = scale * seen[rows].sum(axis=0).T
        return seen_by_rows(self.measurement.rows, result)


class MirEvaluator:
    """The forward model of all orders at one state after another.

    Rows follow one another order by order.
    """

    def __init__(self, scene: MirScene) -> None:
        self.scene = scene
        self.models = [_OrderModel(scene, index) for index in range(len(scene.orders))]

    def __call__(self, state: State, with_jacobian: bool) -> Linearised:
        """Evaluate at a state."""
        return _together([m.linearise(state, with_jacobian) for m in self.models])

    def whitened(self, state: State) -> Whitened:
        """Return the derivatives pixel by pixel at a state."""
        return _together([model.whitened(state) for model in self.models])

    def spectra(self, state: State) -> Array:
        """Return the spectra of the rows without baseline, (row, pixel)."""
        return _joined([model.spectra(state) for model in self.models], pixels=True)


S = TypeVar("S", Linearised, Whitened)

OF_PIXELS = frozenset({"model", "residual", "fields", "basis", "scale"})
"""What ends with an axis of pixels."""


def _together(parts: list[S]) -> S:
    """Put what each order has one after another."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(parts[0]):
        values = [getattr(part, item.name) for part in parts]
        if isinstance(values[0], float):
            found[item.name] = float(sum(values))
        else:
            found[item.name] = _joined(values, pixels=item.name in OF_PIXELS)
    return replace(parts[0], **found)


def _joined(values: list[Array], *, pixels: bool) -> Array:
    """Join rows; orders with fewer pixels are filled with zeros at the end."""
    if not pixels:
        return np.concatenate(values)
    width = max(value.shape[-1] for value in values)
    none = ((0, 0),) * (values[0].ndim - 1)
    return np.concatenate(
        [np.pad(v, (*none, (0, width - v.shape[-1]))) for v in values]
    )


def coarse_shifts(
    scene: MirScene, evaluator: MirEvaluator, prior: State
) -> npt.NDArray[np.intp]:
    """Find the whole-pixel shift of each order that fits best with a priori amounts.

    The lowest rows at pixel p are compared with the model at p + shift, the baseline
    free. Zero unless another shift lowers chi-square by more than 25 (5 sigma).

    Returns
    -------
    array of int, shape (order,)
    """
    reach = scene.setup.registration.search_px
    found = np.zeros(len(scene.orders), dtype=np.intp)
    if reach == 0:
        return found
    for index, model in enumerate(evaluator.models):
        m, one = model.measurement, scene.orders[index]
        rows = np.argsort(one.altitude_km, kind="stable")[:SEARCH_ROWS]
        value = (m.rows[rows] @ model.seen(prior, False).fields.value.T).astype(float)
        inner = slice(reach, one.pixels.size - reach)
        chi, _ = compare_shifts(
            m.transmittance[rows, inner],
            m.weight[rows, inner],
            value,
            np.empty((rows.size, 0, one.pixels.size)),
            m.polynomials[:, inner],
        )
        found[index] = best_shift(chi.sum(axis=0))
    return found


def solve_mir(
    scene: MirScene,
    changes: Callable[[MirEvaluator, State], Mapping[str, Sequence[Array]]],
    denser: Mapping[str, Sequence[Array]] | None = None,
) -> MirSolution:
    """Fit all orders of one occultation.

    ``changes``: of the spectra by what is not in the fit, ``denser``: of the air, see
    `tgo_spectra.retrieval.models.mir.systematics`.

    Raises
    ------
    RetrievalError
        The fit diverges.
    """
    space = space_of(scene)
    evaluator = MirEvaluator(scene)
    if not all(one.weight.any() for one in scene.orders):
        raise RetrievalError(
            "an order has no usable pixel",
            field="transmittance",
            value=[one.order for one in scene.orders if not one.weight.any()],
            rule="fit.no_rows",
        )
    shifts = coarse_shifts(scene, evaluator, space.prior)
    reach = scene.setup.registration.search_px
    result = fit(
        evaluator,
        expansion_of(scene, space),
        space,
        {**space.prior, SHIFT: shifts.astype(float)},
        max_iterations=scene.setup.max_iterations,
        solver=scene.setup.solver,
    )
    expand = expansion_of(scene, space)
    end = conclude(
        evaluator.whitened(result.state),
        expand,
        result,
        np.concatenate([one.altitude_km for one in scene.orders]),
        scene.altitude_km,
        constraint=space.constraint,
        wave_sigma=scene.setup.systematics.waves,
        waves_apart=True,
        known=known_blocks(scene),
        beside=changes(evaluator, result.state),
        denser=denser,
        screened=bool(fitted_shape(scene)),
        line_sigma=scene.setup.systematics.spectroscopy,
        tested=scene.setup.gases,
        layer=scene.setup.detection.layer(scene.altitude_km),
        # where the search ended at its edge and the fit went on
        at_edge=bool((np.abs(result.state[SHIFT]) > reach + 1.0).any()),
    )
    return MirSolution(result, end, evaluator, shifts)
