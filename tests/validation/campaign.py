"""The validation campaign: many noisy retrievals of known truths, and what they show.

Run by ``make validate``; writes ``docs/explanation/validation_report.rst``. Parts may
be named after the number of draws: ``campaign.py 1000 nadir ozone``; the others keep
the lines of the run before. Parts on the trust in a result (``trust.py``) keep each
fit as it is ready and go on where they were stopped; with 0 draws they report what
there is.

Truths are made on levels 0.125 km apart in double precision, with light of ten
neighbouring orders on either side, bins at shifts of their own and a field of view by
quadrature. The fit has levels 1 km apart and the shipped setup ``so_134``. z is the
difference from the truth smoothed by the averaging kernel, over the noise error, at
levels where the kernel's diagonal exceeds 0.3; "total error" lines are of the
difference from the truth itself. Detections are counted at all levels where the setup
allows one (response of the kernel above 0.2). z of all levels, draws and atmospheres
are pooled; ranks are those of one level of each draw, drawn at random. Truths from the
prior are spectra of the fit's own model, with a prior of 25 % for water (so that no
draw is negative) and 0 +- 5 ppbv for methane. Lines on wrong knowledge have 1 ppbv of
methane and the systematic errors of the setup at their default sizes, so that a
pointing wrong by 0.5 km is wrong by 1.7 of them; shift and baseline have no such term.
Their first figure is of the truth and the whole total error; the second of the truth
smoothed by the kernel, and noise and systematic errors without smoothing.

From "White noise and the right instrument" on, every fit is a whole retrieval by
`tgo_spectra.retrieve` with the shipped setup, everything that is known to be uncertain
in the fit and in the errors. Truths differ in their hidden shifts, brightness, phases
and pixels too, with some draws of noise each. Without another word there is no methane,
the fit is given the air of the truth (but for what the line says) with an uncertainty
of 5 K and 5 %, and "layer" is methane of 5 to 30 km.
"""

from __future__ import annotations

import inspect
import json
import os
import pathlib
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict

import absorbers
import numpy as np
import parts
import trust
from draws import kept_in
from line import Line

import tgo_spectra as tgo
from tgo_spectra.files.netcdf import PROCESSING_VERSION

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "explanation" / "validation_report.rst"
RESULTS = ROOT / "tests" / "validation" / "results.json"
PARTS = {**parts.PARTS, **absorbers.PARTS, **trust.PARTS}


def main(draws: int, wanted: list[str]) -> None:
    """Run parts with some `draws` in the first and write the report after each."""
    unknown = set(wanted) - set(PARTS)
    if unknown:
        sys.exit(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    with ProcessPoolExecutor(2) as pool:
        for name in wanted or PARTS:
            begun = time.time()
            lines = PARTS[name](pool, draws)
            for line in lines:
                print(f"{line.what:70} {line.limit:14} {line.value:22} {line.passed}",
                      flush=True)  # fmt: skip
            results[name] = {
                "version": tgo.__version__,
                "processing": PROCESSING_VERSION,
                "minutes": round((time.time() - begun) / 60, 1),
                "code": kept_in().stem,
                "lines": [asdict(line) for line in lines],
            }
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            write(results)


def write(results: dict) -> None:
    """Write the report page."""
    summary = (
        f"Written by ``make validate`` with tgo_spectra {tgo.__version__}, Python "
        f"{platform.python_version()}, numpy {np.__version__}; each part names the "
        "processing version that it was made with. Truth and fit share line data and "
        "instrument coefficients, but for the samples of an independent simulator; "
        "errors of line data do not show here. The last column has the number of draws "
        "and the seeds."
    )
    method = (__doc__ or "").split("\n\n", 2)[2].strip()
    text = ["Validation report", "=================", "", summary, "", method, ""]
    for name, function in PARTS.items():
        if name not in results:
            continue
        title, *more = inspect.cleandoc(function.__doc__ or name).split("\n\n", 1)
        title = title.rstrip(".")
        paragraph = [line for text_ in more for line in (*text_.splitlines(), "")]
        lines = [Line(**item) for item in results[name]["lines"]]
        heads = [head for line in lines[:1] for head in line.more]
        widths = " ".join(["44", "14", "20", "8", "14", *("14" for _ in heads)])
        text += [title, "-" * len(title), "", *paragraph, ".. list-table::",
                 "   :header-rows: 1", f"   :widths: {widths}", ""]  # fmt: skip
        text += row("what", "limit", "measured", "passed", "draws; seeds", *heads)
        for line in lines:
            word = "" if line.passed is None else ("yes" if line.passed else "**no**")
            cells = (line.what, line.limit, line.value, word, line.draws)
            text += row(*cells, *line.more.values())
        minutes = results[name]["minutes"]
        text += [
            "",
            f"Processing version {results[name]['processing']}.",
            "",
            *([f"{minutes} minutes with two processes.", ""] if minutes else []),
        ]
    REPORT.write_text("\n".join(text), encoding="utf-8")


def row(*cells: str) -> list[str]:
    """Return one row of a list table."""
    first, *rest = (f"- {cell}".rstrip() for cell in cells)
    return [f"   * {first}", *(f"     {cell}" for cell in rest)]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments = sys.argv[1:] or ["1000"]
    main(int(arguments[0]), arguments[1:])
