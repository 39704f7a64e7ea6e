"""Fixtures that several layers share: one simulated occultation."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

import pytest
from lxml import etree
from shared_folder import SHARED

import tgo_spectra as tgo

# a table that was prepared comes before that of the package: none of this machine's
_CACHE = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
os.environ.setdefault("MPLCONFIGDIR", str(Path(_CACHE) / "matplotlib"))
_OWN_CACHE = tempfile.TemporaryDirectory(prefix="tgo-spectra-cache-")
os.environ["XDG_CACHE_HOME"] = _OWN_CACHE.name


@pytest.fixture(scope="session")
def shared():
    """Folder of real line lists, sample products and schemas, no part of the project.

    Whatever test gets it, by itself or by another fixture, has the marker `shared`.
    """
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared, which is no part of the project")
    return SHARED


@pytest.fixture(scope="session")
def assert_valid(shared):
    """Check a label in a PDS4 schema, without what missions and disciplines add."""
    parser = etree.XMLParser(no_network=True, resolve_entities=False, load_dtd=False)

    def check(label, schema="PDS4_PDS_1F00.xsd"):
        tree = etree.parse(str(label), parser)
        for area in ("Mission_Area", "Discipline_Area"):
            for element in tree.iter("{http://pds.nasa.gov/pds4/pds/v1}" + area):
                for foreign in list(element):
                    element.remove(foreign)
        rules = etree.parse(str(shared / "pds4_schemas" / schema), parser)
        etree.XMLSchema(rules).assertValid(tree)

    return check


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """Folder of the absorption tables that tests build, each once."""
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="session")
def occultation(tmp_path_factory):
    """Label of a simulated order-134 product with 2 ppbv of methane."""
    folder = tmp_path_factory.mktemp("occultation")
    return tgo.simulate_product(folder, order=134, ch4=2e-9, seed=4)


@pytest.fixture(scope="session")
def level1(occultation):
    """The same product, read."""
    return tgo.open_product(occultation).load()


NEAR = {"n_orders": 2}
"""Of the instrument: orders on either side whose light there is. Fits where it does not
matter take a third of the work that as many as reach the detector do (ten)."""


@pytest.fixture(scope="session")
def near_setup():
    """Shipped setup of order 134, with the light of two orders on either side."""
    return tgo.load_setup("so_134").replace(instrument=NEAR)


@pytest.fixture(scope="session")
def near_level1(tmp_path_factory):
    """The product of `occultation` with the light of as many, read."""
    folder = tmp_path_factory.mktemp("near")
    label = tgo.simulate_product(folder, order=134, ch4=2e-9, seed=4, **NEAR)
    return tgo.open_product(label).load()


@pytest.fixture(scope="session")
def small_product(occultation):
    """Make (label bytes, table bytes, stem) of a product of two spectra."""
    label = occultation.read_text(encoding="utf-8")
    table = occultation.with_suffix(".tab").read_bytes()
    length = int(re.search(r"<record_length[^>]*>(\d+)<", label)[1])
    n_records = len(table) // length

    def make(stem="nmd_cal_sc_so_20180421t010203-20180421t011203-a-i-134", **given):
        rows = given.get("rows", (10, 11))
        data = b"".join(table[k * length : (k + 1) * length] for k in rows)
        text = re.sub(re.escape(occultation.stem), stem, label, flags=re.IGNORECASE)
        version = given.get("version", "3.0")
        for old, new in (
            (f"<records>{n_records}<", f"<records>{len(rows)}<"),
            (f"NSpec>{n_records}<", f"NSpec>{len(rows)}<"),
            (f">{len(table)}<", f">{len(data)}<"),
            ("<version_id>3.0<", f"<version_id>{version}<"),
            (
                hashlib.md5(table, usedforsecurity=False).hexdigest(),
                hashlib.md5(data, usedforsecurity=False).hexdigest(),
            ),
        ):
            assert old in text
            text = text.replace(old, new)
        return text.encode(), data, stem

    return make


#: Files in the order in which workers take them: long ones that share something that
#: takes long to make. While the first compiles the kernels of the fits, the second
#: reads products and the third compiles those of tables.
FIRST = (
    "test_66_methods",
    "readers",
    "test_68_hcl_hdo",
    "test_95_docs",
    "test_90_samples",
    "test_66_coverage",
    "test_64_temperature",
    "test_91_closed_loop",
    "test_68_interferents",
    "test_68_acs_mir",
    "test_69_contract",
    "test_66_selection",
    "test_63_honesty",
    "test_62_elements",
    "test_50_forward",
    "test_69_nadir",
    "test_45_cached_tables",
    "test_20_netcdf",
)

#: Tests, by their files or beginnings, that are long and share nothing: workers take
#: them one by one, last, and the longest of them first.
APART = (
    "test_90_samples::test_all_absorbers",
    "test_95_examples",
    "test_82_slurm",
    "test_83_runs",
    "test_69_kinds",
    "test_92_golden",
    "test_82_clusters",
    "test_82_jobs",
    "test_83_faults",
    "test_80_batch",
    "test_80_batch_files",
    "test_85_archive_index",
    "test_86_archive_download",
    "test_90_terminal",
    "test_51_jacobians",
)


def apart(nodeid):
    """Place of a test among those that are taken one by one; None: it is not."""
    path, _, test = nodeid.partition("::")
    name = f"{Path(path).stem}::{test}"
    return next((k for k, one in enumerate(APART) if name.startswith(one)), None)


def scope_of(nodeid):
    """What a worker takes as a whole."""
    if apart(nodeid) is not None:
        return nodeid
    name = Path(nodeid.split("::", 1)[0]).stem
    is_reader = name.startswith(("test_2", "test_3")) and name not in FIRST
    return "readers" if is_reader else name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
    if hasattr(config, "workerinput"):
        scopes = {item.nodeid: scope_of(item.nodeid) for item in items}
        ranks = {name: number for number, name in enumerate(FIRST)}
        last = len(FIRST) + 1
        ranks |= {one: last + apart(one) for one in scopes.values() if "::" in one}
        items.sort(key=lambda item: ranks.get(scopes[item.nodeid], len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Share the tests between workers by the lists above.

    Not by the plugin's own marks, which do nothing with pytest 9.2 (pytest-xdist 3.8
    writes them into a name that this pytest no longer reads).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return scope_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)
