"""Slant columns, spectrum by spectrum: lazy, chunked, the same for any chunking.

Each row is fitted by itself: one factor per gas on the slant column of a reference
profile, a wavenumber shift, and a baseline. Nothing is shared between rows, so a row
gives the same bits whatever chunk it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.polynomial import legendre

from tgo_spectra import atmosphere as atmospheres
from tgo_spectra import geometry
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.mars import MEAN_RADIUS_KM
from tgo_spectra.operators import tabulated as operators
from tgo_spectra.retrieval.level2 import band_of, provenance
from tgo_spectra.retrieval.prepare import scalar, smooth_wavenumber
from tgo_spectra.retrieval.scene import (
    coefficients_on,
    detector_position,
    operator_settings,
    prior_profile,
)
from tgo_spectra.variables import annotate

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

    from tgo_spectra.retrieval.setup import RetrievalSetup

    Array = npt.NDArray[np.floating]

__all__ = ["fields_of_view", "line_of_sight", "slant_columns"]

TRACE_REFERENCE = 1e-9
"""Mole fraction whose slant column is the unit for a gas with a zero a priori."""

FACTOR_SIGMA = 1e4
"""Weak a priori of the factors: keeps rows without lines finite, changes no other."""

FIELD_NODES, FIELD_WEIGHTS = (
    np.array([-0.7745966692414834, 0.0, 0.7745966692414834]),
    np.array([5.0, 8.0, 5.0]) / 18.0,
)
"""Three-point Gauss-Legendre average over the field of view."""

ITERATIONS = 6
CLIP_SIGMA = 6.0
"""Pixels farther off than this after the first pass are left out of the row."""


@dataclass(frozen=True)
class _Optics:
    """Settings of the instrument during the observation."""

    order: int
    aotf_frequency_khz: float
    temperature_c: float


@dataclass(frozen=True)
class LineOfSight:
    """Atmosphere on the quadrature points; cross-section coefficients per gas."""

    points_km: Array
    air_cm3: Array
    radius_km: float
    coefficients: tuple[Array, ...]
    reference: tuple[Array, ...]


@dataclass(frozen=True)
class _RowModel:
    """What all rows of a block share.

    ``kinds``: sparse (wide pixel, node) operators of value, shift and curvature.
    """

    setup: RetrievalSetup
    pixels: npt.NDArray[np.intp]
    kinds: tuple[csr_array, ...]
    search_px: int
    dispersion_cm1: Array
    line_of_sight: LineOfSight
    vectors: Array

    @property
    def n_gases(self) -> int:
        """Number of fitted gases."""
        return len(self.line_of_sight.reference)


def slant_columns(
    level1: xr.Dataset, setup: RetrievalSetup, atmosphere: xr.Dataset
) -> xr.Dataset:
    """Fit each spectrum by itself; lazy when the level-1 Dataset is chunked.

    Parameters and errors as in `tgo_spectra.retrieve`.

    Returns
    -------
    Dataset
        ``<gas>_slant_column``, ``<gas>_slant_column_error``, ``spectrum_shift``,
        ``spectrum_reduced_chi_square`` over ``spectrum``; ``baseline``.
    """
    sight, record = line_of_sight(setup, atmosphere)
    optics = _Optics(
        order=int(scalar(level1, "order")),
        aotf_frequency_khz=scalar(level1, "aotf_frequency"),
        temperature_c=scalar(level1, "instrument_temperature"),
    )
    fitted = xr.apply_ufunc(
        _fit_block,
        level1["transmittance"],
        level1["transmittance_error"],
        level1["tangent_altitude_areoid"],
        level1["wavenumber"].reset_coords(drop=True),
        input_core_dims=[["pixel"], ["pixel"], ["point", "edge"], ["pixel"]],
        output_core_dims=[["output"]],
        kwargs={"setup": setup, "optics": optics, "line_of_sight": sight},
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"output": _output_size(setup)}},
        keep_attrs=False,
    ).drop_vars(["wavenumber"], errors="ignore")
    result = annotate(_named(fitted, setup))
    for key in ("product_lid", "product_version", "channel", "source_file"):
        if key in level1.attrs:
            record[key] = level1.attrs[key]
    result.attrs = record
    return result


def _output_size(setup: RetrievalSetup) -> int:
    return 2 * len(setup.gases) + 3 + setup.baseline_degree + 1


def _named(fitted: xr.DataArray, setup: RetrievalSetup) -> xr.Dataset:
    """Columns of the block's output under their names."""
    data = {}
    for index, gas in enumerate(setup.gases):
        data[f"{gas}_slant_column"] = fitted.isel(output=2 * index)
        data[f"{gas}_slant_column_error"] = fitted.isel(output=2 * index + 1)
    start = 2 * len(setup.gases)
    data["spectrum_shift"] = fitted.isel(output=start)
    data["spectrum_shift_error"] = fitted.isel(output=start + 1)
    data["spectrum_reduced_chi_square"] = fitted.isel(output=start + 2)
    baseline = fitted.isel(output=slice(start + 3, None))
    data["baseline"] = baseline.rename(output="coefficient")
    return xr.Dataset(data)


