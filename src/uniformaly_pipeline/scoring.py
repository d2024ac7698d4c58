"""Score the images of a category against its memory bank (paper section 4.2)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from uniformaly_pipeline.array_bundle import ArrayBundle
from uniformaly_pipeline.feature_store import FeatureStore
from uniformaly_pipeline.masking import BackPatchMasking
from uniformaly_pipeline.matching import NearestNeighbors

IMAGES_AT_ONCE = 16


def score_patches(
    store: FeatureStore,
    content_hashes: Sequence[str],
    memory_bank: np.ndarray,
    masking: BackPatchMasking,
    *,
    search: str = "Flat",
    num_neighbors: int = 1,
    keep_neighbors: bool = False,
) -> ArrayBundle:
    """Distance of every patch that counts to the memory bank; background patches score 0.

    Args:
        store: Where the features are.
        content_hashes: The images, in the order wanted.
        memory_bank: [K, D].
        masking: Which patches count; the others are not searched for.
        search: A faiss index factory string.
        num_neighbors: Distances are the mean over this many nearest vectors.
        keep_neighbors: Whether to tell which vector each patch was compared with.

    Returns:
        Array ``patch_scores`` float32 [B, grid height, grid width]; metadata ``seconds``, the
        time that loading and searching took. With ``keep_neighbors`` also ``neighbors`` int64 of
        the same shape, the nearest vector of the memory bank, -1 for background.
    """
    start = time.perf_counter()
    neighbors = NearestNeighbors(memory_bank.astype(np.float32), search, num_neighbors)
    grids = [np.zeros((0, *store.grid), np.float32)]
    nearest = [np.zeros((0, *store.grid), np.int64)]
    for first in range(0, len(content_hashes), IMAGES_AT_ONCE):
        patches = store.load(content_hashes[first : first + IMAGES_AT_ONCE], masking)
        distances, indices = neighbors.query(patches.features)
        grids.append(patches.scatter(distances).reshape(-1, *store.grid))
        found = np.full(grids[-1].shape, -1, np.int64)
        found.reshape(len(found), -1)[patches.image, patches.patch] = indices[:, 0]
        nearest.append(found)
    arrays = {"patch_scores": np.concatenate(grids)}
    if keep_neighbors:
        arrays["neighbors"] = np.concatenate(nearest)
    return ArrayBundle(arrays, {"seconds": time.perf_counter() - start})
