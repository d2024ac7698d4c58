"""Downloads survive bad connections and end with the right file, or with one clear line."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.download import fetch as fetch_module
from uniformaly_pipeline.ingestion.download.fetch import Source, fetch

DATA = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
CUT = 100_000


@dataclass
class Site:
    """A web server with one file, and how it behaves."""

    port: int = 0
    content: bytes = DATA
    etag: str | None = '"v1"'
    last_modified: str | None = None
    break_after: list[int] = field(default_factory=list)
    """Bytes after which the answers in turn end; later ones do not."""
    answers: list[int] = field(default_factory=list)
    """Status codes of the answers in turn, instead of the file."""
    knows_range: bool = True
    knows_if_range: bool = True
    range_off_by: int = 0
    """How far behind the byte asked for an answer begins."""
    length_off_by: int | None = 0
    """What to add to Content-Length; None sends none."""
    chunked: bool = False
    location: str | None = None
    on_request: Callable[[], None] = lambda: None
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/data.bin"

    def source(self, **changes: Any) -> Source:
        values = {"url": self.url, "name": "data.bin", "sha256": sha256(DATA)} | changes
        return Source(**values)

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.requests]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            site.requests.append(dict(self.headers))
            site.on_request()
            self.close_connection = True
            if site.answers:
                self.send_response(site.answers.pop(0))
                if site.location:
                    self.send_header("Location", site.location)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_file()

        def send_file(self) -> None:
            total = len(site.content)
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in {None, site.etag, site.last_modified}
            start = 0
            if wanted and site.knows_range and (same or not site.knows_if_range):
                start = int(wanted[1])
                if start >= total:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{total}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start += site.range_off_by
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            else:
                self.send_response(200)
            for name, value in (("ETag", site.etag), ("Last-Modified", site.last_modified)):
                if value is not None:
                    self.send_header(name, value)
            body = site.content[start:]
            if site.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            elif site.length_off_by is not None:
                self.send_header("Content-Length", str(len(body) + site.length_off_by))
            self.end_headers()
            cut = site.break_after.pop(0) if site.break_after else None
            self.wfile.write(body[:cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pauses() -> list[float]:
    """The pauses made, in seconds; nobody sleeps."""
    return []


def got(source: Source, folder: Path, pauses: list[float], **options: Any) -> bytes:
    """What was downloaded, after checking that nothing else is left."""
    path = fetch(source, folder, pause=pauses.append, timeout_s=5, **options)
    assert path == folder / source.name
    assert [entry.name for entry in folder.iterdir()] == [source.name]
    return path.read_bytes()


def refusal(source: Source, folder: Path, pauses: list[float], *mentioned: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch(source, folder, pause=pauses.append, timeout_s=5)
    message = str(caught.value)
    assert "\n" not in message
    for words in (source.url, *mentioned):
        assert words in message
    assert not (folder / source.name).is_file()


def part_of(folder: Path) -> Path:
    return folder / "data.bin.part"


# --- what works -----------------------------------------------------------------------------------


def test_a_file_is_downloaded_once(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    folder = tmp_path / "deep" / "folder"
    source = site.source(md5=hashlib.md5(DATA).hexdigest())
    assert got(source, folder, pauses) == DATA
    assert got(source, folder, pauses) == DATA
    assert site.ranges == [None]
    assert pauses == []


@pytest.mark.parametrize("chunked", [True, False])
def test_a_length_is_not_needed(
    site: Site, tmp_path: Path, pauses: list[float], chunked: bool
) -> None:
    site.chunked, site.length_off_by = chunked, None
    assert got(site.source(), tmp_path, pauses) == DATA


def test_a_file_without_checksum_is_taken_as_it_is(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    (tmp_path / "data.bin").write_bytes(b"mine")
    assert got(site.source(sha256=None), tmp_path, pauses) == b"mine"
    assert site.requests == []


@pytest.mark.parametrize("expected", [{}, {"sha256": sha256(DATA).upper()}])
def test_a_wrong_file_is_replaced(
    site: Site, tmp_path: Path, pauses: list[float], expected: dict[str, Any]
) -> None:
    (tmp_path / "data.bin").write_bytes(b"wrong")
    assert got(site.source(**expected), tmp_path, pauses) == DATA


def test_redirects_are_followed(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.answers, site.location = [302], "/elsewhere"
    assert got(site.source(), tmp_path, pauses) == DATA


def test_a_file_is_on_the_disk_before_it_gets_its_name(
    site: Site, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        refusal(site.source(), tmp_path, pauses, "cannot be saved", "Input/output error")
    # All of it had come: nothing is asked for again.
    assert got(site.source(), tmp_path, pauses) == DATA
    assert len(site.requests) == 1


# --- broken connections ---------------------------------------------------------------------------


@pytest.mark.parametrize("etag", ['"v1"', None])
def test_a_broken_download_goes_on_where_it_stopped(
    site: Site, tmp_path: Path, pauses: list[float], etag: str | None
) -> None:
    site.etag, site.break_after = etag, [CUT]
    assert got(site.source(), tmp_path, pauses) == DATA
    assert site.ranges == [None, f"bytes={CUT}-"]
    assert site.requests[1].get("If-Range") == etag
    assert pauses == [1.0]


def test_the_next_call_goes_on_where_the_last_stopped(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.etag, site.last_modified = 'W/"weak"', "Wed, 21 Oct 2015 07:28:00 GMT"
    site.break_after = [CUT] + [0] * 4
    refusal(site.source(), tmp_path, pauses, f"{CUT} of {len(DATA)} bytes", "run again")
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert part_of(tmp_path).read_bytes() == DATA[:CUT]
    assert got(site.source(), tmp_path, pauses) == DATA
    # A weak ETag does not promise the same bytes.
    assert site.requests[-1]["If-Range"] == site.last_modified


def test_only_attempts_that_get_nowhere_count(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.break_after = [20_000 for _ in range(14)]
    assert got(site.source(), tmp_path, pauses) == DATA
    assert set(pauses) == {1.0}


def test_a_broken_chunked_download_goes_on(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.chunked, site.break_after = True, [CUT]
    assert got(site.source(), tmp_path, pauses) == DATA
    assert len(site.requests) == 2


def test_a_server_without_ranges_starts_over(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.knows_range, site.break_after = False, [CUT, 2 * CUT]
    assert got(site.source(), tmp_path, pauses) == DATA
    assert len(site.requests) == 3


def test_a_piece_from_elsewhere_is_not_joined(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.range_off_by, site.break_after = 10, [CUT]
    assert got(site.source(sha256=None), tmp_path, pauses) == DATA
    assert site.ranges == [None, f"bytes={CUT}-", None]


def test_a_piece_that_nobody_asked_for_is_refused(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.answers = [206]
    refusal(site.source(), tmp_path, pauses, "a piece of the file")
    assert len(site.requests) == 1


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_file_that_changes_is_started_over(
    site: Site, tmp_path: Path, pauses: list[float], knows_if_range: bool
) -> None:
    site.content, site.etag, site.break_after = OTHER, '"v0"', [CUT]
    site.knows_if_range = knows_if_range

    def change() -> None:
        if len(site.requests) == 2:
            site.content, site.etag = DATA, '"v1"'

    site.on_request = change
    assert got(site.source(sha256=None), tmp_path, pauses) == DATA


def test_halves_that_nothing_ties_together_are_not_joined(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.etag, site.break_after = None, [CUT]
    assert got(site.source(sha256=None), tmp_path, pauses) == DATA
    assert site.ranges == [None, None]


@pytest.mark.parametrize("notes", [None, "not json", "[]", '{"url": "http://other/"}'])
def test_a_part_of_unknown_origin_is_not_used(
    site: Site, tmp_path: Path, pauses: list[float], notes: str | None
) -> None:
    part_of(tmp_path).write_bytes(OTHER[:CUT])
    if notes is not None:
        (tmp_path / "data.bin.part.json").write_text(notes)
    assert got(site.source(), tmp_path, pauses) == DATA
    assert site.ranges == [None]


@pytest.mark.parametrize(
    ("part", "requests"), [(DATA, 0), (DATA + b"too much", 2), (DATA[:CUT], 1), (b"", 1)]
)
def test_an_interrupted_end_is_made_up_for(
    site: Site, tmp_path: Path, pauses: list[float], part: bytes, requests: int
) -> None:
    part_of(tmp_path).write_bytes(part)
    notes = {"url": site.url, "etag": site.etag, "total": len(DATA)}
    (tmp_path / "data.bin.part.json").write_text(json.dumps(notes))
    assert got(site.source(), tmp_path, pauses) == DATA
    assert len(site.requests) == requests


def test_an_interruption_keeps_what_is_there(
    site: Site, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = fetch_module._read

    def interrupted(response: Any, count: int) -> bytes:
        if part_of(tmp_path).exists() and interrupted.calls == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        interrupted.calls += 1  # type: ignore[attr-defined]
        return read(response, 1000)

    interrupted.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(fetch_module, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(site.source(), tmp_path, pause=pauses.append)
    kept = part_of(tmp_path).read_bytes()
    assert 0 < len(kept) <= 2000 and DATA.startswith(kept)
    monkeypatch.setattr(fetch_module, "_read", read)
    assert got(site.source(), tmp_path, pauses) == DATA
    assert site.ranges == [None, f"bytes={len(kept)}-"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(
    site: Site, tmp_path: Path, pauses: list[float], status: int
) -> None:
    site.answers = [status, status]
    assert got(site.source(), tmp_path, pauses) == DATA
    assert pauses == [1.0, 2.0]
    site.answers = [status] * 5
    refusal(site.source(name="other"), tmp_path, pauses, str(status))


# --- lies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [{}, {"sha256": None}])
def test_a_length_that_is_too_long_is_noticed(
    site: Site, tmp_path: Path, pauses: list[float], expected: dict[str, Any]
) -> None:
    site.length_off_by = 1000
    refusal(site.source(**expected), tmp_path, pauses, "broke off", str(len(DATA) + 1000))
    assert len(pauses) == 4


def test_a_length_that_is_too_short_is_noticed(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.length_off_by = -1000
    refusal(site.source(), tmp_path, pauses, "expected sha256")
    assert list(tmp_path.iterdir()) == []
    assert pauses == []


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_leaves_nothing(
    site: Site, tmp_path: Path, pauses: list[float], kind: str
) -> None:
    site.content = OTHER
    expected, found = (hashlib.new(kind, content).hexdigest() for content in (DATA, OTHER))
    source = site.source(**{"sha256": None, kind: expected})
    refusal(source, tmp_path, pauses, expected, found, "try again")
    assert list(tmp_path.iterdir()) == []
    site.content = DATA
    assert got(source, tmp_path, pauses) == DATA


# --- what cannot work -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusing_server_is_not_asked_again(
    site: Site, tmp_path: Path, pauses: list[float], status: int
) -> None:
    site.answers = [status]
    refusal(site.source(), tmp_path, pauses, str(status))
    assert len(site.requests) == 1


def test_a_server_that_is_not_there(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/data.bin"
    refusal(Source(url, "data.bin"), tmp_path, pauses, "refused", "check")
    assert pauses == []


def test_a_name_that_is_not_known(
    site: Site, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("no_proxy", "*")
    refusal(Source("http://nowhere.invalid/a", "a"), tmp_path, pauses, "name of the server")


def test_a_server_that_goes_away_is_asked_again(
    site: Site, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.break_after = [CUT]
    connect = socket.create_connection
    failures = [False, True, True, False]

    def flaky(*args: Any, **options: Any) -> Any:
        if failures.pop(0):
            raise ConnectionRefusedError(111, "Connection refused")
        return connect(*args, **options)

    monkeypatch.setattr(socket, "create_connection", flaky)
    assert got(site.source(), tmp_path, pauses) == DATA
    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,a"])
def test_redirects_to_anything_but_http_are_not_followed(
    site: Site, tmp_path: Path, pauses: list[float], location: str
) -> None:
    site.answers, site.location = [302], location
    refusal(site.source(sha256=None), tmp_path, pauses, "redirects")
    assert len(site.requests) == 1


def test_redirects_in_a_circle_end(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.answers, site.location = [302] * 50, "/data.bin"
    refusal(site.source(), tmp_path, pauses, "circle")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/a", "data:,a", "/etc/passwd", "http://", "http://[a"]
)
def test_only_web_addresses_are_taken(tmp_path: Path, pauses: list[float], url: str) -> None:
    refusal(Source(url, "a"), tmp_path, pauses, "http or https")


def test_an_address_with_blanks_is_refused(tmp_path: Path, pauses: list[float]) -> None:
    refusal(Source("http://127.0.0.1/a b", "a"), tmp_path, pauses, "valid address")


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "/a", "a/b", "a\\b", "C:a", "a\n"])
def test_only_plain_file_names_are_taken(tmp_path: Path, pauses: list[float], name: str) -> None:
    refusal(Source("http://127.0.0.1/a", name), tmp_path, pauses, "plain file name")


def test_a_folder_that_cannot_be_made(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    (tmp_path / "file").write_bytes(b"")
    refusal(site.source(), tmp_path / "file" / "folder", pauses, "cannot be saved")
    (tmp_path / "data.bin").mkdir()
    refusal(site.source(), tmp_path, pauses, "is a folder")


def test_a_disk_that_is_too_small_is_noticed_before(
    site: Site, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = (10, 0, len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": usage[2]}))
    refusal(site.source(), tmp_path, pauses, "does not fit")
    assert list(tmp_path.iterdir()) == []


# --- passwords ------------------------------------------------------------------------------------


def test_a_password_goes_to_its_server_and_nowhere_else(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = site.url.replace("://", "://me:hu%40sh@")
    site.break_after = [CUT]
    kept: list[str] = []
    with caplog.at_level("INFO"):
        path = fetch(
            site.source(url=secret),
            tmp_path,
            pause=lambda _: kept.append((tmp_path / "data.bin.part.json").read_text()),
        )
    assert path.read_bytes() == DATA
    assert {headers["Authorization"] for headers in site.requests} == {basic("me", "hu@sh")}
    assert "hu%40sh" not in caplog.text + kept[0]
    site.answers = [403]
    with pytest.raises(InputError) as error:
        fetch(site.source(url=secret), tmp_path / "other")
    assert str(error.value).startswith(f"{site.url} cannot be downloaded")


def test_a_password_is_not_sent_on_to_where_a_server_redirects(site: Site, tmp_path: Path) -> None:
    site.answers, site.location = [302], site.url
    fetch(site.source(url=site.url.replace("://", "://me:hush@")), tmp_path)
    assert ["Authorization" in headers for headers in site.requests] == [True, False]


# --- without a checksum ---------------------------------------------------------------------------


def test_what_is_not_as_it_should_be_is_removed_and_named(site: Site, tmp_path: Path) -> None:
    source = site.source(sha256=None, find_fault=lambda path: "it is odd")
    refusal(source, tmp_path, [], f"{site.url} is not the file expected (it is odd)")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_of_an_earlier_run_is_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"<html>")

    def find_fault(path: Path) -> str | None:
        return None if path.read_bytes() == DATA else "it is a web page"

    fetch(site.source(sha256=None, find_fault=find_fault), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == DATA