def line_of_sight(
    setup: RetrievalSetup, atmosphere: xr.Dataset
) -> tuple[LineOfSight, dict[str, object]]:
    """Atmosphere and cross-sections on the quadrature points."""
    band, table_attrs = band_of(setup.table)
    record = provenance(setup, table_attrs, atmosphere) | {"method": "slant"}
    given = atmosphere.attrs.get("planet_radius_source") != "default"
    radius = float(atmosphere.attrs["planet_radius_km"]) if given else MEAN_RADIUS_KM
    record["planet_radius_km"] = radius
    bottom = np.ceil(float(atmosphere["altitude"][0]) - 4.0)
    points = np.arange(max(bottom, -10.0), 160.0, forward.SUBSTEP_KM)
    air = atmospheres.on_altitudes(atmosphere, points)
    # rows that look below what the table covers stay without a result
    covered = air["pressure"].values <= np.exp(band.ln_pressure[-1])
    air = air.isel(altitude=covered)
    coefficients = coefficients_on(band, setup.gases, air)
    reference = []
    for gas in setup.gases:
        profile = prior_profile(gas, setup, air)
        reference.append(profile if profile.any() else profile + TRACE_REFERENCE)
    return LineOfSight(
        points_km=points[covered],
        air_cm3=air["number_density"].values,
        radius_km=radius,
        coefficients=tuple(coefficients[gas] for gas in setup.gases),
        reference=tuple(reference),
    ), record


def _row_model(
    wavenumber_cm1: Array,
    setup: RetrievalSetup,
    optics: _Optics,
    line_of_sight: LineOfSight,
) -> _RowModel:
    band, _ = band_of(setup.table)
    window, search = setup.window, setup.registration.search_px
    pixels = np.setdiff1d(
        np.arange(window.first_pixel, window.last_pixel + 1), window.masked_pixels
    )
    wider = np.arange(window.first_pixel - search, window.last_pixel + search + 1)
    polynomial = smooth_wavenumber(np.asarray(wavenumber_cm1, dtype=float))
    operator = operators.build_operator(
        band.node_cell,
        band.node_weight,
        float(band.cell_start_cm1[0]),
        band.cell_width_cm1,
        pixel_wavenumber_cm1=np.polynomial.polynomial.polyval(wider, polynomial),
        pixels=wider,
        order=optics.order,
        aotf_frequency_khz=optics.aotf_frequency_khz,
        temperature_c=optics.temperature_c,
        settings=operator_settings(setup),
        dtype=np.float32,
    )
    # one column at a time: a sparse product is faster than the dense blocks
    kinds = [operators.as_csr(operator, k) for k in ("value", "shift", "curvature")]
    vectors = np.concatenate([band.vectors[gas] for gas in setup.gases])
    derivative = np.polynomial.polynomial.polyder(polynomial)
    return _RowModel(
        setup=setup,
        pixels=pixels,
        kinds=tuple(kinds),
        search_px=search,
        dispersion_cm1=np.polynomial.polynomial.polyval(pixels, derivative),
        line_of_sight=line_of_sight,
        vectors=np.ascontiguousarray(vectors, dtype=np.float32),
    )


