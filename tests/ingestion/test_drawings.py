"""The demo set: its layout, its masks, and that a picture depends on seed and path alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import ndimage

from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.ingestion.drawings import scenery
from uniformaly_pipeline.ingestion.drawings.canvas import (
    STATION,
    box_distance,
    curve,
    grid,
    random_light,
    shifted,
)
from uniformaly_pipeline.ingestion.drawings.flaws import random_flaw
from uniformaly_pipeline.ingestion.drawings.objects import OBJECTS, draw_object

KINDS = [
    (category, kind) for category in drawings.CATEGORIES for kind in drawings.DEFECTS[category]
]
TEXTURES = [category for category in drawings.CATEGORIES if category not in OBJECTS]


def pixels(image) -> np.ndarray:
    return np.asarray(image).astype(int)


def shot(category: str, kind: str, number: int = 0) -> drawings._Shot:
    return drawings._Shot(category, "test", kind, number)


def test_set_has_objects_and_textures_with_three_defects_each():
    assert len(OBJECTS) >= 3
    assert len(TEXTURES) >= 2
    assert all(len(kinds) >= 3 for kinds in drawings.DEFECTS.values())


def test_paths_follow_the_mvtec_layout():
    paths = drawings.paths()
    assert len(paths) == len(set(paths)) == drawings.NUM_IMAGES
    layout = re.compile(
        r"\w+/(train/good/\d{3}|test/\w+/\d{3}|ground_truth/(?!good/)\w+/\d{3}_mask)\.png"
    )
    assert all(layout.fullmatch(path) for path in paths)
    for category, kinds in drawings.DEFECTS.items():
        own = [path for path in paths if path.startswith(f"{category}/")]
        assert sum("/train/good/" in path for path in own) == drawings.NUM_TRAIN
        assert sum("/test/good/" in path for path in own) == drawings.NUM_GOOD
        for kind in kinds:
            images = [path for path in own if f"/test/{kind}/" in path]
            masks = [path for path in own if f"/ground_truth/{kind}/" in path]
            assert len(images) == drawings.NUM_DEFECTIVE
            assert masks == [
                path.replace("/test/", "/ground_truth/").replace(".png", "_mask.png")
                for path in images
            ]


@pytest.fixture
def small(monkeypatch):
    """A set of a few pictures a category."""
    for name, number in {"NUM_TRAIN": 2, "NUM_GOOD": 1, "NUM_DEFECTIVE": 1}.items():
        monkeypatch.setattr(drawings, name, number)


@pytest.mark.usefixtures("small")
def test_draw_yields_what_paths_lists():
    drawn = list(drawings.draw(0, ["denim"]))
    assert [path for path, _ in drawn] == drawings.paths(["denim"])
    for path, image in drawn:
        assert image.mode == ("L" if path.endswith("_mask.png") else "RGB")
        if image.mode == "L":
            assert set(np.unique(image)) == {0, 255}


@pytest.mark.parametrize(("category", "kind"), KINDS)
def test_defect_changes_the_pixels_of_its_mask_and_none_far_away(category, kind):
    image, mask = drawings._take(0, shot(category, kind))
    sound, _ = drawings._take(0, shot(category, kind), flawed=False)
    assert mask.size == image.size
    defective = pixels(mask) == 255
    assert 0.005 < defective.mean() < 0.10
    change = np.abs(pixels(image) - pixels(sound)).max(axis=2)
    assert change[defective].mean() > 10
    assert change[defective].mean() > 5 * change[~defective].mean()
    # Shadows and the grain round a knot reach a little further than the mask.
    far = ndimage.distance_transform_edt(pixels(mask) == 0) > 45
    assert far.any()
    np.testing.assert_array_equal(pixels(image)[far], pixels(sound)[far])


@pytest.mark.parametrize("category", OBJECTS)
@pytest.mark.parametrize("number", range(2))
def test_defects_of_objects_lie_on_the_object(category, number):
    size = (256, 256)
    _, _, sound = draw_object(category, size, np.random.default_rng(number), None)
    assert 0.12 < sound.mean() < 0.45
    for kind in drawings.DEFECTS[category]:
        flaw = random_flaw(kind, np.random.default_rng(number + 10))
        _, mask, cover = draw_object(category, size, np.random.default_rng(number), flaw)
        on_object = ndimage.binary_dilation((sound > 0.5) | (cover > 0.5))
        assert mask.any()
        assert not (mask & ~on_object).any()


@pytest.mark.parametrize("table", scenery.TABLES)
@pytest.mark.parametrize("seed", range(3))
def test_clutter_keeps_clear_of_the_object(monkeypatch, table, seed):
    size = (256, 256)
    outside = np.hypot(*grid(size)) - 60
    light = random_light(np.random.default_rng(seed), size, STATION)

    def scene():
        return scenery.random_scenery(table, np.random.default_rng(seed), size, light, outside)

    monkeypatch.setattr(scenery, "DAPPLE", (0.0, 0.0))
    cluttered = scene()
    monkeypatch.setattr(scenery, "SHEETS", (0, 1))
    monkeypatch.setattr(scenery, "CLUTTER", (0, 1))
    change = np.abs(cluttered - scene()).max(axis=2)
    shadows = 15  # pixels that they reach
    assert change[outside < scenery.CLEARANCE - shadows].max() == 0
    assert (change[outside > scenery.CLEARANCE] > 0.05).mean() > 0.03


@pytest.mark.parametrize("category", drawings.CATEGORIES)
@pytest.mark.parametrize("kind", ["good", "first"])
def test_same_seed_same_picture_other_seed_another(category, kind):
    chosen = shot(category, drawings.DEFECTS[category][0] if kind == "first" else kind)
    first, again, other = (drawings._take(seed, chosen)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(pixels(first), pixels(again))
    assert np.abs(pixels(first) - pixels(other)).mean() > 5


def test_pictures_of_one_folder_differ():
    first, second = (drawings._take(0, shot("gear", "good", number))[0] for number in (0, 1))
    assert np.abs(pixels(first) - pixels(second)).mean() > 5


@pytest.mark.usefixtures("small")
def test_picture_depends_on_neither_order_nor_subset():
    whole = dict(drawings.draw(1, ["bolt", "denim", "oak"]))
    subset = dict(drawings.draw(1, ["oak", "bolt"]))
    assert list(subset) == drawings.paths(["oak", "bolt"])
    for path in subset:
        np.testing.assert_array_equal(pixels(whole[path]), pixels(subset[path]))


def test_unknown_category_is_named():
    with pytest.raises(ValueError, match="no category 'screw'"):
        drawings.paths(["screw"])


def test_curve_gives_a_position_the_same_value_among_others():
    few, many = np.array([[3.3, 8.1]]), np.array([[3.3, 8.1, -40.0, 900.0]])
    first = curve(np.random.default_rng(0), few, 2.0)
    second = curve(np.random.default_rng(0), many, 2.0)
    np.testing.assert_array_equal(first, second[:, :2])


@pytest.mark.parametrize(("down", "right"), [(1, 0), (-2, 1), (0, -1), (0, 0)])
def test_shifted_moves_and_fills_with_zeros(down, right):
    plane = np.arange(1.0, 13.0).reshape(3, 4)
    expected = ndimage.shift(plane, (down, right), order=0)
    np.testing.assert_array_equal(shifted(plane, down, right), expected)


def test_box_distance_is_negative_inside_and_straight_to_a_corner_outside():
    x, y = np.array([[0.0, 2.0, 6.0]]), np.array([[0.0, 0.0, 6.0]])
    np.testing.assert_allclose(box_distance(x, y, 3.0, 2.0), [[-2.0, -1.0, 5.0]])
