"""What each system does in a timed round; runs inside that system's interpreter.

Started by `peers.Worker` as ``python peer_work.py TASK in.npz out.npz``. Needs numpy
and the system under test, nothing else. Every line on standard input asks for one
round and holds its arguments as JSON; the answer is one line of JSON with wall seconds,
processor seconds of all threads, and memory in MB. An empty line ends the process,
which then writes the arrays of its last round. The network is shut.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Arrays = dict[str, np.ndarray]
PASCAL_PER_ATM, PASCAL_PER_BAR = 101325.0, 1e5
# bytes of address space: a greedy system must not take the machine
MEMORY_MAX = 20 * 2**30
BOLTZMANN_J_K = 1.380649e-23


def shut_network() -> None:
    """Let any attempt to connect fail at once."""

    def refuse(*_: object, **__: object) -> None:
        message = "the benchmark runs without a network"
        raise OSError(message)

    socket.socket.connect = refuse
    socket.create_connection = refuse


def memory_mb(key: str) -> float:
    """VmRSS or VmHWM (the peak since `reset_peak`) of this process."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak() -> None:
    """Make VmHWM start again from the present size (Linux)."""
    clear = pathlib.Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def write_hapi_table(folder: str, name: str, records: list[str], header: dict) -> None:
    """Local table as HAPI (and sasktran2 through it) reads it."""
    text = "\n".join(records) + "\n"
    pathlib.Path(folder, f"{name}.data").write_text(text, encoding="ascii")
    own = dict(header, table_name=name, size_in_bytes=-1)
    own["number_of_rows"] = len(records)
    pathlib.Path(folder, f"{name}.header").write_text(json.dumps(own))


# ---- cross sections: (records, wavenumber, pressure, temperature) -> sigma


class TgoCrossSection:
    """tgo_spectra: all layers, split over threads."""

    def __init__(self, given: Arrays, folder: str) -> None:
        from tgo_spectra.spectroscopy.absorption import cross_section_grid, line_arrays
        from tgo_spectra.spectroscopy.linelist import read_line_list

        path = pathlib.Path(folder, "lines.par")
        path.write_text("\n".join(given["records"]) + "\n", encoding="ascii")
        self.given, self.kernel = given, cross_section_grid
        nu = given["wavenumber"]
        self.lines = line_arrays(read_line_list(path), nu[0], nu[-1], "air", wing=25.0)

    def round(
        self, layers: list[int], threads: int = 1, options: dict | None = None
    ) -> Arrays:
        nu, p, t = (self.given[k] for k in ("wavenumber", "pressure", "temperature"))
        parts = np.array_split(np.asarray(layers), threads)

        def part(i: np.ndarray) -> np.ndarray:
            return self.kernel(self.lines, nu, p[i], t[i], **(options or {}))

        with ThreadPoolExecutor(threads) as pool:
            return {"sigma": np.concatenate(list(pool.map(part, parts)))}


class HapiCrossSection:
    """HAPI with its defaults; with a wing, lines reach as far as everyone's.

    Its own default ends a line after 50 half-widths, here some tenths of a cm-1.
    """

    def __init__(self, given: Arrays, folder: str) -> None:
        import hapi

        records = given["records"].tolist()
        write_hapi_table(folder, "LINES", records, hapi.HITRAN_DEFAULT_HEADER)
        hapi.db_begin(folder)
        self.given, self.hapi = given, hapi

    def round(self, layers: list[int], wing_cm1: float | None = None) -> Arrays:
        reach = {} if wing_cm1 is None else {"WavenumberWing": wing_cm1}
        rows = []
        for i in layers:
            _, sigma = self.hapi.absorptionCoefficient_Voigt(
                SourceTables="LINES",
                Environment={
                    "p": self.given["pressure"][i] / PASCAL_PER_ATM,
                    "T": self.given["temperature"][i],
                },
                WavenumberGrid=self.given["wavenumber"],
                Diluent={"air": 1.0},
                HITRAN_units=True,
                **reach,
            )
            rows.append(sigma)
        return {"sigma": np.array(rows)}


