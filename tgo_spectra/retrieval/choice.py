"""Which setup a product takes: the shipped one for it, or one of those given."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tgo_spectra.errors import RetrievalError, SetupError, TableError
from tgo_spectra.retrieval.registry import KINDS, kind_of_setup
from tgo_spectra.retrieval.setup import TableSetup
from tgo_spectra.retrieval.setups import list_setups, load_setup, shipped, shipped_of

if TYPE_CHECKING:
    import xarray as xr

    from tgo_spectra.retrieval.registry import Kind
    from tgo_spectra.retrieval.setup import Setup

__all__ = [
    "CHANNELS",
    "chosen_for",
    "default_setup",
    "fits",
    "load_setups",
    "misfit",
    "observation_of",
    "orders_of",
    "require_table",
    "setup_for",
    "table_state",
]

CHANNELS = ("so", "lno")
"""Those whose orders tell the window of a table."""


def chosen_for(
    level1: xr.Dataset, setup: Setup | str | Path | None
) -> tuple[Setup, Kind]:
    """Return the setup for a product and its kind, once they are known to fit it.

    Parameters
    ----------
    level1 : Dataset
    setup : setup, str, path or None
        As `tgo_spectra.retrieve` takes it; None: the default for the product.

    Returns
    -------
    setup : Setup
    kind : Kind

    Raises
    ------
    SetupError
        ``setup.type``: something else than a setup; ``setup.none_for_order``; or as
        `load_setup` and `misfit`.
    RetrievalError
        ``level1.many_orders``: no setup is given, and the rows differ in order.
    """
    chosen, row = _loaded(_default_for(level1) if setup is None else setup)
    error = misfit(chosen, level1)
    if error is not None:
        raise error
    return chosen, row


def _default_for(level1: xr.Dataset) -> Setup:
    orders = orders_of(level1)
    if len(orders) > 1:
        message = "rows differ in order: give a setup and select one order"
        raise RetrievalError(message, field="order", rule="level1.many_orders")
    channel = str(level1.attrs.get("channel", "")).lower()
    return default_setup(channel, orders[0] if orders else None, observation_of(level1))


def default_setup(
    channel: str, order: int | None = None, observation: str | None = None
) -> Setup:
    """Return the shipped setup for a channel, diffraction order and observation.

    Of several, one of the first kind that has any; of these the one for the fewest
    orders, then with the fewest gases; the others are to be named.

    Parameters
    ----------
    channel : str
        In small letters.
    order : int, optional
        Where the channel has orders.
    observation : {"occultation", "nadir"}, optional
        Default: whatever the channel has setups for.

    Returns
    -------
    Setup
        Of the kind that serves them.

    Raises
    ------
    SetupError
        No shipped setup covers them; the message lists those there are.

    Examples
    --------
    >>> default_setup("lno", 190, "nadir").name
    'lno_189_190_co'
    >>> default_setup("uvis").name
    'uvis_o3'
    """
    for row in KINDS:
        if row.channel != channel or observation not in {None, row.observation}:
            continue
        found = [s for s in shipped_of(row) if order in (s.orders or (order,))]
        if found:
            return min(found, key=lambda s: (len(s.orders), len(s.gases), s.name))
    have = "; ".join(
        f"{s.channel} {row.observation} {list(s.orders) or ''}".rstrip()
        for row, s in shipped()
    )
    message = (
        f"no shipped setup for channel {channel!r}, {observation or 'any product'}, "
        f"order {order}; there are {have}"
    )
    field, value = ("channel", channel) if order is None else ("order", order)
    raise SetupError(message, field=field, value=value, rule="setup.none_for_order")


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
    setups = tuple(_loaded(item)[0] for item in items)
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
        problem for setup in setups if (problem := misfit(setup, level1)) is not None
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


def _loaded(given: object) -> tuple[Setup, Kind]:
    """Return a setup, read if it is named, and its kind."""
    setup = load_setup(given) if isinstance(given, str | Path) else given
    row = kind_of_setup(setup)
    if row is None:
        known = ", ".join(kind.setup().__name__ for kind in KINDS)
        message = f"a setup is one of {known}, the name of one, or a file"
        raise SetupError(message, field="setup", value=given, rule="setup.type")
    return cast("Setup", setup), row


def _common(first: Setup, second: Setup) -> str | None:
    """Tell what products two setups are both for, or None."""
    observations = {_loaded(setup)[1].observation for setup in (first, second)}
    if first.channel != second.channel or len(observations) > 1:
        return None
    orders = [set(setup.orders) for setup in (first, second)]
    about = f"{first.channel} {observations.pop()}"
    if all(orders):
        both = sorted(orders[0] & orders[1])
        return f"{about}, orders {both}" if both else None
    return about


def observation_of(level1: xr.Dataset) -> str:
    """Tell what a product observes: "occultation" or "nadir".

    Examples
    --------
    >>> import xarray as xr
    >>> observation_of(xr.Dataset({"transmittance": ("spectrum", [1.0])}))
    'occultation'
    """
    return "occultation" if "transmittance" in level1 else "nadir"


def orders_of(level1: xr.Dataset) -> tuple[int, ...]:
    """Return the diffraction orders of a product, each once.

    Examples
    --------
    >>> import xarray as xr
    >>> orders_of(xr.Dataset({"order": ("spectrum", [134, 134, 136])}))
    (134, 136)
    """
    if "order" not in level1.variables:
        return ()
    values = level1["order"].values
    return tuple(sorted({int(value) for value in values.ravel()}))


def fits(setup: Setup, level1: xr.Dataset) -> bool:
    """Tell whether a setup is for a product.

    Examples
    --------
    >>> import xarray as xr
    >>> product = xr.Dataset(
    ...     {"transmittance": ("spectrum", [1.0])}, {"order": 134}, {"channel": "SO"})
    >>> fits(load_setup("so_134"), product), fits(load_setup("so_136"), product)
    (True, False)
    """
    return misfit(setup, level1) is None


def misfit(setup: Setup, level1: xr.Dataset) -> SetupError | None:
    """Return why a product is not one that a setup is for, or None.

    Parameters
    ----------
    setup : Setup
    level1 : Dataset

    Returns
    -------
    SetupError or None
        ``setup.wrong_channel``, ``setup.wrong_observation``, ``setup.wrong_order``.
    """
    row = _loaded(setup)[1]
    channel = str(level1.attrs.get("channel", "")).lower()
    observation, orders = observation_of(level1), orders_of(level1)
    one = orders[0] if len(orders) == 1 else None
    about = f"the setup {setup.name!r}, of kind {row.name!r}, is for"
    checks: tuple[tuple[bool, str, object, str], ...] = (
        (channel == setup.channel, "channel", channel,
         f"{about} the channel {setup.channel!r}"),
        (observation == row.observation, "observation", observation,
         f"{about} products of kind {row.observation}"),
        (one is None or not setup.orders or one in setup.orders, "order", one,
         f"{about} orders {setup.orders}"),
    )  # fmt: skip
    for good, field, value, message in checks:
        if not good:
            return SetupError(
                message,
                path=level1.attrs.get("source_file"),
                field="orders" if field == "order" else field,
                value=value,
                rule=f"setup.wrong_{field}",
            )
    return None


def require_table(setup: Setup) -> None:
    """Refuse a setup whose table is not there, and say what to run.

    Raises
    ------
    TableError
        ``table.not_built``.
    """
    from tgo_spectra.spectroscopy.tables.files import find_table, list_tables

    if isinstance(setup, TableSetup) and find_table(setup.table) is None:
        lists = "--fetch', or with --lines FOLDER in its place where your lists are"
        if setup.channel not in CHANNELS:
            lists = "...'"
        message = (
            f"the setup {setup.name!r} needs the table {setup.table!r}, which is "
            f"neither in the package nor prepared: run '{_command(setup)} {lists}; the "
            f"package has {', '.join(list_tables())}"
        )
        raise TableError(
            message, field="table", value=setup.table, rule="table.not_built"
        )


def table_state(setup: Setup) -> str:
    """Say where the table of a setup is, or what makes it.

    Parameters
    ----------
    setup : Setup

    Returns
    -------
    str
        ``-`` (it has none), ``in the package``, ``prepared``, the path of a file, or
        the command to run.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> table_state(load_setup("uvis_o3"))
    '-'
    """
    from tgo_spectra.spectroscopy.tables.files import (
        find_table,
        list_tables,
        prepared_path,
    )

    if not isinstance(setup, TableSetup):
        return "-"
    path = find_table(setup.table)
    if path is None:
        return f"run: {_command(setup)}"
    if path == prepared_path(setup.table):
        return "prepared"
    return "in the package" if setup.table in list_tables() else str(path)


def _command(setup: TableSetup) -> str:
    if setup.channel not in CHANNELS:
        return f"tgo-spectra tables build --out {setup.table}"
    name = setup.name if setup.name in list_setups() else f"{setup.name}.toml"
    return f"tgo-spectra prepare {name}"
