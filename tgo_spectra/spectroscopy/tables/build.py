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

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tgo_spectra._version import __version__
from tgo_spectra.errors import TableError
from tgo_spectra.files.storage import Stored, clean_attributes, content_hash
from tgo_spectra.spectroscopy.tables.cells import (
    CELL_POINTS,
    restored_weights,
    whole_weights,
)
from tgo_spectra.spectroscopy.tables.compression import compress
from tgo_spectra.spectroscopy.tables.error_estimate import Measure, measure_direct
from tgo_spectra.spectroscopy.tables.grid import (
    default_pressures,
    default_temperatures,
    fill_states,
    states_bytes,
)
from tgo_spectra.spectroscopy.tables.scratch import (
    Progress,
    check_room,
    in_pieces,
    keep,
    one_thread,
    piece_name,
    run_tasks,
    scratch_folder,
    workers_within,
)
from tgo_spectra.spectroscopy.tables.training import (
    EVERY,
    SHELLS_KM,
    Band,
    draw,
    reduced_states,
    training_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr
    from numpy.typing import ArrayLike

    from tgo_spectra.spectroscopy.lineparameters import Broadening
    from tgo_spectra.spectroscopy.tables.error_estimate import CrossSection

__all__ = ["build_table", "default_pressures", "default_temperatures", "hash_of_lines"]

Nodes = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]

WIDEN = 3.0  # columns of the training over those of the measurement
CHECK = 8  # atmospheres on which a choice is checked, per atmosphere of training
HEIGHTS = 8  # tangent heights of an atmosphere of the training
CELL_PIECE = 25  # cells whose nodes are chosen at a time, whatever the memory
WING = 25.0  # cm-1, how far outside the window lines are taken
WEIGHT_STEP = 1e-4  # weights of nodes are whole numbers of it: 5e-6 of transmittance
MEMORY_GB = 2.0
STAGES = ("choice of wavenumbers", "vectors", "line by line")


