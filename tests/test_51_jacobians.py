"""The exact Jacobian: every state element, adjoint, Taylor order, both precisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference import exact_jacobian as jacobian
from reference import exact_kernel
from reference.exact_operator import EXACT_KINDS, build_exact_operator

import tgo_spectra as tgo
from tgo_spectra import geometry
from tgo_spectra.errors import AtmosphereError, InstrumentError, RetrievalError
from tgo_spectra.forward import sight
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments import so as instrument
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.spectroscopy.tables import table_arrays

PIXELS = np.arange(40, 280, 12)
LEVELS = np.arange(0.0, 81.0, 4.0)
HEIGHTS = np.arange(2.0, 42.0, 2.0)
CENTRES = np.linspace(5.0, 37.0, 9)
SO = instrument.SoInstrument(n_orders=3)
TABLES = {134: "so_134_136", 190: "so_186_191"}


class Model:
    """One product's worth of state, moved element by element."""

    def __init__(self, order=134, balance="fixed_pressure", so=SO):
        self.order, self.so = order, so
        self.band = table_arrays(tgo.open_table(TABLES[order]))
        self.points = forward.quadrature_altitudes(LEVELS, HEIGHTS)
        air = tgo.reference_atmosphere(self.points)
        self.sight = sight.make_sight(
            self.band,
            altitude_km=LEVELS,
            height_km=HEIGHTS,
            points_km=self.points,
            pressure_pa=air.pressure.values,
            temperature_k=air.temperature.values,
            number_density_cm3=air.number_density.values,
            planet_radius_km=3389.5,
            balance=balance,
        )
        self.rows = geometry.fov_operator(HEIGHTS, CENTRES, [1.2, 0.5])
        self.position = (PIXELS - 159.5) / 159.5
        self.polynomials = np.polynomial.legendre.legvander(self.position, 2).T
        levels = tgo.reference_atmosphere(LEVELS)
        rng = np.random.default_rng(order)
        vmr = {"co": levels.co_vmr.values}
        if order == 134:
            vmr = {"h2o": levels.h2o_vmr.values, "ch4": np.full(LEVELS.size, 2e-9)}
        self.vmr = {g: v * rng.uniform(0.5, 1.5, v.size) for g, v in vmr.items()}
        self.state = {f"{gas}_vmr": v for gas, v in self.vmr.items()} | {
            "temperature": rng.uniform(-4.0, 4.0, LEVELS.size),
            "pressure_scale": 1.1,
            "aerosol_depth": 0.8 * np.exp(-HEIGHTS / 12.0),
            "aerosol_exponent": -0.7,
            "baseline": rng.uniform(-0.1, 0.1, (CENTRES.size, 3))
            + np.array([0.9, 0.0, 0.0]),
            "shift": 0.3,
            "stretch": 0.05,
            "ghost_amplitude": so.ils_amplitude,
            "aotf_offset": 0.0,
        }

    def wavenumber(self, pixel):
        return instrument.pixel_wavenumber(self.order, pixel, -5.0, "archive")

    def view(self, state, build=build_exact_operator, **options):
        moved = PIXELS + state["shift"] + state["stretch"] * self.position
        band = self.band
        seen_by = build(
            band.node_cell,
            band.node_weight,
            float(band.cell_start_cm1[0]),
            band.cell_width_cm1,
            pixel_wavenumber_cm1=self.wavenumber(moved),
            order=self.order,
            aotf_frequency_khz=float(instrument.AOTF_FREQUENCY_KHZ[self.order]),
            temperature_c=-5.0,
            pixels=PIXELS,
            settings=replace(
                self.so,
                ils_amplitude=state["ghost_amplitude"],
                aotf_offset=state["aotf_offset"],
            ),
            **options,
        )
        step = 0.5
        slope = self.wavenumber(moved + step) - self.wavenumber(moved - step)
        return jacobian.View(
            seen_by, self.rows, slope, self.position, self.polynomials
        )  # the scale is quadratic in the pixel: its difference is the derivative

    def parts(self, state, **options):
        vmr = {gas: state[f"{gas}_vmr"] for gas in self.vmr}
        air = sight.AirState(vmr, state["temperature"], state["pressure_scale"])
        light = jacobian.Light(
            state["aerosol_depth"],
            state["aerosol_exponent"],
            float(self.wavenumber(160.0)),
            state["baseline"],
        )
        return self.sight, air, light, self.view(state, **options)

    def spectra(self, state):
        return jacobian.spectra(*self.parts(state))

    def moved(self, name, change):
        return self.state | {name: self.state[name] + change}

    def difference(self, name, direction, step):
        """Central difference of fourth order along a direction of one element."""
        side = {
            k: self.spectra(self.moved(name, k * step * direction))
            for k in (-2, -1, 1, 2)
        }
        return (8.0 * (side[1] - side[-1]) - (side[2] - side[-2])) / (12.0 * step)


