"""Ozone and aerosol of a UVIS occultation: level 1 to level 2."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import quality
from tgo_spectra.errors import RetrievalError, SetupError
from tgo_spectra.retrieval import diagnostics, level2, limits, verdict
from tgo_spectra.retrieval.measurement import given_atmosphere
from tgo_spectra.retrieval.models.uvis.scene import REFERENCE_NM, build_scene
from tgo_spectra.retrieval.models.uvis.setup import UvisSetup
from tgo_spectra.retrieval.models.uvis.solve import Onion, Slant, UvisSolution, solve
from tgo_spectra.retrieval.profile_variables import error_variables, state_limits
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion

    Array = npt.NDArray[np.floating]
    Variables = dict[str, Any]

__all__ = ["retrieve_ozone", "retrieve_uvis"]


def retrieve_uvis(
    level1: xr.Dataset,
    cross_section: xr.Dataset | None = None,
    setup: UvisSetup | None = None,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit ozone in one UVIS occultation.

    Slant columns of single spectra; with method "oe" also the profile of ozone jointly
    with that of the aerosol, and the profile without a priori from the slant columns.
    Checked on simulated products only, never on real files.

    Parameters
    ----------
    level1 : Dataset
        As returned by `open_product`.
    cross_section : Dataset, optional
        Of ozone, from `read_uv_cross_section`; default: the setup's file. None is
        shipped.
    setup : UvisSetup, optional
        Default: that of `UvisSetup`.
    atmosphere : Dataset, str or path, optional
        ``pressure``, ``temperature`` and ``co2_vmr`` over ``altitude``, optionally
        ``o3_vmr`` as a priori; default: the reference atmosphere, which the
        attribute ``atmosphere`` of the result then says.

    Returns
    -------
    Dataset
        Level 2. ``o3_slant_column`` and its error, flags and limits over ``spectrum``;
        ``o3_vmr``, ``o3_number_density``, errors, averaging kernel and limits and
        ``aerosol_extinction`` over ``altitude``; ``o3_number_density_peeled`` over
        ``peeled_altitude``. Errors named ``..._error`` are random; what 1 sigma of each
        systematic source would change stands in ``..._systematic_<source>``.

    Raises
    ------
    SetupError
        No cross sections, or the setup is wrong.
    LineListError
        The cross sections do not cover the window.
    AtmosphereError
        The atmosphere lacks a variable or is not physical.
    RetrievalError
        Not a UVIS occultation, too few usable spectra, or the fit diverges.

    References
    ----------
    Piccialli et al. 2023, Earth Space Sci. 10, doi:10.1029/2022EA002429: ozone of UVIS
    by three methods, and two criteria of detection (there the ratio of chi-squares
    without and with ozone, here their difference). Rodgers, C. D., 2000, Inverse
    Methods for Atmospheric Sounding, World Scientific.

    Examples
    --------
    >>> from tgo_spectra.simulate.uvis import (
    ...     simulate_uvis_level1, synthetic_ozone_cross_section)
    >>> data = synthetic_ozone_cross_section()
    >>> level1, truth = simulate_uvis_level1(
    ...     data, ozone=2e-7, pixels=128, row_step_km=3.0)
    >>> level2 = retrieve_uvis(level1, data)
    >>> bool(level2.converged), level2.o3_slant_column.units
    (True, 'cm-2')
    """
    chosen = setup or UvisSetup()
    _check_product(level1)
    data = _cross_section(cross_section, chosen)
    scene = build_scene(
        level1.compute(), data, chosen, given_atmosphere(atmosphere, level1)
    )
    solution = solve(scene, chosen)
    variables = _slant_variables(level1, solution, chosen)
    variables |= _geometry_variables(level1, solution)
    if solution.profile is not None:
        variables |= _profile_variables(solution, chosen)
    if solution.onion is not None:
        variables |= _onion_variables(solution.onion)
    record = _provenance(level1, data, chosen, solution)
    result = dataset(variables, record)
    for name, error in (("o3_slant_column", "o3_slant_column"), ("o3", "o3_vmr")):
        if f"{error}_error" in result:
            contains = result[f"{error}_error"].attrs["contains"]
            state_limits(result.variables, name, chosen.detection, contains)
    return result


