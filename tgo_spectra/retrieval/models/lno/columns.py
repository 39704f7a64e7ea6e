"""Columns of a gas from LNO nadir spectra: level 1 to level 2, lazy and chunked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra import mars
from tgo_spectra.errors import AtmosphereError, RetrievalError, TableError
from tgo_spectra.instruments import uncertain
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.models.lno.fit import ColumnFit, fit_spectrum
from tgo_spectra.retrieval.models.lno.registration import product_model
from tgo_spectra.retrieval.models.lno.scene import (
    CIRCLES,
    LAYER_EDGES_KM,
    QUANTITIES,
    STATUS,
    AirProfile,
    grouped,
    layers_above,
    mean,
    screened,
)
from tgo_spectra.retrieval.models.so.profile_output import band_of
from tgo_spectra.retrieval.prepare import given_atmosphere
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.retrieval.models.lno.model import LayeredColumn, NadirModel
    from tgo_spectra.retrieval.models.lno.setup import NadirSetup

    Array = npt.NDArray[np.floating]

__all__ = ["retrieve_nadir"]


def retrieve_nadir(
    level1: xr.Dataset,
    setup: NadirSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit the column of a gas in every spectrum of an LNO nadir product.

    Checked on simulated products only, never on real files. Lazy when `level1` is
    chunked along ``spectrum``, with the same bits for any chunks (of one spectrum, or
    of multiples of the averaged number); up to 100 spectra are read at once, to find
    the shift of the product.

    Parameters
    ----------
    level1 : Dataset
        As returned by `open_product`, of one order.
    setup : NadirSetup
    atmosphere : Dataset, str or path, optional
        ``pressure``, ``temperature`` and the ``<gas>_vmr`` of all fitted gases over
        ``altitude``: the column is a factor on that profile. Default: the analytic
        reference atmosphere, which the attribute ``atmosphere`` then says.

    Returns
    -------
    Dataset
        Over ``spectrum`` (groups, if averaged): ``<gas>_column`` with ``_error``,
        ``_noise_error``, ``_smoothing_error``, ``_normalised``, ``_normalised_error``,
        ``_apriori``, ``_mole_fraction``, ``_detected``, ``_upper_limit``,
        ``<gas>_column_averaging_kernel`` (with ``layer``),
        ``<gas>_degrees_of_freedom_of_spectrum``, ``spectrum_shift`` (pixels),
        ``spectrum_variance_ratio`` (with a noise given:
        ``spectrum_reduced_chi_square``), ``spectrum_noise``, ``surface_pressure``,
        ``air_mass``, ``status``, ``n_averaged``, ``residual``, ``baseline``.

    Raises
    ------
    SetupError
        The setup is wrong.
    RetrievalError
        Not an LNO nadir product, several orders, or an order not of the setup.
    AtmosphereError
        The atmosphere lacks a variable or is not physical.
    TableError
        The table does not cover the order with its neighbours.

    Examples
    --------
    >>> from tgo_spectra.simulate.nadir import simulate_nadir_level1
    >>> level1, truth = simulate_nadir_level1(order=190, n_spectra=2, snr=1000.0)
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> level2 = retrieve_nadir(level1, load_setup("lno_189_190_co"))
    >>> level2.co_column.dims, level2.co_column.units
    (('spectrum',), 'cm-2')
    """
    order = _check_product(level1, setup)
    air = given_atmosphere(atmosphere, level1)
    for gas in setup.gases:
        if f"{gas}_vmr" not in air:
            message = "the atmosphere has no profile of a fitted gas"
            raise AtmosphereError(
                message, field=f"{gas}_vmr", value=gas, rule="atmosphere.missing"
            )
    optics = {
        name: float(np.nanmean(np.asarray(level1[name].values, dtype=float)))
        for name in ("aotf_frequency", "instrument_temperature")
    }
    rows = grouped(screened(level1, setup), setup.average)
    profile = AirProfile.of(air, setup)
    model = product_model(
        np.asarray(level1["wavenumber"].values, dtype=float),
        rows,
        order=order,
        aotf_frequency_khz=optics["aotf_frequency"],
        temperature_c=optics["instrument_temperature"],
        setup=setup,
        air=profile,
    )
    places = _places(setup)
    packed = xr.apply_ufunc(
        _fit_block,
        rows["signal"],
        rows["geometry"],
        rows["n_averaged"],
        input_core_dims=[["pixel"], ["quantity"], []],
        output_core_dims=[["output"]],
        kwargs={"model": model, "setup": setup, "air": profile},
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={
            "output_sizes": {"output": places["end"].stop},
        },
        keep_attrs=False,
    )
    _, table_attrs = band_of(setup.table)
    record = _provenance(level1, setup, table_attrs, profile.air, order, atmosphere)
    record |= {
        "orders_beyond_table": " ".join(map(str, model.beyond_table)) or "none",
        "product_shift_from": "mean spectrum" if model.registered else "a priori",
        "product_shift_px": float(model.prior[-1]),
        "product_shift_sigma_px": float(model.prior_sigma[-1]),
    }
    return dataset(_named(packed, rows, level1, setup, places), record)


