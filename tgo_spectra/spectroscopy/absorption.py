"""Absorption cross sections from a line list for states of pressure, temperature."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import LineListError, TgoWarning
from tgo_spectra.spectroscopy.lineparameters import (
    Broadening,
    LineArrays,
    doppler_hwhm,
    line_arrays,
    line_parameters,
)
from tgo_spectra.spectroscopy.partition import isotopologue_mass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Broadening",
    "LineArrays",
    "absorption_cross_section",
    "cross_section_grid",
    "doppler_hwhm",
    "line_arrays",
    "line_parameters",
]

# Half-widths per step: above it equivalent widths err by more than 1e-4 at tau = 5
MAX_STEP_HWHM = 0.8
# Relative: a grid counts as uniform when no step differs by more
_UNIFORM = 1e-6


def _uniform_step(wavenumber: Floats) -> float | None:
    """Return the step of a uniform ascending grid, None for any other points."""
    if wavenumber.size < 2:
        return None
    step = float(wavenumber[-1] - wavenumber[0]) / (wavenumber.size - 1)
    ideal = wavenumber[0] + step * np.arange(wavenumber.size)
    if step > 0.0 and np.max(np.abs(wavenumber - ideal)) <= _UNIFORM * step + 1e-11:
        return step
    return None


def _checked_points(wavenumber: ArrayLike) -> Floats:
    points = np.ascontiguousarray(wavenumber, dtype=np.float64)
    if points.ndim != 1 or points.size == 0 or not np.all(np.isfinite(points)):
        msg = "wavenumbers must be a non-empty 1-D array of finite numbers"
        raise LineListError(
            msg,
            field="wavenumber",
            value=points.shape,
        )
    if points.min() <= 0.0:
        msg = "must be positive"
        raise LineListError(msg, field="wavenumber", value=float(points.min()))
    return points


def cross_section_grid(
    lines: xr.Dataset | LineArrays,
    wavenumber_cm1: ArrayLike,
    pressure_pa: ArrayLike,
    temperature_k: ArrayLike,
    broadening: Broadening = "co2",
    isotopologues: Sequence[int] | None = None,
    isotopologue_factor: Mapping[int, float] | None = None,
    wing: float = 25.0,
    gas: str | None = None,
) -> Floats:
    """Cross sections for many states, as an array.

    Parameters
    ----------
    lines : xarray.Dataset or LineArrays
        `LineArrays` are already chosen: the arguments after `temperature_k` are
        then ignored.
    wavenumber_cm1 : array_like
        (wavenumber,), cm-1. A uniform ascending grid is fast; at other points each
        line is evaluated at each point.
    pressure_pa, temperature_k : array_like
        (state,) or scalar, broadcast together; Pa and K.
    broadening, isotopologues, isotopologue_factor, wing, gas
        As in `absorption_cross_section`.

    Returns
    -------
    ndarray
        (state, wavenumber), cm2/molecule.

    Raises
    ------
    LineListError
        As in `absorption_cross_section`.

    Notes
    -----
    One thread without the GIL: run blocks of states in threads for speed. Lines
    reach over the whole window; none is cut inside it.

    Examples
    --------
    >>> cross_section_grid(lines, grid, [1.0, 10.0], 180.0, "air")  # doctest: +SKIP
    """
    from tgo_spectra.spectroscopy.lineshape import (
        sum_lines,
        sum_lines_at,
    )

    points = _checked_points(wavenumber_cm1)
    pressure, temperature = np.broadcast_arrays(
        np.atleast_1d(np.asarray(pressure_pa, float)),
        np.atleast_1d(np.asarray(temperature_k, float)),
    )
    if not isinstance(lines, LineArrays):
        lines = line_arrays(
            lines,
            float(points.min()),
            float(points.max()),
            broadening,
            isotopologues,
            isotopologue_factor,
            wing,
            gas,
        )
    step = _uniform_step(points)
    out = np.empty((pressure.size, points.size))
    for i in range(pressure.size):
        state = line_parameters(lines, float(pressure[i]), float(temperature[i]))
        if step is None:
            out[i] = sum_lines_at(points, *state)
        else:
            out[i] = sum_lines(float(points[0]), step, points.size, *state)
    return out


def absorption_cross_section(
    lines: xr.Dataset,
    wavenumber: ArrayLike,
    pressure: ArrayLike,
    temperature: ArrayLike,
    broadening: Broadening = "co2",
    isotopologues: Sequence[int] | None = None,
    isotopologue_factor: Mapping[int, float] | None = None,
    wing: float = 25.0,
    *,
    gas: str | None = None,
) -> xr.DataArray:
    """Absorption cross section of a gas.

    Parameters
    ----------
    lines : xarray.Dataset
        From `read_line_list`.
    wavenumber : array_like
        1-D, cm-1; a uniform ascending grid is fast.
    pressure, temperature : float, array_like or DataArray
        Pa and K; scalars, or broadcast together (DataArrays by their dimensions,
        arrays by shape, then called ``state`` when 1-D).
    broadening : {"co2", "self", "air"} or ("air", factor), optional
        What broadens the lines. ``self`` takes gamma_self with n_air and delta_air
        (HITRAN has no others), the right choice for CO2 in CO2. With a factor,
        gamma_air is multiplied by it; n_air and delta_air stay.
    isotopologues : sequence of int, optional
        HITRAN numbers to use; all by default.
    isotopologue_factor : mapping of int to float, optional
        Factor on the terrestrial abundance of an isotopologue; 1 by default.
    wing : float, optional
        Lines up to this far outside the window are used, cm-1. Inside the window no
        line is cut.
    gas : str, optional
        Name in the gas table: fixes the isotopologues, and for ``hdo`` makes the
        result a cross section per molecule of HDO.

    Returns
    -------
    xarray.DataArray
        Dimensions of the state and ``wavenumber``; cm2 per molecule. Attributes name
        broadening, isotopologues, factors, wing and line list.

    Raises
    ------
    LineListError
        If no line is left, a state is not physical, or the temperature is outside
        40 to 400 K.
    MissingBroadeningError
        If CO2 broadening is wanted and the list lacks it.

    Warns
    -----
    TgoWarning
        If the step exceeds 0.8 Doppler half-widths of the heaviest absorber.

    References
    ----------
    Rothman et al. 1998, JQSRT 60, 665, appendix.

    Examples
    --------
    >>> lines = read_line_list("ch4.par.gz")  # doctest: +SKIP
    >>> grid = np.arange(3050.0, 3060.0, 0.002)  # doctest: +SKIP
    >>> absorption_cross_section(lines, grid, 100.0, 180.0, "air")  # doctest: +SKIP
    """
    import xarray as xr

    points = _checked_points(wavenumber)
    chosen = line_arrays(
        lines,
        float(points.min()),
        float(points.max()),
        broadening,
        isotopologues,
        isotopologue_factor,
        wing,
        gas,
    )
    p, t = xr.broadcast(_state(pressure), _state(temperature))
    values = cross_section_grid(
        chosen, points, p.values.ravel(), t.values.ravel()
    ).reshape(*p.shape, points.size)
    _warn_step(chosen, points, float(t.min()))
    attrs: dict[str, Any] = {
        "units": "cm2",
        "long_name": "absorption cross section per molecule",
        "broadening": chosen.broadening,
        "isotopologues": ",".join(map(str, np.unique(chosen.isotopologue))),
        "isotopologue_factor": str(dict(isotopologue_factor or {})),
        "gas": gas or "not stated",
        "wing_cm1": float(wing),
        "partition_sums": "TIPS-2021, Gamache et al. 2021, JQSRT 271, 107713",
    }
    for key in ("source_file", "source_sha256", "edition", "citation"):
        attrs[key] = lines.attrs.get(key, "not stated")
    result = xr.DataArray(values, dims=(*p.dims, "wavenumber"), attrs=attrs)
    return result.assign_coords(
        wavenumber=("wavenumber", points, {"units": "cm-1"}),
        pressure=p.assign_attrs(units="Pa").drop_vars("pressure", errors="ignore"),
        temperature=t.assign_attrs(units="K").drop_vars("temperature", errors="ignore"),
    )


def _state(value: ArrayLike) -> xr.DataArray:
    """Make a DataArray of a pressure or temperature."""
    import xarray as xr

    if isinstance(value, xr.DataArray):
        return value.astype(float)
    array = np.asarray(value, dtype=float)
    dims = ("state",) if array.ndim == 1 else tuple(f"state_{i}" for i in range(array.ndim))  # noqa: E501  # fmt: skip
    return xr.DataArray(array, dims=dims)


def _warn_step(lines: LineArrays, points: Floats, coldest_k: float) -> None:
    if points.size < 2:
        return
    step = float(np.max(np.diff(np.sort(points))))
    mass = max(isotopologue_mass(lines.molecule, int(i)) for i in np.unique(lines.isotopologue))  # noqa: E501  # fmt: skip
    width = float(doppler_hwhm(points.min(), coldest_k, mass))
    if step > MAX_STEP_HWHM * width:
        warnings.warn(
            f"wavenumber step {step:.3g} cm-1 exceeds {MAX_STEP_HWHM} Doppler"
            f" half-widths ({width:.3g} cm-1 at {coldest_k:g} K): equivalent widths"
            " will be wrong by more than 1e-4",
            TgoWarning,
            stacklevel=3,
        )
