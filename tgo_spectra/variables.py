"""Names, units and dimensions of every variable this package writes.

The one home of the contract between the stages: level 1 (spectra of one product),
level 2 (a retrieval) and level 3 (maps). What is said of a variable stands in
``variables.toml`` and nowhere else. `annotate` sets the attributes, `validate` checks a
Dataset.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import xarray as xr

__all__ = [
    "CATALOGUE",
    "FORMULAE",
    "GASES",
    "GATHERED",
    "MAP_AXES",
    "Variable",
    "annotate",
    "catalogue",
    "content_type",
    "dataset",
    "error_sources",
    "gas_of",
    "is_coordinate",
    "lookup",
    "validate",
    "without_fill",
]

CATALOGUE = Path(__file__).parent / "variables.toml"
"""The file that says what every variable is."""

Dims = tuple[str, ...]
"""Names of dimensions."""

FORMULAE: dict[str, str] = {
    "ch4": "CH4",
    "h2o": "H2O",
    "hdo": "HDO",
    "co": "CO",
    "co2": "CO2",
    "hcl": "HCl",
    "hf": "HF",
    "o3": "O3",
    "c2h4": "C2H4",
    "c2h6": "C2H6",
    "n2o": "N2O",
    "h2co": "H2CO",
    "ph3": "PH3",
    "h2s": "H2S",
    "ocs": "OCS",
    "h2o2": "H2O2",
    "ho2": "HO2",
    "no2": "NO2",
    "ch4_13": "13CH4",
    "co2_636": "16O13C16O",
    "co2_628": "16O12C18O",
    "co2_627": "16O12C17O",
}
"""Chemical formulae by gas key."""

GASES: tuple[str, ...] = tuple(FORMULAE)
"""Gas keys, as in variable names; ``hdo`` and single isotopologues are gases of their
own."""

_SPECIES: dict[str, str] = {
    "ch4": "methane",
    "h2o": "water_vapor",
    "co": "carbon_monoxide",
    "o3": "ozone",
    "hcl": "hydrogen_chloride",
    "co2": "carbon_dioxide",
}
"""Gases in standard names of CF table version 93 (2026-03-17); others have none."""

MAP_AXES: tuple[str, ...] = (
    "mars_year",
    "solar_longitude",
    "local_time_class",
    "altitude",
    "pressure",
    "latitude",
    "longitude",
)
"""Dimensions a map may have, in their order (CF: others, T, Z, Y, X)."""

GATHERED = "cell"
"""Dimension of a map of those cells only that hold something."""

_ANY_AXES: Dims = ("...",)
"""In the catalogue: any axes of a map, in their order."""


@dataclass(frozen=True)
class Variable:
    """What a variable of this name is.

    Attributes
    ----------
    units : str
        UDUNITS text; ``"1"`` for plain numbers, empty for times and text.
    long_name : str
        For people and axis labels.
    standard_name : str or None
        CF standard name, where there is one.
    comment : str or None
        What the two names cannot say.
    forms : dict of int to tuple of dims
        Dimensions accepted at each level (1, 2, 3), the usual ones first.
    coordinate : bool
        Whether it is a coordinate wherever it stands in level 2.
    further : dict of str to str or array
        Other attributes that CF asks for.
    """

    units: str
    long_name: str
    standard_name: str | None
    comment: str | None
    forms: Mapping[int, tuple[Dims, ...]]
    coordinate: bool
    further: Mapping[str, Any]

    @property
    def dims(self) -> Dims:
        """Usual dimensions, at the lowest level that has the variable."""
        first = self.forms[min(self.forms)][0]
        return () if first == _ANY_AXES else first

    def attributes(self) -> dict[str, Any]:
        """Return the netCDF attributes."""
        found = {
            "units": self.units,
            "long_name": self.long_name,
            "standard_name": self.standard_name,
            "comment": self.comment,
        }
        return {key: text for key, text in found.items() if text} | dict(self.further)


@lru_cache(maxsize=1)
def _catalogue_file() -> dict[str, Any]:
    return tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))


def error_sources() -> tuple[str, ...]:
    """Return the names of the sources of systematic error."""
    return tuple(_catalogue_file()["sources"])


@lru_cache(maxsize=4096)
def content_type(name: str) -> str:
    """Say what a variable that is no coordinate holds, in the words of ISO 19115-1.

    >>> [content_type(f"ch4_{x}") for x in ("mean", "upper_limit", "sum_x")]
    ['physicalMeasurement', 'qualityInformation', 'auxiliaryInformation']
    """
    kinds = _catalogue_file()["contents"].items()
    return str(next(kind for kind, pattern in kinds if re.search(pattern, name)))


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict[str, Any]]:
    """Entries of the file by name, written out but for ``<gas>``."""
    raw = _catalogue_file()
    rows = {
        "<source>": {name: {"source": text} for name, text in raw["sources"].items()},
        "<quantity>": raw["quantities"],
        "<field>": raw["fields"],
    }
    entries: dict[str, dict[str, Any]] = {}
    for pattern, entry in raw["variables"].items():
        marks = [mark for mark in rows if mark in pattern]
        for chosen in itertools.product(*(rows[mark] for mark in marks)):
            name, texts = pattern, dict[str, str]()
            for mark, one in zip(marks, chosen, strict=True):
                name = name.replace(mark, one)
                texts |= rows[mark][one]
            written, known = _written(entry, texts, "<standard>"), entries.get(name, {})
            # a name of level 2 says the same in a map: only dimensions are added
            if "<field>" in marks and known:
                written = known | {"dims": written["dims"]}
            entries[name] = _joined(known, written)
    return entries


def _joined(family: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Add what an entry says to what another says of the same name."""
    dims = family.get("dims", {}) | own.get("dims", {})
    return family | own | {"dims": dims}


