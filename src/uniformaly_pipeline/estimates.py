"""What encoding a data set will take, before it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ATTENTION_BYTES = 5
"""Per patch: attention as float32 and the foreground flag."""


@dataclass(frozen=True)
class FeatureEstimate:
    """Cost of the features of a data set.

    Attributes:
        disk_bytes: Most that they take; foreground patches alone take less.
        seconds: Time to encode them.
    """

    disk_bytes: int
    seconds: float


def feature_bytes(
    num_images: int, num_patches: int, dim: int, dtype: Literal["float16", "float32"]
) -> int:
    """Most that the features of so many images take on disk, in bytes, all patches kept."""
    return num_images * num_patches * (dim * np.dtype(dtype).itemsize + ATTENTION_BYTES)


def estimate_features(
    num_images: int,
    num_patches: int,
    dim: int,
    images_per_second: float,
    dtype: Literal["float16", "float32"] = "float16",
) -> FeatureEstimate:
    """Disk and time that the features of a data set need.

    Args:
        num_images: Images, each encoded once.
        num_patches: Patches of the grid: 784 for ViT-B/8 at 224 px, 196 for ViT-B/16.
        dim: Length of a patch feature: 768 for a ViT-B.
        images_per_second: What the machine encodes with this backbone.
        dtype: Type in which features are stored.

    >>> estimate = estimate_features(1000, 784, 768, images_per_second=2.0)
    >>> round(estimate.disk_bytes / 1e9, 2), estimate.seconds
    (1.21, 500.0)
    """
    return FeatureEstimate(
        feature_bytes(num_images, num_patches, dim, dtype), num_images / images_per_second
    )
