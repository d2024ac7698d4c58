"""Pictures as the report carries them: within the page, and no larger than they need be."""

from __future__ import annotations

import base64
import io
from typing import Literal

from PIL import Image, UnidentifiedImageError

LARGE_BYTES = 150_000
"""A picture above this is worth making smaller."""

_MAX_SIDE_PX = 2400
_JPEG_QUALITY = 82
_UNKNOWN_SIZE = (256, 256)


def picture_size(content: bytes) -> tuple[int, int]:
    """Width and height of a picture [px], so that it has its place before it is decoded."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return picture.size
    except UnidentifiedImageError:
        # A browser shows the alternative text in that place.
        return _UNKNOWN_SIZE


def picture_kind(content: bytes) -> Literal["drawing", "photograph"]:
    """Whether a picture is drawn by matplotlib: in the dark its colours may be turned round."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            # What figure_png reduces has a palette.
            is_drawn = picture.mode == "P" or "Matplotlib" in picture.info.get("Software", "")
    except UnidentifiedImageError:
        return "photograph"
    return "drawing" if is_drawn else "photograph"


def to_base64(content: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(content).decode("ascii")


def data_url(content: bytes) -> str:
    """A picture as an address that holds all of it.

    Drawings stay PNG; a sheet of photographs takes a tenth of the space as JPEG.
    """
    if content.startswith(b"\xff\xd8"):
        return f"data:image/jpeg;base64,{to_base64(content)}"
    if len(content) > LARGE_BYTES:
        smaller = _as_jpeg(content)
        if smaller is not None and len(smaller) < len(content):
            return f"data:image/jpeg;base64,{to_base64(smaller)}"
    return f"data:image/png;base64,{to_base64(content)}"


def _as_jpeg(content: bytes) -> bytes | None:
    """A picture as JPEG, its longest side limited; None if it cannot be read."""
    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(content)) as picture:
            reduced = picture.convert("RGB")
            reduced.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
            reduced.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    except UnidentifiedImageError:
        return None
    return buffer.getvalue()
