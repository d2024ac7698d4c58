"""Brings a feature store up to date: encodes the images that it lacks, and only those."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress

from rich.filesize import decimal

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.files import STALE_SECONDS, remove_leftovers
from uniformaly_pipeline.common.origin import own_place
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, new_file
from uniformaly_pipeline.features.encoders import current_encoders
from uniformaly_pipeline.features.estimates import EncodingCost
from uniformaly_pipeline.features.store import (
    CURRENT_NAME,
    HEADER_NAME,
    PLACE_PARTS,
    good_shards,
)
from uniformaly_pipeline.features.stream import FeatureStream

logger = logging.getLogger(__name__)


SHARD_BYTES, MOST_SHARD_BYTES = 4 << 20, 64 << 20
"""Features that wait in memory until a file is full; in large stores more, for fewer files."""

MANY_SHARDS = 1024
"""Files of a store from which on they are larger."""


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
    logger.info("Features: %d images to encode, %d stored already%s", len(wanted),
                len(stream.images) - len(wanted), _why(path, stream) if wanted else "")  # fmt: skip
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


def _why(path: AnyPath, stream: FeatureStream) -> str:
    """Why images are encoded again that an earlier run encoded with the same settings."""
    try:
        current = json.loads((path / CURRENT_NAME).read_text(encoding="utf-8"))["store"]
        stored = json.loads((path / current / HEADER_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # there was none, or nobody knows
    if stream.header.masking is None and stream.header.differences(stored) == ["masking"]:
        return ": all patches are needed, those stored are without the background"
    return ""


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
    start = time.monotonic()
    estimates = current_encoders().encode(folder, stream, plan_shards(stream, wanted))
    cost = EncodingCost(time.monotonic() - start, stream.peak_memory())
    off = [cost.compared_with(estimate) for estimate in estimates]
    logger.info("Features: encoded %d images in %s, %.1f images a second%s", len(wanted), cost,
                len(wanted) / cost.seconds, "".join(f"; {text}" for text in off))  # fmt: skip


def plan_shards(stream: FeatureStream, wanted: Mapping[str, str]) -> list[dict[str, str]]:
    """Split images into the lists of which each becomes a shard.

    Each is of whole batches, so that an image is encoded beside the same others by whomever, and
    as large as a shard is at least if all patches are kept.
    """
    size = _shard_bytes(stream.header.estimate_bytes(stream.inputs_of(wanted)))
    keys, shards = list(wanted), list[dict[str, str]]()
    shard: dict[str, str] = {}
    for first in range(0, len(keys), stream.batch_size):
        shard |= {key: wanted[key] for key in keys[first : first + stream.batch_size]}
        if stream.header.estimate_bytes(stream.inputs_of(shard)) >= size:
            shards.append(shard)
            shard = {}
    return [*shards, shard] if shard else shards


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
        logger.info("Features need at most %s in %s", decimal(needed), path)
        return
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    logger.info("Features need at most %s; %s are free", decimal(needed), decimal(free))
    if needed > free:
        raise InputError(
            f"the feature store needs up to {decimal(needed)} but only {decimal(free)} are free "
            f"in {path}: make room, or run fewer categories"
        )


def _shard_bytes(of_all: int) -> int:
    """How large a shard is at least, but for the last, of images that take so many bytes."""
    return max(SHARD_BYTES, min(MOST_SHARD_BYTES, of_all // MANY_SHARDS))
