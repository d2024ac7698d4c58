"""Top-k-ratio scores and anomaly maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from uniformaly_pipeline.scoring.scores import (
    MAP_SIGMA,
    anomaly_map,
    image_scores,
    spread_patches,
    top_k,
    top_k_mean_features,
)

QUICK = settings(deadline=None, derandomize=True, max_examples=50)

ratios = st.floats(0.001, 1.0)
patch_grids = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 60)),
    elements=st.integers(0, 3000).map(lambda value: value / 7),
)


def scattered(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- image scores ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_patches", "ratio", "k"),
    [
        (784, 0.05, 39),  # 39.2
        (196, 0.05, 10),  # 9.8
        (196, 0.01, 2),
        (196, 0.2, 39),
        (196, 0.001, 1),  # 0.196: the authors' code gives NaN
        (10, 0.05, 1),  # 0.5 rounds to even
        (50, 0.05, 2),  # 2.5 rounds to even, as Python's round does
        (9, 1.0, 9),
    ],
)
def test_k_is_rounded_and_at_least_1(num_patches: int, ratio: float, k: int) -> None:
    assert top_k(num_patches, ratio) == k


@QUICK
@given(patch_grids, ratios)
def test_image_score_is_the_mean_of_the_highest_patch_scores(
    grids: np.ndarray, ratio: float
) -> None:
    k = top_k(grids.shape[1], ratio)
    expected = [np.mean(sorted(grid.tolist())[-k:]) for grid in grids]
    np.testing.assert_allclose(image_scores(grids, ratio), expected, rtol=1e-6)


@QUICK
@given(patch_grids, ratios)
def test_image_score_lies_between_mean_and_maximum(grids: np.ndarray, ratio: float) -> None:
    scores = image_scores(grids, ratio)
    assert (scores <= grids.max(axis=1)).all()
    assert (scores >= grids.mean(axis=1, dtype=np.float64) * (1 - 1e-6)).all()


@QUICK
@given(patch_grids, ratios, ratios)
def test_more_patches_never_raise_a_score(grids: np.ndarray, first: float, second: float) -> None:
    few, many = sorted((first, second))
    assert (image_scores(grids, many) <= image_scores(grids, few) * (1 + 1e-6)).all()


@QUICK
@given(patch_grids, ratios, st.data())
def test_image_score_does_not_depend_on_where_patches_are(
    grids: np.ndarray, ratio: float, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(grids.shape[1])))
    assert (image_scores(grids[:, order], ratio) == image_scores(grids, ratio)).all()


def test_the_default_is_the_papers_5_percent() -> None:
    grids = np.arange(784, dtype=np.float32)[None]
    assert image_scores(grids)[0] == pytest.approx(np.arange(784 - 39, 784).mean())


# --- features of the highest patches --------------------------------------------------------------


@QUICK
@given(patch_grids, ratios)
def test_mean_feature_is_that_of_the_patches_which_make_the_score(
    grids: np.ndarray, ratio: float
) -> None:
    # With the score itself as the feature, its mean is the image score, ties or not.
    features = np.stack([grids, -grids], axis=2)
    means = top_k_mean_features(features, grids, ratio)
    scores = image_scores(grids, ratio)
    np.testing.assert_allclose(means, np.stack([scores, -scores], axis=1), rtol=1e-5)


def test_mean_feature_of_all_patches_and_of_the_highest() -> None:
    features, scores = scattered(0, 2 * 12, 5).reshape(2, 12, 5), scattered(1, 2, 12)
    every = top_k_mean_features(features, scores, 1.0)
    np.testing.assert_allclose(every, features.mean(axis=1), rtol=1e-5, atol=1e-6)
    highest = top_k_mean_features(features, scores, 0.01)
    assert (highest == features[[0, 1], scores.argmax(axis=1)]).all()


# --- anomaly maps ---------------------------------------------------------------------------------


def enlarge(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation between patch centres, the border patches extended outwards."""
    for axis, length in enumerate(size):
        position = (np.arange(length) + 0.5) * grid.shape[axis] / length - 0.5
        position = position.clip(0, grid.shape[axis] - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, grid.shape[axis] - 1)
        share = np.expand_dims(position - low, 1 - axis)
        grid = (1 - share) * grid.take(low, axis) + share * grid.take(high, axis)
    return grid


@pytest.mark.parametrize(
    ("grid", "size"), [((14, 14), (224, 224)), ((4, 7), (64, 112)), ((1, 3), (8, 24))]
)
def test_anomaly_map_interpolates_and_smooths(grid: tuple[int, int], size: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).gamma(1.0, 50.0, grid).astype(np.float32)
    pixels = anomaly_map(scores.ravel(), grid, size)
    expected = gaussian_filter(enlarge(scores.astype(np.float64), size), sigma=4)
    assert pixels.shape == size
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, expected, rtol=1e-4)


