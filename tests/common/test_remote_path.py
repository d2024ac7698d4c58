"""Paths of files elsewhere."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from uniformaly_pipeline.common.remote_path import RemotePath, as_path, new_file


@pytest.fixture(params=["memory", "s3"])
def folder(request: pytest.FixtureRequest) -> RemotePath:
    """A folder that is not there yet."""
    if request.param == "s3":
        return RemotePath(f"{request.getfixturevalue('bucket')}/a/b")
    return RemotePath(f"memory://{uuid.uuid4().hex}/a/b")


def test_a_path_is_taken_apart_as_local_ones_are() -> None:
    path = as_path("s3://bucket/data/x.safetensors")
    assert isinstance(path, RemotePath)
    assert (path.name, str(path.parent)) == ("x.safetensors", "s3://bucket/data")
    assert path.with_suffix(".damaged").name == "x.damaged"
    assert path.absolute().as_posix() == "s3://bucket/data/x.safetensors"
    assert as_path("file:///data/a") == Path("/data/a")
    assert as_path("data/a") == Path("data/a")
    assert as_path("s3://bucket/data/") / "a" == RemotePath("s3://bucket/data/a")


def test_files_are_listed_read_renamed_and_removed(folder: RemotePath) -> None:
    assert not folder.exists()
    assert not folder.is_dir()
    assert list(folder.glob("*")) == []
    with pytest.raises(FileNotFoundError):
        (folder / "1.bin").read_bytes()
    for name in ("1.bin", "2.bin", "3.txt", "deep/4.bin"):
        (folder / name).write_bytes(name.encode())
    assert sorted(folder.glob("*.bin")) == [folder / "1.bin", folder / "2.bin"]
    assert list(folder.glob("*/")) == [folder / "deep"]
    assert folder.is_dir()
    assert not folder.is_file()
    assert (folder / "3.txt").is_file()
    assert (folder / "3.txt").read_text() == "3.txt"
    assert (folder / "3.txt").read_range(1, 3) == b".t"
    assert (folder / "1.bin").read_range(0, 100) == b"1.bin"
    (folder / "1.bin").rename(folder / "1.damaged")
    with pytest.raises(FileNotFoundError):
        (folder / "1.bin").rename(folder / "1.damaged")
    names = [path.name for path in sorted(folder.glob("*"))]
    assert names == ["1.damaged", "2.bin", "3.txt"]
    assert sorted(path.name for path in folder.rglob("*.bin")) == ["2.bin", "4.bin"]
    assert abs(folder.stat().st_mtime - time.time()) < 60
    folder.remove_tree()
    folder.remove_tree()
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        folder.stat()


def test_a_new_file_appears_when_it_is_whole(folder: RemotePath) -> None:
    path = folder / "x.bin"
    with pytest.raises(KeyboardInterrupt), new_file(path) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(folder.glob("*")) == []
    with new_file(path) as part:
        part.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert not part.exists()
    assert [each.name for each in folder.glob("*")] == ["x.bin"]
