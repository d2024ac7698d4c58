"""Patch features on disk or elsewhere: every image encoded once, whatever uses it.

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
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.origin import Origin
from uniformaly_pipeline.common.remote_path import AnyPath
from uniformaly_pipeline.common.secrets import hide_secrets
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.features.estimates import feature_bytes
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.shards import (
    DamagedShardError,
    ShardInfo,
    images_of,
    open_verified,
    read_info,
    read_infos,
    set_aside,
    shards_in,
)
from uniformaly_pipeline.features.tiles import Tiles, Tiling, tiling_of

if TYPE_CHECKING:
    import pandas as pd
    import torch


logger = logging.getLogger(__name__)

OPEN_SHARDS = 4
"""Files of a store that are open at a time."""

FORMAT_VERSION = 2
HEADER_NAME = "header.json"
CURRENT_NAME = "current.json"
PLACE_PARTS = 3
"""Parts of a path that tell features apart: data set, backbone and settings."""


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
        engine: What computed them; ``None``: torch. Engines agree to 1e-4 and each with itself to
            1e-5, so the features of two are never in one store. Torch's libraries for linear
            layers agree to 1e-5 and are not told apart.
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
    engine: str | None = None

    def to_json(self) -> str:
        """The header as readable JSON; torch's features go without naming their engine.

        Of a checkpoint's address the user and password are left out.
        """
        entries, _ = hide_secrets(asdict(self))
        if self.engine is None:
            del entries["engine"]
        return json.dumps(entries, indent=2, sort_keys=True)

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
        return [key for key in {**own, **other} if own.get(key) != other.get(key)]

    @property
    def num_patches(self) -> int:
        """Patches of the grid, N."""
        return self.grid[0] * self.grid[1]

    def estimate_bytes(self, num_inputs: int) -> int:
        """Most that the features of so many inputs can take on disk, in bytes."""
        return feature_bytes(num_inputs, self.num_patches, self.dim, self.dtype)


@dataclass(frozen=True)
class PatchFeatures:
    """The patches that count of several images, in order.

    Attributes:
        features: float32 [M, D].
        image: int64 [M], which image each belongs to, 0..B-1.
        patch: int64 [M], its place in the grid, row by row, 0..N-1.
        num_images: B.
        grid: (height, width) in patches.
        overlap: Whether several may have one place, where tiles overlap.
    """

    features: np.ndarray
    image: np.ndarray
    patch: np.ndarray
    num_images: int
    grid: tuple[int, int]
    overlap: bool = False

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Put a value per patch back into the grids: float32 [B, N], 0 for background.

        Of several at one place it is their mean.
        """
        if self.overlap:
            shape = (self.num_images, self.grid[0] * self.grid[1])
            total, count = np.zeros(shape), np.zeros(shape, np.int64)
            np.add.at(total, (self.image, self.patch), values.astype(np.float64))
            np.add.at(count, (self.image, self.patch), 1)
            return (total / np.maximum(count, 1)).astype(np.float32)
        grids = np.zeros((self.num_images, self.grid[0] * self.grid[1]), dtype=np.float32)
        grids[self.image, self.patch] = values
        return grids


class PatchSource(Protocol):
    """Whatever gives the features of images, on disk or in memory."""

    @property
    def header(self) -> StoreHeader:
        """How they are made."""

    @property
    def dim(self) -> int:
        """Length of a patch feature, D."""

    def grid_of(self, content_hashes: Sequence[str]) -> tuple[int, int]:
        """The grid that holds each of these images, see :meth:`FeatureStore.grid_of`."""

    def load(
        self,
        content_hashes: Sequence[str],
        masking: BackPatchMasking,
        grid: tuple[int, int] | None = None,
    ) -> PatchFeatures:
        """The features of the patches that count, see :meth:`FeatureStore.load`."""