class RadisCrossSection:
    """RADIS with its defaults, but lines outside the window: 25 cm-1 as the others."""

    # of the absorber: none broadens itself
    TRACE = 1e-9

    def __init__(self, given: Arrays, folder: str) -> None:
        from radis import SpectrumFactory

        path = pathlib.Path(folder, "lines.par")
        path.write_text("\n".join(given["records"]) + "\n", encoding="ascii")
        nu = given["wavenumber"]
        self.given = given
        self.factory = SpectrumFactory(
            wavenum_min=float(nu[0]),
            wavenum_max=float(nu[-1]),
            wstep=float(nu[-1] - nu[0]) / (nu.size - 1),
            molecule=str(given["molecule"]),
            isotope="1",
            mole_fraction=self.TRACE,
            path_length=1.0,
            neighbour_lines=25,
            verbose=False,
        )
        for key in self.factory.warnings:
            self.factory.warnings[key] = "ignore"
        self.factory.load_databank(path=str(path), format="hitran")

    def round(self, layers: list[int]) -> Arrays:
        nu, rows = self.given["wavenumber"], []
        for i in layers:
            p, t = self.given["pressure"][i], self.given["temperature"][i]
            spectrum = self.factory.eq_spectrum(
                Tgas=float(t), pressure=float(p) / PASCAL_PER_BAR
            )
            at, coefficient = spectrum.get("abscoeff", wunit="cm-1")
            per_cm3 = self.TRACE * p / (BOLTZMANN_J_K * t) * 1e-6
            # its grid has points of its own beyond the window
            first = int(np.argmin(np.abs(at - nu[0])))
            row = coefficient[first : first + nu.size] / per_cm3
            off = np.abs(at[first : first + nu.size] - nu).max()
            if row.size != nu.size or off > 1e-6:
                message = f"RADIS grid differs: {row.size} points, {off:.2g} cm-1"
                raise ValueError(message)
            rows.append(row)
        return {"sigma": np.array(rows)}


# ---- limb: transmittance and derivative to the mole fraction at every level


class TgoLimb:
    """`tgo_spectra.limb_transmittance`, line by line."""

    def __init__(self, given: Arrays, folder: str) -> None:
        import xarray as xr

        import tgo_spectra as tgo

        path = pathlib.Path(folder, "lines.par")
        path.write_text("\n".join(given["records"]) + "\n", encoding="ascii")
        self.given, self.limb = given, tgo.limb_transmittance
        self.lines = tgo.read_line_list(path)
        self.air = xr.Dataset(
            {
                "pressure": ("altitude", given["pressure"], {"units": "Pa"}),
                "temperature": ("altitude", given["temperature"], {"units": "K"}),
                "co_vmr": ("altitude", given["vmr"], {"units": "1"}),
            },
            {"altitude": ("altitude", given["altitude"], {"units": "km"})},
        )

    def round(self, jacobian: bool) -> Arrays:
        limb = self.limb(
            self.air,
            self.given["tangent"],
            self.given["wavenumber"],
            {"co": (self.lines, "air")},
            jacobian=jacobian,
            planet_radius_km=float(self.given["radius"]),
        )
        out = {"transmittance": limb["transmittance"].values}
        if jacobian:
            out["jacobian"] = limb["co_jacobian"].values
        return out


