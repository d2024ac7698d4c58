"""Paths of files elsewhere, with the few methods of :class:`pathlib.Path` that results need."""

from __future__ import annotations

import fnmatch
import posixpath
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common import files
from uniformaly_pipeline.common.files import part_name
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.common.storage import (
    answering,
    appears_whole,
    is_kept_back,
    local_path,
    locate,
)


@dataclass(frozen=True)
class RemoteStatus:
    """What is known of a file elsewhere.

    Attributes:
        st_mtime: When it was written, in seconds since 1970.
    """

    st_mtime: float


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder by URL; nothing is asked of its file system before a method needs it.

    Of an object store a folder is there as long as a file is in it.

    Attributes:
        url: The URL, without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        """The URL."""
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        """What lies in the folder under a name."""
        return RemotePath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last name."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in."""
        return RemotePath(self.url.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> RemotePath:
        """The path with another end of its name."""
        return RemotePath(posixpath.splitext(self.url)[0] + suffix)

    def absolute(self) -> RemotePath:
        """The path: a URL is absolute."""
        return self

    def as_posix(self) -> str:
        """The URL."""
        return self.url

    def exists(self) -> bool:
        """Whether a file or folder is there.

        Raises:
            InputError: Its file system does not answer.
        """
        return RemoteFile(self.url).exists()

    def is_file(self) -> bool:
        """Whether a file is there.

        Raises:
            InputError: Its file system does not answer.
        """
        with self._asked() as (fs, path):
            return bool(fs.isfile(path))

    def is_dir(self) -> bool:
        """Whether a folder is there.

        Raises:
            InputError: Its file system does not answer.
        """
        with self._asked() as (fs, path):
            return bool(fs.isdir(path))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What lies in the folder and has such a name: files, or with ``/`` at its end folders.

        Raises:
            InputError: Its file system does not answer.
        """
        kind = "directory" if pattern.endswith("/") else "file"
        wanted = pattern.rstrip("/")
        with self._asked() as (fs, path):
            try:
                listed = fs.ls(path, detail=True)
            except FileNotFoundError as error:
                if is_kept_back(error) and error.__cause__:
                    raise error.__cause__ from None
                listed = []
        for entry in listed:
            whole = str(entry["name"]).rstrip("/")
            name = posixpath.basename(whole)
            # A folder that someone made in a bucket is an object of no bytes in itself.
            if whole != path and entry["type"] == kind and fnmatch.fnmatchcase(name, wanted):
                yield self / name

    def stat(self) -> RemoteStatus:
        """When the file, or the latest of those in the folder, was written.

        Raises:
            FileNotFoundError: There is nothing.
        """
        with self._asked() as (fs, path):
            found = fs.find(path, detail=True).values()
        if not found:
            raise FileNotFoundError(self.url)
        times = [_time_of(each) for each in found]
        return RemoteStatus(max(times))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """Files below the folder, however deep, that have such a name.

        Raises:
            InputError: Its file system does not answer.
        """
        with self._asked() as (fs, path):
            found = fs.find(path)
        for file in found:
            if fnmatch.fnmatchcase(posixpath.basename(file), pattern):
                yield self / file[len(path) :].lstrip("/")

    def read_bytes(self) -> bytes:
        """The whole content of a file."""
        return RemoteFile(self.url).read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole content of a file."""
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, end: int) -> bytes:
        """Some bytes of a file, fewer where it ends before; the first is number 0."""
        with self._asked() as (fs, path):
            content: bytes = fs.cat_file(path, start=start, end=end)
        return content

    def write_bytes(self, content: bytes) -> None:
        """Write a file in one step."""
        RemoteFile(self.url).write(content)

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None:
        """Make a folder; an object store has none before there is a file in it."""
        with self._asked("written") as (fs, path):
            if not appears_whole(fs):
                (fs.makedirs if parents else fs.mkdir)(path, exist_ok=exist_ok)

    def with_name(self, name: str) -> RemotePath:
        """What lies beside it under another name."""
        return self.parent / name

    def rename(self, target: RemotePath) -> RemotePath:
        """Give a file another name of the same file system."""
        with self._asked("renamed") as (fs, path):
            fs.mv(path, locate(target.url)[1])
        return target

    def remove_tree(self) -> None:
        """Remove a folder and all that is in it, if it is there."""
        with self._asked("removed") as (fs, path), suppress(FileNotFoundError):
            fs.rm(path, recursive=True)

    def upload(self, source: Path) -> None:
        """Put a local file here, in one step."""
        with self._asked("written") as (fs, path):
            if appears_whole(fs):
                fs.put_file(str(source), path)
                return
            fs.makedirs(posixpath.dirname(path), exist_ok=True)
            part = part_name(path)
            try:
                fs.put_file(str(source), part)
                fs.mv(part, path)
            except BaseException:
                with suppress(OSError):
                    fs.rm_file(part)
                raise

    def download(self, target: Path) -> None:
        """Copy the file to a local one."""
        with self._asked() as (fs, path):
            fs.get_file(path, str(target))

    @contextmanager
    def _asked(self, done: str = "read") -> Iterator[tuple[Any, str]]:
        """The file system, and the path in it; what it answers is one line."""
        fs, path = locate(self.url)
        with answering(self.url, done):
            yield fs, path


def _time_of(info: Mapping[str, Any]) -> float:
    """When a file was written, in seconds since 1970; now where its file system does not tell."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "modified", "created"):
        value = info.get(name)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return time.time()


AnyPath = Path | RemotePath
"""A local path or one elsewhere."""


def as_path(location: str | AnyPath) -> AnyPath:
    """A path or URL as one to work with; ``file://`` is a local path.

    >>> as_path("s3://bucket/data/").name, as_path("file:///data/a").name
    ('data', 'a')
    """
    if not isinstance(location, str):
        return location
    local = local_path(location)
    return RemotePath(local.rstrip("/")) if "://" in local else Path(local)


def rename(path: AnyPath, name: str) -> AnyPath:
    """Give a file another name in its folder.

    Returns:
        Its path from now on.

    Raises:
        FileNotFoundError: It is not there.
    """
    if isinstance(path, RemotePath):
        return path.rename(path.with_name(name))
    return path.rename(path.with_name(name))


@contextmanager
def new_file(path: AnyPath) -> Iterator[Path]:
    """As :func:`.files.new_file`, also of a file elsewhere: that is uploaded at the end.

    Yields:
        A local path to write to.
    """
    if isinstance(path, Path):
        with files.new_file(path) as part:
            yield part
        return
    with tempfile.TemporaryDirectory(prefix="uniformaly-") as folder:
        whole = Path(folder, "part")
        yield whole
        path.upload(whole)
