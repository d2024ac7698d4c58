"""Parts of the picture of a judged image: where it is strange, beside what."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uniformaly_pipeline.scoring.heat_map import overlay_heat_map

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

CONTEXT = (3, 7)
"""Patches above and below, left and right of the one compared that a close-up shows."""

CLOSE_UP_PX = (256, 126)
"""(width, height) of a close-up."""

FRAME_COLOUR = (240, 228, 66)

_LONGEST_SIDE_PX = 1024
_GAP_PX = 8
_INK = (51, 51, 51)


def heat(
    image: Image.Image, anomaly_map: np.ndarray, vmax: float, frame: Box | None
) -> Image.Image:
    """An image with its anomaly map over it, reduced to at most 1,024 pixels.

    Args:
        image: RGB.
        anomaly_map: float32 [height, width] at the image's size.
        vmax: Value of the brightest colour.
        frame: A box of the image to mark.
    """
    scale = min(1.0, _LONGEST_SIDE_PX / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    pixels = Image.fromarray(anomaly_map).resize(size, Image.Resampling.BILINEAR)
    small = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    heated = Image.fromarray(overlay_heat_map(small, np.maximum(np.asarray(pixels), 0), vmax))
    if frame is not None:
        draw_frame(heated, (frame[0] * scale, frame[1] * scale, frame[2] * scale, frame[3] * scale))
    return heated


def close_up(
    picture: np.ndarray, centre: tuple[float, float], patch: tuple[int, int]
) -> Image.Image:
    """The surroundings of a patch, enlarged, with the patch framed.

    Args:
        picture: uint8 [H, W, 3], a view of the encoder.
        centre: (x, y) of the patch's centre in its pixels.
        patch: (height, width) of a patch in pixels.

    Returns:
        RGB, :data:`CLOSE_UP_PX`.
    """
    height = min(patch[0] * (2 * CONTEXT[0] + 1), picture.shape[0])
    width = min(patch[1] * (2 * CONTEXT[1] + 1), picture.shape[1])
    left = int(np.clip(centre[0] - width / 2, 0, picture.shape[1] - width))
    top = int(np.clip(centre[1] - height / 2, 0, picture.shape[0] - height))
    view = Image.fromarray(picture[top : top + height, left : left + width])
    view = view.resize(CLOSE_UP_PX, Image.Resampling.BICUBIC)
    scale = (view.width / width, view.height / height)
    x, y = (centre[0] - left - patch[1] / 2) * scale[0], (centre[1] - top - patch[0] / 2) * scale[1]
    draw_frame(view, (x, y, x + patch[1] * scale[0], y + patch[0] * scale[1]))
    return view


def draw_frame(picture: Image.Image, box: Box) -> None:
    """Draw a frame in place; a dark rim keeps it visible on any ground."""
    draw = ImageDraw.Draw(picture)
    for outset, colour in ((3, (0, 0, 0)), (2, FRAME_COLOUR), (0, (0, 0, 0))):
        rim = (box[0] - outset, box[1] - outset, box[2] + outset, box[3] + outset)
        draw.rectangle(rim, outline=colour, width=1 if colour == (0, 0, 0) else 2)


def lay_out(
    picture: Image.Image, panels: list[tuple[str, Image.Image]], lines: list[str]
) -> Image.Image:
    """Put lines and captioned panels on the right of a picture, on white."""
    font = ImageFont.load_default(size=13)
    line_px = 18
    side_width = max([CLOSE_UP_PX[0], *(int(font.getlength(line)) + 1 for line in lines)])
    side_height = line_px * len(lines) + (line_px + CLOSE_UP_PX[1] + _GAP_PX) * len(panels)
    height = max(picture.height, side_height)
    sheet = Image.new(
        "RGB", (picture.width + side_width + 3 * _GAP_PX, height + 2 * _GAP_PX), "white"
    )
    sheet.paste(picture, (_GAP_PX, _GAP_PX))
    draw = ImageDraw.Draw(sheet)
    left, top = picture.width + 2 * _GAP_PX, _GAP_PX
    for line in lines:
        draw.text((left, top), line, fill=_INK, font=font)
        top += line_px
    for caption, panel in panels:
        draw.text((left, top), caption, fill=_INK, font=font)
        sheet.paste(panel, (left, top + line_px))
        top += line_px + CLOSE_UP_PX[1] + _GAP_PX
    return sheet
