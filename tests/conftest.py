"""Fixtures that several layers share: one simulated occultation."""

from __future__ import annotations

import hashlib
import re

import pytest

import tgo_spectra as tgo


@pytest.fixture(scope="session")
def occultation(tmp_path_factory):
    """Label of a simulated order-134 product with 2 ppbv of methane."""
    folder = tmp_path_factory.mktemp("occultation")
    return tgo.simulate_product(folder, order=134, ch4=2e-9, seed=4)


@pytest.fixture(scope="session")
def level1(occultation):
    """The same product, read."""
    return tgo.open_product(occultation).load()


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
