"""A process that writes to feature stores that others write to as well, for test_shards.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

GRID, DIM = (2, 3), 4


def features(image: str) -> np.ndarray:
    """What an image's features are, by its name: float32 [N, D]."""
    rng = np.random.default_rng(list(image.encode()))
    return rng.standard_normal((GRID[0] * GRID[1], DIM)).astype(np.float32)


def encode(images: list[str]) -> Iterator[Any]:
    """An image at a time."""
    import torch

    from uniformaly_pipeline.features.encoder import Encoded

    for image in images:
        yield Encoded(torch.from_numpy(features(image))[None], torch.ones(1, *GRID), [f"#{image}"])


def stream(images: list[str]) -> Any:
    """A stream of images whose content hash is ``#`` and their name."""
    from uniformaly_pipeline.features.store import StoreHeader
    from uniformaly_pipeline.features.store_update import FeatureStream

    header = StoreHeader({"model": "fake"}, "0" * 64, {}, "float32", GRID, DIM, "float32", None)
    return FeatureStream(header, {f"#{image}": image for image in images}, encode, 1)


def write(folder: str, own: list[str], trials: int, barrier: Any) -> None:
    """In every trial a store of its own, at the same moment as the other writers."""
    from uniformaly_pipeline.common.remote_path import as_path
    from uniformaly_pipeline.features import store_update

    store_update.SHARD_BYTES = 1  # a shard per image
    for trial in range(trials):
        barrier.wait(240)
        store_update.update_store(as_path(folder) / str(trial), stream(own))


if __name__ == "__main__":
    sys.exit("used by test_shards.py")