def test_anomaly_map_does_not_depend_on_the_scale_of_scores() -> None:
    scores = np.random.default_rng(0).random(16).astype(np.float32)
    small, large = (anomaly_map(factor * scores, (4, 4), (32, 32)) for factor in (1, 4096))
    np.testing.assert_allclose(large, 4096 * small, rtol=1e-5)


def test_anomaly_map_of_an_image_without_foreground_is_0() -> None:
    assert not anomaly_map(np.zeros(12, np.float32), (3, 4), (48, 64)).any()


def test_the_deviation_of_maps_is_4_pixels() -> None:
    assert MAP_SIGMA == 4.0


def test_mean_features_take_5_percent_by_default() -> None:
    features, scores = scattered(0, 1, 60, 2), scattered(1, 1, 60)
    expected = top_k_mean_features(features, scores, 0.05)
    assert (top_k_mean_features(features, scores) == expected).all()
    np.testing.assert_allclose(
        expected[0], features[0, np.argsort(scores[0])[-3:]].mean(axis=0), rtol=1e-6
    )


def test_of_equal_scores_the_first_patches_are_taken() -> None:
    features = np.arange(8, dtype=np.float32).reshape(1, 8, 1)
    scores = np.array([[1, 2, 1, 2, 2, 1, 2, 1]], np.float32)
    assert top_k_mean_features(features, scores, 3 / 8).item() == pytest.approx((1 + 3 + 4) / 3)


def test_image_scores_are_float32_summed_in_double_precision() -> None:
    # In float32 the ones would vanish beside 2^24.
    grids = np.array([[2.0**24, *[1.0] * 7]], np.float32)
    scores = image_scores(grids, 1.0)
    assert scores.dtype == np.float32
    assert scores[0] == np.float32((2.0**24 + 7) / 8)


def test_rows_and_columns_of_a_map_are_not_confused() -> None:
    scores = np.zeros((2, 5), np.float32)
    scores[1, 0] = 1
    pixels = anomaly_map(scores.ravel(), (2, 5), (32, 160))
    assert pixels.shape == (32, 160)
    assert np.unravel_index(pixels.argmax(), pixels.shape)[0] >= 16
    assert np.unravel_index(pixels.argmax(), pixels.shape)[1] < 32


# --- patches that do not count --------------------------------------------------------------------


def with_padding(grid: np.ndarray, rows: int = 2, columns: int = 3) -> np.ndarray:
    """A grid with patches below and to the right that do not count."""
    padding = ((0, rows), (0, columns))
    return np.pad(grid, padding, constant_values=np.nan).astype(np.float32)


def test_scores_are_of_the_patches_that_count() -> None:
    """The share of the highest is of these, not of the padding as well."""
    grids = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    padded = np.stack([with_padding(grid) for grid in grids])
    expected = image_scores(grids.reshape(3, -1), 0.2)
    assert (image_scores(padded.reshape(3, -1), 0.2) == expected).all()
    mixed = np.concatenate([padded, np.nan_to_num(padded[:1])])
    assert (image_scores(mixed.reshape(4, -1), 0.2)[:3] == expected).all()
    assert image_scores(np.full((1, 6), np.nan, np.float32)).tolist() == [0.0]


def test_a_map_ends_where_the_padding_begins() -> None:
    """Padding is no background beside the image: it takes nothing from the patches at its edge."""
    grid = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    expected = anomaly_map(grid, (4, 5), (32, 40))
    padded = with_padding(grid)
    found = anomaly_map(padded, (6, 8), (48, 64))
    assert (found[:32, :40] == expected).all()
    assert not found[32:].any()
    assert not found[:, 40:].any()
    nothing = np.full((6, 8), np.nan, np.float32)
    assert not anomaly_map(nothing, (6, 8), (48, 64)).any()


def test_a_hole_in_a_map_is_0() -> None:
    grid = np.ones((4, 4), np.float32)
    grid[1, 2] = np.nan
    found = anomaly_map(grid, (4, 4), (32, 32))
    assert not found[8:16, 16:24].any()
    assert found[24:, :8].min() > 0.5


def test_what_lies_outside_of_a_region_takes_nothing_from_a_map() -> None:
    """A region of any shape: one score all over it is that score all over the map of it."""
    known = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]], bool)
    scores = np.where(known, np.float32(3), np.float32(np.nan))
    pixels = anomaly_map(scores, known.shape, (24, 32))
    inside = spread_patches(known, (24, 32))
    assert pixels[inside] == pytest.approx(3, abs=1e-5)
    assert (pixels[~inside] == 0).all()
    scores[0, 0] = 9
    higher = anomaly_map(scores, known.shape, (24, 32))
    assert higher[3, 3] > 6 > higher[12, 20]
