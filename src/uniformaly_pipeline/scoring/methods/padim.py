"""PaDiM (Defard et al., ICPR 2020, arXiv 2011.08785): a Gaussian for each place of the grid.

Normal images must be aligned for it: what lies at a place is compared with what normal images show
at that place. Of the features a random choice of dimensions is taken (section 3.1); a covariance
gets 0.01 on its diagonal (section 3.2), so that it can be inverted however few images there are;
a patch scores its Mahalanobis distance, and an image the highest of its patches (section 3.3).
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

DIMENSIONS = 100
"""Dimensions that are drawn of a feature, as the paper does for its smallest network."""

EPSILON = 0.01
"""What is added to the diagonal of every covariance."""


BESIDE_VECTORS = ("whitening",)
"""What of the model is as needed as its vectors."""


def fit(
    source: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    settings: FitSettings,
) -> ArrayBundle:
    """The Gaussian of each place, over the normal images of which a patch counts there.

    The covariance is the unbiased one (0 of a single image). A place at which no normal patch
    counts gets the Gaussian of all places together.

    Args:
        source: Where the features are.
        content_hashes: The normal images.
        masking: Which patches count.
        settings: Of these ``seed``, by which dimensions are drawn, and what is recorded.

    Returns:
        ``memory_bank`` float32 [N, d], the means, ``whitening`` float32 [N, d, d], lower
        triangles W with the inverse covariance W^T W, and ``dimensions`` int32 [d]. No vector is a
        patch that could be shown: ``image`` is -1.

    Raises:
        InputError: No patch counts.
    """
    rng = np.random.default_rng(settings.seed)
    kept = np.sort(rng.permutation(source.dim)[:DIMENSIONS])
    grid = source.grid_of(content_hashes)
    places, dim = grid[0] * grid[1], len(kept)
    counts = np.zeros(places)
    sums, products = np.zeros((places, dim)), np.zeros((places, dim, dim))
    blocks = range(0, len(content_hashes), IMAGES_AT_ONCE)
    for first in track(blocks, len(content_hashes), "Fitting Gaussians", "images", IMAGES_AT_ONCE):
        hashes = content_hashes[first : first + IMAGES_AT_ONCE]
        loaded = source.load(hashes, masking, grid)
        features = np.zeros((places, len(hashes), dim))
        features[loaded.patch, loaded.image] = loaded.features[:, kept]
        counts += np.bincount(loaded.patch, minlength=places)
        sums += features.sum(axis=1)
        products += features.transpose(0, 2, 1) @ features
    if counts.sum() == 0:
        raise InputError("no foreground patch in the normal images: lower bpm.threshold")
    mean, covariance = _moments(counts, sums, products)
    empty = counts == 0
    if empty.any():
        of_all = _moments(counts.sum(keepdims=True), sums.sum(0)[None], products.sum(0)[None])
        mean[empty], covariance[empty] = of_all[0][0], of_all[1][0]
    covariance += EPSILON * np.eye(dim)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    metadata = describe_bank(
        source, content_hashes, masking, settings.seed, settings.levels, settings.regions
    )
    return ArrayBundle(
        {
            "memory_bank": mean.astype(np.float32),
            "whitening": whitening.astype(np.float32),
            "dimensions": kept.astype(np.int32),
            "image": np.full(places, -1, np.int32),
            "patch": np.arange(places, dtype=np.int32),
            "content_hashes": hashes_as_bytes(content_hashes),
        },
        {**metadata, "num_patches": int(counts.sum()), "covering_radius": None},
    )


def _moments(
    counts: np.ndarray, sums: np.ndarray, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means [N, d] and covariances [N, d, d] of so many vectors, their sums and products."""
    mean = sums / np.maximum(counts, 1)[:, None]
    around = products - counts[:, None, None] * (mean[:, :, None] * mean[:, None, :])
    return mean, around / np.maximum(counts - 1, 1)[:, None, None]


class PaDiM:
    """Mahalanobis distance to the Gaussian of a patch's own place; an image's highest.

    Attributes:
        mean: float32 [N, d].
        whitening: float32 [N, d, d].
        dimensions: int32 [d], of a feature.
    """

    averages = False
    neighbors = None

    def __init__(self, mean: np.ndarray, whitening: np.ndarray, dimensions: np.ndarray) -> None:
        """Take the Gaussians."""
        self.mean = mean
        self.whitening = whitening
        self.dimensions = dimensions

    @classmethod
    def of(cls, model: ArrayBundle, _: SearchSettings) -> PaDiM:
        """Of the Gaussians of :func:`fit`; nothing is searched for."""
        names = ("memory_bank", "whitening", "dimensions")
        return cls(*(model.arrays[name] for name in names))

    def patches(self, patches: PatchFeatures) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`.interface.Scorer`."""
        around = np.zeros((len(self.mean), patches.num_images, len(self.dimensions)), np.float32)
        features = patches.features[:, self.dimensions]
        around[patches.patch, patches.image] = features - self.mean[patches.patch]
        whitened = around @ self.whitening.transpose(0, 2, 1)
        lengths = np.linalg.norm(whitened, axis=2).astype(np.float32)
        return lengths[patches.patch, patches.image], np.full(len(features), -1, np.int64)

    def images(self, patch_scores: np.ndarray, *_: Any) -> np.ndarray:
        """The highest score of each image's patches."""
        highest: np.ndarray = np.nan_to_num(patch_scores, nan=0.0).max(axis=1)
        return highest
