"""From spectra of ACS MIR to a level-2 Dataset with profiles, errors and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.instruments import uncertain
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.mir.fit import MirSolution, fitted_shape, solve_mir
from tgo_spectra.retrieval.mir.scene import (
    MirScene,
    make_mir_scene,
    order_rows,
)
from tgo_spectra.retrieval.mir.setup import MirSetup, load_mir_setup
from tgo_spectra.retrieval.mir.systematics import mir_errors, sizes
from tgo_spectra.retrieval.optimal_estimation import prior_sigma
from tgo_spectra.retrieval.prepare import given_atmosphere, planet_radius
from tgo_spectra.retrieval.profile_variables import (
    gas_variables,
    state_layer,
    state_limits,
)
from tgo_spectra.spectroscopy import tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    Array = npt.NDArray[np.floating]

__all__ = ["build_mir_scene", "level2_of", "retrieve_mir"]

NEEDED = (
    "transmittance",
    "transmittance_error",
    "wavenumber",
    "order",
    "tangent_altitude",
)

_COPIED = (
    "experimental",
    "row_half_width",
    "geometry_join",
    "geometry_table",
    "geometry_time_tolerance",
    "geometry_product",
    "frames_without_geometry",
)


def retrieve_mir(
    level1: xr.Dataset,
    setup: MirSetup | str | Path,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit the gases of one ACS MIR occultation, all orders of the setup jointly.

    Checked on simulated products only, never on real files: what is known of the
    products and of the line shape is inferred (*to be verified*).

    Parameters
    ----------
    level1 : Dataset
        From `tgo_spectra.acs_spectra`, with tangent altitudes.
    setup : MirSetup, str or path
        A setup, the name of a shipped one, or a TOML file.
    atmosphere : Dataset, str or path, optional
        ``pressure`` and ``temperature`` over ``altitude``, optionally
        ``<gas>_vmr`` as a priori; default: the analytic reference atmosphere, which
        the attribute ``atmosphere`` of the result then says.

    Returns
    -------
    Dataset
        Level 2 with the names of other occultations; ``bin`` counts the orders, whose
        numbers are ``bin_order``. What else is fitted of each order: ``fitted_width``,
        ``fitted_second_shift``, ``fitted_second_amplitude``, ``fitted_order_stretch``
        and ``fitted_bend`` (pixels), with their errors (bin).

    Raises
    ------
    SetupError
        The setup is wrong.
    RetrievalError
        The Dataset lacks a variable or an order, too few spectra are usable, or the
        fit diverges.
    TableError
        The table lacks a gas or does not cover the orders.
    InstrumentError
        The cells of the table are too wide for the line shape.
    AtmosphereError
        The atmosphere lacks a variable or is not physical.

    References
    ----------
    Rodgers, C. D., 2000, Inverse Methods for Atmospheric Sounding, World Scientific.

    Examples
    --------
    >>> import tgo_spectra as tgo
    >>> retrieve_mir(tgo.open_product("acs_cal_sc_mir.xml"),
    ...              "acs_mir_ch4_position_12")  # doctest: +SKIP
    """
    chosen = setup if isinstance(setup, MirSetup) else load_mir_setup(setup)
    if level1.chunks:
        level1 = level1.compute()
    scene, record = build_mir_scene(level1, chosen, atmosphere)
    solution = solve_mir(scene)
    errors = mir_errors(scene, solution) if chosen.systematics.enabled else {}
    return level2_of(level1, scene, solution, record, errors)


def build_mir_scene(
    level1: xr.Dataset,
    setup: MirSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    jacobian_rank: int | None = 4,
    dtype: type[np.floating] = np.float32,
) -> tuple[MirScene, dict[str, object]]:
    """Everything between a level-1 Dataset and the solver.

    Parameters
    ----------
    level1, setup, atmosphere
        As in `retrieve_mir`.
    jacobian_rank, dtype
        As in `tgo_spectra.retrieval.mir.scene.make_mir_scene`.

    Returns
    -------
    scene : MirScene
    record : dict
        Every choice that affects a number, as attributes.
    """
    _check(level1)
    air = given_atmosphere(atmosphere)
    orders = tuple(order_rows(level1, setup, order) for order in setup.orders)
    table = tables.open_table(setup.table)
    present = tables.table_gases(table)
    band = tables.table_arrays(table, [g for g in setup.gases if g in present])
    radius = planet_radius(level1, air)
    scene = make_mir_scene(
        orders, setup, band, air, radius[0], jacobian_rank=jacobian_rank, dtype=dtype
    )
    return scene, _provenance(level1, scene, table.attrs, radius)


