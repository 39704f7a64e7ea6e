"""Kinds of retrieval: one row each.

A setup file states its kind in the key ``kind`` at its top. The row of the kind says
which struct holds the rest, which function fits, and what product it is for. Struct and
model of a kind are imported when they are used: a product of one kind meets no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.setup import RetrievalSetup, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import xarray as xr

    Atmosphere = xr.Dataset | str | Path | None

__all__ = [
    "KINDS",
    "UNSTATED",
    "Kind",
    "beside",
    "files_of",
    "kind_of_setup",
    "level1_for",
    "limits_of",
    "named",
]

UNSTATED = "profile"
"""Kind of a file that states none: there was only this one once."""

# Limits of a product: a hundred times the processor time and five times the memory of
# a full one, compiling included. Simulated ones took: SO 17 s and 0.8 GB (491 rows),
# nadir 10 s and 0.4 GB (300 spectra), UVIS 2 s and 0.3 GB (104 rows, 1,024 pixels).
_TIMEOUT_S, _MEMORY_GB = 1800.0, 4.0

Dims = tuple[str, ...]
Needs = Mapping[str, Dims]
"""Variables of level 1 that a kind needs, with the dimensions that they must have."""

_SPECTRA, _CORNERS = ("spectrum", "pixel"), ("spectrum", "point", "edge")
_OPTICS: dict[str, Dims] = {
    "wavenumber": ("pixel",),
    "order": (),
    "aotf_frequency": (),
    "instrument_temperature": (),
}
_OCCULTATION: dict[str, Dims] = {
    "transmittance": _SPECTRA,
    "transmittance_error": _SPECTRA,
    "tangent_altitude": ("spectrum",),
}
_SO: dict[str, Dims] = {
    **_OCCULTATION,
    **_OPTICS,
    "tangent_altitude_areoid": _CORNERS,
    "bin": ("spectrum",),
}


@dataclass(frozen=True)
class Kind:
    """One kind of retrieval.

    Attributes
    ----------
    name : str
        Value of the key ``kind``.
    channel : str
        In small letters.
    observation : {"occultation", "nadir"}
        What kind of product it serves.
    setup : callable
        Gives the struct of its setups, whose `kind` is the name.
    retrieve : callable
        ``(level1, setup, atmosphere) -> level2``.
    methods : tuple of str
        Values that the setup's key ``method`` may take; empty: there is no such key.
    files : tuple of str
        Keys of the setup that name a file, or a shipped table, on whose contents the
        result depends.
    needs : mapping
        Variables that a fit needs, with their dimensions.
    open : callable, optional
        ``(path, **keys) -> level1`` for products of which `open_product` gives no
        spectra; the keys are those of the setup's section `open_keys`.
    open_keys : str, optional
    beside : callable, optional
        ``path -> paths`` of the other products that `open` reads.
    timeout_s : float
        Longest time of one product of a run, s, unless the run is told another one.
    memory_gb : float
        Most memory of a process that fits them, GB (1e9 bytes), likewise.
    """

    name: str
    channel: str
    observation: str
    setup: Callable[[], type[Setup]]
    retrieve: Callable[[xr.Dataset, Any, Atmosphere], xr.Dataset]
    methods: tuple[str, ...] = ()
    files: tuple[str, ...] = ("table",)
    needs: Needs = field(default_factory=lambda: _OCCULTATION)
    open: Callable[..., xr.Dataset] | None = None
    open_keys: str = ""
    beside: Callable[[Path], tuple[Path, ...]] | None = None
    timeout_s: float = _TIMEOUT_S
    memory_gb: float = _MEMORY_GB


def _profile_setup() -> type[Setup]:
    return RetrievalSetup


def _profile(level1: xr.Dataset, setup: Any, atmosphere: Atmosphere) -> xr.Dataset:
    from tgo_spectra.retrieval.models.so.profile import retrieve_profile

    return retrieve_profile(level1, setup, atmosphere)


def _ozone_setup() -> type[Setup]:
    from tgo_spectra.retrieval.models.uvis.setup import UvisSetup

    return UvisSetup


def _ozone(level1: xr.Dataset, setup: Any, atmosphere: Atmosphere) -> xr.Dataset:
    from tgo_spectra.retrieval.models.uvis.ozone import retrieve_ozone

    return retrieve_ozone(level1, setup, atmosphere)


def _nadir_setup() -> type[Setup]:
    from tgo_spectra.retrieval.models.lno.setup import NadirSetup

    return NadirSetup


def _nadir(level1: xr.Dataset, setup: Any, atmosphere: Atmosphere) -> xr.Dataset:
    from tgo_spectra.retrieval.models.lno.columns import retrieve_nadir

    return retrieve_nadir(level1, setup, atmosphere)


def _mir_setup() -> type[Setup]:
    from tgo_spectra.retrieval.models.mir.setup import MirSetup

    return MirSetup


def _mir(level1: xr.Dataset, setup: Any, atmosphere: Atmosphere) -> xr.Dataset:
    from tgo_spectra.retrieval.models.mir.profiles import retrieve_mir

    return retrieve_mir(level1, setup, atmosphere)


def _temperature_setup() -> type[Setup]:
    from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup

    return TemperatureSetup


def _temperature(level1: xr.Dataset, setup: Any, atmosphere: Atmosphere) -> xr.Dataset:
    from tgo_spectra.retrieval.models.so.temperature.retrieval import (
        retrieve_temperature,
    )

    return retrieve_temperature(level1, setup, atmosphere)


def _mir_spectra(path: Path, **keys: Any) -> xr.Dataset:
    from tgo_spectra.readers.acs_stripes import open_spectra

    return open_spectra(path, **keys)


def _mir_geometry(path: Path) -> tuple[Path, ...]:
    from tgo_spectra.readers.acs_stripes import geometry_files

    return tuple(geometry_files(path))


KINDS: list[Kind] = [
    Kind(
        name="profile",
        channel="so",
        observation="occultation",
        setup=_profile_setup,
        retrieve=_profile,
        methods=("oe", "tikhonov", "onion", "slant"),
        needs=_SO,
    ),
    Kind(
        name="ozone",
        channel="uvis",
        observation="occultation",
        setup=_ozone_setup,
        retrieve=_ozone,
        methods=("oe", "slant"),
        files=("cross_section",),
        timeout_s=600.0,
        memory_gb=2.0,
        needs=_OCCULTATION
        | {
            "wavelength": ("pixel",),
            "tangent_altitude_areoid": _CORNERS,
            "slant_path_distance": _CORNERS,
        },
    ),
    Kind(
        name="nadir",
        channel="lno",
        observation="nadir",
        setup=_nadir_setup,
        retrieve=_nadir,
        memory_gb=2.0,
        needs=_OPTICS
        | {
            "incidence_angle": _CORNERS,
            "emission_angle": _CORNERS,
            "surface_altitude_areoid": _CORNERS,
        },
    ),
    Kind(
        name="mir",
        channel="mir",
        observation="occultation",
        setup=_mir_setup,
        retrieve=_mir,
        needs=_OCCULTATION | {"wavenumber": _SPECTRA, "order": ("spectrum",)},
        open=_mir_spectra,
        open_keys="frames",
        beside=_mir_geometry,
    ),
    Kind(
        name="temperature",
        channel="so",
        observation="occultation",
        setup=_temperature_setup,
        retrieve=_temperature,
        needs=_SO,
    ),
]
"""All kinds: a further one is a row more. Where two serve a product, the first has the
default setup."""


def named(name: object, path: Path | None = None) -> Kind:
    """Return the kind of a name.

    Raises
    ------
    SetupError
        ``setup.kind``: there is none of that name.

    Examples
    --------
    >>> named("nadir").setup().__name__
    'NadirSetup'
    """
    for row in KINDS:
        if row.name == name:
            return row
    message = f"no such kind of retrieval; there are {', '.join(k.name for k in KINDS)}"
    raise SetupError(message, path=path, field="$.kind", value=name, rule="setup.kind")


def kind_of_setup(setup: object) -> Kind | None:
    """Return the kind of a setup, or None if it is none.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> kind_of_setup(load_setup("lno_189_190_co")).name
    'nadir'
    >>> kind_of_setup("so_134") is None
    True
    """
    if not isinstance(setup, Setup):
        return None
    return next((row for row in KINDS if row.name == setup.kind), None)


def files_of(setup: object) -> tuple[str, ...]:
    """Return the files, or names of shipped tables, that a setup's result depends on.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> files_of(load_setup("so_190"))
    ('so_186_191',)
    >>> files_of(load_setup("uvis_o3"))
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
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> beside(load_setup("so_190"), Path("a.xml"))
    ()
    """
    row = kind_of_setup(setup)
    if row is None or row.beside is None:
        return ()
    return row.beside(path)


def limits_of(setups: Iterable[object]) -> tuple[float, float]:
    """Return the limits of time (s) and memory (GB) that suit all of some setups.

    They are the largest of their kinds: which setup a product takes is known only when
    a process has opened it. Without setups they are those of all kinds.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> limits_of([load_setup("so_190")]) <= limits_of([])
    True
    """
    found = [row for one in setups if (row := kind_of_setup(one)) is not None]
    rows = found or KINDS
    return max(row.timeout_s for row in rows), max(row.memory_gb for row in rows)


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
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> level1_for(load_setup("so_190"), Path("a.xml")) is None
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
    return row.open(path, **msgspec.to_builtins(keys))
