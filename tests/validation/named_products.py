"""Products that hold no more than a name, and a task that does what the name says.

A module of its own, so that workers in other processes can import it.
"""

from __future__ import annotations

import ctypes
import os
import time

from tgo_spectra.errors import ProductError
from tgo_spectra.files.atomic import write_whole

LABEL = "<logical_identifier>urn:a:b:{}</logical_identifier>"
SLOW_S = 0.5


def make_products(folder, names):
    """Write their labels."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.xml").write_text(LABEL.format(name))
    return folder


def process(path, out, setups, air):
    """Note the try; then raise, exit, hang ..., or write a file."""
    with (out.parent / "tries.txt").open("a") as stream:
        stream.write(f"{path.stem}\n")
    kind = path.stem.partition("-")[0]
    if kind == "raises":
        message = "a fault"
        raise ProductError(message, path=path, rule="some.rule")
    if kind == "exits":
        os._exit(3)
    if kind == "segfault":
        ctypes.string_at(0)
    hoard = []
    while kind == "memory":
        hoard.append(b"x" * 50_000_000)
        time.sleep(0.05)
    while kind == "hangs":
        time.sleep(0.1)
    if kind == "slow":
        time.sleep(SLOW_S)
    target = out / f"{path.stem}.nc"
    state = "skipped" if target.is_file() else "done"
    write_whole(target, path.stem * 1000)
    return {"state": state, "output": str(target)}


def tries(out):
    """How often each was tried."""
    names = (out / "tries.txt").read_text().split()
    return {name: names.count(name) for name in names}
