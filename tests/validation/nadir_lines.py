"""Nadir columns against spectra made line by line, without any table.

Run by hand: ``python tests/validation/nadir_lines.py FOLDER`` with the line lists that
`tgo_spectra.spectroscopy.tables.shipped` names. The truth has cross sections of each
level on a uniform grid, light of ten orders on both sides with real lines in all of
them, AOTF and line shape at every point of the grid, and rays on a sphere; no noise.
The fits have 6, 8 or 10 neighbouring orders.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from tgo_spectra import mars
from tgo_spectra.instruments import lno
from tgo_spectra.retrieval.models.lno import retrieve_nadir
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.simulate.nadir import simulate_nadir_level1
from tgo_spectra.spectroscopy.absorption import cross_section_grid
from tgo_spectra.spectroscopy.tables.shipped import band_lines

STEP = {"so_164_170": 0.0016, "so_186_191": 0.0019}
N_ORDERS, RESOLVING_POWER, MARGIN = 10, 10000.0, 3.0
SIGMAS = 6.0
EDGES_KM = np.concatenate(
    [np.arange(0.0, 40.0, 1.0), np.arange(40.0, 60.0, 2.5), np.arange(60.0, 121.0, 6.0)]
)


def depths(table, lines, truth, secants):
    """Grid and optical depths (view, point) above the surface at altitude zero."""
    z = truth.altitude.values
    nodes, weights = np.polynomial.legendre.leggauss(2)
    low, high = EDGES_KM[:-1, None], EDGES_KM[1:, None]
    heights = (0.5 * (low + high) + 0.5 * (high - low) * nodes).ravel()
    widths = (1e5 * 0.5 * (high - low) * weights).ravel()
    density = np.exp(np.interp(heights, z, np.log(truth.number_density.values)))
    pressure = np.exp(np.interp(heights, z, np.log(truth.pressure.values)))
    kelvin = np.interp(heights, z, truth.temperature.values)
    ratio = (mars.MEAN_RADIUS_KM / (mars.MEAN_RADIUS_KM + heights)) ** 2
    slant = sum(
        1.0 / np.sqrt(1.0 - ratio * (1.0 - secants[:, leg : leg + 1] ** -2.0))
        for leg in (0, 1)
    )
    centre = float(lno.pixel_wavenumber(truth.attrs["order"], 160, -5.0))
    order = truth.attrs["order"]
    step = STEP[table]
    nu = np.arange(
        (order - N_ORDERS) * centre / order * 0.994 - MARGIN,
        (order + N_ORDERS) * centre / order * 1.006 + MARGIN,
        step,
    )
    total = np.zeros((len(secants), nu.size))
    for gas, (listed, broadening) in lines.items():
        amount = widths * density * np.interp(heights, z, truth[f"{gas}_vmr"].values)
        for k in range(heights.size):
            sigma = cross_section_grid(
                listed, nu, pressure[k], kelvin[k], broadening, gas=gas
            )[0]
            total += (slant[:, k] * amount[k])[:, None] * sigma
    return nu, total


def seen(order, nu, through, shift_px):
    """Transmittances on the pixels, (view, pixel)."""
    pixel = np.arange(320)
    nominal = lno.pixel_wavenumber(order, pixel + shift_px, -5.0)
    aotf = lno.aotf_centre(float(lno.AOTF_FREQUENCY_KHZ[order]), -5.0)
    light, total = np.zeros((len(through), 320)), np.zeros(320)
    for k in range(order - N_ORDERS, order + N_ORDERS + 1):
        centres = nominal * k / order
        blaze = lno.blaze(centres[:, None], np.array([k]), -5.0)[:, 0]
        # FWHM over sigma of a Gaussian
        sigma = centres / RESOLVING_POWER / np.sqrt(8.0 * np.log(2.0))
        for p, (centre, width) in enumerate(zip(centres, sigma, strict=True)):
            span = slice(
                *np.searchsorted(nu, [centre - SIGMAS * width, centre + SIGMAS * width])
            )
            x = (nu[span] - centre) / width
            line = np.exp(-0.5 * x**2) / width
            line *= blaze[p] * lno.aotf_transmission(nu[span], float(aotf), 1.0)
            light[:, p] += through[:, span] @ line
            total[p] += line.sum()
    return light / total


def main(folder: str) -> None:
    """Print columns found over true ones, minus one."""
    for name, orders in (("lno_167_169_h2o", (167, 168, 169)),
                         ("lno_189_190_co", (189, 190))):  # fmt: skip
        setup = load_setup(name)
        for order in orders:
            begun = time.process_time()
            level1, truth = simulate_nadir_level1(
                order=order, n_spectra=4, noise=False, topography_km=(0.0, 0.0),
                incidence_deg=(10.0, 75.0),
            )  # fmt: skip
            truth.attrs["order"] = order
            angles = [level1[f"{leg}_angle"].values[:, 0, 0]
                      for leg in ("incidence", "emission")]  # fmt: skip
            secants = 1.0 / np.cos(np.radians(np.stack(angles, axis=1)))
            lines = band_lines(setup.table, folder)
            nu, depth = depths(setup.table, lines, truth, secants)
            clean = seen(order, nu, np.exp(-depth), 0.4)
            level1["reflectance_factor"] = ("spectrum", "pixel"), 0.25 * clean
            air = truth[["pressure", "temperature", "number_density",
                         *[f"{g}_vmr" for g in setup.gases]]]  # fmt: skip
            for number in (6, 7, 8, 10):
                chosen = setup.replace(instrument={"n_orders": number})
                found = retrieve_nadir(level1, chosen, air)
                ratio = found[f"{setup.gas}_column"] / truth[f"{setup.gas}_column"]
                print(
                    name, order, "neighbours", number,
                    "column - 1 (%):", np.round(100.0 * (ratio.values - 1.0), 3),
                    "shift", round(found.attrs["product_shift_px"], 4), flush=True,
                )  # fmt: skip
            print("  cpu seconds", round(time.process_time() - begun, 1), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
