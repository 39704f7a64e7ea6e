"""
Retrieve one occultation
========================

From the spectra of one product to profiles of water vapour and methane, with errors,
averaging kernels and upper limits.
"""

# %%
# An occultation with methane of 1 ppbv below 40 km. The simulator moves the true
# wavenumbers by a hidden shift and writes the truth beside the product.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.plots import plot_averaging_kernel, plot_fit, plot_profile

folder = tempfile.TemporaryDirectory()
methane = ([0.0, 40.0, 50.0], [1e-9, 1e-9, 0.0])
label = tgo.simulate_product(folder.name, order=136, ch4=methane, seed=2)
truth = xr.load_dataset(label.with_suffix(".truth.nc"))

# %%
# The setup for the product's order is found by itself. The a priori of methane is
# zero, 5 ppbv wide and linear, so that noise may make negative values.

level1 = tgo.open_product(label).load()
level2 = tgo.retrieve(level1)
print(f"converged: {bool(level2.converged)} in {int(level2.iterations)} iterations")
print(f"reduced chi-square: {float(level2.reduced_chi_square):.3f}")
for b, (found, error) in enumerate(
    zip(level2.wavenumber_shift, level2.wavenumber_shift_error, strict=True)
):
    true = float(truth.wavenumber_shift_px[b])
    print(
        f"bin {b}: shift {float(found):.4f} +- {float(error):.4f}, true {true:.4f} px"
    )

# %%
# A spectrum, its fit and the residual.

row = int(np.abs(level1.tangent_altitude.values - 12.0).argmin())
plot_fit(level1, level2, row)

# %%
# Profile against truth, and what the measurement knows of each altitude.

figure, axes = plt.subplots(1, 2, sharey=True, figsize=(9.0, 5.2), layout="constrained")
plot_profile(level2, "ch4", truth.ch4_vmr, ax=axes[0])
plot_averaging_kernel(level2, "ch4", ax=axes[1])
axes[0].set_ylim(0, 80)
axes[1].label_outer()

# %%
# Upper limits (2 sigma): the value, if positive, and twice its error.

limit = 1e9 * level2.ch4_upper_limit
free = limit.where(level2.ch4_detected == 0)
best = free.idxmin()
print(f"lowest limit without detection: {float(free.min()):.3f} ppbv at {best:.0f} km")
print(f"detected at {int(level2.ch4_detected.sum())} of {limit.size} levels")
figure, ax = plt.subplots(figsize=(4.6, 5.2), layout="constrained")
ax.semilogx(limit, level2.altitude)
ax.set(xlabel="CH$_4$ upper limit (ppbv)", ylabel="altitude (km)", ylim=(0, 80))
folder.cleanup()
plt.show()
