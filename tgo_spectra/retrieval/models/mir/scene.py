"""One ACS MIR occultation: spectra sorted by order, atmosphere, operators by order.

A row is one spectrum: a frame in one diffraction order. Rows of an order share pixels,
wavenumbers and line shape; orders share the atmosphere and nothing else, as there is
no AOTF and no order reaches into another (straylight between orders is left out).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry
from tgo_spectra.atmosphere import profile as atmospheres
from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.acs_mir import DoubleImage
from tgo_spectra.instruments.response.channels import acs_mir_operator, table_cells
from tgo_spectra.retrieval.given import coefficients_on, prior_profile
from tgo_spectra.retrieval.measurement import noisy_pixels
from tgo_spectra.spectroscopy.tables.read import BandTable, check_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.instruments.response.line_by_line import Cells
    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.models.mir.setup import MirSetup

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "SHAPE",
    "SHAPE_SOURCES",
    "MirScene",
    "OrderRows",
    "limbs_of",
    "make_mir_scene",
    "order_rows",
]

REACH_CM1 = 1.5
"""Half window of the line shape beyond the outermost pixels: 5.5 sigma of 0.05 cm-1
(resolving power 30 000), the second image and a shift of some pixels."""

SHAPE = ("order_stretch", "bend", "width", "second_shift", "second_amplitude")
"""What may be fitted of an order by itself, and 0 means: as the setup says. Linear and
quadratic part of the shift (pixel), relative width of the line shape, distance (cm-1)
and height of the second image."""

SHAPE_SOURCES = {
    "width": ("line_width", "width", "1"),
    "second_amplitude": ("second_image", "second_amplitude", "1"),
    "second_shift": ("image_distance", "second_shift_cm1", "cm-1"),
}
"""Name of the error, key of the setup's section ``systematics`` and unit, by element of
the line shape."""

STEPS_KM = ((20.0, 2.0), (50.0, 3.0), (np.inf, 5.0))
"""Spacing of the Jacobian's fields up to a height above the lowest: they vary over a
scale height (6 to 10 km) where lines are weak, faster where they saturate."""

FEWEST_ROWS = 10


@dataclass(frozen=True)
class OrderRows:
    """Spectra of one diffraction order.

    ``rows`` indexes the spectra of the product; ``pixels`` those with a wavenumber in
    the fitted window. Arrays on (row, pixel) hold these; ``position`` is that on the
    detector, -1 to 1.
    """

    order: int
    rows: IntArray
    pixels: IntArray
    wavenumber_cm1: Array
    dispersion_cm1: Array
    position: Array
    transmittance: Array
    weight: Array
    altitude_km: Array
    masked: npt.NDArray[np.bool_]

    @property
    def curve(self) -> Array:
        """Second Legendre polynomial of the position."""
        return 1.5 * self.position**2 - 0.5

    @property
    def middle_cm1(self) -> float:
        """Middle of the fitted pixels."""
        return 0.5 * float(self.wavenumber_cm1.min() + self.wavenumber_cm1.max())


def order_rows(level1: xr.Dataset, setup: MirSetup, order: int) -> OrderRows:
    """Select rows and pixels of one order.

    Parameters
    ----------
    level1 : Dataset
        From `tgo_spectra.acs_spectra`.
    setup : MirSetup
    order : int
        Diffraction order.

    Raises
    ------
    RetrievalError
        The product has not this order, its rows differ in wavenumber, or too few rows
        or pixels are usable.
    """
    path = level1.attrs.get("source_file")
    orders = np.asarray(level1["order"].values)
    mine = np.flatnonzero(orders == order)
    if not mine.size:
        message = f"the product has the orders {sorted(set(orders.tolist()))}"
        raise RetrievalError(
            message, path=path, field="order", value=order, rule="level1.wrong_order"
        )
    axis = np.asarray(level1["wavenumber"].values, dtype=float)[mine]
    if not np.array_equal(axis, np.broadcast_to(axis[0], axis.shape), equal_nan=True):
        message = "spectra of an order must share their wavenumbers"
        raise RetrievalError(
            message, path=path, field="wavenumber", value=order,
            rule="level1.wavenumber",
        )  # fmt: skip
    pixels, nu, dispersion = _pixels(axis[0], setup, order)
    y = np.asarray(level1["transmittance"].values, dtype=float)[mine][:, pixels]
    error = np.asarray(level1["transmittance_error"].values, dtype=float)[mine]
    error = error[:, pixels]
    altitude = np.asarray(level1["tangent_altitude"].values, dtype=float)[mine]
    used = _usable(y, error, altitude, setup)
    if used.size < FEWEST_ROWS:
        message = f"{used.size} usable spectra of {mine.size}, {FEWEST_ROWS} are needed"
        raise RetrievalError(
            message, path=path, field="order", value=order, rule="fit.no_rows"
        )
    y, error, altitude = y[used], error[used], altitude[used]
    masked = _noisy(y, error, altitude, setup)
    masked |= np.isin(pixels, setup.window.masked_pixels)
    good = np.isfinite(y) & np.isfinite(error) & (error > 0) & ~masked
    half = 0.5 * (level1.sizes["pixel"] - 1)
    return OrderRows(
        order=order,
        rows=mine[used],
        pixels=pixels,
        wavenumber_cm1=nu,
        dispersion_cm1=dispersion,
        position=(pixels - half) / half,
        transmittance=np.where(good, y, 0.0),
        weight=np.where(good, 1.0 / np.where(good, error, 1.0), 0.0),
        altitude_km=altitude,
        masked=masked,
    )


def _pixels(
    axis_cm1: Array, setup: MirSetup, order: int
) -> tuple[IntArray, Array, Array]:
    """Pixels of the window that have a wavenumber, with it and its slope."""
    window = setup.window
    chosen = np.arange(window.first_pixel, min(window.last_pixel + 1, axis_cm1.size))
    chosen = chosen[np.isfinite(axis_cm1[chosen])]
    if chosen.size < 4 * (setup.baseline_degree + 1):
        message = f"order {order} has {chosen.size} pixels with a wavenumber"
        raise RetrievalError(
            message, field="wavenumber", value=order, rule="fit.no_wavenumber"
        )
    nu = axis_cm1[chosen]
    return chosen, nu, np.gradient(nu, chosen.astype(float))


def _usable(y: Array, error: Array, altitude: Array, setup: MirSetup) -> IntArray:
    window = setup.window
    filled = np.isfinite(y) & np.isfinite(error)
    alive = filled.mean(axis=1) > 0.5
    level = np.zeros(len(y))
    level[alive] = np.nanmedian(np.where(filled, y, np.nan)[alive], axis=1)
    bottom = -np.inf if window.bottom_km is None else window.bottom_km
    good = alive & (level >= window.minimum_transmittance) & np.isfinite(altitude)
    good &= (altitude >= bottom) & (altitude <= window.top_km)
    return np.flatnonzero(good)


def _noisy(
    y: Array, error: Array, altitude: Array, setup: MirSetup
) -> npt.NDArray[np.bool_]:
    """Find pixels of an order that scatter more than their errors say.

    Spectra are flattened by a polynomial first: brightness that bends from row to row
    would else make the ends of the detector look noisy.
    """
    x = np.linspace(-1.0, 1.0, y.shape[1])
    base = np.polynomial.legendre.legvander(x, setup.baseline_degree)
    good = np.isfinite(y) & np.isfinite(error)
    flat = np.ones_like(y)
    for row, seen in enumerate(good):
        fit = np.linalg.lstsq(base[seen], y[row, seen], rcond=None)[0]
        flat[row] = np.maximum(base @ fit, 1e-3)
    one = np.zeros(len(y), dtype=np.intp)
    ratio = setup.window.noise_ratio
    return np.asarray(
        noisy_pixels(y / flat, error / flat, one, altitude, ratio, n_bins=1)[0]
    )


@dataclass(frozen=True)
class MirScene:
    """What the fit needs beside the spectra.

    ``orders``: the spectra; for each, in the same sequence, ``limbs`` and ``cells``:
    path and nodes of its piece of the table, ``rows`` and ``jacobian_rows``: heights to
    its rows. ``levels``: atmosphere on the profile levels; ``air``: on the quadrature
    points; ``band``: the whole table.
    """

    setup: MirSetup
    orders: tuple[OrderRows, ...]
    limbs: tuple[forward.Limb, ...]
    cells: tuple[Cells, ...]
    rows: tuple[Array, ...]
    jacobian_rows: tuple[Array, ...]
    levels: xr.Dataset
    prior_vmr: Mapping[str, Array]
    planet_radius_km: float
    air: xr.Dataset
    band: BandTable

    @property
    def altitude_km(self) -> Array:
        """Levels of the profiles."""
        return self.limbs[0].altitude_km

    def image(self, index: int, shape: Mapping[str, float]) -> DoubleImage:
        """Line shape of an order: the setup's, changed by elements of `SHAPE`.

        Raises
        ------
        RetrievalError
            A negative width or height.
        """
        given, rows = self.setup.instrument, self.orders[index]
        low, high = float(rows.wavenumber_cm1.min()), float(rows.wavenumber_cm1.max())
        middle = rows.middle_cm1
        # as nu^2: constant in wavelength
        width = middle / given.resolving_power * (low / middle) ** 2
        amplitude = given.second_amplitude + shape["second_amplitude"]
        if not (amplitude >= 0.0 and shape["width"] > -1.0):
            message = f"the line shape of order {rows.order} has run away"
            raise RetrievalError(
                message, field="shape", value=dict(shape), rule="fit.diverged"
            )
        return DoubleImage(
            low, middle, high, 0.0, 0.0, 0.0,
            given.second_shift_cm1 + shape["second_shift"],
            width * (1.0 + shape["width"]), amplitude, amplitude,
        )  # fmt: skip

    def operator(
        self,
        index: int,
        shift_px: float,
        stretch_px: float,
        shape: Mapping[str, float],
        dtype: type[np.float32 | np.float64] = np.float32,
    ) -> Operator:
        """Operator of an order, the product's wavenumbers moved.

        Raises
        ------
        InstrumentError
            The cells of the table are too wide for the line shape.
        """
        rows = self.orders[index]
        stretch = stretch_px + shape["order_stretch"]
        moved = shift_px + stretch * rows.position + shape["bend"] * rows.curve
        return acs_mir_operator(
            self.cells[index],
            pixels=rows.pixels,
            pixel_wavenumber_cm1=rows.wavenumber_cm1 + moved * rows.dispersion_cm1,
            image=self.image(index, shape),
            dtype=dtype,
        )


def make_mir_scene(
    orders: tuple[OrderRows, ...],
    setup: MirSetup,
    band: BandTable,
    atmosphere: xr.Dataset,
    planet_radius_km: float,
    *,
    jacobian_rank: int | None = 4,
    dtype: type[np.floating] = np.float32,
) -> MirScene:
    """Assemble the scene of one product.

    Parameters
    ----------
    orders : tuple of OrderRows
    setup : MirSetup
    band : BandTable
        With all gases of the setup, over all orders.
    atmosphere : Dataset
        ``pressure`` and ``temperature`` over ``altitude``, as `read_atmosphere` gives.
    planet_radius_km : float
    jacobian_rank : int or None
        Directions kept per gas; None keeps all.
    dtype : type
        Of the spectral arrays.

    Raises
    ------
    TableError
        The table lacks a gas or does not cover pressures, temperatures or wavenumbers.
    """
    every = np.concatenate([rows.altitude_km for rows in orders])
    half = 0.5 * setup.instrument.field_of_view_km
    step, height_step = setup.grid.step_km, setup.grid.height_step_km
    low = np.floor((every.min() - half) / height_step) * height_step
    high = np.ceil((every.max() + half) / height_step) * height_step
    heights = np.arange(low, high + 0.5 * height_step, height_step)
    bottom = np.floor(every.min() / step) * step
    altitude = np.arange(bottom, setup.grid.top_km + 0.5 * step, step)
    points = forward.quadrature_altitudes(altitude, heights)
    air = atmospheres.on_altitudes(atmosphere, points)
    levels = air.isel(altitude=np.abs(points[:, None] - altitude).argmin(axis=0))
    levels = levels.assign_coords(altitude=altitude)
    limb = _limb(
        setup, band, air, altitude, heights, planet_radius_km, jacobian_rank, dtype
    )
    limbs, cells, rows = [], [], []
    for one in orders:
        nodes, piece = _piece(band, one, setup.table)
        limbs.append(_of_nodes(limb, nodes))
        cells.append(piece)
        boxes = np.full((one.altitude_km.size, 1), setup.instrument.field_of_view_km)
        rows.append(geometry.fov_operator(heights, one.altitude_km, boxes))
    return MirScene(
        setup=setup,
        orders=orders,
        limbs=tuple(limbs),
        cells=tuple(cells),
        rows=tuple(rows),
        jacobian_rows=tuple(view @ limb.spread for view in rows),
        levels=levels,
        prior_vmr={gas: prior_profile(gas, setup, levels) for gas in setup.gases},
        planet_radius_km=planet_radius_km,
        air=air,
        band=band,
    )


def limbs_of(scene: MirScene, air: xr.Dataset) -> tuple[forward.Limb, ...]:
    """Return the limbs of a scene with another atmosphere, one for each order.

    Parameters
    ----------
    scene : MirScene
    air : Dataset
        On the scene's quadrature points.
    """
    one = scene.limbs[0]
    limb = _limb(
        scene.setup, scene.band, air, one.altitude_km, one.height_km,
        scene.planet_radius_km, 4, one.dtype,
    )  # fmt: skip
    pieces = (_piece(scene.band, rows, scene.setup.table) for rows in scene.orders)
    return tuple(_of_nodes(limb, nodes) for nodes, _ in pieces)


def _limb(
    setup: MirSetup,
    band: BandTable,
    air: xr.Dataset,
    altitude_km: Array,
    height_km: Array,
    planet_radius_km: float,
    jacobian_rank: int | None,
    dtype: type[np.floating],
) -> forward.Limb:
    """Path through an atmosphere on quadrature points, on all nodes of the table."""
    coefficients = coefficients_on(band, setup.gases, air)
    return forward.limb(
        altitude_km=altitude_km,
        height_km=height_km,
        points_km=np.asarray(air["altitude"].values, dtype=float),
        number_density_cm3=air["number_density"].values,
        planet_radius_km=planet_radius_km,
        vectors={gas: band.vectors[gas] for gas in setup.gases},
        coefficients=coefficients,
        jacobian_rank=jacobian_rank,
        jacobian_heights=forward.sparse_heights(height_km, STEPS_KM),
        dtype=dtype,
    )


def _piece(band: BandTable, one: OrderRows, table: str) -> tuple[slice, Cells]:
    """Nodes and cells of the table that an order needs."""
    low = float(one.wavenumber_cm1.min()) - REACH_CM1
    high = float(one.wavenumber_cm1.max()) + REACH_CM1
    start, width = float(band.cell_start_cm1[0]), band.cell_width_cm1
    covered = start, float(band.cell_start_cm1[-1]) + width
    check_range(covered, (low, high), table, f"order {one.order}", table)
    first = int(np.floor((low - start) / width))
    last = min(int(np.ceil((high - start) / width)), band.cell_start_cm1.size)
    nodes = slice(*(int(k) for k in np.searchsorted(band.node_cell, [first, last])))
    piece = replace(
        band,
        node_cell=(band.node_cell[nodes] - first).astype(np.int32),
        node_weight=band.node_weight[nodes],
        cell_start_cm1=band.cell_start_cm1[first:last],
    )
    return nodes, table_cells(piece)


def _of_nodes(limb: forward.Limb, nodes: slice) -> forward.Limb:
    """Return the limb on some nodes of the table."""
    vectors = np.ascontiguousarray(limb.vectors[nodes])
    gases, start = {}, 0
    for gas, path in limb.gases.items():
        stop = start + path.vectors.shape[1]
        gases[gas] = replace(
            path, vectors=vectors[:, start:stop], directions=path.directions[nodes]
        )
        start = stop
    return replace(limb, gases=gases, vectors=vectors, table=limb.table[nodes])
