"""One file on any fsspec file system, written in one step."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from fsspec.core import url_to_fs


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
        part = f"{path}.part"
        fs.pipe_file(part, content)
        fs.mv(part, path)
