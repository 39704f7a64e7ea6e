"""Forward model and Jacobian of a real-size SO case, and the limb without instrument.

Order 134, 6 orders on either side, 58 levels, 100 tangent heights, 280 pixels; H2O, CH4
and, as a third gas, 20 of the vectors of water. Medians of processor time in a warm
process, one thread (set OMP_NUM_THREADS=1); growth of the peak memory in the first
call.
"""

from __future__ import annotations

import resource
import time
from dataclasses import replace

import numpy as np
import pytest
from reference import exact_jacobian as jacobian
from reference.exact_operator import build_exact_operator

import tgo_spectra as tgo
from tgo_spectra import geometry
from tgo_spectra.forward import sight
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments import so as instrument
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.spectroscopy.tables import interpolate_coefficients, table_arrays

ROUNDS = 9
LEVELS = np.linspace(0.0, 100.0, 58)
HEIGHTS = np.linspace(0.0, 99.0, 100)
PIXELS = np.arange(20, 300)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(label, function):
    before = peak_mb()
    function()
    grown = peak_mb() - before
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    middle = float(np.median(seconds))
    print(f"{label:46s} {1e3 * middle:8.1f} ms, peak grew by {grown:4.0f} MB")
    return middle


@pytest.fixture(scope="module")
def band():
    band = table_arrays(tgo.open_table("so_134_136"), ["h2o", "ch4"])
    vectors, coefficients = dict(band.vectors), dict(band.coefficients)
    vectors["hdo"] = vectors["h2o"][:20].copy()
    coefficients["hdo"] = coefficients["h2o"][:20].copy()
    return replace(band, vectors=vectors, coefficients=coefficients)


@pytest.fixture(scope="module")
def vmr():
    air = tgo.reference_atmosphere(LEVELS)
    water = air.h2o_vmr.values
    return {"h2o": water, "ch4": np.full(LEVELS.size, 1e-9), "hdo": 1e-3 * water}


def seen_by(band, build, **options):
    return build(
        band.node_cell,
        band.node_weight,
        float(band.cell_start_cm1[0]),
        band.cell_width_cm1,
        pixel_wavenumber_cm1=instrument.pixel_wavenumber(134, PIXELS, -5.0, "archive"),
        order=134,
        aotf_frequency_khz=17859.0,
        temperature_c=-5.0,
        pixels=PIXELS,
        n_orders=6,
        **options,
    )


def test_real_size(band, vmr):
    points = forward.quadrature_altitudes(LEVELS, HEIGHTS)
    air = tgo.reference_atmosphere(points)
    p, t, n = (
        air[name].values for name in ("pressure", "temperature", "number_density")
    )

    def fold(every):
        return forward.limb(
            altitude_km=LEVELS,
            height_km=HEIGHTS,
            points_km=points,
            number_density_cm3=n,
            planet_radius_km=3389.5,
            vectors=band.vectors,
            coefficients={
                gas: interpolate_coefficients(
                    c, band.ln_pressure, band.temperature_k, p, t, doppler_limit=True
                )
                for gas, c in band.coefficients.items()
            },
            jacobian_heights=np.unique([*range(0, 99, every), 99]),
        )

    print()
    measure("atmosphere and path", lambda: fold(2))
    build = operator.build_operator
    measure("instrument operator", lambda: seen_by(band, build))
    view = seen_by(band, build)
    limb, coarse = fold(1), fold(2)
    seconds = measure("forward", lambda: forward.pixel_values(limb, view, vmr))
    measure("with fields, every other height", lambda: forward.pixel_fields(coarse, view, vmr))  # noqa: E501  # fmt: skip
    with_fields = measure("with fields, every height", lambda: forward.pixel_fields(limb, view, vmr))  # noqa: E501  # fmt: skip
    print(f"peak of the process {peak_mb():.0f} MB")
    assert seconds < 0.2
    assert with_fields < 0.6


def test_exact_jacobian(band, vmr):
    """All elements, 150 rows, double precision."""
    points = forward.quadrature_altitudes(LEVELS, HEIGHTS)
    air = tgo.reference_atmosphere(points)
    line = sight.make_sight(
        band,
        altitude_km=LEVELS,
        height_km=HEIGHTS,
        points_km=points,
        pressure_pa=air.pressure.values,
        temperature_k=air.temperature.values,
        number_density_cm3=air.number_density.values,
        planet_radius_km=3389.5,
        balance="hydrostatic",
    )
    rows = geometry.fov_operator(HEIGHTS, np.linspace(3.0, 96.0, 150), [1.0, 0.5])
    position = (PIXELS - 159.5) / 159.5
    wavenumber = instrument.pixel_wavenumber(134, PIXELS, -5.0, "archive")
    view = jacobian.View(
        seen_by(band, build_exact_operator),
        rows,
        np.gradient(wavenumber),
        position,
        np.polynomial.legendre.legvander(position, 4).T,
    )
    light = jacobian.Light(
        0.5 * np.exp(-HEIGHTS / 10.0), -1.0, 3023.0, np.ones((150, 5))
    )
    state = sight.AirState(vmr, np.zeros(LEVELS.size))
    print()
    measure("exact Jacobian of every element", lambda: jacobian.spectra_and_jacobian(line, state, light, view))  # noqa: E501  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_limb_without_instrument(shared):
    """20 579 points, 15 heights, 35 levels, carbon monoxide, line by line."""
    source = next((shared / "linelists").glob("co_alliso*2020.par.gz"))
    lines = tgo.read_line_list(source)
    nu = 4169.7 + 1e-3 * np.arange(20579)
    near = (lines.wavenumber > nu[0] - 25.0) & (lines.wavenumber < nu[-1] + 25.0)
    gases = {"co": (lines.isel(line=near), "air")}
    air = tgo.reference_atmosphere(np.linspace(0.0, 140.0, 35))
    heights = np.linspace(0.0, 28.0, 15)
    tgo.limb_transmittance(air, heights[:2], nu[:100], gases, jacobian=True)
    print()
    measure("limb, with Jacobian", lambda: tgo.limb_transmittance(air, heights, nu, gases, jacobian=True))  # noqa: E501  # fmt: skip
    measure("limb, transmittance alone", lambda: tgo.limb_transmittance(air, heights, nu, gases))  # noqa: E501  # fmt: skip
