"""Search and download against a server on this machine that misbehaves on purpose."""

from __future__ import annotations

import email.utils
import io
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest

from tgo_spectra.archive import (
    ArchiveSettings,
    fetch,
    load_settings,
    search,
)
from tgo_spectra.archive.download import download
from tgo_spectra.cli import main
from tgo_spectra.errors import ArchiveError

# Fault -> rule of the refusal; None: it passes, and the file must arrive.
FAULTS = {
    "cut": None,
    "cut_no_validator": None,
    "range_ignored": None,
    "wrong_range": None,
    "changed": None,
    "unknown_length_cut": None,
    "chunked": None,
    "chunked_cut": None,
    "reset": None,
    "drip": None,
    "no_such_range": None,
    "doubled_range": None,
    "doubled_once": None,
    "doubled": "download.wrong_content",
    "bad_byte_once": None,
    "bad_byte": "zip.damaged",
    "page_once": None,
    "page": "download.wrong_content",
    "busy_once": None,
    "busy_until_date": None,
    "busy": "download.server_busy",
    "missing": "download.not_found",
    "secret": "download.forbidden",
    "redirect": None,
    "redirect_loop": "download.redirect",
    "redirect_away": "download.host",
    "stall": None,
    "hang_up": None,
    "coded_once": None,
    "wrong_product": "download.wrong_product",
}

HALVED = {
    "cut",
    "cut_no_validator",
    "range_ignored",
    "wrong_range",
    "changed",
    "stall",
    "reset",
    "no_such_range",
    "doubled_range",
}


def votable(names, rows, status="OK", words="", last="", kind="char"):
    """VOTable as services of the Virtual Observatory send it."""
    fields = "".join(
        f'<FIELD name="{n}" datatype="{kind if n == "version_id" else "char"}"'
        + (' arraysize="*"/>' if kind == "char" or n != "version_id" else "/>")
        for n in names
    )
    cells = "".join(
        "<TR>" + "".join(f"<TD>{escape(c)}</TD>" for c in row) + "</TR>" for row in rows
    )
    table = f"<TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>"
    info = '<INFO name="QUERY_STATUS" value="{}">{}</INFO>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        '<RESOURCE type="results">'
        + info.format(status, escape(words))
        + (table if names else "")
        + (info.format(last, "") if last else "")
        + "</RESOURCE></VOTABLE>"
    ).encode()


