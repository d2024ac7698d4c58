"""Brings a feature store up to date: encodes the images that it lacks, and only those."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.files import STALE_SECONDS, remove_leftovers
from uniformaly_pipeline.common.origin import own_place
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, new_file
from uniformaly_pipeline.features.estimates import EncodingCost, peak_memory
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.shards import StoredImage, write_shard
from uniformaly_pipeline.features.store import (
    CURRENT_NAME,
    HEADER_NAME,
    PLACE_PARTS,
    StoreHeader,
    good_shards,
)

if TYPE_CHECKING:
    from uniformaly_pipeline.features.encoder import Encoded

logger = logging.getLogger(__name__)


SHARD_BYTES, MOST_SHARD_BYTES = 4 << 20, 64 << 20
"""Features that wait in memory until a file is full; in large stores more, for fewer files."""

MANY_SHARDS = 1024
"""Files of a store from which on they are larger."""


@dataclass(frozen=True)
class FeatureStream:
    """Features that are computed as they are asked for, so that a store asks for missing ones only.

    Attributes:
        header: How they are made.
        images: Relative path of each image by its content hash.
        encode: Encodes images given by path, in order, in batches.
        batch_size: Images in a batch.
        peak_memory: Most memory held so far where the model computes, in bytes.
        seconds: What encoding so many inputs takes, about.
        alternatives: Other ways to make such features, into stores of their own.
        checkpoint_sha256: Hash of the file that the weights were read from, if there is one.
        num_inputs: Inputs of an image by its content hash, where it is cut into tiles; else one.
    """

    header: StoreHeader
    images: Mapping[str, str]
    encode: Callable[[list[str]], Iterator[Encoded]]
    batch_size: int
    peak_memory: Callable[[], int | None] = peak_memory
    seconds: Callable[[int], float] = float
    alternatives: Sequence[FeatureStream] = ()
    num_inputs: Mapping[str, int] = field(default_factory=dict)
    checkpoint_sha256: str | None = None

    def inputs_of(self, content_hashes: Iterable[str]) -> int:
        """How often the encoder computes for these images."""
        return sum(self.num_inputs.get(key, 1) for key in content_hashes)


@dataclass(frozen=True)
class _Batch:
    """Encoded images as they are stored, on the host."""

    content_hashes: Sequence[str]
    features: np.ndarray
    attention: np.ndarray
    foreground: np.ndarray
    seconds: float
    image_size: tuple[int, int] | None = None

    @property
    def images(self) -> list[StoredImage]:
        """The images, with what is stored of each."""
        if self.image_size is not None:
            (key,), count = self.content_hashes, int(self.foreground.sum())
            return [StoredImage(key, count, self.seconds, len(self.foreground), *self.image_size)]
        counts = self.foreground.sum(axis=1).tolist()
        seconds = self.seconds / len(counts)
        return [
            StoredImage(content_hash, count, seconds)
            for content_hash, count in zip(self.content_hashes, counts, strict=True)
        ]

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + self.attention.nbytes + self.foreground.nbytes


def update_store(path: AnyPath, stream: FeatureStream) -> AnyPath:
    """Bring a store up to date: encode the images that it lacks, and only those.

    Others may write to the same store at the same time. Images that are encoded twice are stored
    twice, and every reader takes the same one.

    Args:
        path: The folder in which stores of the run's settings lie.
        stream: The images wanted and how to encode them.

    Returns:
        The store's own folder.

    Raises:
        InputError: The disk is too small, features overflow the stored type, or an image is not
            the one whose features are wanted.
    """
    _point_out_old_stores(path)
    stream, wanted = _quickest(path, stream)
    folder = path / stream.header.key
    logger.info("Features: %d images to encode, %d stored already", len(wanted),
                len(stream.images) - len(wanted))  # fmt: skip
    if wanted:
        _check_disk(path, stream.header.estimate_bytes(stream.inputs_of(wanted)))
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(folder, RemotePath):
        remove_leftovers(folder, STALE_SECONDS)
    # Before any shard: a run that is interrupted must not leave others' features as its own.
    _write_json(folder / HEADER_NAME, stream.header.to_json())
    _write_json(
        path / CURRENT_NAME,
        json.dumps(
            {
                "store": folder.name,
                "checkpoint_sha256": stream.checkpoint_sha256,
                "place": own_place(str(path), PLACE_PARTS),
            }
        ),
    )
    if wanted:
        _encode_all(folder, stream, wanted)
    return folder


def _quickest(path: AnyPath, stream: FeatureStream) -> tuple[FeatureStream, dict[str, str]]:
    """Of a stream and its alternatives the one that is done first, and the images that it lacks.

    What a store has already counts: one that was begun is gone on with unless another pays.
    """
    lacking = [(each, _lacking(path, each)) for each in (stream, *stream.alternatives)]
    if len(lacking) == 1:
        return lacking[0]
    return min(lacking, key=lambda each: each[0].seconds(each[0].inputs_of(each[1])))


def _lacking(path: AnyPath, stream: FeatureStream) -> dict[str, str]:
    """The images that a stream's store lacks, by their content hash."""
    shards = good_shards(path / stream.header.key)
    stored = {image.content_hash for info in shards for image in info.images}
    return {key: image for key, image in stream.images.items() if key not in stored}