def retrieve_ozone(
    level1: xr.Dataset,
    setup: UvisSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit ozone with the cross sections that the setup names.

    Parameters
    ----------
    level1 : Dataset
        As returned by `open_product`.
    setup : UvisSetup
        With `cross_section` and `medium`.
    atmosphere : Dataset, str or path, optional
        As for `retrieve_uvis`.

    Returns
    -------
    Dataset
        As `retrieve_uvis`.

    Raises
    ------
    SetupError, LineListError, AtmosphereError, RetrievalError
        As `retrieve_uvis`.
    """
    return retrieve_uvis(level1, None, setup, atmosphere)


def _check_product(level1: xr.Dataset) -> None:
    channel = str(level1.attrs.get("channel", "")).lower()
    if channel != "uvis" or "transmittance" not in level1:
        message = "ozone in the ultraviolet needs a UVIS occultation"
        raise RetrievalError(
            message,
            path=level1.attrs.get("source_file"),
            field="channel",
            value=channel,
            rule="level1.wrong_channel",
        )


def _cross_section(given: xr.Dataset | None, setup: UvisSetup) -> xr.Dataset:
    from tgo_spectra.spectroscopy.ultraviolet import read_uv_cross_section

    if given is not None:
        return given
    if setup.cross_section is None or setup.medium is None:
        message = (
            "no ozone cross sections: give them, or a setup with cross_section and "
            "medium; none are shipped"
        )
        raise SetupError(
            message,
            field="cross_section",
            value=setup.cross_section,
            rule="setup.no_cross_section",
        )
    return read_uv_cross_section(setup.cross_section, medium=setup.medium)


def _of_profile(end: Conclusion, name: str) -> diagnostics.GasDiagnostics:
    """Errors of a profile with the noise as it is, all sources in the total."""
    d = end.diagnostics(name)
    total = d.total_covariance
    for change in end.errors[name].values():
        total = total + change[:, None] * change
    error = np.sqrt(np.diag(total).clip(0.0))
    return replace(d, total_covariance=total, total_error=error)


def _limits(
    solution: UvisSolution, setup: UvisSetup, d: diagnostics.GasDiagnostics
) -> limits.Limits:
    profile, wish = solution.profile, setup.detection
    assert profile is not None
    return limits.of_profile(
        profile.state[0],
        d,
        solution.scene.level_km,
        0.5 * setup.prior.correlation_km,
        wish.detection_sigma,
        wish.limit_sigma,
        wish.minimum_response,
    )


def _spread(level1: xr.Dataset, solution: UvisSolution, values: Array) -> Array:
    """Values of the fitted rows at their places among all, NaN elsewhere."""
    full = np.full((level1.sizes["spectrum"], *values.shape[1:]), np.nan)
    full[solution.scene.rows] = values
    return full


def _slant_variables(
    level1: xr.Dataset, solution: UvisSolution, setup: UvisSetup
) -> Variables:
    s: Slant = solution.slant
    upper = limits.upper_limit(s.column, s.total_error, setup.detection.limit_sigma)
    name = "o3_slant_column"
    found: Variables = {
        name: ("spectrum", s.column),
        **error_variables(name, s.error, None, s.systematic, "spectrum"),
        f"{name}_upper_limit": ("spectrum", upper),
        f"{name}_delta_chi_square": ("spectrum", s.delta_chi_square),
        f"{name}_limit_linear": ("spectrum", s.limit_linear),
        f"{name}_limit_delta_chi_square": ("spectrum", s.limit_delta_chi_square),
        f"{name}_limit_flag": ("spectrum", s.limit_flag),
        "spectrum_reduced_chi_square": ("spectrum", s.fit.chi_square / s.fit.degrees),
        "spectrum_error_inflation": (
            "spectrum", np.array([one.inflation for one in s.fit.noise])
        ),
    }  # fmt: skip
    result: Variables = {
        key: (dims, _spread(level1, solution, values), *notes)
        for key, (dims, values, *notes) in found.items()
    }
    flag = np.zeros(level1.sizes["spectrum"], dtype=np.int8)
    flag[solution.scene.rows] = s.detected
    result[f"{name}_detected"] = ("spectrum", flag)
    bits = verdict.of_rows(solution.scene.rows, flag.size, s.fit.noise, s.fit.converged)
    alone = solution.end is None
    result["quality_flag" if alone else "spectrum_quality_flag"] = ("spectrum", bits)
    return result


def _profile_variables(solution: UvisSolution, setup: UvisSetup) -> Variables:
    scene, profile, end = solution.scene, solution.profile, solution.end
    assert profile is not None
    assert end is not None
    d = _of_profile(end, "o3")
    found = _limits(solution, setup, d)
    vmr, haze_error = profile.state[0], _of_profile(end, "continuum_0").total_error
    step = float(np.diff(scene.level_km).mean())
    own = np.diag(d.averaging_kernel)
    resolution = np.where(own > 1e-3, step / np.maximum(own, 1e-3), np.nan)
    upper = limits.upper_limit(vmr, d.total_error, setup.detection.limit_sigma)
    degrees = float(np.trace(profile.result.covariance @ profile.result.data_matrix))
    free = float((scene.model.weight > 0.0).sum()) - degrees
    residual = np.where(
        scene.model.weight > 0.0,
        scene.model.transmittance - profile.result.final.value,
        np.nan,
    )
    level, square = "altitude", ("altitude", "altitude_in")
    haze = {"reference_wavelength_nm": REFERENCE_NM}
    return {
        "o3_vmr": (level, vmr),
        "o3_vmr_apriori": (level, scene.prior_vmr, {
            "correlation_length_km": setup.prior.correlation_km}),
        **error_variables(
            "o3_vmr", d.noise_error, d.smoothing_error, solution.profile_systematic
        ),
        "o3_averaging_kernel": (square, d.averaging_kernel),
        "o3_vmr_noise_covariance": (square, d.noise_covariance),
        "o3_upper_limit": (level, upper),
        "o3_detected": (level, found.detected.astype(np.int8)),
        "o3_delta_chi_square": (level, found.delta_chi_square),
        "o3_limit_linear": (level, found.linear),
        "o3_limit_delta_chi_square": (level, found.by_chi_square),
        "o3_limit_flag": (level, found.by_flag),
        "o3_degrees_of_freedom": ((), d.degrees_of_freedom),
        "o3_vertical_resolution": (level, resolution),
        "o3_number_density": (level, vmr * scene.air_cm3),
        **error_variables(
            "o3_number_density",
            d.noise_error * scene.air_cm3,
            d.smoothing_error * scene.air_cm3,
            {k: v * scene.air_cm3 for k, v in solution.profile_systematic.items()},
        ),
        "aerosol_extinction": (level, profile.state[1], haze),
        "aerosol_extinction_error": (level, haze_error, haze),
        "aerosol_extinction_spectral": (
            ("aerosol_term", level), profile.state[2:], haze),
        "residual": (("row", "fitted_pixel"), residual.astype(np.float32)),
        "reduced_chi_square": ((), profile.result.final.chi_square / free),
        "degrees_of_freedom": ((), degrees),
        "converged": ((), np.int8(profile.result.converged)),
        "iterations": ((), np.int32(profile.result.iterations)),
        "error_inflation": ((), end.noise.inflation),
        "residual_autocorrelation": ((), float(end.noise.along_pixels[0])),
        "residual_pattern": ((), end.pattern),
        "quality_flag": ((), quality.pack(verdict.of_fit(end))),
    }  # fmt: skip


def _onion_variables(onion: Onion) -> Variables:
    level, name = "peeled_altitude", "o3_number_density_peeled"
    return {
        level: onion.level_km,
        name: (level, onion.density),
        f"{name}_covariance": ((level, "peeled_altitude_in"), onion.covariance),
        **error_variables(
            name, np.sqrt(np.diag(onion.covariance)), None, onion.systematic, level
        ),
    }


def _geometry_variables(level1: xr.Dataset, solution: UvisSolution) -> Variables:
    scene = solution.scene
    seen = (scene.rows, scene.tangent_km)
    found: Variables = {
        "altitude": scene.level_km,
        "altitude_in": scene.level_km,
        "tangent_altitude": level1["tangent_altitude"].values,
        "pressure": scene.pressure_pa,
        "temperature": scene.temperature_k,
        "number_density": scene.air_cm3,
        **level2.places(level1, *seen, scene.level_km),
        **level2.moment(level1, *seen),
    }
    if level1["wavelength"].ndim == 1:
        found["wavelength"] = np.asarray(level1["wavelength"].values)[scene.pixels]
    return found


def _provenance(
    level1: xr.Dataset,
    data: xr.Dataset,
    setup: UvisSetup,
    solution: UvisSolution,
) -> dict[str, object]:
    """Every choice that affects a number, as attributes."""
    scene, window = solution.scene, setup.window
    file = str(data.attrs.get("source_file", "given in memory"))
    sha256 = str(data.attrs.get("source_sha256", ""))
    unused = scene.pixels[(scene.model.weight == 0.0).all(axis=0)]
    record = level2.provenance(
        level1,
        setup,
        scene.air,
        method=setup.method,
        instrument_model="NOMAD UVIS, Gaussian line shape (inferred), "
        f"{setup.instrument.fwhm_nm:g} nm; field of view "
        f"{setup.instrument.field_of_view_arcmin:g} arcmin (to be verified)",
        interferents_absent=("SO2 and other absorbers", "straylight"),
        baseline_degree=setup.continuum.degree,
        n_orders=0,
        masked_pixels=" ".join(f"all:{pixel}" for pixel in unused) or "none",
        radius=(scene.radius_km, scene.radius_source),
    )
    return record | {
        "truncation_residual": 0.0,
        "o3_broadening": "none: cross sections as measured",
        "o3_edition": "cross sections of the user",
        "o3_lines": file,
        "o3_lines_sha256": sha256,
        "cross_section_file": file,
        "cross_section_sha256": sha256,
        "cross_section_medium": str(
            data.attrs.get("wavelength_medium_of_file", "vacuum")
        ),
        "cross_section_held_constant": scene.clamped,
        "window_nm": f"{window.low_nm:g}-{window.high_nm:g}",
        "fitted_pixels": f"{scene.pixels[0]}-{scene.pixels[-1]}",
        "masked_values": int((scene.model.weight == 0.0).sum()),
        "minimum_transmittance": window.minimum_transmittance,
        "continuum_degree": setup.continuum.degree,
        "level_step_km": float(np.diff(scene.level_km).mean()),
        "brightness_sigma": setup.continuum.brightness_sigma,
        "prior_source": scene.prior_source,
        "prior_sigma": setup.prior.sigma,
        "prior_correlation_km": setup.prior.correlation_km,
        "rayleigh": "carbon dioxide only, Sneep and Ubachs 2005",
        "interferents_included": "o3, aerosol, Rayleigh scattering of CO2",
        "error_comment": "the archived error of UVIS is its random part only",
    }
