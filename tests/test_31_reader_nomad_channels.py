"""The other kinds of NOMAD product: LNO nadir, UVIS, and their known quirks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.variables import validate

N_ROWS = 4
REAL, WHOLE, TRUTH = "ASCII_Real", "ASCII_Integer", "ASCII_Boolean"
TIME = "ASCII_Date_Time_YMD_UTC"


def scalars(channel: str, occultation: bool) -> list[tuple[str, str, int, str, object]]:
    """Fields in their order: name, type, length, printf form, value."""
    uvis = channel == "uvis"
    when = "2019-02-13T12:08:58.250Z"
    rows: list[tuple[str, str, int, str, object]] = [
        ("ObservationDatetimeStart", TIME, 28, "%-27s", when),
        ("ObservationDatetimeEnd", TIME, 28, "%-27s", when.replace("58", "59")),
    ]
    if not uvis:
        rows.append(("AOTFFrequency", REAL, 11, "%10.2f", 26000.0))
        rows += [
            (name, WHOLE, 4, "%3i", value)
            for name, value in (
                ("BinTop", 76),
                ("BinHeight", 143),
                ("BinStart", 76),
                ("BinEnd", 219),
                ("DiffractionOrder", 190),
            )
        ]
        rows.append(("InstrumentTemperature", REAL, 13, "%12.5e", -5.0))
    rows.append(("DetectorTemperature", REAL, 13, "%12.5e", 250.0))
    rows.append(("YValidFlag", TRUTH, 2, "%1i", 1))
    names = ["ObsAlt", "SubObsLon", "SubObsLat", "LSubS", "SubSolLon", "SubSolLat"]
    names += ["PointingDeviation"] if occultation else []
    rows += [
        (f"{word}{name}", REAL, 9, "%8.3f", 10.0 * k)
        for k, name in enumerate(names)
        for word in ("Start", "End")
    ]
    names = ["Lon", "Lat", "LST"]
    if occultation:
        names += [f"TangentAlt{n}" for n in ("Ellipsoid", "Areoid", "Surface")]
        names += ["SlantPathDistance"]
    else:
        names += ["IncidenceAngle", "EmissionAngle", "PhaseAngle"]
        names += ["SurfaceAltAreoid", "SurfaceRadius"]
    for k in range(9 if uvis else 5):
        rows += [(f"Point{a}{k}", REAL, 9, "%8.3f", 0.5) for a in "XY"]
        rows += [
            (f"{name}{word}{k}", REAL, 9, "%8.3f", 10.0 * m + k + 0.5 * e)
            for m, name in enumerate(names)
            for e, word in enumerate(("Start", "End"))
        ]
    return rows


def groups(channel: str, occultation: bool) -> list[tuple[str, int, str, str]]:
    """Return name, length, form and type of the groups."""
    axis = ("Wavelength" if channel == "uvis" else "Wavenumber", 9, "%8.3f", REAL)
    if channel == "lno":
        names = ["Reflectance factor", "Reflectance factor (baseline removed)"]
    elif occultation:
        names = ["Transmittance", "Transmittance error"]
    else:
        names = ["Radiance", "Radiance error"]
    found = [axis, *((name, 13, "%12.5e", REAL) for name in names)]
    return [*found, ("Mask", 2, "%1i", TRUTH)] if channel == "uvis" else found


def write(folder, channel, *, occultation, pixels, repeated=False, version="3.0"):
    fields, many = scalars(channel, occultation), groups(channel, occultation)
    xml, at, line = [], 1, ""
    for name, kind, length, form, value in fields:
        xml.append(
            f"<Field_Character><name>{name}</name>"
            f'<field_location unit="byte">{at}</field_location>'
            f"<data_type>{kind}</data_type>"
            f'<field_length unit="byte">{length}</field_length></Field_Character>'
        )
        at += length
        line += form % value + " "
    places = []
    for number, (name, length, form, kind) in enumerate(many):
        places.append(at)
        place = places[1] if repeated and number == 2 else at
        xml.append(
            f"<Group_Field_Character><name>{name}</name>"
            f"<repetitions>{pixels}</repetitions><fields>1</fields><groups>0</groups>"
            f'<group_location unit="byte">{place}</group_location>'
            f'<group_length unit="byte">{pixels * length}</group_length>'
            "<Field_Character><name>inner</name>"
            f'<field_location unit="byte">1</field_location><data_type>{kind}'
            f'</data_type><field_length unit="byte">{length}</field_length>'
            "</Field_Character></Group_Field_Character>"
        )
        at += pixels * length
        values = np.arange(pixels) % 2 if kind == TRUTH else np.arange(pixels) + number
        line += "".join(form % value + " " for value in values)
    data = (line.encode() + b"\r\n") * N_ROWS
    kind = "i" if occultation else "d"
    order = "-190" if channel == "lno" else ""
    stem = f"nmd_cal_sc_{channel}_20190213T120858-20190213T131138-{kind}{order}"
    text = (
        '<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1">'
        "<Identification_Area><logical_identifier>"
        f"urn:esa:psa:em16_tgo_nmd:data_calibrated:{stem.lower()}"
        f"</logical_identifier><version_id>{version}</version_id><title>t</title>"
        "<information_model_version>1.21.0.0</information_model_version>"
        "<product_class>Product_Observational</product_class></Identification_Area>"
        "<Observation_Area/><File_Area_Observational><File>"
        f'<file_name>{stem}.tab</file_name><file_size unit="byte">{len(data)}'
        "</file_size></File><Table_Character>"
        f'<name>CAL_NOMAD_{channel.upper()}</name><offset unit="byte">0</offset>'
        f"<records>{N_ROWS}</records>"
        "<record_delimiter>Carriage-Return Line-Feed</record_delimiter>"
        f"<Record_Character><fields>{len(fields)}</fields><groups>{len(many)}</groups>"
        f'<record_length unit="byte">{at + 1}</record_length>{"".join(xml)}'
        "</Record_Character></Table_Character></File_Area_Observational>"
        "</Product_Observational>"
    )
    (folder / f"{stem}.xml").write_text(text)
    (folder / f"{stem}.tab").write_bytes(data)
    return folder / f"{stem}.xml", at + 1


@pytest.mark.parametrize(
    ("channel", "occultation", "length"),
    [
        ("lno", False, 12_235),
        ("uvis", True, 39_383),
        ("uvis", False, 39_527),
    ],
)
def test_layouts_of_version_3(tmp_path, channel, occultation, length):
    pixels = 1024 if channel == "uvis" else 320
    path, found = write(tmp_path, channel, occultation=occultation, pixels=pixels)
    assert found == length
    ds = tgo.open_product(path)
    validate(ds, level=1)
    assert ds.attrs["channel"] == channel
    assert ds.sizes["point"] == (9 if channel == "uvis" else 5)
    axis = "wavelength" if channel == "uvis" else "wavenumber"
    assert ds[axis].dims == ("pixel",)
    np.testing.assert_array_equal(ds[axis], np.arange(pixels))


def test_lno_nadir(tmp_path):
    path, _ = write(tmp_path, "lno", occultation=False, pixels=320)
    ds = tgo.open_product(path).load()
    assert ds.attrs["observation_type"] == "dayside_nadir"
    assert "tangent_altitude" not in ds.coords
    assert ds["order"].item() == 190
    np.testing.assert_array_equal(ds["reflectance_factor"][0], np.arange(320) + 1)
    other = ds["reflectance_factor_corrected"]
    np.testing.assert_array_equal(other[0], np.arange(320) + 2)
    assert ds["incidence_angle"].dims == ("spectrum", "point", "edge")
    np.testing.assert_array_equal(ds["incidence_angle"][1, 3], [33.0, 33.5])


def test_lno_group_location_bug_gives_the_same_dataset(tmp_path):
    good, _ = write(tmp_path, "lno", occultation=False, pixels=320)
    ds = tgo.open_product(good).load()
    bad, _ = write(tmp_path, "lno", occultation=False, pixels=320, repeated=True)
    with pytest.warns(TgoWarning, match="Reflectance factor"):
        repaired = tgo.open_product(bad).load()
    xr.testing.assert_equal(repaired, ds)
    assert "source_repairs" in repaired.attrs
    text = bad.read_text().replace("12235", "12236")  # no longer closes
    bad.write_text(text)
    with pytest.raises(ProductError) as caught:
        tgo.open_product(bad)
    assert caught.value.rule == "table.field_value_overlap"


def test_uvis_binned(tmp_path):
    path, _ = write(tmp_path, "uvis", occultation=True, pixels=128)
    ds = tgo.open_product(path).load()
    assert ds.sizes == {"spectrum": 4, "pixel": 128, "point": 9, "edge": 2}
    assert ds["mask"].dtype == bool
    assert ds["mask"][0, :4].values.tolist() == [False, True, False, True]
    assert "order" not in ds.variables
    assert ds["tangent_altitude"][0].item() == 40.25
    assert ds["transmittance_error"][0, 5] == 7.0
    assert (ds["wavelength"].attrs["units"], ds["time"].dtype) == ("nm", "M8[ns]")


def test_uvis_nadir(tmp_path):
    path, _ = write(tmp_path, "uvis", occultation=False, pixels=1024, version="4.0")
    ds = tgo.open_product(path)
    assert ds["radiance"].attrs["units"] == "W m-2 sr-1 nm-1"
    np.testing.assert_array_equal(ds["radiance"][2, :3], [1, 2, 3])
    assert ds.attrs["product_version"] == "4.0"