@pytest.fixture(scope="module", params=[134, 190])
def model(request):
    return Model(request.param)


@pytest.fixture(scope="module")
def linear(model):
    return jacobian.spectra_and_jacobian(*model.parts(model.state))


STEPS = {
    "temperature": 0.05,
    "pressure_scale": 1e-3,
    "aerosol_depth": 1e-2,
    "aerosol_exponent": 1e-2,
    "shift": 2e-3,
    "stretch": 2e-3,
    "ghost_amplitude": 1e-3,
    "aotf_offset": 1e-4,
}


def test_spectra__are_those_of_the_jacobian_and_of_both_operators(model, linear):
    np.testing.assert_allclose(linear[0], model.spectra(model.state), atol=1e-14)
    parts = model.parts(model.state, build=operator.build_operator, dtype=np.float64)
    np.testing.assert_allclose(linear[0], jacobian.spectra(*parts), atol=2e-7)


def test_jacobian__has_every_element_of_the_state(model, linear):
    assert list(linear[1]) == list(model.state)
    shape = (CENTRES.size, PIXELS.size)
    for name, values in linear[1].items():
        own = np.shape(model.state[name])
        extra = own[1:] if name == "baseline" else own
        assert values.shape == shape + extra, name


@pytest.mark.parametrize("name", ["temperature", "vmr", "aerosol_depth"])
def test_profiles__equal_central_differences(model, linear, name):
    """Within 1e-6 of the maximum over altitude, at several levels."""
    names = [f"{g}_vmr" for g in model.vmr] if name == "vmr" else [name]
    for element in names:
        analytic = linear[1][element]
        scale = np.abs(analytic).max()
        step = STEPS.get(element, 0.02 * np.abs(model.state[element]).max())
        worst = 0.0
        for level in (0, 1, 3, 6, 10, analytic.shape[2] - 1):
            direction = np.eye(analytic.shape[2])[level]
            numeric = model.difference(element, direction, step)
            worst = max(worst, np.abs(numeric - analytic[:, :, level]).max() / scale)
        print(f"{element}: {worst:.1e} of the maximum over altitude")
        assert worst < 1e-6


@pytest.mark.parametrize(
    "name",
    [name for name in STEPS if name not in ("temperature", "aerosol_depth")],
)
def test_single_elements__equal_central_differences(model, linear, name):
    numeric = model.difference(name, 1.0, STEPS[name])
    error = np.abs(numeric - linear[1][name]).max() / np.abs(linear[1][name]).max()
    print(f"{name}: {error:.1e} of the maximum")
    assert error < 1e-6


def test_baseline__equals_central_differences(model, linear):
    for coefficient in range(3):
        direction = np.zeros((CENTRES.size, 3))
        direction[:, coefficient] = 1.0
        numeric = model.difference("baseline", direction, 0.1)
        analytic = linear[1]["baseline"][:, :, coefficient]
        np.testing.assert_allclose(numeric, analytic, atol=1e-12)


