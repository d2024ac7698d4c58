"""Files and folders appear in one step, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.common import files
from uniformaly_pipeline.common.files import hash_file, new_file, new_folder, put_in_place


def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed from now on, in order."""
    steps: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def note(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            steps.append(name)
            return step(*args)

        return run

    def sync(descriptor: int) -> None:
        steps.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", sync)
    monkeypatch.setattr(files.os, "sync", lambda: steps.append("all"), raising=False)
    monkeypatch.setattr(Path, "replace", note("rename", replace))
    monkeypatch.setattr(Path, "rename", note("rename", rename))
    return steps


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = noted(monkeypatch)
    with new_file(tmp_path / "a") as part:
        assert part.parent == tmp_path
        assert part.name.endswith(".part")
        part.write_bytes(b"new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]
    if Path("/proc/self/fd").exists():
        assert steps == ["file", "rename", "folder"]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as first, new_file(tmp_path / "a") as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(error), new_file(tmp_path / "a") as part:
        part.write_bytes(b"half")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_file_that_cannot_be_synced_is_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"), new_file(tmp_path / "a") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_disk_that_does_not_sync_folders_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_folders(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.part").write_bytes(b"new")
    monkeypatch.setattr(files.os, "open", no_folders)
    put_in_place(tmp_path / "a.part", tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_a_folder_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = noted(monkeypatch)
    (tmp_path / "deep/a.part/old").mkdir(parents=True)
    with new_folder(tmp_path / "deep/a") as part:
        assert names(part) == []
        (part / "file").write_bytes(b"new")
    assert (tmp_path / "deep/a/file").read_bytes() == b"new"
    assert names(tmp_path / "deep") == ["a"]
    if Path("/proc/self/fd").exists():
        assert steps == ["all", "rename", "folder"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path / "a") as part:
        (part / "file").write_bytes(b"half")
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_checksums_of_files_larger_than_a_chunk(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 10)
    content = bytes(range(256))
    expected = hashlib.new(algorithm, content).hexdigest()
    assert hash_file(io.BytesIO(content), algorithm, "a") == expected
