r"""Columns along limb rays, straight or refracted, through exponential layers.

Between two points of the grid the number density is exponential in radius, so that an
isothermal atmosphere is integrated exactly whatever the step; a factor on it (mole
fraction times cross-section) is linear. The integral over a layer is taken along the
path by Gauss-Legendre, where the integrand is smooth also at the tangent point.

Refraction: with spherical symmetry :math:`\mu(r)\, r \sin\theta` is constant along a
ray (Bouguer), so that in the coordinate :math:`x = \mu r` a bent ray is the straight
chord of impact parameter b, times :math:`1 / (dx/dr)`. It is off unless a refractivity
is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from tgo_spectra.errors import AtmosphereError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "ColumnMoments",
    "LineOfSight",
    "column_moments",
    "layer_columns",
    "refractivity_per_density",
    "top_scale_height",
]

Top = Literal["exponential", "cut"]

CM_PER_KM = 1e5

#: Molecules per cm3 at 273.15 K and 101325 Pa (Loschmidt's constant, from the exact SI
#: values of 2019), the conditions of the dispersion formula.
STANDARD_DENSITY_CM3 = 2.686780111e19

# n - 1 of CO2 at standard conditions, sum of a / (b - lambda^-2), lambda in micrometre:
# Old, Gentili and Peck 1971, J. Opt. Soc. Am. 61, 89, doi:10.1364/JOSA.61.000089, as
# tabulated by refractiveindex.info (CC0). Measured from 0.48 to 1.82 micrometre; the
# pole of the first term (4.14 micrometre) stands for the nu3 band. Longward of 1.82
# micrometre it is extrapolated: to be verified.
_DISPERSION = (
    (0.00000154489, 0.0584738),
    (0.083091927, 210.9241),
    (0.0028764190, 60.122959),
)
#: Range of the extrapolation, cm-1: nearer to the nu3 band the formula is no use.
REFRACTIVITY_RANGE_CM1 = (2600.0, 20830.0)

#: Gauss-Legendre points in a layer. Error of the column of an isothermal atmosphere,
#: scale height 9 km: 2e-10 for steps of 0.25 km, 2e-8 for 1 km, 2e-6 for 5 km.
LAYER_POINTS = 3
#: Panels, points in each and extent (scale heights) of the part above the grid.
TOP_PANELS, TOP_POINTS, TOP_FOLDS = 12, 8, 40.0
#: A refracted ray may pass this far below the lowest point, km (Mars: 0.012 km).
BELOW_GRID_KM = 0.1


class _Grid(NamedTuple):
    """Checked arrays of a grid of exponential layers."""

    radius: Floats
    density: Floats
    decay: Floats
    bent: Floats


class ColumnMoments(NamedTuple):
    """Slant columns under products of the hats of a grid, cm-2.

    Attributes
    ----------
    own : ndarray, shape (ray, point)
        Under the square of each hat; the last with all that is above.
    cross : ndarray, shape (ray, point - 1)
        Under the product of a hat and the next.
    top : ndarray, shape (ray,)
        Derivative of the column above the grid by the inverse of its scale height,
        cm-2 km.
    """

    own: Floats
    cross: Floats
    top: Floats


@dataclass(frozen=True, kw_only=True)
class LineOfSight:
    """Lines of sight through air that is known at some altitudes.

    Attributes
    ----------
    height_km : ndarray, shape (height,)
        Tangent heights above the areoid; with refraction those of the impact
        parameters, the rays pass lower.
    points_km : ndarray, shape (point,)
        Altitudes of the quadrature, strictly ascending.
    radius_km : float
        Local radius of the areoid.
    top : {"exponential", "cut"}
        Above the last point: the density goes on falling as between the last two, with
        what the last point has of everything else; or nothing.
    refractivity_cm3 : float
        From `refractivity_per_density`; 0: straight.
    """

    height_km: Floats
    points_km: Floats
    radius_km: float
    top: Top = "exponential"
    refractivity_cm3: float = 0.0

    def _top_scale_km(self, number_density_cm3: ArrayLike) -> float | None:
        if self.top == "cut":
            return None
        return top_scale_height(self.points_km, number_density_cm3)

    def air(self, number_density_cm3: ArrayLike) -> Floats:
        """Slant columns of air under the hat of each point, (height, point), cm-2.

        Density (point,); errors as `layer_columns`.
        """
        return layer_columns(
            self.radius_km + self.height_km,
            self.radius_km + self.points_km,
            number_density_cm3,
            top_scale_km=self._top_scale_km(number_density_cm3),
            refractivity_cm3=self.refractivity_cm3,
        )

    def moments(self, number_density_cm3: ArrayLike) -> ColumnMoments:
        """Slant columns of air under products of hats, of straight rays.

        Density (point,); errors as `layer_columns`.
        """
        return column_moments(
            self.radius_km + self.height_km,
            self.radius_km + self.points_km,
            number_density_cm3,
            top_scale_km=self._top_scale_km(number_density_cm3),
        )


def refractivity_per_density(wavenumber_cm1: float) -> float:
    """Refractivity (n - 1) of CO2 per molecule in a cm3, taken for Martian air.

    Old, Gentili and Peck (1971), extrapolated beyond 1.82 micrometre (to be
    verified). Air with 4.5 % of N2 and Ar, taken as CO2, is 1 % less refractive.

    Parameters
    ----------
    wavenumber_cm1 : float
        2600 to 20830 cm-1.

    Returns
    -------
    float
        cm3: times a number density in cm-3 it is n - 1.

    Raises
    ------
    AtmosphereError
        Outside the range.

    Examples
    --------
    >>> round(refractivity_per_density(1e4 / 0.5896) * 2.68678e19 * 1e6, 1)
    449.1
    """
    low, high = REFRACTIVITY_RANGE_CM1
    if not low <= wavenumber_cm1 <= high:
        message = f"the refractivity of CO2 is known from {low} to {high} cm-1 only"
        raise AtmosphereError(
            message,
            field="wavenumber_cm1",
            value=float(wavenumber_cm1),
            rule="ray.refractivity_range",
        )
    inverse_square = (1e-4 * wavenumber_cm1) ** 2
    index = sum(a / (b - inverse_square) for a, b in _DISPERSION)
    return float(index / STANDARD_DENSITY_CM3)


def top_scale_height(altitude_km: ArrayLike, number_density_cm3: ArrayLike) -> float:
    """Scale height of the density between the two highest points, km.

    Parameters
    ----------
    altitude_km, number_density_cm3 : array_like, shape (point,)
        Ascending altitudes or radii, and the density there.

    Returns
    -------
    float

    Raises
    ------
    AtmosphereError
        The density does not fall.

    Examples
    --------
    >>> round(top_scale_height([90.0, 100.0], [2.718281828, 1.0]), 6)
    10.0
    """
    z = np.asarray(altitude_km, dtype=np.float64)[-2:]
    n = np.asarray(number_density_cm3, dtype=np.float64)[-2:]
    if not (n[0] > n[1] > 0.0):
        message = "the density must fall at the top to be continued above it"
        raise AtmosphereError(
            message, field="number_density", value=n.tolist(), rule="ray.top_density"
        )
    return float((z[1] - z[0]) / np.log(n[0] / n[1]))


def layer_columns(
    impact_km: ArrayLike,
    radius_km: ArrayLike,
    number_density_cm3: ArrayLike,
    *,
    top_scale_km: float | None = None,
    refractivity_cm3: float = 0.0,
) -> Floats:
    r"""Slant columns of air under the hat function of each point.

    A quantity q given on the points and linear in radius in between has, weighted with
    the density, the two-sided integral ``columns @ q``.

    Parameters
    ----------
    impact_km : array_like, shape (ray,)
        Impact parameters: without refraction the radii of the tangent points. With it
        a ray passes deeper by the refractivity there times the radius.
    radius_km : array_like, shape (point,)
        Strictly ascending.
    number_density_cm3 : array_like, shape (point,)
        Positive; exponential in radius between two points.
    top_scale_km : float, optional
        Continue the density above the last point with this scale height; what it
        weights is constant there. None: nothing above.
    refractivity_cm3 : float
        Refractivity per number density, from `refractivity_per_density`; 0: straight.

    Returns
    -------
    ndarray, shape (ray, point)
        cm-2.

    Raises
    ------
    AtmosphereError
        If the grid does not ascend, a density or scale height is not positive, a ray
        passes below the grid, or the atmosphere is so dense that rays are trapped.

    Examples
    --------
    An isothermal atmosphere above 3400 km: 2 r exp(r/H) K1(r/H) n, about
    sqrt(2 pi r H) n.

    >>> r = np.arange(3400.0, 3460.0, 5.0)
    >>> n = 1e17 * np.exp(-(r - 3400.0) / 10.0)
    >>> column = layer_columns([3400.0], r, n, top_scale_km=10.0).sum()
    >>> round(float(column) / 1e17 / 1e5, 1)
    462.7
    """
    from tgo_spectra.forward.kernels import integrate_layers

    grid = _grid(radius_km, number_density_cm3, refractivity_cm3)
    impact = _impact(impact_km, grid, refractivity_cm3)
    columns = np.zeros((impact.size, grid.radius.size))
    nodes, weights = np.polynomial.legendre.leggauss(LAYER_POINTS)
    integrate_layers(impact, *grid, refractivity_cm3, nodes, weights, columns)
    if top_scale_km is not None:
        above = _above(impact, grid, top_scale_km, refractivity_cm3)
        columns[:, -1] += above[:, 0]
    columns *= 2.0 * CM_PER_KM
    return columns


def column_moments(
    impact_km: ArrayLike,
    radius_km: ArrayLike,
    number_density_cm3: ArrayLike,
    *,
    top_scale_km: float | None = None,
) -> ColumnMoments:
    """Slant columns under products of hats: what a change of the density weights.

    With the density exponential between points, a relative change of it at point j
    weights the integrand by the hat of j: the derivative of ``columns @ q`` of
    `layer_columns` by the logarithm of the density at j is ``own[j] q[j] +
    cross[j] q[j+1] + cross[j-1] q[j-1]``. Straight rays.

    Parameters
    ----------
    impact_km, radius_km, number_density_cm3, top_scale_km
        As in `layer_columns`.

    Returns
    -------
    ColumnMoments

    Raises
    ------
    AtmosphereError
        As `layer_columns`.

    Examples
    --------
    A hat is the sum of its products with all hats:

    >>> r, n = np.array([3400.0, 3410.0, 3430.0]), np.array([3e17, 1e17, 2e16])
    >>> m = column_moments([3402.0], r, n)
    >>> whole = m.own[0] + np.append(m.cross[0], 0.0) + np.append(0.0, m.cross[0])
    >>> np.allclose(whole, layer_columns([3402.0], r, n)[0], rtol=1e-12)
    True
    """
    from tgo_spectra.forward.kernels import integrate_moments

    grid = _grid(radius_km, number_density_cm3, 0.0)
    impact = _impact(impact_km, grid, 0.0)
    own = np.zeros((impact.size, grid.radius.size))
    cross = np.zeros((impact.size, grid.radius.size - 1))
    rule = np.polynomial.legendre.leggauss(LAYER_POINTS)
    integrate_moments(impact, *grid[:3], *rule, own, cross)
    top = np.zeros(impact.size)
    if top_scale_km is not None:
        above = _above(impact, grid, top_scale_km, 0.0)
        own[:, -1] += above[:, 0]
        top = -above[:, 1]
    factor = 2.0 * CM_PER_KM
    return ColumnMoments(own * factor, cross * factor, top * factor)


def _above(
    impact: Floats, grid: _Grid, top_scale_km: float, refractivity_cm3: float
) -> Floats:
    """One-sided column above the grid and minus its derivative by 1/scale height."""
    from tgo_spectra.forward.kernels import integrate_top

    if not top_scale_km > 0.0:
        message = "the scale height above the grid must be positive"
        raise AtmosphereError(
            message, field="top_scale_km", value=top_scale_km, rule="ray.top_density"
        )
    above = np.zeros((impact.size, 2))
    integrate_top(
        impact,
        grid.radius[-1],
        grid.density[-1],
        1.0 / top_scale_km,
        refractivity_cm3,
        TOP_PANELS,
        TOP_FOLDS,
        *np.polynomial.legendre.leggauss(TOP_POINTS),
        above,
    )
    return above


def _grid(
    radius_km: ArrayLike, number_density_cm3: ArrayLike, refractivity_cm3: float
) -> _Grid:
    r = np.ascontiguousarray(radius_km, dtype=np.float64)
    n = np.ascontiguousarray(number_density_cm3, dtype=np.float64)
    if r.ndim != 1 or r.size < 2 or not np.all(np.diff(r) > 0):
        message = "radius grid needs two or more strictly ascending points"
        raise AtmosphereError(
            message, field="radius_km", value=r.shape, rule="ray.grid_ascending"
        )
    bad = ~(n > 0.0) | ~np.isfinite(n)
    if n.shape != r.shape or bad.any():
        message = "every point needs a finite, positive number density"
        raise AtmosphereError(
            message,
            field="number_density_cm3",
            record=int(np.argmax(bad)) if bad.any() else None,
            value=float(n[bad][0]) if bad.any() else n.shape,
            rule="ray.density_positive",
        )
    bent = r * (1.0 + refractivity_cm3 * n)
    if refractivity_cm3 < 0.0 or not np.all(np.diff(bent) > 0):
        message = "index times radius must ascend: rays are trapped in a dense layer"
        raise AtmosphereError(
            message,
            field="refractivity_cm3",
            value=refractivity_cm3,
            rule="ray.trapped",
        )
    return _Grid(r, n, -np.diff(np.log(n)) / np.diff(r), bent)


def _impact(impact_km: ArrayLike, grid: _Grid, refractivity_cm3: float) -> Floats:
    b = np.atleast_1d(np.asarray(impact_km, dtype=np.float64))
    margin = BELOW_GRID_KM if refractivity_cm3 else 0.0
    bad = ~(b >= grid.radius[0] - margin)
    if bad.any():
        message = (
            "impact parameter must be finite and not below the lowest point "
            f"{grid.radius[0]} km"
        )
        raise AtmosphereError(
            message,
            field="impact_km",
            record=int(np.argmax(bad)),
            value=float(b[bad][0]),
            rule="ray.below_grid",
        )
    return np.ascontiguousarray(b)
