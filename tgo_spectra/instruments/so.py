"""NOMAD SO: wavenumber scale, AOTF, blaze and line shape on plain arrays.

Wavenumbers in cm-1, AOTF frequency in kHz, temperature in degree Celsius, pixels
counted from 0, sinc(u) = sin(pi u) / (pi u). Coefficients and their sources:
``instruments.toml``. The operator made of these parts is in
``tgo_spectra.instruments.response.tabulated``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments import coefficients, number, parameter
from tgo_spectra.instruments.aotf import lobed_aotf, power_series, sinc_squared

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AOTF_FREQUENCY_KHZ",
    "PIXELS",
    "SHIFTED_MODELS",
    "SoInstrument",
    "aotf_centre",
    "aotf_parameters",
    "aotf_transmission",
    "blaze",
    "covered_orders",
    "free_spectral_range",
    "ils_parameters",
    "pixel_wavenumber",
]

WavenumberModel = Literal["gv", "lt", "liuzzi", "archive"]

PIXELS = int(number("so.pixels"))

#: Dispersion and pixel offset of the models in a shifted pixel, by parameter name.
SHIFTED_MODELS = {
    "lt": ("so.dispersion_lt", "so.pixel_offset_lt"),
    "liuzzi": ("so.dispersion_liuzzi", "so.pixel_offset_liuzzi"),
    "archive": ("so.dispersion_liuzzi", "so.pixel_offset_archive"),
}
_GHOST_AMPLITUDE = number("so.ghost_amplitude")
_RESOLVING_POWER = number("so.resolving_power")
# rounded so in the source, whose resolving power goes with it
_FWHM_PER_SIGMA = number("so.fwhm_per_sigma")


def _frequencies() -> dict[int, int]:
    values = coefficients("so.aotf_frequency")
    orders = parameter("so.aotf_frequency").index
    return {k: int(a) for k, a in zip(orders, values, strict=True)}


#: Frequencies of the SO science programme, kHz by order; the data carry the actual.
AOTF_FREQUENCY_KHZ = _frequencies()


@dataclass(frozen=True, slots=True)
class SoInstrument:
    """Settings of the SO instrument model that a user may vary.

    Attributes
    ----------
    n_orders : int
        Neighbouring orders added on each side.
    ils_amplitude : float
        Amplitude of the line shape's ghost relative to the main Gaussian.
    ils_resolving_power : float
        Resolving power of the main Gaussian.
    ils_delta_factor : float
        Factor on the ghost's displacement.
    ils_reference : {"aotf", "order", "pixel"}
        Wavenumber with which sigma and delta scale: the AOTF centre for all orders
        as published (default), the AOTF centre times k/m in order k, or the pixel's own
        wavenumber in order k.
    aotf_width_factor, aotf_lobe_factor, aotf_pedestal_factor : float
        Factors on the AOTF's width, side lobes and pedestal.
    aotf_offset : float
        Shift of the AOTF centre, cm-1.
    version : str
        Name recorded with results.
    """

    n_orders: int = 6
    ils_amplitude: float = _GHOST_AMPLITUDE
    ils_resolving_power: float = _RESOLVING_POWER
    ils_delta_factor: float = 1.0
    ils_reference: Literal["aotf", "order", "pixel"] = "aotf"
    aotf_width_factor: float = 1.0
    aotf_lobe_factor: float = 1.0
    aotf_pedestal_factor: float = 1.0
    aotf_offset: float = 0.0
    version: str = "SO Villanueva 2022 final"

    def __post_init__(self) -> None:
        if self.n_orders < 0:
            msg = "number of neighbouring orders must not be negative"
            raise InstrumentError(
                msg,
                field="n_orders",
                value=self.n_orders,
                rule="instrument.n_orders",
            )
        if self.ils_reference not in ("aotf", "order", "pixel"):
            msg = "unknown reference; use aotf, order or pixel"
            raise InstrumentError(
                msg,
                field="ils_reference",
                value=self.ils_reference,
                rule="instrument.ils_reference",
            )


def _array(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def _temperature_factor(temperature_c: ArrayLike) -> NDArray[np.float64]:
    series = coefficients("so.dispersion_temperature")
    return np.asarray(1.0 + power_series(series, temperature_c))


def pixel_wavenumber(
    order: ArrayLike,
    pixel: ArrayLike,
    temperature_c: ArrayLike,
    model: WavenumberModel = "gv",
) -> NDArray[np.float64]:
    """Wavenumber of SO pixels in a diffraction order.

    Parameters
    ----------
    order, pixel, temperature_c : array_like
        Order, pixel from 0 (may be fractional), degree Celsius; broadcast.
    model : {"gv", "lt", "liuzzi", "archive"}
        Villanueva 2022, Trompet 2022, Liuzzi 2019, or Liuzzi 2019 with the later
        offset that column X of product version 3.0 is computed with.

    Returns
    -------
    ndarray
        cm-1.

    Raises
    ------
    InstrumentError
        If the model is unknown.

    Examples
    --------
    >>> round(float(pixel_wavenumber(134, 0, 0.0)), 3)
    3010.863
    """
    if model == "gv":
        base = _array(order) * power_series(coefficients("so.dispersion"), pixel)
        return np.asarray(base * _temperature_factor(temperature_c))
    if model not in ("lt", "liuzzi", "archive"):
        msg = "unknown wavenumber model; use gv, lt, liuzzi or archive"
        raise InstrumentError(
            msg,
            field="model",
            value=model,
            rule="instrument.model",
        )
    dispersion, offset = (coefficients(name) for name in SHIFTED_MODELS[model])
    q = _array(pixel) + power_series(offset, temperature_c)
    return np.asarray(_array(order) * power_series(dispersion, q))


def aotf_centre(
    frequency_khz: ArrayLike, temperature_c: ArrayLike
) -> NDArray[np.float64]:
    """Centre of the SO AOTF: nu0 = (G0 + G1 A + G2 A^2)(1 + tau T).

    Parameters
    ----------
    frequency_khz, temperature_c : array_like
        Drive frequency A in kHz and degree Celsius; broadcast.

    Returns
    -------
    ndarray
        cm-1.

    Examples
    --------
    >>> round(float(aotf_centre(17859, 0.0)), 3)
    3021.476
    """
    rate = number("so.aotf_tuning_temperature")
    factor = 1.0 + rate * _array(temperature_c)
    return np.asarray(
        power_series(coefficients("so.aotf_tuning"), frequency_khz) * factor
    )


def aotf_parameters(
    centre_cm1: ArrayLike,
) -> tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
]:
    """Width, side-lobe factor, asymmetry and pedestal of the SO AOTF.

    Parameters
    ----------
    centre_cm1 : array_like
        AOTF centre, cm-1.

    Returns
    -------
    tuple of ndarray
        Width w (cm-1), side-lobe factor s, asymmetry a, pedestal g.

    Examples
    --------
    >>> [round(float(x), 3) for x in aotf_parameters(3021.476)]
    [20.913, 1.512, 1.238, 0.052]
    """
    w, s, a, g = (
        power_series(coefficients(f"so.aotf_{name}"), centre_cm1)
        for name in ("width", "side_lobes", "asymmetry", "pedestal")
    )
    return w, s, a, g


def aotf_transmission(
    wavenumber_cm1: ArrayLike,
    centre_cm1: float,
    settings: SoInstrument | None = None,
) -> NDArray[np.float64]:
    r"""Transmission of the SO AOTF, not normalised: F(centre) = 1 + pedestal.

    ``F = sinc^2(x/w) c + g exp(-x^2 / (2 50^2))`` with x the distance to the centre;
    c is 1 for \\|x\\| <= w, s above and s a below: the asymmetry acts on the side lobes
    at low wavenumbers.

    Parameters
    ----------
    wavenumber_cm1 : array_like
        cm-1.
    centre_cm1 : float
        AOTF centre, cm-1.
    settings : SoInstrument, optional
        Factors on width, lobes and pedestal; its ``aotf_offset`` is not applied.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> round(float(aotf_transmission(3021.476, 3021.476)), 4)
    1.0516
    """
    settings = settings or SoInstrument()
    w, s, a, g = (float(value) for value in aotf_parameters(centre_cm1))
    return lobed_aotf(
        _array(wavenumber_cm1) - centre_cm1,
        w * settings.aotf_width_factor,
        s * settings.aotf_lobe_factor,
        a,
        g * settings.aotf_pedestal_factor,
        number("so.aotf_pedestal_sigma"),
    )


def free_spectral_range(
    centre_cm1: ArrayLike, temperature_c: ArrayLike
) -> NDArray[np.float64]:
    """Free spectral range of the SO echelle, the width of its blaze.

    Parameters
    ----------
    centre_cm1, temperature_c : array_like
        AOTF centre in cm-1, degree Celsius; broadcast.

    Returns
    -------
    ndarray
        cm-1.

    Examples
    --------
    >>> round(float(free_spectral_range(3021.476, 0.0)), 4)
    22.5752
    """
    d = _array(centre_cm1) - number("so.free_spectral_range_reference")
    base = power_series(coefficients("so.free_spectral_range"), d)
    return np.asarray(base * _temperature_factor(temperature_c))


def blaze(
    wavenumber_cm1: ArrayLike, order: ArrayLike, free_spectral_range_cm1: ArrayLike
) -> NDArray[np.float64]:
    """Blaze function sinc^2((nu - k FSR) / FSR) of an order.

    Parameters
    ----------
    wavenumber_cm1, order, free_spectral_range_cm1 : array_like
        Wavenumber of the pixel in that order, order k, FSR; broadcast.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> float(blaze(3025.08, 134, 3025.08 / 134))
    1.0
    """
    width = _array(free_spectral_range_cm1)
    return sinc_squared((_array(wavenumber_cm1) - width * _array(order)) / width)


def ils_parameters(
    pixel: ArrayLike, reference_cm1: ArrayLike, settings: SoInstrument | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Parameters of the SO line shape, a Gaussian and its ghost.

    ``exp(-(nu - nu_p)^2 / (2 sigma^2)) + A exp(-(nu - nu_p - delta)^2 / (2 sigma^2))``:
    the ghost lies at higher wavenumber.

    Parameters
    ----------
    pixel, reference_cm1 : array_like
        Pixel from 0 and the wavenumber the widths scale with; broadcast.
    settings : SoInstrument, optional
        Resolving power, ghost amplitude, factor on its displacement.

    Returns
    -------
    sigma, delta : ndarray
        Standard deviation and displacement, cm-1.
    amplitude : float
        Of the ghost.

    Examples
    --------
    >>> sigma, delta, amplitude = ils_parameters(160, 3700.0)
    >>> round(float(sigma), 4), round(float(delta), 4), amplitude
    (0.0927, 0.1974, 0.272437)
    """
    settings = settings or SoInstrument()
    nu = _array(reference_cm1)
    sigma = nu / (settings.ils_resolving_power * _FWHM_PER_SIGMA)
    delta = power_series(coefficients("so.ghost_displacement"), pixel)
    delta = delta * nu / number("so.ghost_displacement_reference")
    sigma, delta = np.broadcast_arrays(sigma, delta * settings.ils_delta_factor)
    return np.asarray(sigma), np.asarray(delta), float(settings.ils_amplitude)


def covered_orders(
    pixel_wavenumber_cm1: ArrayLike,
    order: int,
    low_cm1: float,
    high_cm1: float,
    limit: int = 10,
) -> int:
    """Largest number of neighbouring orders whose pixels lie in a spectral range.

    Parameters
    ----------
    pixel_wavenumber_cm1 : array_like, shape (pixel,)
        Wavenumbers in the nominal order, cm-1.
    order : int
        Nominal order.
    low_cm1, high_cm1 : float
        Range of the absorption table, cm-1.
    limit : int
        Largest answer.

    Returns
    -------
    int
        -1 if not even the nominal order is covered.

    Examples
    --------
    >>> covered_orders([3011.0, 3035.0], 134, 2870.0, 3180.0)
    6
    """
    nu = np.asarray(pixel_wavenumber_cm1, dtype=np.float64)
    margin = 1.5  # cm-1, more than a line-shape window
    for n in range(limit, -1, -1):
        low = nu.min() * (order - n) / order - margin
        high = nu.max() * (order + n) / order + margin
        if low >= low_cm1 and high <= high_cm1:
            return n
    return -1