def _fit_block(
    transmittance: Array,
    error: Array,
    corners_km: Array,
    wavenumber_cm1: Array,
    *,
    setup: RetrievalSetup,
    optics: _Optics,
    line_of_sight: LineOfSight,
) -> Array:
    """Fit a block of rows; whatever the blocks, a row sees the same numbers."""
    if transmittance.size == 0:
        return np.empty((*transmittance.shape[:-1], _output_size(setup)))
    model = _row_model(wavenumber_cm1, setup, optics, line_of_sight)
    return _fit_rows(transmittance, error, corners_km, model=model)


def _fit_rows(
    transmittance: Array, error: Array, corners_km: Array, *, model: _RowModel
) -> Array:
    """Fit a block of rows one after the other."""
    shape = (transmittance.shape[0], _output_size(model.setup))
    out = np.full(shape, np.nan)
    bottom = model.line_of_sight.points_km[0]
    centre, width = fields_of_view(corners_km)
    for row in range(transmittance.shape[0]):
        y = np.asarray(transmittance[row], dtype=float)[model.pixels]
        s = np.asarray(error[row], dtype=float)[model.pixels]
        good = np.isfinite(y) & np.isfinite(s) & (s > 0)
        bright = good.sum() > y.size // 2 and (
            np.median(y[good]) >= model.setup.window.minimum_transmittance
        )
        if not bright or not np.isfinite(centre[row]):
            continue
        if centre[row] - width[row] < bottom:
            continue
        weight = np.where(good, 1.0 / np.where(good, s, 1.0), 0.0)
        out[row] = _fit_row(
            np.where(good, y, 0.0), weight, float(centre[row]), float(width[row]), model
        )
    return out


def fields_of_view(corners_km: Array) -> tuple[Array, Array]:
    """Centre and width of each row by itself, from the corners it has.

    The width is that of one boxcar with the variance of the slit's two and the
    motion; a row without corners (hidden by the surface) takes none.
    """
    z = np.asarray(corners_km, dtype=float)
    one = 0.5 * (np.abs(z[:, 1] - z[:, 2]) + np.abs(z[:, 4] - z[:, 3]))
    two = 0.5 * (np.abs(z[:, 2] - z[:, 3]) + np.abs(z[:, 1] - z[:, 4]))
    motion = z[:, 0, 1] - z[:, 0, 0]
    squares = one.mean(axis=1) ** 2 + two.mean(axis=1) ** 2 + motion**2
    return z[:, 0].mean(axis=1), np.sqrt(np.nan_to_num(squares))


def _row_depths(
    altitude_km: float, width_km: float, model: _RowModel
) -> tuple[npt.NDArray[np.float32], Array]:
    """Optical depth of the reference on (gas, field point, node); slant columns."""
    heights = altitude_km + 0.5 * width_km * FIELD_NODES
    sight = model.line_of_sight
    chord = geometry.path_weights(
        sight.radius_km + heights, sight.radius_km + sight.points_km
    )
    air = chord * sight.air_cm3
    start, depths, columns = 0, [], []
    for c, reference in zip(sight.coefficients, sight.reference, strict=True):
        weights = (c * reference) @ air.T
        stop = start + c.shape[0]
        depths.append(weights.T.astype(np.float32) @ model.vectors[start:stop])
        columns.append(FIELD_WEIGHTS @ (air @ reference))
        start = stop
    return np.stack(depths), np.array(columns)


def _fit_row(
    y: Array, weight: Array, altitude_km: float, width_km: float, model: _RowModel
) -> Array:
    depths, columns = _row_depths(altitude_km, width_km, model)
    n = model.n_gases
    first = [0.0 if not c else 1.0 for c in (_prior_is_nonzero(model))]
    x = np.concatenate([first, [0.0]])
    whole = _search(y, weight, depths, x[:n], model)
    sigma = model.setup.registration.shift_sigma_px
    prior = np.array([FACTOR_SIGMA**-2] * n + [sigma**-2])
    clipped = False
    for iteration in range(ITERATIONS):
        gram, gradient, residual, baseline = _row_equations(
            y, weight, depths, x, whole, model
        )
        offset = np.concatenate([x[:n] - first, [whole + x[n]]])
        covariance = np.linalg.inv(gram + np.diag(prior))
        step = covariance @ (gradient - prior * offset)
        step[n] = np.clip(step[n], -1.0, 1.0)
        x = x + step
        if not clipped and iteration == 1:
            weight = np.where(np.abs(residual) > CLIP_SIGMA, 0.0, weight)
            clipped = True
        elif clipped and step @ gram @ step < 1e-4:
            break
    gram, _, residual, baseline = _row_equations(y, weight, depths, x, whole, model)
    error = np.sqrt(np.diag(np.linalg.inv(gram + np.diag(prior))))
    n_free = (weight > 0).sum() - x.size - baseline.size
    pairs = np.column_stack([x[:n] * columns, error[:n] * columns]).ravel()
    tail = [whole + x[n], error[n], residual @ residual / n_free]
    return np.concatenate([pairs, tail, baseline])


