"""Options of a simulated occultation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tgo_spectra.instruments.so import AOTF_FREQUENCY_KHZ
from tgo_spectra.simulate.options import (
    check_mole_fractions,
    check_options,
    mole_fraction,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.simulate.options import Profile

    Array = npt.NDArray[np.float64]

__all__ = ["Scenario"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Everything that decides what a simulated product contains.

    Attributes
    ----------
    order : int
        Diffraction order.
    vmr : dict
        Mole fraction per gas: a number, or altitudes (km) and values, linear in
        between. Gases of the table not named take the atmosphere's profile, else
        that of the reference atmosphere, else zero.
    negative : bool
        Allow negative mole fractions, as those of truths drawn from a Gaussian a
        priori; nothing real has them.
    gases : sequence of str, optional
        Gases simulated; default all in the table.
    atmosphere : Dataset or path, optional
        Pressure and temperature; default the reference atmosphere.
    table : str, path or Dataset, optional
        Absorption table; default that of the shipped setup for the order.
    start : str
        Start of the telecommand window, UTC.
    latitude, longitude : float
        Of the lowest tangent point, degree.
    local_time : float, optional
        Local true solar time there, hour; default 18 at ingress, 6 at egress.
    observation : {"ingress", "egress"}
        Ingress: the line of sight sinks with time.
    altitude_range : tuple of float
        Lowest and highest tangent altitude, km above the areoid.
    surface_altitude_km : float, optional
        Of the terrain; corners of the field of view below it are missing in the
        table. The light path is not blocked. Default: at the lowest altitude.
    vertical_speed_km_s : float
        Of the tangent point.
    seconds : int, optional
        Spectra per bin, one a second; replaces the vertical speed.
    exposure_s : float
        Time between start and end of a spectrum.
    n_bins : int
        Detector bins of four rows, the first at row 120.
    bin_offset_km : float
        Between the tangent altitudes of neighbouring bins.
    boxcars_km : tuple of float
        Vertical extent of the slit's image across and along the bin's rows; their
        convolution, with the motion, is the field of view.
    planet_radius_km : float, optional
        Default that of the atmosphere.
    observer_distance_km : float
        Spacecraft to the planet's centre.
    temperature_c, aotf_frequency_khz : float
        Instrument; the frequency defaults to that of the science programme.
    n_orders : int, optional
        Neighbouring orders on each side; default all that the table covers, at most
        eight.
    shift_px, stretch_px : float, optional
        True wavenumber of pixel p is that of the table's column at pixel
        ``p + shift + stretch * (p - 159.5) / 159.5``; drawn within 0.6 and 0.1 when
        not given. Only the truth file says it.
    bin_shift_px : sequence of float, optional
        Added per bin; drawn with 0.03 when not given.
    snr : float
        Signal over written error at the brightest pixel for a transmittance of one.
    noise : bool
        Add the noise; the error column is written in any case.
    noisy_pixels : sequence of (int, int)
        Bin and pixel that scatter 25 times more than the error says.
    wobble : float
        1-sigma brightness change from row to row, common to all pixels.
    calibration : float
        Largest drift and curvature of a bin, relative.
    aerosol_depth, aerosol_scale_km, aerosol_exponent : float
        Slant optical depth at altitude zero, its scale height, and its spectral
        exponent (depth grows as wavenumber to this power).
    aerosol_layer : tuple of float, optional
        Slant depth, altitude and width (km, 1-sigma) of a detached layer.
    orbit : int
        Number in the label.
    seed : int
        Of all that is drawn.
    """

    order: int = 134
    vmr: Mapping[str, Profile] = field(default_factory=dict)
    gases: tuple[str, ...] | None = None
    atmosphere: xr.Dataset | str | Path | None = None
    table: str | Path | xr.Dataset | None = None
    start: str = "2018-06-14T03:09:20"
    latitude: float = -24.0
    longitude: float = 121.0
    local_time: float | None = None
    observation: Literal["ingress", "egress"] = "ingress"
    altitude_range: tuple[float, float] = (0.0, 120.0)
    surface_altitude_km: float | None = None
    vertical_speed_km_s: float = 0.98
    seconds: int | None = None
    exposure_s: float = 0.17
    n_bins: int = 4
    bin_offset_km: float = 0.345
    boxcars_km: tuple[float, float] = (0.343, 0.974)
    planet_radius_km: float | None = None
    observer_distance_km: float = 3790.0
    temperature_c: float = -5.0
    aotf_frequency_khz: float | None = None
    n_orders: int | None = None
    shift_px: float | None = None
    stretch_px: float | None = None
    bin_shift_px: tuple[float, ...] | None = None
    snr: float = 2300.0
    noise: bool = True
    noisy_pixels: tuple[tuple[int, int], ...] = ((2, 84), (2, 269))
    wobble: float = 5e-4
    calibration: float = 5e-4
    aerosol_depth: float = 1.2
    aerosol_scale_km: float = 9.0
    aerosol_exponent: float = 0.7
    aerosol_layer: tuple[float, float, float] | None = (0.05, 45.0, 4.0)
    orbit: int = 2000
    negative: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        check_options(self)
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
        check_mole_fractions(self.vmr, negative=self.negative)

    @property
    def frequency_khz(self) -> float:
        """AOTF frequency, kHz."""
        given = self.aotf_frequency_khz
        return float(AOTF_FREQUENCY_KHZ[self.order] if given is None else given)

    def profile(self, gas: str, altitude_km: Array) -> Array | None:
        """Mole fraction of a gas at altitudes if the scenario says it, else None."""
        given = self.vmr.get(gas)
        if given is None:
            return None
        return mole_fraction(gas, given, altitude_km, negative=self.negative)

    def record(self) -> dict[str, Any]:
        """Options as attributes for a file, one for each field."""
        result: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name in ("vmr", "atmosphere", "table"):
                continue
            result[f"option_{item.name}"] = (
                value if isinstance(value, int | float | str) else repr(value)
            )
            if isinstance(value, bool):
                result[f"option_{item.name}"] = int(value)
        for gas, value in self.vmr.items():
            text = "profile" if isinstance(value, tuple) else repr(float(value))
            result[f"option_vmr_{gas}"] = text
        for name in ("atmosphere", "table"):
            value = getattr(self, name)
            known = value is None or isinstance(value, str)
            result[f"option_{name}"] = str(value) if known else type(value).__name__
        return result


_OBSERVATIONS = ("ingress", "egress")
