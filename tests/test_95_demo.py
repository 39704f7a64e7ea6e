"""The demonstration, small."""

from __future__ import annotations

import pytest

from tgo_spectra.cli.demo import methane, run_demo
from tgo_spectra.files.netcdf import open_verified


def test_small_demo_finds_what_was_put_in(tmp_path):
    result = run_demo(tmp_path, workers=1, n=2)
    assert [row.order for row in result.rows] == [134, 136]
    assert not result.failed
    for row in result.rows:
        assert abs(row.z) < 5.0
        assert row.true == pytest.approx(row.put_in, rel=0.05)
        assert row.detected
        assert row.limit > row.retrieved
        assert 0.9 < row.chi_square < 1.1
    for path in result.files.values():
        assert path.exists()
    level3 = open_verified(result.files["level 3"])
    assert int(level3["ch4_count"].sum()) == 2
    text = str(result)
    assert f"{result.rows[0].retrieved:.3f}" in text
    assert "z: mean" in text


def test_methane_field_is_local():
    assert methane(150.0, 20.0) == pytest.approx(4e-9)
    assert methane(150.0 + 360.0, 20.0) == pytest.approx(4e-9)
    assert methane(0.0, 20.0) == 0.0
