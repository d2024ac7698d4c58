"""Distance to normality: nearest neighbours, top-k-ratio scores, anomaly maps (section 4.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.memory_bank.exact_search import ExactSearch

MAP_SIGMA = 4.0
"""Deviation of the Gaussian that smooths an anomaly map, in pixels."""


class NearestNeighbors:
    """Squared Euclidean distance to the nearest vectors of a memory bank.

    Attributes:
        bank: float32 [K, D], the memory bank, shifted to mean zero.
        num_neighbors: Distances are the mean over this many nearest vectors.
        search: A faiss index factory string: ``Flat`` is exact, ``IVF64,Flat`` or ``HNSW32``
            approximate.
    """

    def __init__(self, bank: np.ndarray, search: str = "Flat", num_neighbors: int = 1) -> None:
        """Build the index: faiss's, but for an exact search without a GPU.

        Raises:
            InputError: faiss does not know ``search`` or the bank is too small for it or for
                ``num_neighbors``.
        """
        import faiss

        bank = np.asarray(bank, dtype=np.float32)
        # What all vectors share cancels in a distance but costs digits that tell.
        self._offset = bank.mean(axis=0)
        self.bank = np.ascontiguousarray(bank - self._offset)
        self.num_neighbors = num_neighbors
        self.search = search
        if num_neighbors > len(bank):
            raise InputError(
                f"scoring.num_neighbors is {num_neighbors} but the memory bank holds only "
                f"{len(bank)} vectors: lower it or raise memory_bank.coreset_ratio"
            )
        self._find: Callable[[np.ndarray, int], np.ndarray]
        if self.is_exact and faiss.get_num_gpus() == 0:
            self._find = ExactSearch(self.bank).query
        else:
            index = _faiss_index(self.bank, search)
            self._find = lambda queries, count: index.search(queries, count)[1]

    @property
    def is_exact(self) -> bool:
        """Whether the neighbours found are surely the nearest."""
        return self.search == "Flat"

    def query(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Search the bank.

        The distances are computed anew from the vectors found: faiss subtracts large products,
        which loses digits for close pairs and depends on how many queries it is given at once.

        Args:
            features: float32 [M, D].

        Returns:
            Squared distances float32 [M], mean over ``num_neighbors``, and the indices of the
            neighbours int64 [M, num_neighbors], nearest first.
        """
        if len(features) == 0:
            return np.zeros(0, np.float32), np.zeros((0, self.num_neighbors), np.int64)
        queries = np.ascontiguousarray(features - self._offset, dtype=np.float32)
        indices = self._find(queries, self.num_neighbors)
        # An approximate index may find fewer than asked for and pads with -1.
        indices = np.where(indices < 0, indices[:, :1], indices)
        squares = [_squared_lengths(queries - self.bank[column]) for column in indices.T]
        return np.stack(squares, axis=1).mean(axis=1, dtype=np.float32), indices

    def recall(self, features: np.ndarray) -> float:
        """Share of the truly nearest vectors, 0..1, that the search finds for features [M, D]."""
        if self.is_exact or len(features) == 0:
            return 1.0
        queries = np.ascontiguousarray(features - self._offset, dtype=np.float32)
        found = self._find(queries, self.num_neighbors)
        exact = ExactSearch(self.bank).query(queries, self.num_neighbors)
        return float((found[:, :, None] == exact[:, None, :]).any(axis=1).mean())


def _squared_lengths(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


def _faiss_index(bank: np.ndarray, search: str) -> Any:
    import faiss

    try:
        index = faiss.index_factory(bank.shape[1], search)
        if faiss.get_num_gpus() > 0:
            index = faiss.index_cpu_to_all_gpus(index)
        index.train(bank)
        index.add(bank)
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"scoring.search: faiss cannot build the index '{search}' over "
            f"{len(bank)} vectors ({reason}); 'Flat' always works"
        ) from error
    return index


def top_k(num_patches: int, ratio: float) -> int:
    """How many patches ``ratio`` of ``num_patches`` is: ``max(1, round(k * N))``."""
    return max(1, round(ratio * num_patches))


def image_scores(patch_scores: np.ndarray, top_k_ratio: float = 0.05) -> np.ndarray:
    """Mean of the highest patch scores of each image (equation 2).

    Args:
        patch_scores: float32 [B, N], zeros for background.
        top_k_ratio: Share of all N patches, background included, 0..1.

    Returns:
        float32 [B].
    """
    k = top_k(patch_scores.shape[1], top_k_ratio)
    highest = np.partition(patch_scores, -k, axis=1)[:, -k:]
    # Summing in sorted order makes the result independent of the partition's order.
    return np.sort(highest, axis=1).mean(axis=1, dtype=np.float64).astype(np.float32)


def top_k_mean_features(
    features: np.ndarray, patch_scores: np.ndarray, top_k_ratio: float = 0.05
) -> np.ndarray:
    """Mean feature of each image's highest-scoring patches, for clustering (section 5.4.1).

    Args:
        features: float32 [B, N, D].
        patch_scores: float32 [B, N].
        top_k_ratio: Share of all N patches, 0..1.

    Returns:
        float32 [B, D].
    """
    k = top_k(patch_scores.shape[1], top_k_ratio)
    highest = np.argsort(-patch_scores, axis=1, kind="stable")[:, :k]
    chosen: np.ndarray = np.take_along_axis(features, highest[..., None], axis=1)
    return chosen.mean(axis=1)


def anomaly_map(
    patch_scores: np.ndarray, grid: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Spread one image's patch scores over its pixels.

    Args:
        patch_scores: float32 [N], zeros for background.
        grid: (height, width) in patches, N = height * width.
        size: (height, width) of the encoder's input in pixels.

    Returns:
        float32 [H, W]: bilinear interpolation, then a Gaussian of :data:`MAP_SIGMA` pixels.
    """
    down, across = (_spread(*sides) for sides in zip(grid, size, strict=True))
    scores = np.asarray(patch_scores, dtype=np.float64).reshape(grid)
    smooth: np.ndarray = (down @ scores @ across.T).astype(np.float32)
    return smooth


@functools.cache
def _spread(patches: int, pixels: int) -> np.ndarray:
    """What each patch of a row contributes to each of its pixels: float64 [pixels, patches].

    Interpolation and Gaussian are linear and treat rows and columns alike, so that two small
    matrix products do the work of both, ten times faster.
    """
    import torch
    from torch.nn import functional as F

    each = torch.eye(patches, dtype=torch.float64)[:, None]
    lines = F.interpolate(each, size=pixels, mode="linear", align_corners=False)[:, 0]
    spread: np.ndarray = gaussian_filter1d(lines.numpy(), sigma=MAP_SIGMA, axis=1).T
    return spread
