"""One file on any fsspec file system, written in one step and checked when it is read."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from fsspec import AbstractFileSystem

from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.remote_file import RemoteFile, put, read_content, stored
from uniformaly_pipeline.common.storage import foreign_errors, locate

if TYPE_CHECKING:
    from typing_extensions import Self

MARKS = ".checksums"
"""Folder of the marks of the files beside it."""

DAMAGED_SUFFIX = ".damaged"
NOTE = "# "
"""Begins a note in a mark."""

STALE_SECONDS = 3600.0
"""A mark of other content that is so old is nobody's: milliseconds lie between mark and file."""

MOST_READS = 3


class Noted(NamedTuple):
    """What a file holds, and what is noted of it.

    Attributes:
        content: The whole content.
        digest: Its SHA-256, hexadecimal.
        note: See :meth:`CheckedFile.write`; empty where there is none.
    """

    content: bytes
    digest: str
    note: str


@dataclass(frozen=True)
class CheckedFile(RemoteFile):
    """A file that is read only if it holds what was written.

    Before its content is put in place, a mark of it is: a file named by the SHA-256 of the content,
    in a hidden folder beside it. So an interruption leaves the old file and the old mark, and any
    number of writers need no lock: each leaves a mark of its own.
    """

    def read(self) -> bytes:
        """The whole content.

        Raises:
            InputError: It is not what was written. It is set aside, so that the next run
                makes it again.
            FileNotFoundError: There is no file.
        """
        return self.read_noted().content

    def read_noted(self) -> Noted:
        """The whole content, and what :meth:`write` was told to note of it.

        Raises:
            InputError: It is not what was written. It is set aside, so that the next run
                makes it again.
            FileNotFoundError: There is no file.
        """
        fs, path = self._locate()
        content = None
        for _ in range(MOST_READS):
            before, content = content, super().read()
            noted = _noted(self.url, content)
            if noted is not None:
                return noted
            if content == before:
                break
            # Another run may just have replaced both: read once more.
        raise InputError(f"{self.url} is not what a run wrote: {_set_aside(fs, path)}")

    def peek(self) -> Noted | None:
        """As :meth:`read_noted`; ``None`` if the file is gone or damaged, which stays in place."""
        try:
            return _noted(self.url, super().read())
        except FileNotFoundError:
            return None

    def write(self, content: bytes, note: str = "") -> None:
        """Write in one step, the mark first.

        Args:
            content: The whole content.
            note: A line to keep with it, in its mark.
        """
        fs, path = self._locate()
        mark = _mark(path, content)
        digest = mark.rpartition(".")[2]
        # As "sha256sum --check" reads it: to that the note is a comment.
        line = f"{digest}  ../{posixpath.basename(path)}\n"
        with stored(self.url, "written"):
            put(fs, mark, (line + (f"{NOTE}{note}\n" if note else "")).encode())
            put(fs, path, content)
            _remove_old_marks(fs, mark)

    def namesakes(self, folder: str) -> list[Self]:
        """Files of the same name below a folder of the same file system, in order."""
        fs, path = self._locate()
        with stored(folder):
            found = fs.find(locate(folder)[1])
        names = sorted(n for n in found if posixpath.basename(n) == posixpath.basename(path))
        return [type(self)(name if "://" not in self.url else fs.unstrip_protocol(name))
                for name in names]  # fmt: skip


def _mark(path: str, content: bytes) -> str:
    """Where the mark of a file's content lies."""
    folder, name = posixpath.split(path)
    return f"{folder}/{MARKS}/{name}.{hashlib.sha256(content).hexdigest()}"


def _noted(url: str, content: bytes) -> Noted | None:
    """A file's content with what its mark says of it; ``None`` if it has no such mark."""
    fs, path = locate(url)
    mark = _mark(path, content)
    try:
        with stored(url):
            told = read_content(fs, mark)
    except FileNotFoundError:
        return None
    lines = told.decode(errors="replace").splitlines()
    note = next((line.removeprefix(NOTE) for line in lines if line.startswith(NOTE)), "")
    return Noted(content, mark.rpartition(".")[2], note)


def _remove_old_marks(fs: Any, mark: str) -> None:
    """Remove marks of what the same file held long ago; another run may need those that are new.

    Where a file system's files have no times they stay, small files that nothing reads.
    """
    if type(fs).modified is AbstractFileSystem.modified:
        return
    folder, name = posixpath.split(mark)
    file = name.rpartition(".")[0]
    latest = datetime.now(timezone.utc) - timedelta(seconds=STALE_SECONDS)
    for found in fs.ls(folder, detail=False):
        other = posixpath.basename(found)
        if other == name or other.rpartition(".")[0] != file:
            continue
        try:
            if fs.modified(found) < latest:
                fs.rm_file(found)
        except FileNotFoundError:
            continue  # another run was first


def _set_aside(fs: Any, path: str) -> str:
    """Rename a damaged file; what became of it and what to do, in words."""
    aside = f"{path}{DAMAGED_SUFFIX}"
    try:
        with foreign_errors():
            fs.mv(path, aside)
    except OSError:  # it may lie where nothing can be written
        return f"remove it and {RUN_AGAIN}"
    return f"it is set aside as {posixpath.basename(aside)}; {RUN_AGAIN}"
