"""Approximate greedy k-center coreset (paper section 3, after PatchCore's sampler)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

PROJECTION_DIM = 128
NUM_STARTS = 10


def coreset_size(num_points: int, ratio: float) -> int:
    """How many of ``num_points`` a coreset of ``ratio`` keeps: ``int(ratio * N)``, at least 1."""
    return max(1, int(ratio * num_points))


def random_projection(dim: int, projection_dim: int, seed: int) -> np.ndarray:
    """A random linear map: float32 [projection_dim, dim], uniform in +-1/sqrt(dim)."""
    bound = 1.0 / math.sqrt(dim)
    weights = np.random.default_rng(seed).random((projection_dim, dim))
    return ((2.0 * weights - 1.0) * bound).astype(np.float32)


def random_starts(num_points: int, num_starts: int, seed: int) -> np.ndarray:
    """Indices of the starting points: int64 [min(num_starts, num_points)], all different."""
    # A stream of its own, so that the starts do not change with the projection's size.
    generator = np.random.default_rng([seed, num_points])
    return generator.permutation(num_points)[:num_starts].astype(np.int64)


def greedy_coreset(
    points: np.ndarray,
    size: int,
    starts: np.ndarray,
    *,
    device: str = "cpu",
    on_pick: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Pick points one by one, each the farthest from those picked before.

    The distance of a point starts as its mean Euclidean distance to ``starts`` and is lowered to
    its distance to each picked point in turn. A picked point is never picked again, even where
    points coincide.

    Args:
        points: float32 [N, D], projected patch features.
        size: How many to pick, 1..N.
        starts: int64 [S], indices of the starting points; they are not picked by themselves.
        device: Torch device that holds the points.
        on_pick: Called with the number of points picked so far, for progress.

    Returns:
        int64 [size], indices in the order of picking; O(size * N * D) time, O(N * D) memory.

    Raises:
        ValueError: ``size`` is not within 1..N or there are no starts.
    """
    import torch

    if not 1 <= size <= len(points):
        raise ValueError(f"size {size} is not within 1..{len(points)}")
    if len(starts) == 0:
        raise ValueError("starts is empty")
    data = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)).to(device)
    norms = data.square().sum(dim=1)
    mean_to_starts = torch.zeros_like(norms)
    for start in starts.tolist():
        mean_to_starts += _squared_distances(data, norms, start).sqrt()
    # Squares keep the order of distances and save a root per point and pick.
    nearest = (mean_to_starts / len(starts)).square_()
    picked = np.empty(size, dtype=np.int64)
    for i in range(size):
        index = int(nearest.argmax())
        picked[i] = index
        torch.minimum(nearest, _squared_distances(data, norms, index), out=nearest)
        nearest[picked[i]] = -1.0
        if on_pick is not None:
            on_pick(i + 1)
    return picked


def _squared_distances(data: torch.Tensor, norms: torch.Tensor, index: int) -> torch.Tensor:
    """Squared distances of all points to one of them: float32 [N], by one matrix-vector product."""
    products = norms.addmv(data, data[index], alpha=-2.0)
    return products.add_(norms[index]).clamp_min_(0.0)


def covering_radius(points: np.ndarray, kept: np.ndarray, block: int = 4096) -> float:
    """Largest Euclidean distance from a point [N, D] to its nearest kept one [K]; 0 if all kept."""
    import torch

    data = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    centers = data[torch.from_numpy(kept)]
    nearest = [
        torch.cdist(rows, centers, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1).max()
        for rows in data.split(block)
    ]
    return float(torch.stack(nearest).max())
