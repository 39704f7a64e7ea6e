"""What all spectra of a nadir product share: instrument, cross sections, a priori."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre, polynomial

from tgo_spectra.errors import TableError
from tgo_spectra.instruments.response.channels import lno_operator, table_cells
from tgo_spectra.instruments.response.line_by_line import Cells
from tgo_spectra.instruments.response.tabulated import blocks_of
from tgo_spectra.retrieval.measurement import smooth_wavenumber
from tgo_spectra.retrieval.models.lno.nodes import nadir_band
from tgo_spectra.spectroscopy.tables.read import spline_matrices

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.models.lno.setup import NadirInstrument, NadirSetup
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.floating]
    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = [
    "Grid",
    "LayeredColumn",
    "NadirModel",
    "Runs",
    "detector_position",
    "extended_cells",
    "nadir_model",
    "optical_depths",
    "state_weights",
]

_MARGIN_CM1 = 3.0
"""Room for the line shape beyond the outermost pixels: over 10 sigma at R = 10000."""
_NEGLIGIBLE = 3e-6
"""Entries at the ends of a run below this part of the pixel's largest are taken as
unabsorbed: 5 sigma away, and less in orders of little light (dimensionless)."""


@dataclass(frozen=True)
class LayeredColumn:
    """Layers of the atmosphere above one surface, from the ground up.

    Attributes
    ----------
    air_cm2 : array, shape (layer,)
        Vertical column of air.
    pressure_pa, temperature_k : array, shape (layer,)
        Means, weighted with the air.
    mole_fraction : array, shape (gas, layer)
        Of the reference profiles.
    slant : array, shape (layer,)
        Path of the light, down and up, over the height of the layer.
    """

    air_cm2: Array
    pressure_pa: Array
    temperature_k: Array
    mole_fraction: Array
    slant: Array

    @property
    def columns_cm2(self) -> Array:
        """Vertical columns of the reference profiles, (gas,)."""
        return np.asarray(self.mole_fraction @ self.air_cm2)

    @property
    def air_mass(self) -> float:
        """Slant over vertical column of air."""
        return float(self.slant @ self.air_cm2 / self.air_cm2.sum())


@dataclass(frozen=True)
class Runs:
    """An instrument operator as runs of nodes that follow each other.

    Attributes
    ----------
    first_run, first_node, first_entry, entries
        Arguments of `tgo_spectra.retrieval.models.lno.kernel.apply_runs`.
    unabsorbed : array, shape (3, pixel)
        Light from beyond the table, where transmittance is one: value, first and
        second derivative by wavenumber.
    """

    first_run: Integers
    first_node: Integers
    first_entry: Integers
    entries: npt.NDArray[np.float32]
    unabsorbed: Floats

    @classmethod
    def of(cls, operator: Operator, nodes: slice) -> Runs:
        """Take value, shift and curvature of an operator.

        Parameters
        ----------
        operator : Operator
        nodes : slice
            Those of the table; the others are unabsorbed.
        """
        from tgo_spectra.retrieval.models.lno.kernel import cut_runs

        sizes = np.diff(operator.block_start)
        number = int(operator.pixels.size * operator.orders.size)
        most = int((sizes[:, None] * (operator.node_high - operator.node_low)).sum())
        first_run = np.zeros(operator.pixels.size + 1, dtype=np.int64)
        first_node = np.zeros(number, dtype=np.int64)
        first_entry = np.zeros(number + 1, dtype=np.int64)
        entries = np.empty((3, most), dtype=np.float32)
        unabsorbed = np.zeros((3, operator.pixels.size))
        cut_runs(
            *blocks_of(operator),
            len(operator.kinds),
            np.asarray(operator.data, dtype=np.float64),
            nodes.start,
            nodes.stop,
            _NEGLIGIBLE,
            first_run,
            first_node,
            first_entry,
            entries,
            unabsorbed,
        )
        runs = int(first_run[-1])
        return cls(
            first_run=first_run,
            first_node=first_node[:runs].copy(),
            first_entry=first_entry[: runs + 1].copy(),
            entries=entries[:, : first_entry[runs]].copy(),
            unabsorbed=unabsorbed,
        )


@dataclass(frozen=True)
class NadirModel:
    """What all spectra share.

    Attributes
    ----------
    band : BandTable
        Nodes and cross sections.
    gases : tuple of str
        The gas wanted first.
    runs : Runs
        Instrument at the pixels moved by `made_at_px`.
    made_at_px : float
        Shift at which the operator was made, pixels; others follow by derivatives.
    pixels : array of int, shape (pixel,)
        Of the fit, ascending.
    dispersion_cm1 : array, shape (pixel,)
        Wavenumber of a pixel's shift.
    baseline : array, shape (pixel, coefficient)
        Polynomials.
    prior, prior_sigma : array, shape (gas + 1,)
        Of the factors, and of the shift (pixels).
    start : array, shape (gas + 1,)
        Where fits start; the result does not depend on it but for rounding.
    clip_sigma : float
    max_iterations : int
    beyond_table : tuple of int
        Orders whose light is taken as unabsorbed, all or a part of it.
    registered : bool
        Whether the a priori of the shift is from the spectra of the product.
    elsewhere : bool
        Whether their lines are at shifts that are not searched.
    bent : float
        As `tgo_spectra.retrieval.models.lno.fit.ColumnFit.bent`, of a spectrum as noisy
        as one of the product with the column of their mean.
    """

    band: BandTable
    gases: tuple[str, ...]
    runs: Runs
    made_at_px: float
    pixels: Integers
    dispersion_cm1: Floats
    baseline: Array
    prior: Array
    prior_sigma: Array
    start: Array
    clip_sigma: float
    max_iterations: int
    beyond_table: tuple[int, ...]
    registered: bool = False
    elsewhere: bool = False
    bent: float = 1.0

    def expecting(
        self,
        start: Array,
        shift_px: float,
        shift_sigma_px: float,
        *,
        registered: bool = False,
        elsewhere: bool = False,
        bent: float = 1.0,
    ) -> NadirModel:
        """Return a copy with another start and another a priori of the shift."""
        prior, sigma = self.prior.copy(), self.prior_sigma.copy()
        prior[-1], sigma[-1] = shift_px, shift_sigma_px
        return replace(
            self,
            start=start,
            prior=prior,
            prior_sigma=sigma,
            registered=registered,
            elsewhere=elsewhere,
            bent=bent,
        )


def extended_cells(
    cells: Cells, low_cm1: float, high_cm1: float
) -> tuple[Cells, slice]:
    """Add cells without absorption at both ends of a table.

    Each has one node, which stands for transmittance one.

    Parameters
    ----------
    cells : Cells
    low_cm1, high_cm1 : float
        Wavenumbers to be covered, cm-1.

    Returns
    -------
    cells : Cells
    nodes : slice
        Where the table's own nodes stand among all.
    """
    start, stop = cells.range_cm1
    below = max(0, int(np.ceil((start - low_cm1) / cells.width_cm1)))
    above = max(0, int(np.ceil((high_cm1 - stop) / cells.width_cm1)))
    first, last = int(cells.node_cell[0]), int(cells.node_cell[-1])
    # the moments of a field of ones are the sums of the weights in any cell
    ones = cells.node_weight[cells.node_cell == first].sum(axis=0)
    number = cells.node_cell.size
    return (
        Cells(
            node_cell=np.concatenate(
                [
                    np.arange(below),
                    cells.node_cell - first + below,
                    np.arange(above) + last - first + 1 + below,
                ]
            ),
            node_weight=np.concatenate(
                [
                    np.tile(ones, (below, 1)),
                    cells.node_weight,
                    np.tile(ones, (above, 1)),
                ]
            ),
            start_cm1=start - below * cells.width_cm1,
            width_cm1=cells.width_cm1,
            points=cells.points,
        ),
        slice(below, below + number),
    )


@dataclass(frozen=True)
class Grid:
    """Nodes of a table, told apart by their content: a key of a cache.

    Attributes
    ----------
    content : str
        SHA-256 of the cells.
    cells : Cells
    """

    content: str
    cells: Cells = field(compare=False, repr=False)

    @classmethod
    def of(cls, band: BandTable) -> Grid:
        """Take the nodes of a table."""
        cells = table_cells(band)
        key = hashlib.sha256(cells.node_weight.tobytes())
        key.update(cells.node_cell.tobytes())
        key.update(repr((cells.start_cm1, cells.width_cm1, cells.points)).encode())
        return cls(key.hexdigest(), cells)


@lru_cache(maxsize=12)
def _runs(
    grid: Grid,
    pixels: tuple[int, ...],
    smooth: tuple[float, ...],
    number: int,
    order: int,
    aotf_frequency_khz: float,
    temperature_c: float,
    instrument: NadirInstrument,
) -> tuple[Runs, tuple[int, ...]]:
    """Return an operator and the orders that reach beyond the table; kept for others.

    The polynomial `smooth` gives the wavenumbers of the pixels.
    """
    moved = np.asarray(polynomial.polyval(np.array(pixels), smooth))
    orders = np.arange(order - number, order + number + 1)
    low = moved.min() * orders / order - _MARGIN_CM1
    high = moved.max() * orders / order + _MARGIN_CM1
    start, stop = grid.cells.range_cm1
    beyond = (low < start) | (high > stop)
    if beyond[number]:
        message = "the table does not cover the order of the product"
        raise TableError(
            message, field="order", value=order, rule="table.order_outside"
        )
    cells, nodes = extended_cells(grid.cells, low.min(), high.max())
    operator = lno_operator(
        cells,
        pixels=np.arange(moved.size),
        pixel_wavenumber_cm1=moved,
        order=order,
        aotf_frequency_khz=aotf_frequency_khz,
        temperature_c=temperature_c,
        resolving_power=instrument.resolving_power,
        n_orders=number,
        aotf_offset=instrument.aotf_offset_cm1,
        aotf_width_factor=instrument.aotf_width_factor,
        dtype=np.float64,
    )
    return Runs.of(operator, nodes), tuple(int(k) for k in orders[beyond])


def detector_position(pixels: Integers) -> Array:
    """Place of pixels on the detector, -1 to 1."""
    return np.asarray((pixels - 159.5) / 160.0)


def nadir_model(
    wavenumber_cm1: Array,
    *,
    order: int,
    aotf_frequency_khz: float,
    temperature_c: float,
    setup: NadirSetup,
    band: BandTable | None = None,
    shift_px: float = 0.0,
    n_orders: int | None = None,
    margin_px: int = 0,
) -> NadirModel:
    """Make what all spectra of a product share.

    Parameters
    ----------
    wavenumber_cm1 : array, shape (320,)
        Of the product.
    order : int
    aotf_frequency_khz, temperature_c : float
        kHz; degree Celsius.
    setup : NadirSetup
    band : BandTable, optional
        Nodes that another model has; default from
        `tgo_spectra.retrieval.models.lno.nodes.nadir_band`.
    shift_px : float
        Shift at which the operator is made, pixels.
    n_orders : int, optional
        Neighbouring orders on each side; default as the setup has it.
    margin_px : int
        Pixels added at both ends of the window, which then is without gaps.

    Returns
    -------
    NadirModel

    Raises
    ------
    TableError, InstrumentError
        The table has not all gases, or does not cover the order.
    """
    if band is None:
        band = nadir_band(setup, order, aotf_frequency_khz, temperature_c)
    window, instrument = setup.window, setup.instrument
    pixels = np.arange(
        window.first_pixel - margin_px, window.last_pixel + 1 + margin_px
    )
    if not margin_px:
        pixels = np.setdiff1d(pixels, window.masked_pixels)
    number = instrument.n_orders if n_orders is None else n_orders
    smooth = smooth_wavenumber(wavenumber_cm1)
    # the same polynomial in pixels moved by the shift
    shifted = polynomial.Polynomial(smooth)(polynomial.Polynomial([shift_px, 1.0]))
    runs, beyond = _runs(
        Grid.of(band),
        tuple(pixels.tolist()),
        tuple(shifted.coef.tolist()),
        number,
        order,
        aotf_frequency_khz,
        temperature_c,
        instrument,
    )
    factors = np.ones(len(setup.gases))
    sigma = [setup.relative_sigma, *setup.interferents.values(), setup.shift_sigma_px]
    return NadirModel(
        band=band,
        gases=setup.gases,
        runs=runs,
        made_at_px=shift_px,
        pixels=pixels,
        dispersion_cm1=polynomial.polyval(
            pixels + shift_px, polynomial.polyder(smooth)
        ),
        baseline=legendre.legvander(detector_position(pixels), setup.baseline_degree),
        prior=np.append(factors, 0.0),
        prior_sigma=np.array(sigma),
        start=np.append(factors, shift_px),
        clip_sigma=window.clip_sigma,
        max_iterations=setup.max_iterations,
        beyond_table=beyond,
    )


def state_weights(
    model: NadirModel, airs: Sequence[LayeredColumn]
) -> list[tuple[Array, Array]]:
    """Weights of the table's pressures and temperatures in the layers of some airs.

    Parameters
    ----------
    model : NadirModel
    airs : sequence of LayeredColumn

    Returns
    -------
    list of (array, array)
        By pressure and by temperature, (layer, pressure or temperature), of each.

    Raises
    ------
    TableError
        The table does not reach a pressure or temperature.
    """
    both = spline_matrices(
        model.band.ln_pressure,
        model.band.temperature_k,
        np.concatenate([air.pressure_pa for air in airs]),
        np.concatenate([air.temperature_k for air in airs]),
        doppler_limit=True,
    )
    limits = np.cumsum([air.pressure_pa.size for air in airs])[:-1]
    return list(zip(*(np.split(one, limits) for one in both), strict=True))


def optical_depths(
    model: NadirModel, airs: Sequence[tuple[LayeredColumn, tuple[Array, Array]]]
) -> Array:
    """Optical depths of the reference profiles along the path, down and up.

    Parameters
    ----------
    model : NadirModel
    airs : sequence of tuple
        Layers, and what `state_weights` gives of them: the table is read once for all.

    Returns
    -------
    array, shape (air, gas, node)
    """
    from tgo_spectra.numerics.kernels import sum_spectra

    size = model.band.nodes_cm1.size
    single = np.zeros((len(model.gases), len(airs), size), np.float32)
    for index, gas in enumerate(model.gases):
        # summed over the layers before the vectors: one spectrum, not one per layer
        states = [
            by_pressure.T
            @ (
                by_temperature
                * (layers.air_cm2 * layers.slant * layers.mole_fraction[index])[:, None]
            )
            for layers, (by_pressure, by_temperature) in airs
        ]
        every = np.array(states).reshape(len(airs), -1)
        vectors = model.band.vectors[gas]
        rows = every @ model.band.coefficients[gas].reshape(len(vectors), -1).T
        sum_spectra(rows.astype(np.float32), vectors, single[index])
    return single.swapaxes(0, 1).astype(np.float64, order="C")