class FeatureStore:
    """Reads a store.

    Attributes:
        path: Its folder.
        header: How its features were made.
    """

    def __init__(self, path: AnyPath) -> None:
        """Open a store, or the current one of those that lie in a folder.

        Raises:
            InputError: There is none at ``path``.
        """
        self.path = current_store(path)
        self.header = read_header(self.path)
        self._shards: dict[AnyPath, Any] = {}
        self._verified: set[AnyPath] = set()
        self._columns = self._part(0)

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without the files that this one has open."""
        return {**self.__dict__, "_shards": {}}

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
        ``count`` of its features, ``encode_seconds``; ``views``, ``width`` and ``height`` of an
        image that may be cut into tiles.
        """
        import pandas as pd

        entries = [
            (
                *(image.content_hash, info.path, row, first, image.count, image.encode_seconds),
                *(image.views, image.width, image.height),
            )
            for info, row, first, image in images_of(good_shards(self.path))
        ]
        columns = ["content_hash", "shard", "row", "first", "count", "encode_seconds"]
        columns += ["views", "width", "height"]
        return pd.DataFrame(entries, columns=columns).set_index("content_hash")

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of an input in patches."""
        return self.header.grid

    def grid_of(self, content_hashes: Sequence[str]) -> tuple[int, int]:
        """(height, width) in patches of a grid that holds each of these images.

        It is larger than an input's where an image is cut into tiles.
        """
        if self.tiles is None:
            return self.grid
        wholes = [self.grid, *(each.whole for each in self._tilings(content_hashes))]
        return max(height for height, _ in wholes), max(width for _, width in wholes)

    @cached_property
    def tiles(self) -> Tiles | None:
        """How large images are cut, ``None`` where none are."""
        tiles = self.header.preprocessing.get("tiles")
        return Tiles(**tiles) if tiles else None

    def _tilings(self, content_hashes: Sequence[str]) -> list[Tiling]:
        assert self.tiles is not None
        rows = self._rows(content_hashes)
        return [
            tiling_of((int(width), int(height)), self.tiles, self.grid)
            for width, height in zip(rows["width"], rows["height"], strict=True)
        ]

    def encode_seconds(self, content_hashes: Sequence[str]) -> float:
        """Seconds that decoding and encoding these images took."""
        return float(self._rows(content_hashes)["encode_seconds"].sum())

    def attention(
        self, content_hashes: Sequence[str], grid: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The class token's attention: float32 [B, grid height, grid width].

        It is NaN where a patch shows nothing that counts, such as padding; where tiles overlap it
        is their mean.

        Args:
            content_hashes: The images.
            grid: Of several that are cut into tiles, see :meth:`grid_of`.
        """
        rows = self._rows(content_hashes)
        if self.tiles is not None:
            grid = grid or self.grid_of(content_hashes)
            stitched = np.full((len(rows), *grid), np.nan, np.float32)
            for whole, tiling, row in zip(
                stitched, self._tilings(content_hashes), rows.itertuples(), strict=True
            ):
                height, width = tiling.whole
                whole[:height, :width] = tiling.stitch(self._views("attention", row))
            return stitched
        grids = [
            self._shard(shard).get_slice("attention")[row]
            for shard, row in zip(rows["shard"], rows["row"], strict=True)
        ]
        return np.stack(grids) if grids else np.zeros((0, *self.grid), np.float32)

    def foreground(
        self,
        content_hashes: Sequence[str],
        masking: BackPatchMasking,
        grid: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """The patches that count: bool [B, N]; of overlapping tiles those that count in any.

        Args:
            content_hashes: The images.
            masking: Which patches count.
            grid: Of several that are cut into tiles, see :meth:`grid_of`.

        Raises:
            InputError: The store kept only the patches of another masking.
        """
        self._check_masking(masking)
        if self.tiles is not None:
            loaded = self.load(content_hashes, masking, grid)
            found = np.zeros((len(content_hashes), loaded.grid[0] * loaded.grid[1]), bool)
            found[loaded.image, loaded.patch] = True
            return found
        if self.header.masking is None:
            return masking.foreground(self._attention_tensor(content_hashes)).numpy()
        return self._stored_foreground(self._rows(content_hashes))

    def count(self, content_hashes: Sequence[str], masking: BackPatchMasking) -> np.ndarray:
        """How many patches of each image :meth:`load` gives: int64 [B].

        Raises:
            InputError: The store kept only the patches of another masking, or lacks an image.
        """
        self._check_masking(masking)
        rows = self._rows(content_hashes)
        if self.header.masking is not None:
            counts: np.ndarray = rows["count"].to_numpy(np.int64)
            return counts
        if self.tiles is None:
            return self.foreground(content_hashes, masking).sum(axis=1)
        views = (self._views("attention", row) for row in rows.itertuples())
        return np.array([masking.foreground(each).sum() for each in views], np.int64)

    def load(
        self,
        content_hashes: Sequence[str],
        masking: BackPatchMasking,
        grid: tuple[int, int] | None = None,
    ) -> PatchFeatures:
        """The features of the patches that count.

        Args:
            content_hashes: The images, in the order wanted.
            masking: Which patches count.
            grid: The grid that places are told in, where images are cut into tiles; by default that
                of :meth:`grid_of` these.

        Raises:
            InputError: The store kept only the patches of another masking, or lacks an image.
        """
        rows = self._rows(content_hashes)
        if self.tiles is not None:
            return self._load_tiles(content_hashes, masking, grid or self.grid_of(content_hashes))
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

    def _load_tiles(
        self, content_hashes: Sequence[str], masking: BackPatchMasking, grid: tuple[int, int]
    ) -> PatchFeatures:
        """As :meth:`load`, of images that may be cut into tiles."""
        self._check_masking(masking)
        features, image, patch = [], [], []
        rows = self._rows(content_hashes)
        stored_all = self.header.masking is None
        for i, (tiling, row) in enumerate(
            zip(self._tilings(content_hashes), rows.itertuples(), strict=True)
        ):
            if stored_all:
                counts = masking.foreground(self._views("attention", row))
            else:
                counts = self._views("foreground", row).astype(bool)
            patches = slice(row.first, row.first + row.count)
            stored = self._shard(row.shard).get_slice("features")[patches, self._columns]
            kept = stored[counts.ravel()] if stored_all else stored
            below, right = np.divmod(tiling.patches()[counts], tiling.whole[1])
            features.append(np.asarray(kept, np.float32))
            patch.append(below * grid[1] + right)
            image.append(np.full(len(kept), i, np.int64))
        if not features:
            features, image, patch = [np.zeros((0, self.dim), np.float32)], [], []
        return PatchFeatures(
            np.concatenate(features),
            np.concatenate([np.zeros(0, np.int64), *image]),
            np.concatenate([np.zeros(0, np.int64), *patch]),
            len(rows),
            grid,
            overlap=True,
        )

    def _views(self, tensor: str, row: Any) -> np.ndarray:
        """Attention or foreground of an image's tiles [V, ...]."""
        views: np.ndarray = self._shard(row.shard).get_slice(tensor)[row.row : row.row + row.views]
        return views

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
                f"{self.path} lacks the features of {number_of(len(missing), 'image')}: {RUN_AGAIN}"
            )
        return self.index.loc[list(content_hashes)]

    def _shard(self, path: AnyPath) -> Any:
        """One shard, memory-mapped, and checked when it is first opened; the last few stay open.

        Pages that were read count as memory of the process for as long as their file is open.
        """
        shard = self._shards.pop(path, None)
        if shard is None:
            try:
                shard = open_verified(read_info(path), known=path in self._verified)
            except DamagedShardError as error:
                aside = set_aside(path)
                raise InputError(
                    f"the features in {path} were damaged and are set aside as {aside.name}: run "
                    "again, and its images are encoded anew"
                ) from error
            self._verified.add(path)
        self._shards[path] = shard
        for old in list(self._shards)[:-OPEN_SHARDS]:
            self._shards.pop(old, None)
        return shard


