"""Files and folders appear in one step, or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from uniformaly_pipeline.common import files
from uniformaly_pipeline.common.files import (
    _PART,
    create_file,
    hash_file,
    new_file,
    new_folder,
    put_in_place,
)
from uniformaly_pipeline.common.machine import machine_fault


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
    (tmp_path / "deep/a.part/mine").mkdir(parents=True)
    with new_folder(tmp_path / "deep/a") as part:
        assert names(part) == []
        (part / "file").write_bytes(b"new")
    assert (tmp_path / "deep/a/file").read_bytes() == b"new"
    assert names(tmp_path / "deep") == ["a", "a.part"]
    if Path("/proc/self/fd").exists():
        assert steps == ["all", "rename", "folder"]


def test_a_folder_takes_the_place_of_another_or_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/old").touch()
    with new_folder(tmp_path / "a", replace=True) as part:
        (part / "new").touch()
        assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path / "a") == ["new"]
    rename = Path.rename

    def fails(source: Path, target: Path) -> Path:
        if target == tmp_path / "a" and (source / "newer").exists():
            raise OSError(errno.EBUSY, "busy")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="busy"), new_folder(tmp_path / "a", replace=True) as part:
        (part / "newer").touch()
    assert names(tmp_path / "a") == ["new"]
    assert names(tmp_path) == ["a"]


def test_the_longest_name_has_room_beside_it(tmp_path: Path) -> None:
    path = tmp_path / f"{'ä' * 125}.json"
    with new_file(path) as part:
        part.write_bytes(b"whole")
        assert _PART.search(part.name)
    assert path.read_bytes() == b"whole"
    with (
        pytest.raises(OSError, match="too long") as error,
        new_file(tmp_path / ("x" * 256)) as part,
    ):
        part.write_bytes(b"")
    assert error.value.filename is None or ".part" not in str(error.value.filename)


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


# --- made once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_made_once_and_whole(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With links and on file systems without them."""

    def refuse(*args: Any) -> None:
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(files.os, "link", refuse)
    create_file(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_of_many_writers_at_once_one_makes_the_file(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def make(number: int) -> bool:
        barrier.wait()
        try:
            create_file(tmp_path / "a", str(number).encode() * 10_000)
        except FileExistsError:
            return False
        return True

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(make, range(8)))
        assert sum(made) == 1
        assert (tmp_path / "a").read_bytes() == str(made.index(True)).encode() * 10_000
        assert names(tmp_path) == ["a"]
        (tmp_path / "a").unlink()


def left_by(process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a part that another process writes."""
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "getpid", lambda: process.pid)
        return files.part_name("a")


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    killed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    in_work = left_by(living, monkeypatch)
    for name in (in_work, left_by(killed, monkeypatch), "download.part"):
        (tmp_path / name).touch()
    killed.kill()
    killed.wait()
    try:
        with files.new_file(tmp_path / "b") as part:
            part.write_bytes(b"new")
        assert names(tmp_path) == sorted([in_work, "b", "download.part"])
    finally:
        living.kill()
        living.wait()


def test_a_folder_that_a_killed_process_left_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    left = tmp_path / left_by(killed, monkeypatch)
    killed.wait()
    (left / "deep").mkdir(parents=True)
    with new_folder(tmp_path / "b") as part:
        (part / "file").touch()
    assert names(tmp_path) == ["b"]


def test_another_machines_leftover_goes_when_it_is_old(tmp_path: Path) -> None:
    old, new = (tmp_path / f"a.00000000-{pid}-12345678.part" for pid in (1, 2))
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [new.name]


def test_a_large_folder_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(files, "remove_leftovers", looked.append)
    for name in ("a", "b", "c"):
        with files.new_file(tmp_path / name) as part:
            part.touch()
    assert looked == [tmp_path]


@pytest.mark.parametrize("write", ["by Python", "by safetensors", "once"])
def test_a_full_disk_is_told_with_the_file(tmp_path: Path, write: str) -> None:
    """The system names no file, and safetensors only says the number in words."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "features.bin"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError) as error:
            if write == "once":
                create_file(path, bytes(1000))
            with new_file(path) as part:
                if write == "by Python":
                    part.write_bytes(bytes(1000))
                else:
                    save_file({"x": np.zeros(1000)}, part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert machine_fault(error.value) == (
        f"the file is larger than the disk or a limit allows at {path}: see ulimit -f"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_folder_is_told_and_not_a_file_that_nobody_knows(
    tmp_path: Path, bound_by_modes: None
) -> None:
    folder = tmp_path / "results"
    folder.mkdir(mode=0o555)
    with pytest.raises(PermissionError) as error, new_file(folder / "x.csv") as part:
        part.write_bytes(b"1")
    assert machine_fault(error.value) == (
        f"permission denied at {folder}: check its owner and permissions"
    )
    with pytest.raises(PermissionError, match="other"), new_file(tmp_path / "y.csv"):
        raise PermissionError(errno.EACCES, "no", "/other/file")
