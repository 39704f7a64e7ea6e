"""Kinds of retrieval: one table row each, imported when it is used.

A setup file states its kind in the key ``kind`` at its top. The row of the kind says
which module reads the rest, which function fits, and what product it is for. A file
without the key is read as `UNSTATED`; every shipped file states it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.setup_files import merged, read_setup_file, shipped_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import xarray as xr

__all__ = [
    "KINDS",
    "UNSTATED",
    "Kind",
    "Setup",
    "beside",
    "changed",
    "check_fit",
    "files_of",
    "fits",
    "function_of",
    "kind_of_setup",
    "level1_for",
    "load",
    "misfit",
    "named",
    "observation_of",
    "orders_of",
    "shipped",
]

UNSTATED = "profile"
"""Kind of a file that states none: there was only this one once."""


class Setup(Protocol):
    """What the setups of all kinds have in common."""

    @property
    def name(self) -> str:
        """Name, recorded in results."""

    @property
    def channel(self) -> str:
        """Channel it is for, in small letters."""

    @property
    def orders(self) -> tuple[int, ...]:
        """Diffraction orders it is for; empty where a channel has none."""

    @property
    def gases(self) -> tuple[str, ...]:
        """All gases fitted."""

    def hash(self) -> str:
        """SHA-256 of all choices."""

    def replace(self, **changes: object) -> Setup:
        """Return a copy with some top-level keys changed, checked again."""


@dataclass(frozen=True)
class Kind:
    """One kind of retrieval; modules and names within as ``module:name``.

    Attributes
    ----------
    name : str
        Value of the key ``kind``.
    channels : tuple of str
        Channels it serves, in small letters.
    observation : {"occultation", "nadir"}
        What kind of product it serves.
    setup : str
        Struct of its setups.
    parse : str
        Function ``(raw, path) -> setup`` that checks the values of a file; relative
        file names within are relative to `path`.
    retrieve : str
        Function ``(level1, setup, atmosphere) -> level2``.
    methods : tuple of str
        Values that the setup's key ``method`` may take; empty: there is no such key.
    files : tuple of str
        Keys of the setup that name a file, or a shipped table, on whose contents the
        result depends.
    open : str, optional
        Function ``(path, **keys) -> level1`` for products of which `open_product` gives
        no spectra; the keys are those of the setup's section `open_keys`.
    open_keys : str, optional
    beside : str, optional
        Function ``path -> paths`` of the other products that `open` reads.
    """

    name: str
    channels: tuple[str, ...]
    observation: str
    setup: str
    parse: str
    retrieve: str
    methods: tuple[str, ...] = ()
    files: tuple[str, ...] = ("table",)
    open: str | None = None
    open_keys: str = ""
    beside: str | None = None


_RETRIEVAL = "tgo_spectra.retrieval"

KINDS: tuple[Kind, ...] = (
    Kind(
        name="profile",
        channels=("so",),
        observation="occultation",
        setup=f"{_RETRIEVAL}.setup:RetrievalSetup",
        parse=f"{_RETRIEVAL}.setup:parse_setup",
        retrieve=f"{_RETRIEVAL}.profile:retrieve_profile",
        methods=("oe", "tikhonov", "weak", "onion", "slant"),
    ),
    Kind(
        name="ozone",
        channels=("uvis",),
        observation="occultation",
        setup=f"{_RETRIEVAL}.uvis.setup:UvisSetup",
        parse=f"{_RETRIEVAL}.uvis.setup:parse_setup",
        retrieve=f"{_RETRIEVAL}.uvis.ozone:retrieve_ozone",
        methods=("oe", "slant"),
        files=("cross_section",),
    ),
    Kind(
        name="nadir",
        channels=("lno",),
        observation="nadir",
        setup=f"{_RETRIEVAL}.nadir.setup:NadirSetup",
        parse=f"{_RETRIEVAL}.nadir.setup:parse_setup",
        retrieve=f"{_RETRIEVAL}.nadir.columns:retrieve_nadir",
    ),
    Kind(
        name="mir",
        channels=("mir",),
        observation="occultation",
        setup=f"{_RETRIEVAL}.mir.setup:MirSetup",
        parse=f"{_RETRIEVAL}.mir.setup:parse_setup",
        retrieve=f"{_RETRIEVAL}.mir.profiles:retrieve_mir",
        # by name: readers and retrievals do not import each other
        open="tgo_spectra.readers.acs_stripes:open_spectra",
        open_keys="frames",
        beside="tgo_spectra.readers.acs_stripes:geometry_files",
    ),
    Kind(
        name="temperature",
        channels=("so",),
        observation="occultation",
        setup=f"{_RETRIEVAL}.temperature.setup:TemperatureSetup",
        parse=f"{_RETRIEVAL}.temperature.setup:parse_setup",
        retrieve=f"{_RETRIEVAL}.temperature.retrieval:retrieve_temperature",
    ),
)
"""All kinds. Where two serve a product, the first has the default setup."""


def function_of(place: str) -> Callable[..., Any]:
    """Import what ``module:name`` says.

    Examples
    --------
    >>> function_of("tgo_spectra.mars:mars_year").__name__
    'mars_year'
    """
    module, _, name = place.partition(":")
    return cast("Callable[..., Any]", getattr(importlib.import_module(module), name))


def named(name: object, path: Path | None = None) -> Kind:
    """Return the kind of a name.

    Raises
    ------
    SetupError
        ``setup.kind``: there is none of that name.

    Examples
    --------
    >>> named("nadir").channels
    ('lno',)
    """
    for row in KINDS:
        if row.name == name:
            return row
    message = f"no such kind of retrieval; there are {', '.join(k.name for k in KINDS)}"
    raise SetupError(message, path=path, field="$.kind", value=name, rule="setup.kind")


def kind_of_setup(setup: object) -> Kind | None:
    """Return the kind of a setup, or None if it is none; imports nothing.

    Examples
    --------
    >>> kind_of_setup(load("lno_189_190_co")).name
    'nadir'
    >>> kind_of_setup("so_134") is None
    True
    """
    places = {f"{c.__module__}:{c.__qualname__}" for c in type(setup).__mro__}
    return next((row for row in KINDS if row.setup in places), None)


def files_of(setup: object) -> tuple[str, ...]:
    """Return the files, or names of shipped tables, that a setup's result depends on.

    Examples
    --------
    >>> files_of(load("so_190"))
    ('so_189_190',)
    >>> files_of(load("uvis_o3"))
    ()
    """
    row = kind_of_setup(setup)
    keys = () if row is None else row.files
    return tuple(str(v) for key in keys if (v := getattr(setup, key)) is not None)


def beside(setup: object, path: Path) -> tuple[Path, ...]:
    """Return the products beside one that are read with it, such as its geometry.

    Examples
    --------
    >>> from pathlib import Path
    >>> beside(load("so_190"), Path("a.xml"))
    ()
    """
    row = kind_of_setup(setup)
    if row is None or row.beside is None:
        return ()
    return tuple(function_of(row.beside)(path))


def level1_for(setup: object, path: Path) -> xr.Dataset | None:
    """Open a product as its kind needs it; None where `open_product` does.

    Parameters
    ----------
    setup : Setup
    path : Path

    Returns
    -------
    Dataset or None

    Raises
    ------
    SetupError
        ``setup.no_open_keys``: the setup lacks the section that says how.
    ProductError
        As the reader's.

    Examples
    --------
    >>> from pathlib import Path
    >>> level1_for(load("so_190"), Path("a.xml")) is None
    True
    """
    row = kind_of_setup(setup)
    if row is None or row.open is None:
        return None
    keys = getattr(setup, row.open_keys)
    if keys is None:
        message = (
            f"products of kind {row.name!r} are opened by the setup's section "
            f"[{row.open_keys}], which this one lacks"
        )
        raise SetupError(
            message, path=path, field=row.open_keys, value=getattr(setup, "name", None),
            rule="setup.no_open_keys",
        )  # fmt: skip
    found = function_of(row.open)(path, **msgspec.to_builtins(keys))
    return cast("xr.Dataset", found)


def load(path_or_name: str | Path, only: str | None = None) -> Setup:
    """Read a setup of any kind: a shipped one by name, or a TOML file.

    Parameters
    ----------
    path_or_name : str or path
        Name of a shipped setup, or path of a ``.toml`` file.
    only : str, optional
        Kind that it must have; taken for granted where the file states none.

    Returns
    -------
    Setup

    Raises
    ------
    SetupError
        No such setup (``setup.missing``); not TOML (``setup.not_toml``); unknown kind
        (``setup.kind``) or not the one wanted (``setup.wrong_kind``); unknown key,
        wrong type or value, with its place in the file (``setup.invalid``,
        ``setup.inconsistent``).

    Examples
    --------
    >>> load("uvis_o3").gases
    ('o3',)
    """
    raw, path = read_setup_file(path_or_name)
    return _parse(raw, path, only)


def _parse(raw: dict[str, object], path: Path, only: str | None = None) -> Setup:
    stated = raw.pop("kind", None)
    row = named(only or UNSTATED if stated is None else stated, path)
    if only is not None and row.name != only:
        message = f"the setup is of another kind than {only!r}"
        raise SetupError(
            message, path=path, field="$.kind", value=stated, rule="setup.wrong_kind"
        )
    try:
        return cast("Setup", function_of(row.parse)(raw, path))
    except SetupError as error:
        if stated is not None or not _about_keys(error):
            raise
        message = f"{error.message}; the file states no kind: read as {row.name!r}"
        raise SetupError(
            message, path=path, field=error.field, value=error.value, rule=error.rule
        ) from error


def _about_keys(error: SetupError) -> bool:
    """Tell whether a key is unknown or missing, as in a file of another kind."""
    words = ("unknown field", "missing required field")
    return any(word in error.message for word in words)


def shipped(channel: str | None = None) -> Iterator[tuple[Kind, Setup]]:
    """Give the shipped setups, by kind and name; only those for a channel are parsed.

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
    files = [read_setup_file(name) for name in shipped_names()]
    for row in KINDS:
        if channel is not None and channel not in row.channels:
            continue
        for raw, path in files:
            if raw.get("kind", UNSTATED) == row.name:
                setup = _parse(dict(raw), path)
                if channel is None or setup.channel == channel:
                    yield row, setup


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
        As `load`.

    Examples
    --------
    >>> new = changed(load("so_134"), {"window": {"top_km": 90.0}})
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
    >>> fits(load("so_134"), product), fits(load("so_136"), product)
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