def _check(level1: xr.Dataset) -> None:
    path = level1.attrs.get("source_file")
    for name in NEEDED:
        if name not in level1.variables:
            message = (
                "a variable is missing that the fit needs: acs_spectra makes spectra "
                "with tangent altitudes from the frames of a product"
            )
            raise RetrievalError(
                message, path=path, field=name, rule="level1.missing_variable"
            )
    channel = str(level1.attrs.get("channel", "")).lower()
    if channel != "mir" or level1["order"].dims != ("spectrum",):
        message = "not spectra of ACS MIR: acs_spectra makes them from a product"
        raise RetrievalError(
            message, path=path, field="channel", value=channel,
            rule="level1.wrong_channel",
        )  # fmt: skip


def _provenance(
    level1: xr.Dataset,
    scene: MirScene,
    table: Mapping[Any, object],
    radius: tuple[float, str],
) -> dict[str, object]:
    setup = scene.setup
    given = setup.instrument
    record = level2.provenance(
        level1,
        setup,
        scene.air,
        method="oe",
        instrument_model=(
            "ACS MIR, double image of two equal Gaussians, constant in wavelength "
            "within an order, no light of other orders"
        ),
        interferents_absent=setup.interferents_absent,
        baseline_degree=setup.baseline_degree,
        n_orders=0,
        masked_pixels=_masked_text(scene),
        radius=radius,
        table=table,
    )
    record |= {
        "truncation_residual": 0.0,
        "solver": setup.solver,
        "secondary_grating_position": setup.position,
        "orders": " ".join(str(order) for order in setup.orders),
        "table": setup.table,
        "resolving_power": given.resolving_power,
        "second_shift_cm1": given.second_shift_cm1,
        "second_amplitude": given.second_amplitude,
        "field_of_view_km": given.field_of_view_km,
        "shift_prior_sigma_px": setup.registration.shift_sigma_px,
        "minimum_transmittance": setup.window.minimum_transmittance,
        "fitted_pixels": f"{setup.window.first_pixel}-{setup.window.last_pixel}",
    }
    known = uncertain("acs_mir.resolving_power_effective", "acs_mir.order_step")
    stated = "line shape, field of view, orders of the position: the setup's, to be "
    record["instrument_uncertain"] = "; ".join([*known.values(), f"{stated}verified"])
    return record | {key: level1.attrs[key] for key in _COPIED if key in level1.attrs}


def _masked_text(scene: MirScene) -> str:
    """Masked pixels as 'order:pixel' pairs."""
    pairs = [
        f"{one.order}:{pixel}"
        for one in scene.orders
        for pixel in one.pixels[one.masked]
    ]
    return " ".join(pairs) or "none"


def level2_of(
    level1: xr.Dataset,
    scene: MirScene,
    solution: MirSolution,
    record: Mapping[str, object],
    errors: Mapping[str, Mapping[str, Array]],
) -> xr.Dataset:
    """Dress a solution with the names, limits and attributes of level 2.

    Parameters
    ----------
    level1 : Dataset
    scene : MirScene
    solution : MirSolution
    record : dict
        Attributes.
    errors : dict of dict of array, shape (level,)
        Systematic errors per gas and source, may be empty.

    Returns
    -------
    Dataset
    """
    data: dict[str, object] = {}
    for gas in scene.setup.gases:
        data |= _gas_variables(level1, gas, scene, solution, errors.get(gas))
    data |= _common_variables(level1, scene, solution)
    orders = np.asarray(level1["order"].values)
    fitted = list(scene.setup.orders)
    bins = [fitted.index(order) if order in fitted else -1 for order in orders]
    data |= {
        "tangent_altitude": level1["tangent_altitude"].values,
        "order": orders,
        "spectrum_bin": np.array(bins),
        "bin_order": np.array(fitted),
    }
    start = {"coarse_shift_px": solution.coarse_shift_px.tolist()}
    result = level2.dataset(data, dict(record) | start)
    _add_attributes(result, scene)
    return result


