"""UniFormaly (arXiv 2307.12540): squared distances, and the mean of the highest (section 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.store import PatchFeatures
from uniformaly_pipeline.scoring.methods.interface import SearchSettings
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors
from uniformaly_pipeline.scoring.scores import image_scores


class UniFormaly:
    """Squared Euclidean distance to the nearest vectors; the mean of an image's highest.

    Attributes:
        neighbors: The search among the memory bank's vectors.
        top_k_ratio: Share of an image's patches whose scores are averaged.
    """

    averages = True

    def __init__(self, neighbors: NearestNeighbors, top_k_ratio: float = 0.05) -> None:
        """Take the search and the share of patches that count for an image."""
        self.neighbors = neighbors
        self.top_k_ratio = top_k_ratio

    @classmethod
    def of(cls, model: ArrayBundle, settings: SearchSettings) -> UniFormaly:
        """Of a memory bank."""
        return cls(settings.over(model.arrays["memory_bank"]), settings.top_k_ratio)

    def patches(self, patches: PatchFeatures) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`.interface.Scorer`."""
        distances, indices = self.neighbors.query(patches.features)
        return distances, indices[:, 0]

    def images(self, patch_scores: np.ndarray, *_: Any) -> np.ndarray:
        """See :func:`.scores.image_scores` (equation 2)."""
        return image_scores(patch_scores, self.top_k_ratio)
