"""Brings a feature store up to date: encodes the images that it lacks, and only those."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.files import new_file
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.features.estimates import EncodingCost, peak_memory
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import (
    INDEX_COLUMNS,
    StoreHeader,
    no_entries,
    read_index,
    shard_path,
)

if TYPE_CHECKING:
    from uniformaly_pipeline.features.encoder import Encoded

logger = logging.getLogger(__name__)


SHARD_BYTES = 64 << 20


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
    index = read_index(path) if is_ours else no_entries()
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
        with new_file(path / "index.parquet") as part:
            index.to_parquet(part, index=False)
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
    with new_file(path / "header.json") as part:
        part.write_text(header.to_json(), encoding="utf-8")


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
    with new_file(shard_path(path, number)) as part:
        save_file(tensors, part)
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
