"""Atmospheres from a climatology: at a place, or for a product's tangent points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.climatology.column import Anchoring, Place, column, heights
from tgo_spectra.atmosphere.files import read_atmosphere
from tgo_spectra.atmosphere.profile import on_altitudes
from tgo_spectra.atmosphere.reference import mean_of_points
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import MEAN_RADIUS_KM
from tgo_spectra.mars import mars_year as year_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["atmosphere_at", "atmosphere_for_product"]

Method = Literal["linear", "nearest"]
Reference = Literal["areoid", "surface", "hydrostatic"]
Rule = Literal["isothermal"]


def atmosphere_at(
    climatology: xr.Dataset,
    *,
    solar_longitude: float | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
    local_time: float | None = None,
    mars_year: int | None = None,
    method: Method = "linear",
    altitude_reference: Reference | None = None,
    surface_altitude_km: float | None = None,
    anchor: tuple[float, float] | None = None,
    planet_radius_km: float | None = None,
    altitude_km: ArrayLike | None = None,
    above_top: Rule | None = None,
    below_bottom: Rule | None = None,
) -> xr.Dataset:
    r"""Take the atmosphere of a climatology at one place and time.

    Interpolated are ln p, temperature and mole fractions, level by level; number
    density follows from p / (k T). Solar longitude, longitude and local time are
    circular. Nothing is extrapolated unless asked.

    Parameters
    ----------
    climatology : Dataset
        As :func:`tgo_spectra.open_climatology` gives.
    solar_longitude, latitude, longitude : float
        Degree, longitude east; needed where the climatology depends on them.
    local_time : float
        Local true solar time, hour; the local time of a time series is taken as its
        hour at the prime meridian plus longitude / 15 (no equation of time).
    mars_year : int, optional
        Needed where the climatology covers the season in several years.
    method : {"linear", "nearest"}
        Between points of the climatology. Default linear.
    altitude_reference : {"areoid", "surface", "hydrostatic"}, optional
        What the climatology's altitudes count from, where it does not say so;
        "hydrostatic": integrate heights from the pressures.
    surface_altitude_km : float, optional
        Topography at the place, km above the areoid: for altitudes above the surface,
        and with the model's surface pressure for hydrostatic ones. Default: the
        model's own, where it has one.
    anchor : (float, float), optional
        Altitude (km above the areoid) and pressure (Pa) that belong together, from
        which hydrostatic heights are integrated; instead of the surface.
    planet_radius_km : float, optional
        Distance of altitude zero from the centre; recorded for the retrieval if
        given. Default in the integration: 3389.5 km.
    altitude_km : array_like, optional
        Wanted levels, km above the areoid. Default: the model's own levels.
    above_top, below_bottom : {"isothermal"}, optional
        Rule for wanted levels above the model's top or (at most 5 km) below its
        lowest level: isothermal, hydrostatic, constant mole fractions. Default: such
        levels are an error.

    Returns
    -------
    Dataset
        As :func:`tgo_spectra.read_atmosphere` gives, for
        :func:`tgo_spectra.retrieve`; the attributes ``climatology_*`` say what was
        done, ``source`` in one line.

    Raises
    ------
    AtmosphereError
        A place is missing or outside, altitudes cannot be had, levels are wanted
        beyond the model, or the numbers are not physical (``climatology.*``).

    Notes
    -----
    Poleward of the outermost row of latitude that row is used, if it is within one
    step, and within 10 degree, of the pole.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> rows = ["ls[deg],altitude[km],pressure[Pa],temperature[K]"]
    >>> for ls in (0, 180):
    ...     rows += [f"{ls},0,600,{200 + ls / 9}", f"{ls},80,0.4,{150 + ls / 9}"]
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "seasons.csv"
    >>> _ = file.write_text("# altitude_reference = areoid\n" + "\n".join(rows))
    >>> from tgo_spectra import open_climatology
    >>> air = atmosphere_at(open_climatology(file), solar_longitude=45.0)
    >>> air.temperature.values.tolist()
    [205.0, 155.0]
    """
    path = str(climatology.attrs.get("source_file", ""))
    place = Place(solar_longitude, latitude, longitude, local_time, mars_year)
    levels, notes = column(climatology, place, method)
    radius = MEAN_RADIUS_KM if planet_radius_km is None else planet_radius_km
    given = Anchoring(altitude_reference, surface_altitude_km, anchor, radius)
    known = str(climatology.attrs.get("altitude_reference", "unknown"))
    z, how = heights(levels, known, given, path)
    ours = {"pressure": {"units": "Pa"}, "temperature": {"units": "K"}}
    data = {
        name: ("altitude", values, ours.get(name, {"units": "1"}))
        for name, values in levels.items()
        if name in ours or name.endswith("_vmr")
    }
    attrs: dict[str, object] = {}
    if planet_radius_km is not None:
        attrs["planet_radius_km"] = float(planet_radius_km)
    if "allow" in climatology.attrs:
        attrs["allow"] = climatology.attrs["allow"]
    try:
        air = read_atmosphere(
            xr.Dataset(data, {"altitude": ("altitude", z, {"units": "km"})}, attrs)
        )
    except AtmosphereError as error:
        error.path = error.path or path
        raise
    top = float(air["altitude"][-1])
    if altitude_km is not None:
        air = _on_levels(air, altitude_km, above_top, below_bottom, path)
    elif above_top is not None or below_bottom is not None:
        msg = "a rule beyond the model needs altitude_km"
        raise AtmosphereError(msg, field="altitude_km", rule="climatology.above_top")
    where = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in place._asdict().items()
        if value is not None
    )
    form = str(climatology.attrs.get("climatology_form", "climatology"))
    record: dict[str, object] = {
        "climatology_form": form,
        "climatology_files": path,
        "climatology_place": where or "one profile",
        "climatology_method": method,
        "climatology_altitude": how,
        "climatology_top_km": top,
    }
    if notes:
        record["climatology_notes"] = "; ".join(notes)
    for name in ("mars_year", "mars_years", "header"):
        if name in climatology.attrs:
            record[f"climatology_{name}"] = climatology.attrs[name]
    air.attrs.update(record)
    air.attrs["source"] = (
        f"{form} {path}: {where or 'one profile'}; {method}; altitudes {how}; "
        f"top {top:.1f} km"
    )
    if "allow" in air.attrs:
        air.attrs["source"] += f"; allowed: {air.attrs['allow']}"
    return air


def _on_levels(
    air: xr.Dataset,
    altitude_km: ArrayLike,
    above_top: Rule | None,
    below_bottom: Rule | None,
    path: str,
) -> xr.Dataset:
    wanted = np.atleast_1d(np.asarray(altitude_km, dtype=np.float64))
    bottom, top = (float(air["altitude"][k]) for k in (0, -1))
    for beyond, edge, name, rule in (
        (wanted[wanted > top], top, "above_top", above_top),
        (wanted[wanted < bottom], bottom, "below_bottom", below_bottom),
    ):
        if rule not in (None, "isothermal"):
            msg = "the one rule beyond the model is isothermal"
            raise AtmosphereError(
                msg, field=name, value=rule, rule=f"climatology.{name}"
            )
        if beyond.size and rule is None:
            msg = f"the model ends at {edge:.3f} km; give {name}='isothermal' to go on"
            raise AtmosphereError(
                msg,
                path=path,
                field="altitude_km",
                value=float(beyond[0]),
                rule=f"climatology.{name}",
            )
    return on_altitudes(air, wanted)


def atmosphere_for_product(
    level1: xr.Dataset,
    climatology: xr.Dataset,
    *,
    mars_year: int | None = None,
    method: Method = "linear",
    altitude_reference: Reference | None = None,
    surface_altitude_km: float | None = None,
    anchor: tuple[float, float] | None = None,
    planet_radius_km: float | None = None,
    altitude_km: ArrayLike | None = None,
    above_top: Rule | None = None,
    below_bottom: Rule | None = None,
) -> xr.Dataset:
    r"""Take the atmosphere of a climatology for the tangent points of a product.

    One profile at the mean geometry of the tangent points: latitudes are averaged,
    solar longitude, longitude and local time as directions. The spread is recorded;
    along a tangent track of several degrees the profile does not follow the track.

    Parameters
    ----------
    level1 : Dataset
        As :func:`tgo_spectra.open_product` gives.
    climatology : Dataset
        As :func:`tgo_spectra.open_climatology` gives.
    mars_year : int, optional
        Year of the climatology to use, also in place of the product's own. Default:
        the product's own, which the climatology must then have if it says its years.
    method, altitude_reference, surface_altitude_km, anchor : optional
        As in :func:`atmosphere_at`; so are `planet_radius_km`, `altitude_km`,
        `above_top`, `below_bottom`.

    Returns
    -------
    Dataset
        As :func:`atmosphere_at` gives, with ``climatology_geometry``.

    Raises
    ------
    AtmosphereError
        No tangent points with a place (``climatology.geometry``), and as
        :func:`atmosphere_at`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import tgo_spectra as tgo
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> level1 = tgo.open_product(tgo.simulate_product(folder, order=134, ch4=0.0))
    >>> rows = ["lat[deg],altitude[km],pressure[Pa],temperature[K]"]
    >>> for lat in (-90, 90):
    ...     rows += [f"{lat},0,600,200", f"{lat},120,1e-3,150"]
    >>> _ = (folder / "air.csv").write_text("\n".join(rows))
    >>> air = tgo.atmosphere_for_product(
    ...     level1, tgo.open_climatology(folder / "air.csv"),
    ...     altitude_reference="areoid")
    >>> air.attrs["climatology_geometry"][:15]
    'mean geometry o'
    """
    path = level1.attrs.get("source_file")
    means: dict[str, float] = {}
    spread: list[str] = []
    for name, period in (
        ("solar_longitude", 360.0),
        ("latitude", None),
        ("longitude", 360.0),
        ("local_true_solar_time", 24.0),
    ):
        mean = mean_of_points(level1, name, period)
        if mean is None:
            missing = "all missing" if name in level1 else None
            msg = f"no tangent point has a {name}"
            raise AtmosphereError(
                msg, path=path, field=name, value=missing, rule="climatology.geometry"
            )
        if name == "longitude":
            mean = (mean + 180.0) % 360.0 - 180.0
        means[name] = mean
        values = np.asarray(level1[name].values, dtype=np.float64)
        away = values[np.isfinite(values)] - mean
        if period is not None:
            away = np.mod(away + 0.5 * period, period) - 0.5 * period
        spread.append(f"{name} {mean:.3f} ({away.min():+.3f} to {away.max():+.3f})")
    times = level1["time"].values.ravel() if "time" in level1 else np.array([])
    own = int(year_of(times[~np.isnat(times)][0])) if times.size else None
    says = {"mars_year", "mars_years"} & set(climatology.attrs) or (
        "mars_year" in climatology.coords
    )
    air = atmosphere_at(
        climatology,
        solar_longitude=means["solar_longitude"],
        latitude=means["latitude"],
        longitude=means["longitude"],
        local_time=means["local_true_solar_time"],
        mars_year=mars_year if mars_year is not None or not says else own,
        method=method,
        altitude_reference=altitude_reference,
        surface_altitude_km=surface_altitude_km,
        anchor=anchor,
        planet_radius_km=planet_radius_km,
        altitude_km=altitude_km,
        above_top=above_top,
        below_bottom=below_bottom,
    )
    number = int(np.isfinite(level1["latitude"].values).sum())
    air.attrs["climatology_geometry"] = (
        f"mean geometry of {number} tangent points; {'; '.join(spread)}"
    )
    if own is not None:
        air.attrs["climatology_product_mars_year"] = own
    air.attrs["source"] += "; mean geometry of the tangent points"
    return air