def _check_product(level1: xr.Dataset, setup: NadirSetup) -> int:
    def refuse(text: str, name: str, value: object, rule: str) -> RetrievalError:
        path = level1.attrs.get("source_file")
        return RetrievalError(text, path=path, field=name, value=value, rule=rule)

    channel = str(level1.attrs.get("channel", "")).lower()
    if channel != "lno" or setup.signal not in level1:
        text = f"a nadir column needs an LNO nadir product with {setup.signal}"
        raise refuse(text, "channel", channel, "level1.wrong_channel")
    orders = np.unique(np.asarray(level1["order"].values)).tolist()
    if len(orders) != 1 or orders[0] not in setup.orders:
        text = f"the setup is for one of the orders {setup.orders} at a time"
        raise refuse(text, "order", orders, "level1.wrong_order")
    if level1["wavenumber"].dims != ("pixel",):
        text = "all spectra must share their wavenumbers"
        found = level1["wavenumber"].dims
        raise refuse(text, "wavenumber", found, "level1.wavenumber")
    return int(orders[0])


def _places(setup: NadirSetup) -> dict[str, slice]:
    """Where each quantity stands in the packed result of a spectrum."""
    n = len(setup.gases)
    sizes = {
        "status": 1,
        "state": n + 1,
        "error": n + 1,
        "noise_error": n + 1,
        "degrees_of_freedom": n,
        "reference": n,
        "air": 1,
        "air_mass": 1,
        "surface_pressure": 1,
        "noise": 1,
        "reduced_chi_square": 1,
        "pixels": 1,
        "iterations": 1,
        "kernel": LAYER_EDGES_KM.size - 1,
        "baseline": setup.baseline_degree + 1,
        "residual": 320,
    }
    places, start = {}, 0
    for name, size in sizes.items():
        places[name] = slice(start, start + size)
        start += size
    places["end"] = slice(start, start)
    return places


def _fit_block(
    signal: Array,
    geometry: Array,
    n_averaged: Array,
    *,
    model: NadirModel,
    setup: NadirSetup,
    air: AirProfile,
) -> Array:
    places = _places(setup)
    out = np.full((*signal.shape[:-1], places["end"].stop), np.nan)
    for row in range(out.shape[0]):
        down, up, height, status = (float(v) for v in geometry[row])
        out[row, places["status"]] = status
        if status != 0:
            continue
        noise = setup.noise
        if noise is not None:
            noise = noise / float(np.sqrt(n_averaged[row]))
        measured = np.asarray(signal[row], dtype=float)[model.pixels]
        try:
            layers, pressure = layers_above(air, height, down, up)
            fit = fit_spectrum(model, measured, layers, noise=noise)
        except (AtmosphereError, TableError):
            # this spectrum alone looks at too deep or too cold a place
            out[row, places["status"]] = STATUS.index("outside_table_or_atmosphere")
            continue
        _pack(out[row], places, fit, layers, pressure, model)
    return out


def _pack(
    row: Array,
    places: dict[str, slice],
    fit: ColumnFit,
    layers: LayeredColumn,
    pressure: float,
    model: NadirModel,
) -> None:
    row[places["status"]] = 0 if fit.converged else STATUS.index("not_converged")
    row[places["state"]] = fit.state
    row[places["error"]] = fit.error
    row[places["noise_error"]] = fit.noise_error
    row[places["degrees_of_freedom"]] = fit.degrees_of_freedom
    row[places["reference"]] = layers.columns_cm2
    row[places["air"]] = layers.air_cm2.sum()
    row[places["air_mass"]] = layers.air_mass
    row[places["surface_pressure"]] = pressure
    row[places["noise"]] = fit.noise
    row[places["reduced_chi_square"]] = fit.reduced_chi_square
    row[places["pixels"]] = np.isfinite(fit.residual).sum()
    row[places["iterations"]] = fit.iterations
    row[places["kernel"]] = fit.column_kernel
    row[places["baseline"]] = fit.baseline
    row[places["residual"]][model.pixels] = fit.residual


