"""Same bits with one and two threads; chunks of points and heights do not matter."""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments import so as instrument
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.spectroscopy.tables import interpolate_coefficients, table_arrays

PROGRAM = """
import hashlib
import numpy as np
import tgo_spectra as tgo
from tgo_spectra.forward import transmittance as forward
from tests_forward import lines, model, seen_by, vmr

def show(name, *arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    print(name, digest.hexdigest())

air = tgo.reference_atmosphere(np.arange(0.0, 101.0, 4.0))
nu = 3000.0 + 0.002 * np.arange(3000)
p, t = air.pressure.values, air.temperature.values
show("cross", tgo.absorption_cross_section(lines(), nu, p, t, "air").values)
limb = tgo.limb_transmittance(
    air, [5.0, 20.0, 33.3], nu, {"h2o": (lines(), "air")}, jacobian=True
)
show("limb", limb.transmittance.values, limb.h2o_jacobian.values)
for dtype in (np.float32, np.float64):
    fields = forward.pixel_fields(model(dtype), seen_by(dtype), vmr())
    show(f"forward {dtype.__name__}", fields.value, fields.shift, *fields.gas.values())
"""

HEIGHTS = np.arange(1.0, 61.0)
LEVELS = np.arange(0.0, 81.0, 2.0)
PIXELS = np.arange(30, 290, 3)


def lines():
    """Few invented lines of water as a line list."""
    import xarray as xr

    rng = np.random.default_rng(8)
    number = 200
    columns = {
        "wavenumber": np.sort(rng.uniform(2995.0, 3011.0, number)),
        "intensity": 10.0 ** rng.uniform(-25.0, -21.0, number),
        "einstein_a": np.full(number, 1.0),
        "gamma_air": rng.uniform(0.05, 0.1, number),
        "gamma_self": rng.uniform(0.3, 0.5, number),
        "lower_state_energy": rng.uniform(0.0, 1000.0, number),
        "n_air": rng.uniform(0.5, 0.8, number),
        "delta_air": rng.uniform(-0.01, 0.0, number),
        "isotopologue": np.ones(number, dtype=int),
        "molecule": np.ones(number, dtype=int),
    }
    return xr.Dataset({k: ("line", v) for k, v in columns.items()})


def vmr():
    air = tgo.reference_atmosphere(LEVELS)
    water, dioxide = air.h2o_vmr.values, air.co2_vmr.values
    methane = np.full(LEVELS.size, 2e-9)
    return {"h2o": water, "ch4": methane, "hdo": 1e-3 * water, "co2": dioxide}


def model(dtype, heights=HEIGHTS):
    band = table_arrays(tgo.open_table("so_134_136"))
    points = forward.quadrature_altitudes(LEVELS, HEIGHTS)
    air = tgo.reference_atmosphere(points)
    return forward.limb(
        altitude_km=LEVELS,
        height_km=heights,
        points_km=points,
        number_density_cm3=air.number_density.values,
        planet_radius_km=3389.5,
        vectors=band.vectors,
        coefficients={
            gas: interpolate_coefficients(
                c,
                band.ln_pressure,
                band.temperature_k,
                air.pressure.values,
                air.temperature.values,
                doppler_limit=True,
            )
            for gas, c in band.coefficients.items()
        },
        dtype=dtype,
    )


def seen_by(dtype):
    band = table_arrays(tgo.open_table("so_134_136"))
    return operator.build_operator(
        band.node_cell,
        band.node_weight,
        float(band.cell_start_cm1[0]),
        band.cell_width_cm1,
        pixel_wavenumber_cm1=instrument.pixel_wavenumber(134, PIXELS, -5.0),
        order=134,
        aotf_frequency_khz=17859.0,
        temperature_c=-5.0,
        pixels=PIXELS,
        n_orders=4,
        dtype=dtype,
    )


