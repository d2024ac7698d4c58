"""What encoding a data set will take, said before it is done, and how far off that was."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

ATTENTION_BYTES = 5
"""Per patch: attention as float32 and the foreground flag."""


def feature_bytes(
    num_images: int, num_patches: int, dim: int, dtype: Literal["float16", "float32"]
) -> int:
    """Most that the features of so many images take on disk, in bytes, all patches kept.

    >>> feature_bytes(1000, 784, 768, "float16")  # ViT-B/8 at 224 px: 1.2 GB
    1208144000
    """
    return num_images * num_patches * (dim * np.dtype(dtype).itemsize + ATTENTION_BYTES)


@dataclass(frozen=True)
class EncodingCost:
    """What encoding takes, measured or estimated.

    Attributes:
        seconds: Time.
        memory_bytes: Most memory of the process, or of the GPU where one computes; ``None`` where
            it cannot be told.
    """

    seconds: float
    memory_bytes: int | None

    def __str__(self) -> str:
        """For people: ``12.3 s and 1.25 GB of memory``."""
        if self.memory_bytes is None:
            return f"{self.seconds:.1f} s"
        return f"{self.seconds:.1f} s and {self.memory_bytes / 1e9:.2f} GB of memory"

    def compared_with(self, estimate: EncodingCost) -> str:
        """How far off an estimate was, but for what was right.

        >>> EncodingCost(11.0, 900).compared_with(EncodingCost(10.0, 1000))
        '10% more time and 10% less memory than estimated'
        >>> EncodingCost(11.0, 1000).compared_with(EncodingCost(10.0, 1000))
        '10% more time than estimated'
        """
        parts = [_difference(self.seconds, estimate.seconds, "time")]
        if self.memory_bytes and estimate.memory_bytes:
            parts.append(_difference(self.memory_bytes, estimate.memory_bytes, "memory"))
        off = " and ".join(filter(None, parts))
        return f"{off} than estimated" if off else "as estimated"


def _difference(measured: float, estimated: float, what: str) -> str:
    percent = round(100 * (measured / estimated - 1))
    return f"{abs(percent)}% {'less' if percent < 0 else 'more'} {what}" if percent else ""


def peak_memory() -> int | None:
    """Most memory this process has held so far, in bytes; ``None`` where the system tells not."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
