"""Short cuts of the fit against the long way."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference.operator_matrix import as_csr

import tgo_spectra as tgo
from tgo_spectra.errors import InstrumentError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.forward.kernels import exponentiate, through_hats, transmit
from tgo_spectra.instruments.response import fields as responses
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.instruments.response.fields import apply_model
from tgo_spectra.numerics.kernels import sum_splines
from tgo_spectra.retrieval import end
from tgo_spectra.retrieval.kernels import Bands
from tgo_spectra.retrieval.models.so import evaluation

sys.path.append(str(Path(__file__).parent))

import closed_loop as loop


@pytest.fixture(scope="module")
def scene(level1):
    thin = level1.isel(spectrum=slice(0, None, 6))
    return loop.scene_of(thin, tgo.load_setup("so_134"))


@pytest.fixture(scope="module")
def vmr(scene):
    return {gas: np.asarray(scene.prior_vmr[gas]) + 1e-9 for gas in scene.setup.gases}


def test_exponentiate__single_precision():
    values = np.random.default_rng(1).uniform(-86.0, 40.0, 9001).astype(np.float32)
    expected = np.exp(values.astype(float))
    exponentiate(values)
    np.testing.assert_allclose(values, expected, rtol=2e-7)
    ends = np.array([0.0, -1e4, 88.0], dtype=np.float32)
    exponentiate.py_func(ends)
    np.testing.assert_allclose(ends, [1.0, np.exp(-87.0), np.exp(88.0)], rtol=1e-5)


def test_transmit__exponential_and_how_many_are_too_bright():
    rng = np.random.default_rng(4)
    vectors = rng.random((300, 5), dtype=np.float32)
    minus = -rng.random((5, 7), dtype=np.float32)
    minus[:, 3] = 9.0
    expected = np.exp(vectors.astype(float) @ minus.astype(float))
    for kernel in (transmit, transmit.py_func):
        out = np.empty((300, 7), dtype=np.float32)
        # a limit of few multiplications: in many pieces
        bright = kernel(vectors, minus, 1000, np.float32(30.0), out)
        assert bright == (expected >= np.exp(30.0)).sum() > 0
        np.testing.assert_allclose(out, expected, rtol=2e-5)


def test_through_hats__product_with_hats():
    rng = np.random.default_rng(2)
    levels, points = np.arange(0.0, 9.0, 2.0), np.linspace(-1.0, 10.0, 23)
    hats = forward.hat_matrix(levels, points)
    coefficients, air = rng.random((3, points.size)), rng.random((4, points.size))
    air[2, :7] = 0.0
    expected = np.einsum("kp,hp,pl->khl", coefficients, air, hats)
    np.testing.assert_allclose(
        forward._through(coefficients, air, hats), expected, rtol=1e-12, atol=1e-14
    )
    out = np.zeros((3, 1, levels.size))
    lower = np.minimum((hats != 0.0).argmax(axis=1), levels.size - 2)
    at = np.arange(points.size)
    through_hats.py_func(
        coefficients, air[:1], lower, hats[at, lower], hats[at, lower + 1], out
    )
    np.testing.assert_allclose(out, expected[:, :1], rtol=1e-12, atol=1e-14)


def test_sum_splines__scipy():
    from scipy.interpolate import BSpline, make_interp_spline

    heights = np.array([0.0, 1.0, 2.0, 3.5, 4.0, 6.0, 7.0])
    knots = np.asarray(make_interp_spline(heights, np.eye(heights.size), k=3).t)
    points = np.array([[0.0, 0.3, 2.0], [3.49, 6.99, 7.0]])
    weights = np.array([0.5, 0.3, 0.2])
    basis = BSpline.design_matrix(points.ravel(), knots, 3).toarray()
    expected = np.einsum("rps,p->rs", basis.reshape(2, 3, -1), weights)
    for kernel in (sum_splines, sum_splines.py_func):
        out = np.zeros((2, heights.size))
        kernel(knots, points, weights, out)
        np.testing.assert_allclose(out, expected, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bands__whole_product(scene, dtype):
    bands = Bands(scene.rows, dtype)
    field = np.random.default_rng(3).random((scene.rows.shape[1], 5)).astype(dtype)
    out = np.full((len(scene.rows), 5), np.nan, dtype=dtype)
    bands.times(field, out)
    # not twice the rounding of single precision; double precision to the last digit
    tolerance = 1e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(out, scene.rows @ field, atol=tolerance)
    assert any(block.shape[1] < scene.rows.shape[1] for _, _, block in bands.blocks)


def test_bands__rows_without_weights():
    matrix = np.zeros((130, 3))
    matrix[:3] = 1.0
    out = np.full((130, 2), np.nan)
    Bands(matrix, float).times(np.ones((3, 2)), out)
    assert (out[:3] == 3.0).all()
    assert not out[3:].any()


def test_apply_model__the_same_as_one_by_one(scene, vmr):
    whole = operator.build_operator(
        scene.band.node_cell, scene.band.node_weight,
        float(scene.band.cell_start_cm1[0]), scene.band.cell_width_cm1,
        pixel_wavenumber_cm1=scene.prepared.wavenumber(
            scene.prepared.pixels.astype(float)
        ),
        order=scene.prepared.order, pixels=scene.prepared.pixels, n_orders=6,
        aotf_frequency_khz=scene.prepared.aotf_frequency_khz,
        temperature_c=scene.prepared.temperature_c,
    )  # fmt: skip
    field = forward.node_transmittance(scene.limb, vmr)
    chosen = np.array([0, 3, 9])
    (value, shift, slope), few = apply_model(whole, field, chosen, scene.limb.factors)
    expected = dict(zip(operator.KINDS, operator.apply_many(whole, field), strict=True))
    np.testing.assert_allclose(value, expected["value"], atol=1e-6)
    np.testing.assert_allclose(shift, expected["shift"], atol=1e-5)
    curvature = expected["curvature"][:, chosen]
    # single precision; entries cancel: the error is that of their absolute sum
    entries = abs(as_csr(whole, "curvature")).sum(axis=1).max()
    np.testing.assert_allclose(few[0], curvature, rtol=0, atol=2e-7 * entries)
    # the slope: light of an order at one wavenumber; what it misses is smooth but 3e-6
    missed = slope - expected["slope"]
    assert np.abs(missed).max() < 2e-5
    assert np.abs(missed - missed[:, -1:]).max() < 4e-6
    factors = scene.limb.factors
    products = operator.apply_factors(
        whole, factors.T, np.ascontiguousarray(field[:, chosen])
    )
    scale = np.abs(products).max()
    np.testing.assert_allclose(few[1:].transpose(1, 0, 2), products, atol=1e-6 * scale)


def test_far_orders__at_few_heights(scene, vmr):
    seen_by = scene.operator(0.1)
    near, nodes = responses.near_orders(seen_by)
    assert 0.2 < near.mean() < 0.9
    assert nodes.stop - nodes.start < seen_by.n_nodes
    found = forward.pixel_fields(scene.limb, seen_by, vmr)
    field = forward.node_transmittance(scene.limb, vmr)
    (value, shift, slope), few = apply_model(
        seen_by, field, scene.limb.jacobian_heights, scene.limb.factors
    )
    np.testing.assert_allclose(found.value, value, atol=2e-6)
    np.testing.assert_allclose(found.shift, shift, atol=5e-6)
    np.testing.assert_allclose(found.slope, slope, atol=2e-6)
    # all that is made at few heights only is the same
    np.testing.assert_allclose(found.curvature, few[0], atol=1e-4)
    gas = np.concatenate([-f.transpose(1, 0, 2) for f in found.gas.values()])
    np.testing.assert_allclose(gas, few[1:], atol=1e-6 * np.abs(few[1:]).max())


def test_span__what_one_atmosphere_needs_of_a_table(scene, vmr):
    limb, gases, start = scene.limb, {}, 0
    for gas, path in limb.gases.items():
        stop = start + len(path.coefficients)
        own = limb.table[:, start:stop]
        gases[gas] = replace(path, vectors=own, turn=np.eye(stop - start))
        start = stop
    whole = replace(limb, gases=gases, vectors=limb.table)
    assert limb.vectors.shape[1] < 0.6 * whole.vectors.shape[1]
    found = forward.node_transmittance(limb, vmr)
    expected = forward.node_transmittance(whole, vmr)
    np.testing.assert_allclose(found, expected, atol=4e-6)


def test_manifolds__sums_over_parts_with_gaps():
    rng = np.random.default_rng(5)
    wide = [rng.random((2, count, 9)) for count in (3, 1)]
    raw = rng.random((2, 2, 9))
    parts = [np.array([1, 2, 3]), np.array([0, 4, 8]), np.array([6])]
    found = end._by_part(wide, raw, parts)
    every = np.concatenate(wide, axis=1)
    for number, pixels in enumerate(parts):
        expected = every[:, :, pixels] @ raw[:, :, pixels].transpose(0, 2, 1)
        np.testing.assert_allclose(found[:, :, number], expected)


def test_apply_model__refuses(scene, vmr):
    seen_by = scene.operator(0.0)
    field = forward.node_transmittance(scene.limb, vmr)
    with pytest.raises(InstrumentError, match="factors"):
        apply_model(seen_by, field, np.arange(2), np.ones((1, 3)))
    with pytest.raises(InstrumentError, match="has the first or all of"):
        operator.build_operator(
            [0, 0], np.ones((2, 5)), 0.0, 0.1, pixel_wavenumber_cm1=[1.0], order=1,
            aotf_frequency_khz=1.0, temperature_c=0.0, pixels=[0],
            kinds=("shift",),
        )  # fmt: skip


def test_factor_fields__differences(scene, vmr):
    limb = forward.at_heights(scene.limb, np.array([2, 10, 25]))
    seen_by = scene.operator(0.1)
    value, shift, factors = forward.factor_fields(limb, seen_by, vmr, vmr)
    fields = forward.pixel_values(limb, seen_by, vmr)
    np.testing.assert_allclose(value, fields.value, atol=1e-6)
    np.testing.assert_allclose(shift, fields.shift, atol=1e-5)
    step = 0.02
    for gas, found in zip(limb.gases, factors, strict=True):
        ends = [
            forward.pixel_values(limb, seen_by, vmr | {gas: f * vmr[gas]}).value
            for f in (1.0 + step, 1.0 - step)
        ]
        expected = (ends[0] - ends[1]) / (2.0 * step)
        np.testing.assert_allclose(found, expected, atol=2e-3 * abs(found).max())


def test_row_paths__nothing_below_the_line_of_sight(scene):
    paths = evaluation.row_paths(scene)
    prepared, altitude = scene.prepared, scene.limb.altitude_km
    lowest = prepared.altitude_km - 0.5 * prepared.boxcars_km.sum(axis=1)
    hidden = altitude[None] + 1.0 < lowest[:, None]
    for gas, path in paths.items():
        assert not path[np.broadcast_to(hidden[:, None], path.shape)].any()
        whole = np.einsum("rh,khl->rkl", scene.rows, scene.limb.gases[gas].path)
        seen = np.where(hidden[:, None], 0.0, whole)
        np.testing.assert_allclose(path, seen, atol=1e-6 * np.abs(seen).max())
