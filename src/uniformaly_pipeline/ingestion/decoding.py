"""From the bytes of a file to pixels: any Pillow format, any depth, damaged or odd.

Pixels are read where they are sound. Whatever else a decoder meets ends in one kind of error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from uniformaly_pipeline.common.errors import first_line
from uniformaly_pipeline.ingestion.headers import (
    DAMAGE,
    has_more_bits,
    has_own_white,
    is_deep,
    is_deep_sgi,
    is_turned,
    is_unsigned,
    num_pictures,
    orientation,
    strictly,
    unlimited,
)
from uniformaly_pipeline.ingestion.levels import (
    Depth,
    Levels,
    appearance,
    choose_levels,
    depth_of,
    pixel_range,
    range_of_counts,
    reach_beyond,
)
from uniformaly_pipeline.ingestion.wholeness import CHECKED, wholeness_of

SGI_HEADER = 512
"""Bytes before the pixels of an SGI file."""

MAX_PIXELS = 178_956_970
"""Most pixels of an image unless the user allows more: Pillow's own limit."""

PIXELS_KEY = "images.max_pixels"
"""What says how many pixels an image of a run may have."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ARRAY_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: np.rot90,
}

REMARKS = {
    "transparent": "transparent everywhere, read as if opaque",
    "pictures": "several pictures in one file, of which the first is read",
    "count": "damage where it says whether there are more pictures, the first is read",
    "16-bit colour": "more than 8 bits a channel, of which the upper 8 are read",
    "own white": "a white of their own, no whole number of bits, by which they are read",
    "turned floats": "white stored as the lowest value, which is not turned round in floats",
    "gap": "an empty part in the file, so that what is shown there may be made up",
    "exif": "EXIF data that cannot be read, the pixels taken as they lie",
    "not finite": "pixels that are no numbers, read as black, or infinite, read as white",
    "beyond": "pixels beyond the levels of its category, read as black or white",
    "black": "nearly black",
    "white": "nearly white",
    "constant": "nearly the same value everywhere",
}
"""What is odd about an image, and what becomes of it."""

LOOKS = frozenset({"transparent", "black", "white", "constant"})
"""Remarks on what an image is; the others say what it has."""

BY_LEVELS = frozenset({"beyond", "black", "white", "constant"})
"""Remarks that depend on what is black and what is white."""

SEVERAL = frozenset({"pictures", "count"})
"""Remarks on files of which the first picture is read."""


class UnreadableImageError(ValueError):
    """A file is no image, is damaged, or is too large; the message says which, without its name."""


UNREADABLE = (OSError, UnreadableImageError)
"""What reading an image raises: of the file system or of the decoder."""


@dataclass(frozen=True)
class Decoded:
    """An image as it is stored, upright.

    Attributes:
        image: The image where its pixels are bytes, else ``None``.
        deep: Its pixels [H, W] where they are deeper, else ``None``.
        remarks: What is odd about it, see :data:`REMARKS`.
        file_format: What Pillow calls the file's format.
    """

    image: Image.Image | None
    deep: np.ndarray | None
    remarks: tuple[str, ...] = ()
    file_format: str | None = None

    @property
    def depth(self) -> Depth:
        """Bytes, deeper integers or floats."""
        return "8-bit" if self.deep is None else depth_of(self.deep)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        if self.deep is not None:
            return self.deep.shape[1], self.deep.shape[0]
        assert self.image is not None
        return self.image.size

    def range(self) -> tuple[float, float] | None:
        """See :func:`.levels.pixel_range`; of colours that of their grey."""
        if self.deep is not None:
            return pixel_range(self.deep)
        return range_of_counts(self.to_rgb().convert("L").histogram())

    def remarks_by(self, levels: Levels, shown: Image.Image) -> tuple[str, ...]:
        """What is odd about it as it is read, keys of :data:`REMARKS`.

        Args:
            levels: Black and white of deep pixels.
            shown: What :meth:`to_rgb` makes of it by these levels.
        """
        found = list(self.remarks)
        if self.deep is not None and reach_beyond(self.deep, levels.at(self.depth)):
            found.append("beyond")
        looks = appearance((0.0, 255.0), *range_of_counts(shown.convert("L").histogram()))
        return (*found, looks) if looks else tuple(found)

    def pixel_hash(self) -> str:
        """SHA-256 of size and pixels, hexadecimal: that of the same picture in any file format."""
        if self.deep is not None:
            # A format may hold 16 bits in 32.
            pixels = self.deep.astype("<f8").tobytes()
        else:
            pixels = self.to_rgb().tobytes()
        kind = f"{self.size[0]}x{self.size[1]} {self.depth} "
        return hashlib.sha256(kind.encode() + pixels).hexdigest()

    def to_rgb(self, levels: Levels | None = None) -> Image.Image:
        """8-bit RGB; transparent pixels are shown on white, as a viewer does.

        Args:
            levels: Black and white of deep pixels; ``None``: as for these pixels alone.
        """
        if self.deep is not None:
            if levels is None:
                found = pixel_range(self.deep)
                levels = Levels.of(*choose_levels(self.depth, [found])) if found else Levels()
            return Image.fromarray(levels.to_8_bit(self.deep)).convert("RGB")
        assert self.image is not None
        if self.image.has_transparency_data and "transparent" not in self.remarks:
            opaque = Image.new("RGBA", self.image.size, "white")
            opaque.alpha_composite(self.image.convert("RGBA"))
            return opaque.convert("RGB")
        return self.image.convert("RGB")


def decode(
    file: BinaryIO, max_pixels: int = MAX_PIXELS, allowed_by: str | None = PIXELS_KEY
) -> Decoded:
    """Decode an image and set it upright.

    Args:
        file: The encoded image.
        max_pixels: Most pixels that it may have.
        allowed_by: The key or option that says so; ``None`` where there is none.

    Raises:
        UnreadableImageError: It is no image, is cut short or otherwise damaged, or too large.
    """
    try:
        with strictly:
            return _decode(file, max_pixels, allowed_by)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("no image format recognised") from error
    except MemoryError as error:
        raise UnreadableImageError("not enough memory") from error
    except DAMAGE as error:
        raise UnreadableImageError(first_line(error)) from error


def _decode(file: BinaryIO, max_pixels: int, allowed_by: str | None) -> Decoded:
    with unlimited():
        image: Image.Image = Image.open(file)
    if image.width * image.height > max_pixels:
        raise UnreadableImageError(_too_large(max_pixels, image.size, allowed_by))
    remarks, file_format = [], image.format
    deep_header = is_deep(image)
    if not deep_header and has_more_bits(image):
        remarks.append("16-bit colour")
    if has_own_white(image):
        remarks.append("own white")
    number = num_pictures(image)
    if number != 1:
        remarks.append("pictures" if number else "count")
    as_sgi = is_deep_sgi(image)
    image.load()
    content = _content_of(file) if as_sgi or file_format in CHECKED else b""
    metadata = [told for told in image.info.values() if isinstance(told, bytes) and told]
    whole = wholeness_of(content, file_format, metadata)
    if whole.missing:
        raise UnreadableImageError(whole.missing)
    if whole.has_gap:
        remarks.append("gap")
    turn, is_sound = orientation(image)
    if not is_sound:
        remarks.append("exif")
    if deep_header:
        deep = _sgi_pixels(content, image.size) if as_sgi else np.asarray(image)
        if deep.dtype == np.int32 and is_unsigned(image):
            # Pillow has no other type for them: large values would be negative.
            deep = deep.view(np.uint32)
        if file_format == "TIFF" and is_turned(image):
            if deep.dtype.kind == "u":
                deep = np.iinfo(deep.dtype).max - deep
            else:
                remarks.append("turned floats")
        if turn in _ARRAY_TURNS:
            deep = np.ascontiguousarray(_ARRAY_TURNS[turn](deep))
        remarks += remarks_on(deep)
        return Decoded(None, deep, tuple(remarks), file_format)
    if turn in _TURNS:
        image = image.transpose(_TURNS[turn])
    if image.has_transparency_data and _alpha(image).getextrema() == (0, 0):
        remarks.append("transparent")
    return Decoded(image, None, tuple(remarks), file_format)


def in_words(remark: str, number: int = 1) -> str:
    """A remark as what is said of so many images: ``has ...`` or ``are ...``."""
    one, several = ("is", "are") if remark in LOOKS else ("has", "have")
    return f"{one if number == 1 else several} {REMARKS[remark]}"


def upright(image: Image.Image) -> Image.Image:
    """An image that was opened elsewhere as :func:`decode` sets it: by its EXIF orientation."""
    turn, _ = orientation(image)
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def remarks_on(deep: np.ndarray) -> list[str]:
    """What is odd about deep pixels [H, W] themselves, keys of :data:`REMARKS`."""
    is_finite = not np.issubdtype(deep.dtype, np.floating) or np.isfinite(deep).all()
    return [] if is_finite else ["not finite"]


def _sgi_pixels(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """The pixels of an SGI file of one channel of 16 bits: uint16 [H, W]."""
    pixels = np.frombuffer(content, ">u2", size[0] * size[1], SGI_HEADER)
    return pixels.reshape(size[::-1])[::-1].astype(np.uint16)  # its first row is the lowest


def _content_of(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").getchannel("A")


def _too_large(max_pixels: int, size: tuple[int, int], allowed_by: str | None) -> str:
    by = "" if allowed_by is None else f" by {allowed_by}"
    return f"{size[0]}x{size[1]} pixels, more than the {max_pixels:,} allowed{by}"


def read_image(
    file: BinaryIO, levels: Levels | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode an image and turn it into upright 8-bit RGB.

    EXIF rotation is applied; deep pixels are scaled by ``levels``; palette, grey and CMYK images
    are converted; transparent pixels are shown on white, as a viewer does, unless all are.

    Args:
        file: The encoded image, in any format Pillow reads.
        levels: Black and white of pixels deeper than 8 bits; ``None``: as for this image alone.
        max_pixels: Most pixels that it may have.

    Returns:
        A PIL image of mode ``RGB``.

    Raises:
        UnreadableImageError: It is no image, is damaged or too large.
    """
    return decode(file, max_pixels).to_rgb(levels)


def decode_bytes(
    content: bytes, max_pixels: int = MAX_PIXELS, allowed_by: str | None = PIXELS_KEY
) -> Decoded:
    """:func:`decode` of a file's bytes."""
    return decode(BytesIO(content), max_pixels, allowed_by)
