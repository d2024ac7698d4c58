"""Exact nearest neighbours on a CPU, faster than comparing everything with everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from uniformaly_pipeline.memory_bank.threads import side_by_side, single_thread

if TYPE_CHECKING:
    import torch

LEAF = 64
"""Vectors in a leaf; whole leaves are ruled out or examined."""
AXES = 30
"""Principal axes by which leaves are ruled out; any axes give valid bounds. With two more
coordinates a power of two, which matrix products like."""
SAMPLE = 8192
"""Vectors that the axes are computed from; any axes give valid bounds."""
QUERIES, VECTORS = 1024, 512
"""Size of a matrix product, so that its result stays in the processor's cache."""
PAIRS = 1 << 15
"""Queries with a leaf each that are compared before what was found is taken in."""
WEAK = 0.1
"""Share of the leaves left to examine above which bounds in all dimensions pay."""
FEW = 0.03
"""Share below which single vectors are ruled out by their bounds, not compared leaf by leaf."""
FEW_PAIRS = 1 << 12
"""Queries with a leaf each whose bounds are looked at before what was found is taken in."""
GATHERED = 1 << 18
"""Numbers that a thread gathers at a time. They stay in the processor's cache, and in memory that
the process has already: of large blocks each page is new, which takes eight times longer."""


