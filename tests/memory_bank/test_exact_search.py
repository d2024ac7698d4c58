"""Exact nearest neighbours with few comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniformaly_pipeline.memory_bank import exact_search
from uniformaly_pipeline.memory_bank.exact_search import ExactSearch

QUICK = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 2**16)


@pytest.fixture(autouse=True, scope="module")
def small_leaves() -> Iterator[None]:
    """Many leaves and blocks even for few vectors."""
    with pytest.MonkeyPatch.context() as patch:
        small = {"LEAF": 4, "QUERIES": 8, "VECTORS": 16, "SAMPLE": 50, "PAIRS": 7}
        for name, value in small.items():
            patch.setattr(exact_search, name, value)
        yield


def like_features(seed: int, count: int, dim: int) -> np.ndarray:
    """Vectors in clusters that lie close to few axes, as patch features do."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(10, 0.05, dim) if rng.random() < 0.7 else np.ones(dim)
    centers = rng.standard_normal((5, dim)) * spread
    vectors = centers[rng.integers(0, 5, count)] + 0.3 * rng.standard_normal((count, dim)) * spread
    return vectors.astype(np.float32)


def nearest(bank: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """All distances in double precision; of equal ones the first."""
    differences = queries[:, None].astype(np.float64) - bank[None].astype(np.float64)
    return np.square(differences).sum(axis=2).argsort(axis=1, kind="stable")[:, :count]


@QUICK
@given(seeds, st.integers(1, 90), st.integers(1, 24), st.integers(1, 20), st.data())
def test_finds_the_nearest(
    seed: int, size: int, dim: int, queries: int, data: st.DataObject
) -> None:
    vectors = like_features(seed, size + queries, dim)
    bank, wanted = vectors[:size], vectors[size:]
    count = data.draw(st.integers(1, min(size, 7)))
    with pytest.MonkeyPatch.context() as patch:
        # Never by single vectors, always, as it is.
        patch.setattr(exact_search, "FEW", data.draw(st.sampled_from([0, 2, exact_search.FEW])))
        patch.setattr(exact_search, "FEW_PAIRS", 3)
        found = ExactSearch(bank).query(wanted, count)
    assert (found == nearest(bank, wanted, count)).all()


@QUICK
@given(seeds, st.integers(1, 60), st.integers(1, 3))
def test_of_equally_near_vectors_the_first_comes_first(seed: int, size: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    bank = rng.integers(-2, 3, (size, 2)).astype(np.float32)
    queries = rng.integers(-3, 4, (9, 2)).astype(np.float32)
    count = min(count, size)
    assert (ExactSearch(bank).query(queries, count) == nearest(bank, queries, count)).all()


@pytest.mark.parametrize("gap", [1e-3, 1e-4, 1e-5])
def test_vectors_that_float32_products_cannot_tell_apart_are_told_apart(gap: float) -> None:
    """Long vectors, all but equally far: products of float32 round by more than the gap."""
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((40, 32))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    query = 100 * rng.standard_normal((1, 32)).astype(np.float32)
    radii = 1 + gap * rng.permutation(40)
    bank = (query + direction * radii[:, None]).astype(np.float32)
    assert (ExactSearch(bank).query(query, 3) == nearest(bank, query, 3)).all()


def test_queries_far_from_the_bank_compare_with_all_of_it() -> None:
    bank, far = like_features(1, 80, 16), like_features(2, 12, 16) + 1000
    assert (ExactSearch(bank).query(far) == nearest(bank, far, 1)).all()


def test_most_leaves_are_left_out_where_features_lie_near_few_axes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    spread = np.geomspace(10, 0.01, 32)
    vectors = (rng.standard_normal((2100, 32)) * spread).astype(np.float32)
    compared = bounded = 0
    original = exact_search._Best.update
    leaf_minima = ExactSearch._leaf_minima

    def counted(self: Any, rows: Any, first: Any, found: Any) -> None:
        nonlocal compared
        compared += found.numel()
        original(self, rows, first, found)

    def bounds(self: Any, num_queries: int, distances: Any) -> Any:
        nonlocal bounded
        bounded += num_queries
        return leaf_minima(self, num_queries, distances)

    monkeypatch.setattr(exact_search._Best, "update", counted)
    monkeypatch.setattr(ExactSearch, "_leaf_minima", bounds)
    bank, queries = vectors[:2000], vectors[2000:]
    assert (ExactSearch(bank).query(queries) == nearest(bank, queries, 1)).all()
    # Few single vectors of few leaves, and no bounds in all dimensions.
    assert compared < 0.001 * bank.shape[0] * len(queries)
    assert bounded == len(queries)


def test_equal_vectors_only() -> None:
    bank = np.ones((9, 3), np.float32)
    assert ExactSearch(bank).query(bank[:2], 2).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(("count", "limits"), [(1, [1.0, 2.5, 8.0]), (2, [3.0, 9.5, 9.0])])
def test_the_nearest_found_so_far_set_the_limit_with_room_for_rounding(
    count: int, limits: list[float]
) -> None:
    ceilings, rounding = torch.tensor([9.0, 9.0, 9.0]), torch.tensor([0.0, 0.25, 0.0])
    best = exact_search._Best(torch.zeros(3, 2), count, ceilings, rounding)
    assert best.limits.tolist() == [9.0, 9.5, 9.0]
    far = [50.0, 60.0]
    found = torch.tensor([[4.0, 3.0, *far], [2.0, 10.0, *far], [8.0, 50.0, *far]])
    best.update(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 4]), found)
    best.update(torch.tensor([0]), torch.tensor([4]), torch.tensor([[1.0, 7.0, *far]]))
    assert best.limits.tolist() == limits
    best.lower_limits(torch.tensor([0.5, 100.0, 100.0]))
    assert best.limits.tolist() == [0.5, *limits[1:]]
