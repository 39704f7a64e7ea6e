"""The forward model of a temperature fit, evaluated at one state after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import AtmosphereError, RetrievalError, TableError
from tgo_spectra.forward.sight import absorption_weights
from tgo_spectra.forward.temperature_fields import TemperatureFields, temperature_fields
from tgo_spectra.forward.transmittance import PixelFields
from tgo_spectra.retrieval.linear import REBUILD_PX, place_of
from tgo_spectra.retrieval.models.so.evaluation import SoModel
from tgo_spectra.retrieval.models.so.temperature.scene import LOG_PRESSURE, TEMPERATURE
from tgo_spectra.retrieval.spectra import Seen

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval import linear as linearisation
    from tgo_spectra.retrieval.models.so.temperature.scene import TemperatureScene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = ["TemperatureEvaluator", "as_pixel_fields"]

LOG_PRESSURE_LIMIT = 3.0
"""No pressure is wrong by more than e to this power: the a priori knows it to some
10 %, and the seasons change it by a third."""


@dataclass
class TemperatureEvaluator(SoModel):
    """The forward model along an iteration: keeps the operator while it is good.

    Attributes
    ----------
    scene : TemperatureScene
    measurement : Measurement
    """

    scene: TemperatureScene
    measurement: linearisation.Measurement

    def __post_init__(self) -> None:
        self.start()
        self.operator: Operator | None = None

    def seen(self, state: State, with_jacobian: bool) -> Seen:
        """Return what the rows see at a state, with or without derivatives."""
        fields = self.fields(state, with_jacobian)
        extra = self._extra(fields) if with_jacobian else None
        return Seen(as_pixel_fields(fields), extra)

    def _extra(self, fields: TemperatureFields) -> Array:
        """Return the derivatives by the elements as the rows see them.

        Each level is a field of its own: the product of field and path is averaged over
        the field of view, not the factors, so that the derivative is exact.
        """
        heights, *shape = fields.elements.shape
        bands = self.measurement.bands(fields.elements.dtype)
        seen = np.empty((bands.shape[0], *shape), dtype=fields.elements.dtype)
        bands.times(fields.elements.reshape(heights, -1), seen.reshape(len(seen), -1))
        for row, hidden in zip(seen, self.scene.hidden, strict=True):
            row[hidden] = 0.0
        return seen

    def fields(self, state: State, with_jacobian: bool) -> TemperatureFields:
        """Return the convolved fields; rebuild the operator if it has to be.

        Raises
        ------
        RetrievalError
            The state has left the table: such a step is too long.
        """
        wanted = place_of(state)
        moved = max(abs(wanted[0] - self.built[0]), abs(wanted[1] - self.built[1]))
        if self.operator is None or moved > REBUILD_PX:
            self.operator, self.built = self.scene.gas.operator(*wanted), wanted
        self._check(state)
        air = self.scene.air(state)
        try:
            return temperature_fields(
                self.scene.sight,
                air,
                self.operator,
                self.scene.vectors,
                jacobian=with_jacobian,
                fitted=self.scene.setup.fitted,
                chosen=self.scene.gas.limb.jacobian_heights,
            )
        except (TableError, AtmosphereError) as error:  # a pressure, or no fall at top
            message = f"no such atmosphere: {error.message}"
            raise RetrievalError(
                message, field=error.field, value=error.value, rule="fit.diverged"
            ) from error

    def _check(self, state: State) -> None:
        """Refuse temperatures outside the table and pressures beyond all bounds."""
        sight = self.scene.sight
        t = sight.temperature_k + sight.hats @ state[TEMPERATURE]
        low, high = sight.band.temperature_k[[0, -1]]
        good = bool((t >= low).all() and (t <= high).all())  # false for NaN
        log_pressure = float(state[LOG_PRESSURE][0])
        if not good or not abs(log_pressure) < LOG_PRESSURE_LIMIT:
            message = (
                f"the state has run away: temperatures of {t.min():.0f} to "
                f"{t.max():.0f} K, the table has {low:g} to {high:g} K"
            )
            raise RetrievalError(message, value=log_pressure, rule="fit.diverged")

    def on_nodes(self, state: State, heights: npt.NDArray[np.intp]) -> Array:
        """Transmittance on the nodes at some of the heights, (node, height)."""
        air = self.scene.air(state)
        weights = absorption_weights(self.scene.sight, air, derivatives=False)
        depth = np.concatenate(list(weights.value.values()))
        return np.asarray(np.exp(-(self.scene.vectors @ depth[:, heights])))


def as_pixel_fields(fields: TemperatureFields) -> PixelFields:
    """Return the fields as the solver takes them; derivatives are not among them."""
    return PixelFields(fields.value, fields.shift, fields.curvature, fields.slope, {})
