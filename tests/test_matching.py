"""Distances to normality, top-k-ratio scores and anomaly maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.matching import (
    NearestNeighbors,
    anomaly_map,
    image_scores,
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


def scattered(seed: int, count: int, dim: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def squared_distances(queries: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """[M, K] in double precision."""
    return cdist(queries.astype(np.float64), bank.astype(np.float64), "sqeuclidean")


# --- nearest neighbours ---------------------------------------------------------------------------


@pytest.mark.parametrize("num_neighbors", [1, 3, 50])
def test_nearest_neighbours_are_those_of_brute_force(num_neighbors: int) -> None:
    bank, queries = scattered(0, 50, 8), scattered(1, 40, 8)
    all_squares = squared_distances(queries, bank)
    order = np.argsort(all_squares, axis=1)[:, :num_neighbors]
    distances, indices = NearestNeighbors(bank, num_neighbors=num_neighbors).query(queries)
    assert (indices == order).all()
    expected = np.take_along_axis(all_squares, order, axis=1).mean(axis=1)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert distances.dtype == np.float32


def test_a_vector_of_the_bank_is_at_distance_0() -> None:
    bank = 100 + scattered(0, 300, 64)
    distances, indices = NearestNeighbors(bank).query(bank)
    assert (distances == 0).all()
    assert (indices[:, 0] == np.arange(300)).all()


def test_what_all_vectors_share_costs_no_digits() -> None:
    # Products of large numbers hide small differences; for many queries faiss uses products.
    bank, queries = 100 + scattered(0, 500, 768), 100 + scattered(1, 300, 768)
    distances, _ = NearestNeighbors(bank).query(queries)
    expected = squared_distances(queries, bank).min(axis=1)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 7, 40])
def test_queries_do_not_depend_on_each_other(parts: int) -> None:
    neighbors, queries = NearestNeighbors(scattered(0, 300, 768)), scattered(1, 200, 768)
    together, _ = neighbors.query(queries)
    apart = [neighbors.query(part)[0] for part in np.array_split(queries, parts)]
    np.testing.assert_allclose(np.concatenate(apart), together, rtol=1e-6)


def test_no_queries_give_no_distances() -> None:
    distances, indices = NearestNeighbors(scattered(0, 5, 3), num_neighbors=2).query(
        np.zeros((0, 3), np.float32)
    )
    assert distances.shape == (0,)
    assert indices.shape == (0, 2)


@pytest.mark.parametrize("search", ["IVF8,Flat", "HNSW16"])
def test_an_approximate_index_is_close_and_its_distances_are_true(search: str) -> None:
    bank, queries = scattered(0, 400, 8), scattered(1, 60, 8)
    squares = squared_distances(queries, bank)
    distances, indices = NearestNeighbors(bank, search).query(queries)
    np.testing.assert_allclose(distances, squares[np.arange(60), indices[:, 0]], rtol=1e-5)
    # IVF looks into one cell of eight; still most of the nearest are found.
    assert np.mean(indices[:, 0] == squares.argmin(axis=1)) > 0.4
    assert (distances >= squares.min(axis=1) * (1 - 1e-5)).all()


def test_an_approximate_index_that_finds_too_few_still_gives_true_distances() -> None:
    far_apart = np.concatenate([scattered(0, 39, 4), 100 + scattered(1, 1, 4)])
    neighbors = NearestNeighbors(far_apart, "IVF2,Flat", num_neighbors=5)
    distances, indices = neighbors.query(np.full((1, 4), 100, np.float32))
    assert indices.min() >= 0
    squares = squared_distances(np.full((1, 4), 100.0), far_apart)[0]
    assert distances[0] == pytest.approx(squares[indices[0]].mean(), rel=1e-5)


def test_more_neighbours_than_vectors_are_refused() -> None:
    with pytest.raises(InputError, match=r"scoring\.num_neighbors is 6 .* holds only 5 vectors"):
        NearestNeighbors(scattered(0, 5, 3), num_neighbors=6)


@pytest.mark.parametrize("search", ["Nonsense", "IVF64,Flat", "PQ3"])
def test_an_index_that_cannot_be_built_is_one_clear_line(search: str) -> None:
    with pytest.raises(InputError) as error:
        NearestNeighbors(scattered(0, 20, 8), search)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"scoring.search: faiss cannot build the index '{search}'")
    assert "20 vectors" in message


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


def test_recall_tells_how_many_of_the_nearest_an_approximate_search_finds() -> None:
    rng = np.random.default_rng(0)
    bank, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (800, 200))
    one_list = NearestNeighbors(bank, "IVF16,Flat", 2)
    found = one_list.query(queries)[1]
    exact = NearestNeighbors(bank, "Flat", 2).query(queries)[1]
    expected = np.mean([len(set(a) & set(b)) / 2 for a, b in zip(found, exact, strict=True)])
    assert one_list.recall(queries) == pytest.approx(expected)
    assert 0.1 < expected < 0.9
    assert NearestNeighbors(bank, "IVF1,Flat", 2).recall(queries) == 1.0
    assert NearestNeighbors(bank, "Flat", 2).recall(queries) == 1.0
