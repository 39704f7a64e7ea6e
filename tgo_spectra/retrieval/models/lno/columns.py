"""Columns of a gas from LNO nadir spectra: level 1 to level 2, lazy and chunked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra import mars, quality
from tgo_spectra.atmosphere.reference import reference_atmosphere
from tgo_spectra.errors import AtmosphereError, RetrievalError, TableError
from tgo_spectra.instruments import uncertain
from tgo_spectra.instruments.so import PIXELS
from tgo_spectra.retrieval import level2, verdict
from tgo_spectra.retrieval.given import with_stated
from tgo_spectra.retrieval.limits import upper_limit
from tgo_spectra.retrieval.measurement import given_atmosphere
from tgo_spectra.retrieval.models.lno.fit import ColumnFit, fit_spectrum
from tgo_spectra.retrieval.models.lno.model import nadir_model
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
from tgo_spectra.retrieval.models.lno.systematics import (
    column_changes,
    other_models,
    sizes,
)
from tgo_spectra.retrieval.profile_variables import (
    contained,
    error_variables,
    limit_variables,
)
from tgo_spectra.retrieval.rows import fit_each
from tgo_spectra.spectroscopy.tables import band_of
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.retrieval.elements import Size
    from tgo_spectra.retrieval.models.lno.model import LayeredColumn, NadirModel
    from tgo_spectra.retrieval.models.lno.setup import NadirSetup

    Array = npt.NDArray[np.floating]

__all__ = ["retrieve_nadir"]

MOST_BENT = 1.25
"""Of a product's spectra, beyond which means of their columns are off: at 1.27 the mean
of 100 columns of carbon monoxide is a fifth too small, as much as its systematic error
allows, at 1.6 half of it is lost (simulated spectra with a signal-to-noise ratio of 20
and of 10)."""


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
    air, missing = _with_gases(given_atmosphere(atmosphere, level1), setup)
    optics = {
        name: float(np.nanmean(np.asarray(level1[name].values, dtype=float)))
        for name in ("aotf_frequency", "instrument_temperature")
    }
    rows = grouped(screened(level1, setup), setup.average)
    profile = AirProfile.of(air, setup)
    wavenumber = np.asarray(level1["wavenumber"].values, dtype=float)
    observed: dict[str, Any] = {
        "order": order,
        "aotf_frequency_khz": optics["aotf_frequency"],
        "temperature_c": optics["instrument_temperature"],
    }
    model = product_model(wavenumber, rows, **observed, setup=setup, air=profile)
    others = other_models(
        setup,
        lambda other: nadir_model(
            wavenumber,
            **observed,
            setup=other,
            band=model.band,
            shift_px=model.made_at_px,
        ),
    )
    taken = with_stated(sizes(setup), profile.air)
    fitted = fit_each(
        _fit_block,
        [
            (rows["signal"], ("pixel",)),
            (rows["geometry"], ("quantity",)),
            (rows["n_averaged"], ()),
        ],
        _parts(setup),
        model=model,
        setup=setup,
        air=profile,
        taken=taken,
        others=others,
    )
    _, table_attrs = band_of(setup.table, setup.gases)
    record = _provenance(level1, setup, table_attrs, profile.air, order, atmosphere)
    record |= {
        "orders_beyond_table": " ".join(map(str, model.beyond_table)) or "none",
        "profiles_of_reference": " ".join(missing) or "none",
        "product_shift_from": "mean spectrum" if model.registered else "a priori",
        "product_shift_px": float(model.prior[-1]),
        "product_shift_sigma_px": float(model.prior_sigma[-1]),
    }
    return dataset(_named(fitted, rows, level1, setup, taken), record)


def _with_gases(air: xr.Dataset, setup: NadirSetup) -> tuple[xr.Dataset, list[str]]:
    """Return the atmosphere with all fitted gases, and those that it did not have.

    What is fitted beside the gas of the setup is taken from the reference atmosphere.
    """
    first, *others = setup.gases
    if f"{first}_vmr" not in air:
        message = "the atmosphere has no profile of a fitted gas"
        raise AtmosphereError(
            message, field=f"{first}_vmr", value=first, rule="atmosphere.missing"
        )
    missing = [gas for gas in others if f"{gas}_vmr" not in air]
    if missing:
        reference = reference_atmosphere(air["altitude"].values)
        names = [f"{gas}_vmr" for gas in missing]
        air = air.assign({n: ("altitude", reference[n].values) for n in names})
    return air, missing


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


def _parts(setup: NadirSetup) -> dict[str, tuple[str, int] | None]:
    """Return what is found of each spectrum, by name."""
    n = len(setup.gases)
    single = ("status", "air", "air_mass", "surface_pressure", "spectrum_shift",
              "spectrum_shift_error", "spectrum_noise", "goodness", "n_pixels",
              "iterations_of_spectrum", "error_inflation",
              "quality_flag")  # fmt: skip
    of_gases = (
        "factor",
        "smoothing_error",
        "noise_error",
        "degrees_of_freedom",
        "reference",
    )
    return {
        **dict.fromkeys(single),
        **dict.fromkeys((*of_gases, *sizes(setup)), ("gas", n)),
        "kernel": ("layer", LAYER_EDGES_KM.size - 1),
        "baseline": ("coefficient", setup.baseline_degree + 1),
        "residual": ("pixel", PIXELS),
    }


def _fit_block(
    out: dict[str, Array],
    signal: Array,
    geometry: Array,
    n_averaged: Array,
    *,
    model: NadirModel,
    setup: NadirSetup,
    air: AirProfile,
    taken: Mapping[str, Size],
    others: Mapping[str, NadirModel],
) -> None:
    out["quality_flag"][:] = verdict.UNSEEN
    for row in range(len(signal)):
        down, up, height, status = (float(v) for v in geometry[row])
        out["status"][row] = status
        if status != 0:
            continue
        noise = setup.noise
        if noise is not None:
            noise = noise / float(np.sqrt(n_averaged[row]))
        measured = np.asarray(signal[row], dtype=float)[model.pixels]
        try:
            layers, pressure = layers_above(air, height, down, up)
            changes = column_changes(model, layers, taken, others)
            fit = fit_spectrum(model, measured, layers, noise=noise, changes=changes)
        except (AtmosphereError, TableError):
            # this spectrum alone looks at too deep or too cold a place
            out["status"][row] = STATUS.index("outside_table_or_atmosphere")
            continue
        if not fit.converged:
            out["status"][row] = STATUS.index("not_converged")
        out["surface_pressure"][row] = pressure
        out["residual"][row, model.pixels] = fit.residual
        found = _found(fit, layers, measured)
        if "spectroscopy" in taken:  # stronger lines: smaller columns
            found["spectroscopy"] = -taken["spectroscopy"].magnitude * found["factor"]
        for name, value in found.items():
            out[name][row] = value
    whole = {
        "parameter_at_limit": model.elsewhere,
        "error_depends_on_value": model.bent > MOST_BENT,
    }
    of_all = quality.pack([reason for reason, found in whole.items() if found])
    out["quality_flag"][:] = out["quality_flag"].astype(np.int32) | of_all


def _found(
    fit: ColumnFit, layers: LayeredColumn, measured: Array
) -> dict[str, float | Array]:
    """Return what is found of a spectrum, by name."""
    n, pixels = fit.degrees_of_freedom.size, np.isfinite(fit.residual).sum()
    return {
        "air": layers.air_cm2.sum(),
        "air_mass": layers.air_mass,
        "spectrum_shift": fit.state[n],
        "spectrum_shift_error": fit.error[n],
        "spectrum_noise": fit.noise,
        "goodness": fit.reduced_chi_square,
        "n_pixels": float(pixels),
        "iterations_of_spectrum": fit.iterations,
        "error_inflation": fit.measured.inflation,
        "quality_flag": verdict.of_rows(
            np.zeros(1, np.intp), 1, [fit.measured], np.array([fit.converged]),
            fit.off_sigmas[None],
            left_out=np.array([1.0 - pixels / np.isfinite(measured).sum()]),
        )[0],
        "factor": fit.state[:n],
        "noise_error": fit.noise_error[:n] * fit.measured.inflation,
        "smoothing_error": fit.smoothing_error[:n],
        "degrees_of_freedom": fit.degrees_of_freedom,
        "reference": layers.columns_cm2,
        "kernel": fit.column_kernel,
        "baseline": fit.baseline,
        **{source: change[:n] for source, change in fit.changes.items()},
    }  # fmt: skip


def _named(
    fitted: dict[str, xr.DataArray],
    rows: xr.Dataset,
    level1: xr.Dataset,
    setup: NadirSetup,
    taken: Mapping[str, Size],
) -> dict[str, object]:
    """Columns of the gases under their names, and what else is known of the rows."""
    internal = ("status", "air", "goodness", "factor", "smoothing_error", "noise_error",
                "degrees_of_freedom", "reference", "kernel", *taken)  # fmt: skip
    data: dict[str, object] = {k: v for k, v in fitted.items() if k not in internal}
    for index, gas in enumerate(setup.gases):
        name = f"{gas}_column"
        reference = fitted["reference"].isel(gas=index)
        noise, smoothing = (
            fitted[part].isel(gas=index) * reference
            for part in ("noise_error", "smoothing_error")
        )
        systematic = {k: fitted[k].isel(gas=index) * reference for k in taken}
        data[name] = fitted["factor"].isel(gas=index) * reference
        data[f"{name}_apriori"] = reference
        data |= error_variables(name, noise, smoothing, systematic, taken)
        freedom = fitted["degrees_of_freedom"].isel(gas=index)
        data[f"{gas}_degrees_of_freedom_of_spectrum"] = freedom
        if gas == setup.gas:
            data |= _of_wanted(data, fitted, setup, taken)
    data["quality_flag"] = fitted["quality_flag"].astype(np.int32)
    # without a noise given there is no chi-square: the residuals are its only measure
    ratio = "variance_ratio" if setup.noise is None else "reduced_chi_square"
    data[f"spectrum_{ratio}"] = fitted["goodness"]
    surface = QUANTITIES.index("surface_km")
    data["surface_altitude"] = rows["geometry"].isel(quantity=surface)
    data["n_averaged"] = rows["n_averaged"]
    flags = {
        "flag_values": np.arange(len(STATUS), dtype=np.int8),
        "flag_meanings": " ".join(STATUS),
    }
    data["status"] = (fitted["status"].astype(np.int8), flags)
    data["height"] = 0.5 * (LAYER_EDGES_KM[1:] + LAYER_EDGES_KM[:-1])
    return data | _where(level1, setup.average)


def _of_wanted(
    data: Mapping[str, Any],
    fitted: dict[str, xr.DataArray],
    setup: NadirSetup,
    taken: Mapping[str, Size],
) -> dict[str, object]:
    """Return limits, kernel and scaled columns of the gas that is wanted."""
    name, k, size = f"{setup.gas}_column", setup.detection_sigma, setup.limit_sigma
    column, (error, _) = data[name], data[f"{name}_error"]
    scale = setup.reference_pressure_pa / fitted["surface_pressure"]
    scaled = {"reference_pressure_pa": setup.reference_pressure_pa}
    limited = limit_variables(
        name,
        upper_limit(column, error, size),
        (column > k * error) & (fitted["status"] == 0),
        None,
        (k, size),
        contained(data, name),
    )
    # over the pressure of the surface, which is not known better than others are
    air, *_ = taken.get("pressure", (0.0, ""))
    relative = (error**2 + (air * column) ** 2) ** 0.5
    return limited | {
        f"{name}_normalised": (column * scale, scaled),
        f"{name}_normalised_error": (relative * scale, scaled),
        f"{name}_mole_fraction": column / fitted["air"],
        f"{name}_mole_fraction_error": relative / fitted["air"],
        f"{name}_averaging_kernel": fitted["kernel"],
    }


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
        result[name] = xr.Variable("spectrum", values)
    if "time" in result:
        years = np.asarray(mars.mars_year(result["time"].values), dtype=np.int32)
        result["mars_year"] = years
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