def test_hydrostatic_temperature__equals_central_differences():
    model = Model(190, "hydrostatic")
    parts = model.parts(model.state)
    _, found = jacobian.spectra_and_jacobian(*parts, elements=["temperature"])
    analytic = found["temperature"]
    scale = np.abs(analytic).max()
    for level in (0, 2, 5, 9, 20):
        numeric = model.difference("temperature", np.eye(LEVELS.size)[level], 0.05)
        assert np.abs(numeric - analytic[:, :, level]).max() < 1e-6 * scale
    # warmer air below lifts the pressure above: the far field is not zero
    fixed = Model(190)
    _, other = jacobian.spectra_and_jacobian(
        *fixed.parts(model.state), elements=["temperature"]
    )
    assert np.abs(other["temperature"] - analytic).max() > 0.1 * scale


@pytest.mark.parametrize("reference", ["order", "pixel"])
def test_other_line_shape_references__equal_central_differences(reference):
    model = Model(190, so=replace(SO, ils_reference=reference))
    names = ["shift", "ghost_amplitude", "aotf_offset"]
    _, found = jacobian.spectra_and_jacobian(*model.parts(model.state), elements=names)
    for name in names:
        numeric = model.difference(name, 1.0, STEPS[name])
        assert np.abs(numeric - found[name]).max() < 1e-6 * np.abs(found[name]).max()


@pytest.mark.parametrize("seed", range(20))
def test_twenty_states__equal_central_differences(seed):
    """Random profiles, temperatures, pressures, aerosols and scales; all elements.

    Along a random direction of each profile, within 1e-6 of its largest effect.
    """
    model = Model(190)
    rng = np.random.default_rng(100 + seed)
    state = model.state
    state["co_vmr"] = state["co_vmr"] * rng.uniform(0.2, 2.0, LEVELS.size)
    state["temperature"] = rng.uniform(-15.0, 15.0, LEVELS.size)
    state["pressure_scale"] = rng.uniform(0.7, 1.4)
    state["aerosol_depth"] = rng.uniform(0.0, 1.0) * np.exp(-HEIGHTS / 10.0)
    state["aerosol_exponent"] = rng.uniform(-2.0, 2.0)
    state["shift"], state["stretch"] = rng.uniform(-3.0, 3.0), rng.uniform(-0.2, 0.2)
    state["ghost_amplitude"] = rng.uniform(0.2, 0.35)
    state["aotf_offset"] = rng.uniform(-1.0, 1.0)
    directions = {
        name: rng.uniform(-1.0, 1.0, np.shape(state[name]))
        for name in ("co_vmr", "temperature", "aerosol_depth")
    }
    _, found = jacobian.spectra_and_jacobian(*model.parts(state))
    for name in found:
        if name == "baseline":  # linear: a test of its own
            continue
        direction = directions.get(name, 1.0)
        analytic = found[name]
        if analytic.ndim == 3:
            analytic = analytic @ direction
        step = STEPS.get(name, 2e-6)
        numeric = model.difference(name, direction, step)
        error = np.abs(numeric - analytic).max() / np.abs(analytic).max()
        assert error < 1e-6, name


def random_change(model, rng):
    return {
        name: rng.normal(size=np.shape(value)) * (np.abs(value).max() + 0.1)
        if not name.endswith("_vmr")
        else rng.normal(size=value.shape) * value.max()
        for name, value in model.state.items()
    }


def product(jacobian_fields, change):
    total = 0.0
    for name, field in jacobian_fields.items():
        if name == "baseline":
            total = total + np.einsum("rpc,rc->rp", field, change[name])
        else:
            total = (
                total + field @ np.atleast_1d(change[name])
                if (field.ndim == 3)
                else total + field * change[name]
            )
    return total


def test_tangent__equals_the_jacobian_times_a_change(model, linear):
    change = random_change(model, np.random.default_rng(1))
    found = jacobian.tangent(*model.parts(model.state), change)
    expected = product(linear[1], change)
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()


