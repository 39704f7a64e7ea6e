"""Make absorption tables: cross sections, nodes, vectors, and their measured error.

The band's cross sections are computed on a fine axis for every state of a (p, T)
grid. Few nodes stand for the fine axis (`tgo_spectra.spectroscopy.tables.quadrature`);
on these the states are compressed by a singular value decomposition whose rank is set
by the error of transmittance spectra, not by singular values [1]_.

References
----------
.. [1] Dudhia, Morris and Wells 2002, JQSRT 74, 745: Fast atmospheric radiative
   transfer calculations for limb sounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra._version import __version__
from tgo_spectra.errors import TableError
from tgo_spectra.spectroscopy.tables.error_estimate import (
    Measure,
    choose_rank,
    measure_direct,
    packed,
)
from tgo_spectra.spectroscopy.tables.grid import (
    default_pressures,
    default_temperatures,
    fill_states,
    run_tasks,
)
from tgo_spectra.spectroscopy.tables.training import (
    CELL_POINTS,
    SCALE,
    Band,
    draw,
    reduced_states,
    training_rows,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from tgo_spectra.spectroscopy.lineparameters import Broadening
    from tgo_spectra.spectroscopy.tables.error_estimate import CrossSection

__all__ = ["build_table", "default_pressures", "default_temperatures"]

WIDEN = 3.0  # columns of the training over those of the measurement
CHECK = 8  # atmospheres on which a choice is checked, per atmosphere of training
WING = 25.0  # cm-1, how far outside the window lines are taken


def select(
    band: Band,
    tolerance: float,
    atmospheres: int,
    heights: int,
    seed: int,
    workers: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Choose point, cell and weight of a band's nodes, in pieces to spare memory.

    As `tgo_spectra.spectroscopy.tables.quadrature.choose_nodes` returns them, within
    its tolerance for the training set; `workers` pieces at a time.
    """
    from tgo_spectra.spectroscopy.tables.quadrature import choose_nodes

    small = reduced_states(band)
    depth = draw(band, seed, atmospheres, heights, WIDEN)
    layer = draw(band, seed + 1, atmospheres // 8, heights, WIDEN)
    depth = {gas: small[gas] @ value for gas, value in depth.items()}
    layer = {gas: small[gas] @ value for gas, value in layer.items()}
    check = draw(band, seed + 10, CHECK * atmospheres, heights, WIDEN)
    check = {gas: small[gas] @ value for gas, value in check.items()}
    cells, piece = band.points // CELL_POINTS, 100

    def choose(
        first: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        last = min(first + piece, cells)
        points = slice(first * CELL_POINTS, last * CELL_POINTS)
        sigma = {gas: small[gas] @ band.sigma[gas][:, points] for gas in small}
        rows, other = training_rows(sigma, depth, layer), training_rows(sigma, check)
        by_cell = rows.reshape(rows.shape[0], last - first, CELL_POINTS)
        unseen = other.reshape(other.shape[0], last - first, CELL_POINTS)
        point, cell, weight = choose_nodes(
            by_cell.transpose(1, 0, 2), unseen.transpose(1, 0, 2), tolerance=tolerance
        )
        return point + first * CELL_POINTS, cell + np.int32(first), weight

    parts = run_tasks(choose, [(k,) for k in range(0, cells, piece)], workers)
    return (
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] for p in parts]),
        np.concatenate([p[2] for p in parts]),
    )