def select(
    band: Band,
    tolerance: float,
    atmospheres: int,
    seed: int,
    *,
    memory_gb: float = MEMORY_GB,
    workers: int = 1,
    progress: Progress | None = None,
) -> Nodes:
    """Choose the nodes of a band, in fixed pieces of the axis.

    As `tgo_spectra.spectroscopy.tables.quadrature.choose_nodes` returns them, within
    its tolerance for the training set; `workers` pieces at a time.
    """
    sets = {
        "depth": draw(band, seed, atmospheres, HEIGHTS, WIDEN),
        "layer": draw(band, seed + 1, atmospheres // 8, HEIGHTS, WIDEN),
        "check": draw(band, seed + 10, CHECK * atmospheres, HEIGHTS, WIDEN),
    }
    small = {gas: reduced_states(band, gas) for gas in band.files}
    sets = {
        name: {gas: small[gas] @ value for gas, value in paths.items()}
        for name, paths in sets.items()
    }
    inputs = [[f.name for files in band.files.values() for f in files], tolerance]
    inputs += [atmospheres, HEIGHTS, WIDEN, CHECK, seed, CELL_PIECE, __version__]
    pieces = in_pieces(band.points // CELL_POINTS, CELL_PIECE)
    files = [band.folder / piece_name("nodes", *inputs, piece) for piece in pieces]
    tasks = [
        (band, small, sets, tolerance, piece, file)
        for piece, file in zip(pieces, files, strict=True)
    ]
    # rows of the check and what they are made of
    rows = CHECK * atmospheres * HEIGHTS * (1.0 + len(small) / EVERY)
    task = 8.0 * 1.7 * rows * CELL_PIECE * CELL_POINTS
    workers = workers_within(memory_gb, task, workers, "the choice of wavenumbers")
    run_tasks(_choose, tasks, workers, progress=progress, stage=STAGES[0])
    whole = np.concatenate([np.load(file) for file in files])
    return whole[:, 0].astype(np.int64), whole[:, 1].astype(np.int32), whole[:, 2:]


def _choose(
    band: Band,
    small: Mapping[str, NDArray[np.float32]],
    sets: Mapping[str, Mapping[str, NDArray[np.float32]]],
    tolerance: float,
    piece: tuple[int, int],
    file: Path,
) -> bool:
    """Keep point, cell and weights of the nodes of a piece, (node, 2 + moment)."""
    from tgo_spectra.spectroscopy.tables.quadrature import choose_nodes

    def by_cell(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows.reshape(rows.shape[0], -1, CELL_POINTS).transpose(1, 0, 2)

    def make() -> NDArray[np.float64]:
        points = slice(piece[0] * CELL_POINTS, piece[1] * CELL_POINTS)
        sigma = {gas: small[gas] @ band.sigma(gas, points) for gas in small}
        point, cell, weight = choose_nodes(
            by_cell(training_rows(sigma, sets["depth"], sets["layer"])),
            by_cell(training_rows(sigma, sets["check"])),
            tolerance=tolerance,
        )
        return np.column_stack([point + points.start, cell + piece[0], weight])

    return keep(file, make)


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
    largest_error: float = 5e-4,
    workers: int = 2,
    processes: bool = False,
    seed: int = 1,
    memory_gb: float = MEMORY_GB,
    scratch: str | Path | None = None,
    report: Callable[[str], None] | None = None,
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
        `default_temperatures`, 1e-3 to 2003 Pa and 90 to 320 K.
    step : float
        Fine step, cm-1, at most 0.8 of the narrowest Doppler half width.
    tolerance : float
        Error of the mean transmittance moments of a cell allowed to the nodes.
    rank_tolerance : float
        Error of transmittance spectra allowed to the number of vectors of a gas; a
        third of it to their rounding.
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
    largest_error : float
        A table whose measured error of transmittance is larger is refused.
    workers : int
        Temperatures and pieces of the band computed at a time by Dask, as many as fit
        in the memory; no number of workers changes the result.
    processes : bool
        Processes in place of threads for the cross sections.
    seed : int
        Seed; equal seeds and inputs give equal tables.
    memory_gb : float
        Memory the build may take, GB.
    scratch : path, optional
        Folder of finished pieces, about 1 GB for each gas and 350 cm-1 of window: a
        build that was interrupted goes on with them. It is removed at the end.
        Without it a temporary folder.
    report : callable, optional
        Takes lines that say how far the build is and how long the rest will take;
        without it they go to the log.

    Returns
    -------
    xarray.Dataset
        See `tgo_spectra.spectroscopy.tables`. The attributes state the sources of
        the lines, the broadening, and the measured errors.

    Raises
    ------
    TableError
        Empty window or no gas; too little memory or disk; the table misses
        `largest_error`.
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
    functions = {
        gas: _function(gas, *choice, first * width, last * width)
        for gas, choice in lines.items()
    }
    pressure = default_pressures() if pressure_pa is None else pressure_pa
    temperature = default_temperatures() if temperature_k is None else temperature_k
    with scratch_folder(scratch) as folder, one_thread():
        working = Band(
            first * width,
            step,
            (last - first) * CELL_POINTS,
            np.asarray(pressure, float),
            np.asarray(temperature, float),
            folder,
        )
        check_room(folder, 4.0 * working.states * working.points * len(lines))
        direct = verify_atmospheres * min(verify_width / (width * (last - first)), 1.0)
        progress = Progress(band or "table", _plan(working, functions, direct), report)
        task = states_bytes(working)
        fit = workers_within(memory_gb, task, workers, "the sum of lines")
        for gas, function in functions.items():
            known = [hash_of_lines(lines[gas][0]), lines[gas][1], __version__]
            fill_states(
                working, gas, function, fit, inputs=known, processes=processes,
                progress=progress,
            )  # fmt: skip
        nodes = select(
            working, tolerance, atmospheres, seed, memory_gb=memory_gb,
            workers=workers, progress=progress,
        )  # fmt: skip
        table, errors = _assemble(working, nodes, rank_tolerance, seed, progress)
        table.attrs = {
            "title": "Absorption cross sections on selected wavenumbers",
            "band": band,
            "gases": " ".join(lines),
            "cell_width": width,
            "fine_step": step,
            "first_cell": first,
            **errors,
            **_provenance(lines, first * width, last * width),
            "node_tolerance": tolerance,
            "rank_tolerance": rank_tolerance,
        }
        if verify_atmospheres:
            piece = min(verify_width, (last - first) * width)
            table.attrs |= _verified(
                table, functions, (_strongest(working, piece), piece),
                verify_atmospheres, verify_heights, seed + 4,
                workers_within(
                    memory_gb, 8.0 * working.points * (2 * verify_heights + 30),
                    workers, "the measurement line by line",
                ),
                progress,
            )  # fmt: skip
            _refuse_error(table, largest_error)
    return table


def _verified(
    table: xr.Dataset,
    functions: Mapping[str, CrossSection],
    piece: tuple[float, float],
    atmospheres: int,
    heights: int,
    seed: int,
    workers: int,
    progress: Progress,
) -> dict[str, float | str]:
    """Measure the table line by line on a piece (begin, width), in attributes."""
    worst, rms = measure_direct(
        table,
        functions,
        low=piece[0],
        width=piece[1],
        atmospheres=atmospheres,
        heights=heights,
        seed=seed,
        workers=workers,
        progress=progress,
    )
    return {
        "line_by_line_error_transmittance": worst,
        "line_by_line_error_rms": rms,
        "line_by_line_error_measured": (
            f"{atmospheres} unseen random atmospheres, {heights} "
            f"tangent heights of 0-100 km, {piece[1]:g} cm-1 from {piece[0]:.1f} cm-1"
        ),
    }


def _refuse_error(table: xr.Dataset, largest: float) -> None:
    """Refuse a table whose measured errors exceed what is allowed (TableError)."""
    for name in ("truncation", "line_by_line"):
        error = float(table.attrs[f"{name}_error_transmittance"])
        if error > largest:
            message = (
                f"the table is off by {error:.2g} in transmittance "
                f"({name.replace('_', ' ')}), allowed are {largest:g}: lower the "
                "tolerances or the step"
            )
            raise TableError(message, value=error, rule="table.error")


def _plan(
    band: Band, functions: Mapping[str, CrossSection], direct: float
) -> dict[str, float]:
    """Work of the stages, in seconds of a core of 2024: only their ratios count."""
    temperatures, gases = band.temperature_k.size, len(functions)
    # one state: a pass over the axis and some work for each line
    one = {
        gas: 35e-9 * band.points + 2e-6 * _line_count(function)
        for gas, function in functions.items()
    }
    states = 0.5 * band.pressure_pa.size * temperatures
    plan = {f"cross sections of {gas}": states * one[gas] for gas in functions}
    plan[STAGES[0]] = 55e-6 * gases * band.points
    plan[STAGES[1]] = 25e-6 * gases * band.points
    plan[STAGES[2]] = direct * (SHELLS_KM.size - 1) * sum(one.values())
    return plan


def _function(
    gas: str, lines: xr.Dataset, broadening: Broadening, low: float, high: float
) -> CrossSection:
    """Return cross sections of a gas as a function of wavenumber and state."""
    from tgo_spectra.spectroscopy.absorption import cross_section_grid, line_arrays

    chosen = line_arrays(lines, low, high, broadening, wing=WING, gas=gas)
    return partial(cross_section_grid, chosen)


def _line_count(function: CrossSection) -> int:
    """Count the lines behind a function, none where it is not made of a list."""
    chosen = getattr(function, "args", (None,))[0]
    return int(getattr(chosen, "position", np.empty(0)).size)


def _strongest(band: Band, width: float) -> float:
    """Return where a piece of the band begins that absorbs most."""
    points = min(round(width / band.step), band.points)
    # highest pressure and temperature
    last = [np.load(f[-1], mmap_mode="r")[-1] for f in band.files.values()]
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


def hash_of_lines(lines: xr.Dataset) -> str:
    """Return the hash of the contents of a line list that was read."""
    variables = {
        str(name): Stored(
            tuple(str(d) for d in variable.dims),
            variable.values,
            clean_attributes(variable.attrs),
        )
        for name, variable in lines.variables.items()
    }
    return content_hash(variables, clean_attributes(lines.attrs))


def _assemble(
    band: Band, nodes: Nodes, rank_tolerance: float, seed: int, progress: Progress
) -> tuple[xr.Dataset, dict[str, float | int | str]]:
    """Compress the gases, round them and measure what that costs."""
    import xarray as xr

    point, cell, weight = nodes
    cells = band.points // CELL_POINTS
    for _ in range(2):  # as read from a file, to the bit
        whole = whole_weights(weight, WEIGHT_STEP)
        weight = restored_weights(whole, cell, cells, WEIGHT_STEP)
    measure = Measure(
        band, point, cell, weight, seed=seed + 2, atmospheres=24, heights=HEIGHTS
    )
    start = band.low + CELL_POINTS * band.step * np.arange(cells)
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
            start,
            {"units": "cm-1", "long_name": "lower edge of the cell"},
        ),
        "pressure": (("pressure",), band.pressure_pa, {"units": "Pa"}),
        "temperature": (("temperature",), band.temperature_k, {"units": "K"}),
    }
    grid = (band.pressure_pa.size, band.temperature_k.size)
    before, after = [], []
    for place, gas in enumerate(band.files):
        made = compress(measure, gas, rank_tolerance)
        before.append(made.before)
        after.append(made.after)
        dims = (f"vector_{gas}",)
        data[f"{gas}_vectors"] = ((*dims, "node"), made.values, {"units": "1"})
        data[f"{gas}_vector_step"] = (dims, made.step, {"units": "1"})
        data[f"{gas}_node_scale"] = (("node",), made.scale, {"units": "1"})
        data[f"{gas}_coefficients"] = (
            (*dims, "pressure", "temperature"),
            made.coefficients.reshape(-1, *grid),
            {"units": "cm2"},
        )
        share = 1.0 / (len(band.files) - place)
        text = f"{gas}: {made.step.size} vectors"
        progress.done(STAGES[1], share, made=True, text=text)
    reduced = measure.spectra(*after)
    change = reduced - measure.spectra(*before)
    error = reduced - measure.full_spectra()
    errors: dict[str, float | int | str] = {
        "weight_step": WEIGHT_STEP,
        "truncation_error_transmittance": float(np.abs(error).max()),
        "truncation_error_rms": float(np.sqrt(np.mean(error**2))),
        "quantisation_error_transmittance": float(np.abs(change).max()),
        "error_measured": (
            "24 random atmospheres, 8 tangent heights of 0-100 km, whole band, "
            "doublet line shape of 0.18-0.21 cm-1 or the like, against the full axis"
        ),
    }
    return xr.Dataset(data), errors
