"""Images turned around their middle: more views of few normal images.

As AnomalyDINO (arXiv 2405.14529, section 3.2) does it: an image keeps its size, and what comes in
at its corners is mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import rotate

from uniformaly_pipeline.ingestion.regions import Region


@dataclass(frozen=True)
class Turn:
    """A turn around the middle.

    Attributes:
        degrees: By how much.
    """

    degrees: float

    def key(self, name: str) -> str:
        """What tells a turned image from the image: its content hash, or its path, and the turn."""
        return f"{name}@turned-{self.degrees:g}"

    def picture(self, image: Image.Image) -> Image.Image:
        """The image turned, as RGB; pixels are interpolated bilinearly."""
        return Image.fromarray(self._pixels(np.asarray(image), order=1))

    def region(self, region: Region) -> Region:
        """What counts of a turned image.

        Raises:
            InputError: Nothing of the region is left.
        """
        pixels = self._pixels(region.pixels.astype(np.uint8), order=0)
        return Region.of(pixels > 0, "the turned region of interest")

    def _pixels(self, pixels: np.ndarray, order: int) -> np.ndarray:
        turned: np.ndarray = rotate(
            pixels.astype(np.float32), self.degrees, reshape=False, order=order, mode="mirror"
        )
        return np.rint(turned).clip(0, 255).astype(np.uint8)


def turns_of(rotations: int) -> list[Turn]:
    """So many turns all around, without the one that leaves an image as it is.

    >>> turns_of(4)
    [Turn(degrees=90.0), Turn(degrees=180.0), Turn(degrees=270.0)]
    """
    return [Turn(360 * number / rotations) for number in range(1, rotations)]
