"""
All pictures
============

Every figure of `tgo_spectra.plots`, on simulated occultations. What is simulated says
so; a figure that has nothing to draw says why. On the command line,
``tgo-spectra plot PATH`` draws those that fit a product, a result, a map or a run.
"""

# %%
# Three small occultations, with methane in the north, and what is retrieved of them.

import tempfile

import matplotlib.pyplot as plt
import numpy as np

import tgo_spectra as tgo
from tgo_spectra import plots

folder = tempfile.TemporaryDirectory()
small = {"n_bins": 1, "vertical_speed_km_s": 6.0, "order": 134}
products, results = [], []
for k, latitude in enumerate((-55.0, 5.0, 60.0)):
    label = tgo.simulate_product(
        folder.name, latitude=latitude, ch4=4e-9 if latitude > 0 else 0.0, seed=k,
        longitude=60.0 * k, start=f"2019-{4 * k + 3:02d}-10T12:00:00", **small,
    )  # fmt: skip
    products.append(tgo.open_product(label))
    results.append(tgo.retrieve(products[-1]))
level1, level2 = products[-1], results[-1]

# %%
# A product at a glance, and one of its spectra.

plots.plot_product(level1)
plots.plot_spectrum(level1, 5)

# %%
# The fit of a spectrum; what is left in the mean of many.

plots.plot_fit(level1, level2, 3)
plots.plot_residuals(level2, level1)

# %%
# A profile with the parts of its error and its kernels, together and each by itself.

plots.plot_result(level2, "ch4")
plots.plot_profile(level2, "h2o")
plots.plot_errors(level2, "h2o")
plots.plot_averaging_kernel(level2, "h2o")

# %%
# Columns: slant ones over altitude, nadir ones over latitude.

plots.plot_columns(tgo.retrieve(level1, method="slant"), "h2o")

# %%
# Where many results are, and their limits; a star is a detection.

plots.plot_sampling(results)
for against in ("latitude", "solar_longitude", "altitude"):
    plots.plot_limits(results, "ch4", against=against)

# %%
# Maps: latitude and season, altitude and season, altitude and latitude.

latitude, season, altitude = np.arange(-90, 91, 30), range(0, 361, 60), range(0, 81, 10)
for axes in (
    {"latitude": latitude, "solar_longitude": season},
    {"altitude": altitude, "solar_longitude": season},
    {"altitude": altitude, "latitude": latitude},
):
    plots.plot_map(tgo.grid_level2(results, tgo.Grid(**axes)), "h2o", minimum_count=1)

# %%
# Mean, error, limit and number; panels of morning and evening, and of seasons.

maps = tgo.grid_level2(results, tgo.Grid(altitude=altitude, latitude=latitude))
plots.plot_maps(maps, "ch4")
for more in ({"local_time_class": True}, {"solar_longitude": [0, 90, 180, 270, 360]}):
    grid = tgo.Grid(altitude=altitude, latitude=latitude, **more)
    plots.plot_panels(tgo.grid_level2(results, grid), "h2o", next(iter(more)))

# %%
# Places, on plain axes and (with cartopy, the extra ``globe``) on the globe.

longitude = range(-180, 181, 30)
places = tgo.grid_level2(results, tgo.Grid(latitude=latitude, longitude=longitude))
plots.plot_map(places, "ch4_layer", minimum_count=1)
try:
    import cartopy  # noqa: F401
except ImportError:
    print("no globe: cartopy is not installed")
else:
    plots.plot_globe(places, "ch4_layer", centre=(100.0, 20.0), minimum_count=1)
plt.show()
folder.cleanup()
