"""AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529), section 3.1.

Features are scaled to length 1, so that distances are of directions alone; an image scores as the
mean of its highest 1 % of patches. Not taken over: the last layer's features (all methods here
share a store of features), the mask by a principal component (``bpm`` is this project's), and
rotations, which are ``lowshot.rotations``. The original keeps all normal patches:
``memory_bank.coreset_ratio=1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import PatchFeatures, PatchSource, StoreHeader
from uniformaly_pipeline.scoring.methods.banks import fit_bank
from uniformaly_pipeline.scoring.methods.interface import FitSettings, SearchSettings
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors

HIGHEST = 0.01
"""Share of an image's patches whose scores are averaged; rounded down, at least one (the authors'
``mean_top1p``)."""


class UnitPatches:
    """Features of another source, each scaled to length 1."""

    def __init__(self, source: PatchSource) -> None:
        """Take the source."""
        self.source = source

    @property
    def header(self) -> StoreHeader:
        """How the source's features are made."""
        return self.source.header

    @property
    def dim(self) -> int:
        """Length of a patch feature, D."""
        return self.source.dim

    def grid_of(self, content_hashes: Sequence[str]) -> tuple[int, int]:
        """See :class:`.store.PatchSource`."""
        return self.source.grid_of(content_hashes)

    def load(
        self,
        content_hashes: Sequence[str],
        masking: BackPatchMasking,
        grid: tuple[int, int] | None = None,
    ) -> PatchFeatures:
        """See :class:`.store.PatchSource`."""
        loaded = self.source.load(content_hashes, masking, grid)
        return replace(loaded, features=of_length_one(loaded.features))


def of_length_one(rows: np.ndarray) -> np.ndarray:
    """Rows [M, D] scaled to length 1, float32; those of zeros stay."""
    rows = rows.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: np.ndarray = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def fit(
    source: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    settings: FitSettings,
) -> ArrayBundle:
    """A coreset among the directions of the patches that count.

    Raises:
        InputError: No patch counts.
    """
    return fit_bank(UnitPatches(source), content_hashes, masking, settings)


class AnomalyDino:
    """Cosine distance, 1 less the cosine, to the nearest vectors; the mean of the highest 1 %.

    Attributes:
        neighbors: The search among the memory bank's vectors.
    """

    averages = False

    def __init__(self, neighbors: NearestNeighbors) -> None:
        """Take the search among vectors of length 1."""
        self.neighbors = neighbors

    @classmethod
    def of(cls, model: ArrayBundle, settings: SearchSettings) -> AnomalyDino:
        """Of a memory bank of :func:`fit`."""
        return cls(settings.over(of_length_one(model.arrays["memory_bank"])))

    def patches(self, patches: PatchFeatures) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`.interface.Scorer`."""
        # Of vectors of length 1 half the squared distance is 1 less the cosine.
        squares, indices = self.neighbors.query(of_length_one(patches.features))
        return squares / np.float32(2), indices[:, 0]

    def images(self, patch_scores: np.ndarray, *_: Any) -> np.ndarray:
        """The mean of each image's highest scores, background included (equation 4)."""
        scores = np.zeros(len(patch_scores), np.float32)
        for number, row in enumerate(patch_scores):
            known = np.sort(row[~np.isnan(row)])
            count = max(1, int(HIGHEST * len(known)))
            if len(known):
                scores[number] = known[-count:].mean(dtype=np.float64)
        return scores
