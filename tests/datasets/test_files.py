"""One file on any file system, written in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from uniformaly_pipeline.datasets.files import RemoteFile


@pytest.fixture(params=["path", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A file in a folder that is not there yet."""
    prefix = {"path": "", "file": "file://", "memory": "memory://"}[request.param]
    return f"{prefix}{tmp_path}/deep/a.bin"


def names(url: str) -> list[str]:
    fs, path = fsspec.url_to_fs(url)
    return [found.rsplit("/", 1)[-1] for found in fs.find(path.rsplit("/", 1)[0])]


def test_a_file_is_written_and_replaced(url: str) -> None:
    file = RemoteFile(url)
    assert not file.exists()
    for content in (b"old", b"new"):
        file.write(content)
        assert file.read() == content
        assert names(url) == ["a.bin"]


def test_an_interrupted_write_leaves_the_old_file(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RemoteFile(url)
    file.write(b"old")

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    # The one renames local files, the other remote ones.
    monkeypatch.setattr(Path, "replace", interrupted)
    monkeypatch.setattr(type(fsspec.url_to_fs(url)[0]), "mv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.write(b"new")
    assert file.read() == b"old"
    assert names(url) == ["a.bin"]
