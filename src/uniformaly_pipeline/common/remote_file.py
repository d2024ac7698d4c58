"""One file on any fsspec file system, written in one step."""

from __future__ import annotations

import posixpath
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common.files import create_file, new_file, part_name
from uniformaly_pipeline.common.storage import (
    answering,
    appears_whole,
    foreign_errors,
    is_local,
    locate,
)


@dataclass(frozen=True)
class RemoteFile:
    """A file by path or URL.

    Attributes:
        url: Local path or URL.
    """

    url: str

    def _locate(self) -> tuple[Any, str]:
        return locate(self.url)

    def exists(self) -> bool:
        """Whether the file is there.

        Raises:
            InputError: Where it lies does not answer.
            OSError: It cannot be told: a folder above it cannot be read.
        """
        fs, path = self._locate()
        if is_local(fs):
            # fsspec takes what it may not look at for absent.
            try:
                Path(path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True
        with answering(self.url):
            return bool(fs.exists(path))

    def read(self) -> bytes:
        """The whole content.

        Raises:
            FileNotFoundError: There is no file.
            InputError: Where it lies does not answer.
        """
        with stored(self.url):
            return read_content(*self._locate())

    def write(self, content: bytes) -> None:
        """Write in one step: a reader never sees half a file.

        Raises:
            InputError: Where it lies does not take it.
        """
        with stored(self.url, "written"):
            put(*self._locate(), content)

    def create(self, content: bytes) -> bool:
        """Write in one step, unless the file is there; of several writers one succeeds.

        Returns:
            Whether this one did.

        Raises:
            InputError: Where it lies does not take it.
        """
        fs, path = self._locate()
        try:
            if is_local(fs):
                fs.makedirs(posixpath.dirname(path), exist_ok=True)
                create_file(Path(path), content)
            else:
                with stored(self.url, "written"):
                    if not appears_whole(fs):
                        fs.makedirs(posixpath.dirname(path), exist_ok=True)
                    fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True


def read_content(fs: Any, path: str) -> bytes:
    """The content of a file of a file system.

    Raises:
        FileNotFoundError: It is not there.
        OSError: It cannot be read.
    """
    with foreign_errors():
        content: bytes = fs.cat_file(path)
    return content


def put(fs: Any, path: str, content: bytes) -> None:
    """Write a file of a file system in one step.

    Where a file would be seen before all of it is there, it is written under another name first.

    Raises:
        OSError: It cannot be written.
    """
    if is_local(fs):
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        with new_file(Path(path)) as local_part:
            local_part.write_bytes(content)
        return
    with foreign_errors():
        if appears_whole(fs):
            fs.pipe_file(path, content)
            return
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        part = part_name(path)
        try:
            fs.pipe_file(part, content)
            fs.mv(part, path)
        except BaseException:
            with suppress(OSError):
                fs.rm_file(part)
            raise


def stored(url: str, done: str = "read") -> AbstractContextManager[None]:
    """Around calls of a file system: what one elsewhere answers is one line.

    Errors of this machine stay as they are. See :func:`.storage.answering`.
    """
    return nullcontext() if is_local(locate(url)[0]) else answering(url, done)
