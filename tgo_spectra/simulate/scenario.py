"""Options that decide what a simulated product contains: a base, and NOMAD SO's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tgo_spectra.instruments.so import AOTF_FREQUENCY_KHZ
from tgo_spectra.mars import solar_longitude
from tgo_spectra.simulate.options import (
    GASES,
    check_mole_fractions,
    check_options,
    described,
    option,
    option_rows,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.simulate.options import Profile

__all__ = ["NomadScenario", "Scenario", "SoScenario"]

SHIFT: dict[str, Any] = {"limits": (-50.0, 50.0), "unit": "pixel"}
HEIGHTS: dict[str, Any] = {"limits": (-9.0, 150.0), "unit": "km"}
"""Rows that say the same of several options."""


@described
@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What all simulators have in common."""

    start: str = option("2018-06-14T03:09:20", "Start of the observation, UTC.")
    orbit: int = option(2000, "Number in the label.", limits=(0, 999_999))
    atmosphere: xr.Dataset | str | Path | None = option(
        None, "Pressure, temperature and mole fractions; default: the reference there."
    )
    temperature_gradient_k_km: float = option(
        0.0, "Added below 40 km, towards the ground, to the reference atmosphere.",
        limits=(-5.0, 5.0), unit="K km-1",
    )  # fmt: skip
    negative: bool = option(
        False,
        "Allow negative mole fractions, as those of truths drawn from a Gaussian a "
        "priori; nothing real has them.",
    )
    snr: float = option(
        1000.0, "Signal over written error at a transmittance of one.",
        limits=(1e-3, 1e12),
    )  # fmt: skip
    noise: bool = option(
        True,
        "Add the noise; the error is written in any case.",
    )
    seed: int = option(0, "Of all that is drawn.", limits=(0, 2**63))

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        check_options(self)
        check_mole_fractions(self.mole_fractions, negative=self.negative)

    @property
    def place(self) -> dict[str, float]:
        """Solar longitude and latitude (degree) that a product tells; here neither."""
        return {}

    @property
    def mole_fractions(self) -> dict[str, Profile]:
        """Mole fractions that were asked for, by gas."""
        found: dict[str, Profile] = {}
        for name, _, _, row in option_rows(type(self)):
            value = getattr(self, name)
            if row["kind"] == GASES:
                found |= dict(value or {})
            elif row["kind"]:
                found[row["kind"]] = value
        return found

    def record(self) -> dict[str, int | float | str]:
        """Options as attributes for a file, one for each."""
        result: dict[str, int | float | str] = {}
        for name, _, _, row in option_rows(type(self)):
            value = getattr(self, name)
            if row["kind"] == GASES:
                for gas, given in (value or {}).items():
                    profile = isinstance(given, tuple | list)
                    text = "profile" if profile else repr(float(given))
                    result[f"option_{name}_{gas}"] = text
            else:
                result[f"option_{name}"] = _text(value)
        return result


@described
@dataclass(frozen=True, kw_only=True)
class NomadScenario(Scenario):
    """What the simulators of NOMAD have in common."""

    latitude: float = option(
        -24.0, "Of the lowest or middle spectrum.", limits=(-90.0, 90.0),
        unit="degree_north",
    )  # fmt: skip
    longitude: float = option(
        121.0, "Of the lowest or middle spectrum.", limits=(-180.0, 360.0),
        unit="degree_east",
    )  # fmt: skip
    local_time: float | None = option(
        None, "Local true solar time there; default: 18 at ingress, 6 at egress.",
        limits=(0.0, 24.0), unit="hour",
    )  # fmt: skip

    @property
    def place(self) -> dict[str, float]:
        """Solar longitude and latitude of the start, degree."""
        season = float(solar_longitude(np.datetime64(self.start)))
        return {"solar_longitude": season, "latitude": self.latitude}


