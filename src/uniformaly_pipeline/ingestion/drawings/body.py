"""A lone object: how it lies, what a drawing of it holds, and the looks of its materials.

An object is drawn in its own coordinates: pixels at scale 1, origin in its middle, turned with it.
Its outline is an implicit function, negative inside; its relief is in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniformaly_pipeline.ingestion.drawings.canvas import Light, Mask, Picture, Plane, Shade, Size

# Difficulty: how far one piece's colour strays from another's, a half-range.
FINISH_DRIFT = 0.03  # of each colour channel


@dataclass(frozen=True)
class Pose:
    """How an object lies in its picture."""

    size: Size
    x: Plane
    y: Plane
    """The object's own coordinates of every pixel, (H, W)."""
    light: Light
    azimuth: float
    """Where the light comes from in the object's own coordinates, radians."""


@dataclass(frozen=True)
class Body:
    """A drawn object."""

    cover: Plane
    """Share of each pixel that the object covers, (H, W)."""
    picture: Picture
    """The lit object; anything where it covers nothing, (H, W, 3)."""
    hollow: Plane
    """Where the object has a hole that lets the table be seen, (H, W), 0..1."""
    mask: Mask
    """Pixels that the flaw changes, on the object or where it ought to be, (H, W)."""


def nothing(pose: Pose) -> Mask:
    """No pixel changed, (H, W)."""
    return np.zeros(pose.size, dtype=np.bool_)


def drift(rng: np.random.Generator) -> NDArray[np.float64]:
    """One piece's finish: a factor per colour channel, (3,)."""
    return 1 + FINISH_DRIFT * rng.uniform(-1, 1, size=3)


def metal(colour: Picture, lit: Shade, sheen: Plane | float = 0.0) -> Picture:
    """Metal under a lamp: it mirrors a dark horizon and a bright sky as it tilts."""
    tilts = [-1.0, -0.6, -0.25, 0.0, 0.3, 0.6, 0.85, 1.0]
    mirrored = [0.15, 0.32, 0.36, 0.66, 0.92, 1.12, 0.80, 0.55]
    sky = np.interp(lit.facing, tilts, mirrored) + sheen
    return colour * sky[..., None] + (0.45 * lit.highlight(40))[..., None]


def dim(picture: Picture, depth: Plane) -> Picture:
    """A picture darkened where a crack is deep (0..1)."""
    return picture * (1 - 0.85 * depth)[..., None]
