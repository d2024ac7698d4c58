"""Ground-truth masks however they were drawn: what in them is anomalous, by one rule.

Anomalous is whatever is not zero: any grey, class number, colour or opaque pixel. Where a mask has
soft edges or was compressed with loss it is what exceeds half of its brightest value.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops

from uniformaly_pipeline.ingestion.decoding import (
    MAX_PIXELS,
    Decoded,
    UnreadableImageError,
    decode,
)

MOST_LABELS = 32
"""More values than this, beside 0, are soft edges or a gradient rather than labels."""
LABELS_BELOW = 16
"""Values below this are labels, even in formats that may be compressed with loss."""

MOST_SHOWN = 4
"""Values that a description of a mask tells."""

LOSSY = {"JPEG", "MPO", "WEBP", "AVIF", "JPEG2000"}


@dataclass(frozen=True)
class Mask:
    """A ground-truth mask.

    Attributes:
        marked: bool [H, W], true where anomalous.
        values: What was found in the file, for people: ``0, 255``.
        is_soft: Whether only what exceeds half of the brightest value is anomalous.
        remarks: What is odd about the file, see :data:`.decoding.REMARKS`.
    """

    marked: np.ndarray
    values: str
    is_soft: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.marked.shape[1], self.marked.shape[0]

    def to_image(self) -> Image.Image:
        """The mask as 8-bit grey, 0 normal and 255 anomalous."""
        return Image.fromarray(self.marked.astype(np.uint8) * 255)


def find_marks(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Mask:
    """Decode a mask, set it upright and tell what it marks.

    Raises:
        UnreadableImageError: It is no image, is damaged or too large.
    """
    return marks_of(decode(file, max_pixels))


def marks_of(decoded: Decoded) -> Mask:
    """What a decoded mask marks."""
    values, what = _values(decoded)
    distinct = np.unique(values[values != 0])
    is_soft = _is_soft(decoded, distinct)
    # The halves of whole numbers are exact: a threshold at a value would depend on rounding.
    marked = values > distinct[-1] / 2 if is_soft else values != 0
    # Transparency is part of how masks are drawn, and read as such.
    remarks = tuple(remark for remark in decoded.remarks if remark != "transparent")
    return Mask(marked, what or _describe(distinct, is_soft), is_soft, remarks)


def read_mask(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """:func:`find_marks` as 8-bit grey, 0 normal and 255 anomalous."""
    return find_marks(file, max_pixels).to_image()


def unite_masks(parts: Sequence[Image.Image]) -> Image.Image:
    """One 8-bit grey mask of several of the same size: anomalous is what any of them marks.

    Raises:
        UnreadableImageError: There are none, or their sizes differ.
    """
    if len(parts) == 1:
        return parts[0]
    sizes = {part.size for part in parts}
    if len(sizes) != 1:
        problem = "its parts differ in size" if sizes else "the folder has no images"
        raise UnreadableImageError(problem)
    return functools.reduce(ImageChops.lighter, parts)


def unite_marks(contents: Sequence[bytes], max_pixels: int = MAX_PIXELS) -> Mask:
    """What several files together mark, as :func:`unite_masks`.

    Raises:
        UnreadableImageError: One cannot be read, there are none, or their sizes differ.
    """
    masks = [find_marks(BytesIO(content), max_pixels) for content in contents]
    united = unite_masks([mask.to_image() for mask in masks])
    values = "; ".join(dict.fromkeys(mask.values for mask in masks))
    remarks = tuple(dict.fromkeys(remark for mask in masks for remark in mask.remarks))
    return Mask(np.asarray(united) > 0, values, any(mask.is_soft for mask in masks), remarks)


def _is_soft(decoded: Decoded, distinct: np.ndarray) -> bool:
    """Whether these values, 0 left out, are more than labels."""
    if decoded.depth == "integer":
        return False  # deep integers number things: no picture is saved so
    if decoded.file_format in LOSSY:
        return len(distinct) > 1 and distinct[-1] >= LABELS_BELOW
    return len(distinct) > MOST_LABELS


def _values(decoded: Decoded) -> tuple[np.ndarray, str]:
    """How strongly each pixel is marked [H, W], 0 for not at all; and colours in words."""
    if decoded.deep is not None:
        return np.nan_to_num(decoded.deep), ""
    image = decoded.image
    assert image is not None
    if image.mode in {"1", "L"} and not image.has_transparency_data:
        return np.asarray(image).astype(np.uint8), ""
    layers = np.asarray(image.convert("RGBA"))
    colour, alpha = layers[..., :3].max(axis=2), layers[..., 3]
    if alpha.min() == alpha.max():
        alpha = np.full_like(alpha, 255)
    values = np.where(alpha > 0, np.minimum(colour, alpha), 0)
    if not values.any():
        # All colours are black: what is not transparent stands out, or the numbers of a palette.
        varies = alpha.min() < alpha.max()
        numbers = np.asarray(image) if image.mode == "P" else np.zeros_like(values)
        values = alpha if varies else numbers
        return values, f"{'opacity' if varies else 'numbers'} {_describe(np.unique(values))}"
    return values, _describe_colours(layers[values != 0][:, :3])


def _describe(values: np.ndarray, is_soft: bool = False) -> str:
    values = values[values != 0]
    if is_soft or len(values) > MOST_SHOWN:
        return f"0 to {values[-1]:g}, {len(values)} values" + (", soft" if is_soft else "")
    return ", ".join(["0", *(f"{value:g}" for value in values)])


def _describe_colours(colours: np.ndarray) -> str:
    """Colours [n, 3] as greys where they are, else in hexadecimal, as style sheets write them."""
    distinct = np.unique(colours, axis=0)
    if (distinct == distinct[:, :1]).all():
        return ""
    shown = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in distinct[:MOST_SHOWN].tolist()]
    more = len(distinct) - len(shown)
    return f"0, {', '.join(shown)}" + (f" and {more} more" if more else "")
