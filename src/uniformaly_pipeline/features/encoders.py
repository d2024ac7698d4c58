"""Who encodes the shards of a store: this process, unless the run has others to do it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.common.remote_path import AnyPath
from uniformaly_pipeline.features.estimates import EncodingCost
from uniformaly_pipeline.features.shard_encoding import StoredBatch, encode_shard
from uniformaly_pipeline.features.stream import FeatureStream

logger = logging.getLogger(__name__)

Shards = Sequence[Mapping[str, str]]
"""Lists of images, each the relative path of every image by its content hash."""


class Encoders(Protocol):
    """Whoever encodes lists of images, each into one shard by :func:`.encode_shard`."""

    def encode(self, folder: AnyPath, stream: FeatureStream, shards: Shards) -> list[EncodingCost]:
        """Encode all of them and show how far that is.

        Args:
            folder: The store's own folder.
            stream: How to encode.
            shards: The lists.

        Returns:
            What all was expected to take, as far as that was told on the way.
        """


class OwnEncoder:
    """This process: one stream through all lists, so that no list waits for its images."""

    def encode(self, folder: AnyPath, stream: FeatureStream, shards: Shards) -> list[EncodingCost]:
        """Encode batch by batch; the first two tell what all of them will take."""
        images = [image for shard in shards for image in shard.values()]
        encoded = track(stream.encode(images), len(images), "Encoding", "images", stream.batch_size)
        estimate = _Estimate(stream, shards)
        for shard in shards:
            encode_shard(folder, stream, shard, encoded, estimate.update)
        next(encoded, None)  # the last batch is done, too
        return estimate.told


class _Estimate:
    """What encoding will take, told after the second batch, or after the only one."""

    def __init__(self, stream: FeatureStream, shards: Shards) -> None:
        self.told: list[EncodingCost] = []
        self._stream = stream
        self._keys = [key for shard in shards for key in shard]
        self._shard_inputs = max(map(stream.inputs_of, shards))
        self._done = self._nbytes = 0
        self._seconds = 0.0

    def update(self, batch: StoredBatch) -> None:
        """Take in a batch."""
        stream, keys, done = self._stream, self._keys, self._done
        size = len(batch.images)
        self._seconds += batch.seconds
        # The first batch waits for all to be set up; the second one's rate is the others'.
        is_only, is_second = len(keys) <= size, 0 < done <= stream.batch_size
        if is_only or is_second:
            inputs = stream.inputs_of(keys[done : done + size])
            left = stream.inputs_of(keys[done + size :]) * batch.seconds / inputs
            held = batch.nbytes * self._shard_inputs // inputs - self._nbytes
            peak = stream.peak_memory()
            memory = None if peak is None else peak + max(0, held)
            estimate = EncodingCost(self._seconds + left, memory)
            logger.info("Features: encoding %d images will take about %s", len(keys), estimate)
            self.told.append(estimate)
        self._done, self._nbytes = done + size, self._nbytes + batch.nbytes


_encoders: Encoders = OwnEncoder()


def current_encoders() -> Encoders:
    """Who encodes now."""
    return _encoders


@contextmanager
def encoded_by(encoders: Encoders) -> Iterator[None]:
    """While the block runs, stores that this process brings up to date are encoded by others."""
    global _encoders  # noqa: PLW0603 - a run encodes one store at a time
    before, _encoders = _encoders, encoders
    try:
        yield
    finally:
        _encoders = before