def _encode_all(folder: AnyPath, stream: FeatureStream, wanted: Mapping[str, str]) -> None:
    header = stream.header.to_json()
    start = time.monotonic()
    estimates: list[EncodingCost] = []
    size = _shard_bytes(stream.header.estimate_bytes(stream.inputs_of(wanted)))
    for batches in _in_shards(_encode(stream, wanted, estimates.append), size):
        images = [image for batch in batches for image in batch.images]
        tensors = {
            "features": np.concatenate([batch.features for batch in batches]),
            "attention": np.concatenate([batch.attention for batch in batches]),
            "foreground": np.concatenate([batch.foreground for batch in batches]).astype(np.uint8),
        }
        batches.clear()  # before the file's own copy is made
        write_shard(folder, header, images, tensors)
    cost = EncodingCost(time.monotonic() - start, stream.peak_memory())
    off = [cost.compared_with(estimate) for estimate in estimates]
    logger.info("Features: encoded %d images in %s, %.1f images a second%s", len(wanted), cost,
                len(wanted) / cost.seconds, "".join(f"; {text}" for text in off))  # fmt: skip


def _write_json(path: AnyPath, text: str) -> None:
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return
    with new_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _point_out_old_stores(path: AnyPath) -> None:
    """Say once a run where features of an older version lie: they are left alone."""
    if isinstance(path, RemotePath):  # older versions knew local folders only
        return
    for folder in sorted(path.parent.glob("*/shards")):
        logger.warning(
            "Features of an older version lie in %s and are not used: remove the folder",
            folder.parent,
        )


def _check_disk(path: AnyPath, needed: int) -> None:
    if isinstance(path, RemotePath):
        logger.info("Features need at most %.2f GB in %s", needed / 1e9, path)
        return
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    logger.info("Features need at most %.2f GB; %.1f GB are free", needed / 1e9, free / 1e9)
    if needed > free:
        raise InputError(
            f"the feature store needs up to {needed / 1e9:.2f} GB but only {free / 1e9:.2f} GB "
            f"are free in {path}: make room, or run fewer categories"
        )


def _encode(
    stream: FeatureStream,
    wanted: Mapping[str, str],
    on_estimate: Callable[[EncodingCost], None],
) -> Iterator[_Batch]:
    """Encode batch by batch; the first two tell what all of them will take."""
    images, expected = list(wanted.values()), list(wanted)
    masking = BackPatchMasking(**stream.header.masking) if stream.header.masking else None
    batches = stream.encode(images)
    start = last = time.monotonic()
    done = nbytes = 0
    for encoded in track(batches, len(images), "Encoding", "images", stream.batch_size):
        size = encoded.num_images
        _check_contents(expected[done : done + size], images[done : done + size], encoded)
        batch = _to_batch(encoded, masking, stream.header.dtype)
        now = time.monotonic()
        # The first batch waits for all to be set up; the second one's rate is the others'.
        is_only, is_second = len(images) <= size, 0 < done <= stream.batch_size
        if is_only or is_second:
            inputs = stream.inputs_of(expected[done : done + size])
            left = stream.inputs_of(expected[done + size :]) * (now - last) / inputs
            every = batch.nbytes * stream.inputs_of(expected) // inputs
            held = min(_shard_bytes(every), every) - nbytes
            peak = stream.peak_memory()
            memory = None if peak is None else peak + max(0, held)
            estimate = EncodingCost(now - start + left, memory)
            logger.info("Features: encoding %d images will take about %s", len(images), estimate)
            on_estimate(estimate)
        yield replace(batch, seconds=now - last)
        done, nbytes, last = done + size, nbytes + batch.nbytes, now


def _check_contents(expected: Sequence[str], images: Sequence[str], encoded: Encoded) -> None:
    """Refuse features of other bytes than those that the manifest read.

    Raises:
        InputError: An image has changed; the line names it.
    """
    for wanted, image, decoded in zip(expected, images, encoded.content_hashes, strict=True):
        if wanted != decoded:
            raise InputError(
                f"{image} has changed since this run read it: nothing is stored of it; run again"
            )


def _to_batch(encoded: Encoded, masking: BackPatchMasking | None, dtype: str) -> _Batch:
    """Keep the patches wanted and convert on the device; what leaves it is what is stored."""
    import torch

    attention = encoded.attention
    if encoded.counted is not None:
        attention = torch.where(encoded.counted.to(attention.device), attention, torch.nan)
    if masking is None:
        foreground = torch.ones(encoded.features.shape[:2], dtype=torch.bool)
        kept = encoded.features.flatten(0, 1)
    else:
        foreground = masking.foreground(attention)
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
        content_hashes=encoded.content_hashes,
        features=features.cpu().numpy(),
        attention=attention.cpu().numpy(),
        foreground=foreground.cpu().numpy(),
        seconds=0.0,
        image_size=encoded.image_size,
    )


def _shard_bytes(of_all: int) -> int:
    """How large a shard is at least, but for the last, of images that take so many bytes."""
    return max(SHARD_BYTES, min(MOST_SHARD_BYTES, of_all // MANY_SHARDS))


def _in_shards(batches: Iterator[_Batch], size: int) -> Iterator[list[_Batch]]:
    """Batches of at least ``size`` bytes together; who takes them may clear the list."""
    shard: list[_Batch] = []
    for batch in batches:
        shard.append(batch)
        if sum(part.nbytes for part in shard) >= size:
            yield shard
            shard = []
    if shard:
        yield shard
