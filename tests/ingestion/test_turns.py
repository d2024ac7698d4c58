"""Turned images: by quarters exactly, with mirrored corners, and told apart."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import rotate

from uniformaly_pipeline.ingestion.regions import Region
from uniformaly_pipeline.ingestion.turns import Turn, turns_of

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_move_pixels_as_they_are(quarters: int) -> None:
    turned = Turn(90 * quarters).picture(Image.fromarray(PIXELS))
    assert turned.mode == "RGB"
    assert (np.asarray(turned) == np.rot90(PIXELS, quarters)).all()


@pytest.mark.parametrize("degrees", [45, 135, 30])
def test_what_comes_in_at_the_corners_is_mirrored(degrees: float) -> None:
    """As if the image went on beyond its edges, like in a mirror."""
    wide = np.pad(PIXELS[:, :14], ((19, 19), (13, 13), (0, 0)), mode="reflect").astype(float)
    expected = rotate(wide, degrees, reshape=False, order=1)[19:39, 13:27]
    found = np.asarray(Turn(degrees).picture(Image.fromarray(PIXELS[:, :14])), float)
    assert found.shape == (20, 14, 3)
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


def test_the_region_of_interest_turns_with_the_image() -> None:
    pixels = np.zeros((20, 20), bool)
    pixels[:5, 3:8] = True
    turned = Turn(90).region(Region.of(pixels, "roi.png"))
    assert (turned.pixels == np.rot90(pixels)).all()
    assert set(np.unique(Turn(45).region(Region.of(pixels, "roi.png")).pixels)) == {False, True}


def test_turns_go_all_around_in_equal_steps() -> None:
    assert [turn.degrees for turn in turns_of(8)] == [45, 90, 135, 180, 225, 270, 315]
    assert turns_of(1) == []


def test_every_turn_of_an_image_has_a_name_of_its_own() -> None:
    names = {turn.key("good/000.png") for turn in turns_of(7)}
    assert len(names) == 6
    assert Turn(45).key("good/000.png") == "good/000.png@turned-45"
