"""The samples of an independent simulator, with the setups that their files call for.

Settings that differ from the shipped setups follow from what the samples say of
themselves: light of the orders m-5..m+5, and the interferents HDO (134, 136) and CO2,
H2O (190) fitted from the line lists that made them.
"""

from __future__ import annotations

import functools
import pathlib
import sys

import numpy as np
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.retrieval.choice import default_setup
from tgo_spectra.retrieval.setup import Prior
from tgo_spectra.spectroscopy.tables import write_table

sys.path.append(str(pathlib.Path(__file__).parent / "validation"))

from cases import fit
from shared_folder import FULL, LISTS, SAMPLES

from tgo_spectra.retrieval.models.so.solution import build_scene

CO = "co_alliso_3-14478_hitran2020"
BANDS = {
    "134_136": (
        (2872.0, 3220.0),
        {
            "h2o": ("h2o_iso123_2000-3333_hitran2020online", ("air", 1.7)),
            "ch4": ("ch4_iso1_nu3bands_2731-3274_hitranonline2026-03", ("air", 1.3)),
            "hdo": ("h2o_alliso_1percent_0-25427_hitran2016-20", ("air", 1.7)),
        },
    ),
    "190": (
        (4107.0, 4443.5),
        {
            "co": (CO, "co2"),
            "co2": ("co2_iso1_4000-5000_hitran2020online", "self"),
            "h2o": ("h2o_iso1_3333-4500_hitran2020online", ("air", 1.7)),
        },
    ),
}
CASES = {
    134: ("134_136", ("h2o", "ch4", "hdo")),
    136: ("134_136", ("h2o", "ch4", "hdo")),
    190: ("190", ("co", "co2", "h2o")),
}


def read_lines(name):
    extra = None
    if name == CO:
        extra = [
            LISTS / f"{CO}_H2-He-CO2-broadening.txt.gz",
            LISTS / f"{CO}_CO2-shifts.txt.gz",
        ]
    return tgo.read_line_list(LISTS / f"{name}.par.gz", extra=extra)


def build(band, folder, **options):
    """Build the table of a band from the line lists if need be; return its path."""
    path = pathlib.Path(folder) / f"{band}.nc"
    if path.exists():
        return str(path)
    window, gases = BANDS[band]
    lines = {gas: (read_lines(n), how) for gas, (n, how) in gases.items()}
    table = tgo.build_table(lines, window, band=band, **options)
    return str(write_table(table, path))


@functools.cache
def sample(order, folder=SAMPLES):
    product = next(folder.glob(f"*-{order}_3.0.zip"))
    truth = xr.load_dataset(next(folder.glob(f"*-{order}.truth.nc")))
    return tgo.open_product(product).load(), truth


def air_of(truth):
    air = truth[["pressure", "temperature"]].copy()
    air.attrs = {"planet_radius_km": float(truth.attrs["planet_radius_km"])}
    return air


def setup_of(order, folder):
    band, gases = CASES[order]
    setup = tgo.load_setup(f"so_{order}")
    # what the samples do not hold, but the window is known to
    window = (
        ("co2", "hdo") if order == 190 else ("co2", "co2 magnetic dipole band", "o3")
    )
    absent = tuple(name for name in window if name not in gases)
    prior = {gas: prior for gas, prior in setup.prior.items() if gas in gases}
    if "co2" in gases:  # the main gas: known to a few per cent everywhere
        prior["co2"] = Prior(relative_sigma=0.05)
    return setup.replace(
        table=build(band, folder),
        gases=gases,
        prior=prior,
        instrument={"n_orders": 5},
        interferents_absent=absent,
        # the samples try the fit's own errors: nothing in them is wrong
        systematics={"in_fit": False, "enabled": False},
    )


def drawn(level1, truth, setup, copies, seed):
    """Fit copies with noise drawn afresh: scene, found and chi-square of each."""
    error = level1["transmittance_error"].values
    clean = (truth.transmittance_clean * truth.calibration_factor).values
    rng = np.random.default_rng(seed)
    mask = np.isnan(level1["transmittance"].values)
    for _ in range(copies):
        values = clean + error * rng.standard_normal(clean.shape)
        values[mask] = np.nan
        copy = level1.assign(transmittance=(("spectrum", "pixel"), values))
        scene, _ = build_scene(copy, setup, tgo.read_atmosphere(air_of(truth)))
        altitude = scene.limb.altitude_km
        true = {gas: np.zeros(altitude.size) for gas in setup.gases}
        for gas in {name for name in true if f"vmr_{name.upper()}" in truth}:
            profile = truth[f"vmr_{gas.upper()}"]
            true[gas] = np.interp(altitude, truth.altitude, profile)
        yield altitude, true, *fit(scene, true)


def renoised(order, folder, copies, seed):
    """Return z of all levels and copies per gas, from noise drawn afresh."""
    level1, truth = sample(order)
    setup = setup_of(order, folder)
    z = {gas: [] for gas in setup.gases}
    for _, _, gases, _ in drawn(level1, truth, setup, copies, seed):
        for gas, found in gases.items():
            if found.degrees_of_freedom >= 3.0:
                z[gas].append(found.z)
    return {gas: np.concatenate(values) for gas, values in z.items() if values}


def all_absorbers(order, copies, seed):
    """Return z per gas, methane from the truth (pptv, 5-30 km), if any, and chi-square.

    Of the samples with every absorber and ten neighbouring orders, with the shipped
    setup; the known sources of error are left out, since nothing is wrong in them.
    """
    level1, truth = sample(order, FULL)
    setup = default_setup("so", order).replace(
        systematics={"in_fit": False, "enabled": False}
    )
    z, layer, chi_square = {gas: [] for gas in setup.gases}, [], []
    for altitude, true, gases, value in drawn(level1, truth, setup, copies, seed):
        for gas, found in gases.items():
            if found.degrees_of_freedom >= 1.0:
                z[gas].append(found.z[np.isfinite(found.z)])
        chi_square.append(value)
        if (methane := gases.get("ch4")) is None:
            continue
        part = (altitude >= 5.0) & (altitude <= 30.0)
        weight = methane.total_error[part] ** -2.0
        off = (methane.vmr - true["ch4"])[part] @ weight / weight.sum()
        layer.append(1e12 * off)
    pooled = {gas: np.concatenate(values) for gas, values in z.items() if values}
    counted = {gas: values for gas, values in pooled.items() if values.size}
    return counted, np.array(layer), np.array(chi_square)
