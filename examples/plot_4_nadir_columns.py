"""
Columns from nadir spectra
==========================

From the spectra of one LNO nadir product to columns of carbon monoxide, and to a map.
"""

# %%
# A dayside pass over topography. The simulator writes the truth beside the product.
# Nothing in this example has been checked on real files.

import tempfile

import matplotlib.pyplot as plt
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.simulate.nadir import simulate_nadir_product

folder = tempfile.TemporaryDirectory()
label = simulate_nadir_product(folder.name, order=190, n_spectra=12, seed=3)
truth = xr.load_dataset(label.with_name(f"{label.stem}.truth.nc"))

# %%
# The setup for the product's channel, observation and order is found by itself. The
# atmosphere says what air and what gases to expect; without one the reference
# atmosphere would be taken.

air = truth[["pressure", "temperature", "co_vmr", "co2_vmr", "h2o_vmr"]]
level2 = tgo.retrieve(tgo.open_product(label), atmosphere=air)
print(f"setup {level2.attrs['setup']}, kind {level2.attrs['retrieval_kind']}")
used = level2.status == 0
off = ((level2.co_column - truth.co_column) / level2.co_column_error).where(used)
print(f"{int(used.sum())} of {used.size} spectra used")
print(f"mean error in units of the error bar: {float(off.mean()):.2f}")

# %%
# A column follows the topography; scaled to one surface pressure it does not.

figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7.0, 5.6), layout="constrained")
for ax, name in zip(axes, ("co_column", "co_column_normalised"), strict=True):
    error = level2[f"{name}_error"]
    ax.errorbar(level2.latitude, level2[name], error, fmt="o", ms=4)
    ax.set_ylabel(f"{name} ({level2[name].units})")
axes[0].plot(level2.latitude, truth.co_column, label="truth")
axes[0].legend()
axes[1].set_xlabel("latitude (degree)")

# %%
# One spectrum is one sample of a map, at its own place.

low, high = float(level2.latitude.min()), float(level2.latitude.max())
middle = 0.5 * (low + high)
level3 = tgo.grid_level2(level2, tgo.Grid(latitude=[-90.0, middle, 90.0]))
print(level3.co_column_normalised_count.values, "spectra")
print(level3.co_column_normalised_mean.values, "cm-2")
folder.cleanup()
plt.show()