def _written(entry: Any, texts: Mapping[str, str], needed: str) -> Any:
    """Replace ``<key>`` in all texts of an entry; drop those where `needed` is left."""
    if isinstance(entry, dict):
        items = {key: _written(value, texts, needed) for key, value in entry.items()}
        return {key: value for key, value in items.items() if value is not None}
    if not isinstance(entry, str) or "<" not in entry:
        return entry
    for key, text in texts.items():
        entry = entry.replace(f"<{key}>", text)
    return None if needed in entry else entry


def _forms(given: Mapping[str, str | list[str]]) -> dict[int, tuple[Dims, ...]]:
    return {
        int(level): tuple(
            tuple(form.split())
            for form in ([forms] if isinstance(forms, str) else forms)
        )
        for level, forms in given.items()
    }


@lru_cache(maxsize=4096)
def lookup(name: str) -> Variable | None:
    """Return what is known about a name, or None.

    >>> lookup("ch4_vmr").units, lookup("ch4_vmr").dims
    ('1', ('altitude',))
    >>> lookup("parallax") is None
    True
    """
    entries = _entries()
    entry: dict[str, Any] = {}
    of_gas = gas_of(name)
    if of_gas is not None:
        gas, quantity = of_gas
        texts = {"gas": gas, "formula": FORMULAE[gas]}
        if gas in _SPECIES:
            texts["species"] = _SPECIES[gas]
        entry = _written(entries.get(f"<gas>_{quantity}", {}), texts, "<species>")
    entry = _joined(entry, entries.get(name, {}))
    if not entry["dims"]:
        return None
    return Variable(
        units=entry["units"],
        long_name=entry["long_name"],
        standard_name=entry.get("standard_name"),
        comment=entry.get("comment"),
        forms=_forms(entry["dims"]),
        coordinate=entry.get("coordinate", False),
        further=entry.get("cf", {}) | _flags(entry),
    )


