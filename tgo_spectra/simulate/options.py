"""Checks of what a simulation is asked for, the same for all simulators."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tgo_spectra.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Profile = float | tuple[npt.ArrayLike, npt.ArrayLike]
    Condition = tuple[str, object, bool, str]

__all__ = [
    "LIMITS",
    "check_mole_fractions",
    "check_numbers",
    "check_options",
    "make_scenario",
    "mole_fraction",
    "require",
]

_S = TypeVar("_S")

LIMITS: dict[str, tuple[float, float] | tuple[tuple[float, float], ...]] = {
    # observation
    "order": (1, 300),
    "orders": (1, 300),
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 360.0),
    "local_time": (0.0, 24.0),
    "altitude_range": (-9.0, 150.0),
    "surface_altitude_km": (-9.0, 150.0),
    "topography_km": ((-9.0, 25.0), (-17.0, 17.0)),
    "vertical_speed_km_s": (0.01, 10.0),
    "seconds": (2, 100_000),
    "frames": (2, 2000),
    "n_spectra": (1, 10_000),
    "exposure_s": (0.0, 60.0),
    "exposure_part": (0.0, 1.0),
    "row_step_km": (0.0, 5.0),
    "bin_offset_km": (-10.0, 10.0),
    "incidence_deg": (0.0, 88.9),
    "emission_deg": (0.0, 88.9),
    "planet_radius_km": (3300.0, 3500.0),
    "observer_distance_km": (3600.0, 50_000.0),
    "orbit": (0, 999_999),
    # instrument
    "pixels": (50, 2000),
    "n_bins": (1, 16),
    "rows_per_stripe": (1, 101),
    "n_orders": (0, 20),
    "temperature_c": (-100.0, 100.0),
    "aotf_frequency_khz": (1e3, 1e6),
    "resolving_power": (10.0, 1e7),
    "shift_px": (-50.0, 50.0),
    "stretch_px": (-50.0, 50.0),
    "bend_px": (-50.0, 50.0),
    "bin_shift_px": (-50.0, 50.0),
    "tilt_px": (-50.0, 50.0),
    "boxcars_km": (0.0, 50.0),
    "slit_km": (0.0, 50.0),
    "field_of_view_arcmin": (0.0, 60.0),
    "fwhm_nm": (0.01, 20.0),
    "range_nm": (206.0, 640.0),
    "first_pixel_cm1": (500.0, 10_000.0),
    "dispersion_cm1": (1e-4, 1.0),
    "order_step_cm1": (1.0, 100.0),
    "second_shift_cm1": (-5.0, 5.0),
    "second_amplitude": (0.0, 10.0),
    "snr": (1e-3, 1e12),
    "noisy_pixels": (0, 2000),
    "wobble": (0.0, 1.0),
    "calibration": (0.0, 1.0),
    "curvature": (-1.0, 1.0),
    "seed": (0, 2**63),
    # atmosphere, aerosol and surface
    "factor": (0.0, 1e6),
    "factors": (0.0, 1e6),
    "factor_sigma": (0.0, 1.0),
    "temperature_gradient_k_km": (-5.0, 5.0),
    "surface_pressure_pa": (100.0, 1000.0),
    "aerosol_depth": (0.0, 1e3),
    "aerosol_km1": (0.0, 1e2),
    "aerosol_scale_km": (0.1, 1e3),
    "aerosol_exponent": (-10.0, 10.0),
    "aerosol_layer": ((0.0, 1e3), (-10.0, 150.0), (0.01, 100.0)),
    "dust_optical_depth": (0.0, 1e2),
    "dust_exponent": (-10.0, 10.0),
    "albedo": (1e-3, 1.0),
}
"""Lowest and highest value of an option, or of each of its parts; units as named.