def test_adjoint__is_the_transpose_of_the_tangent(model, linear):
    """<y, J x> = <J^T y, x> to 1e-12, and element by element against the matrix."""
    rng = np.random.default_rng(2)
    parts = model.parts(model.state)
    for _ in range(3):
        change = random_change(model, rng)
        weight = rng.normal(size=linear[0].shape)
        forth = np.sum(weight * jacobian.tangent(*parts, change))
        back = jacobian.adjoint(*parts, weight)
        terms = [np.sum(back[name] * change[name]) for name in change]
        assert abs(sum(terms) - forth) < 1e-12 * np.abs(terms).sum()
    for name, field in linear[1].items():
        if name == "baseline":
            expected = np.einsum("rpc,rp->rc", field, weight)
        else:
            expected = np.tensordot(weight, field, axes=2)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(back[name], expected, atol=1e-11 * scale)


@pytest.mark.parametrize("name", ["vmr", "temperature", "pressure_scale", "shift"])
def test_taylor_remainder__falls_with_the_square(model, linear, name):
    """Order 2.00 +- 0.05 once the step is small."""
    if name == "vmr":
        change = {f"{g}_vmr": v for g, v in model.vmr.items()}
        sizes = 0.02 * 0.5 ** np.arange(4)
    else:
        change = {name: np.ones(np.shape(model.state[name]))}
        largest = {"temperature": 2.0, "pressure_scale": 0.02, "shift": 0.05}
        sizes = largest[name] * 0.5 ** np.arange(4)
    slope = jacobian.tangent(*model.parts(model.state), change)
    rest = []
    for size in sizes:
        state = dict(model.state)
        for element, direction in change.items():
            state[element] = state[element] + size * direction
        rest.append(np.linalg.norm(model.spectra(state) - linear[0] - size * slope))
    order = np.diff(np.log(rest)) / np.diff(np.log(sizes))
    print(name, order.round(3))
    np.testing.assert_allclose(order[-1], 2.0, atol=0.05)


def test_chunks_of_heights__do_not_matter(model, linear, monkeypatch):
    for number in (1, 3, 100):
        monkeypatch.setattr(jacobian, "HEIGHTS_AT_ONCE", number)
        y, found = jacobian.spectra_and_jacobian(*model.parts(model.state))
        np.testing.assert_allclose(y, linear[0], atol=1e-12)
        for name, field in found.items():
            scale = np.abs(linear[1][name]).max()
            np.testing.assert_allclose(field, linear[1][name], atol=1e-12 * scale)


def test_fast_path__agrees_with_the_exact_one(model):
    """float64 with all directions to rounding; float32 to 1e-6 (nodes and pixels)."""
    state = model.state | {
        "temperature": np.zeros(LEVELS.size),
        "pressure_scale": 1.0,
        "aerosol_depth": np.zeros(HEIGHTS.size),
    }
    line, air, light, view = model.parts(state)
    weights = sight.absorption_weights(line, air)
    exact = jacobian.monochromatic(line, weights, light)
    coefficients = {
        gas: sight.coefficients_on_points(
            line, gas, line.pressure_pa, line.temperature_k, derivatives=False
        )[0]
        for gas in model.vmr
    }
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-6)):
        limb = forward.limb(
            altitude_km=LEVELS,
            height_km=HEIGHTS,
            points_km=model.points,
            number_density_cm3=line.number_density_cm3,
            planet_radius_km=line.radius_km,
            vectors={gas: model.band.vectors[gas] for gas in model.vmr},
            coefficients=coefficients,
            jacobian_rank=None,
            dtype=dtype,
        )
        seen_by = model.view(state, operator.build_operator, dtype=dtype).operator
        fields = forward.pixel_fields(limb, seen_by, model.vmr)
        node = np.abs(forward.node_transmittance(limb, model.vmr) - exact).max()
        plain = model.view(state, operator.build_operator, dtype=np.float64).operator
        pixel = np.abs(fields.value - operator.apply(plain, exact)).max()
        print(f"{np.dtype(dtype)}: {node:.1e} on nodes, {pixel:.1e} on pixels")
        assert node < tolerance
        assert pixel < tolerance
        if dtype is np.float64:
            for gas, path in limb.gases.items():
                mine = np.einsum("pkh,khl->hpl", fields.gas[gas], path.path)
                rows = replace(view, operator=plain, rows=np.eye(HEIGHTS.size))
                _, found = jacobian.spectra_and_jacobian(
                    line, air, jacobian.Light(), rows, [f"{gas}_vmr"]
                )
                other = found[f"{gas}_vmr"]
                scale = np.abs(other).max()
                np.testing.assert_allclose(mine, other, atol=1e-12 * scale)


