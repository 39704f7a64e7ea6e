from __future__ import annotations

import numpy as np
import pytest
from reference.operator_matrix import as_csr

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments import acs_mir, lno, so
from tgo_spectra.instruments.line_shape import (
    DoubletShape,
    gaussian,
    resolving_power_sigma,
)
from tgo_spectra.instruments.response.channels import (
    acs_mir_operator,
    lno_operator,
    table_cells,
)
from tgo_spectra.instruments.response.line_by_line import (
    Cells,
    _expansion,
    line_shape_operator,
)
from tgo_spectra.instruments.response.tabulated import (
    KINDS,
    apply,
    apply_many,
    build_operator,
)
from tgo_spectra.spectroscopy.absorption import absorption_cross_section
from tgo_spectra.spectroscopy.tables import open_table, table_arrays
from tgo_spectra.spectroscopy.tables.read import interpolate_coefficients
from tgo_spectra.spectroscopy.tables.shipped import band_lines

PIXELS = np.array([3, 4, 70, 71, 160, 233, 300, 316])


def fine_cells(start, stop, width=0.1, points=50, moments=5):
    """Every fine point a node: the moments are then exact."""
    number = round((stop - start) / width)
    u = (2 * np.arange(points) + 1) / points - 1
    weight = np.tile(np.polynomial.legendre.legvander(u, moments - 1), (number, 1))
    cell = np.repeat(np.arange(number), points)
    grid = start + (np.arange(number * points) + 0.5) * (width / points)
    return Cells(cell, weight, start, width, points), grid


def spectrum(nu, seed=11):
    """Transmittances with lines as narrow as Doppler cores, weak to saturated."""
    rng = np.random.default_rng(seed)
    tau = np.zeros((nu.size, 3))
    for position in rng.uniform(nu[0], nu[-1], int(3 * (nu[-1] - nu[0]))):
        strength = 10 ** rng.uniform(0, 3)
        width = rng.uniform(0.004, 0.01)
        near = slice(*np.searchsorted(nu, [position - 2.0, position + 2.0]))
        profile = width**2 / ((nu[near] - position) ** 2 + width**2)
        tau[near] += strength * profile[:, None] * np.array([1.0, 0.1, 0.01])
    return np.exp(-tau)


def brute_force(grid, field, centre, line, weight, transfer):
    """The order sum written down anew: one sum over the whole grid for each pixel."""
    result = np.empty((centre.shape[0], field.shape[1]))
    for p in range(centre.shape[0]):
        kernel = np.zeros(grid.size)
        for k in range(centre.shape[1]):
            kernel += weight[p, k] * line(grid - centre[p, k], p, k) * transfer(grid)
        result[p] = kernel @ field / kernel.sum()
    return result


# --- LNO: orders, AOTF inside, Gaussian ---------------------------------------

ORDER, FREQUENCY, TEMPERATURE, POWER = 168, 24180.0, -5.0, 10000.0
CENTRE = float(lno.aotf_centre(FREQUENCY, TEMPERATURE))


class LnoCase:
    def __init__(self):
        self.cells, self.grid = fine_cells(3725.0, 3860.0)
        self.field = spectrum(self.grid)
        self.orders = np.arange(ORDER - 2, ORDER + 3)
        self.nu = lno.pixel_wavenumber(self.orders, PIXELS[:, None], TEMPERATURE)
        self.blaze = lno.blaze(self.nu, self.orders, TEMPERATURE)
        self.sigma = resolving_power_sigma(self.nu, POWER)

    def operator(self, **options):
        settings = {
            "pixels": PIXELS,
            "orders": self.orders,
            "nominal": 2,
            "weight": self.blaze,
            "transfer": lambda v: lno.aotf_transmission(v, CENTRE),
            "dtype": np.float64,
        } | options
        return line_shape_operator(
            self.cells, self.nu, DoubletShape(self.sigma), **settings
        )

    def brute(self, shift=0.0, width=1.0):
        scale = self.nu / self.nu[:, 2:3]

        def line(x, p, k):
            s = self.sigma[p, k] * width
            return np.exp(-0.5 * ((x - shift * scale[p, k]) / s) ** 2) / s

        return brute_force(
            self.grid,
            self.field,
            self.nu,
            line,
            self.blaze,
            lambda v: lno.aotf_transmission(v, CENTRE),
        )