def _named(
    packed: xr.DataArray,
    rows: xr.Dataset,
    level1: xr.Dataset,
    setup: NadirSetup,
    places: dict[str, slice],
) -> dict[str, object]:
    def part(name: str, index: int = 0) -> xr.DataArray:
        return packed.isel(output=places[name].start + index)

    pressure, air = part("surface_pressure"), part("air")
    scale = setup.reference_pressure_pa / pressure
    data: dict[str, object] = {}
    for index, gas in enumerate(setup.gases):
        reference = part("reference", index)
        column = part("state", index) * reference
        error = part("error", index) * reference
        data[f"{gas}_column"] = column
        noise = part("noise_error", index) * reference
        data[f"{gas}_column_noise_error"] = noise
        data[f"{gas}_column_smoothing_error"] = (error**2 - noise**2).clip(0.0) ** 0.5
        data[f"{gas}_column_error"] = error.assign_attrs(contains="noise, smoothing")
        data[f"{gas}_column_apriori"] = reference
        freedom = part("degrees_of_freedom", index)
        data[f"{gas}_degrees_of_freedom_of_spectrum"] = freedom
        if index:
            continue
        k, size = setup.detection_sigma, setup.limit_sigma
        scaled = {"reference_pressure_pa": setup.reference_pressure_pa}
        name = f"{gas}_column_normalised"
        data[name] = (column * scale).assign_attrs(scaled)
        data[f"{name}_error"] = (error * scale).assign_attrs(scaled)
        data[f"{gas}_column_mole_fraction"] = column / air
        data[f"{gas}_column_mole_fraction_error"] = error / air
        limit = column.clip(min=0.0) + size * error
        limit = limit.where(np.isfinite(column))
        data[f"{gas}_column_upper_limit"] = limit.assign_attrs(
            sigma_level=size, error_used="noise, smoothing"
        )
        found = (column > k * error) & (part("status") == 0)
        found = found.astype(np.int8).assign_attrs(
            sigma_level=k, error_used="noise, smoothing"
        )
        data[f"{gas}_column_detected"] = found
        kernel = packed.isel(output=places["kernel"]).rename(output="layer")
        data[f"{gas}_column_averaging_kernel"] = kernel
    n = len(setup.gases)
    data["spectrum_shift"] = part("state", n)
    data["spectrum_shift_error"] = part("error", n)
    # without a noise given there is no chi-square: the residuals are its only measure
    ratio = "variance_ratio" if setup.noise is None else "reduced_chi_square"
    data[f"spectrum_{ratio}"] = part("reduced_chi_square")
    data["spectrum_noise"] = part("noise")
    data["n_pixels"] = part("pixels")
    data["iterations_of_spectrum"] = part("iterations")
    data["surface_pressure"] = pressure
    data["air_mass"] = part("air_mass")
    surface = QUANTITIES.index("surface_km")
    data["surface_altitude"] = rows["geometry"].isel(quantity=surface)
    data["n_averaged"] = rows["n_averaged"]
    data["status"] = part("status").astype(np.int8).assign_attrs(
        flag_values=np.arange(len(STATUS), dtype=np.int8),
        flag_meanings=" ".join(STATUS),
    )  # fmt: skip
    baseline = packed.isel(output=places["baseline"])
    data["baseline"] = baseline.rename(output="coefficient")
    data["residual"] = packed.isel(output=places["residual"]).rename(output="pixel")
    height_km = 0.5 * (LAYER_EDGES_KM[1:] + LAYER_EDGES_KM[:-1])
    return {**data, "height": height_km, **_where(level1, setup.average)}


def _where(level1: xr.Dataset, n: int) -> dict[str, Any]:
    """Time and place of the groups."""
    names = ("time", "latitude", "longitude", "solar_longitude",
             "local_true_solar_time")  # fmt: skip
    result: dict[str, Any] = {}
    for name in names:
        if name not in level1.variables:
            continue
        values = level1[name].values
        if n > 1:
            starts = np.arange(0, values.size, n)
            groups = [values[k : k + n] for k in starts]
            values = np.array([mean(g, CIRCLES.get(name)) for g in groups])
        result[name] = ("spectrum", values)
    if "time" in result:
        years = np.asarray(mars.mars_year(result["time"][1]), dtype=np.int32)
        result["mars_year"] = ("spectrum", years)
    return result


def _provenance(
    level1: xr.Dataset,
    setup: NadirSetup,
    table: dict[str, object],
    air: xr.Dataset,
    order: int,
    given: object,
) -> dict[str, Any]:
    surface = np.asarray(level1["surface_altitude_areoid"].values, dtype=float)
    masked = [f"all:{pixel}" for pixel in setup.window.masked_pixels]
    record = level2.provenance(
        level1,
        setup,
        air,
        method="nadir",
        instrument_model="NOMAD LNO, Gaussian line shape, AOTF and blaze of LNO",
        interferents_absent=setup.interferents_absent,
        baseline_degree=setup.baseline_degree,
        n_orders=setup.instrument.n_orders,
        masked_pixels=" ".join(masked) or "none",
        table=table,
        lowest_km=float(np.fmin.reduce(surface, axis=None, initial=np.inf)),
    )
    return record | {
        "source": "retrieved from nadir spectra by tgo_spectra",
        "order": order,
        "signal": setup.signal,
        "spectra_averaged": setup.average,
        "table": setup.table,
        "resolving_power": setup.instrument.resolving_power,
        "noise_source": "residuals" if setup.noise is None else "setup",
        "reference_pressure_pa": setup.reference_pressure_pa,
        "maximum_angle_deg": setup.window.maximum_angle_deg,
        "fitted_pixels": f"{setup.window.first_pixel}-{setup.window.last_pixel}",
        "atmosphere_given": int(given is not None),
        "checked_on": "simulated products only",
        **uncertain("lno"),
    }