def digests(threads, folder):
    (folder / "tests_forward.py").write_bytes(pathlib.Path(__file__).read_bytes())
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    environment["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_threads__do_not_change_a_bit(tmp_path):
    one, two = digests(1, tmp_path), digests(2, tmp_path)
    assert [line.split()[0] for line in one] == ["cross", "limb", "forward", "forward"]
    assert one == two


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_heights__in_parts_give_the_same(dtype):
    tolerance = 1e-12 if dtype is np.float64 else 1e-6
    whole = forward.pixel_fields(model(dtype), seen_by(dtype), vmr())
    for part in (slice(0, 7), slice(7, 8), slice(8, 60)):
        fields = forward.pixel_fields(
            model(dtype, HEIGHTS[part]), seen_by(dtype), vmr()
        )
        np.testing.assert_allclose(
            fields.value, whole.value[:, part], atol=tolerance, rtol=0
        )
        for gas, field in fields.gas.items():
            expected = whole.gas[gas][:, :, part]
            scale = np.abs(whole.gas[gas]).max()
            np.testing.assert_allclose(field, expected, atol=tolerance * scale, rtol=0)


GASES = ("lines", "table")


def limb(kind, heights, points):
    """Limb transmittance of a part of the heights and of the points or nodes."""
    air = tgo.reference_atmosphere(np.arange(0.0, 101.0, 4.0))
    if kind == "lines":
        nu = 3001.0 + 0.002 * np.arange(2000)
        gases = {"h2o": (lines(), "air")}
        return tgo.limb_transmittance(air, heights, nu[points], gases, jacobian=True)
    table = tgo.open_table("so_134_136").isel(node=slice(0, 2000)).isel(node=points)
    return tgo.limb_transmittance(air, heights, None, {"h2o": table}, jacobian=True)


@pytest.mark.parametrize("kind", GASES)
def test_limb__in_parts_of_the_heights_gives_the_same(kind):
    heights, everything = np.array([2.0, 9.9, 31.0, 60.0]), slice(None)
    whole = limb(kind, heights, everything)
    scale = float(np.abs(whole.h2o_jacobian).max())
    for part in (slice(0, 1), slice(1, 4)):
        some = limb(kind, heights[part], everything)
        for name, tolerance in (("transmittance", 1.0), ("h2o_jacobian", scale)):
            off = float(np.abs(some[name] - whole[name][part]).max())
            assert off < 1e-12 * tolerance, name


@pytest.mark.parametrize(("kind", "limit"), [("table", 1e-12), ("lines", 1e-6)])
def test_limb__in_parts_of_the_points_gives_the_same(kind, limit):
    """Line by line, far wings are interpolated on a grid that starts with the points:
    the cross-sections, not the path, depend on it, within their own error."""
    heights = np.array([2.0, 31.0])
    whole = limb(kind, heights, slice(None))
    scale = float(np.abs(whole.h2o_jacobian).max())
    for part in (slice(0, 700), slice(700, 2000)):
        some = limb(kind, heights, part)
        for name, tolerance in (("transmittance", 1.0), ("h2o_jacobian", scale)):
            off = float(np.abs(some[name] - whole[name][..., part]).max())
            print(kind, name, f"{off / tolerance:.1e}")
            assert off < limit * tolerance, name


def test_kernels__that_may_be_reordered_are_part_of_those_that_call_them():
    """Else the process that compiles one and those that load it differ in last bits."""
    kernels, called = {}, set()
    for path in pathlib.Path(tgo.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef):
                continue
            for one in node.decorator_list:
                if isinstance(one, ast.Call) and ast.unparse(one.func) == "compiled":
                    kernels[node.name] = {word.arg for word in one.keywords}
                    calls = (c for c in ast.walk(node) if isinstance(c, ast.Call))
                    called |= {ast.unparse(call.func) for call in calls}
    assert {"_add_core", "_outer"} <= kernels.keys() & called
    for name in kernels.keys() & called:
        assert "fastmath" not in kernels[name] or "part" in kernels[name], name