def _add_attributes(result: xr.Dataset, scene: MirScene) -> None:
    """Sigma levels and a priori at the variables."""
    items = {str(name): item for name, item in result.variables.items()}
    for gas in scene.setup.gases:
        sigma, length = prior_sigma(scene, gas)
        attrs = items[f"{gas}_vmr_apriori"].attrs
        attrs["correlation_length_km"] = length
        attrs["sigma_maximum"] = float(sigma.max())
        state_limits(items, gas, scene.setup.detection, "noise, smoothing")
        state_layer(items[f"{gas}_layer_limit"], scene.setup.detection)
        for source, size, unit in sizes(scene.setup):
            notes = items[f"{gas}_vmr_systematic_{source}"].attrs
            notes |= {"magnitude": size, "magnitude_units": unit}


def _gas_variables(
    level1: xr.Dataset,
    gas: str,
    scene: MirScene,
    solution: MirSolution,
    systematic: Mapping[str, Array] | None,
) -> dict[str, object]:
    result = solution.result
    seen = zip(scene.rows, scene.limbs, strict=True)
    return gas_variables(
        gas,
        result.state.vmr[gas],
        scene.prior_vmr,
        altitude_km=scene.altitude_km,
        correlation_km=prior_sigma(scene, gas)[1],
        layout=solution.layout,
        data_matrix=result.data_matrix,
        covariance=result.covariance,
        detection=scene.setup.detection,
        air_cm2=np.concatenate([view @ limb.air_column_cm2 for view, limb in seen]),
        all_rows=lambda values: _all_rows(level1, scene, values),
        systematic=systematic,
    )


def _all_rows(level1: xr.Dataset, scene: MirScene, values: Array) -> Array:
    """Values of the fitted rows in the product's order of spectra, NaN elsewhere."""
    full = np.full((level1.sizes["spectrum"], *values.shape[1:]), np.nan)
    full[np.concatenate([one.rows for one in scene.orders])] = values
    return full


def _common_variables(
    level1: xr.Dataset, scene: MirScene, solution: MirSolution
) -> dict[str, object]:
    result, layout = solution.result, solution.layout
    state, final, levels = result.state, result.final, scene.levels
    n_bins = layout.n_bins
    sigma = np.sqrt(np.diag(result.covariance)[layout.shift.start :])
    residual = np.full((level1.sizes["spectrum"], level1.sizes["pixel"]), np.nan)
    start, used = 0, 0
    for one in scene.orders:
        here = slice(start, start + one.rows.size)
        off = one.transmittance - final.model[here, : one.pixels.size]
        seen = one.weight > 0
        residual[np.ix_(one.rows, one.pixels)] = np.where(seen, off, np.nan)
        start, used = here.stop, used + int(seen.sum())
    total = float(np.trace(result.covariance @ result.data_matrix))
    n_free = used - final.baseline.size - total
    data: dict[str, object] = {
        "altitude": scene.altitude_km,
        "altitude_in": scene.altitude_km,
        "pressure": levels["pressure"].values,
        "temperature": levels["temperature"].values,
        "number_density": levels["number_density"].values,
        "wavenumber_shift": state.shift_px + 0.0,
        "wavenumber_shift_error": sigma[:n_bins],
        "wavenumber_stretch": state.stretch_px,
        "wavenumber_stretch_error": sigma[n_bins],
        "baseline": _all_rows(level1, scene, final.baseline),
        "residual": residual.astype(np.float32),
        "reduced_chi_square": final.chi_square / n_free,
        "degrees_of_freedom": total,
        "converged": np.int8(result.converged),
        "iterations": np.int32(result.iterations),
    }
    values, errors = np.array(state.extra), sigma[n_bins + 2 :]
    for at, name in enumerate(fitted_shape(scene)):
        here = slice(at * n_bins, (at + 1) * n_bins)
        data[f"fitted_{name}"] = values[here]
        data[f"fitted_{name}_error"] = errors[here]
    rows = np.concatenate([one.rows for one in scene.orders])
    where = np.concatenate([one.altitude_km for one in scene.orders])
    data |= level2.places(level1, rows, where, scene.altitude_km)
    return data | level2.moment(level1, rows, where)
