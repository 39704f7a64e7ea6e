"""The report of a run: all of it is said, one file, no network, sorted and filtered."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import test_71_pictures as small

from tgo_spectra.batch.journal import ProductStatus, journal_line
from tgo_spectra.cli import main
from tgo_spectra.errors import TgoError
from tgo_spectra.files.netcdf import write_level2, write_map
from tgo_spectra.report import write_report, writing
from tgo_spectra.report.facts import facts_of
from tgo_spectra.report.interactive import write_interactive

NAMES = ("é µ <b>1", "b", "c", "d")
SEASONS = (200.0, 9.0, 30.0, 100.0)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six products: four results, of which one is bad, and two failures."""
    folder = tmp_path_factory.mktemp("run é")
    lines = []
    for k, (name, season) in enumerate(zip(NAMES, SEASONS, strict=True)):
        ds = small.level2("", k, 20.0 * k - 30.0).drop_vars("ch4_column")
        ds["solar_longitude"] = ((), season)
        ds["quality_flag"] = ((), np.int32(2 if name == "c" else 64))
        file = write_level2(ds, folder / "l2" / f"{k}.nc")
        # as it was before the folder was moved to where it is
        row = ProductStatus(f"/a/{name}.xml", "done", f"/moved/l2/{file.name}", 12.5)
        lines.append(journal_line(row))
    message = "the table has 3 bytes, the label says 4 <script>alert(1)</script>"
    for name in ("x", "y"):
        failed = {"rule": "label.filesize_mismatch", "message": message}
        lines.append(journal_line(ProductStatus(f"/a/{name}.xml", "failed", **failed)))
    (folder / "journal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "run.json").write_text(json.dumps({"processing_version": "7"}))
    write_map(small.level3("", small.TWO), folder / "map.nc")
    return folder


@pytest.fixture(scope="module")
def page(run):
    return write_report(run)


def test_report__says_what_there_is(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r"6 products:\s+<b>3</b> .*good.*<b>1</b> .*not good.*<b>2</b> .*failed", text)  # noqa: E501  # fmt: skip
    assert "label.filesize_mismatch" in text
    assert '<td class="n">2</td>' in text
    assert "reference_atmosphere" in text
    assert "poor_fit" in text
    assert "4 of 6 products come from a simulator" in text
    assert "processing_version" in text
    assert "map.nc, ch4" in text
    assert "ch4 limit (ppbv, 2 sigma)" in text
    assert text.count("<img ") == 1 + 1 + 3 + 2
    assert html.escape("é µ <b>1") in text
    assert "<script>alert" not in text


def test_report__says_what_it_does_not_show(run, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_MAPS", 1)
    text = write_report(run, tmp_path, pages="none").read_text(encoding="utf-8")
    assert "pictures of maps that are not shown here: 1" in text


def test_report__asks_no_network(page):
    for file in page.parent.glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "default-src 'none'" in text
        assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
        assert "@import" not in text
        assert "url(" not in text


def test_report__a_page_of_each_bad_result(run, page):
    found = sorted(file.name for file in page.parent.glob("*.html"))
    assert len(found) == 2
    text = (page.parent / found[1]).read_text(encoding="utf-8")
    assert "poor_fit" in text
    assert "<img " in text
    assert html.escape(str(run / "l2" / "2.nc")) in text  # where it is now
    assert found[1] in page.read_text(encoding="utf-8")


def test_report__of_level2_alone_and_of_nothing(run, tmp_path, capsys):
    target = tmp_path / "out"
    given = ["report", str(run / "l2"), "--out", str(target), "--pages", "none"]
    assert main(given) == 0
    text = (target / "index.html").read_text(encoding="utf-8")
    assert "4 products" in text
    assert "No map lies in this folder" in text
    assert "what failed is not known" in text
    assert len(list(target.iterdir())) == 1
    (tmp_path / "empty").mkdir()
    for given, rule in (
        ([str(tmp_path / "empty")], "report.nothing"),
        ([str(run), "--gas", "xe"], "report.gas"),
        ([str(run), "--out", str(run / "map.nc")], "io."),
    ):
        capsys.readouterr()
        assert main(["report", *given]) == 1, given
        assert rule in capsys.readouterr().err
    with pytest.raises(TgoError, match="none, bad or all"):
        write_report(run, pages="some")


def test_report__damaged_files_are_rows(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run / "l2", folder)
    (folder / "0.nc").write_bytes(b"cut")
    page = write_report(folder, tmp_path / "out", pages="none")
    text = page.read_text(encoding="utf-8")
    assert re.search(r"<b>1</b> <span class=\"bad\">failed", text)


def test_report__a_damaged_result_of_a_run_is_one_row_that_failed(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    (folder / "l2" / "1.nc").write_bytes(b"cut")
    found = {one.name: one for one in facts_of(folder).results}
    assert len(found) == 6
    assert found["b"].verdict == "failed"
    assert found["b"].row.rule == "io.unreadable"
    assert sum(one.verdict == "good" for one in found.values()) == 2


SCRIPT = """<script>
addEventListener("load", () => {
  const rows = () => Array.from(document.querySelectorAll("#products tbody tr"));
  const seasons = () => rows().map(row => row.cells[3].textContent);
  const found = {before: seasons()};
  const button = document.querySelectorAll("#products th button")[3];
  button.click(); found.up = seasons();
  button.click(); found.down = seasons();
  found.sort = button.parentElement.getAttribute("aria-sort");
  const word = document.getElementById("filter");
  word.value = "FILESIZE"; word.dispatchEvent(new Event("input"));
  found.failed = rows().filter(row => !row.hidden).length;
  found.shown = document.getElementById("shown").textContent;
  word.value = ""; word.dispatchEvent(new Event("input"));
  const verdict = document.getElementById("verdict");
  verdict.value = "not good"; verdict.dispatchEvent(new Event("change"));
  found.bad = rows().filter(row => !row.hidden).length;
  found.asked = performance.getEntriesByType("resource")
    .map(one => one.name).filter(name => !name.startsWith("data:"));
  found.images = Array.from(document.images).every(one => one.naturalWidth > 100);
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
});
</script>"""


def in_browser(page, script, tmp_path):
    """Open a page with a script in a browser: what it found, and the log."""
    changed = tmp_path / "page.html"
    text = page.read_text(encoding="utf-8")
    changed.write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--no-first-run", "--enable-logging=stderr",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'user'}",
            "--virtual-time-budget=5000", "--dump-dom", changed.as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found = html.unescape(re.search("FOUND(.*)END", done.stdout)[1])
    return json.loads(found), done.stderr


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page in")
def test_report__sorted_and_filtered_in_a_browser(page, tmp_path):
    found, log = in_browser(page, SCRIPT, tmp_path)
    assert found["up"][:4] == ["9", "30", "100", "200"]
    assert found["down"][:4] == ["200", "100", "30", "9"]
    assert found["up"][4:] == found["down"][4:] == ["", ""]
    assert found["sort"] == "descending"
    assert found["failed"] == 2
    assert found["shown"] == "2 of 6 shown"
    assert found["bad"] == 1
    assert found["asked"] == []
    assert found["images"]
    assert "CONSOLE" not in log


DRAWN = """<script>
addEventListener("load", () => setTimeout(() => {
  const found = {
    lines: document.querySelectorAll(".scatterlayer path.js-line").length,
    maps: document.querySelectorAll(".heatmaplayer image").length,
    titles: Array.from(document.querySelectorAll(".gtitle")).map(t => t.textContent),
    asked: performance.getEntriesByType("resource")
      .map(one => one.name).filter(name => !/^(data|blob):/.test(name)),
  };
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
}, 1500));
</script>"""


def test_interactive__drawn_in_a_browser_without_a_network(run, tmp_path, capsys):
    pytest.importorskip("plotly", reason="the extra interactive is not installed")
    given = ["report", str(run), "--out", str(tmp_path), "--pages", "none"]
    assert main([*given, "--interactive"]) == 0
    page = tmp_path / "interactive.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 6e6
    assert "4 of 6 products are simulated" in text
    assert "<b>1" not in text
    if BROWSER is None:
        pytest.skip("no Chromium to open the page in")
    found, log = in_browser(page, DRAWN, tmp_path)
    assert found["lines"] == 4
    assert found["maps"] == 1
    assert found["titles"] == [
        "Profiles: 4; grey: not to be used", "map.nc: mean of CH4"
    ]  # fmt: skip
    assert found["asked"] == []
    assert "CONSOLE" not in log


def test_interactive__says_what_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.io", None)
    with pytest.raises(TgoError, match="tgo-spectra\\[interactive\\]") as caught:
        write_interactive(run, tmp_path)
    assert caught.value.rule == "report.extra"
