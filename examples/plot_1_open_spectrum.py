"""
Open a product and draw a spectrum
==================================

A product of the archive is a label (``.xml``) and a table beside it. One call opens
both as an xarray Dataset. No archive file is needed here: the simulator writes a
product in the same layout.
"""

# %%
# A product to open: methane of 2 ppbv in order 134, from the surface to 120 km.

import tempfile

import matplotlib.pyplot as plt
import numpy as np

import tgo_spectra as tgo
from tgo_spectra.plots import plot_spectrum

folder = tempfile.TemporaryDirectory()
label = tgo.simulate_product(folder.name, order=134, ch4=2e-9, seed=1)
print(label.name)

# %%
# Every field of the table becomes a variable with units; coordinates are those of the
# slit's centre. Rows are sorted by tangent altitude, with the detector's bins mixed.

level1 = tgo.open_product(label)
print(level1)

# %%
# Spectra at three tangent altitudes. Water vapour makes most of the lines; aerosol
# dims the lower ones. The spikes of a single pixel are noise: two pixels of the third
# bin scatter more than their error says, and the fit masks them.

figure, axes = plt.subplots(3, 1, sharex=True, figsize=(7.2, 7.2), layout="constrained")
for ax, altitude in zip(axes, (40.0, 20.0, 8.0), strict=True):
    row = int(np.abs(level1.tangent_altitude.values - altitude).argmin())
    plot_spectrum(level1, row, ax=ax)
    ax.label_outer()

# %%
# Plain xarray does the rest: brightness of each bin against altitude.

brightness = level1.transmittance.isel(pixel=slice(100, 220)).median("pixel")
figure, ax = plt.subplots(figsize=(4.6, 5.2), layout="constrained")
for number in np.unique(level1.bin):
    rows = level1.bin == number
    ax.plot(brightness[rows], level1.tangent_altitude[rows], label=f"bin {number}")
ax.set(xlabel="median transmittance", ylabel="tangent altitude (km)")
ax.legend(frameon=False)
level1.close()
folder.cleanup()
plt.show()