def build_table(
    lines: Mapping[str, tuple[xr.Dataset, Broadening]],
    window: tuple[float, float],
    *,
    band: str = "",
    pressure_pa: ArrayLike | None = None,
    temperature_k: ArrayLike | None = None,
    step: float = 0.002,
    tolerance: float = 1.5e-4,
    rank_tolerance: float = 3e-5,
    atmospheres: int = 64,
    verify_atmospheres: int = 2,
    verify_width: float = 30.0,
    verify_heights: int = 8,
    workers: int = 2,
    processes: bool = False,
    seed: int = 1,
) -> xr.Dataset:
    """Build the absorption table of a band.

    Parameters
    ----------
    lines : mapping of str to (Dataset, broadening)
        For each gas key its line list (`read_line_list`) and broadening: ``"co2"``,
        ``"self"``, ``"air"``, ``("air", factor)`` or a mixture of these.
    window : tuple of float
        Lower and upper wavenumber, cm-1; widened to whole cells of 50 steps.
    band : str
        Name of the band, for messages.
    pressure_pa, temperature_k : array_like, optional
        Grid of states; default `default_pressures` and
        `default_temperatures`, 1e-3 to 1203 Pa and 100 to 300 K.
    step : float
        Fine step, cm-1, at most 0.8 of the narrowest Doppler half width.
    tolerance : float
        Error of the mean transmittance moments of a cell allowed to the nodes.
    rank_tolerance : float
        Error of transmittance spectra allowed to the number of vectors.
    atmospheres : int
        Random training atmospheres, each with eight tangent heights; cells whose
        nodes fail on eight times as many others are chosen anew with those.
    verify_atmospheres : int
        Unseen atmospheres computed line by line for the error in the attributes.
    verify_width : float
        Piece of the band for that, where absorption is strongest, cm-1; infinity
        stands for the whole band.
    verify_heights : int
        Tangent heights in each of those atmospheres.
    workers : int
        Temperatures and pieces of the band computed at a time by Dask; no number of
        workers changes the result.
    processes : bool
        Processes in place of threads for the cross sections.
    seed : int
        Seed; equal seeds and inputs give equal tables.

    Returns
    -------
    xarray.Dataset
        See `tgo_spectra.spectroscopy.tables`. The attributes state the sources of
        the lines, the broadening, and the measured errors.

    Raises
    ------
    TableError
        Empty window or no gas.
    LineListError
        A list does not serve its gas or broadening.

    Examples
    --------
    >>> build_table({"ch4": (lines, ("air", 1.3))}, (3010.0, 3020.0))  # doctest: +SKIP
    """
    low, high = (float(edge) for edge in window)
    width = round(CELL_POINTS * step, 12)
    if not (lines and high > low):
        message = "a table needs a gas and a window with its lower edge first"
        raise TableError(message, value=(low, high), rule="table.window")
    first, last = int(np.floor(low / width + 1e-9)), int(np.ceil(high / width - 1e-9))
    working = Band(
        first * width,
        step,
        default_pressures() if pressure_pa is None else np.asarray(pressure_pa, float),
        default_temperatures()
        if temperature_k is None
        else np.asarray(temperature_k, float),
    )
    edges = first * width, last * width
    functions = {g: _function(g, *choice, *edges) for g, choice in lines.items()}
    for gas, function in functions.items():
        points = (last - first) * CELL_POINTS
        fill_states(working, gas, function, points, workers, processes=processes)
    nodes = select(working, tolerance, atmospheres, 8, seed, workers)
    table, errors = _assemble(working, nodes, first * width, rank_tolerance, seed)
    table.attrs = {
        "title": "Absorption cross sections on selected wavenumbers",
        "band": band,
        "gases": " ".join(lines),
        "cell_width": width,
        "fine_step": step,
        **errors,
        **_provenance(lines, first * width, last * width),
        "node_tolerance": tolerance,
        "rank_tolerance": rank_tolerance,
    }
    if verify_atmospheres:
        piece = min(verify_width, (last - first) * width)
        begin = _strongest(working, piece)
        worst, rms = measure_direct(
            table,
            functions,
            low=begin,
            width=piece,
            atmospheres=verify_atmospheres,
            heights=verify_heights,
            seed=seed + 4,
        )
        table.attrs |= {
            "line_by_line_error_transmittance": worst,
            "line_by_line_error_rms": rms,
            "line_by_line_error_measured": (
                f"{verify_atmospheres} unseen random atmospheres, {verify_heights} "
                f"tangent heights of 0-100 km, {piece:g} cm-1 from {begin:.1f} cm-1"
            ),
        }
    return table


