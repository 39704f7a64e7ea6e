"""Path integrals: closed forms, order of convergence; refraction against a tracer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import k0e, k1e, kve

from tgo_spectra import geometry
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.forward import ray
from tgo_spectra.forward.kernels import radius_at

RADIUS = 3389.5  # km
SURFACE = 2.1e17  # cm-3, about 610 Pa at 210 K
RHO = ray.refractivity_per_density(3030.0)


def isothermal(step, scale=9.0, top=160.0):
    z = np.arange(0.0, top + 1e-9, step)
    return RADIUS + z, SURFACE * np.exp(-z / scale)


def chapman(tangent, scale):
    """Column of the whole exponential atmosphere: 2 n(a) a exp(a/H) K1(a/H)."""
    n = SURFACE * np.exp(-(tangent - RADIUS) / scale)
    return 2e5 * n * tangent * k1e(tangent / scale)


@pytest.mark.parametrize(
    ("step", "tolerance"), [(0.25, 1e-9), (1.0, 1e-7), (5.0, 3e-6)]
)
def test_columns__of_an_isothermal_atmosphere_are_the_closed_form(step, tolerance):
    """Whatever the step; also above the highest point and inside the last layer."""
    r, n = isothermal(step)
    tangent = RADIUS + np.array([0.0, 0.1, 7.3, 40.0, 99.9, 159.9, 160.0, 163.0, 200.0])
    columns = ray.layer_columns(tangent, r, n, top_scale_km=9.0).sum(axis=1)
    np.testing.assert_allclose(columns, chapman(tangent, 9.0), rtol=tolerance)


def test_top__is_what_a_cut_leaves_out():
    """At 160 km, scale height 9 km: 1e-8 of the column at 0 km, all of it at 160 km."""
    r, n = isothermal(0.25)
    tangent = RADIUS + np.array([0.0, 60.0, 100.0, 120.0, 159.0])
    cut = ray.layer_columns(tangent, r, n).sum(axis=1)
    missing = 1.0 - cut / chapman(tangent, 9.0)
    assert (np.diff(missing) > 0).all()
    assert missing[0] < 2e-8
    assert 1e-4 < missing[2] < 2e-3
    assert missing[4] > 0.5
    assert ray.layer_columns([RADIUS + 200.0], r, n).sum() == 0.0
    assert ray.top_scale_height(r, n) == pytest.approx(9.0, rel=1e-12)


def test_columns__of_something_linear_in_radius_are_the_closed_form():
    """Mole fraction linear in r: integrals of exp(-y cosh u) cosh^2 u, K0 and K2."""
    r, n = isothermal(0.25, top=400.0)
    tangent = RADIUS + np.array([0.0, 33.3])
    y = tangent / 9.0
    first = tangent**2 * 0.5 * (k0e(y) + kve(2, y))  # of n r
    exact = 2e5 * SURFACE * np.exp(-(tangent - RADIUS) / 9.0) * first
    exact -= RADIUS * chapman(tangent, 9.0)
    found = ray.layer_columns(tangent, r, n) @ (r - RADIUS)
    np.testing.assert_allclose(found, exact, rtol=1e-8)


@pytest.mark.parametrize("scheme", ["linear density", "exponential density"])
def test_quadrature__is_of_second_order(scheme):
    """Both schemes interpolate something linearly: error falls with step squared.

    The linear one the product of density and absorption, the exponential one only what
    weights the density: at the same step its error is a quarter here.
    """
    scale, other = 9.0, 12.0  # density, and a cross-section that falls upwards
    both = 1.0 / (1.0 / scale + 1.0 / other)
    tangent = RADIUS + np.array([0.0, 20.0])
    steps = 4.0 * 0.5 ** np.arange(6)
    errors = []
    for step in steps:
        r, n = isothermal(step, top=400.0)
        q = np.exp(-(r - RADIUS) / other)
        if scheme == "linear density":
            found = geometry.path_weights(tangent, r) @ (n * q)
        else:
            found = ray.layer_columns(tangent, r, n) @ q
        errors.append(np.abs(found / chapman(tangent, both) - 1.0).max())
    order = -np.diff(np.log2(errors))
    print(scheme, "error at 0.25 km", f"{errors[4]:.1e}", "orders", order.round(2))
    np.testing.assert_allclose(order, 2.0, atol=0.2)
    assert errors[4] < {"linear density": 2.1e-4, "exponential density": 6e-5}[scheme]


def test_moments__are_the_derivative_by_the_density():
    r, n = isothermal(2.0, top=60.0)
    n = n * (1.0 + 0.1 * np.sin(r))
    q = np.cos(r / 7.0)
    tangent = RADIUS + np.array([1.1, 6.0, 59.0])

    def column(density):
        scale = ray.top_scale_height(r, density)
        return ray.layer_columns(tangent, r, density, top_scale_km=scale) @ q

    scale = ray.top_scale_height(r, n)
    own, cross, top = ray.column_moments(tangent, r, n, top_scale_km=scale)
    slope = own * q
    slope[:, :-1] += cross * q[1:]
    slope[:, 1:] += cross * q[:-1]
    slope[:, -2] += top * q[-1] / (r[-1] - r[-2])
    slope[:, -1] -= top * q[-1] / (r[-1] - r[-2])
    for j in range(r.size):
        h = 1e-4
        up, down = n.copy(), n.copy()
        up[j] *= np.exp(h)
        down[j] *= np.exp(-h)
        numeric = (column(up) - column(down)) / (2.0 * h)
        np.testing.assert_allclose(
            slope[:, j], numeric, atol=1e-7 * abs(column(n)).max()
        )


# refraction


def test_refractivity__is_that_of_the_source():
    """CO2 at 0 degree Celsius and 1 atm: 449.1e-6 in yellow light, 402e-6 static-like.

    In the infrared a Lorentz oscillator of the strength of the nu3 band (2.7e3 cm-2
    atm-1 at 2349 cm-1) takes 37e-6 off at 3030 cm-1, the extrapolated formula 46e-6.
    """
    standard = ray.STANDARD_DENSITY_CM3
    yellow = ray.refractivity_per_density(1e4 / 0.5893) * standard
    assert yellow == pytest.approx(449.1e-6, abs=0.3e-6)
    band = 2.7e3 / (2.0 * np.pi**2) / (2349.0**2 - 3030.0**2)
    electrons = 0.083091927 / 210.9241 + 0.0028764190 / 60.122959
    assert RHO * standard == pytest.approx(electrons + band, rel=0.03)
    with pytest.raises(AtmosphereError, match="2349"):
        ray.refractivity_per_density(2349.0)


def test_refraction__on_mars_has_the_known_magnitude():
    r, n = isothermal(0.25, 11.0)
    angle, lowest, _, _ = trace(RADIUS, 11.0, RHO)
    lower = RADIUS - lowest
    straight = ray.layer_columns([RADIUS], r, n, top_scale_km=11.0).sum()
    bent = ray.layer_columns(
        [RADIUS], r, n, top_scale_km=11.0, refractivity_cm3=RHO
    ).sum()
    print(f"{1e3 * lower:.1f} m lower, {angle:.4f} degree, {bent / straight - 1:.2%}")
    assert 0.008 < lower < 0.014
    assert 0.005 < angle < 0.03
    assert 1e-3 < bent / straight - 1.0 < 4e-3


def test_weak_refraction__has_its_analytic_limits():
    """The change of the column is of first order in N."""
    scale = 9.0
    r, n = isothermal(0.25, scale)
    weak = 1e-4 * RHO
    impact = RADIUS + np.array([0.0, 12.3, 100.0, 170.0])
    straight = ray.layer_columns(impact, r, n, top_scale_km=scale)
    bent = ray.layer_columns(impact, r, n, top_scale_km=scale, refractivity_cm3=weak)
    # second order would show: the relative change of the column over N is constant
    twice = ray.layer_columns(
        impact, r, n, top_scale_km=scale, refractivity_cm3=2.0 * weak
    )
    ratio = (twice - straight).sum(axis=1) / (bent - straight).sum(axis=1)
    np.testing.assert_allclose(ratio[:2], 2.0, rtol=1e-4)


def trace(impact, scale, refractivity):
    """Follow a ray through the plane by d(mu u)/ds = grad mu.

    Returns deflection (degree), lowest radius, column along it, and how well Bouguer's
    mu r sin(theta) stays constant.
    """

    def density(r):
        return SURFACE * np.exp(-(r - RADIUS) / scale)

    def rate(_, state):
        x, y, px, py, _ = state
        r = np.hypot(x, y)
        n = density(r)
        mu = 1.0 + refractivity * n
        slope = -refractivity * n / scale / r
        return [px / mu, py / mu, slope * x, slope * y, n]

    reach = 1600.0
    start = [
        -reach,
        impact,
        1.0 + refractivity * density(np.hypot(reach, impact)),
        0,
        0,
    ]
    found = solve_ivp(
        rate, (0, 2 * reach), start, "DOP853", rtol=1e-12, atol=1e-9, max_step=20.0,
        dense_output=True,
    )  # fmt: skip
    x, y, px, py, column = found.y
    bouguer = x * py - y * px
    s = np.linspace(0.9 * reach, 1.1 * reach, 40001)
    path = found.sol(s)
    lowest = np.hypot(path[0], path[1]).min()
    angle = -np.degrees(np.arctan2(py[-1], px[-1]))
    return angle, lowest, 1e5 * column[-1], np.ptp(bouguer) / impact


@pytest.mark.parametrize("times", [1.0, 10.0])
def test_refracted_path__equals_a_traced_ray(times):
    """Also ten times as refractive as Mars, where second order shows."""
    scale, rho = 9.0, times * RHO
    r, n = isothermal(0.25, scale)
    impact = RADIUS + 5.0
    angle, lowest, column, drift = trace(impact, scale, rho)
    assert drift < 1e-11  # the tracer keeps Bouguer's invariant
    # first order: angle N sqrt(2 pi r / H), lowered by N r
    index = rho * SURFACE * np.exp(-(impact - RADIUS) / scale)
    expected = index * np.sqrt(2.0 * np.pi * impact / scale)
    assert np.radians(angle) == pytest.approx(expected, rel=0.02 * times)
    tangent = radius_at(impact, r[20], n[20], 1.0 / scale, rho)
    assert tangent == pytest.approx(lowest, abs=1e-6)
    columns = ray.layer_columns(
        [impact], r, n, top_scale_km=scale, refractivity_cm3=rho
    )
    assert columns.sum() == pytest.approx(column, rel=1e-8)
    local = n[20] * np.exp(-(tangent - r[20]) / scale)
    assert (1.0 + rho * local) * tangent == pytest.approx(impact, rel=1e-14)


def test_kernels__as_python_agree():
    from tgo_spectra.forward import kernels

    r, n = isothermal(10.0)
    impact = RADIUS + np.array([0.0, 25.0])

    def everything():
        return (
            ray.layer_columns(impact, r, n, top_scale_km=9.0, refractivity_cm3=RHO),
            *ray.column_moments(impact, r, n, top_scale_km=9.0),
        )

    compiled = everything()
    with pytest.MonkeyPatch.context() as patch:
        for name in kernels.__all__:
            patch.setattr(kernels, name, getattr(kernels, name).py_func)
        plain = everything()
    for one, two in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)


def test_bad_input__is_refused():
    r, n = isothermal(10.0)
    with pytest.raises(AtmosphereError, match="ascending"):
        ray.layer_columns([RADIUS], r[::-1], n)
    with pytest.raises(AtmosphereError, match="below"):
        ray.layer_columns([RADIUS - 0.001], r, n)
    with pytest.raises(AtmosphereError, match="finite"):
        ray.layer_columns([np.nan], r, n)
    with pytest.raises(AtmosphereError, match="positive number density"):
        ray.layer_columns([RADIUS], r, 0.0 * n)
    with pytest.raises(AtmosphereError, match="trapped"):
        ray.layer_columns([RADIUS], r, n, refractivity_cm3=1e4 * RHO)
    with pytest.raises(AtmosphereError, match="scale height"):
        ray.layer_columns([RADIUS], r, n, top_scale_km=0.0)
    with pytest.raises(AtmosphereError, match="fall at the top"):
        ray.top_scale_height(r, n[::-1])
    # a bent ray that touches the ground has its impact parameter above the ground
    assert ray.layer_columns([RADIUS], r, n, refractivity_cm3=RHO).sum() > 0.0
