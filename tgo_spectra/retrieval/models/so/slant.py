"""Slant columns, spectrum by spectrum: lazy, chunked, the same for any chunking.

Each row is fitted by itself: one factor per gas on the slant column of a reference
profile, a wavenumber shift, stretch, aerosol exponent, and a baseline. Nothing is
shared between rows but the shift of their product in whole pixels, which some of them
tell for all, so a row gives the same numbers whatever chunk it is in. Rows go through
the model in batches of one size.

A first look on few quadrature points, which are fitted to known spectra, finds the
shift and nearly the factors; then the whole instrument, built near that shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra import quality
from tgo_spectra.atmosphere import profile as atmospheres
from tgo_spectra.forward import ray
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval import level2, verdict
from tgo_spectra.retrieval.elements import Size, element_of, settings
from tgo_spectra.retrieval.given import airs_off, coefficients_on, prior_profile
from tgo_spectra.retrieval.measurement import (
    planet_radius,
    scalar,
    smooth_wavenumber,
)
from tgo_spectra.retrieval.models.so import slant_ends, slant_rows
from tgo_spectra.retrieval.models.so.registration import LOOKS
from tgo_spectra.retrieval.models.so.slant_fields import (
    TRAINING,
    TRAINING_TOP_KM,
    Instrument,
    Optics,
)
from tgo_spectra.retrieval.models.so.slant_shift import whole_shift
from tgo_spectra.retrieval.models.so.solution import choices
from tgo_spectra.retrieval.models.so.sources import ORDER_PAIRS
from tgo_spectra.retrieval.models.so.systematics import sizes
from tgo_spectra.retrieval.profile_variables import error_variables
from tgo_spectra.retrieval.rows import fit_each
from tgo_spectra.spectroscopy.tables import band_of
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.retrieval.setup import RetrievalSetup

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["fields_of_view", "line_of_sight", "slant_columns"]

SAMPLE = 40
"""Spectra, spread over a product, that tell the whole-pixel shift of all."""

TRACE_REFERENCE = 1e-9
"""Mole fraction whose slant column is the unit for a gas with a zero a priori."""

FIELD_NODES, FIELD_WEIGHTS = (
    np.array([-0.5773502691896258, 0.5773502691896258]),
    np.array([0.5, 0.5]),
)
"""Two-point Gauss-Legendre average over the field of view: over 1 km the error is 3e-6
of what varies with a scale of 3 km, over 2 km 5e-5."""


@dataclass(frozen=True)
class SlantAir:
    """Atmosphere on the quadrature points; cross-section coefficients per gas.

    ``other_coefficients``: the same in air as it may really be, by source of error;
    ``turns``: (rank, few) of each gas, the directions that all of them span, in which
    they are given.
    """

    points_km: Array
    air_cm3: Array
    radius_km: float
    turns: tuple[Array, ...]
    coefficients: tuple[Array, ...]
    reference: tuple[Array, ...]
    other_coefficients: Mapping[str, tuple[Array, ...]]


def slant_columns(
    level1: xr.Dataset, setup: RetrievalSetup, atmosphere: xr.Dataset
) -> xr.Dataset:
    """Fit each spectrum by itself; lazy when the level-1 Dataset is chunked.

    Parameters and errors as in `tgo_spectra.retrieve`.

    Returns
    -------
    Dataset
        ``<gas>_slant_column`` with its errors, ``spectrum_shift``,
        ``spectrum_reduced_chi_square`` and ``quality_flag`` over ``spectrum``;
        ``baseline``. ``time`` is that of the middle row, ``spectrum_time`` each row's
        own.
    """
    radius = planet_radius(level1, atmosphere)
    sight, air = line_of_sight(setup, atmosphere, radius[0])
    optics = Optics(
        order=int(scalar(level1, "order")),
        aotf_frequency_khz=scalar(level1, "aotf_frequency"),
        temperature_c=scalar(level1, "instrument_temperature"),
    )
    n = len(setup.gases)
    wavenumber, shift, elsewhere = _registered(level1, setup, optics, sight)
    fitted = fit_each(
        _fit_block,
        [
            (level1["transmittance"], ("pixel",)),
            (level1["transmittance_error"], ("pixel",)),
            (level1["tangent_altitude_areoid"], ("point", "edge")),
        ],
        {
            "column": ("gas", n),
            "error": ("gas", n),
            **dict.fromkeys((*sources_of_rows(setup), slant_ends.LINES), ("gas", n)),
            "spectrum_shift": None,
            "spectrum_shift_error": None,
            "spectrum_reduced_chi_square": None,
            "error_inflation": None,
            "quality_flag": None,
            "baseline": ("coefficient", setup.baseline_degree + 1),
        },
        wavenumber_cm1=wavenumber,
        setup=setup,
        optics=optics,
        line_of_sight=sight,
    )
    fitted["spectrum_shift"] = fitted["spectrum_shift"] + shift
    if elsewhere:
        lost = int(quality.pack(["parameter_at_limit"]))
        fitted["quality_flag"] = fitted["quality_flag"].astype(np.int32) | lost
    corners = np.asarray(level1["tangent_altitude_areoid"].values, dtype=float)
    # no spectrum is read here: the middle row is one of those that look at the sky with
    # all of the slit, bright or not
    rows = _seeing(corners, sight)
    centre, width = fields_of_view(corners)
    masked = [f"all:{pixel}" for pixel in setup.window.masked_pixels]
    _, table_attrs = band_of(setup.table)
    record = choices(
        level1,
        setup,
        air,
        table_attrs,
        radius,
        " ".join(masked) or "none",
        method="slant",
        lowest_km=float((centre - width)[rows].min(initial=np.inf)),
    )
    if not rows.size:
        rows = np.arange(level1.sizes["spectrum"])
    found = _spectra(level1) | level2.moment(level1, rows, centre[rows])
    record |= {"product_shift_px": float(shift)}
    return dataset(_named(fitted, setup) | found, record)


def _spectra(level1: xr.Dataset) -> dict[str, object]:
    """Where and when the spectra are."""
    places = ("tangent_altitude", "latitude", "longitude", "local_true_solar_time")
    found: dict[str, object] = {n: level1[n] for n in places if n in level1.variables}
    for name, ours in (("time", "spectrum_time"), ("bin", "spectrum_bin")):
        if name in level1.variables:
            found[ours] = xr.DataArray(level1[name].data, dims="spectrum")
    return found


def sources_of_rows(setup: RetrievalSetup) -> dict[str, Size]:
    """Return size (1 sigma) and unit of the errors of single spectra, by source.

    Those of `tgo_spectra.retrieval.models.so.systematics` that act on one spectrum: its
    place is given, its shift is its own, and absent gases have no column.
    """
    alike = ("pointing", "drift", "waves", "shift", "interferents")
    on = setup.systematics.enabled
    return {k: v for k, v in sizes(setup).items() if on and k not in alike}


def _named(fitted: dict[str, xr.DataArray], setup: RetrievalSetup) -> dict[str, object]:
    """Columns of the gases under their names, and what else was found."""
    wish = sources_of_rows(setup)
    columns, errors = fitted.pop("column"), fitted.pop("error")
    changes = {source: fitted.pop(source) for source in (*wish, slant_ends.LINES)}
    data: dict[str, object] = dict(fitted)
    data["quality_flag"] = fitted["quality_flag"].astype(np.int32)
    for index, gas in enumerate(setup.gases):
        name = f"{gas}_slant_column"
        data[name] = columns.isel(gas=index)
        systematic = {source: v.isel(gas=index) for source, v in changes.items()}
        noise = errors.isel(gas=index)
        data |= error_variables(name, noise, None, systematic, wish)
    return data


def line_of_sight(
    setup: RetrievalSetup, atmosphere: xr.Dataset, radius_km: float
) -> tuple[SlantAir, xr.Dataset]:
    """Cross-sections on the quadrature points, and the atmosphere there."""
    band, _ = band_of(setup.table)
    bottom = np.ceil(float(atmosphere["altitude"][0]) - 4.0)
    points = np.arange(max(bottom, -10.0), 160.0, forward.SUBSTEP_KM)
    air = atmospheres.on_altitudes(atmosphere, points)
    # rows that look below what the table covers stay without a result
    covered = air["pressure"].values <= np.exp(band.ln_pressure[-1])
    air = air.isel(altitude=covered)
    density = air["number_density"].values
    every = {"": coefficients_on(band, setup.gases, air)}
    for source, moved in airs_off(air, band, sources_of_rows(setup)).items():
        every[source] = coefficients_on(band, setup.gases, moved)
    if width := sources_of_rows(setup).get("broadening"):
        wider = dict.fromkeys(setup.gases, width.magnitude)
        every["broadening"] = coefficients_on(band, setup.gases, air, wider)
    turns = {
        gas: forward.span([one[gas] for one in every.values()], density)
        for gas in setup.gases
    }
    others = {
        source: tuple(turns[gas].T @ one[gas] for gas in setup.gases)
        for source, one in every.items()
    }
    reference = []
    for gas in setup.gases:
        profile = prior_profile(gas, setup, air)
        reference.append(profile if profile.any() else profile + TRACE_REFERENCE)
    return SlantAir(
        points_km=points[covered],
        air_cm3=density,
        radius_km=radius_km,
        turns=tuple(turns.values()),
        coefficients=others.pop(""),
        reference=tuple(reference),
        other_coefficients=others,
    ), air


def _fit_block(
    out: dict[str, Array],
    transmittance: Array,
    error: Array,
    corners_km: Array,
    *,
    wavenumber_cm1: Array,
    setup: RetrievalSetup,
    optics: Optics,
    line_of_sight: SlantAir,
) -> None:
    """Fit a block of rows; whatever the blocks, a row sees the same numbers."""
    out["quality_flag"][:] = verdict.UNSEEN
    rows = _usable(transmittance, error, corners_km, setup, line_of_sight)
    if not rows.size:
        return
    spectra, choices, instrument, air = _given(
        transmittance[rows],
        error[rows],
        corners_km[rows],
        wavenumber_cm1,
        setup,
        optics,
        line_of_sight,
    )
    weights = _weights(line_of_sight, air)
    wish = sources_of_rows(setup)
    found = slant_rows.fit(
        spectra,
        choices,
        instrument,
        weights,
        FIELD_WEIGHTS,
        _others(instrument, line_of_sight, air, weights),
        wish["zero_level"][0] if "zero_level" in wish else 0.0,
        setup.systematics.spectroscopy,
    )
    columns = _columns(line_of_sight, air)
    n = len(setup.gases)
    inflation = np.array([one.inflation for one in found.noise])
    changes = dict(found.changes)
    if "spectroscopy" in wish:  # stronger lines: smaller columns
        changes["spectroscopy"] = -wish["spectroscopy"][0] * found.state[:, :n]
    out["column"][rows] = found.state[:, :n] * columns
    out["error"][rows] = found.error[:, :n] * columns * inflation[:, None]
    for source in (*wish, slant_ends.LINES):
        out[source][rows] = changes[source] * columns
    out["spectrum_shift"][rows] = found.state[:, n]
    out["spectrum_shift_error"][rows] = found.error[:, n]
    out["spectrum_reduced_chi_square"][rows] = found.reduced_chi_square
    out["error_inflation"][rows] = inflation
    out["quality_flag"][rows] = verdict.of_rows(
        np.arange(rows.size), rows.size, found.noise, found.converged,
        found.off_sigmas, found.agreement, found.alone, found.left_out,
    )  # fmt: skip
    out["baseline"][rows] = found.baseline


def _given(
    transmittance: Array,
    error: Array,
    corners_km: Array,
    wavenumber_cm1: Array,
    setup: RetrievalSetup,
    optics: Optics,
    line_of_sight: SlantAir,
) -> tuple[slant_rows.Spectra, slant_rows.Choices, Instrument, Array]:
    """Return what a fit of rows is given, and the air along their lines of sight."""
    window = setup.window
    pixels = np.setdiff1d(
        np.arange(window.first_pixel, window.last_pixel + 1), window.masked_pixels
    )
    y = np.asarray(transmittance, dtype=float)[:, pixels]
    s = np.asarray(error, dtype=float)[:, pixels]
    good = np.isfinite(y) & np.isfinite(s) & (s > 0)
    spectra = slant_rows.Spectra(
        np.where(good, y, 0.0), np.where(good, 1.0 / np.where(good, s, 1.0), 0.0)
    )
    priors = [setup.prior.get(gas) for gas in setup.gases]
    zero = [p is not None and p.constant == 0.0 for p in priors]
    known = [
        p is not None and (p.relative_sigma or 1.0) < slant_rows.KNOWN for p in priors
    ]
    register, aerosol = setup.registration, setup.aerosol
    choices = slant_rows.Choices(
        first=np.where(zero, 0.0, 1.0),
        sigma=np.where(known, slant_rows.KNOWN_SIGMA, slant_rows.FACTOR_SIGMA),
        shift_sigma=register.shift_sigma_px,
        stretch_sigma=register.stretch_sigma_px if register.stretch else 0.0,
        exponent=aerosol.exponent,
        exponent_sigma=aerosol.exponent_sigma,
        baseline_degree=setup.baseline_degree,
        search_px=register.search_px,
    )
    instrument = Instrument(
        wavenumber_cm1,
        pixels,
        setup,
        optics,
        line_of_sight.turns,
        _known(line_of_sight),
    )
    centre, width = fields_of_view(corners_km)
    return spectra, choices, instrument, _paths(line_of_sight, centre, width)


def _registered(
    level1: xr.Dataset, setup: RetrievalSetup, optics: Optics, line_of_sight: SlantAir
) -> tuple[Array, int, bool]:
    """Return wavenumbers at the product's whole-pixel shift; see `whole_shift`.

    Reads some spectra spread over the product, the same ones for any chunks.
    """
    nu = smooth_wavenumber(np.asarray(level1["wavenumber"].values, dtype=float))
    pixel = np.arange(level1.sizes["pixel"], dtype=float)
    corners = np.asarray(level1["tangent_altitude_areoid"].values, dtype=float)
    rows = _seeing(corners, line_of_sight)
    total = 0
    elsewhere = False
    for _ in range(LOOKS if setup.registration.search_px and rows.size else 0):
        some = rows[np.unique(np.linspace(0, rows.size - 1, SAMPLE).astype(int))]
        few = level1[["transmittance", "transmittance_error"]].isel(spectrum=some)
        y, s = (few[name].values for name in few)
        used = _usable(y, s, corners[some], setup, line_of_sight)
        if not used.size:
            break
        at = np.polynomial.polynomial.polyval(pixel + total, nu)
        spectra, choices, instrument, air = _given(
            y[used], s[used], corners[some][used], at, setup, optics, line_of_sight
        )
        shift, elsewhere = whole_shift(
            spectra, choices, instrument, _weights(line_of_sight, air), FIELD_WEIGHTS
        )
        total += shift
        if abs(shift) < setup.registration.search_px:
            break
    return np.polynomial.polynomial.polyval(pixel + total, nu), total, elsewhere


def _others(
    instrument: Instrument, sight: SlantAir, air: Array, weights: Array
) -> dict[str, tuple[Instrument, Array]]:
    """Instrument and weights as they may really be, by source of error."""
    setup = instrument.setup
    found = {}
    for name, (size, *_) in sources_of_rows(setup).items():
        if name in sight.other_coefficients:
            other = replace(sight, coefficients=sight.other_coefficients[name])
            found[name] = instrument, _weights(other, air)
        elif name == "outer_orders":
            fewer = max(setup.instrument.n_orders - ORDER_PAIRS[0], 0)
            found[name] = instrument.like(n_orders=fewer), weights
        elif name in settings():
            moved = instrument.like(offsets={element_of(name): size})
            found[name] = moved, weights
    return found


def _usable(
    transmittance: Array,
    error: Array,
    corners_km: Array,
    setup: RetrievalSetup,
    line_of_sight: SlantAir,
) -> IntArray:
    """Rows that are bright enough and see the sky with all of the slit."""
    window = setup.window
    first, last = window.first_pixel, window.last_pixel + 1
    y = np.asarray(transmittance[:, first:last], dtype=float)
    s = np.asarray(error[:, first:last], dtype=float)
    good = np.isfinite(y) & np.isfinite(s) & (s > 0)
    chosen = good.sum(axis=1) > y.shape[1] // 2
    rows = _seeing(corners_km, line_of_sight)
    rows = rows[chosen[rows]]
    bright = [np.median(y[r, good[r]]) >= window.minimum_transmittance for r in rows]
    return np.asarray(rows[np.array(bright, dtype=bool)])


def _seeing(corners_km: Array, line_of_sight: SlantAir) -> IntArray:
    """Rows that look at the sky with all of the slit, not below the air."""
    centre, width = fields_of_view(corners_km)
    bottom = line_of_sight.points_km[0]
    # a corner without an altitude looks at the surface: part of the light is blocked
    chosen = np.isfinite(corners_km).all(axis=(1, 2))
    chosen &= np.nan_to_num(centre - width, nan=-np.inf) >= bottom
    return np.flatnonzero(chosen)


def _paths(line_of_sight: SlantAir, centre_km: Array, width_km: Array) -> Array:
    """Slant column of air under each point's hat, (row, field, point), cm-2."""
    heights = centre_km[:, None] + 0.5 * width_km[:, None] * FIELD_NODES
    points = np.asarray(line_of_sight.points_km, dtype=np.float64)
    rays = ray.LineOfSight(
        height_km=heights.ravel(), points_km=points, radius_km=line_of_sight.radius_km
    )
    air = rays.air(line_of_sight.air_cm3)
    return air.reshape(*heights.shape, points.size)