@pytest.fixture(scope="module")
def lno_case():
    return LnoCase()


def test_lno__equals_brute_force(lno_case):
    found = apply(lno_case.operator(), lno_case.field)
    expected = lno_case.brute()
    assert expected.min() < 0.7
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_lno__derivatives_against_brute_force(lno_case):
    operator = lno_case.operator()
    assert operator.kinds == (*KINDS, "width")

    def slope(name, step):
        high, low = lno_case.brute(**{name: step}), lno_case.brute(**{name: -step})
        return (high - low) / (2 * step)

    width = (lno_case.brute(width=1.002) - lno_case.brute(width=0.998)) / 0.004
    curvature = (
        lno_case.brute(shift=4e-3) + lno_case.brute(shift=-4e-3) - 2 * lno_case.brute()
    ) / 16e-6
    for kind, expected, tolerance in (
        ("shift", slope("shift", 2e-3), 2e-4),
        ("curvature", curvature, 2e-3),
        ("width", width, 2e-4),
    ):
        found = apply(operator, lno_case.field, kind)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=tolerance * scale, err_msg=kind
        )


def test_lno__slope_is_the_value_weighted(lno_case):
    operator = lno_case.operator()
    relative = lno_case.grid / operator.centre_cm1 - 1
    found = apply(operator, lno_case.field, "slope")
    expected = apply(operator, lno_case.field * relative[:, None])
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_lno__flat_stays_flat_and_fractions(lno_case):
    operator = lno_case.operator()
    flat = np.full((lno_case.grid.size, 1), 0.7)
    result = apply_many(operator, flat)
    np.testing.assert_allclose(result[0], 0.7, rtol=0, atol=1e-12)
    for kind, rows in zip(operator.kinds, result, strict=True):
        if kind not in ("value", "slope"):
            np.testing.assert_allclose(rows, 0.0, atol=1e-8, err_msg=kind)
    np.testing.assert_allclose(as_csr(operator).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(operator.order_fraction.sum(axis=1), 1.0, atol=1e-12)
    # at low pixels the next order lies nearer to the AOTF centre than the nominal one
    nominal = operator.order_fraction.argmax(axis=1) == 2
    assert nominal[PIXELS >= 160].all()


def test_lno__single_precision(lno_case):
    field = lno_case.field
    single = apply(lno_case.operator(dtype=np.float32), field.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, apply(lno_case.operator(), field), atol=2e-6)


# --- SO: the same as its own builder --------------------------------------------


def test_so__equals_build_operator():
    cells, grid = fine_cells(2965.0, 3085.0)
    nu = so.pixel_wavenumber(134, PIXELS, 0.0)
    orders = np.arange(132, 137)
    centre = nu[:, None] * (orders / 134)
    aotf = float(so.aotf_centre(17859.0, 0.0))
    sigma, delta, amplitude = so.ils_parameters(PIXELS, aotf)
    found = line_shape_operator(
        cells,
        centre,
        DoubletShape(sigma, delta, amplitude),
        pixels=PIXELS,
        orders=orders,
        nominal=2,
        weight=so.blaze(centre, orders, so.free_spectral_range(aotf, 0.0)),
        transfer=lambda v: so.aotf_transmission(v, aotf),
        tolerance=1e-3,
        dtype=np.float64,
    )
    own = build_operator(
        cells.node_cell,
        cells.node_weight,
        cells.start_cm1,
        cells.width_cm1,
        pixel_wavenumber_cm1=nu,
        order=134,
        aotf_frequency_khz=17859.0,
        temperature_c=0.0,
        pixels=PIXELS,
        n_orders=2,
        dtype=np.float64,
    )
    field = spectrum(grid)
    assert found.kinds == (*KINDS, "width", "delta", "amplitude")
    # both leave out what is beyond 5.5 sigma, one of them by blocks of pixels
    for kind, tolerance in (("value", 1e-6), ("shift", 1e-5), ("curvature", 1e-4)):
        expected = apply(own, field, kind)
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(
            apply(found, field, kind), expected, rtol=0, atol=tolerance * scale
        )


# --- ACS MIR: double image, no orders ---------------------------------------------

IMAGE = acs_mir.DoubleImage(
    2990.0, 2999.0, 3008.0, 0.004, -0.003, 0.002, -0.11, 0.1, 0.4, 0.6
)


def mir_operator(cells, nu, image=IMAGE, **options):
    line = image.at(nu)
    shape = DoubletShape(line.sigma, line.delta, line.amplitude, line.shift)
    pixels = np.arange(nu.size)
    return line_shape_operator(
        cells, nu, shape, pixels=pixels, dtype=np.float64, **options
    )


@pytest.mark.parametrize(("width", "moments"), [(0.05, 8), (0.1, 11)])
def test_acs_mir__equals_brute_force(width, moments):
    cells, grid = fine_cells(2988.0, 3010.0, width, 50, moments)
    field = spectrum(grid)
    nu = np.linspace(2991.0, 3007.0, 37)

    def line(x, p, _):
        return acs_mir.line_shape(x, nu[p], IMAGE)

    expected = brute_force(
        grid, field, nu[:, None], line, np.ones((37, 1)), np.ones_like
    )
    found = apply(mir_operator(cells, nu), field)
    assert expected.min() < 0.5
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_acs_mir__derivatives_lead_to_the_seven_parameters():
    from dataclasses import replace

    cells, grid = fine_cells(2988.0, 3010.0, 0.05, 50, 8)
    field = spectrum(grid)
    nu = np.linspace(2991.0, 3007.0, 37)
    operator = mir_operator(cells, nu)
    end = ((nu - 2990.0) / 18.0)[:, None]
    chain = {
        "fwhm_low": apply(operator, field, "width") / IMAGE.fwhm_low,
        "second_shift": apply(operator, field, "delta"),
        "amplitude_high": apply(operator, field, "amplitude") * end,
    }
    for name, found in chain.items():
        at, step = getattr(IMAGE, name), 5e-4
        high, low = (
            apply(mir_operator(cells, nu, replace(IMAGE, **{name: at + d})), field)
            for d in (step, -step)
        )
        expected = (high - low) / (2 * step)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * scale)


