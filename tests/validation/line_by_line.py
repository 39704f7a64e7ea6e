"""Truths made line by line: the simulator of occultations without any table.

Cross sections of the lists at each level's own pressure and temperature, on every fine
point of the cells; what an instrument makes of them is the simulator's.
"""

from __future__ import annotations

from unittest import mock

import numpy as np
from scipy.sparse import eye_array

from tgo_spectra.simulate import occultation, simulate_level1
from tgo_spectra.simulate.air import chord_weights
from tgo_spectra.spectroscopy.absorption import cross_section_grid
from tgo_spectra.spectroscopy.tables.shipped import band_lines

LEVELS_KM = np.concatenate(
    [np.arange(-3.0, 60.0, 0.5), np.arange(60.0, 100.0, 1.0), np.arange(100.0, 160, 3)]
)
"""Cross sections are linear in altitude between them: off by 3e-4 in the wings."""
BLOCK = 100
"""Cells at a time."""


class Exact:
    """Spectra of one air, for any order within the window of a band.

    Methane is apart from the others, so that truths of several amounts share all else.
    """

    def __init__(self, band, folder, air):
        self.lines = band_lines(band, folder)
        self.pressure = np.exp(np.interp(LEVELS_KM, air.altitude, np.log(air.pressure)))
        self.kelvin = np.interp(LEVELS_KM, air.altitude, air.temperature)
        self.sigma = {}

    def simulate(self, **options):
        """Simulate as the package does, but for the transmittance of the air."""
        with (
            mock.patch.object(occultation, "_node_transmittance", self._moments),
            mock.patch.object(
                occultation, "moments", lambda band: eye_array(self._size(band))
            ),
        ):
            return simulate_level1(**options)

    @staticmethod
    def _size(band):
        cells = int(band.node_cell[-1] - band.node_cell[0]) + 1
        return cells * band.node_weight.shape[1]

    def _cross_sections(self, gas, nu):
        if gas not in self.sigma:
            lines, broadening = self.lines[gas]
            self.sigma[gas] = cross_section_grid(
                lines, nu, self.pressure, self.kelvin, broadening, gas=gas
            )
        return self.sigma[gas]

    def _moments(self, scenario, band, column, heights_km, aerosol):
        """Sums of transmittance times Legendre polynomials, (cell * moment, height)."""
        width, step = float(band.cell_width_cm1), float(band.step_cm1)
        points, count = round(width / step), band.node_weight.shape[1]
        start = float(band.cell_start_cm1[0]) + width * int(band.node_cell[0])
        cells = self._size(band) // count
        nu = start + step * (np.arange(cells * points) + 0.5)
        fine = column.air["altitude"].values
        chord = chord_weights(column.radius_km, heights_km, fine)
        chord *= column.air["number_density"].values
        between = np.stack([np.interp(fine, LEVELS_KM, one)
                            for one in np.eye(LEVELS_KM.size)], axis=1)  # fmt: skip
        paths = {g: (chord * v) @ between for g, v in column.vmr.items() if v.any()}
        colour = (nu / occultation._centre(scenario)) ** scenario.aerosol_exponent
        x = 2.0 * (np.arange(points) + 0.5) / points - 1.0
        legendre = np.polynomial.legendre.legvander(x, count - 1)
        found = np.empty((cells * count, heights_km.size))
        for first in range(0, cells, BLOCK):
            last = min(first + BLOCK, cells)
            part = slice(first * points, last * points)
            depth = aerosol[:, None] * colour[part]
            for gas, path in paths.items():
                depth += path @ self._cross_sections(gas, nu)[:, part]
            through = np.exp(-depth).reshape(heights_km.size, last - first, points)
            in_cells = (through @ legendre).transpose(1, 2, 0)
            found[first * count : last * count] = in_cells.reshape(-1, heights_km.size)
        return found
