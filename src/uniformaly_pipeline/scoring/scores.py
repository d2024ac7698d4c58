"""From patch scores to image scores, anomaly maps and features of images (section 4.2)."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable

import numpy as np
from scipy.ndimage import gaussian_filter1d

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.memory_bank.bank import bank_digest

MAP_SIGMA = 4.0
"""Deviation of the Gaussian that smooths an anomaly map, in pixels."""

LEAST_WEIGHT = 1e-3
"""Weight of the patches that count below which a pixel is far from all of them."""


def top_k(num_patches: int, ratio: float) -> int:
    """How many patches ``ratio`` of ``num_patches`` is: ``max(1, round(k * N))``."""
    return max(1, round(ratio * num_patches))


def images_digest(content_hashes: Iterable[str]) -> str:
    """What tells the images of an array of patch scores, and their order, from all others."""
    return hashlib.sha256("\n".join(content_hashes).encode()).hexdigest()


def check_same_images(patch_scores: ArrayBundle, content_hashes: Iterable[str]) -> None:
    """Refuse to put patch scores beside images that they are not of.

    An earlier run may have made the one before images were changed, and the other after.

    Args:
        patch_scores: ``patch_scores`` [B, ...]; its metadata tell of which images.
        content_hashes: The B images beside which they are put, in order.

    Raises:
        InputError: They are of others, or in another order.
    """
    if patch_scores.metadata.get("images") != images_digest(content_hashes):
        raise InputError(
            "the patch scores that an earlier run made are of other images than those listed now: "
            f"{RUN_AGAIN}"
        )


def check_same_bank(patch_scores: ArrayBundle, bank: ArrayBundle) -> None:
    """Refuse to put patch scores beside a memory bank that they are not of.

    Args:
        patch_scores: Their metadata tell of which bank, see :func:`.bank.bank_digest`.
        bank: The memory bank beside which they are put.

    Raises:
        InputError: They are of another.
    """
    if patch_scores.metadata.get("bank") != bank_digest(bank):
        raise InputError(
            f"the patch scores that an earlier run made are of another memory bank: {RUN_AGAIN}"
        )


def image_scores(patch_scores: np.ndarray, top_k_ratio: float = 0.05) -> np.ndarray:
    """Mean of the highest patch scores of each image (equation 2).

    Args:
        patch_scores: float32 [B, N] or [B, grid height, grid width], zeros for background, NaN
            where a patch does not count.
        top_k_ratio: Share of all N patches, background included, 0..1; of an image with patches
            that do not count, of the others.

    Returns:
        float32 [B]; 0 where no patch counts.
    """
    patch_scores = patch_scores.reshape(len(patch_scores), math.prod(patch_scores.shape[1:]))
    known = ~np.isnan(patch_scores)
    if not known.all():
        rows = [row[kept] for row, kept in zip(patch_scores, known, strict=True)]
        scores = [image_scores(row[None], top_k_ratio)[0] if len(row) else 0.0 for row in rows]
        return np.array(scores, np.float32)
    k = top_k(patch_scores.shape[1], top_k_ratio)
    highest = np.partition(patch_scores, -k, axis=1)[:, -k:]
    # Summing in sorted order makes the result independent of the partition's order.
    return np.sort(highest, axis=1).mean(axis=1, dtype=np.float64).astype(np.float32)


def scores_of_images(patch_scores: ArrayBundle, top_k_ratio: float = 0.05) -> np.ndarray:
    """The image scores of an array of patch scores: its method's own, or :func:`image_scores`.

    Args:
        patch_scores: See :func:`.patches.score_by`.
        top_k_ratio: Of UniFormaly's average.

    Returns:
        float32 [B].
    """
    own = patch_scores.arrays.get("image_scores")
    if own is not None:
        return own
    return image_scores(patch_scores.arrays["patch_scores"], top_k_ratio)


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
        patch_scores: float32 [N], zeros for background, NaN where a patch does not count.
        grid: (height, width) in patches, N = height * width.
        size: (height, width) of the encoder's input in pixels.

    Returns:
        float32 [H, W]: bilinear interpolation, then a Gaussian of :data:`MAP_SIGMA` pixels. It is 0
        where no patch counts, and what does not count takes nothing from the patches beside it.
    """
    known = ~np.isnan(patch_scores).reshape(grid)
    if not known.all():
        return _partial_map(patch_scores.reshape(grid), known, size)
    down, across = (_spread(*sides) for sides in zip(grid, size, strict=True))
    scores = np.asarray(patch_scores, dtype=np.float64).reshape(grid)
    smooth: np.ndarray = (down @ scores @ across.T).astype(np.float32)
    return smooth


def _partial_map(patch_scores: np.ndarray, known: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map of the rectangle that holds all patches that count, in a map of zeros."""
    whole = np.zeros(size, np.float32)
    if not known.any():
        return whole
    ends = [np.flatnonzero(known.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    (top, bottom), (left, right) = ((first, last + 1) for first, last in ends)
    inside, counted = patch_scores[top:bottom, left:right], known[top:bottom, left:right]
    height, width = size[0] // known.shape[0], size[1] // known.shape[1]
    extent = (inside.shape[0] * height, inside.shape[1] * width)
    part = anomaly_map(np.nan_to_num(inside, nan=0.0), inside.shape, extent)
    if not counted.all():
        # The mean of the patches that count alone, weighed by what each contributes to a pixel.
        weights = anomaly_map(counted.astype(np.float32), inside.shape, extent)
        part = np.divide(part, weights, out=np.zeros_like(part), where=weights > LEAST_WEIGHT)
    whole[top * height : bottom * height, left * width : right * width] = part
    whole[~spread_patches(known, size)] = 0
    return whole


def spread_patches(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A grid of patches [h, w] as pixels [H, W], each patch a block; H, W are multiples of h, w."""
    spread: np.ndarray = np.repeat(
        np.repeat(grid, size[0] // grid.shape[0], axis=0), size[1] // grid.shape[1], axis=1
    )
    return spread


@functools.cache
def _spread(patches: int, pixels: int) -> np.ndarray:
    """What each patch of a row contributes to each of its pixels: float64 [pixels, patches].

    Interpolation and Gaussian are linear and treat rows and columns alike, so that two small
    matrix products do the work of both, ten times faster.
    """
    # The centre of each pixel in units of patches, held within the first and last centre.
    places = np.clip((np.arange(pixels) + 0.5) * (patches / pixels) - 0.5, 0, patches - 1)
    below = np.minimum(places.astype(np.int64), patches - 1)
    share = places - below
    lines = np.zeros((pixels, patches))
    rows = np.arange(pixels)
    lines[rows, below] += 1 - share
    lines[rows, np.minimum(below + 1, patches - 1)] += share
    spread: np.ndarray = gaussian_filter1d(lines, sigma=MAP_SIGMA, axis=0)
    return spread
