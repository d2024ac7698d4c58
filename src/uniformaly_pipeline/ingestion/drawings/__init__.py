"""The demo data set: six categories in the MVTec AD layout, drawn by this program.

It has what makes inspection hard in real life (changing light, colour drift, turned objects,
cluttered tables) and needs no download and no licence. Three categories are objects, each on its
own bench among ever different clutter, three are textures that fill the frame::

    from uniformaly_pipeline.ingestion import drawings

    for path, image in drawings.draw(seed=0):
        ...  # "bolt/train/good/000.png", 288 x 256; masks are among the images
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from uniformaly_pipeline.ingestion.drawings.canvas import Mask, Picture, Size, photograph
from uniformaly_pipeline.ingestion.drawings.flaws import Flaw, random_flaw
from uniformaly_pipeline.ingestion.drawings.objects import OBJECTS, draw_object
from uniformaly_pipeline.ingestion.drawings.textures import TEXTURES

DEFECTS: dict[str, tuple[str, ...]] = {
    "bolt": ("chipped", "cracked", "stripped"),
    "button": ("chipped", "cracked", "misdrilled"),
    "denim": ("hole", "misweave", "snag"),
    "gear": ("broken_tooth", "corroded", "scratched"),
    "leather": ("cut", "fold", "worn"),
    "oak": ("gouge", "knot", "wormholes"),
}
"""Kinds of defect a class."""

CATEGORIES: tuple[str, ...] = tuple(DEFECTS)

NUM_TRAIN = 30
"""Normal training images a class."""
NUM_GOOD = 12
"""Normal test images a class."""
NUM_DEFECTIVE = 6
"""Test images a kind of defect."""

NUM_IMAGES = sum(
    NUM_TRAIN + NUM_GOOD + 2 * NUM_DEFECTIVE * len(kinds) for kinds in DEFECTS.values()
)
"""Everything `draw` yields, masks included."""

_SIZES: dict[str, Size] = {"bolt": (256, 288)}
_SIZE: Size = (256, 256)


class _Shot(NamedTuple):
    """One picture of the set."""

    category: str
    split: str
    kind: str
    """`good` or a kind of defect."""
    number: int

    @property
    def path(self) -> str:
        return f"{self.category}/{self.split}/{self.kind}/{self.number:03d}.png"

    @property
    def mask_path(self) -> str:
        return f"{self.category}/ground_truth/{self.kind}/{self.number:03d}_mask.png"


def _shots(categories: Iterable[str]) -> Iterator[_Shot]:
    for category in categories:
        if category not in DEFECTS:
            raise ValueError(f"the demo has no category '{category}', only {', '.join(CATEGORIES)}")
        yield from (_Shot(category, "train", "good", number) for number in range(NUM_TRAIN))
        yield from (_Shot(category, "test", "good", number) for number in range(NUM_GOOD))
        for kind in DEFECTS[category]:
            yield from (_Shot(category, "test", kind, number) for number in range(NUM_DEFECTIVE))


def paths(categories: Iterable[str] = CATEGORIES) -> list[str]:
    """The relative paths of what `draw` yields, in its order, without drawing.

    Raises:
        ValueError: There is no such category.
    """
    found: list[str] = []
    for shot in _shots(categories):
        found.append(shot.path)
        if shot.kind != "good":
            found.append(shot.mask_path)
    return found


def draw(seed: int, categories: Iterable[str] = CATEGORIES) -> Iterator[tuple[str, Image.Image]]:
    """Draw the set.

    An image depends on the seed and its own path only: a subset of the categories holds the same
    images as the whole set.

    Args:
        seed: Any integer from 0; another seed gives another set of the same kind.
        categories: Which of `CATEGORIES` to draw.

    Yields:
        Relative path ('/'-separated) and image: RGB, and for masks L with 0 (sound) and 255
        (defective), of their image's size. A mask follows its image.

    Raises:
        ValueError: There is no such category, or the seed is negative.
    """
    for shot in _shots(categories):
        image, mask = _take(seed, shot)
        yield shot.path, image
        if shot.kind != "good":
            yield shot.mask_path, mask


def _take(seed: int, shot: _Shot, flawed: bool = True) -> tuple[Image.Image, Image.Image]:
    """One picture and its mask; `flawed=False` gives a defective picture's sound twin."""
    key = zlib.crc32(shot.path.encode())
    rng = np.random.default_rng([seed, key])
    # The flaw has its own stream, so that it changes nothing but the pixels it touches.
    flaw = random_flaw(shot.kind, np.random.default_rng([seed, key, 1]))
    picture, mask = _paint(shot.category, rng, flaw if flawed and shot.kind != "good" else None)
    photo = photograph(picture, rng)
    return Image.fromarray(photo), Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


def _paint(category: str, rng: np.random.Generator, flaw: Flaw | None) -> tuple[Picture, Mask]:
    """The lit scene (H, W, 3) and the flaw's mask (H, W)."""
    size = _SIZES.get(category, _SIZE)
    if category in OBJECTS:
        picture, mask, _ = draw_object(category, size, rng, flaw)
        return picture, mask
    return TEXTURES[category](size, rng, flaw)
