"""The greedy k-center coreset."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.memory_bank.coreset import (
    CoveringRadius,
    coreset_size,
    covering_radius,
    greedy_coreset,
    random_projection,
    random_starts,
    two_round_coreset,
)

QUICK = settings(deadline=None, derandomize=True, max_examples=40)
# The fixture's settings hold for all examples of a test alike.
LAZY = settings(QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])

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
@given(seeds, st.integers(3, 40), st.integers(2, 8), st.integers(1, 10))
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
    assert covering_radius(points, kept) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    in_blocks = CoveringRadius(points[kept])
    for first in range(0, count, block):
        in_blocks.update(points[first : first + block])
    assert in_blocks.value == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_covers_better_than_chance() -> None:
    points = scattered(0, 500, 4)
    greedy = covering_radius(points, greedy_coreset(points, 50, random_starts(500, 10, 0)))
    chance = [covering_radius(points, random_starts(500, 50, seed)) for seed in range(20)]
    assert greedy < min(chance)


def test_first_pick_is_the_farthest_from_the_mean_of_the_starts() -> None:
    points = np.array([[0.0], [1.0], [10.0], [-4.0]], np.float32)
    # Mean distances to 0 and 10: 5, 5, 5 and 9; then 0 is 4 away from -4, 1 is 5 and 10 is 5.
    assert greedy_coreset(points, 1, np.array([0, 2])).tolist() == [3]


# On a line distances are exact, and whole numbers are often equally far.
on_a_line = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 60), st.just(1)),
    elements=st.integers(-20, 20).map(float),
)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few points are worked on at once, so that many times some are left alone."""
    for name, value in {"WORKING": 3, "ROWS": 5, "PICKS": 2}.items():
        monkeypatch.setattr(coreset._LazyGreedy, name, value)


@pytest.mark.usefixtures("small_steps")
@LAZY
@given(seeds, st.integers(3, 60), st.integers(1, 5), st.sampled_from([0.3, 0.85, 0.99]))
def test_work_left_out_changes_no_pick(seed: int, count: int, dim: int, floor: float) -> None:
    points = scattered(seed, count, dim) ** 3 + 5  # far apart, near each other, and off centre
    starts = random_starts(count, 3, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreset._LazyGreedy, "FLOOR", floor)
        picked = greedy_coreset(points, count, starts)
    assert picked.tolist() == pick_naively(points, count, starts)


@pytest.mark.usefixtures("small_steps")
@LAZY
@given(on_a_line)
def test_of_equally_far_points_the_first_is_picked(points: np.ndarray) -> None:
    start = np.array([0])
    assert greedy_coreset(points, len(points), start).tolist() == pick_naively(
        points, len(points), start
    )