def _prior_is_nonzero(model: _RowModel) -> list[bool]:
    """Tell which gases start from their reference (the others from zero)."""
    priors = (model.setup.prior.get(gas) for gas in model.setup.gases)
    return [p is None or p.constant != 0.0 for p in priors]


def _spectra(
    factors: Array, depths: npt.NDArray[np.float32], model: _RowModel
) -> tuple[Array, Array, Array, Array]:
    """Value, shift derivative, curvature and gas derivatives on the wide detector."""
    total = np.tensordot(factors.astype(np.float32), depths, axes=1)
    t = np.exp(-np.clip(total, -30.0, None)) * FIELD_WEIGHTS[:, None].astype(np.float32)
    mean = t.sum(axis=0)
    value, shift, curvature = (kind @ mean for kind in model.kinds)
    fields = -(depths * t).sum(axis=1)
    gas = (model.kinds[0] @ fields.T).T
    return value, shift, curvature, gas


def _window(values: Array, whole: int, model: _RowModel) -> Array:
    """Pixels of the fit, seen at a whole-pixel shift."""
    start = model.setup.window.first_pixel - model.search_px
    return values[..., model.pixels - start + whole]


def _eliminate(
    derivative: Array, spectrum: Array, y: Array, weight: Array, model: _RowModel
) -> tuple[Array, Array, Array, Array]:
    """Fit the baseline, project the derivatives onto its complement."""
    position = detector_position(model.pixels)
    polynomials = legendre.legvander(position, model.setup.baseline_degree)
    columns = polynomials * (spectrum * weight)[:, None]
    q, r = np.linalg.qr(columns)
    target = y * weight
    baseline = np.linalg.solve(r, q.T @ target)
    scaled = (derivative * (polynomials @ baseline) * weight).T
    scaled = scaled - q @ (q.T @ scaled)
    residual = target - columns @ baseline
    return scaled.T @ scaled, scaled.T @ residual, residual, baseline


def _row_equations(
    y: Array,
    weight: Array,
    depths: npt.NDArray[np.float32],
    x: Array,
    whole: int,
    model: _RowModel,
) -> tuple[Array, Array, Array, Array]:
    n = model.n_gases
    value, first, second, gas = (
        _window(v, whole, model) for v in _spectra(x[:n], depths, model)
    )
    offset = x[n] * model.dispersion_cm1
    spectrum = value + offset * (first + 0.5 * offset * second)
    shift = (first + offset * second) * model.dispersion_cm1
    return _eliminate(np.vstack([gas, shift]), spectrum, y, weight, model)


def _search(
    y: Array,
    weight: Array,
    depths: npt.NDArray[np.float32],
    factors: Array,
    model: _RowModel,
) -> int:
    """Whole-pixel shift of this row; zero unless another gains more than 25."""
    value, _, _, gas = _spectra(factors, depths, model)
    shifts = np.arange(-model.search_px, model.search_px + 1)
    chi = np.empty(shifts.size)
    ridge = np.eye(model.n_gases) * FACTOR_SIGMA**-2
    for index, shift in enumerate(shifts):
        v, g = _window(value, int(shift), model), _window(gas, int(shift), model)
        gram, gradient, residual, _ = _eliminate(g, v, y, weight, model)
        gain = gradient @ np.linalg.solve(gram + ridge, gradient)
        chi[index] = residual @ residual - gain
    best = int(np.argmin(chi))
    nearest = int(np.flatnonzero(shifts == 0)[0])
    return int(shifts[best]) if chi[nearest] - chi[best] > 25.0 else 0
