"""
Ozone from an ultraviolet occultation
=====================================

From the spectra of one UVIS occultation to slant columns and profiles of ozone.
"""

# %%
# Cross sections of ozone are measurements of others and not shipped: here they are made
# up, so that the numbers below are no science. Yours are read with
# ``read_uv_cross_section``; say whether their wavelengths are those of air or vacuum.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.simulate.uvis import (
    simulate_uvis_product,
    synthetic_ozone_cross_section,
)

folder = tempfile.TemporaryDirectory()
table = Path(folder.name) / "ozone.csv"
made_up = synthetic_ozone_cross_section()
columns = made_up.cross_section.to_pandas()
columns.columns = [f"sigma_{kelvin:.0f}K" for kelvin in columns.columns]
columns.to_csv(table)

# %%
# A simulated occultation with ozone in two layers, and its truth.

ozone = ([0.0, 20.0, 35.0, 45.0, 70.0], [5e-8, 1.5e-7, 8e-8, 2.5e-7, 0.0])
label = simulate_uvis_product(
    folder.name, made_up, ozone=ozone, pixels=256, row_step_km=2.0
)
truth = xr.load_dataset(label.with_name(f"{label.stem}.truth.nc"))

# %%
# The shipped setup, with the file of cross sections that it wants.

setup = tgo.load_setup("uvis_o3").replace(cross_section=str(table), medium="vacuum")
air = truth[["pressure", "temperature", "co2_vmr"]]
level2 = tgo.retrieve(tgo.open_product(label), setup, air)
print(f"converged: {bool(level2.converged)} in {int(level2.iterations)} iterations")
print(f"detected at {int(level2.o3_detected.sum())} of {level2.altitude.size} levels")
level = level2.sel(altitude=30.0, method="nearest")
true = np.interp(level.altitude, truth.altitude, truth.o3_vmr)
print(
    f"o3_vmr at 30 km: {level.o3_vmr:.3g} +- {level.o3_vmr_error:.2g}, true {true:.3g}"
)

# %%
# Number density by optimal estimation and, without a priori, by peeling the columns.

figure, ax = plt.subplots(figsize=(5.0, 5.6), layout="constrained")
density, error = level2.o3_number_density, level2.o3_number_density_error
ax.errorbar(density, level2.altitude, xerr=error, fmt="-", label="optimal estimation")
ax.plot(level2.o3_number_density_peeled, level2.peeled_altitude, ".", label="peeled")
ax.plot(truth.o3_number_density, truth.altitude, "k--", lw=1.0, label="truth")
ax.set(xlabel="O$_3$ (cm$^{-3}$)", ylabel="altitude (km)", ylim=(0.0, 70.0))
ax.set_xlim(-0.2e9, 1.2 * float(truth.o3_number_density.max()))
ax.legend()
folder.cleanup()
plt.show()
