"""Files and folders that appear in one step, and checksums of files."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
from safetensors import SafetensorError

from uniformaly_pipeline.common.machine import no_room_error
from uniformaly_pipeline.common.processes import host_name
from uniformaly_pipeline.common.progress import byte_progress

CHUNK_BYTES = 1 << 20
"""What is held in memory of a file, in bytes."""


LONGEST_NAME = 255
"""Bytes of a file's name that disks take."""

STALE_SECONDS = 3600.0
"""A file half written so long ago is nobody's."""

_PART = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.part(-journal)?$")
_cleaned: set[Path] = set()


def part_name(name: str) -> str:
    """A name beside a file, for its content until it is whole; no two are the same.

    It tells who writes, so that what a killed process left can be told from work in progress. Of a
    name as long as a disk takes the end is left out.
    """
    told = f".{_host_digest()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    folder, _, last = name.rpartition("/")
    kept = os.fsencode(last)[: LONGEST_NAME - len(told)].decode(errors="ignore")
    return (f"{folder}/" if folder else "") + kept + told


def remove_leftovers(folder: Path, others_after_s: float | None = None) -> None:
    """Remove what writers left that were killed; what another one is at work on stays.

    Args:
        folder: Where they wrote.
        others_after_s: Age at which any other ``*.part`` is removed, too; None for never.
    """
    for leftover in folder.glob("*.part*"):
        # Others may clean up as well.
        with suppress(FileNotFoundError):
            age = time.time() - leftover.stat().st_mtime
            if named := _PART.search(leftover.name):
                of_dead = named["host"] == _host_digest() and not psutil.pid_exists(
                    int(named["pid"])
                )
                if of_dead or age > STALE_SECONDS:
                    _remove(leftover)
            elif leftover.suffix == ".part" and others_after_s is not None and age > others_after_s:
                _remove(leftover)


def _host_digest() -> str:
    return hashlib.sha256(host_name().encode()).hexdigest()[:8]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file that appears, or takes the place of an old one, at the end of the block.

    A reader never sees half of it, nor does anyone after a power cut. A block that fails or is
    interrupted leaves the old file and nothing else; what a killed process left in the folder goes.

    Args:
        path: The file; its folder must be there.

    Yields:
        The path to write to.

    Raises:
        OSError: The file cannot be put in place.
    """
    if path.parent not in _cleaned:
        _cleaned.add(path.parent)
        remove_leftovers(path.parent)
    part = path.with_name(part_name(path.name))
    try:
        with _naming(path):
            yield part
            put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def create_file(path: Path, content: bytes) -> None:
    """Make a file in one step, unless there is one.

    Args:
        path: The file; its folder must be there.
        content: What it is to hold.

    Raises:
        FileExistsError: There is one, maybe of another process at the same time.
        OSError: The file cannot be made.
    """
    part = path.with_name(part_name(path.name))
    try:
        with _naming(path):
            part.write_bytes(content)
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        try:
            # Unlike renaming, a link never takes the place of a file.
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with path.open("xb") as file:
                file.write(content)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors of the block name the file, or its folder, and not the one that nobody knows.

    The system names no file where a disk is full, and where a folder is read-only the one that
    could not be made.
    """
    try:
        yield
    except PermissionError as error:
        if error.filename is not None and Path(error.filename).parent == path.parent:
            error.filename = str(path.parent)
        raise
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and _PART.search(str(error.filename)):
            error.filename, error.filename2 = str(path), None
        no_room = no_room_error(error, path)
        if no_room is None:
            raise
        raise no_room from error


@contextmanager
def new_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A folder that appears, whole, at the end of the block.

    A block that fails or is interrupted leaves nothing; what a killed process left goes.

    Args:
        path: The folder; missing ones above it are made.
        replace: Whether it takes the place of one that is there, which goes at the very end.

    Yields:
        The folder to write to.

    Raises:
        OSError: The folder cannot be made or put in place.
    """
    part = path.with_name(part_name(path.name))
    try:
        remove_leftovers(path.parent)
        part.mkdir(parents=True)
        yield part
        # One call for all files: syncing them one by one takes long on slow disks.
        if hasattr(os, "sync"):
            os.sync()
        if replace and path.is_dir():
            _swap(part, path)
        else:
            part.rename(path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            _remove(part)
        raise


def _swap(part: Path, path: Path) -> None:
    """Put a folder in the place of another, which is removed only then."""
    old = path.with_name(part_name(path.name))
    path.rename(old)
    try:
        part.rename(path)
    except BaseException:
        old.rename(path)
        raise
    _remove(old)


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
