"""Fits of many draws of the rows, kept in a file as they are ready."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
import time
import warnings
import zlib
from concurrent.futures import as_completed

import numpy as np
from worlds import ROWS, with_band

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.retrieval import setups
from tgo_spectra.simulate import redraw, simulate_level1

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / ".validation"
RESPONSE = 0.3
"""Diagonal of the averaging kernel of the levels that count."""
NOISE_SEED = 1_000_000
GASES = ("h2o", "ch4", "co")
SYSTEMATIC = "ch4_layer_vmr_systematic_"


@functools.cache
def kept_in():
    """File of the results: one of this code, so that a stopped campaign goes on."""
    digest = hashlib.sha256()
    code = pathlib.Path(tgo.__file__).parent
    for path in sorted(p for p in code.rglob("*") if p.suffix in (".py", ".toml")):
        digest.update(path.read_bytes())
    KEPT.mkdir(exist_ok=True)
    return KEPT / f"{digest.hexdigest()[:12]}.jsonl"


def options_of(row, truth):
    """Return all options of the simulator of one truth."""
    rng = np.random.default_rng([zlib.crc32(row.name.encode()), truth])
    options = {
        "order": row.order, "seed": 100 + truth, "fixed_seed": 100 + truth,
        "table": row.setup or None, "n_orders": None,
    }  # fmt: skip
    if row.order in (134, 136):
        # as far as the light of the fit's own model reaches
        options |= {"table": "so_134_136", "n_orders": 10}
    options |= {**row.options, **row.vary(truth, rng)}
    gases = dict(options.get("vmr", {}))
    if row.order in (134, 136):
        gases.setdefault("ch4", row.ch4)
    return options | {"vmr": gases}


def what_of(row, truth):
    """Say what a unit is: equal texts, equal results."""
    return json.dumps(
        {"options": options_of(row, truth), "changes": row.changes, "setup": row.setup,
         "copies": row.copies, "knows_air": row.knows_air,
         **({"band": row.band} if row.band else {})},
        sort_keys=True,
    )  # fmt: skip


def unit(key, truth):
    """Simulate one truth, and fit its draws."""
    row = ROWS[key]
    options = options_of(row, truth)
    air = None
    if row.knows_air:
        air = tgo.reference_atmosphere()
        # what is given is right but for what the row says
        air = air.drop_vars(["temperature_uncertainty", "pressure_uncertainty"])
        air.attrs["source"] = "that of the truth"
        options = {**options, "atmosphere": air}
    made = simulate_level1(**options)
    setup = tgo.load_setup(row.setup or f"so_{row.order}")
    if row.changes:
        texts = (f"{k}={json.dumps(v)}" for k, v in row.changes.items())
        setup = setups.changed(setup, setups.changes_of(texts))
    draws = []
    for copy in range(row.copies):
        level1 = redraw(made, NOISE_SEED + 1000 * truth + copy)
        if row.band:
            level1 = with_band(level1, row.band)
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = tgo.retrieve(level1, setup, air)
        seconds = time.process_time() - begun
        found = figures(result, made.truth, row.ch4 if row.order < 180 else None)
        draws.append(found | {"seconds": round(seconds, 2)})
    return draws


def figures(result, truth, ch4=None):
    """Return what one result says, against its truth, as plain numbers.

    ``ch4``: of the layer; None: there is no methane to speak of.
    """
    flag = result.quality_flag.values
    found = {
        "flags": list(quality.names(flag)),
        "severe": bool(quality.severe(flag)),
        "chi2": float(result.reduced_chi_square),
        "pattern": float(result.residual_pattern),
        "inflation": float(result.error_inflation),
        "agreements": {
            gas: float(result[name])
            for gas in GASES
            if (name := f"{gas}_line_agreement") in result
        },
        "gases": {},
    }
    for gas in GASES:
        if f"{gas}_vmr" in result:
            found["gases"][gas] = levels(result, truth, gas)
    if ch4 is not None:
        value, error = (
            float(result[f"ch4_layer_vmr{name}"]) for name in ("", "_error")
        )
        names = (str(name) for name in result if str(name).startswith(SYSTEMATIC))
        parts = [name.removeprefix(SYSTEMATIC) for name in names]
        found |= {
            "bias": 1e12 * (value - ch4),
            "total": 1e12 * error,
            "noise": 1e12 * float(result.ch4_layer_vmr_noise_error),
            "sources": {
                name: round(1e12 * abs(float(result[f"{SYSTEMATIC}{name}"])), 2)
                for name in parts
            },
            "layer": bool(result.ch4_layer_detected),
            "detected": int(result.ch4_detected.sum()),
        }
    return found


def levels(result, truth, gas):
    """Return number, sum of z and numbers within 1 and 2, of total error and of noise.

    Of noise against the truth seen through the averaging kernel.
    """
    vmr, prior = result[f"{gas}_vmr"].values, result[f"{gas}_vmr_apriori"].values
    kernel = result[f"{gas}_averaging_kernel"].values
    named = f"{gas}_vmr" if f"{gas}_vmr" in truth else f"vmr_{gas.upper()}"
    true = np.interp(result.altitude, truth.altitude, truth[named])
    seen = prior + kernel @ (true - prior)
    good = np.diag(kernel) > RESPONSE
    found = {}
    for name, off, error in (
        ("total", vmr - true, result[f"{gas}_vmr_error"]),
        ("noise", vmr - seen, result[f"{gas}_vmr_noise_error"]),
    ):
        z = (off / error.values)[good]
        found[name] = [
            z.size, float(z.sum()), int((abs(z) < 1).sum()), int((abs(z) < 2).sum())
        ]  # fmt: skip
    return found


def stored():
    """Return the draws in the file, by (part, name) and truth."""
    found: dict[tuple[str, str], dict[int, list[dict]]] = {}
    if kept_in().exists():
        for line in kept_in().read_text("utf-8").splitlines():
            one = json.loads(line)
            key = (one["part"], one["row"])
            if key in ROWS and one["what"] == what_of(ROWS[key], one["truth"]):
                found.setdefault(key, {})[one["truth"]] = one["draws"]
    return found


def drawn(pool, draws):
    """Fit what is missing of so many `draws` of some rows; return all that there are.

    Both by (part, name); with no draws wanted that is what is in the file.
    """
    found = stored()
    missing = [
        (truth, key)
        for key, number in draws.items()
        for truth in range(-(-number // ROWS[key].copies))
        if truth not in found.get(key, {})
    ]
    # all rows advance together: a campaign that is stopped has something of each
    missing.sort(key=lambda one: one[0] * ROWS[one[1]].copies)
    jobs = {pool.submit(unit, key, truth): (key, truth) for truth, key in missing}
    for number, job in enumerate(as_completed(jobs), 1):
        key, truth = jobs.pop(job)
        if job.exception() is not None:
            for other in jobs:  # else the rest is made before this is seen
                other.cancel()
            print(f"FAILED: {': '.join(key)}, truth {truth}", flush=True)
        record = {
            "part": key[0], "row": key[1], "truth": truth,
            "what": what_of(ROWS[key], truth), "draws": job.result(),
        }  # fmt: skip
        with kept_in().open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        found.setdefault(key, {})[truth] = record["draws"]
        print(f"{number}/{len(missing)} {': '.join(key)}, truth {truth}", flush=True)
    return {
        key: [one for _, several in sorted(found[key].items()) for one in several]
        for key in draws
        if key in found
    }
