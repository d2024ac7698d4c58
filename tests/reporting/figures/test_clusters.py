"""Maps and contact sheets of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image
from scipy.ndimage import binary_dilation, find_objects, label

from uniformaly_pipeline.reporting.figures.clusters import (
    bank_figure,
    cluster_figure,
    cluster_heading,
    cluster_maps_figure,
    cluster_sheets,
    embed_2d,
    standardised,
)
from uniformaly_pipeline.reporting.figures.pictures import GROUND
from uniformaly_pipeline.reporting.figures.style import figure_png

GREY = (120, 120, 120)
FRAME = (0xD5, 0x5E, 0x00)


def blobs(per_blob: int = 12) -> np.ndarray:
    """Two far apart groups of vectors: float32 [2 * per_blob, 6]."""
    noise = np.random.default_rng(0).standard_normal((2 * per_blob, 6))
    noise[per_blob:] += 100
    return noise.astype(np.float32)


def legend(axes: Axes) -> list[str]:
    drawn = axes.get_legend()
    return [text.get_text() for text in drawn.get_texts()] if drawn else []


def colour(group: Any) -> tuple[float, ...]:
    """Red, green, blue and opacity of a group's points."""
    return tuple(map(float, group.get_facecolor()[0]))


def points(axes: Axes) -> list[int]:
    """How many points each group of a panel has."""
    return [len(np.asarray(group.get_offsets())) for group in axes.collections]


def sheets(truth: Sequence[str], found: Sequence[int], limit: int = 24) -> Image.Image:
    """Contact sheets of grey images of different shapes."""
    images = [Image.new("RGB", (40 + 10 * (i % 3), 40), GREY) for i in range(len(truth))]
    return cluster_sheets(images, truth, found, limit)


def regions(mask: np.ndarray) -> list[tuple[int, int]]:
    """(top, left) of each connected region of a tile's size, larger than letters, row by row."""
    found = find_objects(label(mask, np.ones((3, 3)))[0])
    return sorted((y.start, x.start) for y, x in found if y.stop - y.start > 50)


def frames(sheet: Image.Image) -> list[tuple[int, int]]:
    """(top, left) of each frame; its dashes are joined."""
    return regions(binary_dilation((np.asarray(sheet) == FRAME).all(axis=2), iterations=3))


def tiles(sheet: Image.Image) -> list[tuple[int, int]]:
    """(top, left) of what is seen of each image."""
    return regions((np.asarray(sheet) == GREY).all(axis=2))


def test_places_depend_on_the_features_and_the_seed_alone() -> None:
    first, again = embed_2d(blobs(), 3), embed_2d(blobs(), 3)
    assert first.dtype == np.float32
    assert first.shape == (24, 2)
    assert (first == again).all()


def test_groups_that_are_far_apart_stay_apart() -> None:
    places = embed_2d(blobs(), 0)
    left, right = places[:12], places[12:]
    within = max(np.linalg.norm(group - group.mean(0), axis=1).max() for group in (left, right))
    assert np.linalg.norm(left.mean(0) - right.mean(0)) > 2 * within


@pytest.mark.parametrize(("count", "dim"), [(0, 5), (1, 5), (2, 5), (3, 5), (3, 1), (6, 1)])
def test_few_images_or_features_still_give_a_place_each(count: int, dim: int) -> None:
    places = embed_2d(np.random.default_rng(0).random((count, dim)), 0)
    assert places.shape == (count, 2)
    assert places.dtype == np.float32
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == count


def test_fewer_than_four_images_keep_their_distances() -> None:
    features = np.array([[0, 0, 0], [3, 0, 4], [0, 2, 0]], np.float32)
    places = embed_2d(features, 0)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = np.linalg.norm(features[i] - features[j])
        assert np.linalg.norm(places[i] - places[j]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [2, 9])
def test_equal_images_lie_on_one_point(count: int) -> None:
    assert not embed_2d(np.ones((count, 5)), 0).any()


def test_undefined_features_are_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        embed_2d(np.array([[0.0, np.nan]] * 5), 0)


def test_four_images_are_placed() -> None:
    places = embed_2d(blobs(2), 0)
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == 4


