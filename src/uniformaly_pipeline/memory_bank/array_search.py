"""Exact nearest neighbours in numpy alone, for a detector without torch."""

from __future__ import annotations

import numpy as np

QUERIES = 256
"""Queries that are compared with the bank at a time."""
LEAF = 64
"""Vectors of which only the nearest is looked at first."""


class ArraySearch:
    """Nearest vectors of a memory bank by squared Euclidean distance, without approximation.

    Every query is compared with every vector in float32. Those that the largest rounding error
    cannot tell from the nearest are compared in double precision, so the neighbours are those of
    :class:`.exact_search.ExactSearch`.
    """

    def __init__(self, bank: np.ndarray) -> None:
        """Take the bank, float32 [K, D], K at least 1, best with mean 0."""
        # Leaves are whole: what fills up the last one is infinitely far.
        missing = -len(bank) % LEAF
        self._bank = np.pad(np.asarray(bank, np.float32), ((0, missing), (0, 0)))
        half_norms = _half_norms(self._bank[: len(bank)])
        self._longest = half_norms.max()
        self._half_norms = np.pad(half_norms, (0, missing), constant_values=np.inf)

    def vectors(self, indices: np.ndarray) -> np.ndarray:
        """Vectors of the bank, float32 [n, D]."""
        rows: np.ndarray = self._bank[indices]
        return rows

    def query(self, queries: np.ndarray, num_neighbors: int = 1) -> np.ndarray:
        """Find the nearest vectors of the bank, see :meth:`.exact_search.ExactSearch.query`."""
        queries = np.ascontiguousarray(queries, np.float32)
        blocks = [queries[first : first + QUERIES] for first in range(0, len(queries), QUERIES)]
        return np.concatenate([self._query(block, num_neighbors) for block in blocks])

    def _query(self, queries: np.ndarray, count: int) -> np.ndarray:
        # Half the squared distances, but for the query's own length.
        distances = queries @ self._bank.T
        np.subtract(self._half_norms, distances, out=distances)
        of_leaves = distances.reshape(len(queries), -1, LEAF)
        minima = of_leaves.min(axis=2)
        unit = (queries.shape[1] + 32) * 2.0**-24
        limits = 2 * unit * (_half_norms(queries) + self._longest)
        if minima.shape[1] >= count:  # as many vectors, one of each leaf, are no farther
            limits += np.partition(minima, count - 1, axis=1)[:, count - 1]
        else:
            limits += np.partition(distances, count - 1, axis=1)[:, count - 1]
        row, leaf = np.nonzero(minima <= limits[:, None])
        pair, place = np.nonzero(of_leaves[row, leaf] <= limits[row, None])
        row, index = row[pair], leaf[pair] * LEAF + place
        squares = np.square(queries[row].astype(np.float64) - self._bank[index]).sum(axis=1)
        order = np.lexsort((index, squares, row))
        first = np.searchsorted(row, np.arange(len(queries)))
        found: np.ndarray = index[order][first[:, None] + np.arange(count)]
        return found


def _half_norms(rows: np.ndarray) -> np.ndarray:
    """Half the squared length of each row, rounded once: float32 [n]."""
    halves: np.ndarray = (np.square(rows.astype(np.float64)).sum(axis=1) / 2).astype(np.float32)
    return halves
