"""One product's scene: atmosphere on the line of sight, band table, operators."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry
from tgo_spectra.atmosphere import profile as atmospheres
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments import so as instrument
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.retrieval.elements import fitted_sources, moved
from tgo_spectra.retrieval.given import coefficients_on, prior_profile
from tgo_spectra.spectroscopy.tables.read import check_range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.measurement import Prepared
    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.floating]
    Steps = Sequence[tuple[float, float]]

__all__ = [
    "Scene",
    "detector_position",
    "free_gases",
    "in_columns",
    "make_scene",
    "nearest",
    "of_rows",
    "with_air",
    "with_rows",
    "without_pixels",
]

HALF_DETECTOR_PX = 159.5

JACOBIAN_STEPS_KM = ((20.0, 2.0), (50.0, 3.0), (np.inf, 5.0))
"""Spacing of the Jacobian's fields up to a height above the lowest: they vary over a
scale height (6 to 10 km) where lines are weak, faster where they saturate. Wider steps
aloft suit water but not carbon monoxide, whose lines are strong there."""

KNOWN = 0.25
"""Relative a priori sigma up to which a mole fraction is known: that of CO2 is, to a
few per cent; 100 % of water or carbon monoxide stands for not to know."""

LINE_SHAPE_REACH_CM1 = 1.0
"""Half window of the line shape (5.5 sigma and the ghost's displacement), at most."""


def detector_position(pixel: npt.ArrayLike) -> Array:
    """Pixel index as a position in [-1, 1] over the 320 pixels."""
    return (np.asarray(pixel, dtype=float) - HALF_DETECTOR_PX) / HALF_DETECTOR_PX


@dataclass(frozen=True)
class Scene:
    """What the fit needs beside the measurement.

    ``levels``: atmosphere (pressure, temperature, number_density, priors) on the
    profile levels; ``limb``: path geometry; ``rows``: heights to rows;
    ``jacobian_rows``: heights of the Jacobian's fields to rows; ``points_km`` and
    ``air``: quadrature points and the atmosphere there; ``offsets``: departures of the
    instrument from the setup's, by names of `tgo_spectra.retrieval.elements.ELEMENTS`;
    ``wider``: how much wider than the table's the lines of gases are, relative;
    ``waves``: amplitudes of those of which the spectra are free already; ``given``: the
    air at the points as it was given, where ``air`` is another.
    """

    prepared: Prepared
    setup: RetrievalSetup
    band: BandTable
    limb: forward.Limb
    rows: Array
    jacobian_rows: Array
    levels: xr.Dataset
    prior_vmr: Mapping[str, Array]
    points_km: Array
    air: xr.Dataset
    planet_radius_km: float
    offsets: Mapping[str, float] = field(default_factory=dict)
    wider: Mapping[str, float] = field(default_factory=dict)
    waves: Array | None = None
    given: xr.Dataset | None = None

    @property
    def as_given(self) -> xr.Dataset:
        """Air at the points as it was given."""
        return self.air if self.given is None else self.given

    def operator(
        self,
        shift_px: float,
        stretch_px: float = 0.0,
        *,
        n_orders: int | None = None,
        pixels: npt.NDArray[np.intp] | None = None,
        offsets: Mapping[str, float] | None = None,
        kinds: int = 3,
    ) -> operator.Operator:
        """Instrument operator with the product's X moved by shift and stretch.

        ``offsets``: further departures from the setup's instrument; ``kinds``: how many
        kinds of rows it has.
        """
        away = dict(self.offsets)
        for name, value in (offsets or {}).items():
            away[name] = away.get(name, 0.0) + value
        p = self.prepared
        chosen = p.pixels if pixels is None else pixels
        place: Array = chosen + shift_px + stretch_px * detector_position(chosen)
        band = self.band
        return operator.build_operator(
            band.node_cell,
            band.node_weight,
            float(band.cell_start_cm1[0]),
            band.cell_width_cm1,
            pixel_wavenumber_cm1=p.wavenumber(place),
            pixels=chosen,
            order=p.order,
            aotf_frequency_khz=p.aotf_frequency_khz,
            temperature_c=p.temperature_c,
            settings=operator_settings(self.setup, n_orders, away),
            dtype=self.limb.dtype,
            kinds=operator.KINDS[:kinds],
        )


def operator_settings(
    setup: RetrievalSetup,
    n_orders: int | None = None,
    offsets: Mapping[str, float] | None = None,
) -> instrument.SoInstrument:
    """Instrument settings of a setup, with other orders and offsets if given."""
    choices = setup.instrument
    settings = instrument.SoInstrument(
        n_orders=choices.n_orders if n_orders is None else n_orders,
        ils_amplitude=choices.ghost_amplitude,
        aotf_width_factor=choices.aotf_width_factor,
        aotf_lobe_factor=choices.aotf_side_lobe_factor,
    )
    return moved(settings, dict(offsets or {}))


def check_coverage(prepared: Prepared, setup: RetrievalSetup, band: BandTable) -> None:
    """Refuse a table that does not reach over all orders that are added."""
    n, m = setup.instrument.n_orders, prepared.order
    reach = setup.registration.search_px
    ends = np.array([prepared.pixels[0] - reach, prepared.pixels[-1] + reach])
    nominal = prepared.wavenumber(ends)
    low = nominal[0] * (m - n) / m - LINE_SHAPE_REACH_CM1
    high = nominal[1] * (m + n) / m + LINE_SHAPE_REACH_CM1
    start = float(band.cell_start_cm1[0])
    stop = float(band.cell_start_cm1[-1]) + band.cell_width_cm1
    what = f"order {m} with {n} neighbours on either side"
    check_range((start, stop), (low, high), setup.table, what, setup.table)


def height_grid(prepared: Prepared, step_km: float) -> Array:
    """Tangent heights that cover all rows and their fields of view."""
    half = 0.5 * prepared.boxcars_km.sum(axis=1)
    low = np.floor((prepared.altitude_km - half).min() / step_km) * step_km
    high = np.ceil((prepared.altitude_km + half).max() / step_km) * step_km
    return np.arange(low, high + 0.5 * step_km, step_km)


def nearest(points_km: Array, altitude_km: Array) -> npt.NDArray[np.intp]:
    """Return which point is next to each altitude."""
    return np.asarray(np.abs(points_km[:, None] - altitude_km).argmin(axis=0))


def make_scene(
    prepared: Prepared,
    setup: RetrievalSetup,
    band: BandTable,
    atmosphere: xr.Dataset,
    planet_radius_km: float,
    *,
    jacobian_rank: int | None = 4,
    steps_km: Steps | None = JACOBIAN_STEPS_KM,
    dtype: type[np.floating] = np.float32,
) -> Scene:
    """Assemble the scene of one product.

    ``steps_km``: of the heights at which the Jacobian's fields are made; None: all.

    Raises
    ------
    TableError
        The table lacks a gas of the setup or does not cover pressures, temperatures
        or wavenumbers.
    """
    check_coverage(prepared, setup, band)
    heights = height_grid(prepared, setup.grid.height_step_km)
    step = setup.grid.step_km
    bottom = np.floor(prepared.altitude_km.min() / step) * step
    altitude = np.arange(bottom, setup.grid.top_km + 0.5 * step, step)
    points = forward.quadrature_altitudes(altitude, heights)
    air = atmospheres.on_altitudes(atmosphere, points)
    # the levels are among the points, within the 1e-6 km of their merging
    levels = air.isel(altitude=nearest(points, altitude))
    levels = levels.assign_coords(altitude=altitude)
    coefficients = coefficients_on(band, setup.gases, air)
    chosen = None if steps_km is None else forward.sparse_heights(heights, steps_km)
    limb = forward.limb(
        altitude_km=altitude,
        height_km=heights,
        points_km=points,
        number_density_cm3=air["number_density"].values,
        planet_radius_km=planet_radius_km,
        vectors={gas: band.vectors[gas] for gas in setup.gases},
        coefficients=coefficients,
        jacobian_rank=jacobian_rank,
        jacobian_heights=chosen,
        dtype=dtype,
    )
    rows = geometry.fov_operator(heights, prepared.altitude_km, prepared.boxcars_km)
    prior = {gas: prior_profile(gas, setup, levels) for gas in setup.gases}
    made = Scene(
        prepared, setup, band, limb, rows, rows, levels, prior, points, air,
        planet_radius_km,
    )  # fmt: skip
    return with_rows(made, rows)


def with_rows(scene: Scene, rows: Array) -> Scene:
    """Return the scene with other weights of the heights in the rows."""
    sparse, limb = rows, scene.limb
    if limb.jacobian_heights.size != limb.height_km.size:
        sparse = rows @ limb.spread
    return replace(scene, rows=rows, jacobian_rows=sparse)


def of_rows(scene: Scene, chosen: npt.NDArray[np.bool_]) -> Scene:
    """Return the scene of some of its rows; the bins keep their numbers."""
    p = scene.prepared
    prepared = replace(
        p,
        rows=p.rows[chosen],
        transmittance=p.transmittance[chosen],
        weight=p.weight[chosen],
        bin=p.bin[chosen],
        altitude_km=p.altitude_km[chosen],
        boxcars_km=p.boxcars_km[chosen],
    )
    return replace(
        scene,
        prepared=prepared,
        rows=scene.rows[chosen],
        jacobian_rows=scene.jacobian_rows[chosen],
    )


def without_pixels(scene: Scene, static: npt.NDArray[np.bool_]) -> Scene:
    """Return the scene with more pixels left out, (bin, pixel)."""
    prepared = scene.prepared
    out = static[prepared.bin]
    kept = replace(
        prepared,
        transmittance=np.where(out, 0.0, prepared.transmittance),
        weight=np.where(out, 0.0, prepared.weight),
        masked=prepared.masked | static,
    )
    return replace(scene, prepared=kept)


def with_air(
    scene: Scene,
    air: xr.Dataset,
    *,
    gases: tuple[str, ...] | None = None,
    jacobian_rank: int | None = 4,
) -> Scene:
    """Return the scene with other air on its quadrature points, and other gases.

    What the state holds of a gas stays as it is defined, see `free_gases`: relative to
    the air as given.
    """
    limb, given = scene.limb, scene.as_given
    gases = gases or tuple(limb.gases)
    made = forward.limb(
        altitude_km=limb.altitude_km,
        height_km=limb.height_km,
        points_km=scene.points_km,
        number_density_cm3=given["number_density"].values,
        planet_radius_km=scene.planet_radius_km,
        vectors={gas: scene.band.vectors[gas] for gas in gases},
        coefficients=in_columns(scene, gases, air, scene.wider),
        jacobian_rank=jacobian_rank,
        jacobian_heights=limb.jacobian_heights,
        dtype=limb.dtype,
    )
    return replace(scene, limb=made, air=air, given=given)


def free_gases(setup: RetrievalSetup) -> tuple[str, ...]:
    """Return the gases of which the state holds amounts, not mole fractions.

    In a fit that finds the air too: molecules over those of the air as given. Spectra
    tell of a gas how many molecules there are. To ask, with an a priori of its mole
    fraction that is next to ignorance, for how many of air these are would tell the
    pressure from that ignorance. A gas that is known as a mole fraction, CO2, does
    tell the pressure.
    """
    if not {"temperature", "pressure"} & fitted_sources(setup):
        return ()
    found = []
    for gas in setup.gases:
        prior = setup.prior.get(gas)
        relative = None if prior is None else prior.relative_sigma
        if relative is None or relative > KNOWN:
            found.append(gas)
    return tuple(found)


def in_columns(
    scene: Scene,
    gases: tuple[str, ...],
    air: xr.Dataset | Mapping[str, Array],
    wider: Mapping[str, float] | None = None,
    derivative: tuple[int, int] = (0, 0),
) -> dict[str, Array]:
    """Return `coefficients_on` for columns of the air as given.

    Those of gases of which the state holds mole fractions in the other air are
    stronger by how much denser that is.
    """
    found = coefficients_on(scene.band, gases, air, wider, derivative)
    density = scene.as_given["number_density"].values
    denser = np.asarray(air["number_density"]) / density
    if (denser == 1.0).all():
        return found
    free = free_gases(scene.setup)
    return {k: v if k in free else v * denser for k, v in found.items()}
