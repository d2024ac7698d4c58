"""Published data sets fetched from a local server, and what is said where that cannot be."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from miniatures import make_mvtec, pack

from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.ingestion.download import sources
from uniformaly_pipeline.ingestion.download.fetch import Source
from uniformaly_pipeline.ingestion.download.sources import PUBLICATIONS, Publication

Parameters = dict[str, Any]
NAME = "mvtec_anomaly_detection.tar.xz"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without writing to the terminal."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which its files are served."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def published(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Publishes a miniature of MVTec AD under a checksum."""
    folder, url = server
    archive = pack(make_mvtec(tmp_path / "made"), folder / NAME)

    def publish(sha256: str | None = None, name: str = NAME) -> None:
        right = hashlib.sha256(archive.read_bytes()).hexdigest()
        source = Source(f"{url}/{name}", NAME, sha256=sha256 or right)
        publication = Publication("terms of the test", "https://example.org", (source,))
        monkeypatch.setitem(sources.PUBLICATIONS, "mvtec", publication)

    return publish


def settings(root: Path | str, name: str = "mvtec") -> Parameters:
    return {"dataset": name, "datasets": {name: {"root": str(root)}}}


def error_line(project: Any, parameters: Parameters) -> str:
    """The message that ends a download."""
    with pytest.raises(CommandError) as error:
        project.run("download", **parameters)
    message = error.value.format_message()
    assert "\n" not in message
    return message


def test_fetches_checks_and_unpacks(
    project: Any, published: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published()
    root = tmp_path / "raw"
    with caplog.at_level("WARNING"):
        project.run("download", **settings(root))
    assert "terms of the test" in caplog.text
    assert (root / "mvtec_anomaly_detection/bottle/train/good/000.png").exists()
    assert (root / NAME).exists()
    project.run("ingestion", **settings(root))
    assert "02_intermediate/mvtec/manifest.parquet" in project.outputs()
    # Everything is there: the server is not needed any more.
    published(name="gone.tar.xz")
    project.run("download", **settings(root))


def test_a_file_url_is_a_folder_of_this_machine(
    project: Any, published: Callable[..., None], tmp_path: Path
) -> None:
    published()
    root = tmp_path / "raw"
    project.run("download", **settings(f"file://{root}"))
    assert (root / "mvtec_anomaly_detection/bottle/train/good/000.png").exists()


@pytest.mark.parametrize("root", ["memory://raw/mvtec", "s3://bucket/mvtec", "gs://bucket/mvtec"])
def test_a_bucket_is_refused_before_anything_is_fetched(
    project: Any, published: Callable[..., None], server: tuple[Path, str], root: str
) -> None:
    published()
    (server[0] / NAME).unlink()  # it would be asked for in vain
    assert error_line(project, settings(root)).endswith(
        f"cannot download to {root}: set the root to a folder of this machine, then copy the "
        "unpacked folder there"
    )


def test_a_wrong_checksum_leaves_nothing(
    project: Any, published: Callable[..., None], tmp_path: Path
) -> None:
    published(sha256="0" * 64)
    root = tmp_path / "raw"
    assert NAME in error_line(project, settings(root))
    assert not root.exists() or list(root.iterdir()) == []


def test_a_server_that_does_not_have_it(
    project: Any, published: Callable[..., None], tmp_path: Path
) -> None:
    published(name="elsewhere.tar.xz")
    assert "elsewhere.tar.xz" in error_line(project, settings(tmp_path / "raw"))


def test_what_must_be_fetched_by_hand(project: Any, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    line = error_line(project, settings(root, "cpd"))
    assert "log in to Kaggle" in line
    assert str(root) in line


def test_the_users_own_data_is_not_downloaded(project: Any, tmp_path: Path) -> None:
    line = error_line(project, settings(tmp_path / "raw", "folder"))
    assert "nothing to download for the layout 'folder'" in line


@pytest.mark.parametrize("name", sorted(PUBLICATIONS))
def test_every_publication_is_complete(name: str) -> None:
    """Terms, a page, and a way: fetched over TLS or by hand."""
    publication = PUBLICATIONS[name]
    assert publication.licence
    assert publication.page.startswith("https://")
    assert bool(publication.sources) != bool(publication.by_hand)
    for source in publication.sources:
        assert source.url.startswith("https://")
        assert "/" not in source.name