@described
@dataclass(frozen=True, kw_only=True)
class SoScenario(NomadScenario):
    """Everything that decides what a simulated occultation of NOMAD SO contains."""

    order: int = option(134, "Diffraction order.", limits=(1, 300))
    vmr: Mapping[str, Profile] = option(
        {}, "Mole fraction of a gas: a number, or altitudes (km) and values, linear in "
        "between. Gases of the table not named take the atmosphere's profile, else "
        "that of the reference atmosphere, else zero.", kind=GASES,
    )  # fmt: skip
    gases: tuple[str, ...] | None = option(
        None, "Gases simulated; default: all in the table."
    )
    table: str | Path | xr.Dataset | None = option(
        None, "Absorption table; default: that of the shipped setup for the order."
    )
    observation: Literal["ingress", "egress"] = option(
        "ingress", "Ingress: the line of sight sinks with time."
    )
    altitude_range: tuple[float, float] = option(
        (0.0, 120.0), "Lowest and highest tangent altitude above the areoid.", **HEIGHTS
    )
    surface_altitude_km: float | None = option(
        None, "Of the terrain; corners of the field of view below it are missing in "
        "the table. The light path is not blocked. Default: at the lowest altitude.",
        **HEIGHTS,
    )  # fmt: skip
    vertical_speed_km_s: float = option(
        0.98, "Of the tangent point.", limits=(0.01, 10.0), unit="km s-1"
    )
    seconds: int | None = option(
        None, "Spectra per bin, one a second; replaces the vertical speed.",
        limits=(2, 100_000),
    )  # fmt: skip
    exposure_s: float = option(
        0.17, "Time between start and end of a spectrum.", limits=(0.0, 60.0), unit="s"
    )
    n_bins: int = option(
        4, "Detector bins of four rows, the first at row 120.", limits=(1, 16)
    )
    bin_offset_km: float = option(
        0.345, "Between the tangent altitudes of neighbouring bins.",
        limits=(-10.0, 10.0), unit="km",
    )  # fmt: skip
    boxcars_km: tuple[float, float] = option(
        (0.343, 0.974), "Vertical extent of the slit's image across and along the "
        "bin's rows; their convolution, with the motion, is the field of view.",
        limits=(0.0, 50.0), unit="km",
    )  # fmt: skip
    planet_radius_km: float | None = option(
        None, "Default: that of the atmosphere.", limits=(3300.0, 3500.0), unit="km"
    )
    observer_distance_km: float = option(
        3790.0, "Spacecraft to the planet's centre.", limits=(3600.0, 50_000.0),
        unit="km",
    )  # fmt: skip
    temperature_c: float = option(
        -5.0, "Of the instrument.", limits=(-100.0, 100.0), unit="degC"
    )
    aotf_frequency_khz: float | None = option(
        None, "Default: that of the science programme.", limits=(1e3, 1e6), unit="kHz"
    )
    n_orders: int | None = option(
        None, "Neighbouring orders on each side; default: all that the table covers, "
        "at most eight.", limits=(0, 20),
    )  # fmt: skip
    shift_px: float | None = option(
        None, "True wavenumber of pixel p is that of the table's column at pixel "
        "``p + shift + stretch * (p - 159.5) / 159.5``. Only the truth file says it. "
        "Default: drawn within 0.6.", **SHIFT,
    )  # fmt: skip
    stretch_px: float | None = option(
        None, "See there. Default: drawn within 0.1.", **SHIFT
    )
    bin_shift_px: tuple[float, ...] | None = option(
        None, "Added per bin. Default: drawn with 0.03.", **SHIFT
    )
    snr: float = option(
        2300.0, "Signal over written error at the brightest pixel for a transmittance "
        "of one.", limits=(1e-3, 1e12),
    )  # fmt: skip
    noisy_pixels: tuple[tuple[int, int], ...] = option(
        ((2, 84), (2, 269)), "Bin and pixel that scatter 25 times more than the error "
        "says.", limits=(0, 2000),
    )  # fmt: skip
    wobble: float = option(
        5e-4, "1-sigma brightness change from row to row, common to all pixels.",
        limits=(0.0, 1.0),
    )  # fmt: skip
    calibration: float = option(
        5e-4, "Largest drift and curvature of a bin, relative.", limits=(0.0, 1.0)
    )
    aerosol_depth: float = option(
        1.2, "Slant optical depth at altitude zero.", limits=(0.0, 1e3)
    )
    aerosol_scale_km: float = option(
        9.0, "Its scale height.", limits=(0.1, 1e3), unit="km"
    )
    aerosol_exponent: float = option(
        0.7, "Depth grows as wavenumber to this power.", limits=(-10.0, 10.0)
    )
    aerosol_layer: tuple[float, float, float] | None = option(
        (0.05, 45.0, 4.0), "Slant depth, altitude and 1-sigma width (km) of a detached "
        "layer.", limits=((0.0, 1e3), (-10.0, 150.0), (0.01, 100.0)),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        super().__post_init__()
        low, high = self.altitude_range
        shifts = self.bin_shift_px
        conditions = (
            ("observation", self.observation, self.observation in _OBSERVATIONS,
             "must be ingress or egress"),
            ("altitude_range", (low, high), low < high - 5.0,
             "must ascend by more than 5 km"),
            ("bin_shift_px", shifts, shifts is None or len(shifts) == self.n_bins,
             "needs one value a bin"),
            ("aotf_frequency_khz", self.order,
             self.aotf_frequency_khz is not None or self.order in AOTF_FREQUENCY_KHZ,
             "is needed for an order outside the science programme"),
        )  # fmt: skip
        require(conditions)

    @property
    def frequency_khz(self) -> float:
        """AOTF frequency, kHz."""
        given = self.aotf_frequency_khz
        return float(AOTF_FREQUENCY_KHZ[self.order] if given is None else given)


_OBSERVATIONS = ("ingress", "egress")


def _text(value: object) -> int | float | str:
    """Say an option as an attribute of a file."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, int | float | str):
        return value
    plain = value is None or isinstance(value, tuple | list | dict)
    return repr(value) if plain else type(value).__name__