def current_store(path: AnyPath) -> AnyPath:
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
        current = json.loads((path / CURRENT_NAME).read_text(encoding="utf-8"))
        if (named := path / current["store"]) in stores:
            return named
    if len(stores) == 1:
        return stores[0]
    raise InputError(f"{path} holds no features: {RUN_AGAIN}")


def known_checkpoint(path: AnyPath) -> str | None:
    """SHA-256 of the file whose weights made the current store; ``None`` if nobody knows."""
    return _noted(path, "checkpoint_sha256")


def check_place(path: AnyPath) -> None:
    """Refuse features that belong to another data set, backbone or run.

    Raises:
        InputError: They were copied there; the line names both places.
    """
    origin = Origin("", place=_noted(path, "place") or "")
    origin.check_place(path.absolute().as_posix(), f"features in {path}")


def _noted(path: AnyPath, name: str) -> str | None:
    with suppress(OSError, ValueError, TypeError, AttributeError):
        noted = json.loads((path / CURRENT_NAME).read_text(encoding="utf-8")).get(name)
        return None if noted is None else str(noted)
    return None


def read_header(path: AnyPath) -> StoreHeader:
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


def good_shards(path: AnyPath) -> list[ShardInfo]:
    """What the shards of a store say of themselves; damaged ones are named and set aside."""
    infos = []
    shards = shards_in(path)
    for shard, read in zip(shards, read_infos(shards), strict=True):
        try:
            info = read()
            if StoreHeader.from_json(info.header).key != path.name:
                raise DamagedShardError(shard)
        except InputError:  # where it lies does not answer: that is no damage
            raise
        except (DamagedShardError, ValueError):
            aside = set_aside(shard)
            logger.warning("Features: %s was damaged and is set aside as %s", shard, aside.name)
            continue
        infos.append(info)
    return infos
