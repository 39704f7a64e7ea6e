"""The package as a whole: light to import, few public names."""

from __future__ import annotations

import subprocess
import sys

import tgo_spectra

HEAVY = ("matplotlib", "scipy.stats", "numba", "distributed", "netCDF4", "dask")


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_import__light():
    assert modules_after("import tgo_spectra").isdisjoint({*HEAVY, "xarray", "numpy"})


def test_import__files_and_maps_without_plots_and_clusters():
    code = "import tgo_spectra.files.netcdf, tgo_spectra.maps, tgo_spectra.batch"
    code += ", tgo_spectra.plots"
    found = modules_after(code)
    assert found.isdisjoint({"matplotlib", "scipy.stats", "numba", "distributed"})
    assert "netCDF4" not in found


def test_help__without_xarray():
    code = "from tgo_spectra.cli import main\nmain(['--help'])"
    assert modules_after(code).isdisjoint({*HEAVY, "xarray", "numpy"})


def test_public_names__few_sorted_documented():
    names = tgo_spectra.__all__
    assert len(names) <= 40
    assert list(names) == sorted(names)
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(tgo_spectra))
    for name in names:
        assert getattr(tgo_spectra, name).__doc__, name


def test_public_names__unknown_one_refused():
    assert not hasattr(tgo_spectra, "no_such_name")