def _flags(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a variable whose bits stand in a table of their own."""
    if entry.get("flags") != "quality":
        return {}
    # with numpy, which setups are read without
    from tgo_spectra.quality import flag_attributes

    return flag_attributes()


def is_coordinate(name: str) -> bool:
    """Tell whether a variable of level 2 is a coordinate."""
    known = lookup(name)
    return known is not None and known.coordinate


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Variable]:
    """Return every known variable by name, all gases written out."""
    return {name: found for name in _names() if (found := lookup(name)) is not None}


def _names() -> Iterator[str]:
    for name in _entries():
        if name.startswith("<gas>"):
            yield from (name.replace("<gas>", gas) for gas in GASES)
        else:
            yield name


@lru_cache(maxsize=1)
def _gas_pattern() -> re.Pattern[str]:
    ordered = sorted(GASES, key=len, reverse=True)
    return re.compile(rf"({'|'.join(ordered)})_(.+)")


def gas_of(name: str) -> tuple[str, str] | None:
    """Split a per-gas name into gas and quantity; None if it is not one.

    >>> gas_of("h2o2_vmr_error")
    ('h2o2', 'vmr_error')
    """
    match = _gas_pattern().fullmatch(name)
    return (match[1], match[2]) if match else None


def annotate(ds: xr.Dataset) -> xr.Dataset:
    """Return a shallow copy with units, names and comments on all known variables.

    Attributes that the catalogue does not set are kept; times get no ``units``, as
    xarray writes those itself.

    >>> import xarray as xr
    >>> ds = annotate(xr.Dataset({"temperature": ("altitude", [200.0])}))
    >>> ds["temperature"].attrs["units"]
    'K'
    """
    result = ds.copy(deep=False)
    for name, variable in result.variables.items():
        variable.attrs.update(attributes_of(str(name), variable.dtype))
    return result


def attributes_of(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return what the catalogue says of a variable; empty if it does not know it.

    Times get no ``units``, as xarray writes those itself.
    """
    known = lookup(name)
    if known is None:
        return {}
    attributes = known.attributes()
    if dtype.kind in "mM":
        for key in ("units", "units_metadata"):
            attributes.pop(key, None)
    return attributes


def dataset(values: Mapping[str, object], record: Mapping[str, object]) -> xr.Dataset:
    """Make level 2 from values by name, and the catalogue.

    A value is an array, whose dimensions are then the catalogue's, or a labelled array;
    or a pair of such a one and attributes that the catalogue cannot know.
    Coordinates are what the catalogue calls so, and all that gives a dimension its
    values. TgoError ``variables.unknown``: it does not know a name at level 2.

    >>> ds = dataset({"altitude": [0.0, 1.0], "ch4_vmr": [1e-10, 2e-10],
    ...               "pressure": [600.0, 550.0]}, {})
    >>> ds.ch4_vmr.dims, ds.ch4_vmr.long_name, sorted(ds.coords)
    (('altitude',), 'mole fraction of CH4', ['altitude', 'pressure'])
    """
    import xarray as xr

    variables = {name: _variable(name, value) for name, value in values.items()}
    coords = {n: variables.pop(n) for n in list(variables) if is_coordinate(n)}
    return without_fill(xr.Dataset(variables, coords, dict(record)))


def without_fill(ds: xr.Dataset) -> xr.Dataset:
    """Say of coordinates and bounds, in place, that files need no fill value for them.

    xarray gives all numbers one when it writes them, which CF forbids for these.
    """
    bounds = {variable.attrs.get("bounds") for variable in ds.variables.values()}
    for name, variable in ds.variables.items():
        if (name in ds.coords or name in bounds) and variable.dtype.kind == "f":
            variable.encoding["_FillValue"] = None
    return ds


def _variable(name: str, value: Any) -> xr.Variable:
    """Give a variable the dimensions and attributes of the catalogue."""
    import numpy as np
    import xarray as xr

    known = lookup(name)
    if known is None or 2 not in known.forms:
        message = (
            "no variable of level 2: the catalogue variables.toml does not know it"
        )
        raise TgoError(message, field=name, rule="variables.unknown")
    value, notes = value if isinstance(value, tuple) else (value, {})
    if isinstance(value, xr.DataArray | xr.Variable):
        found = xr.Variable(value.dims, value.data, value.attrs)
    else:
        data = np.asarray(value)
        forms = [form for form in known.forms[2] if len(form) == data.ndim]
        found = xr.Variable(forms[0] if forms else known.forms[2][0], data)
    found.attrs = attributes_of(name, found.dtype) | found.attrs | dict(notes)
    return found


def _fits(dims: Dims, level: int, variable: Variable) -> bool:
    forms = variable.forms.get(level, ())
    if dims in forms:
        return True
    if _ANY_AXES in forms:
        if dims == (GATHERED,):
            return True
        places = [MAP_AXES.index(d) if d in MAP_AXES else -1 for d in dims]
        return -1 not in places and places == sorted(set(places))
    return False


def validate(ds: xr.Dataset, level: int) -> None:
    """Check names, dimensions and units of a Dataset of level 1, 2 or 3.

    What the catalogue does not know, or not at this level, is not checked. TgoError
    (``variables.missing``, ``.dims``, ``.units``) names the variable, what it has and
    what it must have.

    >>> import xarray as xr
    >>> ds = xr.Dataset({"ch4_vmr": ("pixel", [0.0])}, {"altitude": [1.0]})
    >>> validate(ds, level=2)
    Traceback (most recent call last):
    ...
    tgo_spectra.errors.TgoError: has dimensions ('pixel',), ...
    """
    if level not in (1, 2, 3):
        msg = "level must be 1, 2 or 3"
        raise TgoError(msg, value=level, rule="variables.level")
    _require(ds, level)
    for key, variable in ds.variables.items():
        name = str(key)
        known = lookup(name)
        if known is None or level not in known.forms:
            continue
        dims = tuple(str(d) for d in variable.dims)
        if not _fits(dims, level, known):
            wanted = " or ".join(str(form) for form in known.forms[level])
            msg = f"has dimensions {dims}, must have {wanted}"
            raise TgoError(
                msg,
                field=name,
                value=dims,
                rule="variables.dims",
            )
        units = variable.attrs.get("units", known.units)
        if units != known.units and variable.dtype.kind not in "mM":
            msg = f"has units {units!r}, must have {known.units!r}"
            raise TgoError(
                msg,
                field=name,
                value=units,
                rule="variables.units",
            )


_SIGNALS = ("transmittance", "reflectance_factor", "radiance")
_RESULTS = frozenset({"vmr", "slant_column", "column"})
_RATIO = "deuterium_ratio_"  # of two gases, mapped like one
_FIELDS = ("", "layer_", "column_", "column_normalised_")
_OTHER_THAN_MAPS = ("_pairs", "_stacked_count", "_smoothed_mean", "_kriged_mean")
"""Ends of names in a level 3 that is no map with sums: comparisons and the like."""


def _require(ds: xr.Dataset, level: int) -> None:
    def missing(what: str) -> TgoError:
        return TgoError(
            f"level-{level} dataset lacks {what}", field=what, rule="variables.missing"
        )

    names = {str(name) for name in ds.variables}
    if level == 1:
        if names.isdisjoint(_SIGNALS):
            raise missing(" or ".join(_SIGNALS))
        if names.isdisjoint(("wavenumber", "wavelength")):
            msg = "wavenumber or wavelength"
            raise missing(msg)
        return
    parts = {found[1] for found in map(gas_of, names) if found}
    if level == 2 and parts.isdisjoint(_RESULTS):
        msg = "<gas>_vmr, <gas>_slant_column or <gas>_column"
        raise missing(msg)
    parts |= {name.removeprefix(_RATIO) for name in names if name.startswith(_RATIO)}
    others = any(name.endswith(_OTHER_THAN_MAPS) for name in names)
    if (
        level == 3
        and not others
        and not any({f"{field}count", f"{field}sum_w"} <= parts for field in _FIELDS)
    ):
        msg = "<gas>_count and <gas>_sum_w, or those of a column"
        raise missing(msg)
