"""From the spectra of CO2 to temperature, pressure and density: level 1 to level 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.retrieval.measurement import (
    given_atmosphere,
    masked_text,
    planet_radius,
    prepare,
)
from tgo_spectra.retrieval.models.so.profile_output import choices
from tgo_spectra.retrieval.models.so.temperature.fit import solve_temperature
from tgo_spectra.retrieval.models.so.temperature.output import assembled
from tgo_spectra.retrieval.models.so.temperature.scene import (
    TemperatureScene,
    make_temperature_scene,
)
from tgo_spectra.spectroscopy.tables import band_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import xarray as xr

    from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup

__all__ = ["build_temperature_scene", "retrieve_temperature"]


def retrieve_temperature(
    level1: xr.Dataset,
    setup: TemperatureSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit temperature and density to the CO2 lines of one occultation.

    The depth of the lines gives the density of CO2, its ratio from line to line the
    temperature, and hydrostatic balance ties both: the state is the temperature at the
    levels and one pressure.

    Parameters
    ----------
    level1 : Dataset
        As returned by `tgo_spectra.open_product`.
    setup : TemperatureSetup
        Choices.
    atmosphere : Dataset, str or path, optional
        A priori: ``pressure`` and ``temperature`` over ``altitude``, optionally
        ``co2_vmr`` and those of the setup's interferents; default: the analytic
        reference atmosphere, which the attribute ``atmosphere`` of the result says.

    Returns
    -------
    Dataset
        Level 2: ``temperature``, ``pressure``, ``number_density`` and
        ``co2_number_density`` over ``altitude``, each with ``_error`` (total),
        ``_noise_error``, ``_smoothing_error``, ``_systematic_error`` and its parts
        ``_systematic_<source>`` (composition and molar mass of the air, tangent
        altitude, line intensities, instrument); ``temperature_apriori``,
        ``temperature_averaging_kernel``, ``temperature_response``,
        ``temperature_vertical_resolution``, ``temperature_degrees_of_freedom``; shifts,
        baselines, residuals and quality as in the fit of gases. Attributes
        ``sensed_bottom_km`` and ``sensed_top_km``: where the spectra outweigh the a
        priori.

    Raises
    ------
    RetrievalError
        Too few usable spectra, none near the reference altitude, or the fit diverges.
    TableError
        The table lacks CO2 or does not cover the orders, a pressure or temperature.
    AtmosphereError
        The atmosphere lacks a variable or is not physical.

    References
    ----------
    Trompet, L., et al., 2023, doi:10.1029/2022JE007277; Belyaev, D., et al., 2022,
    doi:10.1029/2022JE007286 (to be verified): density, temperature and hydrostatic
    balance from CO2 lines of NOMAD and ACS.

    Examples
    --------
    >>> level2 = retrieve_temperature(level1, setup, "mcd.nc")  # doctest: +SKIP
    >>> level2.temperature.units  # doctest: +SKIP
    'K'
    """
    scene, record = build_temperature_scene(level1, setup, atmosphere)
    return assembled(level1, scene, solve_temperature(scene), record)


def build_temperature_scene(
    level1: xr.Dataset,
    setup: TemperatureSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    dtype: type[np.floating] | None = None,
) -> tuple[TemperatureScene, dict[str, object]]:
    """Everything between a level-1 Dataset and the solver.

    Parameters
    ----------
    level1, setup, atmosphere
        As `retrieve_temperature`.
    dtype : type, optional
        Of the spectral arrays; default single precision.

    Returns
    -------
    scene : TemperatureScene
    record : dict
        Every choice that affects a number, as attributes.

    Raises
    ------
    RetrievalError, TableError, AtmosphereError
        As `retrieve_temperature`.
    """
    if level1.chunks:
        level1 = level1.compute()
    air = given_atmosphere(atmosphere, level1)
    like_gas = setup.as_profile_setup()
    band, table_attrs = band_of(setup.table)
    prepared = prepare(level1, like_gas)
    radius = planet_radius(level1, air)
    options = {} if dtype is None else {"dtype": dtype}
    scene = make_temperature_scene(prepared, setup, band, air, radius[0], **options)
    record = choices(
        level1,
        like_gas,
        scene.gas.air,
        table_attrs,
        radius,
        masked_text(prepared.masked, prepared.pixels),
        method="optimal estimation of temperature, hydrostatic",
        recorded=setup,
    )
    composition = setup.composition
    mass = composition.molar_mass_g_mol
    given = "co2_vmr" in air
    record |= {
        "reference_altitude_km": scene.reference_km,
        "reference_pressure_relative_sigma": setup.pressure.relative_sigma,
        "temperature_prior_sigma_k": setup.temperature.sigma_k,
        "temperature_correlation_length_km": setup.temperature.correlation_km,
        "co2_vmr_source": (
            "setup" if composition.co2 is not None
            else "atmosphere" if given else "reference atmosphere"
        ),
        "co2_vmr_relative_error": composition.relative_error,
        "molar_mass_error_g_mol": composition.molar_mass_error_g_mol,
        "pointing_error_km": setup.pointing_km,
        "molar_mass": (
            "from the mole fraction of CO2" if mass is None else f"{mass:g} g mol-1"
        ),
        "minimum_information": setup.minimum_information,
    }  # fmt: skip
    return scene, record
