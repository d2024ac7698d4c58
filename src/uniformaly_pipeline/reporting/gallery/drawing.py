"""The views of an image in a gallery: the image, its anomaly map, what Back Patch Masking kept."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from uniformaly_pipeline.reporting.figures.pictures import outline_mask
from uniformaly_pipeline.reporting.figures.style import FOREGROUND_COLOUR, GROUND_TRUTH_COLOUR
from uniformaly_pipeline.scoring.heat_map import overlay_heat_map

VIEW_SIDE_PX = 256
"""Longest side of a stored view; larger images are reduced, so that a report stays small."""


_JPEG_QUALITY = 75


def draw_views(
    image: np.ndarray,
    mask: np.ndarray | None,
    anomaly_map: np.ndarray,
    foreground: np.ndarray,
    vmax: float,
) -> dict[str, bytes]:
    """The JPEGs of one image; outlines are drawn after reducing, so that they stay crisp.

    Args:
        image: uint8 [H, W, 3], cropped as the encoder saw it.
        mask: Ground truth, bool [H, W], or None.
        anomaly_map: float32 [H, W].
        foreground: bool [H, W], what BPM keeps.
        vmax: Anomaly-map value of the brightest colour.

    Raises:
        ValueError: A mask, map or foreground has another size than the image.
    """
    for name, array in (("mask", mask), ("foreground", foreground), ("anomaly map", anomaly_map)):
        if array is not None and array.shape != image.shape[:2]:
            raise ValueError(f"{name} {array.shape} does not fit the image {image.shape}")
    small = _reduce(image)
    small_map = _reduce(anomaly_map.astype(np.float32))
    small_foreground = _reduce(foreground)
    marked = small
    if mask is not None:
        # Drawn at a distance: a line right on a scratch would hide it.
        around = binary_dilation(_reduce(mask), iterations=4)
        marked = outline_mask(small, around, GROUND_TRUTH_COLOUR)
    dimmed = np.where(small_foreground[..., None], small, small // 2)
    return {
        "image": encode_jpeg(marked),
        "heat_map": encode_jpeg(overlay_heat_map(small, small_map, vmax)),
        "foreground": encode_jpeg(outline_mask(dimmed, small_foreground, FOREGROUND_COLOUR)),
    }


def draw_attention(
    image: np.ndarray, attention: np.ndarray, smoothed: np.ndarray
) -> dict[str, bytes]:
    """The JPEGs of what Back Patch Masking goes by (equation 1), over the dimmed image.

    Args:
        image: uint8 [H, W, 3], cropped as the encoder saw it.
        attention: float32 [H, W], the class token's attention; NaN where nothing counts.
        smoothed: float32 [H, W], see :func:`.masking.smooth_attention`.
    """
    small = _reduce(image) // 2

    def over(values: np.ndarray) -> bytes:
        known = np.maximum(_reduce(np.nan_to_num(values.astype(np.float32))), 0)
        return encode_jpeg(overlay_heat_map(small, known, float(known.max())))

    return {"attention": over(attention), "smoothed_attention": over(smoothed)}


def draw_place(image: np.ndarray, seen: np.ndarray) -> bytes:
    """The JPEG of a whole image with what of it was looked at outlined.

    Args:
        image: uint8 [H, W, 3].
        seen: bool [H, W].
    """
    small, inside = _reduce(image), _reduce(seen)
    dimmed = np.where(inside[..., None], small, small // 2)
    return encode_jpeg(outline_mask(dimmed, inside, FOREGROUND_COLOUR))


def _reduce(array: np.ndarray) -> np.ndarray:
    """Reduce an image, map or mask to a longest side of :data:`VIEW_SIDE_PX`; never enlarge.

    Args:
        array: uint8 [H, W, 3], float32 [H, W] or bool [H, W].

    Returns:
        The same dtype; a bool pixel is set where any part of it was, so thin regions survive.
    """
    height, width = array.shape[:2]
    scale = VIEW_SIDE_PX / max(height, width)
    if scale >= 1:
        return array
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if array.dtype == bool:
        covered = Image.fromarray(array.astype(np.float32)).resize(size, Image.Resampling.BOX)
        return np.asarray(covered) > 0
    return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BICUBIC))


def encode_jpeg(picture: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3], as a small JPEG."""
    buffer = io.BytesIO()
    # Full-resolution colour: a thin coloured outline would bleed otherwise.
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