Wider than anything Mars or the instruments have: they refuse what is impossible or a
slip of units, not what is unusual. An option means the same in all simulators.
"""


def make_scenario(cls: type[_S], options: Mapping[str, Any]) -> _S:
    """Make a scenario; an unknown option is refused with the nearest known one.

    Parameters
    ----------
    cls : type
        Dataclass of options.
    options : mapping of str to value

    Returns
    -------
    object
        Of `cls`.

    Raises
    ------
    SetupError
        ``simulate.option``.

    Examples
    --------
    >>> from tgo_spectra.simulate.scenario import Scenario
    >>> make_scenario(Scenario, {"order": 136}).order
    136
    """
    known = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"unknown option of the simulator{hint}"
            raise SetupError(message, field=name, rule="simulate.option")
    return cls(**options)


def check_options(scenario: Any) -> None:
    """Refuse options that are no numbers, or impossible ones.

    Parameters
    ----------
    scenario : dataclass
        Its fields named in `LIMITS` are numbers, or nothing, within these; ``start``
        is a time, and what is true or false says so.

    Raises
    ------
    SetupError
        ``simulate.option`` with name and value.

    Examples
    --------
    >>> from tgo_spectra.simulate.scenario import Scenario
    >>> Scenario(snr=-1.0)
    Traceback (most recent call last):
    tgo_spectra.errors.SetupError: option snr must lie within 0.001..1e+12 ...
    """
    for item in dataclasses.fields(scenario):
        value, kind = getattr(scenario, item.name), str(item.type)
        if value is None:
            continue
        if item.name == "start":
            _check_time(value)
        elif kind == "bool" and not isinstance(value, bool | np.bool_):
            raise _refused(item.name, value, "must be True or False")
        elif item.name in LIMITS:
            check_numbers(item.name, value, kind)


def require(conditions: Iterable[Condition]) -> None:
    """Refuse options that do not fit each other.

    Parameters
    ----------
    conditions : iterable of (name, value, whether it is good, what it must be)

    Raises
    ------
    SetupError
        ``simulate.option`` with name and value.

    Examples
    --------
    >>> require([("seed", 1, True, "must be even")])
    """
    for name, value, good, text in conditions:
        if not good:
            raise _refused(name, value, text)


def check_numbers(name: str, value: Any, kind: str) -> None:
    """Refuse what is no number within the limits of an option.

    Parameters
    ----------
    name : str
        One of `LIMITS`.
    value : number, sequence of numbers or mapping to numbers
    kind : str
        How the option is declared, such as ``tuple[float, float]``.

    Raises
    ------
    SetupError
        ``simulate.option``.

    Examples
    --------
    >>> check_numbers("shift_px", (0.1, 0.2), "tuple[float, ...]")
    """
    try:
        parts = list(value.values()) if "dict" in kind.lower() else value
        numbers = np.asarray(parts, dtype=np.float64)
    except (AttributeError, TypeError, ValueError) as error:
        raise _refused(name, value, f"must be of the kind {kind}") from error
    sequence = kind.startswith(("tuple", "dict"))
    fixed = kind.startswith("tuple[float") and "..." not in kind
    if sequence == (numbers.ndim == 0):
        raise _refused(name, value, f"must be of the kind {kind}")
    if fixed and numbers.shape != (kind.count("float"),):
        raise _refused(name, value, f"must be {kind.count('float')} numbers")
    if "int" in kind and not (numbers == np.round(numbers)).all():
        raise _refused(name, value, "must be a whole number")
    limits = np.broadcast_to(np.asarray(LIMITS[name], np.float64), (*numbers.shape, 2))
    # what is not a number is not within either
    for number, (low, high) in zip(numbers.ravel(), limits.reshape(-1, 2), strict=True):
        if not low <= number <= high:
            raise _refused(name, value, f"must lie within {low:g}..{high:g}")


def _check_time(value: object) -> None:
    try:
        known = not np.isnat(np.datetime64(value, "ms"))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        known = False
    if not known:
        msg = "start"
        raise _refused(msg, value, "must be a time such as 2018-06-14T03:09:20")


def _refused(name: str, value: object, text: str) -> SetupError:
    message = f"option {name} {text}"
    return SetupError(message, field=name, value=value, rule="simulate.option")


def mole_fraction(
    gas: str,
    given: Profile,
    altitude_km: npt.NDArray[np.floating] | Sequence[float],
    *,
    negative: bool = False,
) -> Array:
    """Mole fraction of a gas at altitudes.

    Parameters
    ----------
    gas : str
        To be named.
    given : float or (altitudes, values)
        A number, or a profile over ascending altitudes in km, linear in between.
    altitude_km : array, shape (level,)
    negative : bool
        Whether values may be negative, as those of truths drawn from a Gaussian are.

    Returns
    -------
    array, shape (level,)
        1.

    Raises
    ------
    SetupError
        No such profile, or values outside 0..1 (``simulate.profile``).

    Examples
    --------
    >>> mole_fraction("ch4", ([0.0, 10.0], [1e-9, 3e-9]), [5.0])
    array([2.e-09])
    """
    wrong = None
    try:
        if isinstance(given, tuple | list):
            z, values = (np.asarray(x, dtype=np.float64) for x in given)
        else:
            z, values = np.zeros(1), np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        message = "a mole fraction is a number, or (altitudes in km, values)"
        raise SetupError(
            message, field=gas, value=given, rule="simulate.profile"
        ) from error
    if z.shape != values.shape or z.ndim != 1 or not z.size or (np.diff(z) <= 0).any():
        wrong = "a profile is (ascending altitudes in km, values)"
    elif not (np.isfinite(values).all() and np.isfinite(z).all()):
        wrong = "mole fractions and altitudes must be finite"
    elif values.min() < (-1.0 if negative else 0.0) or values.max() > 1.0:
        wrong = (
            "a mole fraction (mol/mol) must lie within 0..1 (of a truth drawn from a "
            "Gaussian say negative=True)"
        )
    if wrong is not None:
        raise SetupError(wrong, field=gas, value=given, rule="simulate.profile")
    return np.asarray(np.interp(altitude_km, z, values))


def check_mole_fractions(
    given: Mapping[str, Profile], *, negative: bool = False
) -> None:
    """Refuse mole fractions that are impossible, each and together.

    Parameters
    ----------
    given : mapping of gas to float or (altitudes, values)
        See `mole_fraction`.
    negative : bool
        Whether values may be negative.

    Raises
    ------
    SetupError
        ``simulate.profile``.
    """
    knots = [np.zeros(1)]
    for gas, value in given.items():
        mole_fraction(gas, value, knots[0], negative=negative)
        if isinstance(value, tuple | list):
            knots.append(np.asarray(value[0], dtype=np.float64))
    # linear in between: the largest sum is at one of the altitudes given
    levels = np.concatenate(knots)
    total = sum(
        mole_fraction(gas, value, levels, negative=negative)
        for gas, value in given.items()
    )
    if np.max(total, initial=0.0) > 1.0 + 1e-9:
        message = "mole fractions of all gases together must not exceed 1"
        raise SetupError(
            message, field=", ".join(given), value=float(np.max(total)),
            rule="simulate.profile",
        )  # fmt: skip
