"""The bits of ``quality_flag``: one table, whatever packs, counts or writes them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.variables import annotate, lookup, validate

SEVERE = {
    "not_converged",
    "poor_fit",
    "lines_disagree",
    "parameter_at_limit",
    "calibration_failed",
    "error_depends_on_value",
}


def test_bits_keep_their_places():
    """Files are read for years: a bit never changes its meaning."""
    assert {r.name: r.mask for r in quality.REASONS} == {
        "not_converged": 1,
        "poor_fit": 2,
        "noise_inconsistent": 4,
        "correlated_residuals": 8,
        "lines_disagree": 16,
        "parameter_at_limit": 32,
        "reference_atmosphere": 64,
        "extrapolated_atmosphere": 128,
        "interferents_missing": 256,
        "calibration_failed": 512,
        "few_spectra": 1024,
        "pattern_in_residual": 2048,
        "lines_not_compared": 4096,
        "error_depends_on_value": 8192,
    }
    assert {r.name for r in quality.REASONS if r.severe} == SEVERE
    assert all(r.meaning.endswith(".") for r in quality.REASONS)


@pytest.mark.parametrize("reason", quality.REASONS, ids=lambda r: r.name)
def test_each_reason_alone(reason):
    flag = quality.pack([reason.name])
    assert flag.dtype == np.int32
    assert quality.names(flag) == (reason.name,)
    assert quality.reasons(flag) == (reason.meaning,)
    assert bool(quality.severe(flag)) == reason.severe
    assert quality.counts(flag) == {reason.name: 1}


def test_all_and_none():
    everything = quality.pack(r.name for r in quality.REASONS)
    assert int(everything) == 2 ** len(quality.REASONS) - 1
    assert int(quality.pack([])) == 0
    assert quality.names(0) == quality.reasons(0) == ()
    assert quality.counts(np.zeros(3, np.int32)) == {}
    assert not quality.severe(0)


def test_rows_have_their_own_reasons():
    flags = quality.pack_rows(
        {
            "poor_fit": np.array([False, True, True]),
            "few_spectra": np.array([True, False, True]),
            "reference_atmosphere": True,
        }
    )
    assert flags.dtype == np.int32
    assert flags.tolist() == [1024 + 64, 2 + 64, 1024 + 2 + 64]
    assert quality.severe(flags).tolist() == [False, True, True]
    assert quality.counts(flags) == {
        "poor_fit": 2,
        "reference_atmosphere": 3,
        "few_spectra": 2,
    }


@pytest.mark.parametrize("pack", [quality.pack, lambda n: quality.pack_rows({n[0]: 1})])
def test_unknown_reason_is_named(pack):
    with pytest.raises(TgoError, match="bad_weather") as caught:
        pack(["bad_weather"])
    assert caught.value.rule == "quality.reason"


@pytest.mark.parametrize("dims", [(), ("spectrum",)])
def test_catalogue_knows_the_flag(dims):
    flags = np.zeros((2,) * len(dims), np.int32)
    ds = xr.Dataset(
        {"ch4_slant_column": ("spectrum", [1.0, 2.0]), "quality_flag": (dims, flags)}
    )
    attrs = annotate(ds)["quality_flag"].attrs
    assert attrs["flag_masks"].dtype == np.int32
    assert attrs["flag_masks"].tolist() == [r.mask for r in quality.REASONS]
    assert attrs["flag_meanings"].split() == [r.name for r in quality.REASONS]
    assert set(attrs["comment"].partition("with ")[2].split(", ")) == SEVERE
    validate(annotate(ds), level=2)
    assert lookup("quality_flag").dims == ()
