"""A manifest belongs to a root, and notices files replaced by others, wherever they lie."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from miniatures import make_cifar
from PIL import Image

from uniformaly_pipeline.datasets.manifest_dataset import ManifestDataset
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import ImageRecord, ManifestPlan, build_manifest

RECORDS = [ImageRecord("a.bmp", "x", "train"), ImageRecord("b.bmp", "x", "test", "dent", "m.bmp")]
FILES = ("a.bmp", "b.bmp", "m.bmp")


def picture(grey: int) -> bytes:
    """A BMP file: all of one size have equally many bytes."""
    buffer = BytesIO()
    Image.new("L", (8, 6), grey).save(buffer, "BMP")
    return buffer.getvalue()


def fill(root: Path, grey: int, time: int = 10**18) -> ImageFolder:
    root.mkdir(exist_ok=True)
    for name in FILES:
        (root / name).write_bytes(picture(grey))
        os.utime(root / name, ns=(time, time))
    return ImageFolder(str(root))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of all files opened, in order."""
    paths: list[str] = []
    original = ImageFolder.open

    def noted(folder: ImageFolder, path: str) -> Any:
        paths.append(path)
        return original(folder, path)

    monkeypatch.setattr(ImageFolder, "open", noted)
    return paths


def hashes(manifest: pd.DataFrame) -> list[str]:
    return [*manifest["content_hash"], *manifest["mask_hash"]]


