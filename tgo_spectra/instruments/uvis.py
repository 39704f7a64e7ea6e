"""NOMAD UVIS: wavelengths and the convolution of cross sections onto pixels.

A grating spectrometer without added orders. Wavelengths in nm, those of the product's
own column; the line shape is taken as a Gaussian (*inferred*), convolved with a boxcar
where pixels were binned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments import coefficients
from tgo_spectra.instruments.line_shape import FWHM_PER_SIGMA, gaussian

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse import csr_array

__all__ = [
    "Convolution",
    "convolution",
    "line_shape",
    "line_shape_derivatives",
    "nominal_wavelength",
]

# Reach of the line shape in sigma beyond the boxcar; the Gaussian is 4e-6 there.
_REACH_SIGMA = 5.0
# Largest step of the grid in sigma: on an even grid the sum is then good to 1e-8.
_STEP_SIGMA = 1.0


class Convolution(NamedTuple):
    """Sparse matrices from a grid of wavelengths to pixels, shape (pixel, grid).

    Attributes
    ----------
    value : scipy.sparse.csr_array
        Rows sum to one.
    shift : scipy.sparse.csr_array
        Derivative by the pixels' wavelength, 1/nm.
    fwhm : scipy.sparse.csr_array
        Derivative by the width of the line shape, 1/nm.
    """

    value: csr_array
    shift: csr_array
    fwhm: csr_array


def nominal_wavelength(pixels: int) -> NDArray[np.float64]:
    """Wavelengths of evenly spaced pixels over the range, for synthetic spectra only.

    Parameters
    ----------
    pixels : int
        Number of pixels; a product has 1024 or, binned, fewer.

    Returns
    -------
    ndarray, shape (pixel,)
        Middles of the pixels, nm.

    Raises
    ------
    InstrumentError
        If there is no pixel.

    Notes
    -----
    That the scale is linear is *inferred*; a product states its own.

    Examples
    --------
    >>> nominal_wavelength(3).tolist()
    [275.0, 425.0, 575.0]
    """
    if pixels < 1:
        msg = "at least one pixel is needed"
        raise InstrumentError(
            msg, field="pixels", value=pixels, rule="instrument.pixels"
        )
    low, high = coefficients("uvis.range")
    return np.asarray(low + (high - low) * (np.arange(pixels) + 0.5) / pixels)


def line_shape(
    offset_nm: ArrayLike, fwhm_nm: float, bin_nm: float = 0.0
) -> NDArray[np.float64]:
    """Line shape of UVIS pixels, of unit area: a Gaussian, seen through a boxcar.

    Parameters
    ----------
    offset_nm : array_like
        Distance from the pixel's wavelength, nm.
    fwhm_nm : float
        Full width at half maximum of the Gaussian, nm.
    bin_nm : float
        Full width of the boxcar of binned pixels, nm; by default none.

    Returns
    -------
    ndarray
        1/nm.

    Raises
    ------
    InstrumentError
        If a width is negative, or that of the Gaussian is zero.

    Examples
    --------
    >>> round(float(line_shape(0.0, 1.5)), 4)
    0.6263
    """
    x = np.asarray(offset_nm, dtype=np.float64)
    sigma = fwhm_nm / FWHM_PER_SIGMA
    if _boxcar(bin_nm) == 0.0:
        return gaussian(x, sigma)
    # the difference of two integrals of the Gaussian
    from scipy.special import ndtr

    gaussian(0.0, sigma)  # refuses a width that is not positive
    high, low = (x + 0.5 * bin_nm) / sigma, (x - 0.5 * bin_nm) / sigma
    return np.asarray((ndtr(high) - ndtr(low)) / bin_nm)


def line_shape_derivatives(
    offset_nm: ArrayLike, fwhm_nm: float, bin_nm: float = 0.0
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of `line_shape`.

    Parameters
    ----------
    offset_nm, fwhm_nm, bin_nm
        As there.

    Returns
    -------
    dict of str to ndarray
        ``shift`` (by the pixel's wavelength) and ``fwhm``, both 1/nm2.

    Raises
    ------
    InstrumentError
        If a width is negative, or that of the Gaussian is zero.

    Examples
    --------
    >>> found = line_shape_derivatives(0.0, 1.5)
    >>> float(found["shift"]), round(float(found["fwhm"]), 4)
    (0.0, -0.4175)
    """
    x = np.asarray(offset_nm, dtype=np.float64)
    sigma = fwhm_nm / FWHM_PER_SIGMA
    if _boxcar(bin_nm) == 0.0:
        line, u = gaussian(x, sigma), x / sigma
        shift, width = line * u / sigma, line * (u * u - 1.0) / sigma
    else:
        high, low = x + 0.5 * bin_nm, x - 0.5 * bin_nm
        up, down = gaussian(high, sigma), gaussian(low, sigma)
        shift = (down - up) / bin_nm
        width = (low * down - high * up) / (sigma * bin_nm)
    return {"shift": np.asarray(shift), "fwhm": np.asarray(width / FWHM_PER_SIGMA)}


