"""Search and download against a server on this machine that misbehaves on purpose."""

from __future__ import annotations

import io
import re
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tgo_spectra.archive import ArchiveSettings, fetch, load_settings, search
from tgo_spectra.archive.download import download
from tgo_spectra.errors import ArchiveError

# Fault -> rule of the refusal; None: it passes, and the file must arrive.
FAULTS = {
    "cut": None,
    "cut_no_validator": None,
    "range_ignored": None,
    "wrong_range": None,
    "changed": None,
    "unknown_length_cut": None,
    "bad_byte_once": None,
    "bad_byte": "zip.damaged",
    "page_once": None,
    "page": "download.wrong_content",
    "busy_once": None,
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
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        fixed = {"Content-Length": str(len(body))}
        for key, value in (fixed | headers).items():
            if value is not None:
                self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def do_GET(self):
        site = self.server
        with site.lock:
            site.busy += 1
            site.most = max(site.most, site.busy)
        try:
            self.answer(site)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.close_connection = True
            with site.lock:
                site.busy -= 1

    def answer(self, site):
        parts = urlsplit(self.path)
        asked = parse_qs(parts.query)
        if parts.path.endswith("/tap/sync"):
            body = site.table(asked)
            self.send(200, body, Content_Type="text/csv")
            self.wfile.write(body)
            return
        key = asked["id"][0]
        with site.lock:
            site.times[key] = number = site.times.get(key, 0) + 1
        fault, body = site.faults.get(key, ""), site.files[key]
        self.serve(site, key, fault, body, number)

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
            self.send(503, b"later", Retry_After="0")
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
        else:
            self.rest(site, fault, body, head, tag)

    def whole(self, site, body, head, stop=None):
        self.send(200, body, **head)
        self.wfile.write(body[:stop])
        with site.lock:
            site.sent += len(body[:stop])

    def rest(self, site, fault, body, head, tag):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == tag
        if match is None or not same or fault == "range_ignored":
            self.whole(site, body, head)
            return
        start = int(match[1])
        said = start - 1 if fault == "wrong_range" else start
        where = f"bytes {said}-{len(body) - 1}/{len(body)}"
        self.send(206, body[start:], Content_Range=where, **head)
        self.wfile.write(body[start:])
        with site.lock:
            site.sent += len(body) - start


class Site(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.busy = self.most = self.sent = 0
        self.times, self.faults, self.files = {}, {}, {}
        self.answers = None
        self.asked = []
        self.root = f"http://127.0.0.1:{self.server_address[1]}"

    def table(self, asked):
        self.asked.append(asked)
        if self.answers is not None:
            return self.answers
        lines = ["logical_identifier_short,version_id,download_path"]
        for key in self.files:
            name, version = key.split("::")
            lines.append(f"{name},{version},/distribution/getProduct?id={key}")
        return "\r\n".join([*lines, lines[-1]]).encode()

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
    assert site.most <= 4

    before = dict(site.times)
    site.faults.clear()
    site.files.update(bodies)
    again = fetch(tmp_path, order=134, settings=site.settings())
    assert {row.state for row in again} == {"done", "present"}
    assert sum(row.state == "present" for row in again) == len(zips)
    assert sum(site.times[k] == before[k] for k in keys) == len(zips)


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


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (b'<V><INFO name="QUERY_STATUS" value="ERROR">no such</INFO></V>',
         "search.refused"),
        (b"<html>login</html>", "search.answer"),
        (b"a,b\n1,2\n", "search.answer"),
        (b"logical_identifier_short,version_id,download_path\nx,1.0\n",
         "search.answer"),
        (b"granule_uid,access_url\n" + b"x:3.0,\n" * 7, "search.overflow"),
    ],
)  # fmt: skip
def test_search__bad_answers(site, answer, rule):
    site.answers = answer
    with pytest.raises(ArchiveError) as caught:
        search(settings=site.settings(maxrec=7))
    assert caught.value.rule == rule


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
    site.answers = (
        b"granule_uid,access_url\n"
        b"urn:esa:psa:em16_tgo_nmd:data_calibrated:" + stem(0).encode() + b":3.0,\n"
    )
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