def test_the_map_shows_the_same_points_by_kind_and_by_cluster() -> None:
    embedding = np.arange(10, dtype=np.float32).reshape(5, 2)
    truth, found = ["good", "hole", "good", "cut", "good"], [1, 0, 1, 0, 0]
    kinds, clusters = cluster_figure(embedding, truth, found, "tile").axes
    assert kinds.get_title(loc="left") == "true kind"
    assert clusters.get_title(loc="left") == "cluster found"
    assert dict(zip(legend(kinds), points(kinds), strict=True)) == {"cut": 1, "good": 3, "hole": 1}
    assert dict(zip(legend(clusters), points(clusters), strict=True)) == {
        "cluster 0": 3,
        "cluster 1": 2,
    }
    (hole,) = [c for c in kinds.collections if c.get_label() == "hole"]
    assert np.asarray(hole.get_offsets()).tolist() == [[2.0, 3.0]]


def test_groups_of_a_map_differ_in_colour_and_marker() -> None:
    panel = cluster_figure(np.zeros((2, 2)), ["a", "b"], [0, 1], "tile").axes[0]
    first, second = panel.collections
    assert colour(first) != colour(second)
    shapes = [np.asarray(group.get_paths()[0].vertices) for group in (first, second)]
    assert len(shapes[0]) != len(shapes[1])


def test_a_cluster_looks_like_its_kind() -> None:
    truth, found = ["a", "a", "b", "b", "b"], [1, 1, 0, 0, 2]
    kinds, clusters = cluster_figure(np.zeros((5, 2)), truth, found, "tile").axes
    drawn = {
        group.get_label(): colour(group)
        for panel in (kinds, clusters)
        for group in panel.collections
    }
    assert drawn["cluster 0"] == drawn["b"]
    assert drawn["cluster 1"] == drawn["a"]
    assert drawn["cluster 2"] not in (drawn["a"], drawn["b"])


def test_many_groups_are_told_apart_and_leave_the_points_their_room() -> None:
    found = list(range(30))
    figure = cluster_figure(np.zeros((30, 2)), [f"k{n:02}" for n in found], found, "tile")
    for panel in figure.axes:
        shapes = [
            np.asarray(group.get_paths()[0].vertices).tobytes() for group in panel.collections
        ]
        assert len(set(zip(map(colour, panel.collections), shapes, strict=True))) == 30
    assert legend(figure.axes[1]) == [f"cluster {number}" for number in found]
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().height > 2 * figure.dpi


@pytest.mark.parametrize("name", ["_hidden", "___", r"$\frac{$", "x" * 99])
def test_every_kind_is_in_the_legend_whatever_its_name(name: str) -> None:
    figure = cluster_figure(np.zeros((2, 2)), [name, "good"], [0, 1], name)
    assert len(legend(figure.axes[0])) == 2
    assert max(map(len, legend(figure.axes[0]))) < 30
    assert figure_png(figure)


def test_a_map_without_images_says_so() -> None:
    figure = cluster_figure(np.zeros((0, 2)), [], [], "tile")
    assert [panel.texts[0].get_text() for panel in figure.axes] == ["no images"] * 2
    assert figure_png(figure)


def test_sheets_grow_with_the_clusters() -> None:
    one, two = sheets(["a"] * 6, [0] * 6), sheets(["a"] * 6, [0, 0, 1, 1, 0, 1])
    assert two.height == 2 * one.height
    assert len(tiles(one)) == len(tiles(two)) == 6


def test_images_of_another_kind_than_most_of_their_cluster_come_last_and_are_framed() -> None:
    truth, found = ["b", "a", "a", "b", "a", "b"], [0, 0, 0, 1, 1, 1]
    sheet = sheets(truth, found)
    assert len(tiles(sheet)) == 6
    (first_top, first_left), (second_top, second_left) = frames(sheet)
    assert first_top < sheet.height / 2 < second_top
    # The frame stands right of two tiles.
    assert first_left > 2 * 112
    assert second_left > 2 * 112


def test_a_pure_cluster_has_no_frames() -> None:
    assert frames(sheets(["a", "a", "b"], [0, 0, 1])) == []


def test_a_sheet_shows_no_more_images_of_a_cluster_than_the_limit() -> None:
    assert len(tiles(sheets(["a"] * 7, [0] * 7, limit=3))) == 3
    assert len(tiles(sheets(["a"] * 7, [0, 0, 0, 0, 1, 1, 1], limit=2))) == 4
    assert tiles(sheets(["a"] * 7, [0] * 7, limit=0)) == []


