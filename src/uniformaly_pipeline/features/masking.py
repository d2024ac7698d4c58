"""Back Patch Masking: keep the patches that the class token attends to (paper section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

MaskingMode = Literal["binary", "soft", "off"]
Keep = Literal["foreground", "all"]


def smooth_attention(attention: torch.Tensor, kernel_size: int = 7) -> torch.Tensor:
    """Smooth attention with a box filter and scale each image's maximum to 1 (equation 1).

    Padding zeros count in the mean, and each image is divided by its own maximum, so the result
    does not depend on the batch.

    Args:
        attention: float [B, grid height, grid width], non-negative.
        kernel_size: Side of the filter in patches, odd; 1 only rescales.

    Returns:
        float [B, grid height, grid width] in 0..1.
    """
    import torch
    from torch.nn import functional as F

    smoothed = F.avg_pool2d(attention[:, None], kernel_size, stride=1, padding=kernel_size // 2)[
        :, 0
    ]
    maximum = smoothed.amax(dim=(1, 2), keepdim=True)
    return smoothed / maximum.clamp_min(torch.finfo(smoothed.dtype).tiny)


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

    def foreground(self, attention: torch.Tensor) -> torch.Tensor:
        """The patches that count: bool [B, N] for attention [B, grid height, grid width]."""
        if not self.drops_background:
            return attention.new_ones(attention.shape).bool().flatten(1)
        return (smooth_attention(attention, self.kernel_size) > self.threshold).flatten(1)

    def weights(self, attention: torch.Tensor) -> torch.Tensor:
        """The factor of each test patch's distance: float [B, N] in 0..1.

        It is the smoothed attention over the image's own maximum for ``soft``, 1 for the others.

        Args:
            attention: float [B, grid height, grid width], non-negative.
        """
        if not self.weighs_distances:
            return attention.new_ones(attention.shape).flatten(1)
        return smooth_attention(attention, self.kernel_size).flatten(1)


def drops_patches(masking: BackPatchMasking, keep: Keep) -> bool:
    """Whether a feature store told to ``keep`` leaves patches out under this masking."""
    return keep == "foreground" and masking.drops_background
