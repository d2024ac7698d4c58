"""Copies of files from elsewhere, on a disk of this machine, up to so many bytes."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.files import new_file, remove_leftovers
from uniformaly_pipeline.common.remote_path import RemotePath

VARIABLE = "UNIFORMALY_CACHE"
"""Names the folder in which this machine keeps what can be had again."""

LIMIT_VARIABLE, DEFAULT_GB = "UNIFORMALY_CACHE_GB", 20.0
"""Names the gigabytes that copies may take together, and what they are otherwise."""


def cache_folder() -> Path:
    """Where this machine keeps what can be had again.

    Raises:
        InputError: It is named nowhere, and who runs this has no home.
    """
    named = os.environ.get(VARIABLE)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(named) if named else Path(home, "uniformaly-pipeline").expanduser()
    except RuntimeError as error:
        raise InputError(
            f"there is no home folder to keep copies in: set {VARIABLE} to a folder"
        ) from error


def cache_limit() -> int:
    """Bytes that copies may take together.

    Raises:
        InputError: The environment says no number.
    """
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_GB))
    try:
        limit = float(text)
        if not 0 <= limit < float("inf"):
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"{LIMIT_VARIABLE} is {text!r}: set it to a number of gigabytes"
        ) from error
    return int(limit * 1e9)


@dataclass(frozen=True)
class FileCache:
    """Copies of files that never change; those that were not used for longest go first.

    Any number of processes may share the folder.

    Attributes:
        folder: Where the copies are.
        limit: Bytes that they take at most together; the last one is kept however large it is.
    """

    folder: Path
    limit: int

    def copy_of(self, path: RemotePath) -> Path:
        """A local copy of a file; it is brought here if it is not.

        Raises:
            FileNotFoundError: There is no such file.
            InputError: Its file system does not answer.
        """
        copy = self._place(path)
        with suppress(FileNotFoundError):
            os.utime(copy)
            return copy
        self.folder.mkdir(parents=True, exist_ok=True)
        with new_file(copy) as part:
            path.download(part)
        self._make_room(copy)
        return copy

    def forget(self, path: RemotePath) -> None:
        """Remove the copy of a file, if there is one."""
        self._place(path).unlink(missing_ok=True)

    def _place(self, path: RemotePath) -> Path:
        digest = hashlib.sha256(path.url.encode()).hexdigest()[:32]
        return self.folder / f"{digest}{Path(path.name).suffix}"

    def _make_room(self, latest: Path) -> None:
        remove_leftovers(self.folder)
        found = []
        for each in self.folder.iterdir():
            with suppress(FileNotFoundError):
                status = each.stat()
                found.append((status.st_mtime_ns, status.st_size, each))
        taken = sum(size for _, size, _ in found)
        for _, size, each in sorted(found):
            if taken <= self.limit:
                return
            if each == latest or ".part" in each.name:
                continue
            # On Windows a file that someone reads stays.
            with suppress(OSError):
                each.unlink()
                taken -= size
