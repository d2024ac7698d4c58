"""Back Patch Masking: keep the patches that the class token attends to (paper section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

MaskingMode = Literal["binary", "soft", "off"]
Keep = Literal["foreground", "all"]

Grids = TypeVar("Grids", "np.ndarray", "torch.Tensor")
"""A numpy array or a torch tensor: the results are of the same kind, and the same."""


def smooth_attention(attention: Grids, kernel_size: int = 7) -> Grids:
    """Smooth attention with a box filter and scale each image's maximum to 1 (equation 1).

    Padding zeros count in the mean, and each image is divided by its own maximum, so the result
    does not depend on the batch.

    Args:
        attention: float [B, grid height, grid width], non-negative; NaN where a patch does not
            count, which is as if it were padding.
        kernel_size: Side of the filter in patches, odd; 1 only rescales.

    Returns:
        float [B, grid height, grid width] in 0..1; 0 where a patch does not count.
    """
    if isinstance(attention, np.ndarray):
        return _smooth_array(attention, kernel_size)
    import torch
    from torch.nn import functional as F

    known = counted(attention)
    attention = torch.where(known, attention, 0)
    smoothed = F.avg_pool2d(attention[:, None], kernel_size, stride=1, padding=kernel_size // 2)[
        :, 0
    ]
    smoothed = torch.where(known, smoothed, 0)
    maximum = smoothed.amax(dim=(1, 2), keepdim=True)
    return smoothed / maximum.clamp_min(torch.finfo(smoothed.dtype).tiny)


def _smooth_array(attention: np.ndarray, kernel_size: int) -> np.ndarray:
    """Adds up a window's values in torch's order, so that the sums are torch's."""
    known = counted(attention)
    attention = np.where(known, attention, attention.dtype.type(0))
    _, height, width = attention.shape
    margin = kernel_size // 2
    padded = np.pad(attention, ((0, 0), (margin, margin), (margin, margin)))
    smoothed = np.zeros_like(attention)
    for down in range(kernel_size):
        for right in range(kernel_size):
            smoothed += padded[:, down : down + height, right : right + width]
    smoothed /= attention.dtype.type(kernel_size**2)
    smoothed[~known] = 0
    maximum = smoothed.max(axis=(1, 2), keepdims=True)
    scaled: np.ndarray = smoothed / np.maximum(maximum, np.finfo(smoothed.dtype).tiny)
    return scaled


@dataclass(frozen=True)
class BackPatchMasking:
    """Which patches count and by how much.

    Attributes:
        mode: ``binary`` keeps the patches whose smoothed attention exceeds the threshold;
            ``soft`` keeps all and multiplies their distances by it (Table 10, as the authors'
            code computes it); ``off`` keeps all.
        kernel_size: Side of the smoothing filter in patches, odd (Table 9).
        threshold: Smoothed attention above which a patch is foreground, strict (Table 10).
    """

    mode: MaskingMode = "binary"
    kernel_size: int = 7
    threshold: float = 0.1

    @property
    def drops_background(self) -> bool:
        """Whether some patches do not count at all, so that nothing need be stored of them."""
        return self.mode == "binary"

    @property
    def weighs_distances(self) -> bool:
        """Whether the distances of test patches are multiplied by :meth:`weights`."""
        return self.mode == "soft"

    @property
    def heeds_attention(self) -> bool:
        """Whether anything depends on the attention."""
        return self.drops_background or self.weighs_distances

    def foreground(self, attention: Grids) -> Grids:
        """The patches that count: bool [B, N] for attention [B, grid height, grid width]."""
        if not self.drops_background:
            return _rows(counted(attention))
        return _rows(smooth_attention(attention, self.kernel_size) > self.threshold)

    def weights(self, attention: Grids) -> Grids:
        """The factor of each test patch's distance: float [B, N] in 0..1.

        It is the smoothed attention over the image's own maximum for ``soft``, 1 for the others.

        Args:
            attention: float [B, grid height, grid width], non-negative, NaN where no patch counts.
        """
        if not self.weighs_distances:
            return _rows(_ones(attention))
        return _rows(smooth_attention(attention, self.kernel_size))


def counted(attention: Any) -> Any:
    """Where a patch shows something that counts: bool of the same shape and kind, false at NaN."""
    return attention == attention


def _ones(grids: Grids) -> Grids:
    if isinstance(grids, np.ndarray):
        return np.ones_like(grids)
    return grids.new_ones(grids.shape)


def _rows(grids: Grids) -> Grids:
    """Grids [B, grid height, grid width] as rows [B, N]."""
    return grids.reshape(len(grids), grids.shape[1] * grids.shape[2])


def drops_patches(masking: BackPatchMasking, keep: Keep) -> bool:
    """Whether a feature store told to ``keep`` leaves patches out under this masking."""
    return keep == "foreground" and masking.drops_background
