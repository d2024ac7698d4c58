"""How new images are shown beside what they were compared with."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.reporting.figures.style import GROUND_TRUTH_COLOUR
from uniformaly_pipeline.reporting.gallery.new_images import brightest, draw_prediction
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage

PATCH = 16
GRID = (20, 20)
SIDE = PATCH * GRID[0]
RED, BLUE, GREY = (220, 0, 0), (0, 0, 220), (120, 120, 120)
PLACES = [(10, 10), (0, 0), (19, 19), (0, 12), (7, 19)]


def painted(patch: tuple[int, int] | None, colour: tuple[int, int, int]) -> np.ndarray:
    """A grey image with one patch (row, column) of another colour: uint8 [SIDE, SIDE, 3]."""
    image = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    if patch is not None:
        row, column = patch
        image[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = colour
    return image


def draw(
    here: tuple[int, int] = (10, 10),
    there: tuple[int, int] = (4, 15),
    *,
    flagged: int = 1,
    **changes: Any,
) -> GalleryImage:
    """An image with a red highest patch; the normal one has a blue nearest patch."""
    scores = np.zeros(GRID, np.float32)
    scores[here] = 4.0
    entry = {
        "image": "line/new 1.png",
        "score": np.float64(3.5),
        "flagged": np.int64(flagged),
        # In pixels of the original image, which is larger than what the encoder saw.
        "x": 1111,
        "y": 2222,
        "normal_image": "part/train/good/7.png",
        "normal_x": (there[1] * PATCH) + PATCH // 2,
        "normal_y": (there[0] * PATCH) + PATCH // 2,
    }
    arguments: dict[str, Any] = {
        "category": "part",
        "picture": painted(here, RED),
        "patch_scores": scores,
        "foreground": np.ones(GRID, bool),
        "vmax": 4.0,
        "normal": painted(there, BLUE),
    }
    return draw_prediction(entry, **(arguments | changes))


def pixels(image: GalleryImage, view: str) -> np.ndarray:
    """A view, decoded: int64 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(image.views[view]))).astype(int)


def close_ups(image: GalleryImage) -> tuple[np.ndarray, np.ndarray]:
    """The new image's close-up and the normal one's, without the gap between them."""
    pair = pixels(image, "nearest_normal")
    half = pair.shape[0] // 2
    return pair[: half - 2], pair[half + 2 :]