def gaussian_bound(cells, sigma):
    """Area of what the moments do not carry over that of the line, mean over places."""
    x, matrix, back = _expansion(cells.points, cells.node_weight.shape[1])
    reach = int(np.ceil(6.0 * sigma / cells.width_cm1)) + 1
    place = (np.arange(16) + 0.5) / 16.0
    cell = np.arange(-reach, reach + 1)
    nu = (cell[:, None] + 0.5 * (x + 1.0)) * cells.width_cm1
    kernel = gaussian(nu - place[:, None, None] * cells.width_cm1, sigma)
    rest = np.abs(kernel - kernel @ matrix.T @ back.T)
    return rest.mean(axis=-1).sum(axis=-1).mean() * cells.width_cm1


def test_acs_mir__cells_of_the_so_tables_are_too_wide():
    cells, _ = fine_cells(2988.0, 3010.0)
    with pytest.raises(InstrumentError) as caught:
        mir_operator(cells, np.linspace(2991.0, 3007.0, 5))
    assert caught.value.rule == "operator.expansion"
    # what is refused is what the estimate for a Gaussian says
    found = gaussian_bound(cells, 0.1 / 2.3548)
    assert caught.value.value == pytest.approx(found, rel=0.7)


def test_bound_of_the_expansion__holds():
    sigma = 0.06
    cells, grid = fine_cells(2988.0, 3010.0)
    field = spectrum(grid)
    nu = np.linspace(2991.0, 3007.0, 161)
    operator = line_shape_operator(
        cells,
        nu,
        DoubletShape(sigma),
        pixels=np.arange(nu.size),
        tolerance=2e-3,
        dtype=np.float64,
    )
    expected = brute_force(
        grid,
        field,
        nu[:, None],
        lambda x, *_: np.exp(-0.5 * (x / sigma) ** 2),
        np.ones((nu.size, 1)),
        np.ones_like,
    )
    error = np.abs(apply(operator, field) - expected).max()
    bound = gaussian_bound(cells, sigma)
    assert 0.01 * bound < error < bound
    # fifth power of width over sigma
    ratio = gaussian_bound(cells, 0.1) / gaussian_bound(cells, 0.2)
    assert np.log2(ratio) == pytest.approx(5.0, abs=0.3)


