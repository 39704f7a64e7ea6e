"""Interferents of a gas window: fitted, or named as absent; never forgotten."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Struct

from tgo_spectra.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "HEIGHTS_KM",
    "Depth",
    "GasWindow",
    "WindowSetup",
    "check_interferents",
    "check_setup",
    "depth_of",
    "gas_windows",
]

HEIGHTS_KM = (5.0, 15.0, 30.0)
"""Tangent heights of the depths in the list."""


class GasWindow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One gas in some orders of a channel, and what else absorbs there."""

    gas: str
    channel: str
    orders: tuple[int, ...]
    interferents: tuple[str, ...]
    source: str


class Depth(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much of the light of an order an absorber takes, in percent.

    At `HEIGHTS_KM`: the largest difference over the pixels, less a polynomial.
    """

    name: str
    channel: str
    order: int
    percent: tuple[float, float, float]


class _Windows(Struct, frozen=True, forbid_unknown_fields=True):
    window: tuple[GasWindow, ...]
    depth: tuple[Depth, ...]


@functools.cache
def _shipped() -> _Windows:
    source = resources.files("tgo_spectra.retrieval") / "interferents.toml"
    raw = tomllib.loads(source.read_text(encoding="utf-8"))
    return msgspec.convert(raw, _Windows)


def gas_windows() -> tuple[GasWindow, ...]:
    """Return all windows of the shipped list.

    Examples
    --------
    >>> sorted({window.gas for window in gas_windows()})
    ['ch4', 'co', 'co2', 'h2o', 'hcl', 'hdo']
    """
    return _shipped().window


def depth_of(name: str, channel: str, order: int) -> Depth | None:
    """Return how much of the light an absorber takes, None where that is not known.

    Parameters
    ----------
    name : str
        Gas, or absorption without a gas of its own.
    channel : str
    order : int

    Returns
    -------
    Depth or None

    Examples
    --------
    >>> depth_of("co2", "so", 134).percent
    (0.6, 0.31, 0.07)
    """
    for depth in _shipped().depth:
        if (depth.name, depth.channel, depth.order) == (name, channel, order):
            return depth
    return None


class WindowSetup(Protocol):
    """What the check reads of a setup."""

    @property
    def channel(self) -> str:
        """Channel it is for."""

    @property
    def orders(self) -> tuple[int, ...]:
        """Orders it is for."""

    @property
    def gases(self) -> tuple[str, ...]:
        """Gases fitted."""

    @property
    def interferents_absent(self) -> tuple[str, ...]:
        """Absorbers known and left out."""


def check_setup(setup: WindowSetup, path: Path | None = None) -> None:
    """Refuse a setup that says nothing of a known interferent in one of its orders.

    Parameters
    ----------
    setup : WindowSetup
    path : path, optional
        Its file, for the message.

    Raises
    ------
    SetupError
        As `check_interferents`.
    """
    for order in setup.orders:
        check_interferents(setup, order, path)


def check_interferents(
    setup: WindowSetup, order: int, path: Path | None = None
) -> None:
    """Refuse a setup that says nothing of a known interferent of its gases.

    Parameters
    ----------
    setup : WindowSetup
    order : int
        Of the product.
    path : path, optional
        The setup's file, for the message.

    Raises
    ------
    SetupError
        Names the interferent: fit it, or name it in ``interferents_absent``.
    """
    known = set(setup.gases) | {name.lower() for name in setup.interferents_absent}
    if "co2" in setup.gases:  # where the list lacks the band, the table says so
        known.add("co2 magnetic dipole band")
    for window in gas_windows():
        here = window.channel == setup.channel and order in window.orders
        if not here or window.gas not in setup.gases:
            continue
        for name in window.interferents:
            if name not in known:
                depth = depth_of(name, setup.channel, order)
                height = f"{HEIGHTS_KM[0]:g} km"
                size = f" ({depth.percent[0]:g} % at {height})" if depth else ""
                message = (
                    f"{name!r} absorbs in the {window.gas} window of order {order}"
                    f"{size}: fit it, or name it in interferents_absent"
                )
                raise SetupError(
                    message,
                    path=path,
                    field="interferents_absent",
                    value=list(setup.interferents_absent),
                    rule="setup.interferent",
                )
