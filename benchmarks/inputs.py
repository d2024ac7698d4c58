"""Made-up inputs that are like the real ones where it matters for speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLUSTERS = 500
SPECTRUM = -1.2
"""Exponent of the variances along the axes, largest first."""
WITHIN = 0.19
"""Share of the variance within clusters."""
OFFSET = 0.45
"""Squared length of what all points share, over their variance."""
BLOCK = 1 << 16
SIZE = 288
"""Side of the images in pixels."""


def patch_like(count: int, dim: int, seed: int) -> np.ndarray:
    """Points that are spread like patch features: float32 [count, dim].

    A mixture of Gaussians around a common offset whose variance falls along the axes. The
    constants are those of the quick-start backbone's features of the demo; the squared distance
    of a point to its nearest neighbour in a bank is about a fifth of the variance, as there.
    """
    shape = np.random.default_rng(0)  # the same clusters, whatever the points
    scale = np.arange(1, dim + 1) ** (SPECTRUM / 2)
    scale /= np.linalg.norm(scale)
    centers = shape.standard_normal((CLUSTERS, dim)) * scale * np.sqrt(1 - WITHIN)
    direction = shape.standard_normal(dim)
    centers += direction / np.linalg.norm(direction) * np.sqrt(OFFSET)
    centers, narrow = centers.astype(np.float32), (scale * np.sqrt(WITHIN)).astype(np.float32)
    rng = np.random.default_rng([1, seed])
    points = np.empty((count, dim), np.float32)
    for first in range(0, count, BLOCK):
        block = points[first : first + BLOCK]
        rng.standard_normal(dtype=np.float32, out=block)
        block *= narrow
        block += centers[rng.integers(CLUSTERS, size=len(block))]
    return points


def isotropic(count: int, dim: int, seed: int) -> np.ndarray:
    """Points without any structure, the worst case of a search: float32 [count, dim]."""
    return np.random.default_rng([2, seed]).standard_normal((count, dim), dtype=np.float32)


def maps_and_masks(count: int, side: int, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Anomaly maps, a third of them with a defect: float32 and bool [count, side, side]."""
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(3)
    maps = np.empty((count, side, side), np.float32)
    masks = np.zeros((count, side, side), bool)
    for number in range(count):
        scores = rng.gamma(4.0, 10.0, (grid, grid)).astype(np.float32)
        scores[rng.random((grid, grid)) < 0.3] = 0.0  # background
        if number % 3 == 0:
            top, left = rng.integers(0, grid - grid // 4, 2)
            box = (slice(top, top + grid // 4), slice(left, left + grid // 4))
            scores[box] += 30.0
            patch = side // grid
            masks[number, top * patch : (top + grid // 4) * patch][
                :, left * patch : (left + grid // 4) * patch
            ] = True
        pixels = F.interpolate(torch.from_numpy(scores)[None, None], size=side, mode="bilinear")
        maps[number] = pixels[0, 0].numpy()
    return maps, masks


def draw_defects(root: Path, train: int, good: int, bad: int) -> None:
    """Draw a category in MVTec AD's layout, once: noisy plates, defective ones with a stain."""
    if root.exists():
        return
    part = root.with_name(f"{root.name}.part")
    rng = np.random.default_rng(4)
    for folder, count in {"train/good": train, "test/good": good, "test/stain": bad}.items():
        (part / "plate" / folder).mkdir(parents=True)
        for number in range(count):
            pixels = _plate(rng, (150, 160, 170))
            if folder == "test/stain":
                mask = _stain(rng)
                pixels[mask] //= 2
                path = part / f"plate/ground_truth/stain/{number:03d}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * 255).save(path)
            Image.fromarray(pixels).save(part / "plate" / folder / f"{number:03d}.png")
    part.rename(root)


def draw_classes(root: Path, classes: Sequence[str], train: int, test: int) -> None:
    """Draw ``<split>/<class>/*.png``, once: plates of a colour per class."""
    if root.exists():
        return
    part = root.with_name(f"{root.name}.part")
    rng = np.random.default_rng(5)
    for name in classes:
        colour = rng.integers(60, 200, 3)
        for split, count in {"train": train, "test": test}.items():
            (part / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(_plate(rng, tuple(colour)))
                image.save(part / split / name / f"{number:03d}.png")
    part.rename(root)


def _plate(rng: np.random.Generator, colour: Sequence[int]) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    wave = 25 * np.sin(rng.uniform(20, 40) * x + rng.uniform(0, 6)) * np.cos(18 * y)
    light = rng.uniform(-15, 15) + 20 * x
    pixels = np.asarray(colour) + (wave + light)[..., None] + rng.normal(0, 6, (SIZE, SIZE, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def _stain(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    center, radius = rng.uniform(0.3 * SIZE, 0.7 * SIZE, 2), rng.uniform(0.06, 0.12) * SIZE
    stain: np.ndarray = np.hypot(y - center[0], x - center[1]) < radius
    return stain
