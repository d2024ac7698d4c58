"""One file on any fsspec file system, written in one step."""

from __future__ import annotations

import posixpath
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from uniformaly_pipeline.common.files import new_file, part_name


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
        """Whether the file is there."""
        fs, path = self._locate()
        return bool(fs.exists(path))

    def read(self) -> bytes:
        """The whole content."""
        fs, path = self._locate()
        content: bytes = fs.cat_file(path)
        return content

    def write(self, content: bytes) -> None:
        """Write under another name, then rename: a reader never sees half a file."""
        fs, path = self._locate()
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
