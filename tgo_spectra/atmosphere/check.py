"""What no atmosphere of Mars has: the one check of every profile that comes in.

Arrays in, the first fault out. A fault names rule, field, level and value, and the
units in which the same numbers would be possible.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import (
    BOLTZMANN,
    GAS_CONSTANT,
    MEAN_RADIUS_KM,
    MOLAR_MASS,
    potential,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Fields = Mapping[str, Array]

__all__ = ["ALLOWABLE", "check_allowed", "check_profile", "check_radius"]

ALLOWABLE = (
    "atmosphere.altitude_range",
    "atmosphere.areoid_pressure",
    "atmosphere.hydrostatic",
    "atmosphere.temperature_range",
    "atmosphere.trace_gas",
)
"""Rules that a caller may switch off: unlike Mars, and still a profile."""

#: km above the areoid. The deepest ground, in Hellas, is at -8.2 km (MOLA); the
#: exosphere reaches beyond 1,000 km, and nothing here is observed there.
ALTITUDE_RANGE_KM = (-15.0, 1000.0)
#: K below and above this altitude, km. Ground-level air reaches 300 K, polar night
#: 120 K; the coldest mesopauses seen are near 70 K, the thermosphere reaches 400 K. Our
#: choice of margins.
UPPER_AIR_KM = 80.0
LOWER_TEMPERATURE_K = (70.0, 330.0)
UPPER_TEMPERATURE_K = (40.0, 600.0)
#: Pa at the areoid: 500 to 900 on Mars through the year; margins are our choice.
AREOID_PRESSURE_PA = (100.0, 1500.0)
#: K: mean temperature of air between the areoid and a lowest level above it.
MEAN_TEMPERATURE_K = (130.0, 260.0)
#: The logarithm of pressure may fall so many times faster or slower than in balance
#: with the temperature, over at least this span (km), besides the rounding of given
#: numbers. Our choice: sensitivity studies change temperature alone by 20 K, 15 %.
BALANCE_FACTOR = 1.5
BALANCE_SPAN_KM = 10.0
BALANCE_ROUNDING = 0.05
#: g mol-1, at most: CO2 alone. At least, from these altitudes (km) on: above the
#: homopause (90-130 km) light gases take over, atomic oxygen, then hydrogen.
HEAVIEST = 44.01
LIGHTEST = ((-np.inf, MOLAR_MASS / 1.05), (90.0, 16.0), (250.0, 1.0))
#: Mole fractions: rounding of a sum of given ones; noise of retrieved ones below zero.
SUM_ROUNDING = 0.01
MOST_NEGATIVE = -0.01
#: Gases that are traces everywhere on Mars, and more than any model or storm has. Water
#: is below 0.003 where it is most.
MOST_OF_WATER = 0.1
MOST_OF_A_TRACE = 0.01
TRACES = (
    "ch4", "hdo", "hcl", "hf", "o3", "c2h2", "c2h4", "c2h6", "n2o", "h2co", "ph3",
    "h2s", "ocs", "h2o2", "ho2", "no2", "so2", "nh3", "hcn",
)  # fmt: skip
#: Given number densities may differ from p / (k T) by this fraction.
DENSITY_TOLERANCE = 0.02
#: km, centre to areoid: 3376 at the poles, 3397 at the equator.
RADIUS_RANGE_KM = (3350.0, 3420.0)
#: What the same numbers may be: unit, factor and offset to ours.
POSSIBLE_UNITS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "altitude": (
        ("km", 1.0, 0.0), ("m", 1e-3, 0.0),
        ("km from the centre of Mars", 1.0, -MEAN_RADIUS_KM),
    ),
    "pressure": (
        ("Pa", 1.0, 0.0), ("hPa or mbar", 1e2, 0.0), ("kPa", 1e3, 0.0),
        ("bar", 1e5, 0.0), ("atm", 101325.0, 0.0),
    ),
    "temperature": (("K", 1.0, 0.0), ("degree Celsius", 1.0, 273.15)),
    "number_density": (("cm-3", 1.0, 0.0), ("m-3", 1e-6, 0.0)),
    "vmr": (
        ("1", 1.0, 0.0), ("percent", 1e-2, 0.0), ("ppm", 1e-6, 0.0),
        ("ppb", 1e-9, 0.0), ("ppt", 1e-12, 0.0),
    ),
}  # fmt: skip


class _Fault(NamedTuple):
    rule: str
    field: str
    level: int | None
    value: float
    message: str


def check_allowed(allow: Collection[str]) -> tuple[str, ...]:
    """Return the names of rules, sorted; refuse one that is not in `ALLOWABLE`.

    Raises
    ------
    AtmosphereError
        An unknown name (``atmosphere.allow``).
    """
    for name in allow:
        if name not in ALLOWABLE:
            msg = f"no rule that can be switched off; those are {', '.join(ALLOWABLE)}"
            raise AtmosphereError(
                msg, field="allow", value=name, rule="atmosphere.allow"
            )
    return tuple(sorted(set(allow)))


def check_radius(given: Any, path: str | None) -> float:
    """Return the radius of altitude zero, km, if it is a number that Mars can have."""
    low, high = RADIUS_RANGE_KM
    try:
        radius_km = float(given)
    except (TypeError, ValueError):
        radius_km = np.nan
    if low <= radius_km <= high:
        return radius_km
    msg = f"altitude zero must be {low:g}..{high:g} km from the centre of Mars"
    raise AtmosphereError(
        msg,
        path=path,
        field="planet_radius_km",
        value=given,
        rule="atmosphere.planet_radius",
    )


def check_profile(
    fields: Fields,
    names: Mapping[str, str] | None = None,
    scales: Mapping[str, tuple[float, float]] | None = None,
    allow: Collection[str] = (),
    path: str | None = None,
) -> None:
    """Refuse a profile that no atmosphere of Mars has.

    Parameters
    ----------
    fields : mapping of array, shape (level,)
        ``altitude`` (km above the areoid, upwards), ``pressure`` (Pa),
        ``temperature`` (K), where given ``number_density`` (cm-3) and
        ``<gas>_vmr`` (1).
    names : mapping, optional
        What the user calls the fields, for messages.
    scales : mapping of (float, float), optional
        Factor and offset by which fields came to our units. Default: 1 and 0.
    allow : collection of str
        Rules of `ALLOWABLE` that are not applied.
    path : str or None
        For messages.

    Raises
    ------
    AtmosphereError
        With the rule (``atmosphere.*``), the field, the level and the value.

    Examples
    --------
    >>> air = {"altitude": [0, 10], "pressure": [6.1, 2.4], "temperature": [215, 200]}
    >>> try:
    ...     check_profile({name: np.array(values) for name, values in air.items()})
    ... except AtmosphereError as error:
    ...     print(error.rule, error.field)
    atmosphere.areoid_pressure pressure
    """
    fault = _first(fields, allow)
    if fault is None:
        return
    message = fault.message + _hint(fields, fault, scales or {}, allow)
    if fault.rule in ALLOWABLE:
        message += f"; to take it as it is, allow {fault.rule}"
    raise AtmosphereError(
        message,
        path=path,
        field=(names or {}).get(fault.field, fault.field),
        record=fault.level,
        value=fault.value,
        rule=fault.rule,
    )


def _first(fields: Fields, allow: Collection[str]) -> _Fault | None:
    """First fault, None if the profile is possible."""
    # a level that is no number makes the later comparisons meaningless: in this order
    for find in (_numbers, _levels, _temperature, _pressure, _fractions, _density):
        for fault in find(fields):
            if fault.rule not in allow:
                return fault
    return None


def _numbers(fields: Fields) -> Iterator[_Fault]:
    z = fields["altitude"]
    bad = ~np.isfinite(z)
    bad[1:] |= ~(np.diff(z) > 0)
    if bad.any():
        yield _at(
            bad,
            z,
            "atmosphere.altitude_monotonic",
            "altitude",
            "altitude must be finite and strictly monotonic, each level once",
        )
    if z.size < 2:
        msg = "a profile has at least two levels"
        yield _Fault("atmosphere.levels", "altitude", None, z.size, msg)
    for name, values in fields.items():
        fraction = name.endswith("_vmr")
        bad = ~np.isfinite(values)
        if name != "altitude" and not fraction:
            bad |= values <= 0
        if bad.any():
            need = "finite and positive" if not fraction else "finite"
            yield _at(
                bad, values, "atmosphere.positive", name, f"profile must be {need}"
            )


def _levels(fields: Fields) -> Iterator[_Fault]:
    low, high = ALTITUDE_RANGE_KM
    z = fields["altitude"]
    bad = (z < low) | (z > high)
    if bad.any():
        msg = f"altitudes on Mars are within {low:g}..{high:g} km"
        yield _at(bad, z, "atmosphere.altitude_range", "altitude", msg)


def _temperature(fields: Fields) -> Iterator[_Fault]:
    z, t = fields["altitude"], fields["temperature"]
    upper = z > UPPER_AIR_KM
    (low, high), (low_up, high_up) = LOWER_TEMPERATURE_K, UPPER_TEMPERATURE_K
    bad = (t < np.where(upper, low_up, low)) | (t > np.where(upper, high_up, high))
    if bad.any():
        msg = (
            f"air on Mars has {low:g}..{high:g} K up to {UPPER_AIR_KM:g} km, "
            f"{low_up:g}..{high_up:g} K above"
        )
        yield _at(bad, t, "atmosphere.temperature_range", "temperature", msg)


def _pressure(fields: Fields) -> Iterator[_Fault]:
    z, p, t = fields["altitude"], fields["pressure"], fields["temperature"]
    bad = np.append(False, ~(np.diff(p) < 0))
    if bad.any():
        msg = "pressure must fall from level to level"
        yield _at(bad, p, "atmosphere.pressure_falls", "pressure", msg)
        return
    yield from _areoid(z, p)
    yield from _balance(z, np.log(p), t)


def _areoid(z: Array, p: Array) -> Iterator[_Fault]:
    """Pressure at altitude zero, by any mean temperature that air may have there."""
    edge = int(np.argmin(np.abs(z)))
    if z[0] <= 0.0 <= z[-1]:
        found = [float(np.exp(np.interp(0.0, z, np.log(p))))] * 2
    else:
        path = np.sort([0.0, z[edge]])
        found = []
        for t, light in zip(MEAN_TEMPERATURE_K, (False, True), strict=True):
            fall = _exponent(path, np.full(2, t), light=light)[-1]
            found.append(float(p[edge] * np.exp(np.copysign(fall, z[edge]))))
    low, high = AREOID_PRESSURE_PA
    if max(found) < low or min(found) > high:
        how = f"{found[0]:.4g}"
        if found[0] != found[1]:
            how = f"{min(found):.4g} to {max(found):.4g}"
        msg = (
            f"the pressure at the areoid would be {how} Pa, on Mars it is within "
            f"{low:g}..{high:g} Pa"
        )
        yield _Fault(
            "atmosphere.areoid_pressure", "pressure", edge, float(p[edge]), msg
        )


def _balance(z: Array, log_p: Array, t: Array) -> Iterator[_Fault]:
    """Compare the fall of ln p over spans of levels with hydrostatic balance."""
    last = np.searchsorted(z, z + BALANCE_SPAN_KM - 1e-9)
    last = last[last < z.size]
    first = np.arange(last.size)
    # the span that ends at the top; of a shallow profile, all of it
    below = np.searchsorted(z, z[-1] - BALANCE_SPAN_KM + 1e-9, side="right") - 1
    first, last = np.append(first, max(below, 0)), np.append(last, z.size - 1)
    fall = log_p[first] - log_p[last]
    heavy, light = (_exponent(z, t, light=light) for light in (False, True))
    balanced = heavy[last] - heavy[first]
    most = BALANCE_FACTOR * balanced + BALANCE_ROUNDING
    least = (light[last] - light[first]) / BALANCE_FACTOR - BALANCE_ROUNDING
    bad = (fall > most) | (fall < least)
    if bad.any():
        at = int(np.argmax(bad))
        low, high = z[first[at]], z[last[at]]
        msg = (
            f"from {low:g} to {high:g} km pressure falls {np.exp(fall[at]):.4g} times, "
            f"with this temperature it would {np.exp(balanced[at]):.4g} times: far "
            "from hydrostatic"
        )
        level = int(first[at])
        yield _Fault(
            "atmosphere.hydrostatic",
            "pressure",
            level,
            float(np.exp(log_p[level])),
            msg,
        )


def _exponent(z: Array, t: Array, *, light: bool) -> Array:
    """Logarithm of p[0] / p in hydrostatic balance, T linear between the levels."""
    bounds, masses = (np.array(x) for x in zip(*LIGHTEST, strict=True))
    grid = np.union1d(z, bounds[(bounds > z[0]) & (bounds < z[-1])])
    between = 0.5 * (grid[1:] + grid[:-1])
    mass = masses[np.searchsorted(bounds, between) - 1] if light else HEAVIEST
    warmth = np.interp(grid, z, t)
    mean = 0.5 * (warmth[1:] + warmth[:-1])
    rise = np.diff(potential(grid, MEAN_RADIUS_KM))
    steps = 1e-3 * mass * rise / (GAS_CONSTANT * mean)
    total = np.append(0.0, np.cumsum(steps))
    return np.asarray(total[np.searchsorted(grid, z)])


def _fractions(fields: Fields) -> Iterator[_Fault]:
    gases = {n.removesuffix("_vmr"): v for n, v in fields.items() if n.endswith("_vmr")}
    for gas, values in gases.items():
        bad = values > 1.0 + 1e-6
        if bad.any():
            msg = "a mole fraction is at most 1"
            yield _at(bad, values, "atmosphere.mole_fraction", f"{gas}_vmr", msg)
        bad = values < MOST_NEGATIVE
        if bad.any():
            msg = f"a mole fraction, noisy or not, is not below {MOST_NEGATIVE:g}"
            yield _at(bad, values, "atmosphere.mole_fraction", f"{gas}_vmr", msg)
        most = MOST_OF_WATER if gas == "h2o" else MOST_OF_A_TRACE
        bad = values > most
        if gas in ("h2o", *TRACES) and bad.any():
            msg = (
                f"{gas.upper()} is a trace on Mars: its mole fraction is below {most:g}"
            )
            yield _at(bad, values, "atmosphere.trace_gas", f"{gas}_vmr", msg)
    # co2_626 and the like are parts of co2
    whole = [
        v for g, v in gases.items() if g.partition("_")[0] not in gases or "_" not in g
    ]
    if whole:
        total = np.sum([np.maximum(v, 0.0) for v in whole], axis=0)
        bad = total > 1.0 + SUM_ROUNDING
        if bad.any():
            largest = max(gases, key=lambda gas: float(gases[gas].max()))
            msg = "the mole fractions of all gases sum to more than 1"
            yield _at(bad, total, "atmosphere.mole_fraction_sum", f"{largest}_vmr", msg)


def _density(fields: Fields) -> Iterator[_Fault]:
    given = fields.get("number_density")
    if given is None:
        return
    ideal = 1e-6 * fields["pressure"] / (BOLTZMANN * fields["temperature"])
    away = np.abs(given / ideal - 1.0)
    if away.max() > DENSITY_TOLERANCE:
        msg = "number density contradicts p / kT; wrong units?"
        yield _at(
            away == away.max(), given, "atmosphere.density", "number_density", msg
        )


def _at(
    bad: NDArray[np.bool_], values: Array, rule: str, field: str, msg: str
) -> _Fault:
    level = int(np.argmax(bad))
    return _Fault(rule, field, level, float(values[level]), msg)


def _hint(
    fields: Fields,
    fault: _Fault,
    scales: Mapping[str, tuple[float, float]],
    allow: Collection[str],
) -> str:
    """Say in which other units the same numbers would be possible."""
    if fault.field.endswith("_vmr"):
        chosen, fixed = [fault.field], fields
    else:
        # gases have units of their own: whether they fit is another question
        chosen = [name for name in POSSIBLE_UNITS if name in fields]
        fixed = {}
    choices: list[list[tuple[str | None, Array]]] = []
    for name in chosen:
        taken = scales.get(name, (1.0, 0.0))
        given = (fields[name] - taken[1]) / taken[0]
        # None: as it is
        choices.append([(None, fields[name])])
        kind = name if name in POSSIBLE_UNITS else "vmr"
        for unit, factor, offset in POSSIBLE_UNITS[kind]:
            if (factor, offset) != taken:
                values = factor * given + offset
                choices[-1].append((f"{name} in {unit}", values))
    found: list[list[str]] = []
    for choice in itertools.product(*choices):
        changed = {n: v for n, (_, v) in zip(chosen, choice, strict=True)}
        said = [text for text, _ in choice if text is not None]
        if said and _first({**fixed, **changed}, allow) is None:
            found.append(said)
    fewest = min(map(len, found), default=0)
    return _possible([" and ".join(one) for one in found if len(one) == fewest])


def _possible(units: list[str]) -> str:
    if not units:
        return ""
    return f"; it would be possible with {', or '.join(units)}: state the unit"