def _function(
    gas: str, lines: xr.Dataset, broadening: Broadening, low: float, high: float
) -> CrossSection:
    """Return cross sections of a gas as a function of wavenumber and state."""
    from tgo_spectra.spectroscopy.absorption import cross_section_grid, line_arrays

    chosen = line_arrays(lines, low, high, broadening, wing=WING, gas=gas)

    def compute(
        nu: NDArray[np.float64],
        pressure: NDArray[np.float64],
        temperature: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        return cross_section_grid(chosen, nu, pressure, temperature)

    return compute


def _strongest(band: Band, width: float) -> float:
    """Return where a piece of the band begins that absorbs most."""
    points = min(round(width / band.step), band.points)
    last = [s[-1] for s in band.sigma.values()]  # highest pressure and temperature
    total = np.sum([s / (s.max() + 1e-30) for s in last], axis=0)
    running = np.concatenate([[0.0], np.cumsum(total, dtype=np.float64)])
    begin = int(np.argmax(running[points:] - running[:-points]))
    return float(band.low + begin * band.step)


def _in_words(broadening: Broadening) -> str:
    if isinstance(broadening, str):
        return broadening
    if isinstance(broadening, tuple | list):
        return "{} x {:g}".format(*broadening)
    return ", ".join(f"{name} {share:g}" for name, share in broadening.items())


def _provenance(
    lines: Mapping[str, tuple[xr.Dataset, Broadening]], low: float, high: float
) -> dict[str, str | float]:
    """Return where the lines come from and which were used, in attributes."""
    from tgo_spectra.spectroscopy.lineparameters import line_arrays, uncertainty_codes

    attrs: dict[str, str | float] = {
        "wing": WING,
        "wing_units": "cm-1",
        "software": f"tgo_spectra {__version__}",
    }
    for gas, (source, broadening) in lines.items():
        chosen = line_arrays(source, low, high, broadening, wing=WING, gas=gas)
        attrs[f"{gas}_broadening"] = _in_words(broadening)
        attrs[f"{gas}_widths"] = chosen.broadening
        attrs[f"{gas}_line_count"] = chosen.position.size
        numbers = np.unique(chosen.isotopologue).tolist()
        attrs[f"{gas}_isotopologues"] = " ".join(map(str, numbers))
        attrs[f"{gas}_unknown_lower_state_energy"] = chosen.unknown_energy
        attrs[f"{gas}_intensity_codes"] = uncertainty_codes(source, "intensity")
        for name, key in (
            ("lines", "source_file"),
            ("lines_sha256", "source_sha256"),
            ("edition", "edition"),
            ("citation", "citation"),
        ):
            attrs[f"{gas}_{name}"] = str(source.attrs.get(key, "not stated"))
        for key in ("parts", "completeness"):
            if key in source.attrs:
                attrs[f"{gas}_{key}"] = str(source.attrs[key])
    return attrs


def _assemble(
    band: Band,
    nodes: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]],
    start: float,
    rank_tolerance: float,
    seed: int,
) -> tuple[xr.Dataset, dict[str, float | int | str]]:
    """Compress the gases, round them and measure what that costs."""
    import xarray as xr

    point, cell, weight = nodes
    measure = Measure(
        band, point, cell, weight, seed=seed + 2, atmospheres=24, heights=8
    )
    cells = band.points // CELL_POINTS
    grid = (band.pressure_pa.size, band.temperature_k.size)
    data: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, str]]] = {
        "node_wavenumber": (("node",), band.wavenumber[point], {"units": "cm-1"}),
        "node_cell": (("node",), cell, {"long_name": "cell of the node"}),
        "node_weight": (
            ("node", "moment"),
            weight,
            {"long_name": "weights for the Legendre sums over the cell's points"},
        ),
        "cell_start": (
            ("cell",),
            start + CELL_POINTS * band.step * np.arange(cells),
            {"units": "cm-1", "long_name": "lower edge of the cell"},
        ),
        "pressure": (("pressure",), band.pressure_pa, {"units": "Pa"}),
        "temperature": (("temperature",), band.temperature_k, {"units": "K"}),
    }
    exact, rounded = {}, {}
    for gas, sigma in measure.nodes.items():
        scale, vectors, rank = choose_rank(measure, gas, rank_tolerance)
        scale = scale.astype(np.float32).astype(np.float64)
        vectors = vectors[:rank]
        scale /= float(scale.max())  # a number near one; coefficients carry the unit
        whole, step, coefficients = packed(sigma, vectors, scale)
        stored = (coefficients / SCALE).astype(np.float32).astype(np.float64)
        small = scale.astype(np.float32)
        values = whole.astype(np.float32) * step.astype(np.float32)[:, None] * small
        dims = (f"vector_{gas}",)
        data[f"{gas}_vectors"] = ((*dims, "node"), values, {"units": "1"})
        data[f"{gas}_vector_step"] = (dims, step, {"units": "1"})
        data[f"{gas}_node_scale"] = (("node",), small, {"units": "1"})
        data[f"{gas}_coefficients"] = (
            (*dims, "pressure", "temperature"),
            stored.reshape(rank, *grid),
            {"units": "cm2"},
        )
        unrounded = ((sigma / scale) @ vectors.T) @ vectors
        exact[gas] = (unrounded * scale).astype(np.float32)
        rounded[gas] = (stored.T * SCALE @ values).astype(np.float32)
    reduced = measure.spectra(**rounded)
    change = reduced - measure.spectra(**exact)
    error = reduced - measure.full_spectra()
    errors: dict[str, float | int | str] = {
        "truncation_error_transmittance": float(np.abs(error).max()),
        "truncation_error_rms": float(np.sqrt(np.mean(error**2))),
        "quantisation_error_transmittance": float(np.abs(change).max()),
        "error_measured": (
            "24 unseen random atmospheres, 8 tangent heights of 0-100 km, whole band, "
            "doublet line shape of 0.18-0.21 cm-1 or the like, against the full axis"
        ),
    }
    return xr.Dataset(data), errors
