"""Regions of interest: the part of all images of a class that counts, drawn as a picture."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.ingestion.decoding import SEVERAL, UNREADABLE, Decoded, decode_bytes
from uniformaly_pipeline.ingestion.images import ImageFolder, is_image_name, may_be_image
from uniformaly_pipeline.ingestion.masks import marks_of

if TYPE_CHECKING:
    import pandas as pd

NAMES = frozenset({"roi", "roi_mask", "mask_roi", "region_of_interest"})
"""Names of pictures of a region, of any format; capitals do not matter, nor do spaces and hyphens
for underscores."""

MISPLACED = "region of interest"
"""The check of pictures of a region that lie where none is looked for."""

COVERED = 0.4999
"""Share of what a patch shows that a region must cover for the patch to count: half, but for
rounding."""

HIDDEN = (124, 116, 104)
"""Colour in place of what does not count: the mean of the images that backbones were trained on."""


class MisfitError(InputError):
    """An image is of another size than its region of interest."""


def tell_misfits_once(problems: Sequence[InputError]) -> list[str]:
    """Problems as lines, of images that do not fit their region the first and how many more."""
    misfits = [str(problem) for problem in problems if isinstance(problem, MisfitError)]
    more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
    others = [str(problem) for problem in problems if not isinstance(problem, MisfitError)]
    return [*others, *(f"{line}{more}" for line in misfits[:1])]


Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class Region:
    """The pixels that count of all images of a class.

    Attributes:
        png: They as a picture of one bit: a PNG of the images' size.
    """

    png: bytes

    @classmethod
    def of(cls, pixels: np.ndarray, name: str) -> Region:
        """The region of pixels, bool [H, W].

        Args:
            pixels: True where something counts.
            name: What an error calls it.

        Raises:
            InputError: Nothing counts.
        """
        if not pixels.any():
            raise InputError(f"{name} marks nothing: what is to count must not be 0 in it")
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
        return cls(buffer.getvalue())

    @classmethod
    def from_text(cls, text: str) -> Region:
        """The region that :attr:`text` tells."""
        return cls(base64.b64decode(text))

    @cached_property
    def text(self) -> str:
        """The region as text, for tables and metadata."""
        return base64.b64encode(self.png).decode()

    @cached_property
    def pixels(self) -> np.ndarray:
        """The pixels that count: bool [H, W]."""
        with Image.open(BytesIO(self.png)) as picture:
            return np.asarray(picture.convert("1"))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def _digest(self) -> str:
        packed = np.packbits(self.pixels).tobytes()
        return hashlib.sha256(f"{self.size}".encode() + packed).hexdigest()[:16]

    def key(self, content_hash: str) -> str:
        """What tells an image whose rest does not count from the whole one and others."""
        return f"{content_hash}@roi-{self._digest}"

    def check_size(self, size: tuple[int, int], image: str) -> None:
        """Refuse an image of another size.

        Args:
            size: (width, height) of the image in pixels.
            image: Its name.

        Raises:
            MisfitError: It is; the line names it.
        """
        if size != self.size:
            raise MisfitError(
                f"{image} is {size[0]}x{size[1]} pixels but the region of interest is "
                f"{self.size[0]}x{self.size[1]}: images of one camera and one size have one region"
            )

    def hide_rest(self, image: Image.Image) -> Image.Image:
        """Paint over what does not count, so that the encoder cannot attend to it.

        Args:
            image: RGB, of the region's size.
        """
        rest = Image.new("RGB", image.size, HIDDEN)
        return Image.composite(image, rest, Image.fromarray(self.pixels))

    def covers(self, box: Box, grid: tuple[int, int], seen: Box | None = None) -> np.ndarray:
        """The patches that count: those of which the region covers at least half of what they show.

        Args:
            box: Left, top, right and bottom of the grid in pixels of the image; what lies outside
                of the image shows nothing.
            grid: (height, width) in patches.
            seen: Left, top, right and bottom of what is seen of the image, ``None`` for all; what
                lies outside of it shows nothing, either.

        Returns:
            bool [grid height, grid width].
        """
        return _covered(self, box, grid, seen)


@functools.lru_cache(maxsize=32)
def _covered(region: Region, box: Box, grid: tuple[int, int], seen: Box | None) -> np.ndarray:
    """:meth:`Region.covers`: it is the same for all images of a class."""
    height, width = region.pixels.shape
    left, top, right, bottom = seen or (0.0, 0.0, width, height)
    down = _overlaps(np.linspace(box[1], box[3], grid[0] + 1).clip(top, bottom), height)
    across = _overlaps(np.linspace(box[0], box[2], grid[1] + 1).clip(left, right), width)
    inside = down @ region.pixels.astype(np.float32) @ across.T
    shown = np.outer(down.sum(axis=1), across.sum(axis=1))
    covered: np.ndarray = (shown > 0) & (inside >= COVERED * shown)
    return covered


def _overlaps(edges: np.ndarray, length: int) -> np.ndarray:
    """How much of each pixel of a line each stretch of it holds: float32 [stretches, length]."""
    first = np.arange(length)
    ends = np.minimum(edges[1:, None], first + 1)
    begins = np.maximum(edges[:-1, None], first)
    return np.clip(ends - begins, 0, None).astype(np.float32)


def is_roi_name(path: str) -> bool:
    """Whether a file is a picture of a region by its name."""
    stem = re.sub(r"[\s-]+", "_", PurePosixPath(path).stem.casefold().strip())
    return stem in NAMES and is_image_name(path)


def is_plain_image(path: str) -> bool:
    """Whether a file is an image by its name, and no picture of a region of interest."""
    return is_image_name(path) and not is_roi_name(path)


def is_to_judge(path: str) -> bool:
    """As :func:`is_plain_image`, or without a suffix that says what it is."""
    return may_be_image(path) and not is_roi_name(path)


def read_roi(folder: ImageFolder, path: str) -> Region:
    """Read the picture of a region, see :func:`region_in`.

    Raises:
        InputError: It is not there or cannot be read, or as there; the line names it.
    """
    try:
        decoded = decode_bytes(folder.read_bytes(path), folder.max_pixels)
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({first_line(error)})") from error
    return region_in(decoded, path)


def region_in(decoded: Decoded, name: str) -> Region:
    """The region that a picture shows; what is not 0 counts, as in masks (:mod:`.masks`).

    Args:
        decoded: The picture.
        name: What an error calls it.

    Raises:
        InputError: It is one of several in its file, or nothing counts.
    """
    if not SEVERAL.isdisjoint(decoded.remarks):
        raise InputError(
            f"{name} has several pictures in one file: keep the one that tells the region"
        )
    return Region.of(marks_of(decoded).marked, name)


def regions_of(manifest: pd.DataFrame) -> dict[str, Region]:
    """The region of each image of a manifest that has one, by its path."""
    if "roi" not in manifest:
        return {}
    known = {text: Region.from_text(text) for text in manifest["roi"].dropna().unique()}
    rows = zip(manifest["image"], manifest["roi"], strict=True)
    return {image: known[text] for image, text in rows if isinstance(text, str)}


def regions_by_class(manifest: pd.DataFrame) -> Mapping[str, Region]:
    """The region of each class of a manifest that has one."""
    if "roi" not in manifest:
        return {}
    rows = manifest[["class", "roi"]].dropna().drop_duplicates()
    return {name: Region.from_text(text) for name, text in rows.itertuples(index=False)}
