"""Copies of files from elsewhere, up to so many bytes."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from uniformaly_pipeline.common import file_cache
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.file_cache import FileCache, cache_limit
from uniformaly_pipeline.common.remote_path import RemotePath


@pytest.fixture
def elsewhere() -> list[RemotePath]:
    """Four files of 10 bytes."""
    folder = RemotePath(f"memory://{uuid.uuid4().hex}")
    for number in range(4):
        (folder / f"{number}.bin").write_bytes(str(number).encode() * 10)
    return sorted(folder.glob("*.bin"))


def taken(cache: FileCache) -> int:
    return sum(path.stat().st_size for path in cache.folder.iterdir())


def test_a_file_is_brought_once(elsewhere: list[RemotePath], tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 100)
    copies = [cache.copy_of(path) for path in elsewhere]
    assert [copy.read_bytes() for copy in copies] == [b"0" * 10, b"1" * 10, b"2" * 10, b"3" * 10]
    elsewhere[0].write_bytes(b"another")
    assert cache.copy_of(elsewhere[0]).read_bytes() == b"0" * 10
    cache.forget(elsewhere[0])
    cache.forget(elsewhere[0])
    assert cache.copy_of(elsewhere[0]).read_bytes() == b"another"


def test_what_was_not_used_for_longest_makes_room(
    elsewhere: list[RemotePath], tmp_path: Path
) -> None:
    cache = FileCache(tmp_path, 30)
    copies = [cache.copy_of(path) for path in elsewhere[:3]]
    for age, copy in enumerate(copies):
        os.utime(copy, (age, age))
    assert cache.copy_of(elsewhere[0]) == copies[0]  # used again
    copies.append(cache.copy_of(elsewhere[3]))
    assert [copy.exists() for copy in copies] == [True, False, True, True]
    assert taken(cache) == 30


def test_one_that_is_too_large_is_kept_alone(elsewhere: list[RemotePath], tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 5)
    for path in elsewhere:
        assert cache.copy_of(path).exists()
        assert taken(cache) == 10


def test_what_is_gone_elsewhere_leaves_nothing(elsewhere: list[RemotePath], tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    elsewhere[0].remove_tree()
    with pytest.raises(FileNotFoundError):
        cache.copy_of(elsewhere[0])
    assert taken(cache) == 0


def test_the_environment_sets_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(file_cache.LIMIT_VARIABLE, raising=False)
    assert cache_limit() == 20_000_000_000
    monkeypatch.setenv(file_cache.LIMIT_VARIABLE, "0.5")
    assert cache_limit() == 500_000_000
    for wrong in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv(file_cache.LIMIT_VARIABLE, wrong)
        with pytest.raises(InputError, match=f"{file_cache.LIMIT_VARIABLE} is '{wrong}'"):
            cache_limit()


def test_who_has_no_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in (file_cache.VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(InputError, match=f"no home folder .* set {file_cache.VARIABLE}"):
        file_cache.cache_folder()