def test_another_root_is_read_anew(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if names, sizes and all times are the same."""
    monkeypatch.setattr(ImageFolder, "fingerprint", lambda *_: "same")
    first, second = fill(tmp_path / "first", 200), fill(tmp_path / "second", 220)
    stored = ManifestDataset(filepath=str(tmp_path / "manifest.parquet"))
    stored.save(ManifestPlan(first, RECORDS))
    before = stored.load()
    assert set(before["root"]) == {first.root}
    opened.clear()
    stored.save(ManifestPlan(second, RECORDS))
    assert sorted(opened) == list(FILES)
    assert set(stored.load()["root"]) == {second.root}
    assert not set(hashes(stored.load())[:2]) & set(hashes(before))


def test_a_link_to_another_folder_is_another_root(tmp_path: Path, opened: list[str]) -> None:
    link = tmp_path / "link"
    link.symlink_to(fill(tmp_path / "first", 200).root)
    known = build_manifest(ImageFolder(str(link)), RECORDS)
    same = ImageFolder(str(tmp_path / "first"))
    opened.clear()
    build_manifest(same, RECORDS, known)
    assert opened == []
    link.unlink()
    link.symlink_to(fill(tmp_path / "second", 220).root)
    assert hashes(build_manifest(ImageFolder(str(link)), RECORDS, known)) != hashes(known)


@pytest.mark.parametrize("replace", [shutil.copyfile, os.replace])
def test_a_local_file_of_the_same_size_and_time_is_noticed(tmp_path: Path, replace: Any) -> None:
    folder = fill(tmp_path / "first", 200)
    known = build_manifest(folder, RECORDS)
    fill(tmp_path / "second", 220)
    replace(tmp_path / "second/a.bmp", tmp_path / "first/a.bmp")
    os.utime(tmp_path / "first/a.bmp", ns=(10**18, 10**18))
    changed = build_manifest(folder, RECORDS, known)
    assert (changed["content_hash"] != known["content_hash"]).tolist() == [True, False]


# --- over http ------------------------------------------------------------------------------------


@dataclass
class Site:
    """A web server that shows a folder, and which headers it sends."""

    folder: ImageFolder
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fill(tmp_path / "site", 200)
    headers: dict[str, str] = {}

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "Last-Modified":
                super().send_header(keyword, value)

        def end_headers(self) -> None:
            for keyword, value in headers.items():
                super().send_header(keyword, value)
            super().end_headers()

    handler = partial(Handler, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Site(ImageFolder(f"http://127.0.0.1:{server.server_port}"), headers)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("header", "before", "after"),
    [
        ("ETag", '"1"', '"2"'),
        ("etag", '"1"', '"2"'),
        (
            "Last-Modified",
            "Thu, 01 Jan 2026 00:00:00 GMT",
            "Thu, 01 Jan 2026 00:00:01 GMT",
        ),
        (
            "last-modified",
            "Thu, 01 Jan 2026 00:00:00 GMT",
            "Thu, 01 Jan 2026 00:00:01 GMT",
        ),
    ],
)
def test_a_remote_file_of_equal_size_is_noticed_by_tag_or_time(
    site: Site, tmp_path: Path, opened: list[str], header: str, before: str, after: str
) -> None:
    site.headers[header] = before
    known = build_manifest(site.folder, RECORDS)
    opened.clear()
    pd.testing.assert_frame_equal(build_manifest(site.folder, RECORDS, known), known)
    assert opened == [], "an unchanged file is not fetched again"
    fill(tmp_path / "site", 220)
    site.headers[header] = after
    assert not set(hashes(build_manifest(site.folder, RECORDS, known))) & set(hashes(known)) - {""}


def test_a_remote_file_with_neither_is_hashed(site: Site, tmp_path: Path) -> None:
    known = build_manifest(site.folder, RECORDS)
    pd.testing.assert_frame_equal(build_manifest(site.folder, RECORDS, known), known)
    assert known.loc[0, "fingerprint"] == f"sha256-{known.loc[0, 'content_hash']}"
    fill(tmp_path / "site", 220)
    assert not set(hashes(build_manifest(site.folder, RECORDS, known))) & set(hashes(known)) - {""}


# --- other file systems ---------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    for name in FILES:
        fs.pipe(f"/roots/{name}", picture(200))
    yield fs
    fs.rm("/roots", recursive=True)


MEMORY = ImageFolder("memory://roots")


def test_files_in_memory_are_known_by_their_time(memory: Any, opened: list[str]) -> None:
    known = build_manifest(MEMORY, RECORDS)
    opened.clear()
    build_manifest(MEMORY, RECORDS, known)
    assert opened == []
    memory.pipe("/roots/a.bmp", picture(220))
    build_manifest(MEMORY, RECORDS, known)
    assert opened == ["a.bmp"]


@pytest.mark.parametrize(
    "key", ["ETag", "etag", "LastModified", "last_modified", "mtime", "created", "Content-MD5"]
)
def test_marks_go_by_many_names(memory: Any, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    answer: dict[str, Any] = {"size": 7}
    monkeypatch.setattr(type(memory), "info", lambda *_, **__: answer)
    hashed = MEMORY.fingerprint("a.bmp")
    assert hashed.startswith("sha256-")
    answer[key] = None
    assert MEMORY.fingerprint("a.bmp") == hashed, "no mark"
    answer[key] = "one"
    assert MEMORY.fingerprint("a.bmp") == "7-one"


def test_a_listing_is_not_taken_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Object stores remember their listings: a long process asks anew."""
    forgotten = []
    fs = fsspec.filesystem("memory")
    monkeypatch.setattr(type(fs), "invalidate_cache", lambda *_: forgotten.append(True))
    MEMORY.relist()
    assert forgotten


# --- what nothing but the content tells -----------------------------------------------------------


def test_verify_reads_everything_and_names_what_changed(
    memory: Any, opened: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    known = build_manifest(MEMORY, RECORDS)
    for name in ("a.bmp", "m.bmp"):
        created = memory.store[f"/roots/{name}"].created
        memory.pipe(f"/roots/{name}", picture(220))
        memory.store[f"/roots/{name}"].created = created
    opened.clear()
    unnoticed = build_manifest(MEMORY, RECORDS, known)
    assert opened == []
    pd.testing.assert_frame_equal(unnoticed, known)
    with caplog.at_level(logging.INFO):
        found = build_manifest(MEMORY, RECORDS, known, verify=True)
    assert (found["content_hash"] != known["content_hash"]).tolist() == [True, False]
    (line,) = caplog.messages
    assert "a.bmp" in line
    assert "m.bmp" in line
    assert "b.bmp" not in line
    caplog.clear()
    with caplog.at_level(logging.INFO):
        build_manifest(MEMORY, RECORDS, found, verify=True)
    assert caplog.messages == ["memory://roots: 2 images verified, none changed unnoticed"]


def test_verify_reads_packed_images_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Arrays that this process has read already are not what lies on the disk."""
    layout: Any = LAYOUTS["cifar10"]
    images = layout.open_root(ImageFolder(str(make_cifar(tmp_path / "cifar", "cifar10"))))
    records = layout.read(images, ["airplane"], Split())
    known = build_manifest(images, records)
    monkeypatch.setattr(ImageFolder, "fingerprint", lambda *_: "same")
    images = layout.open_root(ImageFolder(images.root))
    known = build_manifest(images, records, known)
    batch = Path(images.root) / "data_batch_1"
    content = pickle.loads(batch.read_bytes())
    content["data"] = 255 - content["data"]
    batch.write_bytes(pickle.dumps(content, protocol=2))
    caplog.clear()
    changed = build_manifest(images, records, known, verify=True)
    assert (changed["content_hash"] != known["content_hash"]).sum() == 1
    assert "train/airplane/" in caplog.text


# --- what a root is called ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("https://me:secret@host/images/", "https://host/images"),
        ("memory://roots", "memory://roots"),
    ],
)
def test_the_root_holds_no_credentials(url: str, identity: str) -> None:
    assert ImageFolder(url).identity == identity


def test_queries_and_servers_tell_roots_apart_but_no_secret_is_kept() -> None:
    url = "https://host/images"
    assert ImageFolder(f"{url}?sig=secret").identity != ImageFolder(url).identity
    assert "secret" not in ImageFolder(f"{url}?sig=secret").identity
    memory = "memory://roots"
    one, two = (
        ImageFolder(memory, f'{{"client_kwargs": {{"endpoint_url": "http://{server}"}}}}').identity
        for server in ("one", "two")
    )
    assert one != two
    assert ImageFolder(memory, '{"key": "me", "secret": "x"}').identity == memory
