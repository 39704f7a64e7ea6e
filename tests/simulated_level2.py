"""Level 2 of an archive of occultations, made from fields with errors that are known.

Of an atmosphere with a seasonal cycle of water and a plume of methane. What a retrieval
gives is the truth through an averaging kernel, with noise, the weather of the day, and
one error that all share; so thousands of results cost what one fit does.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

Z = np.arange(2.5, 60.0, 5.0)
KERNEL = np.exp(-np.abs(Z[:, None] - Z) / 4.0)
KERNEL *= 0.9 / KERNEL.sum(axis=1).max()
PPB, PPM = 1e-9, 1e-6
LAYER = (Z >= 5.0) & (Z <= 30.0)
WEATHER = 0.25
"""Natural scatter of water, part of its value."""
INTENSITY = 0.06
"""One standard error of the line intensities, all products alike."""
OFFSET = 0.03 * PPB
"""One standard error of methane that all products share."""


def water(latitude, season):
    """Mole fraction of water by climate, shape (place, level)."""
    summer = 0.5 + 0.5 * np.sin(np.deg2rad(season)) * np.sin(np.deg2rad(latitude))
    depth = 12.0 + 10.0 * (0.5 - 0.5 * np.cos(np.deg2rad(season - 70.0)))
    return 150 * PPM * (0.2 + summer[:, None]) * np.exp(-Z / depth[:, None])


def methane(latitude, season):
    """Mole fraction of methane: none, but for a plume; shape (place, level)."""
    away = ((latitude - 35.0) / 20.0) ** 2 + ((season - 160.0) / 25.0) ** 2
    return PPB * np.exp(-0.5 * away)[:, None] * np.exp(-Z / 60.0)


def places(rng, n):
    """Latitudes and seasons as occultations have them: two tracks that sweep."""
    season = np.sort(rng.uniform(0.0, 360.0, n))
    track = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    sweep = 60.0 * np.sin(np.deg2rad(7.0 * season)) + rng.normal(0.0, 5.0, n)
    return np.clip(track * sweep, -85.0, 85.0), season


def archive(rng, n, shared):
    """Level 2 of `n` occultations, and the climate at their places by gas.

    `shared`: the errors of intensities and of the offset, in standard errors.
    """
    latitude, season = places(rng, n)
    truths = {"h2o": water(latitude, season), "ch4": methane(latitude, season)}
    of_day = {"h2o": 1.0 + WEATHER * rng.normal(size=(n, 1)), "ch4": 1.0}
    prior = {"h2o": 80 * PPM * np.exp(-Z / 20.0), "ch4": np.zeros(Z.size)}
    noises = {
        "h2o": rng.uniform(3.0, 12.0, n) * PPM, "ch4": rng.uniform(0.2, 0.8, n) * PPB,
    }  # fmt: skip
    found = []
    for k in range(n):
        data = {"latitude": ("altitude", np.full(Z.size, latitude[k]))}
        for gas, climate in truths.items():
            truth = climate[k] * (of_day[gas][k] if gas == "h2o" else 1.0)
            noise = np.full(Z.size, noises[gas][k])
            seen = prior[gas] + KERNEL @ (truth - prior[gas])
            common = INTENSITY * np.abs(seen)
            wrong = shared[0] * INTENSITY * seen
            if gas == "ch4":
                common = np.hypot(common, OFFSET)
                wrong = wrong + shared[1] * OFFSET
            value = seen + wrong + noise * rng.normal(size=Z.size)
            data |= {
                f"{gas}_vmr": ("altitude", value),
                f"{gas}_vmr_apriori": ("altitude", prior[gas]),
                f"{gas}_vmr_noise_error": ("altitude", noise),
                f"{gas}_vmr_error": ("altitude", np.hypot(noise, common)),
                f"{gas}_averaging_kernel": (("altitude", "altitude_in"), KERNEL),
            }
        ds = xr.Dataset(data, {"altitude": Z}, {"product_lid": f"urn:a:b:{k}"})
        found.append(ds.assign(solar_longitude=season[k], mars_year=35))
    return found, truths, (latitude, season)