def where(view: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels of about a colour, allowing for JPEG: bool [H, W]."""
    found: np.ndarray = np.abs(view - colour).max(axis=2) < 60
    return found


def is_framed(view: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """Whether the frame encloses the patch of a colour, wherever the view does not cut it."""
    rows, columns = np.nonzero(where(view, colour))
    frame = np.argwhere(where(view, GROUND_TRUTH_COLOUR))
    if not len(rows) or not len(frame):
        return False
    (top, left), (bottom, right) = frame.min(axis=0), frame.max(axis=0)
    near = 8
    return all(
        0 <= gap <= near or is_cut
        for gap, is_cut in (
            (rows.min() - top, rows.min() <= near),
            (columns.min() - left, columns.min() <= near),
            (bottom - rows.max(), rows.max() >= view.shape[0] - near),
            (right - columns.max(), columns.max() >= view.shape[1] - near),
        )
    )


@pytest.mark.parametrize(("highest", "expected"), [(9.0, 9.0), (4.0, 4.0), (0.5, 4.0)])
def test_brightest_is_the_highest_score_but_at_least_twice_the_threshold(
    highest: float, expected: float
) -> None:
    patch_scores = np.array([[[0.0, highest]], [[0.1, 0.2]]], np.float32)
    assert brightest(patch_scores, pd.DataFrame({"threshold": [2.0, 2.0]})) == expected


def test_brightest_of_no_images_is_nothing() -> None:
    assert brightest(np.zeros((0, 4, 4), np.float32), pd.DataFrame({"threshold": []})) == 0.0


def test_an_image_is_shown_with_its_nearest_normal_patch() -> None:
    image = draw()
    assert list(image.views) == ["image", "heat_map", "foreground", "nearest_normal"]
    for words in ("(1111, 2222)", "part/train/good/7.png", "(248, 72)"):
        assert words in image.remark


def test_an_image_that_was_compared_with_nothing_says_so() -> None:
    image = draw(normal=None, foreground=np.zeros(GRID, bool))
    assert list(image.views) == ["image", "heat_map", "foreground"]
    assert "nothing was compared" in image.remark


@pytest.mark.parametrize(("flagged", "verdict"), [(1, "flagged"), (0, "passed")])
def test_nobody_knows_whether_the_decision_is_right(flagged: int, verdict: str) -> None:
    image = draw(flagged=flagged)
    assert image.label is None
    assert image.verdict == verdict
    assert (image.category, image.defect, image.image) == ("part", "new", "line/new 1.png")
    assert image.score == 3.5
    # The index of a gallery is JSON, which knows no NumPy numbers.
    assert type(image.score) is type(image.error_margin) is float
    assert type(image.decision) is int


@pytest.mark.parametrize("here", PLACES)
def test_the_first_close_up_frames_the_highest_patch(here: tuple[int, int]) -> None:
    first, second = close_ups(draw(here=here))
    assert is_framed(first, RED)
    assert not where(second, RED).any()


@pytest.mark.parametrize("there", PLACES)
def test_the_second_close_up_frames_the_nearest_normal_patch(there: tuple[int, int]) -> None:
    first, second = close_ups(draw(there=there))
    assert is_framed(second, BLUE)
    assert not where(first, BLUE).any()


def test_a_patch_elsewhere_than_the_compared_ones_is_not_framed() -> None:
    first, second = close_ups(draw(picture=painted((10, 12), RED), normal=painted((4, 13), BLUE)))
    for view, colour in ((first, RED), (second, BLUE)):
        assert where(view, colour).any()
        assert not is_framed(view, colour)


def test_a_close_up_shows_the_surroundings_only() -> None:
    first, _ = close_ups(draw(picture=painted((10, 1), RED)))
    assert not where(first, RED).any()


def test_an_image_smaller_than_a_close_up_is_shown_whole() -> None:
    side = 4 * PATCH
    scores = np.zeros((4, 4), np.float32)
    scores[1, 2] = 1.0
    picture = painted((1, 2), RED)[:side, :side]
    image = draw(
        (1, 2),
        (3, 0),
        picture=picture,
        patch_scores=scores,
        foreground=np.ones((4, 4), bool),
        normal=painted((3, 0), BLUE)[:side, :side],
    )
    first, second = close_ups(image)
    assert is_framed(first, RED)
    assert is_framed(second, BLUE)


def test_the_anomaly_map_is_bright_at_the_highest_patch_on_the_folders_scale() -> None:
    def glow(image: GalleryImage) -> float:
        difference = np.abs(pixels(image, "heat_map") - pixels(image, "image")).sum(axis=2)
        height, width = difference.shape
        assert difference[: height // 4].max() < 60
        assert difference[height // 4 :, : width // 4].max() < 60
        return float(difference.max())

    grey: dict[str, Any] = {"picture": painted(None, GREY)}
    assert glow(draw(**grey, vmax=0.4)) > 2 * glow(draw(**grey, vmax=8.0))


def test_the_background_is_dimmed() -> None:
    foreground = np.zeros(GRID, bool)
    foreground[:, :10] = True
    view = pixels(draw(foreground=foreground, picture=painted(None, GREY)), "foreground")
    height, width = view.shape[:2]
    assert view[height // 2, width // 4].mean() == pytest.approx(120, abs=8)
    assert view[height // 2, 3 * width // 4].mean() == pytest.approx(60, abs=8)
