"""Defects drawn for the evaluation: scratches, stains and pasted patches, with their masks."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

KINDS = ("scratch", "stain", "paste")
_OVERSAMPLING = 4  # outlines are drawn larger and shrunk, which makes them smooth


def draw_defect(
    image: Image.Image, allowed: np.ndarray, kind: str, donor: Image.Image, rng: np.random.Generator
) -> tuple[Image.Image, np.ndarray]:
    """Draw one defect.

    Args:
        image: RGB picture.
        allowed: Pixels the defect may touch, bool (H, W).
        kind: One of `KINDS`.
        donor: Picture that a pasted patch is cut from, as large as `image`.
        rng: Source of randomness.

    Returns:
        The damaged picture and the defect's mask, bool (H, W).
    """
    centres = np.argwhere(_eroded(allowed))
    row, column = centres[rng.integers(len(centres))]
    outline = _scratch if kind == "scratch" else _ragged
    opacity = outline(image.size, (float(column), float(row)), rng) * allowed
    pixels = np.asarray(image, dtype=np.float32)
    if kind == "scratch":
        # Light on dark or dark on light, so that a scratch is never invisible.
        level = 25.0 if pixels[opacity > 0.5].mean() > 127 else 230.0
        fill = np.full_like(pixels, level) + rng.normal(0, 12, (1, 1, 3))
        opacity = opacity * rng.uniform(0.6, 0.95)
    elif kind == "stain":
        tint = rng.uniform(0.45, 0.75) * rng.uniform(0.8, 1.15, 3)
        fill = pixels * tint
        opacity = opacity * rng.uniform(0.75, 1.0)
    else:
        fill = np.asarray(donor, dtype=np.float32)
    damaged = pixels + opacity[..., None] * (fill - pixels)
    picture = Image.fromarray(damaged.clip(0, 255).astype(np.uint8))
    return picture, opacity > 0.3 * opacity.max()


def _eroded(allowed: np.ndarray) -> np.ndarray:
    """The allowed pixels away from the outline, or all of them where nothing else is left."""
    grey = Image.fromarray((allowed * 255).astype(np.uint8))
    inner = np.asarray(grey.filter(ImageFilter.MinFilter(21))) > 0
    return inner if inner.any() else allowed


def _shrink(drawing: Image.Image, size: tuple[int, int]) -> np.ndarray:
    small = drawing.resize(size, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255.0


def _scratch(
    size: tuple[int, int], centre: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Opacity of a wavering line, (H, W)."""
    scale = _OVERSAMPLING
    length, angle = rng.uniform(20, 60), rng.uniform(0, np.pi)
    time = np.linspace(-0.5, 0.5, 9)
    waver = np.cumsum(rng.normal(0, 0.03, time.size)) * length
    across = waver - waver.mean()
    x = centre[0] + time * length * np.cos(angle) - across * np.sin(angle)
    y = centre[1] + time * length * np.sin(angle) + across * np.cos(angle)
    canvas = Image.new("L", (size[0] * scale, size[1] * scale))
    width = round(rng.uniform(1.5, 3.5) * scale)
    points = [(float(a) * scale, float(b) * scale) for a, b in zip(x, y, strict=True)]
    ImageDraw.Draw(canvas).line(points, fill=255, width=width, joint="curve")
    return _shrink(canvas, size)


def _ragged(
    size: tuple[int, int], centre: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Opacity of a star-shaped polygon with a slightly soft outline, (H, W)."""
    scale = _OVERSAMPLING
    angles = np.linspace(0, 2 * np.pi, 15)[:-1]
    radii = rng.uniform(6, 16) * rng.uniform(0.7, 1.3, angles.size)
    points = [
        ((centre[0] + r * np.cos(a)) * scale, (centre[1] + r * np.sin(a)) * scale)
        for a, r in zip(angles, radii, strict=True)
    ]
    canvas = Image.new("L", (size[0] * scale, size[1] * scale))
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    return _shrink(canvas.filter(ImageFilter.GaussianBlur(scale)), size)
