"""Forward model and full-profile Jacobian of a Mars occultation against peers.

The common case: 15 tangent heights (0.5-28.5 km), 35 layers (36 levels), CO, 4170-4190
cm-1 at 20,579 points of 0.001 cm-1; monochromatic, no instrument; one thread.
First call in a fresh process, and the median of alternating warm rounds.
"""

from __future__ import annotations

import gzip

import numpy as np
import peers
import pytest
from shared_folder import LISTS

import tgo_spectra as tgo
from tgo_spectra.spectroscopy.absorption import cross_section_grid

POINTS, LEVELS, WING, ROUNDS = 20579, 36, 25.0, 3
# cm-1, Gaussian, of the one peer that convolves
FWHM = 0.16
# The systems differ in what is linear between levels: at these many they should agree.
FINE = 141
TASKS = ("tgo-limb", "sasktran2-limb", "archnemesis-limb")


def case(levels):
    """Inputs of the common case with so many levels."""
    nu = 4180.0 + 1e-3 * (np.arange(POINTS) - POINTS // 2)
    source = next(LISTS.glob("co_alliso*2020.par.gz"))
    text = gzip.decompress(source.read_bytes()).decode("ascii").splitlines()
    kept = [r for r in text if nu[0] - WING <= float(r[3:15]) <= nu[-1] + WING]
    altitude = np.linspace(0.0, 105.0, levels)
    air = tgo.reference_atmosphere(altitude)
    return {
        "records": np.array(kept),
        "wavenumber": nu,
        "altitude": altitude,
        "pressure": air.pressure.values,
        "temperature": air.temperature.values,
        "vmr": np.full(levels, 8e-4),
        # sasktran2 ends a ray at 0 km on the ground
        "tangent": 0.5 + 2.0 * np.arange(15),
        "radius": np.array(3389.5),
        "pixels": 4170.0 + 0.05 * np.arange(401),
        "fwhm": np.array(FWHM),
    }


def with_table(given, folder):
    """The same with a table of cross-sections on 15 pressures by 15 temperatures."""
    path = folder / "co.par"
    path.write_text("\n".join(given["records"]) + "\n", encoding="ascii")
    nu = 4169.0 + 1e-3 * np.arange(22001)
    p, t = np.geomspace(0.1, 1000.0, 15), np.linspace(110.0, 300.0, 15)
    pairs = [axis.ravel() for axis in np.meshgrid(p, t, indexing="ij")]
    sigma = cross_section_grid(tgo.read_line_list(path), nu, *pairs, "air")
    table = np.moveaxis(sigma.reshape(15, 15, -1), 2, 0)
    return given | {
        "table": table,
        "table_p": p,
        "table_t": t,
        "table_wavenumber": nu,
    }


@pytest.fixture(scope="module")
def arrays(tmp_path_factory, shared):
    return with_table(case(LEVELS), tmp_path_factory.mktemp("table"))


def timed(task, arrays, folder):
    """First round of a fresh process, and the process itself."""
    worker = peers.Worker(task, arrays, folder)
    return worker, worker.round(jacobian=True)


def agreement(folder):
    """Differences to ours with many levels, in words."""
    given, found = case(FINE), {}
    for task in TASKS[:2]:
        try:
            worker, _ = timed(task, given, folder)
            found[task] = worker.result()
        except peers.Missing as reason:
            return f"CO limb, {FINE} levels: {reason}"
    own, other = (found[task] for task in TASKS[:2])
    off, slope = (difference(other, own, jacobian, given) for jacobian in (False, True))
    return (
        f"CO limb, {FINE} levels, errors of sasktran2 as above: forward {off:.1e},"
        f" Jacobian {slope:.1e}"
    )


def convolved(field, given):
    """Of the last axis, with the Gaussian at the pixels."""
    offset = (given["pixels"][:, None] - given["wavenumber"]) / FWHM
    kernel = np.exp(-4.0 * np.log(2.0) * offset**2)
    return field @ (kernel / kernel.sum(axis=1, keepdims=True)).T


def difference(found, own, jacobian, given):
    """Largest difference to ours over the largest value.

    Of the transmittance, or of its derivative to a factor on the whole profile: how a
    layer is shared between its levels is each system's own affair.
    """
    pair = [
        np.einsum("zlv,l->zv", r["jacobian"], given["vmr"])
        if jacobian
        else r["transmittance"]
        for r in (found, own)
    ]
    if pair[0].shape != pair[1].shape:
        pair[1] = convolved(pair[1], given)
    return np.abs(pair[0] - pair[1]).max() / np.abs(pair[1]).max()


def start(arrays, folder):
    """Workers, and their first rounds."""
    workers, first = {}, {}
    for task in TASKS:
        try:
            workers[task], first[task] = timed(task, arrays, folder)
        except peers.Missing as reason:
            peers.NOTES.append(f"not compared: {reason}")
    return workers, first


def test_forward_and_jacobian(arrays, tmp_path):
    workers, first = start(arrays, tmp_path)
    times = {what: {task: [] for task in workers} for what in (False, True)}
    for _ in range(ROUNDS):
        for jacobian, rounds in times.items():
            for task in list(workers):
                try:
                    rounds[task].append(workers[task].round(jacobian=jacobian))
                except peers.Missing as reason:
                    del workers[task]
                    peers.NOTES.append(f"not compared: {reason}")
    found = {task: worker.result() for task, worker in workers.items()}
    own = found["tgo-limb"]
    for jacobian, rounds in times.items():
        for task, result in found.items():
            wall, cpu = (peers.middle(rounds[task], k) for k in ("wall", "cpu"))
            ours = [peers.middle(rounds["tgo-limb"], k) for k in ("wall", "cpu")]
            off = difference(result, own, jacobian, arrays)
            peers.row(
                f"CO limb, {'forward + Jacobian' if jacobian else 'forward'}",
                task.split("-")[0],
                f"{wall:.3f}",
                f"{cpu:.3f}",
                f"{wall / ours[0]:.3g} / {cpu / ours[1]:.3g}",
                "-" if result is own else f"{off:.1e}",
                f"{first[task]['growth_mb']:.0f}" if jacobian else "-",
            )
    starts = ", ".join(f"{t.split('-')[0]} {first[t]['cpu']:.2f}" for t in first)
    peers.NOTES.append(
        f"CO limb: 15 heights, {LEVELS} levels, {POINTS} points, one thread, median of"
        f" {ROUNDS} alternating warm rounds; first call of a fresh process with"
        f" Jacobian, core-s: {starts}; memory: growth over the loaded process in that"
        " call; error: largest difference to ours over the largest value, of the"
        " transmittance, or of its derivative to a factor on the whole profile (between"
        " levels, density is exponential here and extinction linear in sasktran2);"
        " archnemesis takes tables instead of lines and convolves, for which ours was"
        " convolved afterwards, untimed"
    )
    peers.NOTES.append(agreement(tmp_path))
    assert np.isfinite(own["jacobian"]).all()
