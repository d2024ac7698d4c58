"""The greedy k-center coreset."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uniformaly_pipeline.coreset import (
    coreset_size,
    covering_radius,
    greedy_coreset,
    random_projection,
    random_starts,
)

QUICK = settings(deadline=None, derandomize=True, max_examples=40)

seeds = st.integers(0, 2**16)
# Small whole numbers coincide often.
coinciding = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 25), st.integers(1, 3)),
    elements=st.integers(0, 3).map(float),
)


def scattered(seed: int, count: int, dim: int) -> np.ndarray:
    """Points in general position: float32 [count, dim]."""
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Euclidean distances [N, M] in double precision."""
    differences = points[:, None].astype(np.float64) - others[None].astype(np.float64)
    return np.sqrt((differences**2).sum(axis=2))


def pick_naively(points: np.ndarray, size: int, starts: np.ndarray) -> list[int]:
    """METHOD's words, with all distances at hand."""
    nearest = distances(points, points[starts]).mean(axis=1)
    picked: list[int] = []
    for _ in range(size):
        left = [i for i in range(len(points)) if i not in picked]
        farthest = max(left, key=lambda i: nearest[i])
        picked.append(farthest)
        nearest = np.minimum(nearest, distances(points, points[[farthest]])[:, 0])
    return picked


@QUICK
@given(seeds, st.integers(2, 40), st.integers(2, 8), st.integers(1, 10))
def test_picks_what_the_definition_picks(seed: int, count: int, dim: int, starts: int) -> None:
    points = scattered(seed, count, dim)
    chosen = random_starts(count, starts, seed)
    picked = greedy_coreset(points, count, chosen)
    assert picked.tolist() == pick_naively(points, count, chosen)


@QUICK
@given(coinciding, st.data())
def test_picks_as_many_as_asked_and_none_twice(points: np.ndarray, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(points)))
    picked = greedy_coreset(points, size, np.array([0]))
    assert picked.shape == (size,)
    assert len(set(picked.tolist())) == size
    assert set(picked.tolist()) <= set(range(len(points)))


@QUICK
@given(coinciding)
def test_distinct_points_come_before_their_doubles(points: np.ndarray) -> None:
    num_distinct = len(np.unique(points, axis=0))
    picked = greedy_coreset(points, num_distinct, np.arange(len(points)))
    assert covering_radius(points, picked) == 0.0


@QUICK
@given(seeds, st.integers(2, 30))
def test_a_smaller_coreset_is_the_beginning_of_a_larger_one(seed: int, count: int) -> None:
    points, starts = scattered(seed, count, 4), random_starts(count, 3, seed)
    largest = greedy_coreset(points, count, starts)
    for size in range(1, count):
        assert (greedy_coreset(points, size, starts) == largest[:size]).all()


@QUICK
@given(coinciding)
def test_covering_radius_never_grows_with_size(points: np.ndarray) -> None:
    picked = greedy_coreset(points, len(points), np.array([0]))
    radii = [covering_radius(points, picked[:size]) for size in range(1, len(points) + 1)]
    assert all(later <= earlier for earlier, later in pairwise(radii))
    assert radii[-1] == 0.0


@QUICK
@given(seeds, st.integers(1, 30), st.integers(1, 30))
def test_covering_radius_is_the_largest_distance_to_a_kept_point(
    seed: int, count: int, block: int
) -> None:
    points, kept = scattered(seed, count, 3), random_starts(count, 4, seed)
    expected = distances(points, points[kept]).min(axis=1).max()
    assert covering_radius(points, kept, block) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_covers_better_than_chance() -> None:
    points = scattered(0, 500, 4)
    greedy = covering_radius(points, greedy_coreset(points, 50, random_starts(500, 10, 0)))
    chance = [covering_radius(points, random_starts(500, 50, seed)) for seed in range(20)]
    assert greedy < min(chance)


def test_first_pick_is_the_farthest_from_the_mean_of_the_starts() -> None:
    points = np.array([[0.0], [1.0], [10.0], [-4.0]], np.float32)
    # Mean distances to 0 and 10: 5, 5, 5 and 9; then 0 is 4 away from -4, 1 is 5 and 10 is 5.
    assert greedy_coreset(points, 1, np.array([0, 2])).tolist() == [3]


def test_progress_is_reported_pick_by_pick() -> None:
    seen: list[int] = []
    greedy_coreset(scattered(0, 9, 2), 4, np.array([0]), on_pick=seen.append)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [0, 6])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size {size} is not within 1\.\.5"):
        greedy_coreset(scattered(0, 5, 2), size, np.array([0]))


def test_no_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="starts"):
        greedy_coreset(scattered(0, 5, 2), 2, np.array([], np.int64))


@pytest.mark.parametrize(
    ("num_points", "ratio", "size"), [(588, 0.1, 58), (525, 0.1, 52), (9, 0.1, 1), (7, 1.0, 7)]
)
def test_size_is_the_share_rounded_down_but_not_0(num_points: int, ratio: float, size: int) -> None:
    assert coreset_size(num_points, ratio) == size


def test_projection_is_seeded_and_uniform_within_its_bound() -> None:
    projection = random_projection(64, 128, seed=3)
    assert projection.shape == (128, 64)
    assert projection.dtype == np.float32
    bound = 1 / np.sqrt(64)
    assert 0.99 * bound < np.abs(projection).max() <= bound
    assert projection.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert (projection == random_projection(64, 128, seed=3)).all()
    assert (projection != random_projection(64, 128, seed=4)).any()


def test_starts_are_seeded_distinct_points() -> None:
    starts = random_starts(100, 10, seed=1)
    assert len(set(starts.tolist())) == 10
    assert starts.min() >= 0
    assert starts.max() < 100
    assert (starts == random_starts(100, 10, seed=1)).all()
    assert (starts != random_starts(100, 10, seed=2)).any()
    assert sorted(random_starts(4, 10, seed=1).tolist()) == [0, 1, 2, 3]
