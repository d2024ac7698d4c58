"""A mask means the same however it was drawn."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.ingestion.decoding import UnreadableImageError
from uniformaly_pipeline.ingestion.masks import find_marks, read_mask, unite_marks, unite_masks

RAMP = np.linspace(0, 255, 12 * 16).astype(np.uint8).reshape(12, 16)
"""Grey values 0..255, 12 rows of 16."""

MARKED = np.zeros((64, 64), bool)
MARKED[16:32, 24:48] = True
LEFT = MARKED & (np.arange(64) < 36)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> io.BytesIO:
    """An image file in memory."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return io.BytesIO(buffer.getvalue())


def grey(value: float, kind: type = np.uint8, ground: float = 0, left: float = 0) -> Image.Image:
    """The mask with one value, or another one on its left."""
    pixels = np.where(MARKED, value, ground).astype(kind)
    return Image.fromarray(np.where(LEFT, left, pixels).astype(kind) if left else pixels)


def coloured(colour: tuple[int, ...], ground: tuple[int, ...] | None = None) -> Image.Image:
    pixels = np.zeros((64, 64, len(colour)), np.uint8)
    pixels[:] = ground or (0,) * len(colour)
    pixels[MARKED] = colour
    return Image.fromarray(pixels)


def numbered(number: int, palette: list[int], **info: Any) -> Image.Image:
    image = Image.fromarray(np.where(MARKED, number, 0).astype(np.uint8), "P")
    image.putpalette(palette)
    image.info.update(info)
    return image


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


@pytest.mark.parametrize(
    ("drawn", "values"),
    [
        (grey(255), "0, 255"),
        (grey(1), "0, 1"),
        (grey(236), "0, 236"),
        (grey(254, left=255), "0, 254, 255"),
        (grey(255, left=1), "0, 1, 255"),
        (grey(100, left=200), "0, 100, 200"),
        (grey(255).convert("1"), "0, 1"),
        (coloured((255, 255, 255)), "0, 255"),
        (coloured((0, 255, 0)), "0, #00ff00"),
        (coloured((0, 0, 1)), "0, #000001"),
        (coloured((255, 255, 255, 255)), "0, 255"),
        (coloured((255, 255, 255, 255), (0, 0, 0, 255)), "0, 255"),
        (coloured((255, 0, 0, 128)), "0, #ff0000"),
        (coloured((0, 0, 0, 255)), "opacity 0, 255"),
        (coloured((255, 255, 255, 0), (0, 0, 0, 0)), "0, 255"),
        (coloured((0, 255), (0, 0)), "opacity 0, 255"),
        (coloured((255, 255), (255, 0)), "0, 255"),
        (numbered(1, [0, 0, 0, 255, 255, 255]), "0, 255"),
        (numbered(2, VOC), "0, #008000"),
        (numbered(1, [0, 0, 0, 255, 255, 255], transparency=0), "0, 255"),
        (numbered(3, [0, 0, 0] * 4), "numbers 0, 3"),
        (grey(65535, np.uint16), "0, 65535"),
        (grey(1000, np.uint16, left=7), "0, 7, 1000"),
    ],
)
def test_what_is_not_nothing_is_anomalous(drawn: Image.Image, values: str) -> None:
    mask = find_marks(encoded(drawn))
    assert (mask.marked == MARKED).all()
    assert mask.values == values
    assert not mask.is_soft
    assert mask.size == (64, 64)
    assert (np.asarray(read_mask(encoded(drawn))) == MARKED * 255).all()


@pytest.mark.parametrize("value", [1, 0.5, 255, 200])
def test_float_masks(value: float) -> None:
    assert (find_marks(encoded(grey(value, np.float32), "TIFF")).marked == MARKED).all()


@pytest.mark.parametrize("value", [255, 60])
@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF"])
def test_loss_in_compression_marks_nothing(value: int, file_format: str) -> None:
    mask = find_marks(encoded(grey(value), file_format, quality=75))
    assert (mask.marked != MARKED).sum() <= 4
    assert mask.marked[18:30, 26:46].all()


def test_class_numbers_survive_where_there_may_be_loss() -> None:
    drawn = grey(2, left=1)
    assert (find_marks(encoded(drawn, "WEBP", lossless=True)).marked == MARKED).all()


def test_soft_edges_are_cut_in_the_middle() -> None:
    large = grey(255).resize((640, 640), Image.Resampling.BICUBIC)
    mask = find_marks(encoded(large))
    assert mask.is_soft
    assert mask.values.endswith("soft")
    expected = np.kron(MARKED, np.ones((10, 10), bool))
    assert (mask.marked != expected).sum() < 0.03 * expected.sum()


def test_numbers_of_many_things_are_not_soft() -> None:
    numbers = (np.arange(4096).reshape(64, 64) * MARKED).astype(np.uint16)
    assert (find_marks(encoded(Image.fromarray(numbers))).marked == MARKED).all()


def test_exif_turns_a_mask_as_it_does_an_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = find_marks(encoded(grey(255), "PNG", exif=exif))
    assert (mask.marked == np.rot90(MARKED, -1)).all()


def test_several_files_mark_together() -> None:
    left = encoded(Image.fromarray(LEFT)).getvalue()
    right = encoded(Image.fromarray((MARKED & ~LEFT).astype(np.uint8) * 236)).getvalue()
    mask = unite_marks([left, right])
    assert (mask.marked == MARKED).all()
    assert mask.values == "0, 1; 0, 236"
    with pytest.raises(UnreadableImageError, match="the folder has no images"):
        unite_marks([])
    small = encoded(Image.new("L", (3, 3))).getvalue()
    with pytest.raises(UnreadableImageError, match="parts differ in size"):
        unite_marks([left, small])
    assert unite_masks([grey(255)]).size == (64, 64)


ABOVE = (RAMP > 100).astype(np.uint8)
COLOUR = np.repeat(ABOVE[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "drawn",
    [
        pytest.param(Image.fromarray(RAMP > 100), id="1 bit"),
        pytest.param(Image.fromarray(ABOVE), id="0 and 1"),
        pytest.param(Image.fromarray(ABOVE * 255), id="0 and 255"),
        pytest.param(Image.fromarray(ABOVE * np.uint16(65535)), id="16 bits"),
        pytest.param(Image.fromarray(COLOUR), id="colour, 0 and 1"),
        pytest.param(Image.fromarray(COLOUR * 255), id="colour"),
        pytest.param(Image.fromarray(COLOUR * 255).quantize(2), id="palette"),
    ],
)
def test_mask_is_0_or_255_however_it_was_drawn(drawn: Image.Image) -> None:
    mask = read_mask(encoded(drawn))
    assert mask.mode == "L"
    assert (np.asarray(mask) == (RAMP > 100) * 255).all()


def test_mask_without_a_defect_stays_empty() -> None:
    assert not np.asarray(read_mask(encoded(Image.new("L", (5, 4), 0)))).any()


@pytest.mark.parametrize("mode", ["P", "I;16"])
def test_mask_of_0_and_1_in_other_modes_is_stretched(mode: str) -> None:
    values = (RAMP > 100).astype(np.uint8)
    if mode == "P":
        drawn = Image.fromarray(values, "P")
        drawn.putpalette([0, 0, 0, 255, 255, 255])
    else:
        drawn = Image.fromarray(values.astype(np.uint16))
    mask = read_mask(encoded(drawn))
    assert (np.asarray(mask) == values * 255).all()