def _weights(line_of_sight: SlantAir, air: Array) -> Array:
    """Weights of the vectors for the reference, (row, field, vector of any gas)."""
    pairs = zip(line_of_sight.coefficients, line_of_sight.reference, strict=True)
    stacked = np.concatenate([c * reference for c, reference in pairs])
    # row by row: the same sums whatever rows there are
    return np.array([row @ stacked.T for row in air])


def _known(line_of_sight: SlantAir) -> Array:
    """Weights of spectra from all heights for the first look, (state, vector)."""
    heights = np.linspace(line_of_sight.points_km[0], TRAINING_TOP_KM, TRAINING)
    air = _paths(line_of_sight, heights, np.zeros(TRAINING))
    return _weights(line_of_sight, air[:, :1])[:, 0]


def _columns(line_of_sight: SlantAir, air: Array) -> Array:
    """Slant columns of the reference over the field of view, (row, gas), cm-2."""
    seen = (air * FIELD_WEIGHTS[:, None]).sum(axis=1)
    reference = np.array(line_of_sight.reference)
    return np.array([reference @ row for row in seen])


def fields_of_view(corners_km: Array) -> tuple[Array, Array]:
    """Centre and width of each row by itself, from the corners it has.

    The width is that of one boxcar with the variance of the slit's two and the
    motion; not-a-number where a corner is missing (hidden by the surface).
    """
    z = np.asarray(corners_km, dtype=float)
    one = 0.5 * (np.abs(z[:, 1] - z[:, 2]) + np.abs(z[:, 4] - z[:, 3]))
    two = 0.5 * (np.abs(z[:, 2] - z[:, 3]) + np.abs(z[:, 1] - z[:, 4]))
    motion = z[:, 0, 1] - z[:, 0, 0]
    squares = one.mean(axis=1) ** 2 + two.mean(axis=1) ** 2 + motion**2
    return z[:, 0].mean(axis=1), np.sqrt(squares)
