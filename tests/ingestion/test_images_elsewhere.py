"""Images on a server: what it keeps to itself is not absent, and its answer is told."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.sources import sources_of
from uniformaly_pipeline.features.encoder import _ImageTensors
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.folder import classes
from uniformaly_pipeline.ingestion.manifest import ImageRecord, build_manifest


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(buffer, "PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers /<status>/anything with that status, and a picture where it is 200.

    Where it is ``cut``, it begins to give a picture and hangs up.
    """

    def do_GET(self) -> None:
        asked = self.path.split("/")[1]
        status = 200 if asked == "cut" else int(asked)
        content = picture() if status == 200 else b"<html>no</html>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) * (2 if asked == "cut" else 1)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "words"), [(401, "Unauthorized"), (403, "Forbidden"), (503, "Service Unavailable")]
)
def test_a_server_that_refuses_is_quoted(url: str, status: int, words: str) -> None:
    folder = ImageFolder(f"{url}/{status}/data")
    reading = _ImageTensors(folder, ["a.png"], Preprocessing(), {}, (14, 14), {}, {})
    record = ImageRecord("a.png", "nut", "train")
    for ask in (
        folder.exists,
        lambda: classes(folder),
        lambda: folder.files("nut/ground_truth"),
        folder.files_below,
        lambda: build_manifest(folder, [record]),
        lambda: folder.read_image("a.png"),
        lambda: folder.read_mask("a.png"),
        lambda: reading.read(0),
        lambda: sources_of(f"{folder.root}/a.png"),
        lambda: Detector.load(f"{folder.root}/a.safetensors"),
    ):
        with pytest.raises(InputError) as error:
            ask()
        assert f"cannot be read (the server answers {status} {words})" in str(error.value)


def test_a_transfer_that_breaks_off_is_no_damage(url: str) -> None:
    """The first one is told: the others would break off as well."""
    folder = ImageFolder(f"{url}/cut/data")
    reading = _ImageTensors(folder, ["0.png"], Preprocessing(), {}, (14, 14), {}, {})
    records = [ImageRecord(f"{number}.png", "nut", "train") for number in range(40)]
    masked = ImageRecord("0.png", "nut", "test", "hole", "0.png")
    for ask in (
        lambda: build_manifest(folder, records),
        lambda: build_manifest(folder, [masked]),
        lambda: folder.read_image("0.png"),
        lambda: reading.read(0),
        lambda: Detector.fit([f"{folder.root}/{n}.png" for n in range(9)], backbone="untrained"),
    ):
        with pytest.raises(InputError) as error:
            ask()
        assert str(error.value) == (
            f"{folder.root}/0.png cannot be read (the transfer broke off): check the network and "
            "run again"
        )


@pytest.mark.parametrize("refusal", [PermissionError("Access Denied"), OSError(5, "AccessDenied")])
def test_what_is_refused_on_the_way_is_told_with_the_url(
    bucket: str, refusal: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the key nor the number is that of this machine's disk."""
    folder = ImageFolder(f"{bucket}/data")
    reading = _ImageTensors(folder, ["a.png"], Preprocessing(), {}, (14, 14), {}, {})

    def refuse(_: str) -> bytes:
        raise refusal

    monkeypatch.setattr(folder._locate()[0], "cat_file", refuse)
    with pytest.raises(InputError) as error:
        reading.read(0)
    assert str(error.value).startswith(f"{bucket}/data/a.png cannot be read ("), error.value
    if isinstance(refusal, PermissionError):
        words = "(Access Denied): check the key, and what it is allowed to do there"
        assert str(error.value).endswith(words)


def test_what_is_not_there_is_absent(url: str) -> None:
    folder = ImageFolder(f"{url}/404/data")
    assert not folder.exists()
    assert folder.files("nut/ground_truth") == []
    with pytest.raises(InputError, match="does not exist"):
        classes(folder)
    with pytest.raises(InputError, match=r"a\.png is gone"):
        folder.read_image("a.png")


def test_a_server_that_is_down_is_told() -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/data cannot be read \(Cannot connect"):
        ImageFolder("http://127.0.0.1:9/data").exists()


def test_what_it_gives_is_read(url: str) -> None:
    folder = ImageFolder(f"{url}/200")
    assert folder.read_bytes("a.png") == picture()
    assert folder.read_image("a.png").size == (4, 4)


def test_a_bucket_that_is_not_there_is_named_with_its_protocol(bucket: str) -> None:
    folder = ImageFolder(f"{bucket}-gone/images")
    for ask in (folder.folders, folder.files_below, folder.exists, lambda: folder.is_file("a.png")):
        try:
            ask()
        except InputError as error:
            line = str(error)
            assert line.startswith(f"{bucket}-gone/images"), line
            assert line.endswith("make the bucket, or mend the address"), line
    with pytest.raises(InputError, match="make the bucket"):
        folder.folders()
