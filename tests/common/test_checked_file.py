"""One file on any file system, written in one step."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from uniformaly_pipeline.common import checked_file as files
from uniformaly_pipeline.common.checked_file import CheckedFile
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.common.storage import locate


@pytest.fixture(params=["path", "file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A file in a folder that is not there yet."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/deep/a.bin"
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

    # The first puts local files in place, the second remote ones, the third uploads whole ones.
    fs, _ = locate(url)
    monkeypatch.setattr(Path, "replace", interrupted)
    monkeypatch.setattr(type(fs), "mv", interrupted)
    if url.startswith("s3://"):
        monkeypatch.setattr(fs, "pipe_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.write(b"new")
    assert file.read() == b"old"
    assert names(url) == ["a.bin"]


def test_a_file_is_created_once(url: str) -> None:
    file = RemoteFile(url)
    assert file.create(b"first")
    assert not file.create(b"second")
    assert file.read() == b"first"
    assert names(url) == ["a.bin"]


# --- checked --------------------------------------------------------------------------------------


def marks(url: str) -> list[str]:
    return [name for name in names(url) if name.startswith("a.bin.")]


def overwrite(url: str, content: bytes) -> None:
    """As a failing disk or another program does."""
    fs, path = fsspec.url_to_fs(url)
    fs.pipe_file(path, content)


def test_what_was_written_is_read(url: str) -> None:
    file = CheckedFile(url)
    for content in (b"old", b"", b"new"):
        file.write(content)
        assert file.read() == content
    with pytest.raises(FileNotFoundError):
        CheckedFile(f"{url}.missing").read()


@pytest.mark.parametrize("found", [b"contenT", b"conten", b"", b"\x00" * 99, b"content\n"])
def test_anything_else_is_named_and_set_aside(url: str, found: bytes) -> None:
    file = CheckedFile(url)
    file.write(b"content")
    overwrite(url, found)
    with pytest.raises(InputError) as error:
        file.read()
    assert str(error.value) == (
        f"{url} is not what a run wrote: it is set aside as a.bin.damaged; {RUN_AGAIN}"
    )
    assert not file.exists()
    assert RemoteFile(f"{url}.damaged").read() == found
    file.write(b"content")
    assert file.read() == b"content"


def test_what_nobody_vouches_for_is_refused(url: str) -> None:
    RemoteFile(url).write(b"from elsewhere")
    with pytest.raises(InputError, match="is not what a run wrote"):
        CheckedFile(url).read()


def test_where_nothing_can_be_renamed_the_line_says_what_to_do(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    RemoteFile(url).write(b"from elsewhere")

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(type(fsspec.url_to_fs(url)[0]), "mv", refuse)
    with pytest.raises(InputError, match=f"wrote: remove it and {RUN_AGAIN}"):
        CheckedFile(url).read()


@pytest.mark.parametrize("moment", ["before the mark", "before the file"])
def test_an_interrupted_write_leaves_what_can_be_read(
    moment: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = CheckedFile(url)
    file.write(b"old")
    put, calls = files.put, [None] * (moment == "before the file")

    def interrupted(*args: Any) -> None:
        if not calls:
            raise KeyboardInterrupt
        calls.pop()
        put(*args)

    monkeypatch.setattr(files, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.write(b"new")
    assert file.read() == b"old"


def test_writers_at_once_leave_a_file_that_can_be_read(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each leaves a mark of its own: whoever is last, and in whatever order they take turns."""
    put = files.put
    first, second = CheckedFile(url), CheckedFile(url)

    def interrupted_by_another(fs: Any, path: str, content: bytes) -> None:
        monkeypatch.setattr(files, "put", put)
        put(fs, path, content)
        second.write(b"second")
        assert second.read() == b"second"

    monkeypatch.setattr(files, "put", interrupted_by_another)
    first.write(b"first")
    assert first.read() == b"first"


def test_a_file_that_is_replaced_while_it_is_read(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of the old content is gone by the time that it is looked for."""
    file = CheckedFile(url)
    overwrite_later = [b"new"]
    RemoteFile(url).write(b"old, of which no mark is left")
    read = RemoteFile.read

    def read_then_replaced(self: RemoteFile) -> bytes:
        content = read(self)
        while overwrite_later:
            file.write(overwrite_later.pop())
        return content

    monkeypatch.setattr(RemoteFile, "read", read_then_replaced)
    assert file.read() == b"new"


def test_old_marks_go_and_those_of_other_files_stay(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = CheckedFile(url), CheckedFile(f"{url}.other")
    other.write(b"other")
    for content in (b"1", b"2", b"1"):
        file.write(content)
    assert len(marks(url)) == 1 + 2 + 1
    monkeypatch.setattr(files, "STALE_SECONDS", -60.0)
    file.write(b"3")
    assert file.read() == b"3"
    assert other.read() == b"other"
    assert len(marks(url)) == 1 + 1 + 1


def test_marks_are_what_sha256sum_reads(tmp_path: Path) -> None:
    """``cd .checksums && sha256sum --check *`` checks a folder of results."""
    content = b"any"
    CheckedFile(str(tmp_path / "a.bin")).write(content)
    (mark,) = (tmp_path / ".checksums").iterdir()
    digest, name = mark.read_text().split()
    assert digest == hashlib.sha256(content).hexdigest()
    assert (mark.parent / name).resolve() == tmp_path / "a.bin"


def test_namesakes_lie_anywhere_below_a_folder(url: str) -> None:
    folder = url.rsplit("/", 1)[0]
    for name in ("a.bin", "x/a.bin", "x/y/a.bin", "x/b.bin", "a.bin.x"):
        CheckedFile(f"{folder}/{name}").write(name.encode())
    found = CheckedFile(url).namesakes(folder)
    assert [file.read() for file in found] == [b"a.bin", b"x/a.bin", b"x/y/a.bin"]
    assert CheckedFile(url).namesakes(f"{folder}/nowhere") == []


def test_a_file_that_may_not_be_looked_at_is_not_absent(
    tmp_path: Path, bound_by_modes: None
) -> None:
    """Else a run that finds nothing where its results are would advise to make them again."""
    file = CheckedFile(str(tmp_path / "models/bank"))
    assert not file.exists()
    file.write(b"whole")
    assert file.exists()
    (tmp_path / "models").chmod(0)
    try:
        with pytest.raises(PermissionError, match="models/bank"):
            file.exists()
    finally:
        (tmp_path / "models").chmod(0o755)


def test_where_files_have_no_times_old_marks_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "modified", fsspec.AbstractFileSystem.modified)
    file = CheckedFile(f"memory://{tmp_path}/a.bin")
    for content in (b"old", b"new"):
        file.write(content)
        assert file.read() == content