def test_a_limit_keeps_the_shares_of_the_kinds() -> None:
    sheet = sheets(["a", "b", "a", "b", "a", "a", "a", "b", "a"], [0] * 9, limit=3)
    assert len(tiles(sheet)) == 3
    assert len(frames(sheet)) == 1


def test_a_heading_says_what_a_cluster_holds() -> None:
    assert cluster_heading(0, ["a"]) == "cluster 0: 1 image, all a"
    assert cluster_heading(3, ["b", "a", "b"]) == "cluster 3: 3 images, mostly b (2)"


def test_lists_of_different_lengths_and_a_negative_limit_are_refused() -> None:
    with pytest.raises(ValueError, match="1 images, 2 kinds and 1 clusters"):
        cluster_figure(np.zeros((1, 2)), ["a", "b"], [0], "tile")
    with pytest.raises(ValueError, match="0 images, 1 kinds and 1 clusters"):
        cluster_sheets([], ["a"], [0])
    with pytest.raises(ValueError, match="-1 images"):
        sheets(["a"], [0], limit=-1)


def test_arrays_are_shown_as_well_as_images() -> None:
    array = np.full((50, 40, 3), 120, np.uint8)
    picture = Image.fromarray(array)
    from_arrays = cluster_sheets([array, array], ["a", "b"], [0, 0])
    assert from_arrays.tobytes() == cluster_sheets([picture] * 2, ["a", "b"], [0, 0]).tobytes()


def test_the_given_images_are_left_as_they_were() -> None:
    images = [Image.new("RGB", (112, 112), GREY) for _ in range(3)]
    cluster_sheets(images, ["a", "a", "b"], [0, 0, 0])
    assert {image.getpixel((0, 0)) for image in images} == {GREY}


def test_no_images_give_a_sheet_that_says_so() -> None:
    sheet = cluster_sheets([], [], [])
    assert tiles(sheet) == frames(sheet) == []
    # Light on the sheet's own ground, which suits a page in the dark as well.
    assert sheet.getpixel((0, 0)) == GROUND
    light = np.asarray(sheet.convert("L")) > 128
    assert 0 < light.mean() < 0.3


def test_bank_figure_shows_every_vector_in_the_colour_of_its_class() -> None:
    embedding = np.arange(12, dtype=np.float32).reshape(6, 2)
    axes = bank_figure(embedding, ["b", "a", "b", "_c", "a", "b"], "bank $x$").axes[0]
    sizes = [len(points.get_offsets()) for points in axes.collections]
    assert sorted(sizes) == [1, 2, 3]
    assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 3
    legend = axes.get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {"a", "b", "c"}


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    features = np.random.default_rng(0).normal(5, [1, 100, 0.01], (40, 3)).astype(np.float32)
    found = standardised(features)
    assert found.dtype == np.float32
    assert found.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-5)
    assert found.std(axis=0) == pytest.approx([1, 1, 1], abs=1e-4)
    # A shift and a scale of a dimension change nothing.
    assert standardised(3 * features + 7) == pytest.approx(found, abs=1e-3)


def test_a_dimension_in_which_all_are_equal_stands_for_nothing() -> None:
    features = np.full((5, 2), 0.1, np.float32)
    features[:, 1] = range(5)
    assert (standardised(features)[:, 0] == 0).all()


def test_maps_show_each_choice_by_kind_and_by_cluster() -> None:
    truth = ["cut", "cut", "good", "good"]
    place = np.arange(8, dtype=np.float32).reshape(4, 2)
    maps: dict[str, tuple[np.ndarray, Sequence[int]]] = {
        "All": (place, [0, 0, 1, 1]),
        "Max": (place, [0, 1, 1, 1]),
    }
    figure = cluster_maps_figure(maps, truth, "wood")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "All: true kind", "Max: true kind", "All: cluster found", "Max: cluster found",
    ]  # fmt: skip
    assert [points(axes) for axes in figure.axes] == [[2, 2], [2, 2], [2, 2], [1, 3]]
    # A cluster looks like the kind that it is matched to.
    kind, found = figure.axes[0].collections[0], figure.axes[2].collections[0]
    assert colour(kind) == colour(found)
    assert figure_png(figure)


def test_maps_are_of_all_images() -> None:
    with pytest.raises(ValueError, match="3 images"):
        cluster_maps_figure({"All": (np.zeros((3, 2)), [0, 0, 0])}, ["cut"], "wood")
