"""What engines take and give."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class PatchArrays(NamedTuple):
    """What an encoder reads from a batch of B images of N patches.

    Attributes:
        features: float32 [B, N, D], row by row over the grid.
        attention: float32 [B, grid height, grid width], the class token's to the patches.
    """

    features: np.ndarray
    attention: np.ndarray


class PatchEncoder(Protocol):
    """An encoder of any engine: preprocessed images to patch features and attention."""

    def __call__(self, images: np.ndarray) -> PatchArrays:
        """Encode a batch.

        Args:
            images: float32 [B, 3, H, W], normalised, B at least 1.
        """
