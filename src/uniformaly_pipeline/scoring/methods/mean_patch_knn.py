"""Nearest neighbours of whole images, as DN2 (Bergman et al. 2020, arXiv 2002.10445), section 3.

An image is the mean of its patch features, as DN2's is a network's global average, and scores the
squared Euclidean distance to the nearest normal images, as many as ``scoring.num_neighbors`` (DN2
takes 2). Why not the class token: a feature store holds patches and the class token's attention,
not the token itself, whose use as a feature is learned in the last block and normalised after it.
The blocks that are stored end before that: it would take the rest of the network for every image.

Where an anomaly lies is not told: all patches of an image have its score, and there are no pixel
metrics. No coreset is taken: there are few images beside patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import PatchFeatures, PatchSource
from uniformaly_pipeline.memory_bank.bank import IMAGES_AT_ONCE, describe_bank, hashes_as_bytes
from uniformaly_pipeline.scoring.methods.interface import FitSettings, SearchSettings
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors


def fit(
    source: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    settings: FitSettings,
) -> ArrayBundle:
    """The mean feature of each normal image, over its patches that count.

    Returns:
        ``memory_bank`` [K, D] in the store's type, ``image`` int32 [K], which each is of, and
        ``patch`` int32 [K], the middle of the grid.

    Raises:
        InputError: No patch counts.
    """
    grid = source.grid_of(content_hashes)
    means, images, num_patches = [], [], 0
    blocks = range(0, len(content_hashes), IMAGES_AT_ONCE)
    for first in track(
        blocks, len(content_hashes), "Reading normal images", "images", IMAGES_AT_ONCE
    ):
        loaded = source.load(content_hashes[first : first + IMAGES_AT_ONCE], masking, grid)
        mean, known = mean_features(loaded)
        means.append(mean[known])
        images.append(np.flatnonzero(known) + first)
        num_patches += len(loaded.features)
    bank = np.concatenate(means)
    if len(bank) == 0:
        raise InputError("no foreground patch in the normal images: lower bpm.threshold")
    metadata = describe_bank(
        source, content_hashes, masking, settings.seed, settings.levels, settings.regions
    )
    middle = grid[0] // 2 * grid[1] + grid[1] // 2
    return ArrayBundle(
        {
            "memory_bank": bank.astype(source.header.dtype),
            "image": np.concatenate(images).astype(np.int32),
            "patch": np.full(len(bank), middle, np.int32),
            "content_hashes": hashes_as_bytes(content_hashes),
        },
        {**metadata, "num_patches": num_patches, "covering_radius": None},
    )


def mean_features(patches: PatchFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Mean feature of each image, float32 [B, D], and whether any of its patches counts [B]."""
    counts = np.bincount(patches.image, minlength=patches.num_images)
    means = np.zeros((patches.num_images, patches.features.shape[1]), np.float32)
    for mean, own in zip(means, np.split(patches.features, np.cumsum(counts)[:-1]), strict=True):
        if len(own):
            mean[:] = own.mean(axis=0, dtype=np.float64)
    return means, counts > 0


class MeanPatchNeighbors:
    """Squared Euclidean distance to the nearest images, given to each of an image's patches.

    Attributes:
        neighbors: The search among normal images.
    """

    averages = False

    def __init__(self, neighbors: NearestNeighbors) -> None:
        """Take the search."""
        self.neighbors = neighbors

    @classmethod
    def of(cls, model: ArrayBundle, settings: SearchSettings) -> MeanPatchNeighbors:
        """Of the images of :func:`fit`."""
        return cls(settings.over(model.arrays["memory_bank"]))

    def patches(self, patches: PatchFeatures) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`.interface.Scorer`."""
        squares, indices = self.neighbors.query(mean_features(patches)[0])
        return squares[patches.image], indices[patches.image, 0]

    def images(self, patch_scores: np.ndarray, *_: Any) -> np.ndarray:
        """The score that all patches of an image share."""
        shared: np.ndarray = np.nan_to_num(patch_scores, nan=0.0).max(axis=1)
        return shared
