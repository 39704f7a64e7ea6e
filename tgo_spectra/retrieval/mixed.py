"""Setups for a mixed folder: several at once, each product takes the one that fits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.kinds import kind_of_setup
from tgo_spectra.retrieval.setups import (
    default_setup,
    fits,
    load_setup,
    misfit,
    observation_of,
    orders_of,
)

if TYPE_CHECKING:
    import xarray as xr

    from tgo_spectra.retrieval.kinds import Setup

__all__ = ["load_setups", "setup_for"]


def load_setups(
    given: Setup | str | Path | Iterable[Setup | str | Path] | None,
) -> tuple[Setup, ...]:
    """Read setups and see to it that no product is for two of them.

    Parameters
    ----------
    given : setup, str, path, iterable of these, or None
        Setups of any kind, names of shipped ones, or files.

    Returns
    -------
    tuple of Setup
        Empty for None.

    Raises
    ------
    SetupError
        Something else than a setup (``setup.type``), one that cannot be read, or two
        for the same channel, observation and order (``setup.overlap``).

    Examples
    --------
    >>> [setup.channel for setup in load_setups(["so_134", "uvis_o3"])]
    ['so', 'uvis']
    """
    if given is None:
        return ()
    one = isinstance(given, str | Path) or not isinstance(given, Iterable)
    items: Iterable[object] = [given] if one else cast("Iterable[object]", given)
    setups = tuple(_load(item) for item in items)
    for first, second in itertools.combinations(setups, 2):
        common = _common(first, second)
        if common is not None:
            message = (
                f"the setups {first.name!r} and {second.name!r} are both for {common}: "
                "run them one after the other, into two folders"
            )
            raise SetupError(message, field="setup", rule="setup.overlap")
    return setups


def setup_for(setups: tuple[Setup, ...], level1: xr.Dataset) -> Setup:
    """Return the one of some setups that fits a product.

    Parameters
    ----------
    setups : tuple of Setup
        As from `load_setups`, at least one.
    level1 : Dataset

    Returns
    -------
    Setup

    Raises
    ------
    SetupError
        ``setup.overlap``: the product has rows of several orders, and two setups fit.
        ``setup.wrong_channel``, ``setup.wrong_observation`` or ``setup.wrong_order``:
        none fits; what the nearest one does not fit by. A shipped setup is named, not
        taken: who gives setups has chosen.

    Examples
    --------
    >>> import xarray as xr
    >>> product = xr.Dataset(
    ...     {"transmittance": ("spectrum", [1.0])}, {"order": 136}, {"channel": "SO"})
    >>> setup_for(load_setups(["so_134", "so_136", "uvis_o3"]), product).name
    'so_136'
    """
    found = [setup for setup in setups if fits(setup, level1)]
    if len(found) > 1:
        names = ", ".join(setup.name for setup in found)
        message = f"rows differ in order, so that several setups fit: {names}"
        raise SetupError(
            message,
            path=level1.attrs.get("source_file"),
            field="order",
            rule="setup.overlap",
        )
    if not found:
        raise _none_fits(setups, level1)
    return found[0]


def _none_fits(setups: tuple[Setup, ...], level1: xr.Dataset) -> SetupError:
    """Say what was given, what the product is, and which shipped setup is for it."""
    rules = ["setup.wrong_channel", "setup.wrong_observation", "setup.wrong_order"]
    problems = [
        problem
        for setup in setups
        if (row := kind_of_setup(setup)) is not None
        and (problem := misfit(setup, row, level1)) is not None
    ]
    nearest = max(problems, key=lambda problem: rules.index(str(problem.rule)))
    channel = str(level1.attrs.get("channel", "")).lower()
    observation, orders = observation_of(level1), orders_of(level1)
    of = f" of order {', '.join(map(str, orders))}" if orders else ""
    try:
        one = orders[0] if orders else None
        shipped = default_setup(channel, one, observation).name
        other = f"the shipped setup {shipped!r} would fit: add it"
    except SetupError:
        other = "no shipped setup would fit either"
    names = ", ".join(repr(setup.name) for setup in setups)
    message = (
        f"none of the setups given ({names}) is for this product, {channel!r} "
        f"{observation}{of}; {other}"
    )
    return SetupError(
        message,
        path=nearest.path,
        field=nearest.field,
        value=nearest.value,
        rule=nearest.rule,
    )


def _load(item: object) -> Setup:
    if kind_of_setup(item) is not None:
        return cast("Setup", item)
    if not isinstance(item, str | Path):
        message = "a setup is one of a known kind, the name of one, or a file"
        raise SetupError(message, value=item, rule="setup.type")
    return load_setup(item)


def _common(first: Setup, second: Setup) -> str | None:
    """Tell what products two setups are both for, or None."""
    kinds = [kind_of_setup(setup) for setup in (first, second)]
    observations = {row.observation for row in kinds if row is not None}
    if first.channel != second.channel or len(observations) > 1:
        return None
    orders = [set(setup.orders) for setup in (first, second)]
    about = f"{first.channel} {observations.pop()}"
    if all(orders):
        both = sorted(orders[0] & orders[1])
        return f"{about}, orders {both}" if both else None
    return about