# --- shapes -----------------------------------------------------------------


def test_doublet_shape__refuses():
    for values in (0.0, [0.1, -0.1]):
        with pytest.raises(InstrumentError) as caught:
            DoubletShape(values)
        assert caught.value.rule == "instrument.sigma_positive"
    with pytest.raises(InstrumentError) as caught:
        DoubletShape(0.1, amplitude=[np.nan])
    assert caught.value.rule == "instrument.shape_parameter"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"pixels": [1, 0]}, "operator.inputs"),
        ({"pixels": [0]}, "operator.inputs"),
        ({"nominal": 3}, "operator.inputs"),
        ({"weight": -1.0}, "operator.inputs"),
        ({"centre_cm1": [3000.0, np.nan]}, "operator.inputs"),
        ({"centre_cm1": [3000.0, 3020.0]}, "operator.coverage"),
    ],
)
def test_operator__refuses(change, rule):
    cells, _ = fine_cells(2995.0, 3005.0)
    options = {"centre_cm1": [3000.0, 3001.0], "pixels": [0, 1]} | change
    with pytest.raises(InstrumentError) as caught:
        line_shape_operator(cells, shape=DoubletShape(0.13), **options)
    assert caught.value.rule == rule


def test_cells__refuse():
    weight = np.ones((3, 2))
    for cell in ([0, 0], [1, 0, 2], [-1, 0, 0]):
        with pytest.raises(InstrumentError) as caught:
            Cells(np.array(cell), weight, 0.0, 0.1, 50)
        assert caught.value.rule == "operator.inputs"
    low, high = Cells(np.array([2, 2, 5]), weight, 10.0, 0.1, 50).range_cm1
    assert (low, high) == pytest.approx((10.2, 10.6))


# --- channels -----------------------------------------------------------------


def lno_channel(cells, pixels, **change):
    options = {
        "pixels": pixels,
        "pixel_wavenumber_cm1": lno.pixel_wavenumber(ORDER, pixels, TEMPERATURE),
        "order": ORDER,
        "aotf_frequency_khz": FREQUENCY,
        "temperature_c": TEMPERATURE,
        "resolving_power": POWER,
        "n_orders": 2,
        "dtype": np.float64,
    } | change
    return lno_operator(cells, **options)


def test_lno_operator__is_the_sum_of_its_parts(lno_case):
    found = lno_channel(lno_case.cells, PIXELS)
    # wavenumbers of neighbours go as the order here, and by the polynomial there
    np.testing.assert_allclose(
        apply(found, lno_case.field), lno_case.brute(), rtol=0, atol=1e-6
    )
    assert found.kinds == KINDS[:3]
    step = 1e-3
    high, low = (
        lno_channel(
            lno_case.cells,
            PIXELS,
            pixel_wavenumber_cm1=lno.pixel_wavenumber(ORDER, PIXELS, TEMPERATURE) + d,
        )
        for d in (step, -step)
    )
    moved = [apply(one, lno_case.field) for one in (high, low)]
    # the blaze moves too, which is the detector's and not the line's
    expected = (moved[0] - moved[1]) / (2 * step)
    np.testing.assert_allclose(
        apply(found, lno_case.field, "shift"), expected,
        rtol=0, atol=5e-2 * np.abs(expected).max(),
    )  # fmt: skip


def test_lno_operator__cells_too_wide_are_refused(lno_case):
    with pytest.raises(InstrumentError) as caught:
        lno_channel(lno_case.cells, PIXELS, resolving_power=60000.0)
    assert caught.value.rule == "operator.expansion"


