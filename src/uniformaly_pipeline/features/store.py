"""Patch features on disk: every image encoded once, whatever uses it.

A store is a folder of shards, see :mod:`.shards`, named by a hash of its header: another setting is
another folder, and nothing is ever deleted for it. Any number of writers may add shards at a time,
without a lock. ``header.json`` is there for people. Stores of one run's settings lie side by side,
and ``current.json`` names the one that was brought up to date last.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.estimates import feature_bytes
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.shards import (
    DamagedShardError,
    ShardInfo,
    images_of,
    open_verified,
    read_info,
    set_aside,
    shards_in,
)

if TYPE_CHECKING:
    import torch


logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
HEADER_NAME = "header.json"
CURRENT_NAME = "current.json"


@dataclass(frozen=True)
class StoreHeader:
    """How the features of a store were made; another header means other features.

    Attributes:
        backbone: The backbone's settings, see :class:`.backbone.Backbone`.
        weights_sha256: Hash of the weights themselves.
        preprocessing: The preprocessing's settings.
        precision: Torch type of the encoder's computation.
        grid: (height, width) in patches.
        dim: Length of a patch feature.
        dtype: Type in which features are stored.
        masking: The masking that chose the stored patches, or ``None`` where all are stored.
        version: Version of the store's format.
        layer_choices: Blocks averaged into each part of a feature, where it has several parts:
            ``dim`` is then that of all parts together.
    """

    backbone: Mapping[str, Any]
    weights_sha256: str
    preprocessing: Mapping[str, Any]
    precision: str
    grid: tuple[int, int]
    dim: int
    dtype: Literal["float16", "float32"]
    masking: Mapping[str, Any] | None
    version: int = FORMAT_VERSION
    layer_choices: Sequence[Sequence[int]] | None = None

    def to_json(self) -> str:
        """The header as readable JSON."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @property
    def key(self) -> str:
        """Name of the store's folder: a hash of the header, 16 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, text: str) -> StoreHeader:
        """The header that :meth:`to_json` wrote.

        Raises:
            ValueError: It is not one.
        """
        try:
            entries = json.loads(text)
            return cls(**{**entries, "grid": tuple(entries["grid"])})
        except (TypeError, KeyError) as error:
            raise ValueError("no header of a feature store") from error

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Names of the entries in which a stored header differs from this one."""
        own = json.loads(self.to_json())
        return [key for key in own if own[key] != other.get(key)]

    @property
    def num_patches(self) -> int:
        """Patches of the grid, N."""
        return self.grid[0] * self.grid[1]

    def estimate_bytes(self, num_images: int) -> int:
        """Most that the features of so many images can take on disk, in bytes."""
        return feature_bytes(num_images, self.num_patches, self.dim, self.dtype)


