"""What a method is: a model of normal features, scores of patches, and scores of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.masking import BackPatchMasking, MaskingMode
from uniformaly_pipeline.features.store import PatchFeatures, PatchSource
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.regions import Region
from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors

MethodName = Literal["uniformaly", "patchcore", "anomalydino", "padim", "mean_patch_knn"]

UNIFORMALY: MethodName = "uniformaly"
"""The paper's own."""


def default_mode(method: MethodName) -> MaskingMode:
    """The masking that a method comes with, where nobody asks for one (``bpm.mode: auto``).

    Back Patch Masking is UniFormaly's own: the other methods take all patches, as published.
    """
    return "binary" if method == UNIFORMALY else "off"


@dataclass(frozen=True)
class FitSettings:
    """How a model of normal features is made; each method takes what it knows.

    Attributes:
        coreset_ratio: Share of the patches in a memory bank, 0..1.
        projection_dim: Dimensions in which a coreset is chosen.
        num_starts: Random points that its first distances are taken to.
        coreset_parts: Above 1: chosen in two rounds, see :func:`.bank.build_memory_bank`.
        seed: Of all that is drawn.
        device: Torch device, or ``auto``.
        levels: Black and white of deep images by class, recorded for images to come.
        regions: What counts of the images by class, recorded likewise.
    """

    coreset_ratio: float = 0.1
    projection_dim: int = coreset.PROJECTION_DIM
    num_starts: int = coreset.NUM_STARTS
    coreset_parts: int = 1
    seed: int = 0
    device: str = "cpu"
    levels: Mapping[str, Levels] = field(default_factory=dict)
    regions: Mapping[str, Region] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchSettings:
    """How the nearest vectors of a memory bank are searched for.

    Attributes:
        search: A faiss index factory string, ``Flat`` is exact.
        num_neighbors: Nearest vectors that count.
        loads_torch: See :class:`.neighbors.NearestNeighbors`.
        top_k_ratio: Share of an image's patches whose scores are averaged, of UniFormaly alone.
    """

    search: str = "Flat"
    num_neighbors: int = 1
    loads_torch: bool = True
    top_k_ratio: float = 0.05

    def over(self, bank: np.ndarray) -> NearestNeighbors:
        """The search among the vectors of a bank [K, D].

        Raises:
            InputError: See :class:`.neighbors.NearestNeighbors`.
        """
        return NearestNeighbors(bank, self.search, self.num_neighbors, loads_torch=self.loads_torch)


class Scorer(Protocol):
    """A model of normal features at work, on a few images at a time."""

    @property
    def neighbors(self) -> NearestNeighbors | None:
        """The search that it does; ``None``: none."""

    @property
    def averages(self) -> bool:
        """Whether an image's score is :func:`.scores.image_scores` of its patches' alone."""

    def patches(self, patches: PatchFeatures) -> tuple[np.ndarray, np.ndarray]:
        """Score patches.

        Returns:
            Scores float32 [M], higher is more anomalous, and int64 [M], the vector of the model
            that each patch was compared with, -1 for none that can be shown.
        """

    def images(
        self, patch_scores: np.ndarray, patches: PatchFeatures, nearest: np.ndarray, /
    ) -> np.ndarray:
        """Score images.

        Args:
            patch_scores: float32 [B, N] as they are stored: 0 for background, NaN where a patch
                does not count.
            patches: What :meth:`patches` was given.
            nearest: The vectors that it returned.

        Returns:
            float32 [B]; 0 where no patch counts.
        """


def as_it_is(source: PatchSource) -> PatchSource:
    """The features themselves."""
    return source


@dataclass(frozen=True)
class Method:
    """A method, as tasks need to know it.

    Attributes:
        fit: Makes the model of some normal images: a bundle like that of
            :func:`.bank.build_memory_bank`, whose ``memory_bank`` [K, D] are its vectors.
        scorer: Puts a model to work.
        view: The features as its memory bank holds them.
        compares_patches: Whether its vectors are patches of normal images, which can be shown
            beside a new one and of which more may be added.
        localises: Whether patches have scores of their own.
        needs_one_grid: Whether all images must have the same grid of patches.
    """

    fit: Callable[[PatchSource, Sequence[str], BackPatchMasking, FitSettings], ArrayBundle]
    scorer: Callable[[ArrayBundle, SearchSettings], Scorer]
    view: Callable[[PatchSource], PatchSource] = as_it_is
    compares_patches: bool = True
    localises: bool = True
    needs_one_grid: bool = False
