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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uniformaly_pipeline.common.array_bundle import describe_array
from uniformaly_pipeline.common.files import new_file

SUFFIX = ".safetensors"
DAMAGED_SUFFIX = ".damaged"
TENSORS = ("attention", "features", "foreground")


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

    path: Path
    header: str
    images: tuple[StoredImage, ...]
    tensors: Mapping[str, Any]


def write_shard(
    folder: Path, header: str, images: list[StoredImage], tensors: dict[str, np.ndarray]
) -> Path:
    """Put a shard into a store, in one step and under a name that no other attempt has.

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


def shards_in(folder: Path) -> list[Path]:
    """The shards of a store, in the order of their names, which every reader shares."""
    return sorted(folder.glob(f"*{SUFFIX}"))


@lru_cache(maxsize=100_000)
def read_info(path: Path) -> ShardInfo:
    """What a shard says of itself; read once a process, since shards never change.

    Raises:
        DamagedShardError: It cannot be read, or its description is not what was written.
    """
    with _open(path) as shard:
        described = shard.metadata() or {}
    try:
        if described["digest"] != _digest(described):
            raise DamagedShardError(path)
        images = tuple(StoredImage(*entry) for entry in json.loads(described["images"]))
        return ShardInfo(path, described["header"], images, json.loads(described["tensors"]))
    except (KeyError, ValueError) as error:
        raise DamagedShardError(path) from error


def open_verified(info: ShardInfo, known: bool = False) -> Any:
    """A shard to read tensors from, memory-mapped, once its content is checked.

    Args:
        info: What the shard says of itself.
        known: Whether this process has checked it before; shards never change.

    Raises:
        DamagedShardError: A tensor is not what was written.
    """
    shard = _open(info.path)
    for name in () if known else TENSORS:
        try:
            tensor = shard.get_tensor(name)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DamagedShardError(info.path) from error
        if describe_array(tensor) != info.tensors.get(name):
            raise DamagedShardError(info.path)
    return shard


def set_aside(path: Path) -> Path:
    """Take a damaged shard out of the store, so that its images are encoded again.

    Returns:
        Where it lies now.
    """
    aside = path.with_suffix(DAMAGED_SUFFIX)
    # Another process may have found the same.
    with suppress(FileNotFoundError):
        path.rename(aside)
    return aside


def _open(path: Path) -> Any:
    """A handle that stays open as long as it is kept, unless it is a context manager's."""
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedShardError(path) from error


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
