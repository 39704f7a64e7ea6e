"""Every picture of the package, of inputs that leave nothing, or too much, to draw.

Empty input, one sample, negative values only, missing values only, one huge value:
each gives a picture that says what it is, and none is a blank box.
"""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm

from tgo_spectra import plots
from tgo_spectra.cli import main
from tgo_spectra.comparison import compare
from tgo_spectra.errors import TgoError
from tgo_spectra.files.netcdf import write_level2, write_map
from tgo_spectra.maps import Grid, grid_level2
from tgo_spectra.plots.quicklook import pictures
from tgo_spectra.variables import annotate

VARIANTS = ("empty", "one", "negative", "missing", "huge")
HUGE = 1e6  # times the other values
LID = "urn:esa:psa:em16_tgo_nmd:data_calibrated:nmd_cal_sc_so_20180614t030920-a-i-134"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def changed(values, variant):
    """Give values as a variant has them, along their first axis."""
    values = np.array(values, dtype=float)
    if variant == "negative":
        return -np.abs(values)
    if variant == "missing":
        return np.full(values.shape, np.nan)
    if variant == "huge":
        values.flat[values.size // 2] *= HUGE
    return values


def level1(variant):
    n = {"empty": 0, "one": 1}.get(variant, 6)
    x = np.linspace(3011.0, 3035.0, 12)
    signal = np.linspace(0.3, 0.9, n)[:, None] * np.ones(12)
    return annotate(
        xr.Dataset(
            {
                "transmittance": (("spectrum", "pixel"), changed(signal, variant)),
                "transmittance_error": (
                    ("spectrum", "pixel"),
                    np.full((n, 12), 1e-3),
                ),
                "y_valid_flag": ("spectrum", np.arange(n) != 1),
            },
            {
                "wavenumber": ("pixel", x),
                "tangent_altitude": ("spectrum", np.linspace(60.0, 10.0, n)),
                "solar_longitude": ("spectrum", np.full(n, 190.0)),
                "order": 134,
            },
            {"title": "NOMAD Experiment (SYNTHETIC)", "product_lid": LID},
        )
    )


def level2(variant, k=0, latitude=40.0):
    n = {"empty": 0, "one": 1}.get(variant, 9)
    rows = {"empty": 0, "one": 1}.get(variant, 6)
    z = 10.0 * np.arange(n) + 0.5
    rng = np.random.default_rng(k)
    error = np.full(n, np.nan if variant == "missing" else 2e-10)
    names = ("error", "noise_error", "systematic_error", "systematic_pressure")
    ds = xr.Dataset(
        {
            "ch4_vmr": ("altitude", changed(np.full(n, 1e-9), variant)),
            **{f"ch4_vmr_{name}": ("altitude", error) for name in names},
            "ch4_upper_limit": (
                "altitude",
                np.abs(changed(np.full(n, 1e-9), variant)),
                {"sigma_level": 2.0},
            ),
            "ch4_averaging_kernel": (
                ("altitude", "altitude_in"),
                changed(np.eye(n), "missing" if variant == "missing" else ""),
            ),
            "residual": (
                ("spectrum", "pixel"),
                changed(rng.normal(0, 1e-3, (rows, 12)), variant),
            ),
            "ch4_column": ("spectrum", changed(np.full(rows, 1e15), variant)),
            "quality_flag": ((), np.int32(0)),
            "solar_longitude": ((), 190.0 if n else np.nan),
            "mars_year": ((), np.int32(34)),
            "reduced_chi_square": ((), 1.0),
        },
        {
            "altitude": z,
            "altitude_in": z,
            "latitude": ("altitude", np.full(n, latitude)),
            "longitude": ("altitude", np.full(n, 10.0)),
            "tangent_altitude": ("spectrum", np.linspace(60.0, 10.0, rows)),
        },
        {"simulated": 1, "product_lid": f"{LID}-{k}", "product_version": "1.0"},
    )
    return annotate(ds)


def many(variant):
    n = {"empty": 0, "one": 1}.get(variant, 4)
    inner = "huge" if variant == "one" else variant
    found = [level2(inner, k, 20.0 * k - 30.0) for k in range(n)]
    if variant == "missing":  # of places too
        found = [ds.assign_coords(latitude=ds.latitude * np.nan) for ds in found]
    return found


def level3(variant, grid):
    n = {"empty": 0, "one": 1}.get(variant, 8)
    rng = np.random.default_rng(3)
    found = []
    for k in range(n):
        ds = level2("", k, -80.0 + 20.0 * k)
        value = changed(rng.uniform(1, 3, (1, 9)) * 1e-10, variant)[0]
        if variant == "huge":
            value = np.full(9, HUGE * 1e-10 if k == 3 else 2e-10)
        ds["ch4_vmr"] = ("altitude", value)
        found.append(ds.drop_vars("ch4_column"))
    return grid_level2(found, grid, gases=["ch4"], quality="all", allow_empty=True)


TWO = Grid(latitude=range(-90, 91, 20), altitude=[0, 30, 60, 100])
FLAT = Grid(latitude=range(-90, 91, 30), longitude=range(-180, 181, 60))


def panels(variant):
    """Local times are needed of all samples: of a map without any there are none."""
    grid = Grid(latitude=TWO.latitude, altitude=TWO.altitude, mars_year=[33, 34, 35])
    return plots.plot_panels(level3(variant, grid), "ch4", "mars_year")


def globe(variant):
    pytest.importorskip("cartopy", reason="the extra globe (cartopy) is not installed")
    return plots.plot_globe(level3(variant, FLAT), "ch4")


def fit(variant):
    row = 0 if variant != "empty" else None
    if row is None:  # there is no spectrum whose fit could be drawn
        return plots.plot_residuals(level2(variant))
    return plots.plot_fit(level1(variant), level2(variant), row)


def compared(variant):
    """Compare two profiles with themselves, and leave what a variant has."""
    full = [level2("", k, 40.0 * k) for k in range(2)]
    found = compare(full, full, "ch4_vmr", hours=None, km=100.0, kernels=False)
    if variant == "empty":
        return found.isel(altitude=slice(0))
    found = found.isel(pair=slice(1 if variant == "one" else None))
    return found.assign(
        {
            f"ch4_vmr_{name}": found[f"ch4_vmr_{name}"].copy(
                data=changed(found[f"ch4_vmr_{name}"].values + 1e-9, variant)
            )
            for name in ("mean_difference", "difference")
        }
    )


PICTURES = {
    "spectrum": lambda v: plots.plot_spectrum(level1(v), 0),
    "product": lambda v: plots.plot_product(level1(v)),
    "fit": fit,
    "residuals": lambda v: plots.plot_residuals(level2(v)),
    "profile": lambda v: plots.plot_profile(level2(v), "ch4"),
    "errors": lambda v: plots.plot_errors(level2(v), "ch4"),
    "averaging_kernel": lambda v: plots.plot_averaging_kernel(level2(v), "ch4", 1),
    "columns": lambda v: plots.plot_columns(
        level2(v).assign_coords(latitude=("spectrum", np.arange(level2(v).sizes["spectrum"]) * 1.0)).drop_vars("ch4_vmr"), "ch4"  # noqa: E501
    ),
    "comparison": lambda v: plots.plot_comparison(compared(v)),
    "result": lambda v: plots.plot_result(level2(v), "ch4"),
    "map": lambda v: plots.plot_map(level3(v, TWO), "ch4", minimum_count=1),
    "maps": lambda v: plots.plot_maps(level3(v, TWO), "ch4"),
    "panels": panels,
    "globe": globe,
    "limits": lambda v: plots.plot_limits(many(v), "ch4"),
    "sampling": lambda v: plots.plot_sampling(many(v)),
}  # fmt: skip


def drawn(axes):
    """Whether axes hold data: points, lines of numbers, cells of a map."""
    for line in axes.lines:
        xy = np.asarray(line.get_xydata(), dtype=float)
        # straight lines over all of the axes are no data
        if line.get_transform() == axes.transData and np.isfinite(xy).all(1).any():
            return True
    for one in axes.collections:
        values = one.get_array()
        if values is not None and np.ma.masked_invalid(values).count():
            return True
    return False


def said(figure):
    texts = [axes.get_title(loc="left") for axes in figure.axes]
    texts += [text.get_text() for axes in figure.axes for text in axes.texts]
    return " ".join(texts)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_picture__says_what_it_is(name, variant):
    found = PICTURES[name](variant)
    axes = found if isinstance(found, tuple) else (found,)
    figure = axes[0].figure
    figure.set_dpi(20)
    figure.set_layout_engine("none")  # takes most of the time of a drawing
    figure.canvas.draw()
    text = said(figure)
    if variant in ("empty", "missing"):
        why = [t for ax in axes for t in ax.texts if t.get_gid() == "why"]
        assert why, text
    else:
        assert any(map(drawn, axes)), text
    if not (variant == "empty" and name in ("map", "maps", "panels", "globe", "limits", "sampling")):  # noqa: E501  # fmt: skip
        assert "simulated" in text
    if variant == "negative" and name in ("profile", "map"):
        assert "all values are negative" in text


def test_pictures__are_all_of_the_package():
    assert set(PICTURES) == {name.removeprefix("plot_") for name in plots.__all__}


def test_map__huge_values_leave_the_others_to_be_seen():
    ax = plots.plot_map(level3("huge", TWO), "ch4", minimum_count=1)
    mesh = next(one for one in ax.collections if one.get_gid() == "cells")
    assert mesh.norm.vmax < 1e-3 * mesh.get_array().max()
    limit = plots.plot_map(level3("huge", TWO), "ch4", "upper_limit", minimum_count=1)
    mesh = next(one for one in limit.collections if one.get_gid() == "cells")
    assert isinstance(mesh.norm, LogNorm)


def test_profile__decades_on_a_logarithmic_scale():
    assert plots.plot_profile(level2("huge"), "ch4").get_xscale() == "log"
    assert plots.plot_profile(level2(""), "ch4").get_xscale() == "linear"


def test_map__zero_is_not_what_is_missing():
    maps = level3("", TWO)
    maps["ch4_mean"] = maps["ch4_mean"] * 0.0
    ax = plots.plot_map(maps, "ch4", minimum_count=1)
    mesh = next(one for one in ax.collections if one.get_gid() == "cells")
    zero = mesh.cmap(mesh.norm(0.0))[:3]
    missing = mpl.colors.to_rgb(ax.get_facecolor())
    assert np.abs(np.subtract(zero, missing)).max() > 0.05
    assert "grey: nothing measured" in ax.get_title(loc="left")


def test_product__counts_spectra_that_have_no_place_in_the_picture():
    ds = level1("")
    ds["tangent_altitude"] = ds["tangent_altitude"].where(ds["tangent_altitude"] < 55)
    image = plots.plot_product(ds)[0]
    assert "6 spectra, order 134, 1 without an altitude" in image.get_title(loc="left")
    assert "without" not in plots.plot_product(level1(""))[0].get_title(loc="left")


def test_panels__say_what_one_map_says():
    """Weights, what is left out, the part of other axes, and panels not shown."""
    found = []
    for k in range(4):
        ds = level2("", k, 5.0).drop_vars("ch4_column")
        ds["solar_longitude"] = ((), 5.0 + 20.0 * (k // 2))
        ds["quality_flag"] = ((), np.int32(2 if k == 3 else 0))
        found.append(ds)
    grid = Grid(
        latitude=TWO.latitude, altitude=TWO.altitude, solar_longitude=range(0, 361, 20),
        mars_year=[34, 35],
    )  # fmt: skip
    maps = grid_level2(found, grid, gases=["ch4"])
    every = plots.plot_panels(maps, "ch4", "solar_longitude", minimum_count=2)
    text = every[0].figure.get_suptitle()
    assert text.startswith("MY 34, 3 results, weights inverse variance")
    assert "fullest 12 of 18 cells of solar longitude" in text
    assert "1 profiles left out (1 poor_fit)" in text
    assert "hatched: fewer than 2 (3 cells)" in text
    limits = plots.plot_limits(maps, "ch4").get_title(loc="left")
    assert "1 profiles left out (1 poor_fit)" in limits
    one = maps.isel(solar_longitude=1)
    title = plots.plot_map(one, "ch4").get_title(loc="left")
    assert "MY 34, Ls 20–40°, 3 results" in title


def test_panels__few_profiles_set_no_colours_among_many():
    found = [level2("", k, 5.0).drop_vars("ch4_column") for k in range(3)]
    for ds in found[1:]:
        ds["mars_year"] = ((), np.int32(35))
    found[0]["ch4_vmr"] = found[0]["ch4_vmr"] * 5.0
    grid = Grid(latitude=TWO.latitude, altitude=TWO.altitude, mars_year=[34, 35, 36])
    maps = grid_level2(found, grid, gases=["ch4"])
    for ax in plots.plot_panels(maps, "ch4", "mars_year", minimum_count=2):
        mesh = next(one for one in ax.collections if one.get_gid() == "cells")
        assert mesh.norm.vmax == pytest.approx(1.0, rel=1e-6)


def test_limits__detections_have_another_mark():
    found = many("")
    found[1]["ch4_detected"] = ("altitude", np.arange(9) == 2)
    found[2]["quality_flag"] = ((), np.int32(1))
    for against in ("latitude", "solar_longitude", "altitude"):
        ax = plots.plot_limits(found, "ch4", against=against)
        marks = [text.get_text() for text in ax.get_legend().get_texts()]
        assert "detected: value and error" in marks
        assert "not to be used, by quality_flag" in marks
        assert len(ax.collections[0].get_offsets()) == 2


def test_globe__says_what_it_needs(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cartopy.crs", None)
    monkeypatch.setitem(sys.modules, "cartopy", None)
    with pytest.raises(TgoError, match="globe") as caught:
        plots.plot_globe(level3("", FLAT), "ch4")
    assert caught.value.rule == "plot.cartopy"


def test_quicklook__names_of_all_levels():
    assert list(pictures(level1(""))) == ["product"]
    assert list(pictures(level2(""), level1=level1(""))) == ["fit", "ch4", "residuals"]
    assert list(pictures(level3("", TWO))) == ["ch4", "ch4_limits"]


def test_quicklook__fit_of_half_the_light_or_of_the_middle():
    light = level1("")
    for ds, row in (
        (light, 2),
        (light.rename(transmittance="radiance", transmittance_error="e"), 3),
    ):
        ax = pictures(level2(""), level1=ds)["fit"]()
        assert f"spectrum {row}," in ax.get_title(loc="left")


def test_plot_command__files_and_folders(tmp_path, capsys, monkeypatch):
    """Level 2, a map of more axes than two, and a folder of both."""
    monkeypatch.chdir(tmp_path)
    for k in range(3):
        write_level2(level2("", k), tmp_path / "l2" / f"a{k}.nc")
    grid = Grid(latitude=[-90, 0, 90], altitude=[0, 50, 100], mars_year=[33, 34, 35])
    write_map(level3("", grid), tmp_path / "l2" / "map.nc")
    for given, names in (
        (["l2/a0.nc"], ["a0_ch4", "a0_residuals"]),
        (["l2/map.nc", "--at", "mars_year=34"], ["map_ch4", "map_ch4_limits"]),
        (["l2"], ["l2_sampling", "l2_ch4_limits_latitude", "l2_ch4_limits_solar_longitude", "l2_ch4_limits_altitude"]),  # noqa: E501
    ):  # fmt: skip
        assert main(["plot", *given, "--out", "png"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines == [str(tmp_path / "png" / f"{name}.png") for name in names] or [
            line.rpartition("/")[2] for line in lines
        ] == [f"{name}.png" for name in names]
        for name in names:
            assert (tmp_path / "png" / f"{name}.png").stat().st_size > 5000
    for given, code in (
        (["l2/a0.nc", "--gas", "xe"], 1),
        (["l2/map.nc", "--at", "altitude"], 64),
        (["l2/map.nc", "--at", "altitude=900"], 1),
        (["l2", "--at", "altitude=9"], 64),
        (["no.nc"], 64),
    ):
        assert main(["plot", *given]) == code, given
        assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "plots").exists()
