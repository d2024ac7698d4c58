"""Images with anomaly maps and masks over them, and sheets of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import binary_dilation, binary_erosion

from uniformaly_pipeline.reporting.figures.style import Colour
from uniformaly_pipeline.scoring.heat_map import check_same_size

_GAP_PX = 8
_FONT_PX = 14
GROUND: Colour = (74, 80, 87)
"""Behind the pictures of a sheet: neither a page of light colours nor a dark one makes it glare."""


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
    check_same_size(image, mask, "mask")
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
    font = ImageFont.load_default(size=_FONT_PX)
    columns = min(columns, len(pictures))
    caption_height = _FONT_PX + 6 if captions is not None else 0
    step = (tile + _GAP_PX, tile + caption_height + _GAP_PX)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * step[0] + _GAP_PX, rows * step[1] + _GAP_PX), GROUND)
    draw = ImageDraw.Draw(sheet)
    for position, picture in enumerate(pictures):
        left = _GAP_PX + position % columns * step[0]
        top = _GAP_PX + position // columns * step[1]
        opened = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        fitted = ImageOps.contain(opened.convert("RGB"), (tile, tile))
        sheet.paste(fitted, (left + (tile - fitted.width) // 2, top + (tile - fitted.height) // 2))
        if captions is not None:
            text = _cut_to_width(captions[position], font, tile)
            draw.text((left, top + tile + 2), text, fill="white", font=font)
    return sheet


def _cut_to_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut a one-line text so that it fits ``width`` [px], with dots where it was cut."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