def test_elements_and_options__that_do_not_exist_are_refused(model):
    parts = model.parts(model.state)
    with pytest.raises(RetrievalError, match="no such state element"):
        jacobian.spectra_and_jacobian(*parts, elements=["h2o2_vmr"])
    line, air, _, view = parts
    with pytest.raises(RetrievalError, match="baseline"):
        jacobian.tangent(line, air, jacobian.Light(), view, {"baseline": 1.0})
    with pytest.raises(RetrievalError, match="reference"):
        jacobian.Light(np.zeros(3))
    with pytest.raises(InstrumentError, match="curvature"):
        operator.apply(parts[3].operator, np.zeros((4, 1)), "curvature")
    arrays = {
        "altitude_km": LEVELS,
        "height_km": HEIGHTS,
        "points_km": model.points,
        "pressure_pa": np.ones(3),
        "temperature_k": model.sight.temperature_k,
        "number_density_cm3": model.sight.number_density_cm3,
        "planet_radius_km": 3389.5,
    }
    with pytest.raises(AtmosphereError, match="shape"):
        sight.make_sight(model.band, **arrays)
    with pytest.raises(AtmosphereError, match="isothermal"):
        sight.make_sight(model.band, **arrays, balance="isothermal")


def test_exact_operator__names_its_rows_and_keeps_flat_flat(model):
    seen_by = model.view(model.state).operator
    assert seen_by.kinds == EXACT_KINDS
    flat = operator.apply_many(seen_by, np.ones((seen_by.n_nodes, 1)))[:, :, 0]
    np.testing.assert_allclose(flat[0], 1.0, atol=1e-12)
    np.testing.assert_allclose(flat[1:], 0.0, atol=1e-11)


def test_kernels__as_python_agree():
    from tgo_spectra.instruments.response import kernel as operator_kernel

    band = table_arrays(tgo.open_table(TABLES[190]))
    pixels = np.array([100, 200])
    rng = np.random.default_rng(3)
    field = rng.uniform(size=(band.nodes_cm1.size, 2))
    factors = rng.uniform(size=(band.nodes_cm1.size, 3))

    def everything():
        seen_by = build_exact_operator(
            band.node_cell,
            band.node_weight,
            float(band.cell_start_cm1[0]),
            band.cell_width_cm1,
            pixel_wavenumber_cm1=instrument.pixel_wavenumber(190, pixels, -5.0),
            order=190,
            aotf_frequency_khz=26008.0,
            temperature_c=-5.0,
            pixels=pixels,
            n_orders=0,
        )
        return (
            seen_by.data,
            operator.apply_many(seen_by, field),
            operator.apply_factors(seen_by, factors, field),
        )

    compiled = everything()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("apply_blocks", "apply_products", "_multiply"):
            kernel = getattr(operator_kernel, name)
            patch.setattr(operator_kernel, name, kernel.py_func)
        for name in ("fill_directions", "normalise_directions"):
            kernel = getattr(exact_kernel, name)
            patch.setattr(exact_kernel, name, kernel.py_func)
        plain = everything()
    for one, two in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-9)
    products = (factors[:, :, None] * field[:, None, :]).reshape(len(field), -1)
    model = Model(190)
    seen_by = model.view(model.state).operator
    many = operator.apply(seen_by, products)
    each = operator.apply_factors(seen_by, factors, field)
    np.testing.assert_allclose(each.reshape(many.shape), many, atol=1e-12)
    with pytest.raises(InstrumentError, match="factors"):
        operator.apply_factors(seen_by, factors[:5], field)
