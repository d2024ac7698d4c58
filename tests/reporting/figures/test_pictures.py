"""What the pictures of a run show."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.reporting.figures.pictures import (
    GROUND,
    contact_sheet,
    outline_mask,
)
from uniformaly_pipeline.reporting.figures.style import Colour, figure_png, new_figure


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    """An image with both dark and light regions."""
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()


def test_png_is_an_image_and_a_dollar_in_a_title_starts_no_formula() -> None:
    encoded = figure_png(new_figure(r"$\frac{$ parts")[0])
    assert Image.open(io.BytesIO(encoded)).format == "PNG"
    assert encoded == figure_png(new_figure(r"$\frac{$ parts")[0])


def test_outline_refuses_another_size() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        outline_mask(gradient(), np.zeros((3, 3), bool), (255, 0, 0))


@pytest.mark.parametrize("colour", [(240, 228, 66), (0, 60, 0)])
def test_outline_touches_only_the_border(colour: Colour) -> None:
    image = gradient(40, 40)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    drawn = outline_mask(image, mask, colour)
    assert (drawn[12:28, 12:28] == image[12:28, 12:28]).all()
    outside = np.ones((40, 40), bool)
    outside[8:32, 8:32] = False
    assert (drawn[outside] == image[outside]).all()
    # Across the left border: a rim that contrasts, then two pixels of the line.
    assert abs(int(drawn[20, 8].mean()) - int(np.mean(colour))) > 100
    assert (drawn[20, 9:11] == colour).all()


def test_outline_of_nothing_is_the_image_and_of_everything_runs_along_the_frame() -> None:
    image = gradient()
    nothing = np.zeros(image.shape[:2], bool)
    assert (outline_mask(image, nothing, (255, 0, 0)) == image).all()
    framed = outline_mask(image, ~nothing, (255, 0, 0))
    assert (framed[0] == (255, 0, 0)).all()
    assert (framed[2:-2, 2:-2] == image[2:-2, 2:-2]).all()


def test_contact_sheet_places_pictures_row_by_row() -> None:
    red = np.full((10, 10, 3), (255, 0, 0), np.uint8)
    blue = Image.new("RGB", (30, 30), (0, 0, 255))
    sheet = np.asarray(contact_sheet([red, blue, red], columns=2, tile=40))
    middle = [(28, 28), (28, 76), (76, 28)]
    assert [tuple(sheet[place]) for place in middle] == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]
    assert tuple(sheet[76, 76]) == GROUND


def test_contact_sheet_cuts_long_captions_at_the_tile() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    short = contact_sheet([picture, picture], 2, ["a", "b"], tile=60)
    long = contact_sheet([picture, picture], 2, ["a" * 500, "b"], tile=60)
    assert short.size == long.size
    second_caption = (8 + 68, 70, 8 + 68 + 60, 86)
    assert short.crop(second_caption).tobytes() == long.crop(second_caption).tobytes()


def test_contact_sheet_refuses_what_it_cannot_lay_out() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="pictures"):
        contact_sheet([], 2)
    with pytest.raises(ValueError, match="column"):
        contact_sheet([picture], 0)
    with pytest.raises(ValueError, match="captions"):
        contact_sheet([picture], 1, ["a", "b"])
