"""Cross-sections of 50 Mars layers against HAPI: ratio on the same work in one run.

CH4, lines within 25 cm-1 of 3000-3100 cm-1, step 0.001 cm-1, air widths in both (HAPI
has no CO2 widths for methane); ours with two threads over the layers, HAPI one layer at
a time with its default settings, except the wing of 25 cm-1.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import pathlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.spectroscopy.absorption import cross_section_grid, line_arrays

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "linelists"
LOW, HIGH, STEP = 3000.0, 3100.0, 1e-3


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/linelists")
@pytest.mark.filterwarnings("ignore")
def test_cross_sections_of_fifty_layers(tmp_path, monkeypatch):
    source = next(SHARED.glob("ch4_iso1_nu3*"))
    lines = tgo.read_line_list(source)
    near = lines.isel(
        line=(lines.wavenumber >= LOW - 25.0) & (lines.wavenumber <= HIGH + 25.0)
    )
    nu = LOW + STEP * np.arange(round((HIGH - LOW) / STEP) + 1)
    air = tgo.reference_atmosphere(np.linspace(0.0, 98.0, 50))
    p, t = air.pressure.values, air.temperature.values
    chosen = line_arrays(near, nu[0], nu[-1], "air", wing=25.0)

    def ours():
        parts = np.array_split(np.arange(50), 2)
        with ThreadPoolExecutor(2) as pool:
            return np.concatenate(
                list(
                    pool.map(
                        lambda i: cross_section_grid(chosen, nu, p[i], t[i]), parts
                    )
                )
            )

    ours()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        result = ours()
        seconds.append((time.perf_counter() - start) / 50)

    with contextlib.redirect_stdout(io.StringIO()):
        import hapi

        text = gzip.decompress(source.read_bytes()).decode("ascii").splitlines()
        kept = [r for r in text if LOW - 25.0 <= float(r[3:15]) <= HIGH + 25.0]
        (tmp_path / "CH4.data").write_text("\n".join(kept) + "\n", encoding="ascii")
        header = dict(hapi.HITRAN_DEFAULT_HEADER, table_name="CH4", size_in_bytes=-1)
        header["number_of_rows"] = len(kept)
        (tmp_path / "CH4.header").write_text(json.dumps(header), encoding="ascii")
        hapi.db_begin(str(tmp_path))
        layer = 5
        start = time.perf_counter()
        _, theirs = hapi.absorptionCoefficient_Voigt(
            SourceTables="CH4",
            Environment={"p": p[layer] / 101325.0, "T": t[layer]},
            WavenumberGrid=nu,
            WavenumberWing=25.0,
            Diluent={"air": 1.0},
            HITRAN_units=True,
        )
        hapi_seconds = time.perf_counter() - start
    strong = theirs > 1e-3 * theirs.max()
    error = np.abs(result[layer] / theirs - 1.0)[strong].max()
    print(
        f"\n{near.sizes['line']} lines, {nu.size} points: {np.median(seconds):.4f} s a "
        f"layer (two threads), HAPI {hapi_seconds:.2f} s: "
        f"{hapi_seconds / np.median(seconds):.0f}x; "
        f"largest difference {error:.1e} of the local value above 1e-3 of the peak"
    )
    assert error < 1e-4
