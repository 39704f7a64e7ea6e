"""Models of the spectrometers: one table of parameters, one module per channel.

The table is the file ``instruments.toml`` beside this module: every coefficient with
unit, source and status. Modules of channels take their numbers from it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tgo_spectra.errors import InstrumentError

__all__ = [
    "STATUSES",
    "Parameter",
    "channels",
    "coefficients",
    "instrument_status",
    "number",
    "parameter",
    "parameters",
    "uncertain",
]

#: What is known of a number, from sure to unsure.
STATUSES = ("certain", "derived", "inferred", "to be verified")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One entry of ``instruments.toml``.

    Attributes
    ----------
    name : str
        Channel and name, such as ``so.resolving_power``.
    value : float or tuple of float
        One number, or several.
    unit : str or tuple of str
        For all numbers, or one for each.
    meaning : str
        In words.
    source : str
        Citation.
    status : str
        One of `STATUSES`.
    index : tuple of int
        Labels of the numbers (orders), empty if they are powers from 0 upwards or
        listed in ``meaning``.
    range : tuple of float
        Smallest and largest value in the sources where they differ, else empty.
    note : str
        What a user should know, or empty.
    """

    name: str
    value: float | tuple[float, ...]
    unit: str | tuple[str, ...]
    meaning: str
    source: str
    status: str
    index: tuple[int, ...] = ()
    range: tuple[float, ...] = ()
    note: str = ""


def _entry(name: str, row: dict[str, Any], sources: dict[str, str]) -> Parameter:
    tupled: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in row.items()
    }
    tupled["source"] = sources[row["source"]]
    return Parameter(name=name, **tupled)


@cache
def _table() -> dict[str, dict[str, Parameter]]:
    text = files(__package__).joinpath("instruments.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    sources = raw.pop("sources")
    return {
        channel: {
            name: _entry(f"{channel}.{name}", row, sources)
            for name, row in rows.items()
        }
        for channel, rows in raw.items()
    }


def channels() -> tuple[str, ...]:
    """Return the channels of the table.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> channels()
    ('so', 'lno', 'uvis', 'acs_nir', 'acs_mir')
    """
    return tuple(_table())


def parameters(channel: str) -> dict[str, Parameter]:
    """Return all parameters of a channel.

    Parameters
    ----------
    channel : str
        One of `channels`.

    Returns
    -------
    dict of str to Parameter
        By name without the channel, in the order of the file.

    Raises
    ------
    InstrumentError
        If the channel is unknown.

    Examples
    --------
    >>> list(parameters("acs_mir"))[:2]
    ['range', 'window']
    """
    if channel not in _table():
        msg = f"unknown channel; known are {', '.join(_table())}"
        raise InstrumentError(
            msg, field="channel", value=channel, rule="instrument.channel"
        )
    return dict(_table()[channel])


def parameter(name: str) -> Parameter:
    """Return one parameter.

    Parameters
    ----------
    name : str
        Channel and name, such as ``lno.resolving_power``.

    Returns
    -------
    Parameter

    Raises
    ------
    InstrumentError
        If channel or name is unknown.

    Examples
    --------
    >>> found = parameter("lno.resolving_power")
    >>> found.value, found.status, found.range
    (10000.0, 'to be verified', (5600.0, 14000.0))
    """
    channel, _, leaf = name.partition(".")
    rows = parameters(channel)
    if leaf not in rows:
        msg = f"unknown parameter; {channel} has {', '.join(rows)}"
        raise InstrumentError(
            msg, field="name", value=name, rule="instrument.parameter"
        )
    return rows[leaf]


def number(name: str) -> float:
    """Return the value of a parameter that is one number.

    Parameters
    ----------
    name : str
        Channel and name.

    Returns
    -------
    float

    Raises
    ------
    InstrumentError
        If it is unknown or has several numbers.

    Examples
    --------
    >>> number("so.ghost_amplitude")
    0.272437
    """
    value = parameter(name).value
    if isinstance(value, tuple):
        msg = f"parameter has {len(value)} numbers, not one; use coefficients"
        raise InstrumentError(
            msg, field="name", value=name, rule="instrument.one_number"
        )
    return float(value)


def coefficients(name: str) -> tuple[float, ...]:
    """Return the values of a parameter that is a list of numbers.

    Parameters
    ----------
    name : str
        Channel and name.

    Returns
    -------
    tuple of float

    Raises
    ------
    InstrumentError
        If it is unknown or one number.

    Examples
    --------
    >>> coefficients("so.aotf_tuning")
    (305.0604, 0.1497089, 1.34082e-07)
    """
    value = parameter(name).value
    if not isinstance(value, tuple):
        msg = "parameter is one number, not a list; use number"
        raise InstrumentError(msg, field="name", value=name, rule="instrument.list")
    return tuple(float(item) for item in value)


def instrument_status(name: str) -> dict[str, str]:
    """Return how sure a parameter, or each parameter of a channel, is.

    Parameters
    ----------
    name : str
        A channel, or channel and parameter.

    Returns
    -------
    dict of str to str
        One of `STATUSES` by full name.

    Raises
    ------
    InstrumentError
        If the name is unknown.

    Examples
    --------
    >>> instrument_status("acs_nir.resolving_power")
    {'acs_nir.resolving_power': 'to be verified'}
    """
    if name in _table():
        return {row.name: row.status for row in _table()[name].values()}
    found = parameter(name)
    return {found.name: found.status}


def uncertain(*names: str) -> dict[str, str]:
    """Say which of the parameters used are not certain, as an attribute of a result.

    Parameters
    ----------
    *names : str
        Channels or parameters that a computation used.

    Returns
    -------
    dict of str to str
        ``instrument_uncertain`` with the text, or nothing if all are certain; for
        ``attrs.update``.

    Raises
    ------
    InstrumentError
        If a name is unknown.

    Examples
    --------
    >>> uncertain("lno.resolving_power", "lno.dispersion")
    {'instrument_uncertain': 'lno.resolving_power: to be verified'}
    >>> uncertain("so.ghost_amplitude")
    {}
    """
    found = {
        key: status
        for name in names
        for key, status in instrument_status(name).items()
        if status in STATUSES[2:]
    }
    if not found:
        return {}
    text = "; ".join(f"{key}: {status}" for key, status in found.items())
    return {"instrument_uncertain": text}
