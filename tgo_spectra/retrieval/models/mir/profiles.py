"""From spectra of ACS MIR to a level-2 Dataset with profiles, errors and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.instruments import uncertain
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.given import given_air, of_reference, with_stated
from tgo_spectra.retrieval.measurement import given_atmosphere, planet_radius
from tgo_spectra.retrieval.models.mir.fit import MirSolution, solve_mir
from tgo_spectra.retrieval.models.mir.scene import MirScene, make_mir_scene, order_rows
from tgo_spectra.retrieval.models.mir.systematics import denser, mir_changes, sizes
from tgo_spectra.retrieval.profile_variables import profile_dataset
from tgo_spectra.spectroscopy import tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.models.mir.setup import MirSetup

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
    setup: MirSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit the gases of one ACS MIR occultation, all orders of the setup jointly.

    Checked on simulated products only, never on real files: what is known of the
    products and of the line shape is inferred (*to be verified*).

    Parameters
    ----------
    level1 : Dataset
        From `tgo_spectra.acs_spectra`, with tangent altitudes.
    setup : MirSetup
    atmosphere : Dataset, str or path, optional
        ``pressure`` and ``temperature`` over ``altitude``, optionally
        ``<gas>_vmr`` as a priori; default: the reference atmosphere, which
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
    >>> setup = load_setup("acs_mir_ch4_position_12")  # doctest: +SKIP
    >>> retrieve_mir(acs_spectra(tree, 12), setup)  # doctest: +SKIP
    """
    if level1.chunks:
        level1 = level1.compute()
    scene, record = build_mir_scene(level1, setup, atmosphere)
    solution = solve_mir(scene, mir_changes, denser(scene))
    return level2_of(level1, scene, solution, record)


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
        As in `tgo_spectra.retrieval.models.mir.scene.make_mir_scene`.

    Returns
    -------
    scene : MirScene
    record : dict
        Every choice that affects a number, as attributes.
    """
    _check(level1)
    air = given_atmosphere(atmosphere, level1)
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
        "profiles_of_reference": of_reference(setup.gases, setup, scene.air),
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
) -> xr.Dataset:
    """Dress a solution with the names, limits and attributes of level 2.

    Parameters
    ----------
    level1 : Dataset
    scene : MirScene
    solution : MirSolution
    record : dict
        Attributes.

    Returns
    -------
    Dataset
    """
    orders = np.asarray(level1["order"].values)
    fitted = list(scene.setup.orders)
    bins = [fitted.index(order) if order in fitted else -1 for order in orders]
    seen = zip(scene.rows, scene.limbs, strict=True)
    return profile_dataset(
        level1,
        _view_of(level1, scene, solution.end),
        solution.end,
        scene.setup.detection,
        np.concatenate([view @ limb.air_column_cm2 for view, limb in seen]),
        {
            **given_air(scene.levels),
            "order": orders,
            "spectrum_bin": np.array(bins),
            "bin_order": np.array(fitted),
        },
        dict(record) | {"coarse_shift_px": solution.coarse_shift_px.tolist()},
        sizes=with_stated(sizes(scene.setup), scene.levels),
    )


def _view_of(level1: xr.Dataset, scene: MirScene, end: Conclusion) -> level2.View:
    """Return where the fit looked, and what it left."""
    rows = np.concatenate([one.rows for one in scene.orders])
    where = np.concatenate([one.altitude_km for one in scene.orders])
    ends = np.cumsum([one.rows.size for one in scene.orders])[:-1]
    residual = [
        level2.all_pixels(
            left[:, : one.pixels.size] / one.weight, one.pixels, level1.sizes["pixel"]
        )
        for one, left in zip(scene.orders, np.split(end.seen.left, ends), strict=True)
    ]
    return level2.View(rows, where, scene.altitude_km, np.concatenate(residual))
