"""Images with anomaly maps and masks over them, and sheets of images."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import binary_dilation, binary_erosion

from uniformaly_pipeline.reporting.figures.style import INK, Colour

_MAX_OPACITY = 0.85


_GAP_PX = 8


def overlay_heat_map(image: np.ndarray, anomaly_map: np.ndarray, vmax: float) -> np.ndarray:
    """Lay an anomaly map over its image; the higher the value, the more opaque.

    Args:
        image: uint8 [H, W, 3].
        anomaly_map: float [H, W], 0 where nothing is wrong.
        vmax: Value that gets the brightest colour, common to all images of a category so that
            their maps can be compared. Where it is 0 there is nothing to show.

    Returns:
        uint8 [H, W, 3]; equal to the image where the map is 0.

    Raises:
        ValueError: The sizes differ, or ``vmax`` or a value of the map is not a finite number,
            or ``vmax`` is negative.
    """
    _check_same_size(image, anomaly_map, "anomaly map")
    if not (np.isfinite(vmax) and vmax >= 0 and np.isfinite(anomaly_map).all()):
        raise ValueError(f"a heat map needs finite values and vmax >= 0, not vmax {vmax}")
    if vmax == 0:
        return image.copy()
    strength = np.clip(np.asarray(anomaly_map, np.float32) / np.float32(vmax), 0, 1)
    colours = matplotlib.colormaps["inferno"](strength)[..., :3].astype(np.float32) * 255
    opacity = _MAX_OPACITY * strength[..., None]
    return np.rint(image + opacity * (colours - image)).astype(np.uint8)


def outline_mask(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw a 2 px line along the border of a mask, with a 1 px rim that contrasts with it.

    The line lies half inside and half outside; the rim is black around a light colour and white
    around a dark one, so the outline shows on any background.

    Args:
        image: uint8 [H, W, 3].
        mask: bool [H, W]; regions that end at the frame are closed along it.
        colour: Red, green and blue of the line, 0..255.

    Returns:
        uint8 [H, W, 3]; only pixels within 2 px of a border differ from the image.

    Raises:
        ValueError: The sizes differ.
    """
    _check_same_size(image, mask, "mask")
    mask = np.asarray(mask, bool)
    square = np.ones((3, 3), bool)
    grown = binary_dilation(mask, square)
    line = grown & ~binary_erosion(mask, square)
    rim = binary_dilation(grown, square) & ~grown
    luminance = np.dot(colour, (0.299, 0.587, 0.114))
    drawn = image.copy()
    drawn[rim] = 0 if luminance > 127 else 255
    drawn[line] = colour
    return drawn


def contact_sheet(
    pictures: Sequence[Image.Image | np.ndarray],
    columns: int,
    captions: Sequence[str] | None = None,
    tile: int = 160,
) -> Image.Image:
    """Put pictures on one sheet, row by row, each fitted into a square tile.

    Args:
        pictures: PIL images or uint8 arrays [H, W, 3], of any sizes.
        columns: Pictures per row.
        captions: A line below each picture, cut where it is too long; None for no captions.
        tile: Side of a tile [px].

    Returns:
        An RGB image.

    Raises:
        ValueError: There are no pictures, ``columns`` or ``tile`` is below 1, or the number of
            captions differs from the number of pictures.
    """
    if not pictures or columns < 1 or tile < 1:
        raise ValueError("a contact sheet needs pictures, at least one column and a tile size")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures but {len(captions)} captions")
    font = ImageFont.load_default(size=12)
    columns = min(columns, len(pictures))
    caption_height = 18 if captions is not None else 0
    step = (tile + _GAP_PX, tile + caption_height + _GAP_PX)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * step[0] + _GAP_PX, rows * step[1] + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for position, picture in enumerate(pictures):
        left = _GAP_PX + position % columns * step[0]
        top = _GAP_PX + position // columns * step[1]
        opened = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        fitted = ImageOps.contain(opened.convert("RGB"), (tile, tile))
        sheet.paste(fitted, (left + (tile - fitted.width) // 2, top + (tile - fitted.height) // 2))
        if captions is not None:
            text = _cut_to_width(captions[position], font, tile)
            draw.text((left, top + tile + 2), text, fill=INK, font=font)
    return sheet


def _check_same_size(image: np.ndarray, other: np.ndarray, name: str) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or other.shape != image.shape[:2]:
        raise ValueError(f"{name} {other.shape} does not fit the image {image.shape}")


def _cut_to_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut a one-line text so that it fits ``width`` [px], with dots where it was cut."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
