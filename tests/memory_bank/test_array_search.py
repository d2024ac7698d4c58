"""The search without torch finds what the one with torch finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniformaly_pipeline.memory_bank.array_search import QUERIES, ArraySearch
from uniformaly_pipeline.memory_bank.exact_search import ExactSearch


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 40), st.integers(1, 4))
def test_the_neighbours_are_the_exact_ones(seed: int, size: int, dim: int, count: int) -> None:
    """Also among vectors that coincide, or nearly do: the first of the bank comes first."""
    rng = np.random.default_rng(seed)
    bank = rng.integers(0, 3, (size, dim)).astype(np.float32)
    bank[::5] += rng.normal(0, 1e-6, bank[::5].shape).astype(np.float32)
    queries = rng.normal(1, 1, (QUERIES // 8, dim)).astype(np.float32)
    queries[: min(size, 8)] = bank[: min(size, 8)]
    count = min(count, size)
    found = ArraySearch(bank).query(queries, count)
    np.testing.assert_array_equal(found, ExactSearch(bank).query(queries, count))


@pytest.mark.parametrize("num_queries", [1, QUERIES, QUERIES + 3])
def test_blocks_of_queries_do_not_show(num_queries: int) -> None:
    rng = np.random.default_rng(0)
    bank = rng.standard_normal((300, 16)).astype(np.float32)
    queries = rng.standard_normal((num_queries, 16)).astype(np.float32)
    squares = np.square(queries[:, None].astype(float) - bank).sum(axis=2)
    found = ArraySearch(bank).query(queries)
    np.testing.assert_array_equal(found[:, 0], squares.argmin(axis=1))