class SasktranLimb:
    """sasktran2: one thread, occultation only, derivative to the mole fraction only."""

    def __init__(self, given: Arrays, folder: str) -> None:
        import hapi
        import sasktran2 as sk
        from sasktran2._core_rust import LineDatabaseType
        from sasktran2.optical.hitran import LineAbsorber

        records = given["records"].tolist()
        write_hapi_table(folder, "CO", records, hapi.HITRAN_DEFAULT_HEADER)

        class Here:
            def path(self, *_: object, **__: object) -> pathlib.Path:
                return pathlib.Path(folder)

        self.given, self.sk = given, sk
        self.lines = LineAbsorber(LineDatabaseType.HITRAN, Here(), "CO")

    def round(self, jacobian: bool) -> Arrays:
        sk, given = self.sk, self.given
        config = sk.Config()
        config.num_threads = 1
        config.occultation_source = sk.OccultationSource.Standard
        config.single_scatter_source = sk.SingleScatterSource.NoSource
        config.multiple_scatter_source = sk.MultipleScatterSource.NoSource
        altitude_m = given["altitude"] * 1e3
        geometry = sk.Geometry1D(
            1.0,
            0.0,
            float(given["radius"]) * 1e3,
            altitude_m,
            sk.InterpolationMethod.LinearInterpolation,
            sk.GeometryType.Spherical,
        )
        view = sk.ViewingGeometry()
        for z in given["tangent"]:
            view.add_ray(sk.TangentAltitudeSolar(float(z) * 1e3, 0.0, 4e5, 1.0))
        air = sk.Atmosphere(
            geometry,
            config,
            wavenumber_cminv=given["wavenumber"],
            calculate_derivatives=jacobian,
            temperature_derivative=False,
            pressure_derivative=False,
            specific_humidity_derivative=False,
        )
        air.pressure_pa, air.temperature_k = given["pressure"], given["temperature"]
        air["co"] = sk.constituent.VMRAltitudeAbsorber(
            self.lines, altitude_m, given["vmr"]
        )
        found = sk.Engine(config, geometry, view).calculate_radiance(air)
        out = {"transmittance": found["radiance"].isel(stokes=0).values.T}
        if jacobian:
            # (level, wavenumber, ray) -> (ray, level, wavenumber)
            field = found["wf_co_vmr"].isel(stokes=0)
            out["jacobian"] = field.values.transpose(2, 0, 1)
        return out


