"""Interferents of a gas window: fitted, or named as absent; never forgotten."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from tgo_spectra.errors import SetupError

if TYPE_CHECKING:
    from tgo_spectra.retrieval.setup import RetrievalSetup

__all__ = ["GasWindow", "check_interferents", "gas_windows"]


class GasWindow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One gas in some orders of a channel, and what else absorbs there."""

    gas: str
    channel: str
    orders: tuple[int, ...]
    interferents: tuple[str, ...]
    source: str


class _Windows(Struct, frozen=True, forbid_unknown_fields=True):
    window: tuple[GasWindow, ...]


@functools.cache
def gas_windows() -> tuple[GasWindow, ...]:
    """Return all windows of the shipped list.

    Examples
    --------
    >>> sorted({window.gas for window in gas_windows()})
    ['ch4', 'co', 'h2o', 'hcl']
    """
    source = resources.files("tgo_spectra.retrieval") / "interferents.toml"
    raw = tomllib.loads(source.read_text(encoding="utf-8"))
    return msgspec.convert(raw, _Windows).window


def check_interferents(setup: RetrievalSetup, order: int) -> None:
    """Refuse a setup that says nothing of a known interferent of its gases.

    Parameters
    ----------
    setup : RetrievalSetup
    order : int
        Of the product.

    Raises
    ------
    SetupError
        Names the interferent: fit it, or name it in ``interferents_absent``.
    """
    known = set(setup.gases) | {name.lower() for name in setup.interferents_absent}
    for window in gas_windows():
        here = window.channel == setup.channel and order in window.orders
        if not here or window.gas not in setup.gases:
            continue
        for name in window.interferents:
            if name not in known:
                message = (
                    f"{name!r} absorbs in the {window.gas} window of order {order}: "
                    f"fit it, or name it in interferents_absent"
                )
                raise SetupError(
                    message,
                    field="interferents_absent",
                    value=list(setup.interferents_absent),
                    rule="setup.interferent",
                )
