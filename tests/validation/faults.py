"""Faults of a disk at call N, for every N: are they named, is nothing half written?

``python tests/validation/faults.py [PRODUCTS]``: a library that is loaded before the
others lets the N-th open, write, fsync or rename below the output folder fail, also
those that netCDF makes itself, with each of four errors. One line of JSON at the end;
exit code 1 where a promise is broken. "ended" are the faults at which HDF5 itself ended
the process: of those no name is asked for, all else is. Needs a C compiler and Linux.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char kind, below[4096];
static long left;
static int fault, hit;

void arm(char what, long number, int error, const char *folder)
{
    kind = what; left = number; fault = error; hit = 0;
    strncpy(below, folder, sizeof below - 1);
}
int was_hit(void) { return hit; }

static int fails(char what, const char *path)
{
    if (what != kind || strncmp(path, below, strlen(below)) || --left > 0) return 0;
    if (left < 0 && what != 'w') return 0; /* a disk that takes no bytes stays so */
    hit = 1; errno = fault;
    return 1;
}
static int fails_on(char what, int descriptor)
{
    char link[64], path[4096];
    if (what != kind) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(what, path);
}
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
    if ((flags & O_ACCMODE) != O_RDONLY && fails('o', path)) return -1; \
    return NEXT(name)(path, flags, mode); }
OPEN(open)
OPEN(open64)
ssize_t write(int d, const void *from, size_t size)
{ return fails_on('w', d) ? -1 : NEXT(write)(d, from, size); }
ssize_t pwrite(int d, const void *from, size_t size, off_t at)
{ return fails_on('w', d) ? -1 : NEXT(pwrite)(d, from, size, at); }
ssize_t pwrite64(int d, const void *from, size_t size, off64_t at)
{ return fails_on('w', d) ? -1 : NEXT(pwrite64)(d, from, size, at); }
int fsync(int d) { return fails_on('f', d) ? -1 : NEXT(fsync)(d); }
int rename(const char *from, const char *to)
{ return fails('r', to) ? -1 : NEXT(rename)(from, to); }
"""
CALLS = {"open": "o", "write": "w", "fsync": "f", "rename": "r"}
ERRORS = {
    "ENOSPC": "io.no_space",
    "EIO": "io.device",
    "EDQUOT": "io.quota",
    "ESTALE": "io.stale",
}


def compile_shim(folder):
    """Make the library; its path."""
    source, made = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    command = ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", made, source, "-ldl"]
    subprocess.run(command, check=True)
    return made


def process(path, out, setups, air):
    """Write a file that depends on the product alone, unless it is whole."""
    import numpy as np
    import xarray as xr

    from tgo_spectra.files.netcdf import open_verified, write_level2

    target = out / f"{path.stem}.nc"
    if target.is_file():
        open_verified(target)
        return {"state": "skipped", "output": str(target)}
    values = np.random.default_rng(int(path.stem)).normal(0.0, 1e-9, 4000)
    ds = xr.Dataset(
        {"ch4_vmr": ("altitude", values)},
        {"altitude": np.arange(4000.0)},
        {"product_lid": f"urn:a:b:{path.stem}"},
    )
    write_level2(ds, target)
    return {"state": "done", "output": str(target)}


def once(folder, out, call, number, error):
    """Run with one fault and again without, in a process of its own; what held."""
    from tgo_spectra.batch import products as batch
    from tgo_spectra.errors import TgoError

    shim = ctypes.CDLL(None)
    code = getattr(errno, error)
    shim.arm(ctypes.c_char(CALLS[call].encode()), ctypes.c_long(number), code,
             str(out).encode())  # fmt: skip
    rule, named = None, True
    try:
        rows = batch.run(folder, out, progress=False, process=process)
    except TgoError as fault:
        rule = fault.rule
        named = "\n" not in str(fault) and rule == ERRORS[error]
    else:
        # of the sign of life, or of the sweeping: no result depends on it
        failed = [row.rule for row in rows if row.state == "failed"]
        named, rule = not failed, failed
    hit = bool(shim.was_hit())
    shim.arm(ctypes.c_char(b"-"), ctypes.c_long(0), 0, b"")
    return hit, named, *after(folder, out), rule


def after(folder, out):
    """Whether all that has a final name is whole, and a run without faults goes on."""
    from tgo_spectra.batch import products as batch
    from tgo_spectra.errors import TgoError
    from tgo_spectra.files.netcdf import open_verified

    whole = True
    for file in (out / "l2").glob("*.nc"):
        try:
            open_verified(file)
        except TgoError:
            whole = False
    rows = batch.run(folder, out, progress=False, process=process)
    resumed = {row.state for row in rows} <= {"done", "skipped"}
    return whole, resumed and not list(out.rglob("*.tmp-*"))


def forked(work, *given):
    """Do something in a child of this process; None where that was ended."""
    with tempfile.TemporaryDirectory() as name:
        note = Path(name) / "note"
        child = os.fork()
        if not child:
            try:
                note.write_text(json.dumps(work(*given)))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return json.loads(note.read_text()) if note.is_file() else None


def campaign(place, n_products, step=1, errors=tuple(ERRORS)):
    """All faults; numbers of calls that were let fail, and what broke a promise."""
    # in the parent, so that no child imports it again
    import netCDF4  # noqa: F401

    from tgo_spectra.batch import products  # noqa: F401

    folder = place / "in"
    folder.mkdir()
    for k in range(n_products):
        text = f"<logical_identifier>urn:a:b:{k}</logical_identifier>"
        (folder / f"{k}.xml").write_text(text)
    tried, broken, ended = dict.fromkeys(CALLS, 0), [], []
    for call in CALLS:
        for error in errors:
            number = 1
            while True:
                with tempfile.TemporaryDirectory(dir=place) as name:
                    out = Path(name) / "out"
                    found = forked(once, folder, out, call, number, error)
                    if found is None:
                        ended.append([call, number, error])
                        found = [True, True, *forked(after, folder, out), "ended"]
                hit, *held, rule = found
                if not hit:
                    break
                tried[call] += 1
                if not all(held):
                    broken.append([call, number, error, rule, *held])
                number += step
    return {"tried": tried, "broken": broken, "ended": ended}


def loaded(arguments):
    """Start this script again with the library before all others."""
    with tempfile.TemporaryDirectory() as name:
        shim = compile_shim(Path(name))
        env = os.environ | {"LD_PRELOAD": str(shim), "FAULTS_SHIM": str(shim)}
        return subprocess.run(
            [sys.executable, __file__, *arguments], env=env, check=False,
            capture_output=True, text=True,
        )  # fmt: skip


if __name__ == "__main__":
    if "FAULTS_SHIM" not in os.environ:
        if shutil.which("cc") is None:
            sys.exit("needs a C compiler, cc")
        done = loaded(sys.argv[1:])
        print(done.stdout, end="")
        sys.stderr.write(done.stderr)
        sys.exit(done.returncode)
    warnings.simplefilter("ignore")
    given = [int(text) for text in sys.argv[1:3]]
    few = {"step": given[1], "errors": ("ENOSPC", "ESTALE")} if given[1:] else {}
    with tempfile.TemporaryDirectory() as folder_name:
        result = campaign(Path(folder_name), (given or [2])[0], **few)
    print(json.dumps(result))
    sys.exit(bool(result["broken"]))
