"""Which values of deep images are black and which white: one rule for a category.

Images of 8 bits are 0..255. Deeper ones (10 to 16 bits in files of 16, 32-bit integers, floats)
may have any range, and a rule per picture would make a sound picture black for one hot pixel. So
the rule is decided once from a category's normal images and applied to every other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Depth = Literal["8-bit", "integer", "float"]
"""What an image's pixels are: bytes, deeper integers or floats."""

TAIL = 0.001
"""Share of an image's darkest and of its brightest pixels that say nothing of its range."""

LEAST_FOR_TAIL = 16
"""Pixels from which on the darkest and the brightest one never say anything of an image's range."""

OUTLYING = 0.1
"""Share of the images whose range may be unlike the others', at either end."""

BIT_DEPTHS = (8, 10, 12, 14, 16, 20, 24, 32)
FULL_SCALES: dict[str, tuple[float, ...]] = {
    "integer": (1.0, *(2.0**bits - 1 for bits in BIT_DEPTHS)),
    "float": (1.0, *(2.0**bits - 1 for bits in BIT_DEPTHS)),
}
"""What counts as white by convention, for pixels that are not negative."""

LEAST_REACH = 0.25
"""Share of a full scale that the brightest pixels must reach for it to be the scale."""
LEAST_SPAN = 1 / 16
"""Share of a full scale that an image's pixels must span."""
MARGIN = 1 / 8
"""Where no full scale fits: room on either side of the normal images' range, as a share of it."""

NEARLY_BLACK, NEARLY_WHITE = 16.0, 239.0
"""Grey values, of 0..255, below or above which a whole picture shows hardly anything."""
NEARLY_CONSTANT = 4.0
"""Grey values that a picture spans at least if it shows anything."""


@dataclass(frozen=True)
class Levels:
    """What is black and what is white in images deeper than 8 bits.

    Attributes:
        integer: Values of integer pixels that become 0 and 255.
        floating: Values of float pixels that become 0 and 255.
    """

    integer: tuple[float, float] = (0.0, 65535.0)
    floating: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def of(cls, low: float, high: float) -> Levels:
        """The same levels for integers and floats."""
        return cls((float(low), float(high)), (float(low), float(high)))

    def at(self, depth: str) -> tuple[float, float]:
        """Black and white of images of a depth."""
        if depth == "8-bit":
            return (0.0, 255.0)
        return self.integer if depth == "integer" else self.floating

    def to_8_bit(self, pixels: np.ndarray) -> np.ndarray:
        """Deep pixels [H, W] as uint8 [H, W]; what is no number is black."""
        low, high = self.at(depth_of(pixels))
        scaled = (np.asarray(pixels, np.float64) - low) * (255.0 / (high - low))
        whole = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
        return np.clip(np.rint(whole), 0, 255).astype(np.uint8)

    def key(self, sha256: str, depth: str) -> str:
        """What tells the pixels of a file from others: its hash, and how deep ones are read."""
        if depth == "8-bit":
            return sha256
        low, high = self.at(depth)
        return f"{sha256}@{low:.12g}..{high:.12g}"


def depth_of(pixels: np.ndarray) -> Depth:
    """The depth of pixels."""
    if pixels.dtype.itemsize == 1:
        return "8-bit"
    return "float" if np.issubdtype(pixels.dtype, np.floating) else "integer"


def file_hash(content_hash: str) -> str:
    """The SHA-256 of the file in what :meth:`Levels.key` made."""
    return content_hash.partition("@")[0]


def pixel_range(pixels: np.ndarray) -> tuple[float, float] | None:
    """The darkest and the brightest value of pixels [H, W], but for a :data:`TAIL` of each.

    Returns:
        ``None`` where no pixel is a finite number.
    """
    flat = pixels.ravel()
    if np.issubdtype(flat.dtype, np.floating):
        flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return None
    first = _num_outlying(flat.size)
    last = flat.size - 1 - first
    ends = np.partition(flat, sorted({first, last}))
    return float(ends[first]), float(ends[last])


def range_of_counts(counts: Sequence[int]) -> tuple[float, float]:
    """As :func:`pixel_range`, of pixels of 8 bits.

    Args:
        counts: How many pixels have each value from 0 on; not all of them 0.
    """
    below = np.cumsum(counts)
    first = _num_outlying(int(below[-1]))
    ends = np.searchsorted(below, [first, below[-1] - 1 - first], side="right")
    return float(ends[0]), float(ends[1])


def _num_outlying(number: int) -> int:
    """Of so many pixels, how many at either end say nothing of the range."""
    return max(int(TAIL * number), int(number >= LEAST_FOR_TAIL))


def reach_beyond(pixels: np.ndarray, levels: tuple[float, float]) -> bool:
    """Whether more of some deep pixels lie beyond black or white than say nothing of their range.

    Args:
        pixels: Of any shape; what is not finite does not count.
        levels: What is black and what is white.
    """
    low, high = levels
    most = _num_outlying(pixels.size)
    below = np.count_nonzero((pixels < low) & np.isfinite(pixels))
    above = np.count_nonzero((pixels > high) & np.isfinite(pixels))
    return bool(max(below, above) > most)


def choose_levels(depth: Depth, ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Black and white of a category, from the ranges of its normal images.

    A conventional scale (1, or all that 8, 10, 12, 14, 16 or more bits hold) is taken where the
    images make use of it. Otherwise what lies between the darkest and the brightest pixels counts,
    and a margin. The most outlying images have no say.

    Args:
        depth: ``integer`` or ``float``.
        ranges: Of each image, see :func:`pixel_range`; at least one.
    """
    lows, highs = (np.array(ends, np.float64) for ends in zip(*ranges, strict=True))
    low = float(np.quantile(lows, OUTLYING, method="higher"))
    high = float(np.quantile(highs, 1 - OUTLYING, method="lower"))
    low, high = min(low, high), max(low, high)
    scale = next((scale for scale in FULL_SCALES[depth] if high <= scale), None)
    reaches = scale is not None and high >= LEAST_REACH * scale
    if scale is not None and low >= 0 and reaches and high - low >= LEAST_SPAN * scale:
        return 0.0, scale
    margin = MARGIN * (high - low) or max(1.0, abs(high)) / 2
    return _short(low - margin), _short(high + margin)


def _short(value: float) -> float:
    """A value with the digits that matter, as people read it."""
    return float(f"{value:.6g}")


def appearance(levels: tuple[float, float], darkest: float, brightest: float) -> str:
    """What a picture looks like: ``black``, ``white`` or ``constant``; empty if it shows anything.

    Args:
        levels: What is black and what is white.
        darkest: See :func:`pixel_range`.
        brightest: See :func:`pixel_range`.
    """
    low, high = levels
    dark, bright = (
        min(255.0, max(0.0, 255 * (value - low) / (high - low))) for value in (darkest, brightest)
    )
    if bright < NEARLY_BLACK:
        return "black"
    if dark > NEARLY_WHITE:
        return "white"
    return "constant" if bright - dark < NEARLY_CONSTANT else ""