class ArchnemesisLimb:
    """archNEMESIS from tables of cross-sections, with its convolution by the ILS.

    Its own line data are not in what pip installs, so that tables made by
    tgo_spectra are given to it: 15 pressures by 15 temperatures.
    """

    # HITRAN-like numbers of CO and CO2 in its gas table, Mars among its planets
    CO, CO2, MARS, GAUSSIAN = 5, 2, 4, 2

    def __init__(self, given: Arrays, folder: str) -> None:
        import archnemesis as ans
        from archnemesis.Spectroscopy_0 import write_lbltable

        os.chdir(folder)
        p, t, nu = (given[k] for k in ("table_p", "table_t", "table_wavenumber"))
        step = float(nu[-1] - nu[0]) / (nu.size - 1)
        head = (p.size, t.size, self.CO, 0, p / PASCAL_PER_ATM, t)
        write_lbltable("co.lta", *head, nu.size, nu[0], step, given["table"])
        spectroscopy = ans.Spectroscopy_0(ILBL=2)
        spectroscopy.add_line_by_line_table("co.lta")
        layers = ans.Layer_0(
            RADIUS=float(given["radius"]) * 1e3,
            LAYHT=0.0,
            LAYTYP=2,
            LAYINT=1,
            NLAY=given["altitude"].size - 1,
        )
        self.given = given
        self.model = ans.ForwardModel_0(
            runname="mars",
            Atmosphere=self.atmosphere(ans),
            Surface=ans.Surface_0(),
            Measurement=self.measurement(ans),
            Spectroscopy=spectroscopy,
            Stellar=ans.Stellar_0(),
            Scatter=ans.Scatter_0(),
            CIA=None,
            Layer=layers,
            Variables=self.state(ans),
        )

    def atmosphere(self, ans: object) -> object:
        """Levels with CO and the rest CO2."""
        given = self.given
        size = given["altitude"].size
        air = ans.Atmosphere_0(
            runname="mars", NP=size, NVMR=2, NDUST=0, IPLANET=self.MARS, AMFORM=1
        )
        air.LATITUDE = air.LONGITUDE = 0.0
        air.ID, air.ISO = np.array([self.CO, self.CO2]), np.array([0, 0])
        air.edit_H(given["altitude"] * 1e3)
        air.edit_P(given["pressure"])
        air.edit_T(given["temperature"])
        air.edit_VMR(np.stack([given["vmr"], 1.0 - given["vmr"]], axis=1))
        air.DUST = np.zeros((size, 0))
        air.calc_molwt()
        air.calc_radius()
        air.calc_grav()
        return air

    def measurement(self, ans: object) -> object:
        """Tangent heights and pixels with a Gaussian ILS."""
        pixels, heights = self.given["pixels"], self.given["tangent"]
        count = heights.size
        made = ans.Measurement_0(
            runname="mars",
            NGEOM=count,
            FWHM=float(self.given["fwhm"]),
            ISHAPE=self.GAUSSIAN,
            NCONV=np.full(count, pixels.size),
            NAV=np.ones(count, int),
        )
        made.edit_VCONV(np.repeat(pixels[:, None], count, axis=1))
        made.edit_MEAS(np.ones((pixels.size, count)))
        made.edit_ERRMEAS(np.full((pixels.size, count), 1e-3))
        made.edit_TANHE(heights[:, None])
        made.edit_WGEOM(np.ones((count, 1)))
        for name in ("FLAT", "FLON", "SOL_ANG", "EMISS_ANG", "AZI_ANG"):
            getattr(made, f"edit_{name}")(np.zeros((count, 1)))
        return made

    def state(self, ans: object) -> object:
        """Logarithm of the mole fraction at every level."""
        p, vmr = self.given["pressure"] / PASCAL_PER_ATM, self.given["vmr"]
        rows = [f"{a:.6e} {x:.6e} {x / 10:.6e}" for a, x in zip(p, vmr, strict=True)]
        pathlib.Path("mars.apr").write_text(f"*\n1\n{self.CO} 0 0\nco.dat\n")
        pathlib.Path("co.dat").write_text("\n".join([f"{p.size} 1.5", *rows]) + "\n")
        made = ans.Variables_0()
        made.read_apr("mars", p.size, 2, 0)
        return made

    def round(self, jacobian: bool) -> Arrays:
        if not jacobian:
            return {"transmittance": self.model.nemesisSOfm().T}
        spectra, slopes = self.model.nemesisSOfmg()
        # (pixel, ray, level) per logarithm -> (ray, level, pixel) per mole fraction
        field = slopes.transpose(1, 2, 0) / self.given["vmr"][:, None]
        return {"transmittance": spectra.T, "jacobian": field}


TASKS = {
    "tgo-cross-section": TgoCrossSection,
    "hapi-cross-section": HapiCrossSection,
    "radis-cross-section": RadisCrossSection,
    "tgo-limb": TgoLimb,
    "sasktran2-limb": SasktranLimb,
    "archnemesis-limb": ArchnemesisLimb,
}


def main(task: str, source: str, target: str) -> None:
    """Answer rounds until an empty line, then write the last result."""
    # whatever the systems print must not mix with the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    shut_network()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    with (
        tempfile.TemporaryDirectory() as folder,
        np.load(source, allow_pickle=False) as file,
    ):
        start = time.perf_counter()
        work = TASKS[task](dict(file), folder)
        ready = {"ready_seconds": time.perf_counter() - start, "python": sys.version}
        print(json.dumps(ready), file=answers, flush=True)
        result: Arrays = {}
        for line in sys.stdin:
            if not line.strip():
                break
            result.clear()
            reset_peak()
            before = memory_mb("VmRSS")
            wall, cpu = time.perf_counter(), time.process_time()
            result = work.round(**json.loads(line))
            taken = {
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
                "before_mb": before,
                "growth_mb": memory_mb("VmHWM") - before,
            }
            print(json.dumps(taken), file=answers, flush=True)
        np.savez(target, **result)


if __name__ == "__main__":
    main(*sys.argv[1:4])
