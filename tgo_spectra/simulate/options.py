"""Rows that say what the options of the simulators are, and checks made of them.

An option is one row: its default, its limits, its unit and what it does. Checks,
docstrings, the command line and the record in the truth are all made of these rows.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tgo_spectra.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Profile = float | tuple[npt.ArrayLike, npt.ArrayLike]
    Condition = tuple[str, object, bool, str]
    Limits = tuple[float, float] | tuple[tuple[float, float], ...]

__all__ = [
    "check_mole_fractions",
    "check_numbers",
    "check_options",
    "described",
    "make_scenario",
    "mole_fraction",
    "option",
    "option_rows",
    "require",
]

_S = TypeVar("_S")

GASES = "gases"
"""Kind of the options that hold mole fractions by gas."""


def option(
    default: Any,
    text: str,
    *,
    limits: Limits | None = None,
    unit: str = "",
    kind: str = "",
) -> Any:
    """Declare one option of a scenario.

    Parameters
    ----------
    default : object
        If nobody says otherwise; a dict is copied.
    text : str
        What it does.
    limits : pair of float, or one pair a part, optional
        Lowest and highest number. Wider than anything Mars or the instruments have:
        they refuse what is impossible or a slip of units, not what is unusual.
    unit : str
        Of the numbers.
    kind : str
        ``gases`` for mole fractions by gas, the name of a gas for that of one.

    Returns
    -------
    dataclasses.Field

    Examples
    --------
    >>> option(2300.0, "Signal over noise.", limits=(1.0, 1e6)).metadata["limits"]
    (1.0, 1000000.0)
    """
    metadata = {"text": text, "limits": limits, "unit": unit, "kind": kind}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def option_rows(cls: type) -> Iterator[tuple[str, str, object, dict[str, Any]]]:
    """Give the options of a scenario: name, type, default and what `option` was told.

    Examples
    --------
    >>> from tgo_spectra.simulate.scenario import Scenario
    >>> next(option_rows(Scenario))[:3]
    ('start', 'str', '2018-06-14T03:09:20')
    """
    for item in dataclasses.fields(cls):
        copied = item.default_factory
        default = item.default if copied is dataclasses.MISSING else copied()
        yield item.name, str(item.type), default, dict(item.metadata)


def described(cls: type[_S]) -> type[_S]:
    """Write the attributes of a scenario into its docstring, from the rows."""
    lines = [cls.__doc__ or "", "", "    Attributes", "    ----------"]
    for name, kind, default, row in option_rows(cls):
        unit = f" Unit: {row['unit']}." if row["unit"] else ""
        lines += [f"    {name} : {kind}", f"        {row['text']}{unit}"]
        lines += [f"        Default: ``{default!r}``."]
    cls.__doc__ = "\n".join([*lines, "    "])
    return cls


def make_scenario(cls: type[_S], options: Mapping[str, Any]) -> _S:
    """Make a scenario; an unknown option is refused with the nearest known one.

    Examples
    --------
    >>> from tgo_spectra.simulate.scenario import NomadScenario
    >>> make_scenario(NomadScenario, {"latitude": 10.0}).latitude
    10.0
    """
    known = [name for name, *_ in option_rows(cls)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"unknown option of the simulator{hint}"
            raise SetupError(message, field=name, rule="simulate.option")
    return cls(**options)


def check_options(scenario: Any) -> None:
    """Refuse options that are no numbers, or impossible ones, by their rows.

    Examples
    --------
    >>> from tgo_spectra.simulate.scenario import Scenario
    >>> Scenario(snr=-1.0)
    Traceback (most recent call last):
    tgo_spectra.errors.SetupError: option snr must lie within 0.001..1e+12 ...
    """
    for name, kind, _, row in option_rows(type(scenario)):
        value = getattr(scenario, name)
        if value is None:
            continue
        if name == "start":
            _check_time(value)
        elif kind == "bool" and not isinstance(value, bool | np.bool_):
            raise _refused(name, value, "must be True or False")
        elif row["limits"] is not None:
            check_numbers(name, value, kind, row["limits"])


def require(conditions: Iterable[Condition]) -> None:
    """Refuse options that do not fit each other: name, value, good, what it must be."""
    for name, value, good, text in conditions:
        if not good:
            raise _refused(name, value, text)


def check_numbers(name: str, value: Any, kind: str, limits: Limits) -> None:
    """Refuse what is no number, or numbers, within limits; ``kind`` is the type."""
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
    pairs = np.broadcast_to(np.asarray(limits, np.float64), (*numbers.shape, 2))
    # what is not a number is not within either
    for number, (low, high) in zip(numbers.ravel(), pairs.reshape(-1, 2), strict=True):
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
    """Mole fraction of a gas at altitudes in km, (level,), linear in between.

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
    """Refuse mole fractions that are impossible, each and together."""
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
