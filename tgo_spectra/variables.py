"""Names, units and dimensions of every variable this package writes.

The one home of the contract between the stages: level 1 (spectra of one product),
level 2 (a retrieval) and level 3 (maps). `annotate` sets the attributes, `validate`
checks a Dataset.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tgo_spectra.catalogue import CATALOGUE
from tgo_spectra.errors import TgoError
from tgo_spectra.quantity import GASES, MAP_AXES, Dims, Variable

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

__all__ = [
    "CATALOGUE",
    "GASES",
    "MAP_AXES",
    "Variable",
    "annotate",
    "gas_of",
    "lookup",
    "validate",
]


def lookup(name: str) -> Variable | None:
    """Return what is known about a name, or None.

    Examples
    --------
    >>> lookup("ch4_vmr").units
    '1'
    >>> lookup("ch4_vmr").dims
    ('altitude',)
    """
    return CATALOGUE.get(name)


@lru_cache(maxsize=1)
def _gas_pattern() -> re.Pattern[str]:
    ordered = sorted(GASES, key=len, reverse=True)
    return re.compile(rf"({'|'.join(ordered)})_(.+)")


def gas_of(name: str) -> tuple[str, str] | None:
    """Split a per-gas name into gas and quantity; None if it is not one.

    Examples
    --------
    >>> gas_of("h2o2_vmr_error")
    ('h2o2', 'vmr_error')
    >>> gas_of("temperature") is None
    True
    """
    match = _gas_pattern().fullmatch(name)
    return (match[1], match[2]) if match else None


def annotate(ds: xr.Dataset) -> xr.Dataset:
    """Return a shallow copy with units, names and comments on all known variables.

    Attributes that the catalogue does not set are kept; times get no ``units``, as
    xarray writes those itself.

    Parameters
    ----------
    ds : Dataset
        Any level.

    Returns
    -------
    Dataset
        Same data.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = annotate(xr.Dataset({"temperature": ("altitude", [200.0])}))
    >>> ds["temperature"].attrs["units"]
    'K'
    """
    result = ds.copy(deep=False)
    for name, variable in result.variables.items():
        variable.attrs.update(attributes_of(str(name), variable.dtype))
    return result


def attributes_of(name: str, dtype: np.dtype[Any]) -> dict[str, str]:
    """Return what the catalogue says of a variable; empty if it does not know it.

    Parameters
    ----------
    name : str
        Of the variable.
    dtype : dtype
        Times get no ``units``, as xarray writes those itself.

    Returns
    -------
    dict

    Examples
    --------
    >>> import numpy as np
    >>> attributes_of("temperature", np.dtype(float))["units"]
    'K'
    """
    known = CATALOGUE.get(name)
    if known is None:
        return {}
    attributes = known.attributes()
    if dtype.kind in "mM":
        attributes.pop("units", None)
    return attributes


def _fits(dims: Dims, level: int, variable: Variable) -> bool:
    forms = variable.forms.get(level, ())
    if dims in forms:
        return True
    if level == 3 and forms == ((),):
        # a map: any of the axes, in their order
        places = [MAP_AXES.index(d) if d in MAP_AXES else -1 for d in dims]
        return -1 not in places and places == sorted(set(places))
    return False


def validate(ds: xr.Dataset, level: int) -> None:
    """Check names, dimensions and units of a Dataset.

    Variables that the catalogue does not know, or not at this level, are not
    checked.

    Parameters
    ----------
    ds : Dataset
        To be checked.
    level : {1, 2, 3}
        Which contract it must meet.

    Raises
    ------
    TgoError
        Naming the variable, what it has and what it must have. Rules:
        ``variables.missing``, ``variables.dims``, ``variables.units``.

    Examples
    --------
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
        known = CATALOGUE.get(name)
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
_FIELDS = ("", "column_", "column_normalised_")


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
    if level == 3 and not any(
        {f"{field}count", f"{field}sum_w"} <= parts for field in _FIELDS
    ):
        msg = "<gas>_count and <gas>_sum_w, or those of a column"
        raise missing(msg)
