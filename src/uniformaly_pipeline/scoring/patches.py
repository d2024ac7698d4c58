"""Score the images of a category against its memory bank, or another model of normal ones."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.features.masking import BackPatchMasking, counted
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.scoring.methods.interface import Scorer
from uniformaly_pipeline.scoring.methods.uniformaly import UniFormaly
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors
from uniformaly_pipeline.scoring.scores import images_digest

logger = logging.getLogger(__name__)

IMAGES_AT_ONCE = 16
RECALL_PATCHES = 1024
"""Patches that the recall of an approximate search is measured on."""


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

    A soft masking multiplies the distances, see :func:`weigh_scores`.

    Args:
        store: Where the features are.
        content_hashes: The images, in the order wanted.
        memory_bank: [K, D].
        masking: Which patches count; the others are not searched for.
        search: A faiss index factory string.
        num_neighbors: Distances are the mean over this many nearest vectors.
        keep_neighbors: Whether to tell which vector each patch was compared with.

    Returns:
        See :func:`score_by`.
    """

    def scorer() -> Scorer:
        return UniFormaly(NearestNeighbors(memory_bank, search, num_neighbors))

    return score_by(scorer, store, content_hashes, masking, keep_neighbors=keep_neighbors)


def score_by(
    make_scorer: Callable[[], Scorer],
    store: FeatureStore,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    *,
    keep_neighbors: bool = False,
) -> ArrayBundle:
    """Score images by a method's model of normal ones; background patches score 0.

    Args:
        make_scorer: Puts the model to work, see :func:`.choice.scorer_of`: what that takes is
            counted as time of the scoring.
        store: Where the features are.
        content_hashes: The images, in the order wanted.
        masking: Which patches count.
        keep_neighbors: Whether to tell which vector of the model each patch was compared with.

    Returns:
        Array ``patch_scores`` float32 [B, grid height, grid width], NaN where a patch shows nothing
        that counts, such as padding; metadata ``images``, a digest of which images these are
        (:func:`.scores.check_same_images`), ``features``, how theirs were made, ``seconds``, the
        time that loading and searching took, and ``search_recall``, the share of the truly
        nearest vectors that an approximate search finds for the first patches, ``None`` for an
        exact one. Of a method whose image scores are more than an average ``image_scores`` float32
        [B]. With ``keep_neighbors`` also ``neighbors`` int64 of
        the same shape, the nearest vector of the memory bank, -1 for background.
    """
    start = time.perf_counter()
    scorer = make_scorer()
    grid = store.grid_of(content_hashes)
    grids = [np.zeros((0, *grid), np.float32)]
    nearest = [np.zeros((0, *grid), np.int64)]
    of_images = [np.zeros(0, np.float32)]
    recall: float | None = None
    measuring = 0.0
    blocks = range(0, len(content_hashes), IMAGES_AT_ONCE)
    for first in track(blocks, len(content_hashes), "Scoring", "images", IMAGES_AT_ONCE):
        hashes = content_hashes[first : first + IMAGES_AT_ONCE]
        patches = store.load(hashes, masking, grid)
        scores, indices = scorer.patches(patches)
        search = scorer.neighbors
        if first == 0 and search is not None and not search.is_exact:
            began = time.perf_counter()
            recall = search.recall(patches.features[:RECALL_PATCHES])
            measuring = time.perf_counter() - began
            logger.info("Search %s finds %.4f of the nearest vectors", search.search, recall)
        block = patches.scatter(scores).reshape(-1, *grid)
        block = weigh_scores(store, hashes, block, masking)
        known = counted(store.attention(hashes, grid))
        grids.append(np.where(known, block, np.float32(np.nan)))
        if not scorer.averages:
            rows = grids[-1].reshape(len(hashes), -1)
            of_images.append(scorer.images(rows, patches, indices))
        found = np.full(block.shape, -1, np.int64)
        # Where tiles overlap the farthest comes last, and is kept.
        order = np.argsort(scores, kind="stable") if patches.overlap else slice(None)
        places = (patches.image[order], patches.patch[order])
        found.reshape(len(found), -1)[places] = indices[order]
        nearest.append(found)
    arrays = {"patch_scores": np.concatenate(grids)}
    if not scorer.averages:
        arrays["image_scores"] = np.concatenate(of_images)
    if keep_neighbors:
        arrays["neighbors"] = np.concatenate(nearest)
    seconds = time.perf_counter() - start - measuring
    metadata = {
        "images": images_digest(content_hashes),
        "features": json.loads(store.header.to_json()),
        "seconds": seconds,
        "search_recall": recall,
    }
    return ArrayBundle(arrays, metadata)


def weigh_scores(
    store: FeatureStore,
    content_hashes: Sequence[str],
    patch_scores: np.ndarray,
    masking: BackPatchMasking,
) -> np.ndarray:
    """Multiply each patch's distance by its weight, where the masking is soft (Table 10).

    The weight is the patch's smoothed attention over the image's own maximum. Features are left
    as they are, in the memory bank and here, as in the authors' code.

    Args:
        store: Where the attention is.
        content_hashes: The images.
        patch_scores: float32 [B, grid height, grid width], squared distances of all patches.
        masking: The masking.

    Returns:
        float32 [B, grid height, grid width]; the scores given, unless the masking is soft.
    """
    if not masking.weighs_distances or len(content_hashes) == 0:
        return patch_scores
    import torch

    grid = (patch_scores.shape[1], patch_scores.shape[2])
    weights = masking.weights(torch.from_numpy(store.attention(content_hashes, grid)))
    weighed: np.ndarray = patch_scores * weights.numpy().reshape(patch_scores.shape)
    return weighed
