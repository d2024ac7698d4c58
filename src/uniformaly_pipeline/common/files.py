"""Files and folders that appear in one step, and checksums of files."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from uniformaly_pipeline.common.progress import byte_progress

CHUNK_BYTES = 1 << 20
"""What is held in memory of a file, in bytes."""


def part_name(name: str) -> str:
    """A name beside a file, for its content until it is whole; no two are the same."""
    return f"{name}.{uuid.uuid4().hex[:8]}.part"


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file that appears, or takes the place of an old one, at the end of the block.

    A reader never sees half of it, nor does anyone after a power cut. A block that fails or is
    interrupted leaves the old file and nothing else.

    Args:
        path: The file; its folder must be there.

    Yields:
        The path to write to.

    Raises:
        OSError: The file cannot be put in place.
    """
    part = path.with_name(part_name(path.name))
    try:
        yield part
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears, whole, at the end of the block, which removes an old one if need be.

    What an earlier process left at ``<path>.part`` is replaced; a block that fails or is
    interrupted leaves nothing.

    Args:
        path: The folder; missing ones above it are made.

    Yields:
        The folder to write to.

    Raises:
        OSError: The folder cannot be made or put in place.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        _remove(part)
        part.mkdir(parents=True)
        yield part
        # One call for all files: syncing them one by one takes long on slow disks.
        if hasattr(os, "sync"):
            os.sync()
        part.rename(path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            _remove(part)
        raise


def put_in_place(part: Path, path: Path) -> None:
    """Give a complete file its final name, once its content is safely on the disk.

    Raises:
        OSError: It cannot be renamed.
    """
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Windows and some network disks do not sync folders.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def hash_file(file: IO[bytes], algorithm: str, name: str, size: int | None = None) -> str:
    """Checksum of what is left to read of a file, in hexadecimal; shows how far it is.

    Args:
        file: A file open for reading.
        algorithm: A name that :mod:`hashlib` knows, such as ``sha256``.
        name: What the progress calls the file.
        size: How many bytes there are, if that is known.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with byte_progress(f"Checking {name}", size) as progress:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            progress.update(len(chunk))
    return digest.hexdigest()
