"""From patch scores to image scores, anomaly maps and features of images (section 4.2)."""

from __future__ import annotations

import functools

import numpy as np
from scipy.ndimage import gaussian_filter1d

MAP_SIGMA = 4.0
"""Deviation of the Gaussian that smooths an anomaly map, in pixels."""


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