class ExactSearch:
    """Nearest vectors of a memory bank by squared Euclidean distance, without approximation.

    Patch features lie close to few principal axes. The distance in these axes, with the length of
    the rest as one more coordinate, is a lower bound of the distance (Cauchy-Schwarz), and takes a
    small matrix product. The bank is cut into leaves of neighbouring vectors. A query takes the
    distance of the most promising vectors, which is one to beat, and then looks only into leaves
    whose bounds are below it. Where too few leaves can be ruled out, the bounds are computed anew
    in all dimensions, which costs what comparing with every vector in float32 costs.

    Products are computed in float32 and compared with room for the largest rounding error they
    may have; what they cannot tell apart is compared in double precision. So the neighbours are
    those of exact arithmetic, however queries are batched.

    All distances inside are half the squared ones, but for the query's own length.
    """

    def __init__(self, bank: np.ndarray) -> None:
        """Build the leaves.

        Args:
            bank: float32 [K, D], K at least 1, best with mean 0.
        """
        import torch
        from torch.nn import functional as F

        vectors = torch.from_numpy(np.ascontiguousarray(bank, dtype=np.float32))
        self._axes = _principal_axes(vectors)
        self._order = _leaf_order(vectors @ self._axes.float())
        self._place = torch.empty_like(self._order)
        self._place[self._order] = torch.arange(len(vectors))
        # Leaves are whole: what fills up the last one is infinitely far.
        missing = -len(vectors) % LEAF
        self._bank = torch.zeros(len(vectors) + missing, vectors.shape[1])
        own = self._bank[: len(vectors)]
        torch.index_select(vectors, 0, self._order, out=own)
        half_norms = torch.cat([_half_norms(rows) for rows in own.split(VECTORS)])
        self._longest = float(half_norms.max())
        self._half_norms = F.pad(half_norms, (0, missing), value=float("inf"))
        low = torch.cat([self._project(rows) for rows in self._bank.split(VECTORS)])
        # With its half square as one more coordinate a product with (-query, 1) is a distance.
        low_norms = torch.where(self._half_norms.isinf(), self._half_norms, _half_norms(low))
        self._low = torch.cat([low, low_norms[:, None]], dim=1)

    def vectors(self, indices: np.ndarray) -> np.ndarray:
        """Vectors of the bank, float32 [n, D]."""
        rows: np.ndarray = self._bank[self._place[indices]].numpy()
        return rows

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

    def _query(self, queries: torch.Tensor, count: int) -> np.ndarray:
        import torch

        with single_thread():
            low = torch.cat([-self._project(queries), torch.ones(len(queries), 1)], dim=1)

        def low_distances(block: slice, out: torch.Tensor) -> None:
            torch.mm(low, self._low[block].T, out=out)

        def full_distances(block: slice, out: torch.Tensor) -> None:
            self._distances(queries, block, out)

        bounds = self._leaf_minima(len(queries), low_distances)
        # A float32 product of D terms is off by at most D / 2^24 of the lengths' product, which is
        # at most the sum of the half squares; some more for sums and coordinates.
        unit = (queries.shape[1] + 32) * 2.0**-24
        rounding = (_half_norms(queries) + self._longest) * unit
        best = _Best(queries, count, self._ceilings(queries, low, bounds, count), rounding)
        wanted = bounds <= best.limits[:, None]
        share = float(wanted.float().mean())
        if share < FEW:
            self._look_at_vectors(wanted, low, best)
            return best.exact(self._bank, self._order)
        if share > WEAK:
            bounds = self._leaf_minima(len(queries), full_distances)
            if bounds.shape[1] >= count:  # as many vectors, one of each leaf, are no farther
                best.lower_limits(bounds.topk(count, largest=False).values[:, -1])
            wanted = bounds <= best.limits[:, None]
        self._look_into(wanted, best)
        return best.exact(self._bank, self._order)

    def _ceilings(
        self, queries: torch.Tensor, low: torch.Tensor, bounds: torch.Tensor, count: int
    ) -> torch.Tensor:
        """Distances that ``count`` vectors do not exceed: those of the most promising leaf.

        Returns:
            float32 [m], infinite where the leaf holds too few vectors.
        """

        leaves = bounds.topk(min(bounds.shape[1], -(-count // LEAF)), largest=False).indices
        best = self._bounds_in(leaves, low).topk(count, largest=False).indices
        places = leaves.gather(1, best // LEAF) * LEAF + best % LEAF
        rows = _row_of(places)
        return self._distances_to(queries, rows, places.flatten()).view_as(places).amax(dim=1)

    def _distances(self, queries: torch.Tensor, block: slice, out: torch.Tensor) -> None:
        import torch

        torch.addmm(self._half_norms[block], queries, self._bank[block].T, alpha=-1, out=out)

    def _leaf_minima(
        self, num_queries: int, distances: Callable[[slice, torch.Tensor], None]
    ) -> torch.Tensor:
        """The least distance to any vector of each leaf: float32 [m, leaves].

        Args:
            num_queries: How many queries there are, m.
            distances: Writes their distances to a block of vectors [m, block].
        """
        import torch

        size = len(self._low)
        minima = torch.empty(num_queries, size // LEAF)

        def make_step() -> Callable[[int], None]:
            memory = torch.empty(num_queries * VECTORS)

            def step(first: int) -> None:
                last = min(first + VECTORS, size)
                found = memory[: num_queries * (last - first)].view(num_queries, last - first)
                distances(slice(first, last), found)
                leaves = slice(first // LEAF, last // LEAF)
                minima[:, leaves] = found.unflatten(1, (-1, LEAF)).amin(dim=2)

            return step

        side_by_side(make_step, range(0, size, VECTORS))
        return minima

    def _bounds_in(self, leaves: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """Bounds of the distances to all vectors of some leaves: float32 [m, n * LEAF].

        Args:
            leaves: int64 [m, n], the leaves of each query.
            low: float32 [m, a], the queries' factors of the bounds.
        """
        import torch

        of_leaves = self._low.unflatten(0, (-1, LEAF))
        found = torch.empty(len(leaves), leaves.shape[1] * LEAF)

        def step(part: slice) -> None:
            # Much faster than indexing and a product of matrices for each query.
            near = of_leaves.index_select(0, leaves[part].flatten())
            near = near.unflatten(0, (-1, leaves.shape[1])).flatten(1, 2)
            torch.sum(near.mul_(low[part, None]), dim=-1, out=found[part])

        side_by_side(lambda: step, _parts(len(leaves), leaves.shape[1] * LEAF * low.shape[1]))
        return found

    def _distances_to(
        self, queries: torch.Tensor, rows: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        """Distances of queries [m, D] by row [p] to the vectors at places [p]: float32 [p]."""
        import torch

        products = torch.empty(len(places))

        def step(part: slice) -> None:
            near = self._bank.index_select(0, places[part])
            near.mul_(queries.index_select(0, rows[part]))
            torch.sum(near, dim=1, out=products[part])

        side_by_side(lambda: step, _parts(len(places), queries.shape[1]))
        return self._half_norms[places] - products

    def _look_at_vectors(self, wanted: torch.Tensor, low: torch.Tensor, best: _Best) -> None:
        """Compare queries with those vectors of the leaves they want whose bounds rule none out.

        Args:
            wanted: bool [m, leaves].
            low: float32 [m, a], the queries' factors of the bounds.
            best: What was found so far; what is found is taken in.
        """

        for pairs in wanted.nonzero().split(FEW_PAIRS):
            rows, leaves = pairs.T
            bounds = self._bounds_in(leaves[:, None], low.index_select(0, rows))
            pair, place = (bounds <= best.limits[rows][:, None]).nonzero().T
            rows, places = rows[pair], leaves[pair] * LEAF + place
            best.update(rows, places, self._distances_to(best.queries, rows, places)[:, None])

    def _look_into(self, wanted: torch.Tensor, best: _Best) -> None:
        """Compare queries with the leaves they want, bool [m, leaves]."""
        import torch

        for pairs in wanted.T.nonzero().split(PAIRS):
            found = torch.empty(len(pairs), LEAF)
            leaves, counts = pairs[:, 0].unique_consecutive(return_counts=True)
            sizes = counts.tolist()
            parts = zip(leaves.tolist(), pairs[:, 1].split(sizes), found.split(sizes), strict=True)

            def step(part: tuple[int, torch.Tensor, torch.Tensor]) -> None:
                leaf, rows, out = part
                block = slice(leaf * LEAF, (leaf + 1) * LEAF)
                self._distances(best.queries[rows], block, out)

            side_by_side(lambda: step, list(parts))
            best.update(pairs[:, 1], pairs[:, 0] * LEAF, found)


class _Best:
    """The vectors that may be among the nearest of m queries, from float32 distances.

    Attributes:
        queries: float32 [m, D].
        limits: float32 [m], distances above which a vector is of no interest.
    """

    def __init__(
        self, queries: torch.Tensor, count: int, ceilings: torch.Tensor, rounding: torch.Tensor
    ) -> None:
        self.queries = queries
        self._nearest = queries.new_full((len(queries), count), float("inf"))
        self._room = 2 * rounding
        self.limits = ceilings + self._room
        self._found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def update(self, rows: torch.Tensor, first: torch.Tensor, found: torch.Tensor) -> None:
        """Take in distances [p, n] of queries [p] to the n vectors from place ``first`` [p] on."""
        self._lower_nearest(rows, found)
        self.lower_limits(self._nearest[:, -1])
        near = (found <= self.limits[rows][:, None]).nonzero()
        pair, place = near[:, 0], near[:, 1]
        self._found.append((rows[pair], first[pair] + place, found[pair, place]))

    def lower_limits(self, distances: torch.Tensor) -> None:
        """Note that as many vectors as are wanted do not exceed these distances [m]."""
        self.limits = self.limits.minimum(distances + self._room)

    def _lower_nearest(self, rows: torch.Tensor, found: torch.Tensor) -> None:
        import torch

        count = self._nearest.shape[1]
        if count == 1:
            self._nearest[:, 0].scatter_reduce_(0, rows, found.amin(dim=1), "amin")
            return
        few = found.topk(min(count, found.shape[1]), dim=1, largest=False).values
        every = torch.cat([rows.repeat_interleave(few.shape[1]), _row_of(self._nearest)])
        values = torch.cat([few.flatten(), self._nearest.flatten()])
        order = np.lexsort((values.numpy(), every.numpy()))
        self._nearest = values[_first_of_each(every.numpy()[order], order, self._nearest.shape)]

    def exact(self, vectors: torch.Tensor, order: torch.Tensor) -> np.ndarray:
        """Tell what is left apart in double precision.

        Args:
            vectors: float32 [K, D], by place.
            order: int64 [K], the index in the bank of each place.

        Returns:
            Indices in the bank, int64 [m, count], nearest first.
        """
        import torch

        row, place, distance = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        kept = distance <= self.limits[row]
        row, place = row[kept], place[kept]
        squares = torch.zeros(len(row), dtype=torch.float64)
        # A query with no more candidates than it needs has nothing to tell apart but their order.
        open_ones = (row.bincount()[row] > 1).nonzero()[:, 0]
        for some in open_ones.split(QUERIES):
            differences = self.queries[row[some]].double() - vectors[place[some]]
            squares[some] = differences.square().sum(dim=1)
        index, query = order[place].numpy(), row.numpy()
        nearest_first = np.lexsort((index, squares.numpy(), query))
        return index[_first_of_each(query[nearest_first], nearest_first, self._nearest.shape)]


def _parts(rows: int, width: int) -> list[slice]:
    """Slices of so many rows of which each gathers ``width`` numbers."""
    size = max(1, GATHERED // width)
    return [slice(first, first + size) for first in range(0, rows, size)]


def _half_norms(rows: torch.Tensor) -> torch.Tensor:
    """Half the squared length of each row, rounded once: float32 [n]."""
    return (rows.double().square().sum(1) / 2).float()


def _row_of(table: torch.Tensor) -> torch.Tensor:
    """The row of each element of a table, flattened."""
    import torch

    return torch.arange(len(table)).repeat_interleave(table.shape[1])


def _first_of_each(rows: np.ndarray, order: np.ndarray, shape: torch.Size) -> np.ndarray:
    """From elements sorted by row the first few of each row: int64 of ``shape``, through order."""
    start = np.searchsorted(rows, np.arange(shape[0]))
    few: np.ndarray = order[start[:, None] + np.arange(shape[1])]
    return few


def _principal_axes(vectors: torch.Tensor) -> torch.Tensor:
    """The axes [D, a] along which vectors [K, D] vary most: float64, orthonormal."""
    import torch

    sample = vectors[:: -(-len(vectors) // SAMPLE)].double()
    return torch.linalg.eigh(sample.T @ sample).eigenvectors.flip(1)[:, :AXES]


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
