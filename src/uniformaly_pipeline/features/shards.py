"""One file of a feature store: self-describing, checksummed, never changed once it is there.

A shard is a safetensors file. Its tensors are ``features`` [M, D] (the kept patches of its images,
one image after the other), ``attention`` [B, grid height, grid width] and ``foreground`` uint8
[B, N]. Its metadata hold the store's header, each image's content hash with what belongs to it, and
a checksum of every tensor; a digest covers these.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uniformaly_pipeline.common.array_bundle import describe_array
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.file_cache import (
    LIMIT_VARIABLE,
    FileCache,
    cache_folder,
    cache_limit,
)
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, new_file, rename

SUFFIX = ".safetensors"
DAMAGED_SUFFIX = ".damaged"
TENSORS = ("attention", "features", "foreground")

HEAD_BYTES = 1 << 16
"""What is fetched of a file elsewhere to read what it says of itself; most files say less."""
MOST_HEAD_BYTES = 100_000_000
"""What a safetensors file may say of itself."""

READERS = 16
"""Files elsewhere that are asked at once what they say of themselves."""

MOST_EVICTIONS = 3
"""How often another process may remove a copy before it is opened: then the cache is too small."""


class DamagedShardError(Exception):
    """A shard is not what was written."""


@dataclass(frozen=True)
class StoredImage:
    """An image of a shard.

    Attributes:
        content_hash: Hash of the bytes that were decoded.
        count: How many of its patches are stored.
        encode_seconds: Seconds that decoding and encoding it took.
        views: Rows of attention and foreground that are its: one, or one for each tile.
        width: Pixels of the image, where it may be cut into tiles; otherwise 0.
        height: The same.
    """

    content_hash: str
    count: int
    encode_seconds: float
    views: int = 1
    width: int = 0
    height: int = 0

    def to_list(self) -> list[Any]:
        """The image as a shard's description holds it."""
        entry: list[Any] = [self.content_hash, self.count, self.encode_seconds]
        return [*entry, self.views, self.width, self.height] if self.width else entry


@dataclass(frozen=True)
class ShardInfo:
    """What a shard says of itself.

    Attributes:
        path: The file.
        header: The store's header, JSON.
        images: Its images, in the order of the rows.
        tensors: Type, shape and SHA-256 of each tensor.
    """

    path: AnyPath
    header: str
    images: tuple[StoredImage, ...]
    tensors: Mapping[str, Any]


def write_shard(
    folder: AnyPath, header: str, images: list[StoredImage], tensors: dict[str, np.ndarray]
) -> AnyPath:
    """Put a shard into a store, in one step and under a name that no other attempt has.

    Elsewhere it appears by one upload.

    Returns:
        The file.
    """
    described = {
        "header": header,
        "images": json.dumps([image.to_list() for image in images]),
        "tensors": json.dumps({name: describe_array(tensors[name]) for name in TENSORS}),
    }
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    with new_file(path) as part:
        save_file(tensors, part, {**described, "digest": _digest(described)})
    return path


def shards_in(folder: AnyPath) -> list[AnyPath]:
    """The shards of a store, in the order of their names, which every reader shares."""
    return sorted(folder.glob(f"*{SUFFIX}"))


@lru_cache(maxsize=100_000)
def read_info(path: AnyPath) -> ShardInfo:
    """What a shard says of itself; read once a process, since shards never change.

    Of one elsewhere no more is fetched than that.

    Raises:
        DamagedShardError: It cannot be read, or its description is not what was written.
    """
    if isinstance(path, RemotePath):
        described = _metadata_of(path)
    else:
        with _open(path) as shard:
            described = shard.metadata() or {}
    try:
        if described["digest"] != _digest(described):
            raise DamagedShardError(path)
        images = tuple(StoredImage(*entry) for entry in json.loads(described["images"]))
        return ShardInfo(path, described["header"], images, json.loads(described["tensors"]))
    except (KeyError, ValueError) as error:
        raise DamagedShardError(path) from error