def _boxcar(bin_nm: float) -> float:
    if not bin_nm >= 0.0:
        msg = "width of binned pixels must not be negative"
        raise InstrumentError(
            msg, field="bin_nm", value=bin_nm, rule="instrument.bin_width"
        )
    return float(bin_nm)


def convolution(
    grid_nm: ArrayLike,
    pixel_nm: ArrayLike,
    *,
    fwhm_nm: float,
    bin_nm: float = 0.0,
) -> Convolution:
    """Matrices that convolve a spectrum with the line shape and sample it at pixels.

    Parameters
    ----------
    grid_nm : array_like, shape (grid,)
        Ascending wavelengths of the spectrum, at most one sigma apart.
    pixel_nm : array_like, shape (pixel,)
        Wavelengths of the pixels.
    fwhm_nm, bin_nm : float
        As in `line_shape`.

    Returns
    -------
    Convolution

    Raises
    ------
    InstrumentError
        If the grid is not ascending, too coarse or does not cover the pixels.

    Notes
    -----
    Exact for transmittances. Applied to cross sections once for all, it takes the
    mean of an exponential for the exponential of the mean: too much absorption by half
    the variance of the optical depth within the line shape.

    Examples
    --------
    >>> grid = np.arange(250.0, 262.0, 0.1)
    >>> matrix = convolution(grid, [255.0, 256.0], fwhm_nm=1.5).value
    >>> (matrix @ grid).round(6).tolist()
    [255.0, 256.0]
    """
    grid = np.asarray(grid_nm, dtype=np.float64)
    centre = np.asarray(pixel_nm, dtype=np.float64)
    sigma = fwhm_nm / FWHM_PER_SIGMA
    reach = _REACH_SIGMA * sigma + 0.5 * _boxcar(bin_nm)
    _check_grid(grid, centre, sigma, reach)
    first = np.searchsorted(grid, centre - reach)
    last = np.searchsorted(grid, centre + reach, side="right")
    count = last - first
    start = np.cumsum(count) - count
    row = np.repeat(np.arange(centre.size), count)
    column = np.arange(row.size) - start[row] + first[row]
    offset = grid[column] - centre[row]
    part = np.gradient(grid)[column]
    slopes = line_shape_derivatives(offset, fwhm_nm, bin_nm)
    value = line_shape(offset, fwhm_nm, bin_nm) * part
    total = np.add.reduceat(value, start)[row]
    value = value / total
    built = [_csr(value, row, column, (centre.size, grid.size))]
    for name in ("shift", "fwhm"):
        change = slopes[name] * part / total
        change = change - value * np.add.reduceat(change, start)[row]
        built.append(_csr(change, row, column, (centre.size, grid.size)))
    return Convolution(*built)


def _csr(
    values: NDArray[np.float64],
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    shape: tuple[int, int],
) -> csr_array:
    from scipy.sparse import coo_array

    return coo_array((values, (row, column)), shape=shape).tocsr()


def _check_grid(
    grid: NDArray[np.float64],
    centre: NDArray[np.float64],
    sigma: float,
    reach: float,
) -> None:
    if grid.ndim != 1 or grid.size < 2 or not (np.diff(grid) > 0.0).all():
        msg = "wavelengths of the spectrum must ascend"
        raise InstrumentError(
            msg, field="grid_nm", value=grid.shape, rule="instrument.grid_ascends"
        )
    step = float(np.diff(grid).max())
    if not step <= _STEP_SIGMA * sigma:
        msg = f"steps must not exceed {_STEP_SIGMA * sigma:.3f} nm for this width"
        raise InstrumentError(
            msg, field="grid_nm", value=step, rule="instrument.grid_step"
        )
    low, high = float(centre.min()) - reach, float(centre.max()) + reach
    if not (grid[0] <= low and high <= grid[-1]):
        msg = f"spectrum must cover {low:.2f} to {high:.2f} nm"
        raise InstrumentError(
            msg,
            field="grid_nm",
            value=(float(grid[0]), float(grid[-1])),
            rule="instrument.grid_covers",
        )
