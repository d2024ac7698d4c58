"""The demo data set as a layout: MVTec AD's, with images that are drawn on the first run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from PIL import Image

from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.train_test import EXPECTED, HAS_DEFECTS, read

__all__ = ["EXPECTED", "HAS_DEFECTS", "DrawnImages", "classes", "drawn_images", "read"]

SEED = 0
"""The demo is the same for everyone, whatever the run's seed."""
VERSION = "3"
"""Raise it when the drawings change, so that they are drawn anew."""


@dataclass(frozen=True)
class DrawnImages:
    """Images that do not exist yet.

    Attributes:
        version: Changes whenever the pictures do.
        num_images: How many there will be, masks included.
        draw: Yields each image's path (relative, with ``/``) and the image.
    """

    version: str
    num_images: int
    draw: Callable[[], Iterator[tuple[str, Image.Image]]]


def classes(root: ImageFolder) -> list[str]:  # noqa: ARG001 - the layouts' common signature
    """The demo's categories, known before they are drawn."""
    return list(drawings.CATEGORIES)


def drawn_images() -> DrawnImages:
    """The demo's images, masks included."""
    return DrawnImages(VERSION, drawings.NUM_IMAGES, partial(drawings.draw, SEED))
