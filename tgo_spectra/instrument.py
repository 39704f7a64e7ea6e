"""NOMAD SO: wavenumber scale, AOTF, blaze and line shape on plain arrays.

Coefficients: Villanueva et al. 2022 (final set of October 2021), Trompet et al.
2022, Liuzzi et al. 2019. Wavenumbers in cm-1, AOTF
frequency in kHz, temperature in degree Celsius, pixels counted from 0,
sinc(u) = sin(pi u) / (pi u). The operator made of these parts is in ``operator``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import InstrumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AOTF_FREQUENCY_KHZ",
    "PIXELS",
    "SoInstrument",
    "aotf_centre",
    "aotf_parameters",
    "aotf_transmission",
    "blaze",
    "covered_orders",
    "free_spectral_range",
    "ils_parameters",
    "nearest_order",
    "pixel_wavenumber",
]

PIXELS = 320

WavenumberModel = Literal["gv", "lt", "liuzzi", "archive"]

# nu0 = (G0 + G1 A + G2 A^2) (1 + tau T), Villanueva 2022
_TUNING = (305.0604, 0.1497089, 1.34082e-7)
_TUNING_TEMPERATURE = -6.5278e-5

# nu = m (F0 + F1 p + F2 p^2) (1 + K(T)), Villanueva 2022
_GV = (22.4734, 5.55953e-4, 1.75128e-8)
_GV_TEMPERATURE = (-1.90001923e-4, -2.30708836e-5, -2.44383699e-7)

# nu = m (c0 + c1 q + c2 q^2), q = p + q0 + q1 T: polynomial and pixel offset
_SHIFTED = {
    "lt": ((22.4701, 5.480e-4, 3.32e-8), (0.0, -0.8276)),  # Trompet 2022
    "liuzzi": (  # Liuzzi 2019
        (22.473422, 5.559526e-4, 1.751279e-8),
        (-6.267734, -0.7299039),
    ),
    "archive": (  # Liuzzi 2019, later offset: column X of product version 3.0
        (22.473422, 5.559526e-4, 1.751279e-8),
        (-10.13785778, -0.829174444),
    ),
}

# AOTF parameters, quadratic in nu0 (nu0^2, nu0, 1), final set, Villanueva 2022
_AOTF_WIDTH = (-1.66406991e-7, 7.47648684e-4, 20.1730360)
_AOTF_LOBES = (8.10749274e-7, -3.30238496e-3, 4.08845247)
_AOTF_ASYMMETRY = (-1.54536176e-7, 1.29003715e-3, -1.24925395)
_AOTF_PEDESTAL = (1.49266526e-7, -9.63798656e-4, 1.60097815)
_AOTF_PEDESTAL_SIGMA = 50.0  # cm-1

# FSR in powers of nu0 - 3700, times 1 + K(T), Villanueva 2022
_FSR = (22.5863468, 9.79270239e-6, -7.20616355e-9, -1.00162255e-11)

# m(nu0), powers of nu0
_ORDER = (-1.75036273e-4, 4.43204703e-2, -1.33960735e-11)

# Line shape, Villanueva 2022: sigma = nu / (R * 2.355), ghost displaced by delta
_ILS_RESOLVING_POWER = 16939.8009
_ILS_FWHM_PER_SIGMA = 2.355
_ILS_GHOST_AMPLITUDE = 0.272437
_ILS_DELTA = (-3.06665339e-6, 1.71638815e-3, 1.31671485e-3)  # p^2, p, 1 at 3700 cm-1
_ILS_DELTA_WAVENUMBER = 3700.0

#: Frequencies of the SO science programme, kHz by order; the data carry the actual.
AOTF_FREQUENCY_KHZ = {
    119: 15657, 121: 15951, 124: 16392, 126: 16686, 127: 16832, 129: 17126,
    130: 17273, 132: 17566, 133: 17712, 134: 17859, 135: 18005, 136: 18152,
    140: 18737, 145: 19468, 148: 19907, 149: 20052, 154: 20782, 155: 20927,
    156: 21074, 164: 22238, 165: 22384, 167: 22674, 168: 22820, 169: 22965,
    183: 24996, 184: 25140, 185: 25285, 186: 25430, 187: 25575, 188: 25719,
    189: 25864, 190: 26008, 191: 26153,
}  # fmt: skip


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
    ils_amplitude: float = _ILS_GHOST_AMPLITUDE
    ils_resolving_power: float = _ILS_RESOLVING_POWER
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
    k0, k1, k2 = _GV_TEMPERATURE
    t = _array(temperature_c)
    return np.asarray(1.0 + k0 + k1 * t + k2 * t**2)


def _shifted(
    model: str, order: ArrayLike, pixel: ArrayLike, t: ArrayLike
) -> NDArray[np.float64]:
    (c0, c1, c2), (q0, q1) = _SHIFTED[model]
    q = _array(pixel) + q0 + q1 * _array(t)
    return _array(order) * (c0 + c1 * q + c2 * q**2)


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
        f0, f1, f2 = _GV
        p = _array(pixel)
        base = _array(order) * (f0 + f1 * p + f2 * p**2)
        return np.asarray(base * _temperature_factor(temperature_c))
    if model not in ("lt", "liuzzi", "archive"):
        msg = "unknown wavenumber model; use gv, lt, liuzzi or archive"
        raise InstrumentError(
            msg,
            field="model",
            value=model,
            rule="instrument.model",
        )
    return np.asarray(_shifted(model, order, pixel, temperature_c))


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
    g0, g1, g2 = _TUNING
    a = _array(frequency_khz)
    factor = 1.0 + _TUNING_TEMPERATURE * _array(temperature_c)
    return np.asarray((g0 + g1 * a + g2 * a**2) * factor)


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
    nu0 = _array(centre_cm1)
    w, s, a, g = (
        np.asarray((c2 * nu0 + c1) * nu0 + c0)
        for c2, c1, c0 in (
            _AOTF_WIDTH,
            _AOTF_LOBES,
            _AOTF_ASYMMETRY,
            _AOTF_PEDESTAL,
        )
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
    w *= settings.aotf_width_factor
    s *= settings.aotf_lobe_factor
    g *= settings.aotf_pedestal_factor
    x = _array(wavenumber_cm1) - centre_cm1
    lobe = np.where(x <= -w, s * a, np.where(x > w, s, 1.0))
    pedestal = g * np.exp(-(x**2) / (2.0 * _AOTF_PEDESTAL_SIGMA**2))
    return np.asarray(np.sinc(x / w) ** 2 * lobe + pedestal)


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
    d = _array(centre_cm1) - 3700.0
    c0, c1, c2, c3 = _FSR
    base = c0 + d * (c1 + d * (c2 + d * c3))
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
    return np.asarray(
        np.sinc((_array(wavenumber_cm1) - width * _array(order)) / width) ** 2
    )


def nearest_order(centre_cm1: ArrayLike) -> NDArray[np.int64]:
    """Diffraction order whose blaze the AOTF centre lies on.

    Parameters
    ----------
    centre_cm1 : array_like
        AOTF centre, cm-1.

    Returns
    -------
    ndarray of int64

    Examples
    --------
    >>> int(nearest_order(3021.476))
    134
    """
    c0, c1, c2 = _ORDER
    nu0 = _array(centre_cm1)
    return np.asarray(np.rint(c0 + nu0 * (c1 + nu0 * c2)).astype(np.int64))


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
    p = _array(pixel)
    sigma = nu / (settings.ils_resolving_power * _ILS_FWHM_PER_SIGMA)
    c2, c1, c0 = _ILS_DELTA
    delta = ((c2 * p + c1) * p + c0) * nu / _ILS_DELTA_WAVENUMBER
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
