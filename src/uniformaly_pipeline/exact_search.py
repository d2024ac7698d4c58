"""Exact nearest neighbours on a CPU, faster than comparing everything with everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from uniformaly_pipeline.threads import single_thread

if TYPE_CHECKING:
    import torch

LEAF = 64
"""Vectors in a leaf; whole leaves are ruled out or examined."""
EXPLAINED = 0.95
"""Share of the variance that the principal axes explain which leaves are ruled out by."""
MOST = 0.125
"""Share of the dimensions that the axes are at most: more would cost more than they save."""
SAMPLE = 8192
"""Vectors that the axes are computed from; any axes give valid bounds."""
QUERIES, VECTORS = 1024, 2048
"""Size of a matrix product, so that its result stays in the processor's cache."""
WEAK = 0.1
"""Share of the leaves left to examine above which bounds in all dimensions pay."""


class _Vectors:
    """Vectors and what their distances need.

    Attributes:
        rows: float32 [n, D].
        half_norms: float32 [n], half the squared length of each row.
    """

    def __init__(self, rows: torch.Tensor, half_norms: torch.Tensor | None = None) -> None:
        self.rows = rows
        self.half_norms = rows.square().sum(1) / 2 if half_norms is None else half_norms

    def __getitem__(self, block: slice) -> _Vectors:
        return _Vectors(self.rows[block], self.half_norms[block])

    def half_distances(self, queries: torch.Tensor) -> torch.Tensor:
        """Half the squared distances of queries [m, D] but for their own length: [m, n]."""
        return self.half_norms.addmm(queries, self.rows.T, alpha=-1)