def read_infos(paths: Sequence[AnyPath]) -> Iterator[Callable[[], ShardInfo]]:
    """What shards say of themselves, each as :func:`read_info` gives it; those elsewhere at once.

    Yields:
        A function for each, in order, that gives the description or raises its error.
    """
    if not any(isinstance(path, RemotePath) for path in paths):
        yield from (partial(read_info, path) for path in paths)
        return
    with ThreadPoolExecutor(READERS) as readers:
        futures = [readers.submit(read_info, path) for path in paths]
    yield from (future.result for future in futures)


def open_verified(info: ShardInfo, known: bool = False) -> Any:
    """A shard to read tensors from, memory-mapped, once its content is checked.

    Args:
        info: What the shard says of itself.
        known: Whether this process has checked it before; shards never change.

    Raises:
        DamagedShardError: A tensor is not what was written.
    """
    try:
        return _opened(info, known)
    except DamagedShardError:
        if not isinstance(info.path, RemotePath):
            raise
    # It may be the copy that is damaged.
    _copies().forget(info.path)
    return _opened(info, known)


def _opened(info: ShardInfo, known: bool) -> Any:
    shard = _open(info.path)
    for name in () if known else TENSORS:
        try:
            tensor = shard.get_tensor(name)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DamagedShardError(info.path) from error
        if describe_array(tensor) != info.tensors.get(name):
            raise DamagedShardError(info.path)
    return shard


def set_aside(path: AnyPath) -> AnyPath:
    """Take a damaged shard out of the store, so that its images are encoded again.

    Returns:
        Where it lies now.
    """
    aside = path.with_suffix(DAMAGED_SUFFIX)
    # Another process may have found the same.
    with suppress(FileNotFoundError):
        rename(path, aside.name)
    return aside


def _open(path: AnyPath) -> Any:
    """A handle that stays open as long as it is kept, unless it is a context manager's."""
    for _ in range(MOST_EVICTIONS):
        try:
            local = _copies().copy_of(path) if isinstance(path, RemotePath) else path
        except FileNotFoundError as error:
            raise DamagedShardError(path) from error
        try:
            return safe_open(local, framework="numpy")
        except (SafetensorError, OSError, ValueError) as error:
            if local is path or not isinstance(error, FileNotFoundError):
                raise DamagedShardError(path) from error
            # Another process has just removed the copy, to have room.
    raise InputError(
        f"{_copies().folder} has no room for what is read at once: raise {LIMIT_VARIABLE}"
    )


def _copies() -> FileCache:
    """Copies of shards that lie elsewhere."""
    return FileCache(cache_folder() / "shards", cache_limit())


def _metadata_of(path: RemotePath) -> dict[str, str]:
    """What the head of a safetensors file says: JSON after eight bytes of its length.

    Raises:
        DamagedShardError: It says nothing that can be read.
    """
    try:
        head = path.read_range(0, HEAD_BYTES)
        size = int.from_bytes(head[:8], "little")
        if len(head) == HEAD_BYTES and HEAD_BYTES < 8 + size <= MOST_HEAD_BYTES:
            head += path.read_range(HEAD_BYTES, 8 + size)
    except FileNotFoundError as error:
        raise DamagedShardError(path) from error
    try:
        metadata: dict[str, str] = json.loads(head[8 : 8 + size])["__metadata__"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedShardError(path) from error
    return metadata


def _digest(described: Mapping[str, str]) -> str:
    parts = (described["header"], described["images"], described["tensors"])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def images_of(infos: list[ShardInfo]) -> Iterator[tuple[ShardInfo, int, int, StoredImage]]:
    """Each stored image once, the first shard that has it: shard, row, first patch, image."""
    seen = set()
    for info in infos:
        first = row = 0
        for image in info.images:
            if image.content_hash not in seen:
                seen.add(image.content_hash)
                yield info, row, first, image
            first += image.count
            row += image.views
