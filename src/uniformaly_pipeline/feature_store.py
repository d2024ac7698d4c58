"""Patch features on disk: every image encoded once, whatever uses it (DESIGN "features").

A store is a folder: ``header.json`` says how the features were made, ``shards/*.safetensors`` hold
them and ``index.parquet`` says which image is where. Shards are memory-mapped and, like the index,
put in place by renaming, so an interrupted run leaves a store that the next one continues.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save_file

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.estimates import EncodingCost, feature_bytes, peak_memory
from uniformaly_pipeline.masking import BackPatchMasking

if TYPE_CHECKING:
    import torch

    from uniformaly_pipeline.encoder import Encoded

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
SHARD_BYTES = 64 << 20
INDEX_COLUMNS = {
    "content_hash": "string",
    "shard": "int32",
    "row": "int32",
    "first": "int64",
    "count": "int32",
    "encode_seconds": "float32",
}


@dataclass(frozen=True)
class StoreHeader:
    """How the features of a store were made; another header means other features.

    Attributes:
        backbone: The backbone's settings, see :class:`~uniformaly_pipeline.backbone.Backbone`.
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
class FeatureStream:
    """Features that are computed as they are asked for, so that a store asks for missing ones only.

    Attributes:
        header: How they are made.
        images: Relative path of each image by its content hash.
        encode: Encodes images given by path, in order, in batches.
        batch_size: Images in a batch.
        peak_memory: Most memory held so far where the model computes, in bytes.
    """

    header: StoreHeader
    images: Mapping[str, str]
    encode: Callable[[list[str]], Iterator[Encoded]]
    batch_size: int
    peak_memory: Callable[[], int | None] = peak_memory


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
        """Open a store.

        Raises:
            InputError: There is none at ``path``.
        """
        self.path = path
        try:
            entries = json.loads((path / "header.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(
                f"{path} holds no features: run the pipeline from the start"
            ) from error
        self.header = StoreHeader(**{**entries, "grid": tuple(entries["grid"])})
        self._shards: dict[int, Any] = {}
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
        """A row per stored image, by content hash; columns as :data:`INDEX_COLUMNS`."""
        return _read_index(self.path).set_index("content_hash")

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
            masking: Which patches count and by how much.

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
        if masking.mode == "soft":
            weights = masking.weights(self._attention_tensor(content_hashes)).numpy()
            features *= weights[image, patch][:, None]
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

    def _shard(self, number: int) -> Any:
        """One shard, memory-mapped; the handle stays open as long as the store."""
        if number not in self._shards:
            self._shards[number] = safe_open(_shard_path(self.path, number), framework="numpy")
        return self._shards[number]


@dataclass(frozen=True)
class _Batch:
    """Encoded images as they are stored, on the host."""

    features: np.ndarray
    attention: np.ndarray
    foreground: np.ndarray
    seconds: float

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + self.attention.nbytes + self.foreground.nbytes


def update_store(path: Path, stream: FeatureStream) -> None:
    """Bring a store up to date: encode the images that it lacks, and only those.

    A store that was made in another way is replaced, and the log says what changed.

    Args:
        path: The store's folder.
        stream: The images wanted and how to encode them.

    Raises:
        InputError: The disk is too small, or features overflow the stored type.
    """
    is_ours = _is_of(path, stream.header)
    index = _read_index(path) if is_ours else _no_entries()
    stored = set(index["content_hash"])
    wanted = {key: image for key, image in stream.images.items() if key not in stored}
    logger.info("Features: %d images to encode, %d stored already", len(wanted),
                len(stream.images) - len(wanted))  # fmt: skip
    if not wanted:
        return
    _check_disk(path, stream.header.estimate_bytes(len(wanted)))
    _prepare(path, stream.header, keep=is_ours)
    start = time.monotonic()
    estimates: list[EncodingCost] = []
    for batches in _in_shards(_encode(stream, list(wanted.values()), estimates.append)):
        number = int(index["shard"].max()) + 1 if len(index) else 0
        hashes = [next_hash for next_hash in wanted if next_hash not in stored]
        entries = _write_shard(path, number, batches, hashes)
        index = pd.concat([index, entries], ignore_index=True) if len(index) else entries
        _write_index(path, index)
        stored.update(entries["content_hash"])
    cost = EncodingCost(time.monotonic() - start, stream.peak_memory())
    off = [cost.compared_with(estimate) for estimate in estimates]
    logger.info("Features: encoded %d images in %s, %.1f images a second%s", len(wanted), cost,
                len(wanted) / cost.seconds, "".join(f"; {text}" for text in off))  # fmt: skip


def _is_of(path: Path, header: StoreHeader) -> bool:
    """Whether a store is there whose features were made as ``header`` says."""
    header_path = path / "header.json"
    if not header_path.exists():
        return False
    differences = header.differences(json.loads(header_path.read_text(encoding="utf-8")))
    if differences:
        logger.warning("Features in %s were made with another %s: encoding again", path,
                       ", ".join(differences))  # fmt: skip
    return not differences


def _prepare(path: Path, header: StoreHeader, keep: bool) -> None:
    """Make the folder; remove what was made in another way and what was left half-written."""
    if (path / "header.json").exists() and not keep:
        shutil.rmtree(path)
    (path / "shards").mkdir(parents=True, exist_ok=True)
    for leftover in path.rglob("*.part"):
        leftover.unlink()
    _replace(path / "header.json", lambda part: part.write_text(header.to_json(), encoding="utf-8"))


def _check_disk(path: Path, needed: int) -> None:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    logger.info("Features need at most %.2f GB; %.1f GB are free", needed / 1e9, free / 1e9)
    if needed > free:
        raise InputError(
            f"the feature store needs up to {needed / 1e9:.2f} GB but only {free / 1e9:.2f} GB "
            f"are free in {path}: make room, or run fewer categories"
        )


def _encode(
    stream: FeatureStream, images: list[str], on_estimate: Callable[[EncodingCost], None]
) -> Iterator[_Batch]:
    """Encode batch by batch; the first two tell what all of them will take."""
    masking = BackPatchMasking(**stream.header.masking) if stream.header.masking else None
    batches = stream.encode(images)
    start = last = time.monotonic()
    done = nbytes = 0
    for encoded in track(batches, len(images), "Encoding", "images", stream.batch_size):
        batch = _to_batch(encoded, masking, stream.header.dtype)
        now = time.monotonic()
        size = len(encoded.features)
        # The first batch waits for all to be set up; the second one's rate is the others'.
        is_only, is_second = len(images) <= size, 0 < done <= stream.batch_size
        if is_only or is_second:
            left = (len(images) - done - size) * (now - last) / size
            held = min(SHARD_BYTES, batch.nbytes * len(images) // size) - nbytes
            peak = stream.peak_memory()
            memory = None if peak is None else peak + max(0, held)
            estimate = EncodingCost(now - start + left, memory)
            logger.info("Features: encoding %d images will take about %s", len(images), estimate)
            on_estimate(estimate)
        yield replace(batch, seconds=now - last)
        done, nbytes, last = done + size, nbytes + batch.nbytes, now


def _to_batch(encoded: Encoded, masking: BackPatchMasking | None, dtype: str) -> _Batch:
    """Keep the patches wanted and convert on the device; what leaves it is what is stored."""
    import torch

    if masking is None:
        foreground = torch.ones(encoded.features.shape[:2], dtype=torch.bool)
        kept = encoded.features.flatten(0, 1)
    else:
        foreground = masking.foreground(encoded.attention)
        kept = encoded.features[foreground]
    features = kept.to(getattr(torch, dtype))
    if not bool(torch.isfinite(encoded.attention).all() & torch.isfinite(kept).all()):
        raise InputError(
            "the backbone's values overflow or are not finite: set encoder.precision to float32, "
            "or check its weights"
        )
    if not bool(torch.isfinite(features).all()):
        raise InputError(f"features overflow {dtype}: set features.dtype to float32")
    return _Batch(
        features=features.cpu().numpy(),
        attention=encoded.attention.cpu().numpy(),
        foreground=foreground.cpu().numpy(),
        seconds=0.0,
    )


def _in_shards(batches: Iterator[_Batch]) -> Iterator[list[_Batch]]:
    shard: list[_Batch] = []
    for batch in batches:
        shard.append(batch)
        if sum(part.nbytes for part in shard) >= SHARD_BYTES:
            yield shard
            shard = []
    if shard:
        yield shard


def _write_shard(
    path: Path, number: int, batches: list[_Batch], content_hashes: Sequence[str]
) -> pd.DataFrame:
    """Write one shard and return its rows of the index; the first hashes are the images in it."""
    foreground = np.concatenate([batch.foreground for batch in batches])
    tensors = {
        "features": np.concatenate([batch.features for batch in batches]),
        "attention": np.concatenate([batch.attention for batch in batches]),
        "foreground": foreground.astype(np.uint8),
    }
    _replace(_shard_path(path, number), lambda part: save_file(tensors, part))
    counts = foreground.sum(axis=1)
    seconds = [
        np.full(len(batch.foreground), batch.seconds / len(batch.foreground)) for batch in batches
    ]
    entries = {
        "content_hash": list(content_hashes[: len(counts)]),
        "shard": number,
        "row": np.arange(len(counts)),
        "first": np.cumsum(counts) - counts,
        "count": counts,
        "encode_seconds": np.concatenate(seconds),
    }
    return pd.DataFrame(entries).astype(INDEX_COLUMNS)


def _shard_path(path: Path, number: int) -> Path:
    return path / "shards" / f"{number:05d}.safetensors"


def _no_entries() -> pd.DataFrame:
    return pd.DataFrame(columns=list(INDEX_COLUMNS)).astype(INDEX_COLUMNS)


def _read_index(path: Path) -> pd.DataFrame:
    index_path = path / "index.parquet"
    if not index_path.exists():
        return _no_entries()
    return pd.read_parquet(index_path)


def _write_index(path: Path, index: pd.DataFrame) -> None:
    _replace(path / "index.parquet", lambda part: index.to_parquet(part, index=False))


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under another name and put it in place in one step."""
    part = path.with_name(f"{path.name}.part")
    write(part)
    part.replace(path)
