"""Choose spectra of a product by where they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import ProductError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["spectrum_at"]


def spectrum_at(
    level1: xr.Dataset,
    altitude: float,
    bin: int | None = None,
    *,
    tolerance: float | None = None,
) -> xr.Dataset:
    """Return the spectrum of an occultation whose tangent altitude is nearest.

    Parameters
    ----------
    level1 : Dataset
        As returned by `open_product`, with ``tangent_altitude`` over ``spectrum``.
    altitude : float
        Wanted tangent altitude above the areoid, km.
    bin : int, optional
        Detector bin, counted from zero as in the variable ``bin``. Default: any.
    tolerance : float, optional
        Largest distance from `altitude`, km. Default: any; the spectrum says its own
        ``tangent_altitude``.

    Returns
    -------
    Dataset
        One spectrum, without the dimension ``spectrum``: ``transmittance`` over
        ``pixel`` and so on. Of two that are as near, the first in the file.

    Raises
    ------
    ProductError
        ``spectrum.variable``: there are no tangent altitudes, or no bins;
        ``spectrum.bin``: there is no such bin; ``spectrum.altitude``: no spectrum is as
        near.

    Examples
    --------
    >>> import tempfile
    >>> import tgo_spectra as tgo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = tgo.simulate_product(folder, altitude_range=(5.0, 30.0), seed=1)
    ...     spectrum = spectrum_at(tgo.open_product(path), 20.0, bin=1).load()
    >>> spectrum.transmittance.dims, int(spectrum.bin)
    (('pixel',), 1)
    >>> bool(abs(spectrum.tangent_altitude - 20.0) < 0.5)
    True
    """
    file = level1.attrs.get("source_file")
    for name in ("tangent_altitude", "bin")[: 1 if bin is None else 2]:
        if name not in level1.variables or level1[name].dims != ("spectrum",):
            message = f"no {name} of each spectrum: not one of an occultation"
            raise ProductError(message, path=file, field=name, rule="spectrum.variable")
    height = np.asarray(level1["tangent_altitude"].values, dtype=float)
    away = np.abs(height - altitude)
    if bin is not None:
        bins = level1["bin"].values
        away = np.where(bins == bin, away, np.nan)
        if not (bins == bin).any():
            have = ", ".join(str(one) for one in np.unique(bins))
            message = f"no such bin; the product has {have}"
            raise ProductError(
                message, path=file, field="bin", value=bin, rule="spectrum.bin"
            )
    known = np.isfinite(away)
    nearest = np.nanmin(away) if known.any() else np.inf
    if not known.any() or (tolerance is not None and nearest > tolerance):
        message = (
            f"no spectrum within {tolerance:g} km of this altitude"
            if tolerance is not None
            else "no spectrum has a tangent altitude, or the wanted one is no number"
        )
        raise ProductError(
            message, path=file, field="altitude", value=altitude,
            rule="spectrum.altitude",
        )  # fmt: skip
    return level1.isel(spectrum=int(np.nanargmin(away)))