class ExactSearch:
    """Nearest vectors of a memory bank by squared Euclidean distance, without approximation.

    Patch features lie close to few principal axes. The distance in these axes, with the length of
    the rest as one more coordinate, is a lower bound of the distance (Cauchy-Schwarz), and takes a
    small matrix product. The bank is cut into leaves of neighbouring vectors. A query looks into
    the leaf with the lowest bound, which gives a distance to beat, and then only into leaves whose
    bounds are below it. Where too few leaves can be ruled out, the bounds are computed anew in all
    dimensions, which costs what comparing with every vector in float32 costs.

    Products are computed in float32 and compared with room for the largest rounding error they
    may have; the few vectors that remain are compared in double precision. So the neighbours are
    those of exact arithmetic, however queries are batched.
    """

    def __init__(self, bank: np.ndarray) -> None:
        """Build the leaves.

        Args:
            bank: float32 [K, D], K at least 1, best with mean 0.
        """
        import torch

        vectors = torch.from_numpy(np.ascontiguousarray(bank, dtype=np.float32))
        self._axes = _principal_axes(vectors)
        self._order = _leaf_order(vectors @ self._axes.float())
        self._bank = _Vectors(vectors[self._order])
        low = torch.cat([self._project(rows) for rows in self._bank.rows.split(VECTORS)])
        # With its half square as one more coordinate a product with (-query, 1) is a half distance.
        self._low = torch.cat([low, low.square().sum(1, keepdim=True) / 2], dim=1)
        self._longest = float(self._bank.half_norms.max())

    def query(self, queries: np.ndarray, num_neighbors: int = 1) -> np.ndarray:
        """Find the nearest vectors of the bank.

        Args:
            queries: float32 [M, D], M at least 1.
            num_neighbors: How many vectors to find for each, 1..K.

        Returns:
            Their indices in the bank, int64 [M, num_neighbors], nearest first; of equally near
            ones the first of the bank.
        """
        import torch

        blocks = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32)).split(QUERIES)
        return np.concatenate([self._query(block, num_neighbors) for block in blocks])

    def _project(self, rows: torch.Tensor) -> torch.Tensor:
        """Float32 coordinates along the axes, and length of the rest, of rows [n, D]."""
        import torch

        wide = rows.double()
        along = wide @ self._axes
        rest = (wide.square().sum(1) - along.square().sum(1)).clamp_min(0).sqrt()
        return torch.cat([along, rest[:, None]], dim=1).float()

    def _query(self, rows: torch.Tensor, count: int) -> np.ndarray:
        import torch

        queries = _Vectors(rows)
        low = torch.cat([-self._project(rows), torch.ones(len(rows), 1)], dim=1)
        # The bounds' rounding is less than that of full distances, which have more terms.
        best = _Best(queries, count, self._rounding(queries))
        limits = self._leaf_minima(lambda block: low @ self._low[block].T)
        # The most promising leaves first: what they hold rules out most of the others.
        first = limits.topk(min(limits.shape[1], -(-count // LEAF)), largest=False).indices
        done = torch.zeros_like(limits, dtype=torch.bool).scatter_(1, first, True)
        self._look_into(done, best)
        left = limits <= best.limits()
        if float(left.float().mean()) > WEAK:
            limits = self._leaf_minima(lambda block: self._bank[block].half_distances(rows))
            left = limits <= best.limits()
        self._look_into(left & ~done, best)
        return best.exact(self._bank.rows, self._order)

    def _rounding(self, queries: _Vectors) -> torch.Tensor:
        """Bound on the rounding error of a half distance of each query: float32 [m].

        A float32 product of D terms is wrong by at most about D / 2^24 of the product of the
        lengths, which is at most the sum of the half squares. The factor 4 leaves room for the
        rounding of the coordinates, of the half squares and of the sums.
        """
        unit = 4.0 * (queries.rows.shape[1] + 8) * 2.0**-24
        return (queries.half_norms + self._longest) * unit

    def _leaf_minima(self, half_distances: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """The least half distance to any vector of each leaf: float32 [m, leaves]."""
        import torch

        parts = []
        for first in range(0, len(self._low), VECTORS):
            halves = half_distances(slice(first, first + VECTORS))
            whole = halves.shape[1] // LEAF * LEAF
            parts.append(halves[:, :whole].unflatten(1, (-1, LEAF)).amin(dim=2))
            if whole < halves.shape[1]:
                parts.append(halves[:, whole:].amin(dim=1, keepdim=True))
        return torch.cat(parts, dim=1)

    def _look_into(self, wanted: torch.Tensor, best: _Best) -> None:
        """Compare queries with the leaves they want, bool [m, leaves]."""
        pairs = wanted.T.nonzero()
        leaves, counts = pairs[:, 0].unique_consecutive(return_counts=True)
        with single_thread():
            for leaf, rows in zip(leaves.tolist(), pairs[:, 1].split(counts.tolist()), strict=True):
                first = leaf * LEAF
                best.compare(rows, self._bank[first : first + LEAF], first)


class _Best:
    """The vectors that may be among the nearest of m queries, from float32 comparisons."""

    def __init__(self, queries: _Vectors, count: int, rounding: torch.Tensor) -> None:
        self._queries = queries
        self._rounding = rounding
        self._nearest = queries.rows.new_full((len(queries.rows), count), float("inf"))
        self._found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def limits(self) -> torch.Tensor:
        """Half distances above which a vector is of no interest to a query: float32 [m, 1]."""
        return (self._nearest[:, -1] + 2 * self._rounding)[:, None]

    def compare(self, rows: torch.Tensor, vectors: _Vectors, first: int) -> None:
        """Compare some queries [r] with vectors whose places begin at ``first``."""
        import torch

        halves = vectors.half_distances(self._queries.rows[rows])
        known, count = self._nearest[rows], self._nearest.shape[1]
        if count == 1:
            nearest = torch.minimum(known, halves.amin(dim=1, keepdim=True))
        else:
            together = torch.cat([known, halves], dim=1)
            nearest = together.topk(count, dim=1, largest=False).values
        self._nearest[rows] = nearest
        near = (halves <= nearest[:, -1:] + 2 * self._rounding[rows, None]).nonzero()
        self._found.append((rows[near[:, 0]], near[:, 1] + first, halves[near[:, 0], near[:, 1]]))

    def exact(self, vectors: torch.Tensor, order: torch.Tensor) -> np.ndarray:
        """Told apart in double precision.

        Args:
            vectors: float32 [K, D], by place.
            order: int64 [K], the index in the bank of each place.

        Returns:
            Indices in the bank, int64 [m, count], nearest first.
        """
        import torch

        row, place, half = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        kept = half <= self._nearest[row, -1] + 2 * self._rounding[row]
        row, place = row[kept], place[kept]
        pairs = zip(row.split(QUERIES), place.split(QUERIES), strict=True)
        squares = [(self._queries.rows[r].double() - vectors[p]).square().sum(1) for r, p in pairs]
        index, query = order[place].numpy(), row.numpy()
        nearest_first = np.lexsort((index, torch.cat(squares).numpy(), query))
        count = self._nearest.shape[1]
        start = np.searchsorted(query[nearest_first], np.arange(len(self._nearest)))
        return index[nearest_first[start[:, None] + np.arange(count)]]


def _principal_axes(vectors: torch.Tensor) -> torch.Tensor:
    """Axes [D, a] that explain most of the variance of vectors [K, D]: float64, orthonormal."""
    import torch

    sample = vectors[:: -(-len(vectors) // SAMPLE)].double()
    variances, axes = torch.linalg.eigh(sample.T @ sample)
    explained = variances.flip(0).clamp_min(0).cumsum(0)
    enough = int((explained < EXPLAINED * explained[-1]).sum()) + 1
    return axes.flip(1)[:, : max(1, min(enough, int(MOST * vectors.shape[1])))]


def _leaf_order(rows: torch.Tensor) -> torch.Tensor:
    """Order of rows [K, a] in which each `LEAF` neighbours are near each other: int64 [K].

    Halves the rows along the coordinate that varies most, and the halves likewise.
    """
    import torch

    leaves: list[torch.Tensor] = []
    parts = [torch.arange(len(rows))]
    while parts:
        part = parts.pop()
        if len(part) <= LEAF:
            leaves.append(part.sort().values)
            continue
        widest = int(rows[part].var(dim=0).argmax())
        half = -(-len(part) // (2 * LEAF)) * LEAF  # whole leaves on the left
        order = part[rows[part, widest].argsort(stable=True)]
        parts += [order[half:], order[:half]]
    return torch.cat(leaves)
