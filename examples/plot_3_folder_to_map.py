"""
From a folder of products to a map
==================================

Many products are retrieved by Dask workers, one task a product; the level-2 files
are then summed into the cells of a map.
"""

# %%
# Four occultations over latitude, methane only in the north; one bin of the detector is
# quick to fit. Worker processes import this script, so all work is inside a function.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import tgo_spectra as tgo
from tgo_spectra.plots import plot_limits, plot_map

LATITUDES = (-50.0, -15.0, 20.0, 55.0)


def make_products(folder: Path) -> None:
    """Write one product a latitude, three months apart."""
    for k, latitude in enumerate(LATITUDES):
        tgo.simulate_product(
            folder,
            order=134 + 2 * (k % 2),
            ch4=1e-9 if latitude > 0.0 else 0.0,
            latitude=latitude,
            start=f"2019-{3 * k + 2:02d}-10T12:00:00",
            n_bins=1,
            seed=k,
        )


# %%
# ``run`` writes one verified file a product, skips what is done already, and reports
# what fails without stopping. The map holds sums: maps of parts can be merged.


def main(workers: int = 2) -> None:
    """Simulate, retrieve, map and draw."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_products(folder / "products")
        states = tgo.run(
            folder / "products", folder / "out", workers=workers, progress=False
        )
        for state in states:
            print(Path(state.product).name, state.state, state.message or "")
        grid = tgo.Grid(
            latitude=range(-80, 81, 40), solar_longitude=range(0, 361, 90),
            altitude=[5.0, 30.0],
        )  # fmt: skip
        level3 = tgo.grid_level2(folder / "out" / "l2", grid, gases=["ch4"])
        print(1e9 * level3.ch4_mean.squeeze())
        plot_map(level3, "ch4", minimum_count=1)
        plot_limits(folder / "out" / "l2", "ch4")
    plt.show()


if __name__ == "__main__":
    main()
