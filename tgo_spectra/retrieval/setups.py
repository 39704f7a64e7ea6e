"""Setups by name or file, and which of them fits a product."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import msgspec

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.kinds import KINDS, UNSTATED, kind_of_setup, named
from tgo_spectra.retrieval.setup_files import merged, read_setup_file, shipped_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.retrieval.kinds import Kind, Setup

__all__ = [
    "changed",
    "check_fit",
    "default_setup",
    "fits",
    "list_setups",
    "load_setup",
    "misfit",
    "observation_of",
    "orders_of",
    "shipped",
]


def list_setups() -> list[str]:
    """Return the names of the shipped setups of all kinds.

    Examples
    --------
    >>> "so_136" in list_setups(), "lno_189_190_co" in list_setups()
    (True, True)
    """
    return shipped_names()


def load_setup(path_or_name: str | Path) -> Setup:
    """Read a setup of any kind: a shipped one by name, or a TOML file.

    Parameters
    ----------
    path_or_name : str or path
        A name that `list_setups` returns, or the path of a ``.toml`` file. The key
        ``kind`` at the top of the file says what kind of retrieval it is for; a file
        without it is read as ``"profile"``.

    Returns
    -------
    setup
        A struct of its kind, such as `RetrievalSetup`; the kinds stand in
        `tgo_spectra.retrieval.kinds.KINDS`.

    Raises
    ------
    SetupError
        No such setup (``setup.missing``); not TOML (``setup.not_toml``); unknown kind
        (``setup.kind``); unknown key, wrong type or value, with its place in the file
        (``setup.invalid``, ``setup.inconsistent``); a known interferent neither fitted
        nor named as absent (``setup.interferent``).

    Examples
    --------
    >>> load_setup("so_190").gases
    ('co',)
    >>> type(load_setup("uvis_o3")).__name__
    'UvisSetup'
    """
    return _parse(*read_setup_file(path_or_name))


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
    best: dict[str, list[Setup]] = {}
    for row, setup in shipped(channel):
        right = observation in {None, row.observation}
        if right and (order in setup.orders if setup.orders else True):
            best.setdefault(row.name, []).append(setup)
    for found in best.values():  # in the order of the kinds
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


def _parse(raw: dict[str, object], path: Path) -> Setup:
    stated = raw.pop("kind", None)
    row = named(UNSTATED if stated is None else stated, path)
    try:
        return row.parse(raw, path)
    except SetupError as error:
        if stated is not None or not _about_keys(error):
            raise
        raise SetupError(
            f"{error.message}; the file states no kind: read as {row.name!r}",
            path=path,
            field=error.field,
            value=error.value,
            rule=error.rule,
        ) from error


def _about_keys(error: SetupError) -> bool:
    """Tell whether a key is unknown or missing, as in a file of another kind."""
    words = ("unknown field", "missing required field")
    return any(word in error.message for word in words)


def shipped(channel: str | None = None) -> Iterator[tuple[Kind, Setup]]:
    """Give the shipped setups, by kind and name.

    Parameters
    ----------
    channel : str, optional
        In small letters; default: all.

    Yields
    ------
    kind : Kind
    setup : Setup

    Examples
    --------
    >>> [setup.name for _, setup in shipped("lno")]
    ['lno_167_169_h2o', 'lno_189_190_co']
    """
    for row in KINDS:
        if channel is None or channel in row.channels:
            for setup in _shipped():
                if isinstance(setup, row.setup) and channel in {None, setup.channel}:
                    yield row, setup


@functools.cache
def _shipped() -> tuple[Setup, ...]:
    """Read the shipped setups, once in a process."""
    return tuple(load_setup(name) for name in shipped_names())


def changed(setup: Setup, changes: Mapping[str, object]) -> Setup:
    """Return a copy with some keys changed, as deep in sections as they are given.

    Parameters
    ----------
    setup : Setup
    changes : mapping
        Nested as a file would be; sections keep their other keys.

    Returns
    -------
    Setup

    Raises
    ------
    SetupError
        As `load_setup`.

    Examples
    --------
    >>> new = changed(load_setup("so_134"), {"window": {"top_km": 90.0}})
    >>> new.window.top_km, new.window.noise_ratio
    (90.0, 2.5)
    """
    return setup.replace(**merged(msgspec.to_builtins(setup), changes))


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


def check_fit(setup: Setup, row: Kind, level1: xr.Dataset) -> None:
    """Refuse a product that a setup is not for.

    Parameters
    ----------
    setup : Setup
    row : Kind
        Its kind.
    level1 : Dataset

    Raises
    ------
    SetupError
        ``setup.wrong_channel``, ``setup.wrong_observation``, ``setup.wrong_order``.
    """
    error = misfit(setup, row, level1)
    if error is not None:
        raise error


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
    row = kind_of_setup(setup)
    return row is not None and misfit(setup, row, level1) is None


def misfit(setup: Setup, row: Kind, level1: xr.Dataset) -> SetupError | None:
    """Return why a product is not one that a setup is for, or None.

    Parameters
    ----------
    setup : Setup
    row : Kind
        Its kind.
    level1 : Dataset

    Returns
    -------
    SetupError or None
        As `check_fit` raises it.
    """
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
