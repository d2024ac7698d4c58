"""PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265), section 3.3: the paper's Table 11.

The memory bank is the same greedy coreset as UniFormaly's. What differs is that all patches count,
that distances are not squared, and that an image scores as its most anomalous patch does, weighed
by how unusual that patch's nearest normal one is among its own neighbours (equations 6 and 7).
"""

from __future__ import annotations

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.store import PatchFeatures
from uniformaly_pipeline.scoring.methods.interface import SearchSettings
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors

NEIGHBOURHOOD = 9
"""Vectors of the bank around the nearest one, itself included: b of equation 7. The paper gives no
number; 9 is the one of anomalib's implementation."""


class PatchCore:
    """Euclidean distance to the nearest vectors; an image's highest, weighed.

    With several ``scoring.num_neighbors`` the distance is the root of the mean square.

    Attributes:
        neighbors: The search among the memory bank's vectors.
        bank: float32 [K, D], these vectors.
    """

    averages = False

    def __init__(self, neighbors: NearestNeighbors, bank: np.ndarray) -> None:
        """Take the search, and the vectors that are searched."""
        self.neighbors = neighbors
        self.bank = bank

    @classmethod
    def of(cls, model: ArrayBundle, settings: SearchSettings) -> PatchCore:
        """Of a memory bank."""
        bank = model.arrays["memory_bank"].astype(np.float32)
        return cls(settings.over(bank), bank)

    def patches(self, patches: PatchFeatures) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`.interface.Scorer`."""
        squares, indices = self.neighbors.query(patches.features)
        return np.sqrt(squares), indices[:, 0]

    def images(
        self, patch_scores: np.ndarray, patches: PatchFeatures, nearest: np.ndarray
    ) -> np.ndarray:
        """The score of each image's highest patch, times :meth:`_weight`."""
        scores = np.zeros(len(patch_scores), np.float32)
        for number, row in enumerate(patch_scores):
            known = np.nan_to_num(row, nan=0.0)
            highest = int(known.argmax())
            here = np.flatnonzero((patches.image == number) & (patches.patch == highest))
            if len(here) == 0 or known[highest] == 0:
                continue  # no patch counts, or all are the bank's own
            weights = [self._weight(patches.features[i], int(nearest[i])) for i in here]
            scores[number] = known[highest] * float(np.mean(weights))
        return scores

    def _weight(self, feature: np.ndarray, nearest: int) -> float:
        """Equation 7: 1 less the softmax, over the neighbourhood, of the nearest's distance."""
        vector = self.bank[nearest]
        others = np.square(self.bank - vector).sum(axis=1)
        others[nearest] = -1.0  # itself, also among equals
        around = np.argsort(others, kind="stable")[:NEIGHBOURHOOD]
        distances = np.linalg.norm((self.bank[around] - feature).astype(np.float64), axis=1)
        powers = np.exp(distances - distances.max())
        return float(1 - powers[0] / powers.sum())
