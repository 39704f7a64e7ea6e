"""Ozone and aerosol of a UVIS occultation: level 1 to level 2."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import quality
from tgo_spectra.errors import RetrievalError, SetupError
from tgo_spectra.retrieval import diagnostics, level2, limits, verdict
from tgo_spectra.retrieval.elements import sizes_of
from tgo_spectra.retrieval.measurement import given_atmosphere
from tgo_spectra.retrieval.models.uvis.scene import REFERENCE_NM, build_scene
from tgo_spectra.retrieval.models.uvis.setup import UvisSetup
from tgo_spectra.retrieval.models.uvis.solve import Onion, UvisSolution, solve
from tgo_spectra.retrieval.profile_variables import (
    contained,
    error_variables,
    limit_variables,
    profile_variables,
)
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.models.uvis.fit import Profile
    from tgo_spectra.retrieval.models.uvis.scene import UvisScene

    Array = npt.NDArray[np.floating]
    Variables = dict[str, Any]

__all__ = ["retrieve_ozone", "retrieve_uvis"]

COLUMN = "o3_slant_column"

SOURCES = {
    "cross_section": ("cross_section", "1"),
    "temperature": ("temperature_k", "K"),
    "wavelength": ("wavelength_nm", "nm"),
    "line_width": ("line_width", "1"),
    "air_density": ("air_density", "1"),
    "aerosol_form": ("aerosol_form", "1"),
    "straylight": ("straylight", "1"),
}
"""Key of the setup's section ``systematics`` and unit, by name of the error."""


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
    if solution.profile is not None and solution.end is not None:
        variables |= _profile_variables(
            level1, solution, solution.profile, solution.end, chosen
        )
    if solution.onion is not None:
        variables |= _onion_variables(solution.onion)
    record = _provenance(level1, data, chosen, solution)
    return dataset(variables, record)


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


def _slant_variables(
    level1: xr.Dataset, solution: UvisSolution, setup: UvisSetup
) -> Variables:
    """Columns of the fitted rows at their places among all, NaN elsewhere."""
    s, wish, rows = solution.slant, setup.detection, solution.scene.rows
    spread = functools.partial(level2.all_rows, level1, rows)
    found = limits.Limits(
        *(spread(getattr(s.limits, item.name)) for item in fields(s.limits))
    )
    column, error = spread(s.column), spread(s.error)
    systematic = {source: spread(change) for source, change in s.systematic.items()}
    sizes = sizes_of(setup.systematics, SOURCES)
    errors = error_variables(COLUMN, error, None, systematic, sizes)
    bits = verdict.of_rows(rows, column.size, s.fit.noise, s.fit.converged)
    alone = solution.end is None
    return {
        COLUMN: column,
        **errors,
        **limit_variables(
            COLUMN,
            limits.upper_limit(column, spread(s.total_error), wish.limit_sigma),
            found.detected == 1.0,
            found,
            (wish.detection_sigma, wish.limit_sigma),
            contained(errors, COLUMN),
        ),
        "spectrum_reduced_chi_square": spread(s.fit.chi_square / s.fit.degrees),
        "error_inflation" if alone else "spectrum_inflation": spread(
            np.array([one.inflation for one in s.fit.noise])
        ),
        "quality_flag" if alone else "spectrum_quality_flag": bits,
    }


def _of_profile(end: Conclusion, name: str) -> diagnostics.GasDiagnostics:
    """Errors of a profile with the noise as it is, all sources in the total."""
    d = end.diagnostics(name)
    total = d.total_covariance
    for change in end.errors[name].values():
        total = total + change[:, None] * change
    error = np.sqrt(np.diag(total).clip(0.0))
    return replace(d, total_covariance=total, total_error=error)


def limits_of(
    end: Conclusion, scene: UvisScene, setup: UvisSetup
) -> tuple[diagnostics.GasDiagnostics, limits.Limits]:
    """Return errors and resolution of the ozone's profile, and where it is detected."""
    wish, d = setup.detection, _of_profile(end, "o3")
    found = limits.of_profile(
        end.state["o3"],
        d.without(end.by_air("o3")),
        scene.level_km,
        0.5 * setup.prior.correlation_km,
        wish.detection_sigma,
        wish.limit_sigma,
        wish.minimum_response,
    )
    return d, found


def _profile_variables(
    level1: xr.Dataset,
    solution: UvisSolution,
    profile: Profile,
    end: Conclusion,
    setup: UvisSetup,
) -> Variables:
    scene, wish, result = solution.scene, setup.detection, profile.result
    systematic = end.errors["o3"]
    d, found = limits_of(end, scene, setup)
    vmr, air = profile.state[0], scene.air_cm3
    degrees = float(np.trace(result.covariance @ result.data_matrix))
    used = scene.model.weight > 0.0
    left = np.where(used, scene.model.transmittance - result.final.value, np.nan)
    residual = level2.all_pixels(left, scene.pixels, level1.sizes["pixel"])
    sizes = sizes_of(setup.systematics, SOURCES)
    named = profile_variables(
        "o3", "o3_vmr", vmr, end.space.block("o3"), d, systematic, sizes=sizes
    )
    haze = {"reference_wavelength_nm": REFERENCE_NM}
    return {
        **named,
        **limit_variables(
            "o3",
            limits.upper_limit(vmr, d.total_error, wish.limit_sigma),
            found.detected,
            found,
            (wish.detection_sigma, wish.limit_sigma),
            contained(named, "o3_vmr"),
        ),
        "o3_vertical_resolution": d.resolution(scene.level_km),
        "o3_number_density": vmr * air,
        **error_variables(
            "o3_number_density", d.noise_error * air, d.smoothing_error * air,
            {k: v * air for k, v in {**systematic, **end.amounts["o3"]}.items()}, sizes,
        ),
        "aerosol_extinction": (profile.state[1], haze),
        "aerosol_extinction_error": (_of_profile(end, "continuum_0").total_error, haze),
        "aerosol_extinction_spectral": (profile.state[2:], haze),
        "residual": level2.all_rows(level1, scene.rows, residual).astype(np.float32),
        "reduced_chi_square": result.final.chi_square / (used.sum() - degrees),
        "degrees_of_freedom": degrees,
        "converged": np.int8(result.converged),
        "iterations": np.int32(result.iterations),
        "error_inflation": end.noise.inflation,
        "residual_autocorrelation": float(end.noise.along_pixels[0]),
        "residual_pattern": end.pattern,
        "quality_flag": quality.pack(verdict.of_fit(end)),
    }  # fmt: skip


def _onion_variables(onion: Onion) -> Variables:
    name, noise = "o3_number_density_peeled", np.sqrt(np.diag(onion.covariance))
    return {
        "peeled_altitude": onion.level_km,
        name: onion.density,
        f"{name}_covariance": onion.covariance,
        **error_variables(name, noise, None, onion.systematic),
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
        found["wavelength"] = np.asarray(level1["wavelength"].values)
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
