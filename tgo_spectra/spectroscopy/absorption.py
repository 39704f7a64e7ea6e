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
# Shapes of the wings farther than 3 cm-1 from a line
FAR_WINGS = ("lorentz", "tonkov1996")
# HITRAN number of carbon dioxide
_CO2 = 2
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
    *,
    accuracy: float = 5e-5,
    negligible: float = 0.0,
    far_wing: str = "lorentz",
) -> Floats:
    """Cross sections for many states, as an array.

    Parameters
    ----------
    lines : xarray.Dataset or LineArrays
        `LineArrays` are already chosen: the arguments from `broadening` to `gas` are
        then ignored.
    wavenumber_cm1 : array_like
        (wavenumber,), cm-1. A uniform ascending grid is fast; at other points each
        line is evaluated at each point.
    pressure_pa, temperature_k : array_like
        (state,) or scalar, broadcast together; Pa and K.
    broadening, isotopologues, isotopologue_factor, wing, gas
        As in `absorption_cross_section`.
    accuracy, negligible, far_wing
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
    One thread without the GIL: run blocks of states in threads for speed. Each state
    is summed by itself in one order, so that any number of threads gives the same
    bits. Lines reach over the whole window; none is cut inside it.

    Examples
    --------
    >>> cross_section_grid(lines, grid, [1.0, 10.0], 180.0, "air")  # doctest: +SKIP
    """
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
    _check_choices(lines, accuracy, negligible, far_wing)
    out = np.empty((pressure.size, points.size))
    for i in range(pressure.size):
        state = line_parameters(lines, float(pressure[i]), float(temperature[i]))
        out[i] = _one_state(points, state, accuracy, negligible, far_wing)
    return out


def _check_choices(
    lines: LineArrays, accuracy: float, negligible: float, far_wing: str
) -> None:
    from tgo_spectra.spectroscopy.lineshape import COARSEST, FINEST

    if not FINEST <= accuracy <= COARSEST:
        msg = f"must be {FINEST:g} to {COARSEST:g}"
        raise LineListError(msg, field="accuracy", value=accuracy)
    if not 0.0 <= negligible < 1.0:
        msg = "must be at least 0 and below 1"
        raise LineListError(msg, field="negligible", value=negligible)
    if far_wing not in FAR_WINGS:
        msg = f"must be one of {', '.join(FAR_WINGS)}"
        raise LineListError(msg, field="far_wing", value=far_wing)
    if far_wing != "lorentz" and lines.molecule != _CO2:
        msg = f"{far_wing} is for CO2 (HITRAN molecule {_CO2})"
        raise LineListError(msg, field="molecule", value=lines.molecule)


def _one_state(
    points: Floats,
    state: tuple[Floats, Floats, Floats, Floats],
    accuracy: float,
    negligible: float,
    far_wing: str,
) -> Floats:
    """Sum of the profiles of one state at the points."""
    from tgo_spectra.spectroscopy.farwing import wing_deficit
    from tgo_spectra.spectroscopy.lineshape import (
        select_lines,
        sum_lines,
        sum_lines_at,
    )

    if negligible > 0.0:
        window = float(points.min()), float(points.max())
        keep = select_lines(*state, negligible, *window)
        position, doppler, lorentz, intensity = (array[keep] for array in state)
        state = position, doppler, lorentz, intensity
    step = _uniform_step(points)
    if step is None:
        total = sum_lines_at(points, *state)
    else:
        total = sum_lines(float(points[0]), step, points.size, *state, accuracy)
    if far_wing != "lorentz":
        total -= wing_deficit(points, state[0], state[2], state[3])
    return total


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
    accuracy: float = 5e-5,
    negligible: float = 0.0,
    far_wing: str = "lorentz",
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
    broadening : {"co2", "self", "air"}, (name, factor) or mapping, optional
        What broadens the lines. ``self`` takes gamma_self with n_air and delta_air
        (HITRAN has no others), the right choice for CO2 in CO2. With ``("air",
        factor)`` gamma_air is multiplied by it; n_air and delta_air stay. With ``("co2
        or air", factor)`` each line is broadened by CO2 where the list has its width,
        otherwise so; the attribute says how many are. A mapping of these
        names to mole fractions, such as ``{"co2": 0.95, "air": 0.05}``, must add up
        to 1; widths and shifts add up by mole fraction.
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
    accuracy : float, optional
        Largest relative error of the sum of profiles on a uniform grid, 1e-5 to 1e-3.
        At other points it is 3e-6 whatever is asked for.
    negligible : float, optional
        Lines are left out, the lowest first, as long as all of them together add
        nowhere more than this part of the height of the highest line in the window;
        in every state anew. With 0, the default, none is.
    far_wing : {"lorentz", "tonkov1996"}, optional
        Shape beyond 3 cm-1; ``tonkov1996``, for CO2 only, multiplies the wings by
        `tgo_spectra.spectroscopy.farwing.chi_tonkov`.

    Returns
    -------
    xarray.DataArray
        Dimensions of the state and ``wavenumber``; cm2 per molecule. Attributes name
        broadening, isotopologues, factors, wing, accuracy and line list, and how many
        lines were left out since the energy of their lower state is unknown.

    Raises
    ------
    LineListError
        If no line is left, a state is not physical, the temperature is outside 40 to
        400 K, mole fractions do not add up, or a choice is not one of those above.
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
        chosen,
        points,
        p.values.ravel(),
        t.values.ravel(),
        accuracy=accuracy,
        negligible=negligible,
        far_wing=far_wing,
    ).reshape(*p.shape, points.size)
    _warn_step(chosen, points, float(t.min()))
    attrs: dict[str, Any] = {
        "units": "cm2",
        "long_name": "absorption cross section per molecule",
        "broadening": chosen.broadening,
        "unknown_lower_state_energy": chosen.unknown_energy,
        "isotopologues": ",".join(map(str, np.unique(chosen.isotopologue))),
        "isotopologue_factor": str(dict(isotopologue_factor or {})),
        "gas": gas or "not stated",
        "wing_cm1": float(wing),
        "far_wing": far_wing,
        "accuracy": float(accuracy),
        "negligible": float(negligible),
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