def test_many_points_agree_with_the_plain_algorithm() -> None:
    """More points than are worked on at once, in clusters and far from the origin."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((20, 16)).astype(np.float32) + 10
    points = centers[rng.integers(0, 20, 6000)] + 0.3 * scattered(1, 6000, 16)
    starts = random_starts(6000, 10, 0)
    wide = points.astype(np.float64)
    nearest = np.mean([np.linalg.norm(wide - wide[i], axis=1) for i in starts], axis=0)
    expected = []
    for _ in range(200):
        expected.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(wide - wide[expected[-1]], axis=1))
        nearest[expected] = -1
    assert greedy_coreset(points, 200, starts).tolist() == expected


@QUICK
@given(seeds, st.integers(2, 80), st.integers(1, 6), st.data())
def test_two_rounds_keep_their_bound(
    seed: int, count: int, parts: int, data: st.DataObject
) -> None:
    points, size = scattered(seed, count, 3), data.draw(st.integers(1, count))
    chosen = two_round_coreset(points, size, parts, seed=seed)
    assert len(set(chosen.indices.tolist())) == size
    assert covering_radius(points, chosen.indices) <= chosen.radius_bound * (1 + 1e-6) + 1e-6


def test_two_rounds_cover_nearly_as_well_as_one() -> None:
    points = scattered(0, 4000, 8)
    one = covering_radius(points, greedy_coreset(points, 100, random_starts(4000, 10, 0)))
    two = covering_radius(points, two_round_coreset(points, 100, 4).indices)
    assert two < 1.25 * one


def clusters(num_clusters: int, size: int, shuffled: bool) -> np.ndarray:
    """Clusters of radius about 1 whose centers are hundreds apart, one after the other or mixed."""
    rng = np.random.default_rng(num_clusters)
    centers = 100 * rng.standard_normal((num_clusters, 8)).repeat(size, axis=0)
    points = (centers + 0.15 * rng.standard_normal(centers.shape)).astype(np.float32)
    return rng.permutation(points) if shuffled else points


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("parts", [1, 4, 5, 8, 20])
def test_two_rounds_find_every_cluster_whatever_part_it_lies_in(parts: int, shuffled: bool) -> None:
    points = clusters(63, 20, shuffled)
    starts = random_starts(len(points), 10, 0)
    greedy = covering_radius(points, greedy_coreset(points, 63, starts))
    assert greedy < 1.5
    chosen = two_round_coreset(points, 63, parts)
    assert covering_radius(points, chosen.indices) < 1.3 * greedy
    assert chosen.radius_bound < 2 * greedy


@QUICK
@given(st.integers(2, 12), st.integers(1, 20), st.booleans(), seeds)
def test_two_rounds_cover_within_a_cluster_with_any_number_of_parts(
    num_clusters: int, parts: int, shuffled: bool, seed: int
) -> None:
    points = clusters(num_clusters, 8, shuffled)
    chosen = two_round_coreset(points, num_clusters, parts, seed=seed)
    assert covering_radius(points, chosen.indices) < 3


@QUICK
@given(seeds, st.integers(1, 40), st.integers(1, 12), st.data())
def test_each_part_gives_as_many_as_are_asked_for_or_all_it_has(
    seed: int, count: int, parts: int, data: st.DataObject
) -> None:
    points, size = scattered(seed, count, 2), data.draw(st.integers(1, count))
    asked: list[tuple[int, int]] = []

    def noted(inside: np.ndarray, share: int, starts: np.ndarray, *, device: str) -> np.ndarray:
        asked.append((len(inside), share))
        return greedy_coreset(inside, share, starts, device=device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreset, "greedy_coreset", noted)
        two_round_coreset(points, size, parts, seed=seed)
    *first, (union, last) = asked
    assert sum(length for length, _ in first) == count
    assert all(share >= min(size, length) for length, share in first)
    assert (union, last) == (sum(share for _, share in first), size)


def test_one_part_is_two_greedy_rounds_over_all() -> None:
    points = scattered(0, 300, 4)
    first = greedy_coreset(points, 30 * coreset.OVERSAMPLING, random_starts(300, 10, 0))
    second = greedy_coreset(points[first], 30, random_starts(len(first), 10, 0))
    assert (two_round_coreset(points, 30, 1).indices == first[second]).all()


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


def test_the_settings_are_the_papers() -> None:
    # 128 dimensions and 10 starts, as PatchCore's sampler has them.
    assert (coreset.PROJECTION_DIM, coreset.NUM_STARTS) == (128, 10)


@pytest.mark.parametrize("size", [0, 6])
def test_two_rounds_refuse_an_impossible_size(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size {size} is not within 1\.\.5"):
        two_round_coreset(scattered(0, 5, 2), size, 2)


def test_two_rounds_pick_from_each_part_and_then_from_all_picks() -> None:
    points = scattered(2, 45, 3)
    union: list[int] = []
    radius = 0.0
    for first, last in ((0, 23), (23, 45)):
        inside = points[first:last]
        # Four times 5 over two parts are 10 of each.
        picked = greedy_coreset(inside, 10, random_starts(len(inside), 4, 6))
        radius = max(radius, covering_radius(inside, picked))
        union += (first + picked).tolist()
    second = greedy_coreset(points[union], 5, random_starts(20, 4, 6))
    chosen = two_round_coreset(points, 5, 2, num_starts=4, seed=6)
    assert chosen.indices.tolist() == [union[i] for i in second]
    assert chosen.radius_bound == radius + covering_radius(points[union], second)
    assert two_round_coreset(points, 5, 2).indices.tolist() == (
        two_round_coreset(points, 5, 2, num_starts=10, seed=0).indices.tolist()
    )


def test_more_parts_than_points_are_as_good_as_one_each() -> None:
    points = scattered(0, 3, 2)
    assert sorted(two_round_coreset(points, 3, 7).indices.tolist()) == [0, 1, 2]


def test_points_far_from_the_origin_cost_no_digits() -> None:
    # Whole numbers that float32 holds; their squares leave no digits for distances of 1.
    near = np.random.default_rng(0).integers(0, 9, (40, 2)).astype(np.float32)
    far, starts = near + np.float32(2**23), random_starts(40, 3, 0)
    assert greedy_coreset(far, 40, starts).tolist() == pick_naively(near, 40, starts)
