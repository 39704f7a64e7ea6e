"""A further kind of retrieval, of an instrument that does not exist.

A struct of choices, the fields and blocks of a model, and one row: nothing else is
written for it, and it has errors, kernels, limits, files, the batch and the command
line like all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest
from msgspec import field

import tgo_spectra as tgo
from tgo_spectra.atmosphere.profile import on_altitudes
from tgo_spectra.cli import main
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.retrieval import level2, registry
from tgo_spectra.retrieval.conclusion import conclude
from tgo_spectra.retrieval.joint import fit
from tgo_spectra.retrieval.linear import Expansion
from tgo_spectra.retrieval.measurement import given_atmosphere, planet_radius
from tgo_spectra.retrieval.profile_variables import profile_dataset
from tgo_spectra.retrieval.setup import Detection, Setup
from tgo_spectra.retrieval.spectra import Whitened
from tgo_spectra.retrieval.state import StateSpace, independent, profile
from tgo_spectra.variables import validate

LEVELS_KM = np.arange(0.0, 101.0, 4.0)


class LampSetup(Setup, frozen=True, kw_only=True):
    """Choices of the made-up kind."""

    kind: ClassVar[str] = "lamp"
    name: str = "lamp"
    channel: Literal["so"] = "so"
    orders: tuple[int, ...] = (134, 136)
    gases: tuple[str, ...] = ("ch4",)
    sigma: float = 5e-9
    detection: Detection = field(default_factory=Detection)


@dataclass(frozen=True)
class Lamp:
    """A lamp seen through the limb by a few pixels, of a brightness that is fitted."""

    y: np.ndarray
    weight: np.ndarray
    path: np.ndarray
    cross_section: np.ndarray

    def __call__(self, state, _):
        """Fields of a row, methane's and the brightness's, residual and model."""
        depth = (self.path @ state["ch4"])[:, None] * self.cross_section
        light = np.exp(-depth)
        model = (1.0 + state["aerosol_exponent"]) * light
        residual = self.weight * (self.y - model)
        fields = np.stack([-model * self.cross_section, light], axis=1)
        fields *= self.weight[:, None]
        return Whitened.plain(fields, residual, self.weight * model)


def retrieve_lamp(level1, setup, atmosphere):
    """Fit methane and the brightness of the lamp."""
    air = on_altitudes(given_atmosphere(atmosphere, level1), LEVELS_KM)
    radius = planet_radius(level1, air)
    height = level1["tangent_altitude"].values
    rows = np.flatnonzero((height > 2.0) & (height < 90.0))[::10]
    height, pixels = height[rows], np.arange(100, 140)
    lower = np.sqrt(
        (radius[0] + LEVELS_KM) ** 2 - (radius[0] + height[:, None]) ** 2 + 0j
    )
    step = 2e5 * np.diff(lower.real, append=lower.real[:, -1:], axis=1)
    path = step * air["number_density"].values
    error = level1["transmittance_error"].values[np.ix_(rows, pixels)]
    lamp = Lamp(
        level1["transmittance"].values[np.ix_(rows, pixels)],
        1.0 / error, path, 1e-19 * np.exp(-0.5 * ((pixels - 120) / 3.0) ** 2),
    )  # fmt: skip
    space = StateSpace((
        profile("ch4", LEVELS_KM, 0.0, setup.sigma, 8.0),
        independent("aerosol_exponent", 1.0),
    ))  # fmt: skip
    bins = np.zeros(rows.size, dtype=int)
    expand = Expansion(
        space, {"ch4": path[:, None]}, bins, ("aerosol_exponent",), common=()
    )
    result = fit(lamp, expand, space, space.prior, max_iterations=30)
    end = conclude(
        result.final, expand, result, height, LEVELS_KM,
        constraint=space.constraint, tested=("ch4",),
        layer=setup.detection.layer(LEVELS_KM),
    )  # fmt: skip
    left = end.seen.left / lamp.weight
    residual = level2.all_pixels(left, pixels, level1.sizes["pixel"])
    record = level2.provenance(
        level1, setup, air, method="lamp", instrument_model="a lamp",
        interferents_absent=(), baseline_degree=0, n_orders=0, masked_pixels="none",
        radius=radius,
    )  # fmt: skip
    record["fitted_pixels"] = f"{pixels[0]}-{pixels[-1]}"
    view = level2.View(rows, height, LEVELS_KM, residual)
    beside = {n: air[n].values for n in ("pressure", "temperature", "number_density")}
    return profile_dataset(level1, view, end, setup.detection, path, beside, record)


@pytest.fixture
def kind():
    """The row, while the test runs."""
    row = registry.Kind(
        name="lamp", channel="so", observation="occultation",
        setup=lambda: LampSetup, retrieve=retrieve_lamp, files=(),
    )  # fmt: skip
    registry.KINDS.append(row)
    yield row
    registry.KINDS.remove(row)


@pytest.fixture
def lamps(tmp_path, occultation):
    """Two products, and a setup file."""
    for order in (134, 136):
        tgo.simulate_product(
            tmp_path / "in", order=order, vertical_speed_km_s=3.0, seed=1
        )
    (tmp_path / "lamp.toml").write_text('kind = "lamp"\nsigma = 2e-9\n')
    return tmp_path


def test_new_kind__has_all_that_others_have(kind, level1, tmp_path):
    result = tgo.retrieve(level1, LampSetup())
    assert result.attrs["retrieval_kind"] == "lamp"
    assert bool(result["converged"])
    validate(result, 2)
    for name in ("ch4_vmr_noise_error", "ch4_vmr_smoothing_error", "ch4_vmr_error",
                 "ch4_averaging_kernel", "ch4_upper_limit", "ch4_detected",
                 "ch4_layer_upper_limit", "quality_flag",
                 "aerosol_exponent_error", "reduced_chi_square",
                 "latitude", "time", "mars_year", "pressure",
                 "number_density"):  # fmt: skip
        assert np.isfinite(result[name].values.astype(float)).all(), name
    assert result.attrs["fitted_pixels"] == "100-139"
    assert result.attrs["planet_radius_source"] == "table geometry"
    back = open_verified(tgo.write_level2(result, tmp_path / "a.nc"))
    assert back["ch4_vmr"].attrs["units"] == "1"


def test_new_kind__goes_through_batch_and_command_line(kind, lamps):
    done = tgo.run(lamps / "in", lamps / "one", setup=lamps / "lamp.toml")
    assert [row.state for row in done] == ["done", "done"]
    given = ["retrieve", str(lamps / "in"), "--out", str(lamps / "two"),
             "--setup", str(lamps / "lamp.toml"), "--workers", "0"]  # fmt: skip
    assert main(given) == 0
    assert len(list((lamps / "two").rglob("*.nc"))) == 2