def test_acs_mir_operator__the_seven_derivatives():
    from dataclasses import replace

    cells, grid = fine_cells(2988.0, 3010.0, 0.05, 50, 8)
    field = spectrum(grid)
    nu = np.linspace(2991.0, 3007.0, 37)

    def build(image):
        return acs_mir_operator(
            cells,
            pixels=np.arange(37),
            pixel_wavenumber_cm1=nu,
            image=image,
            dtype=np.float64,
        )

    operator = build(IMAGE)
    np.testing.assert_allclose(
        apply(operator, field), apply(mir_operator(cells, nu), field), atol=1e-12
    )
    assert len(operator.kinds) == len(KINDS) + 7
    for kind in operator.kinds[len(KINDS) :]:
        at, step = getattr(IMAGE, kind), 2e-4
        high, low = (
            apply(build(replace(IMAGE, **{kind: at + d})), field) for d in (step, -step)
        )
        expected = (high - low) / (2 * step)
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(
            apply(operator, field, kind), expected, atol=5e-4 * scale, err_msg=kind
        )


def test_shipped_table__carries_lno():
    # the table's own vectors on its nodes: flat stays flat, orders are covered
    band = table_arrays(open_table("so_186_191"), ["co"])
    cells = table_cells(band)
    low, high = cells.range_cm1
    assert low == pytest.approx(band.cell_start_cm1[0])
    assert high == pytest.approx(band.cell_start_cm1[-1] + band.cell_width_cm1)
    pixels = np.arange(10, 310, 50)
    nu = lno.pixel_wavenumber(190, pixels, 0.0)
    operator = lno_channel(
        cells,
        pixels,
        order=190,
        pixel_wavenumber_cm1=nu,
        aotf_frequency_khz=27562.0,
        n_orders=4,
    )
    flat = np.ones((cells.node_cell.size, 1))
    np.testing.assert_allclose(apply(operator, flat), 1.0, rtol=0, atol=1e-12)
    with pytest.raises(InstrumentError) as caught:
        lno_channel(
            cells,
            pixels,
            order=190,
            pixel_wavenumber_cm1=nu,
            aotf_frequency_khz=27562.0,
            n_orders=13,
        )
    assert caught.value.rule == "operator.coverage"


def test_shipped_table__lno_equals_line_by_line(shared):
    band = table_arrays(open_table("so_186_191"), ["co"])
    cells = table_cells(band)
    pixels = np.array([40, 150, 190, 233, 300])
    nu = lno.pixel_wavenumber(190, pixels, 0.0)
    operator = lno_channel(
        cells,
        pixels,
        order=190,
        pixel_wavenumber_cm1=nu,
        aotf_frequency_khz=27562.0,
        temperature_c=0.0,
        n_orders=1,
    )
    orders = np.array([189, 190, 191])
    centre = nu[:, None] * orders / 190
    first = np.floor((centre.min() - 3.0 - cells.start_cm1) / cells.width_cm1)
    number = int((centre.max() - centre.min() + 6.0) / cells.width_cm1) * cells.points
    step = cells.width_cm1 / cells.points
    grid = cells.start_cm1 + first * cells.width_cm1 + (np.arange(number) + 0.5) * step
    lines, broadening = band_lines("so_186_191", shared / "linelists")["co"]
    section = absorption_cross_section(lines, grid, 200.0, 190.0, broadening, gas="co")
    through = np.exp(-1e19 * section.values.reshape(-1, 1))
    weights = interpolate_coefficients(
        band.coefficients["co"], band.ln_pressure, band.temperature_k, [200.0], [190.0]
    )
    found = apply(operator, np.exp(-1e19 * (band.vectors["co"].T @ weights)))
    light = lno.blaze(centre, orders, 0.0)
    aotf = float(lno.aotf_centre(27562.0, 0.0))

    def line(x, p, k):
        return gaussian(x, resolving_power_sigma(centre[p, k], POWER))

    expected = brute_force(
        grid, through, centre, line, light, lambda v: lno.aotf_transmission(v, aotf)
    )
    assert expected.min() < 0.99
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
