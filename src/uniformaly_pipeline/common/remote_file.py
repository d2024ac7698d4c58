"""One file on any fsspec file system, written in one step."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.files import create_file, new_file, part_name


@dataclass(frozen=True)
class RemoteFile:
    """A file by path or URL.

    Attributes:
        url: Local path or URL.
    """

    url: str

    def _locate(self) -> tuple[Any, str]:
        fs, path = url_to_fs(self.url)
        return fs, path

    def exists(self) -> bool:
        """Whether the file is there.

        Raises:
            OSError: It cannot be told: a folder above it cannot be read.
        """
        fs, path = self._locate()
        if isinstance(fs, LocalFileSystem):
            # fsspec takes what it may not look at for absent.
            try:
                Path(path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True
        return bool(fs.exists(path))

    def read(self) -> bytes:
        """The whole content."""
        return read_content(*self._locate())

    def write(self, content: bytes) -> None:
        """Write under another name, then rename: a reader never sees half a file."""
        put(*self._locate(), content)

    def create(self, content: bytes) -> bool:
        """Write in one step, unless the file is there; of several writers one succeeds.

        Returns:
            Whether this one did.
        """
        fs, path = self._locate()
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        try:
            if isinstance(fs, LocalFileSystem):
                create_file(Path(path), content)
            else:
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


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Turn what the libraries behind fsspec raise into ``OSError``; put only its calls inside."""
    try:
        yield
    except (OSError, MemoryError, InputError):
        raise
    # Wide because aiohttp's, botocore's, gcsfs's and others' errors have no other base in common,
    # and these libraries need not be installed here to be named. None is lost: all are raised.
    except Exception as error:
        raise OSError(answer_of(error)) from error


def is_kept_back(error: FileNotFoundError) -> bool:
    """Whether a file is not absent: fsspec says so, too, where a server refuses or is down."""
    cause = error.__cause__
    return cause is not None and getattr(cause, "status", None) != HTTPStatus.NOT_FOUND


def answer_of(error: BaseException) -> str:
    """What a server said, or an error's own words."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
    return first_line(error)


def put(fs: Any, path: str, content: bytes) -> None:
    """Write a file of a file system under another name, then rename it."""
    fs.makedirs(posixpath.dirname(path), exist_ok=True)
    if isinstance(fs, LocalFileSystem):
        with new_file(Path(path)) as local_part:
            local_part.write_bytes(content)
        return
    part = part_name(path)
    try:
        fs.pipe_file(part, content)
        fs.mv(part, path)
    except BaseException:
        with suppress(OSError):
            fs.rm_file(part)
        raise