@dataclass(frozen=True)
class PatchFeatures:
    """The patches that count of several images, in order.

    Attributes:
        features: float32 [M, D].
        image: int64 [M], which image each belongs to, 0..B-1.
        patch: int64 [M], its place in the grid, row by row, 0..N-1.
        num_images: B.
        grid: (height, width) in patches.
    """

    features: np.ndarray
    image: np.ndarray
    patch: np.ndarray
    num_images: int
    grid: tuple[int, int]

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Put a value per patch back into the grids: float32 [B, N], 0 for background."""
        grids = np.zeros((self.num_images, self.grid[0] * self.grid[1]), dtype=np.float32)
        grids[self.image, self.patch] = values
        return grids


class FeatureStore:
    """Reads a store.

    Attributes:
        path: Its folder.
        header: How its features were made.
    """

    def __init__(self, path: Path) -> None:
        """Open a store, or the current one of those that lie in a folder.

        Raises:
            InputError: There is none at ``path``.
        """
        self.path = current_store(path)
        self.header = read_header(self.path)
        self._shards: dict[Path, Any] = {}
        self._columns = self._part(0)

    def _part(self, number: int) -> slice:
        """Columns of one of the store's layer choices; a store has at least one."""
        dim = self.header.dim // len(self.header.layer_choices or [()])
        return slice(number * dim, (number + 1) * dim)

    def with_layers(self, layers: Sequence[int]) -> FeatureStore:
        """The same store seen as features of one of its layer choices; at first it is the first.

        Raises:
            InputError: The store has no such choice.
        """
        choices = [list(choice) for choice in self.header.layer_choices or []]
        wanted = sorted(set(layers))
        if wanted not in choices:
            raise InputError(f"{self.path} holds no features of the blocks {wanted}: encode again")
        part = FeatureStore(self.path)
        part._columns = part._part(choices.index(wanted))
        return part

    @property
    def dim(self) -> int:
        """Length of a patch feature, D."""
        return self._columns.stop - self._columns.start

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row per stored image, by content hash.

        Columns ``shard`` (the file), ``row`` of its attention and foreground, ``first`` and
        ``count`` of its features, ``encode_seconds``.
        """
        entries = [
            (image.content_hash, info.path, row, first, image.count, image.encode_seconds)
            for info, row, first, image in images_of(good_shards(self.path))
        ]
        columns = ["content_hash", "shard", "row", "first", "count", "encode_seconds"]
        return pd.DataFrame(entries, columns=columns).set_index("content_hash")

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) in patches."""
        return self.header.grid

    def encode_seconds(self, content_hashes: Sequence[str]) -> float:
        """Seconds that decoding and encoding these images took."""
        return float(self._rows(content_hashes)["encode_seconds"].sum())

    def attention(self, content_hashes: Sequence[str]) -> np.ndarray:
        """The class token's attention: float32 [B, grid height, grid width]."""
        rows = self._rows(content_hashes)
        grids = [
            self._shard(shard).get_slice("attention")[row]
            for shard, row in zip(rows["shard"], rows["row"], strict=True)
        ]
        return np.stack(grids) if grids else np.zeros((0, *self.grid), np.float32)

    def foreground(self, content_hashes: Sequence[str], masking: BackPatchMasking) -> np.ndarray:
        """The patches that count: bool [B, N].

        Raises:
            InputError: The store kept only the patches of another masking.
        """
        self._check_masking(masking)
        if self.header.masking is None:
            return masking.foreground(self._attention_tensor(content_hashes)).numpy()
        return self._stored_foreground(self._rows(content_hashes))

    def load(self, content_hashes: Sequence[str], masking: BackPatchMasking) -> PatchFeatures:
        """The features of the patches that count.

        Args:
            content_hashes: The images, in the order wanted.
            masking: Which patches count.

        Raises:
            InputError: The store kept only the patches of another masking, or lacks an image.
        """
        rows = self._rows(content_hashes)
        foreground = self.foreground(content_hashes, masking)
        image, patch = np.nonzero(foreground)
        features = np.empty((len(image), self.dim), dtype=np.float32)
        ends = np.cumsum(foreground.sum(axis=1))
        stored_all = self.header.masking is None
        for i, (shard, first, count) in enumerate(
            zip(rows["shard"], rows["first"], rows["count"], strict=True)
        ):
            if count == 0:
                continue
            patches = slice(first, first + count)
            stored = self._shard(shard).get_slice("features")[patches, self._columns]
            begin = ends[i - 1] if i else 0
            features[begin : ends[i]] = stored[foreground[i]] if stored_all else stored
        return PatchFeatures(features, image, patch, len(rows), self.grid)

    def _attention_tensor(self, content_hashes: Sequence[str]) -> torch.Tensor:
        import torch

        return torch.from_numpy(self.attention(content_hashes))

    def _check_masking(self, masking: BackPatchMasking) -> None:
        if self.header.masking is not None and asdict(masking) != dict(self.header.masking):
            raise InputError(
                f"{self.path} holds only the foreground patches of {dict(self.header.masking)}: "
                "encode again, or set features.keep to all"
            )

    def _stored_foreground(self, rows: pd.DataFrame) -> np.ndarray:
        flags = [
            self._shard(shard).get_slice("foreground")[row]
            for shard, row in zip(rows["shard"], rows["row"], strict=True)
        ]
        return (
            np.stack(flags).astype(bool) if flags else np.zeros((0, self.header.num_patches), bool)
        )

    def _rows(self, content_hashes: Sequence[str]) -> pd.DataFrame:
        missing = [key for key in content_hashes if key not in self.index.index]
        if missing:
            raise InputError(
                f"{self.path} lacks the features of {len(missing)} images: run the pipeline from "
                "the start"
            )
        return self.index.loc[list(content_hashes)]

    def _shard(self, path: Path) -> Any:
        """One shard, memory-mapped and checked; the handle stays open as long as the store."""
        if path not in self._shards:
            try:
                self._shards[path] = open_verified(read_info(path))
            except DamagedShardError as error:
                aside = set_aside(path)
                raise InputError(
                    f"the features in {path} were damaged and are set aside as {aside.name}: run "
                    "again, and its images are encoded anew"
                ) from error
        return self._shards[path]


def current_store(path: Path) -> Path:
    """The store at ``path``, or the current one of those that lie there.

    Raises:
        InputError: There is none, or one of an older version.
    """
    if (path / HEADER_NAME).exists() or shards_in(path):
        if (path / "shards").is_dir():
            raise InputError(
                f"{path} holds features of an older version, which are not used: remove the folder"
            )
        return path
    stores = sorted(folder for folder in path.glob("*/") if (folder / HEADER_NAME).exists())
    with suppress(OSError, ValueError, TypeError, KeyError):
        named = path / json.loads((path / CURRENT_NAME).read_text(encoding="utf-8"))["store"]
        if named in stores:
            return named
    if len(stores) == 1:
        return stores[0]
    raise InputError(f"{path} holds no features: run the pipeline from the start")


def read_header(path: Path) -> StoreHeader:
    """The header of a store, from its file or, where that is damaged, from a shard.

    Raises:
        InputError: There is none.
    """
    texts = []
    with suppress(OSError, UnicodeDecodeError):
        texts.append((path / HEADER_NAME).read_text(encoding="utf-8"))
    for text in (*texts, *(info.header for info in good_shards(path))):
        with suppress(ValueError):
            header = StoreHeader.from_json(text)
            if header.key == path.name:
                return header
    raise InputError(f"{path} holds no features that can be read: remove it and run again")


def good_shards(path: Path) -> list[ShardInfo]:
    """What the shards of a store say of themselves; damaged ones are named and set aside."""
    infos = []
    for shard in shards_in(path):
        try:
            info = read_info(shard)
            if StoreHeader.from_json(info.header).key != path.name:
                raise DamagedShardError(shard)
        except (DamagedShardError, ValueError):
            aside = set_aside(shard)
            logger.warning("Features: %s was damaged and is set aside as %s", shard, aside.name)
            continue
        infos.append(info)
    return infos
