"""What the header of an image file says, and what Pillow needs to be told before it reads on."""

from __future__ import annotations

import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image, ImageFile

DAMAGE = (
    OSError, EOFError, ValueError, TypeError, AttributeError, AssertionError, LookupError,
    ArithmeticError, RuntimeError, SyntaxError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What a decoder raises that meets damage, whichever it stumbles over: Pillow documents none. The
fuzz of all its formats (``tools/fuzz_images.py``) ends with a traceback on any other."""

ORIENTATION = 0x0112
"""EXIF's tag of how an image lies."""

BITS, SAMPLE_FORMAT, PHOTOMETRIC = 0x0102, 0x0153, 0x0106
"""TIFF's tags of a sample's size, of whether it has a sign, and of what is white."""

MORE_BITS = re.compile(r"(SGI16|[^R];16)")
"""Pillow's decoders of pixels whose channels have more than 8 bits; of BGR;16 they have less."""

_opening = threading.Lock()


class _Strict:
    """Has Pillow refuse files that are cut short, whatever another part of the program has set.

    The switch is the process's: it is put back when the last of our threads is done.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


strictly = _Strict()
"""The context in which files that are cut short are refused."""


@contextmanager
def unlimited() -> Iterator[None]:
    """Pillow's limit belongs to the process: who reads a header here looks at the size then."""
    with _opening:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def is_deep(image: Image.Image) -> bool:
    """Whether an image that has been opened, but not read, has one channel of more than 8 bits."""
    return image.mode.startswith(("I", "F")) or is_deep_sgi(image)


def is_deep_sgi(image: Image.Image) -> bool:
    """Whether it is an SGI file of one channel of 16 bits, of which Pillow reads the upper 8."""
    return image.mode == "L" and any(tile[0] == "SGI16" for tile in tiles_of(image))


def has_more_bits(image: Image.Image) -> bool:
    """Whether it has several channels of more than 8 bits, of which Pillow reads the upper 8."""
    return any(MORE_BITS.search(str(tile)) or white_of(tile) > 255 for tile in tiles_of(image))


def has_own_white(image: Image.Image) -> bool:
    """Whether its white is no whole number of bits."""
    whites = map(white_of, tiles_of(image))
    return any(white & (white + 1) for white in whites)


def tiles_of(image: Image.Image) -> list[Any]:
    """What Pillow is about to decode, and how; empty where a format does it in its own way."""
    return list(getattr(image, "tile", ()))


def is_unsigned(image: Image.Image) -> bool:
    """Whether a TIFF's integers of 32 bits have no sign."""
    tags = getattr(image, "tag_v2", {})
    return tuple(tags.get(BITS, ())) == (32,) and tuple(tags.get(SAMPLE_FORMAT, (1,))) == (1,)


def is_turned(image: Image.Image) -> bool:
    """Whether in a TIFF's deep pixels 0 is white; shallow ones Pillow turns round itself."""
    return getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0


def white_of(tile: tuple[Any, ...]) -> int:
    """What a PPM or PGM says is white, 255 where a format leaves no choice."""
    is_own = tile[0] in {"ppm", "ppm_plain"} and isinstance(tile[3], tuple)
    return int(tile[3][-1]) if is_own else 255


def num_pictures(image: Image.Image) -> int:
    """Frames or pages; 0 where what tells of the others is damaged: the first may be sound."""
    try:
        return int(getattr(image, "n_frames", 1))
    except DAMAGE:
        return 0


def orientation(image: Image.Image) -> tuple[int, bool]:
    """How the image lies by EXIF, 1 where it says nothing, and whether EXIF could be read."""
    try:
        turn = image.getexif().get(ORIENTATION, 1)
        return (int(turn), True) if isinstance(turn, int) else (1, False)
    except DAMAGE:
        return 1, False
