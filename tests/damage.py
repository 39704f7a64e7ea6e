"""Damage to the files that the package writes, and whether it is seen and mended.

As a program (``PYTHONPATH=tests python tests/damage.py 700``) it damages a level-2 file
and a map so many times each and prints what came of it. Each file is opened in a
process of its own, so that a crash or an endless loop of the netCDF library would be
counted.
"""

from __future__ import annotations

import collections
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import OutputError
from tgo_spectra.files.netcdf import open_verified

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("cut", "flipped bits", "zeroed block", "other bytes", "bytes behind")
SECONDS = 60  # until an endless loop is called one


def damaged(good: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Return a file with one damage, at least one byte of which differs."""
    while True:
        bad = bytearray(good)
        place = int(rng.integers(0, len(good)))
        width = int(2 ** rng.integers(0, 14))
        if kind == "cut":
            del bad[place:]
        elif kind == "flipped bits":
            for at in rng.integers(0, len(good), rng.integers(1, 5)):
                bad[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == "zeroed block":
            bad[place : place + width] = bytes(len(bad[place : place + width]))
        elif kind == "other bytes":
            bad[place : place + width] = rng.bytes(len(bad[place : place + width]))
        else:
            bad += rng.bytes(width)
        if bytes(bad) != good:
            return bytes(bad)


def outcome(path: Path) -> str:
    """Open a damaged file and say what happens."""
    try:
        open_verified(path)
    except OutputError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - what is looked for
        return f"{type(error).__name__}"
    return "silent"


def damages(good: bytes, number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Give so many damages, the kinds in turn."""
    rng = np.random.default_rng(seed)
    for trial in range(number):
        kind = KINDS[trial % len(KINDS)]
        yield kind, damaged(good, kind, rng)


def _outcome_apart(path: Path) -> str:
    """`outcome` in a child: also "signal N", of an endless loop 14."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.write(writing, outcome(path).encode())
        os._exit(0)
    os.close(writing)
    status = os.waitpid(child, 0)[1]
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else text


def campaign(number: int) -> collections.Counter[str]:
    """Damage a level-2 file and a map `number` times each; make each again."""
    from unittest import mock

    from click.testing import CliRunner
    from test_20_netcdf import synthetic_level2
    from test_80_batch import make_products

    from tgo_spectra.batch import products as batch
    from tgo_spectra.cli import cli

    counts: collections.Counter[str] = collections.Counter()
    logging.getLogger("tgo_spectra").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch("tgo_spectra.readers.open_product"),
        mock.patch("tgo_spectra.retrieval.retrieve") as retrieve,
    ):
        retrieve.side_effect = lambda *_, **__: synthetic_level2()
        folder = make_products(Path(name) / "in", ["one"])
        out = Path(name) / "out"

        def fit() -> Path:
            (row,) = batch.run(folder, out, progress=False)
            counts[f"level 2: {row.state}"] += 1
            return Path(str(row.output))

        def map_() -> Path:
            path = out / "l2" / "map.nc"
            args = ["map", str(path.parent), "--out", str(path), "--grid"]
            done = CliRunner().invoke(cli, [*args, "latitude=-90:90:30"])
            counts[f"map: exit {done.exit_code}"] += 1
            return path

        for what, make in (("level 2", fit), ("map", map_)):
            path = make()
            good = path.read_bytes()
            whole = open_verified(path)
            for kind, bad in damages(good, number, seed=7):
                path.write_bytes(bad)
                counts[f"{what}, {kind}: {_outcome_apart(path)}"] += 1
                make()
                again = open_verified(path).attrs["content_sha256"]
                same = again == whole.attrs["content_sha256"]
                counts[f"{what}: {'as before' if same else 'NOT as before'}"] += 1
    return counts


if __name__ == "__main__":
    for line, found in sorted(campaign(int(sys.argv[1])).items()):
        print(f"{found:6d} {line}")