def waits(connection):
    """Whether the other side has not closed a connection."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        fixed = {"Content-Length": str(len(body)), "Connection": "close"}
        for key, value in (fixed | headers).items():
            if value is not None:
                self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def do_POST(self):
        self.do_GET()

    def do_GET(self):
        site = self.server
        with site.lock:
            site.open.add(self.connection)
            # what a client has read and left is no longer its own
            waiting = [one for one in site.open if waits(one)]
            site.busiest = max(site.busiest, len(waiting))
        try:
            self.answer(site)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.close_connection = True
            with site.lock:
                site.open.discard(self.connection)

    def answer(self, site):
        parts = urlsplit(self.path)
        asked = parse_qs(parts.query)
        if parts.path.endswith("/tap/sync"):
            form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.tap(site, parse_qs(form.decode()))
            return
        key = asked["id"][0]
        with site.lock:
            site.times[key] = number = site.times.get(key, 0) + 1
        fault, body = site.faults.get(key, ""), site.files[key]
        self.serve(site, key, fault, body, number)

    def tap(self, site, asked):
        """Answer a query, or misbehave as many times as told."""
        with site.lock:
            fault = site.tap_faults.pop(0) if site.tap_faults else ""
        body = site.table(asked)
        if fault == "busy":
            self.send(503, Retry_After="0")
        elif fault == "moved":
            self.send(303, Location=self.path)  # to be asked with GET
        elif fault == "slow":
            time.sleep(0.8)
        elif fault == "cut":
            self.send(200, body)
            self.wfile.write(body[:-20])
        elif fault == "refused":
            self.send(400, site.refusal, Content_Type="application/x-votable+xml")
            self.wfile.write(site.refusal)
        else:
            # of the wrong type, as some services say it
            self.send(200, body, Content_Type=fault or "application/x-votable+xml")
            self.wfile.write(body)

    def serve(self, site, key, fault, body, number):
        first = number == 1
        tag = f'"{key}-{number if fault == "changed" else 0}"'
        head = {"ETag": None if fault == "cut_no_validator" else tag}
        if fault in {"missing", "secret"}:
            self.send({"missing": 404, "secret": 403}[fault])
        elif fault.startswith("redirect") and (first or fault != "redirect"):
            away = "http://archive.invalid/x"
            self.send(302, Location=away if fault == "redirect_away" else self.path)
        elif fault == "busy" or (fault == "busy_once" and first):
            self.send(503, b"later", Retry_After=f"{site.later:.0f}")
        elif fault == "busy_until_date" and first:
            when = email.utils.formatdate(time.time() + site.later, usegmt=True)
            self.send(503, b"later", Retry_After=when)
        elif fault.startswith("chunked") and first:
            self.chunked(body, head, whole=fault == "chunked")
        elif fault == "drip_on" or (fault == "drip" and first):
            self.send(200, body, **head)
            for k in range(30):
                self.wfile.write(body[k : k + 1])
                self.wfile.flush()
                time.sleep(0.02)
        elif fault == "doubled" or (fault == "doubled_once" and first):
            self.send(200, Content_Length=None)
            self.wfile.write(body + body)
        elif fault == "page" or (fault == "page_once" and first):
            page = b"<html>maintenance</html>"
            self.send(200, page, Content_Type="text/html")
            self.wfile.write(page)
        elif fault == "hang_up" and first:
            return
        elif fault == "bad_byte" or (fault == "bad_byte_once" and first):
            middle = len(body) // 2
            bad = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            self.whole(site, bad, head)
        elif fault == "coded_once" and first:
            self.whole(site, body, head | {"Content_Encoding": "gzip"})
        elif fault == "unknown_length_cut" and first:
            self.send(200, Content_Length=None)
            self.wfile.write(body[: len(body) // 2])
        elif first and fault in HALVED:
            self.whole(site, body, head, len(body) * 6 // 10)
            self.wfile.flush()
            if fault == "stall":
                time.sleep(0.8)
            if fault == "reset":
                linger = struct.pack("ii", 1, 0)  # the kernel resets at close
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
        else:
            self.rest(site, fault, body, head, tag)

    def whole(self, site, body, head, stop=None):
        self.send(200, body, **head)
        size = 2**16 if site.slow else len(body)
        for k in range(0, len(body[:stop]), size):
            self.wfile.write(body[:stop][k : k + size])
            time.sleep(site.slow)
            with site.lock:
                site.sent += len(body[:stop][k : k + size])

    def chunked(self, body, head, *, whole):
        self.send(200, Content_Length=None, Transfer_Encoding="chunked", **head)
        middle = len(body) // 2
        for part in (body[:middle], body[middle:]) if whole else (body[:middle],):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if whole:
            self.wfile.write(b"0\r\n\r\n")

    def rest(self, site, fault, body, head, tag):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == tag
        if match is None or not same or fault == "range_ignored":
            self.whole(site, body, head)
            return
        start = int(match[1])
        if fault == "no_such_range":
            self.send(416, Content_Range=f"bytes */{start}")
            return
        said = start - 1 if fault == "wrong_range" else start
        where = f"bytes {said}-{len(body) - 1}/{len(body)}"
        self.send(206, body[start:], Content_Range=where, **head)
        if fault == "doubled_range":
            self.wfile.write((body[start - 50 : start] + body[start:])[:-50])
            return
        if site.slow:
            for k in range(start, len(body), 2**16):
                self.wfile.write(body[k : k + 2**16])
                time.sleep(site.slow)
        else:
            self.wfile.write(body[start:])
        with site.lock:
            site.sent += len(body) - start


class Site(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.sent, self.busiest, self.open = 0, 0, set()
        self.times, self.faults, self.files = {}, {}, {}
        self.answers, self.slow, self.later, self.tap_faults = None, 0, 0.0, []
        self.refusal = votable((), (), "ERROR", "no such column: <i>x</i>")
        self.asked = []
        self.root = f"http://127.0.0.1:{self.server_address[1]}"

    def table(self, asked):
        self.asked.append(asked)
        if self.answers is not None:
            return self.answers
        names = ("logical_identifier_short", "version_id", "download_path")
        rows = []
        for key in self.files:
            name, version = key.split("::")
            rows.append((name, version, f"/distribution/getProduct?id={key}"))
        return votable(names, [*rows, rows[-1]])

    def handle_error(self, *_):
        pass

    def settings(self, **given):
        fixed = {
            "tap_url": f"{self.root}/psa-tap/tap",
            "tap_fallback_urls": (),
            "allowed_hosts": ("127.0.0.1",),
            "https_only": False,
            "max_parallel_per_host": 4,
            "read_timeout_s": 0.4,
            "stall_window_s": 0.2,
            "retries": 3,
            "backoff_s": 0.01,
            "backoff_max_s": 0.05,
        }
        return ArchiveSettings(**(fixed | given))


@pytest.fixture
def site():
    server = Site()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def packed(label, data, stem):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{stem}.tab", data)
        file.writestr(f"{stem}.xml", label)
    return stream.getvalue()


def stem(k):
    start = f"201804{1 + k // 24:02d}t{k % 24:02d}0203"
    return f"nmd_cal_sc_so_{start}-{start[:-4]}1203-a-i-134"


def test_fetch__200_products_30_percent_faults(site, tmp_path, small_product):
    n = 200
    for k in range(n):
        site.files[f"{stem(k)}::3.0"] = packed(*small_product(stem(k)))
    keys = list(site.files)
    kinds = list(FAULTS)
    site.faults = {keys[k]: kinds[(k // 3) % len(kinds)] for k in range(0, 180, 3)}
    assert len(site.faults) == 60
    assert set(site.faults.values()) == set(FAULTS)
    bodies = dict(site.files)
    for key, fault in site.faults.items():
        if fault == "wrong_product":
            site.files[key] = bodies[keys[1]]
    rows = fetch(tmp_path, order=134, settings=site.settings())
    assert len(rows) == n
    assert 2 <= site.busiest <= 4
    for row in rows:
        key = f"{row.name}::{row.version}"
        rule = FAULTS.get(site.faults.get(key, ""))
        if rule is None:
            assert row.state == "done", row
            assert Path(row.path).read_bytes() == bodies[key]
        else:
            assert (row.state, row.rule, row.path) == ("failed", rule, None), row
    zips = {p.name for p in tmp_path.glob("*.zip")}
    assert len(zips) == sum(row.state == "done" for row in rows)
    assert {p.name for p in tmp_path.iterdir()} == zips | {"fetched.jsonl"}

    before = dict(site.times)
    site.faults.clear()
    site.files.update(bodies)
    again = fetch(tmp_path, order=134, settings=site.settings())
    assert {row.state for row in again} == {"done", "present"}
    assert sum(row.state == "present" for row in again) == len(zips)
    assert sum(site.times[k] == before[k] for k in keys) == len(zips)


def test_download__a_server_that_only_drips_is_left(site, tmp_path):
    site.files["a"], site.faults["a"] = b"PK\x03\x04" + bytes(1000), "drip_on"
    with pytest.raises(ArchiveError) as caught:
        download(f"{site.root}/?id=a", tmp_path / "a.zip", site.settings(retries=1))
    # bytes come all the time, so it is not the wait for one that ends this
    assert caught.value.rule == "download.stalled"
    assert re.search(r"only \d+ bytes a second", str(caught.value))
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("fault", ["busy_once", "busy_until_date"])
def test_download__waits_as_long_as_the_server_says(site, tmp_path, fault, monkeypatch):
    waits, sleep, mine = [], time.sleep, threading.get_ident()

    def record(seconds):
        # the server sleeps too, and so may threads of other tests
        (waits.append if threading.get_ident() == mine else sleep)(seconds)

    monkeypatch.setattr("time.sleep", record)
    site.files["a"], site.faults["a"] = b"PK\x03\x04", fault
    site.later = 1.0 if fault == "busy_once" else 2.0  # a date is cut to the second
    settings = site.settings(backoff_max_s=5.0)
    download(f"{site.root}/?id=a", tmp_path / "a.zip", settings)
    (wait,) = waits
    assert wait == 1.0 if fault == "busy_once" else 0.0 < wait <= 2.0


def test_download__resumes_without_sending_again(site, tmp_path):
    body = b"PK\x03\x04" + bytes(2_000_000)
    site.files["a"], site.faults["a"] = body, "cut"
    url, target = f"{site.root}/get?id=a", tmp_path / "a.zip"
    with pytest.raises(ArchiveError) as caught:
        download(url, target, site.settings(retries=0))
    assert caught.value.rule == "download.truncated"
    assert not target.exists()
    download(url, target, site.settings(), size=len(body))
    assert target.read_bytes() == body
    assert site.sent <= 1.1 * len(body)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_download__killed_client_goes_on(site, tmp_path):
    """Kill a download again and again; what came is kept, and sent once."""
    body = b"PK\x03\x04" + bytes(range(256)) * 20_000
    site.files["a"], site.slow = body, 0.01
    target, part = tmp_path / "a.zip", tmp_path / "a.zip.part"
    code = (
        "import sys; from tgo_spectra.archive import ArchiveSettings\n"
        "from tgo_spectra.archive.download import download\n"
        "settings = ArchiveSettings(allowed_hosts=('127.0.0.1',), https_only=False)\n"
        "download(sys.argv[1], sys.argv[2], settings)\n"
    )
    call = [sys.executable, "-c", code, f"{site.root}/get?id=a", str(target)]
    for stop in (0.2, 0.5, 0.8):
        client = subprocess.Popen(call)
        while not (part.exists() and part.stat().st_size > stop * len(body)):
            assert client.poll() is None
            time.sleep(0.005)
        client.kill()
        client.wait()
        assert not target.exists()
        have = part.read_bytes()
        assert body.startswith(have)
    before, site.slow = site.sent, 0
    download(f"{site.root}/get?id=a", target, site.settings())
    assert target.read_bytes() == body
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    assert site.sent - before <= len(body) - len(have)


def test_fetch__killed_in_the_middle(site, tmp_path, small_product):
    for k in range(30):
        site.files[f"{stem(k)}::3.0"] = packed(*small_product(stem(k)))
    site.slow = 0.02
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[archive]\ntap_url = "{site.root}/psa-tap/tap"\ntap_fallback_urls = []\n'
        'allowed_hosts = ["127.0.0.1"]\nhttps_only = false\n'
    )
    out = tmp_path / "out"
    given = ["fetch", "--out", str(out), "--settings", str(settings)]
    for n in (3, 12):
        client = subprocess.Popen([sys.executable, "-m", "tgo_spectra.cli", *given])
        while len(list(out.glob("*.zip"))) < n:
            assert client.poll() is None
            time.sleep(0.002)
        client.kill()
        client.wait()
        for path in out.glob("*.zip"):
            assert path.read_bytes() == site.files[f"{path.stem[:-4]}::3.0"]
    site.slow = 0
    rows = fetch(out, settings=load_settings(settings))
    assert {row.state for row in rows} == {"done", "present"}
    assert sum(row.state == "present" for row in rows) >= 12
    assert {p.suffix for p in out.iterdir()} == {".zip", ".jsonl"}
    assert len(list(out.glob("*.zip"))) == 30


def test_command_line(site, tmp_path, small_product, capsys):
    for k in range(3):
        site.files[f"{stem(k)}::3.0"] = packed(*small_product(stem(k)))
    site.faults[f"{stem(1)}::3.0"] = "missing"
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[archive]\ntap_url = "{site.root}/psa-tap/tap"\ntap_fallback_urls = []\n'
        'allowed_hosts = ["127.0.0.1"]\nhttps_only = false\nretries = 0\n'
    )
    out = tmp_path / "out"
    given = ["fetch", "--out", str(out), "--settings", str(settings)]
    assert main([*given, "--dry-run"]) == 0
    captured = capsys.readouterr()
    listed = captured.out.splitlines()
    assert [line.split()[0] for line in listed] == list(site.files)
    assert "3 products" in captured.err
    assert not out.exists()
    assert not site.times
    assert main([*given, "--order", "136"]) == 0
    assert capsys.readouterr() == ("0 done, 0 present, 0 failed\n", "")
    assert main([*given, "--order", "134"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "2 done, 0 present, 1 failed\n"
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"failed {stem(1)}: ")
    assert "404" in captured.err
    site.faults.clear()
    assert main(given) == 0
    assert capsys.readouterr().out == "1 done, 2 present, 0 failed\n"
    assert main(["index", str(out), "--catalogue", str(tmp_path / "c.jsonl")]) == 0
    # no such server: quickly, in words, without a trace
    settings.write_text(
        '[archive]\ntap_url = "https://nowhere.invalid/tap"\n'
        'tap_fallback_urls = []\nallowed_hosts = ["nowhere.invalid"]\n'
        "backoff_s = 0.01\n"
    )
    capsys.readouterr()
    assert main([*given, "--dry-run"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: https://nowhere.invalid/tap")
    assert "no network" in captured.err
    assert captured.err.count("\n") == 1
    for wrong in (["--channel", "xx"], ["--start", "x"], ["--latitude", "9", "1"]):
        assert main([*given, *wrong]) == 1
        assert capsys.readouterr().err.startswith("error: ")
    for wrong in (["--order", "x"], ["--ls", "1"], ["--settings", "none.toml"]):
        assert main([*given, *wrong]) == 64


def test_download__wrong_checksum_is_refused(site, tmp_path):
    site.files["a"] = b"PK\x03\x04 something"
    with pytest.raises(ArchiveError) as caught:
        download(
            f"{site.root}/?id=a", tmp_path / "a.zip", site.settings(), md5="0" * 32
        )
    assert caught.value.rule == "download.checksum_mismatch"
    assert site.times["a"] == 2
    assert not list(tmp_path.iterdir())


def test_download__two_at_once_are_one(site, tmp_path):
    site.files["a"] = b"PK\x03\x04" + bytes(100_000)
    call = (f"{site.root}/?id=a", tmp_path / "a.zip", site.settings())
    threads = [threading.Thread(target=download, args=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.times["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"offline": True}, "download.offline"),
        ({"https_only": True}, "download.host"),
        ({"max_product_bytes": 50}, "download.too_large"),
    ],
)
def test_download__settings_forbid(site, tmp_path, given, rule):
    site.files["a"] = b"PK\x03\x04" + bytes(1000)
    with pytest.raises(ArchiveError) as caught:
        download(f"{site.root}/?id=a", tmp_path / "a.zip", site.settings(**given))
    assert caught.value.rule == rule
    assert not list(tmp_path.iterdir())


VIEW = ("logical_identifier_short", "version_id", "download_path")


@pytest.mark.parametrize(
    ("answer", "rule", "said"),
    [
        (votable((), (), "ERROR", "no such table"), "search.refused", "no such table"),
        (b"<html>login</html>", "search.answer", "<html>login"),
        (b"", "search.answer", "VOTable"),
        (b"a,b\n1,2\n", "search.answer", "VOTable"),
        (bytes(range(256)), "search.answer", "VOTable"),
        (votable(("a", "version_id"), [("1", "2")]), "search.answer", "download_path"),
        (votable(VIEW, [("x", "1.0", "/a")])[:-60], "search.answer", "VOTable"),
        (votable((), ()), "search.answer", "results table"),
        (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
         "search.answer", "entities"),
        (votable(VIEW, [("x", "1.0", "/a")] * 7), "search.overflow", "7"),
        (votable(VIEW, [("x", "1.0", "/a")] * 2, last="OVERFLOW"),
         "search.overflow", "2"),
        (votable(VIEW, [("x", "1.0", "/a")] * 2, "OVERFLOW"), "search.overflow", "2"),
    ],
)  # fmt: skip
def test_search__bad_answers(site, answer, rule, said):
    site.answers = answer
    settings = site.settings(maxrec=7, tap_fallback_urls=(f"{site.root}/other/tap",))
    with pytest.raises(ArchiveError) as caught:
        search(settings=settings)
    assert caught.value.rule == rule
    assert said in str(caught.value)
    # a refusal and a cut answer are answers; for no table another service is asked
    assert len(site.asked) == (2 if rule == "search.answer" else 1)
    assert site.asked[0]["MAXREC"] == ["7"]


@pytest.mark.parametrize(
    ("faults", "n"),
    [
        (["busy", "busy", "busy"], 4),
        (["cut"], 2),
        (["slow"], 2),
        (["moved"], 2),
        (["text/plain"], 1),
    ],
)
def test_search__faults_that_pass(site, faults, n):
    site.files[f"{stem(0)}::3.0"] = b""
    site.tap_faults = list(faults)
    assert [r.name for r in search(settings=site.settings())] == [stem(0)]
    assert len(site.asked) == n


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("busy", "download.server_busy"),
        ("cut", "download.truncated"),
        ("slow", "download.stalled"),
        ("moved", "download.redirect"),
        ("refused", "search.refused"),
    ],
)
def test_search__faults_that_stay(site, fault, rule):
    site.files[f"{stem(0)}::3.0"] = b""
    site.tap_faults = [fault] * 20
    with pytest.raises(ArchiveError) as caught:
        search(settings=site.settings(retries=1))
    assert caught.value.rule == rule
    assert len(site.asked) == {"refused": 1, "moved": 6}.get(fault, 2)
    if fault == "refused":
        assert "no such column" in str(caught.value)


def test_search__next_service(site, caplog):
    site.files[f"{stem(0)}::3.0"] = b""
    dead = "http://127.0.0.1:9"
    settings = site.settings(
        tap_url=f"{dead}/tap", tap_fallback_urls=(f"{site.root}/tap/",), retries=0
    )
    found = search(settings=settings)
    assert found[0].url.startswith(f"{site.root}/distribution/")
    assert dead in caplog.text


def test_search__version_as_a_number_and_no_address(site):
    rows = [(stem(0), "3.0", ""), (stem(1), "3.5", "/get?id=1")]
    site.answers = votable(VIEW, rows, kind="double")
    found = search(settings=site.settings())
    assert [(r.version, r.url) for r in found] == [
        ("3.0", ""),
        ("3.5", f"{site.root}/psa-tap/get?id=1"),
    ]


def test_search__without_pyvo(site, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvo.dal", None)
    with pytest.raises(ArchiveError, match="pip install") as caught:
        search(settings=site.settings())
    assert caught.value.rule == "search.no_pyvo"
    assert not site.asked


def test_search__newest_and_conditions(site):
    for k, version in ((0, "3.0"), (0, "4.9"), (0, "4.10"), (30, "3.0")):
        site.files[f"{stem(k)}::{version}"] = b""
    settings = site.settings()
    assert [r.version for r in search(settings=settings)] == ["4.10", "3.0"]
    found = search(start="2018-04-01", stop="2018-04-01T12:00", settings=settings)
    assert [r.name for r in found] == [stem(0)]
    assert not search(order=136, settings=settings)
    assert not search(ls=(0, 90), settings=settings)
    assert len(search(ls=(150, 170), version="3.0", settings=settings)) == 2
    assert "subinstrument_name = 'SO'" in site.asked[0]["QUERY"][0]
    lid = f"urn:esa:psa:em16_tgo_nmd:data_calibrated:{stem(0)}"
    site.answers = votable(("granule_uid", "access_url"), [(f"{lid}:3.0", "")])
    assert search(latitude=(0, 9), settings=settings)[0].url == ""


def test_settings__file(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[archive]\nretries = 2\n")
    assert load_settings(file).retries == 2
    file.write_text("[archive]\nretrys = 2\n")
    with pytest.raises(ArchiveError, match="'retries'"):
        load_settings(file)
    file.write_text("[archive]\nretries = 'x'\n")
    with pytest.raises(ArchiveError, match="retries"):
        load_settings(file)
