"""The catalogue of names, units and dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.variables import (
    CATALOGUE,
    GASES,
    annotate,
    catalogue,
    gas_of,
    lookup,
    validate,
)


def _level2() -> xr.Dataset:
    return annotate(
        xr.Dataset(
            {
                "ch4_vmr": ("altitude", np.zeros(3)),
                "ch4_averaging_kernel": (("altitude", "altitude_in"), np.eye(3)),
                "pressure": ("altitude", np.ones(3)),
                "solar_longitude": ((), 10.0),
            },
            {"altitude": [0.0, 1.0, 2.0]},
        )
    )


def test_every_gas_has_every_quantity():
    quantities = {
        gas: {f[1] for n in catalogue() if (f := gas_of(n)) and f[0] == gas}
        for gas in GASES
    }
    assert all(names == quantities["ch4"] for names in quantities.values())
    for name in ("vmr", "upper_limit", "slant_column_error", "sum_wx2", "mean"):
        assert name in quantities["hdo"]


def test_units_of_the_contract():
    expected = {
        "tangent_altitude": "km",
        "altitude": "km",
        "pressure": "Pa",
        "temperature": "K",
        "wavenumber": "cm-1",
        "wavelength": "nm",
        "number_density": "cm-3",
        "h2o_slant_column": "cm-2",
        "co_vmr": "1",
        "local_true_solar_time": "hour",
    }
    assert {name: lookup(name).units for name in expected} == expected


def test_texts_are_written_out_and_clean():
    for name, variable in catalogue().items():
        texts = [name, variable.units, *variable.attributes().values()]
        assert not any("<" in text or "  " in text for text in texts), name
        assert variable.long_name, name
        assert not variable.long_name.endswith((".", " ")), name
        assert set(variable.forms) <= {1, 2, 3}, name


def test_names_of_errors_are_the_same_for_all_quantities():
    """Noise, smoothing, systematic by source and in sum, and the total of the three."""
    quantities = ("ch4_vmr", "o3_number_density", "co_column", "h2o_slant_column",
                  "temperature", "pressure", "o3_number_density_peeled")  # fmt: skip
    for name in quantities:
        known = lookup(name)
        for part in ("noise", "smoothing", "systematic"):
            assert lookup(f"{name}_{part}_error").units == known.units
        for source in ("pointing", "aotf_width", "cross_section", "composition"):
            one = lookup(f"{name}_systematic_{source}")
            assert known.long_name in one.long_name
            assert one.dims == known.dims
        total = lookup(f"{name}_error")
        assert total.long_name == f"total standard error of the {known.long_name}"
        assert lookup(f"{name}_total_error") is None
        assert lookup(f"{name}_error_pointing") is None


def test_no_long_name_is_written_in_the_code_of_a_result():
    """A text beside the catalogue's is how the two came to differ."""
    package = CATALOGUE.parent
    for folder in ("retrieval", "readers", "files", "maps"):
        for path in (package / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            # the coordinate system is no variable of the catalogue
            assert text.count('"long_name":') == (path.name == "netcdf.py"), path


def test_standard_names_only_where_cf_has_them():
    assert lookup("ch4_vmr").standard_name == "mole_fraction_of_methane_in_air"
    assert lookup("hdo_vmr").standard_name is None
    assert lookup("co_averaging_kernel").standard_name is None
    assert lookup("ch4_averaging_kernel").standard_name.endswith("methane_in_air")


def test_annotate_leaves_the_input_and_unknown_variables_alone():
    ds = xr.Dataset({"other": ("x", [1.0]), "temperature": ("altitude", [2.0])})
    ds["other"].attrs["units"] = "parsec"
    result = annotate(ds)
    assert "units" not in ds["temperature"].attrs
    assert result["other"].attrs == {"units": "parsec"}
    assert result["temperature"].attrs["standard_name"] == "air_temperature"


def test_times_get_no_units():
    ds = xr.Dataset(coords={"time": ("spectrum", np.array(["2018"], "M8[ns]"))})
    assert "units" not in annotate(ds)["time"].attrs


def test_good_level_2_passes():
    validate(_level2(), level=2)


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        (lambda d: d.drop_vars("ch4_vmr"), "_vmr", "variables.missing"),
        (
            lambda d: d.assign(co_vmr=("pixel", np.zeros(2))),
            "co_vmr",
            "variables.dims",
        ),
        (
            lambda d: d.assign(
                pressure=d["pressure"].assign_attrs(units="hPa"),
            ),
            "pressure",
            "variables.units",
        ),
    ],
)
def test_bad_level_2_is_named(change, field, rule):
    with pytest.raises(TgoError) as caught:
        validate(change(_level2()), level=2)
    assert field in caught.value.field
    assert caught.value.rule == rule


def test_maps_take_axes_in_their_order():
    def grid(*dims):
        data = np.zeros((2,) * len(dims))
        return xr.Dataset({f"ch4_{n}": (dims, data) for n in ("count", "sum_w")})

    validate(grid("solar_longitude", "altitude", "latitude"), level=3)
    validate(grid(), level=3)
    for dims in (("latitude", "altitude"), ("spectrum",)):
        with pytest.raises(TgoError, match="ch4_count"):
            validate(grid(*dims), level=3)


def test_unknown_level():
    with pytest.raises(TgoError, match="1, 2 or 3"):
        validate(_level2(), level=4)
