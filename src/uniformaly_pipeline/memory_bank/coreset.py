"""Approximate greedy k-center coreset (paper section 3, after PatchCore's sampler)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.memory_bank.exact_search import ExactSearch
from uniformaly_pipeline.memory_bank.threads import single_thread

if TYPE_CHECKING:
    import torch

PROJECTION_DIM = 128
NUM_STARTS = 10
OVERSAMPLING = 4
"""How many times the wanted size the first of two rounds picks at least."""


def coreset_size(num_points: int, ratio: float) -> int:
    """How many of ``num_points`` a coreset of ``ratio`` keeps: ``int(ratio * N)``, at least 1."""
    return max(1, int(ratio * num_points))


def random_projection(dim: int, projection_dim: int, seed: int) -> np.ndarray:
    """A random linear map: float32 [projection_dim, dim], uniform in +-1/sqrt(dim)."""
    bound = 1.0 / math.sqrt(dim)
    weights = np.random.default_rng(seed).random((projection_dim, dim))
    return ((2.0 * weights - 1.0) * bound).astype(np.float32)


def random_starts(num_points: int, num_starts: int, seed: int) -> np.ndarray:
    """Indices of the starting points: int64 [min(num_starts, num_points)], all different."""
    # A stream of its own, so that the starts do not change with the projection's size.
    generator = np.random.default_rng([seed, num_points])
    return generator.permutation(num_points)[:num_starts].astype(np.int64)


def greedy_coreset(
    points: np.ndarray,
    size: int,
    starts: np.ndarray,
    *,
    device: str = "cpu",
) -> np.ndarray:
    """Pick points one by one, each the farthest from those picked before.

    The distance of a point starts as its mean Euclidean distance to ``starts`` and is lowered to
    its distance to each picked point in turn. A picked point is never picked again, even where
    points coincide; of equally far points the first is picked.

    The picks are those of the plain algorithm in double precision, found with far less work, see
    :class:`_LazyGreedy`.

    Args:
        points: float32 [N, D], projected patch features.
        size: How many to pick, 1..N.
        starts: int64 [S], indices of the starting points; they are not picked by themselves.
        device: Torch device that holds the points.

    Returns:
        int64 [size], indices in the order of picking; O(size * N * D) time at worst, and beside
        the points O(N + size * D) memory.

    Raises:
        ValueError: ``size`` is not within 1..N or there are no starts.
    """
    if not 1 <= size <= len(points):
        raise ValueError(f"size {size} is not within 1..{len(points)}")
    if len(starts) == 0:
        raise ValueError("starts is empty")
    picks = _LazyGreedy(points, size, starts, device)
    return np.fromiter(track(picks, size, "Choosing the coreset", "patches"), np.int64, size)


@dataclass(frozen=True)
class TwoRoundCoreset:
    """What :func:`two_round_coreset` picked.

    Attributes:
        indices: int64 [size], in the order of picking.
        radius_bound: The sum of the two rounds' covering radii: no point is farther from the
            coreset, in the unit of the points.
    """

    indices: np.ndarray
    radius_bound: float


def two_round_coreset(
    points: np.ndarray,
    size: int,
    parts: int,
    *,
    num_starts: int = NUM_STARTS,
    seed: int = 0,
    device: str = "cpu",
) -> TwoRoundCoreset:
    """Pick from each part of the points, then from what was picked: for very many points.

    The first round picks from each part as many as are asked for, or all its points, because all
    centers may lie in one part; with few parts more, ``OVERSAMPLING`` times what is asked for in
    all. The second picks ``size`` of these. So only a part's points, or the picks of all parts, are
    held at a time: with ``N / size`` parts or more nothing is saved. Each round's greedy picks
    cover its points within twice the least radius that as many centers can reach there (Gonzalez,
    1985), but for the start from a mean distance; the two radii add up (composable coresets,
    Malkomes et al., 2015).

    Args:
        points: float32 [N, D].
        size: How many to pick, 1..N.
        parts: Into how many parts of neighbouring points to split, at least 1.
        num_starts: Random starting points of each part and of the second round.
        seed: Seed of the starting points.
        device: Torch device that holds a part of the points.

    Raises:
        ValueError: ``size`` is not within 1..N.
    """
    if not 1 <= size <= len(points):
        raise ValueError(f"size {size} is not within 1..{len(points)}")
    options: dict[str, Any] = {"num_starts": num_starts, "seed": seed, "device": device}
    first: list[np.ndarray] = []
    radius = 0.0
    for part in np.array_split(np.arange(len(points)), parts):
        begin = len(points) if len(part) == 0 else int(part[0])
        picked, of_part = first_round(points[begin : begin + len(part)], size, parts, **options)
        radius = max(radius, of_part)
        first.append(begin + picked)
    union = np.concatenate(first)
    second = second_round(points[union], size, radius, **options)
    return TwoRoundCoreset(union[second.indices], second.radius_bound)


def first_round(
    inside: np.ndarray,
    size: int,
    parts: int,
    *,
    num_starts: int = NUM_STARTS,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[np.ndarray, float]:
    """Pick from one of several parts, see :func:`two_round_coreset`.

    Args:
        inside: float32 [n, D], the part's points; there may be none.
        size: How many points are wanted in the end.
        parts: How many parts there are.
        num_starts: Random starting points.
        seed: Seed of the starting points.
        device: Torch device that holds the points.

    Returns:
        Indices int64 [m] in the order of picking, and the radius within which they cover the part.
    """
    share = min(len(inside), max(size, math.ceil(OVERSAMPLING * size / parts)))
    if share == 0:
        return np.zeros(0, np.int64), 0.0
    starts = random_starts(len(inside), num_starts, seed)
    picked = greedy_coreset(inside, share, starts, device=device)
    return picked, covering_radius(inside, picked)


def second_round(
    union: np.ndarray,
    size: int,
    radius: float,
    *,
    num_starts: int = NUM_STARTS,
    seed: int = 0,
    device: str = "cpu",
) -> TwoRoundCoreset:
    """Pick from what was picked from all parts, see :func:`two_round_coreset`.

    Args:
        union: float32 [M, D], the picks of all parts, one part after the other.
        size: How many to pick, 1..M.
        radius: The largest of the parts' radii.
        num_starts: Random starting points.
        seed: Seed of the starting points.
        device: Torch device that holds the points.

    Returns:
        Indices among the M, and the bound on how far any point is from these.
    """
    starts = random_starts(len(union), num_starts, seed)
    picked = greedy_coreset(union, size, starts, device=device)
    return TwoRoundCoreset(picked, radius + covering_radius(union, picked))


class _LazyGreedy:
    """The plain greedy algorithm without the work that cannot change a pick.

    A point's distance to the picked points only falls, so an old distance bounds it from above.
    Points whose bound is below the *floor* are left alone until all distances have fallen to it;
    they then catch up with the picks they missed in one matrix product. Of the other, active
    points the farthest few, which a processor's cache holds, are worked on pick by pick until one
    of the rest may be farther; then the active points catch up. Matrix products are limited by
    arithmetic where the plain algorithm's passes over all points are limited by memory.

    Everything is computed in double precision, so that neither the order of the work nor the
    device decides between two points.
    """

    WORKING = 2048  # points worked on pick by pick: 2 MB at 128 dimensions
    FLOOR = 0.85  # of the largest squared distance; lower: more active points, fewer visits
    ROWS, PICKS = 1024, 256  # points and picks in one matrix product, which the cache holds
    ROUNDING = 1e-14  # of the largest squared norm; squared distances below this are 0

    def __init__(self, points: np.ndarray, size: int, starts: np.ndarray, device: str) -> None:
        import torch

        self._size, self._num_picked = size, 0
        self._points = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)).to(device)
        self._all = torch.arange(len(points), device=device)
        # Distances are differences of products, which lose digits to what all points share.
        self._center = self._points.new_zeros(points.shape[1], dtype=torch.float64)
        sums = [self._rows(rows).sum(dim=0) for rows in self._all.split(self.ROWS)]
        # A center of few digits keeps whole numbers whole, and so equal distances equal.
        self._center = (torch.stack(sums).sum(dim=0) / len(points)).bfloat16().double()
        self._norms = torch.cat(
            [self._rows(rows).square().sum(dim=1) for rows in self._all.split(self.ROWS)]
        )
        self._noise = self.ROUNDING * float(self._norms.max())
        self._picks = self._norms.new_empty(size, points.shape[1])
        self._pick_norms = self._norms.new_empty(size)
        # Squares keep the order of distances and save many roots.
        self._bounds = self._mean_distances(torch.from_numpy(starts).to(device)).square_()
        self._seen = torch.zeros_like(self._all)
        self._active = self._all[:0]
        self._floor = 0.0

    def _rows(self, index: torch.Tensor) -> torch.Tensor:
        return self._points[index].double() - self._center

    def _mean_distances(self, starts: torch.Tensor) -> torch.Tensor:
        mean = self._norms.new_zeros(len(self._norms))
        for start in starts:
            row, norm = self._rows(start[None]), self._norms[start[None]]
            for rows in self._all.split(self.ROWS):
                squares = self._nearest(self._rows(rows), self._norms[rows], row, norm)
                mean[rows] += squares.sqrt_()
        return mean / len(starts)

    def _nearest(
        self, rows: torch.Tensor, norms: torch.Tensor, to: torch.Tensor, to_norms: torch.Tensor
    ) -> torch.Tensor:
        """Squared distance of each row [n, D] to the nearest of other rows [m, D]: [n]."""
        squares = to_norms.addmm(rows, to.T, alpha=-2.0).amin(dim=1).add_(norms)
        return squares.masked_fill_(squares < self._noise, 0.0)

    def __iter__(self) -> Iterator[int]:
        """Indices of the picked points in the order of picking."""
        while (before := self._num_picked) < self._size:
            if len(self._active) == 0:
                self._lower_floor()
            if len(self._active) == 0:  # whatever is left coincides with a picked point
                yield from self._record((self._bounds == 0.0).nonzero()[: self._size - before, 0])
                return
            yield from self._record(self._farthest())
            self._catch_up(self._active, before)
            self._active = self._active[self._bounds[self._active] > self._floor]

    def _lower_floor(self) -> None:
        """Set the floor below the largest distance and find the points above it.

        It finds none where all points left coincide with picked ones.
        """
        while len(self._active) == 0 and (largest := float(self._bounds.max())) > 0.0:
            self._floor = self.FLOOR * largest
            above = (self._bounds > self._floor).nonzero()[:, 0]
            for seen in self._seen[above].unique().tolist():
                self._catch_up(above[self._seen[above] == seen], seen)
            self._active = above[self._bounds[above] > self._floor]

    def _catch_up(self, index: torch.Tensor, seen: int) -> None:
        """Let points that know the first ``seen`` picks know all."""
        for rows in index.split(self.ROWS):
            values, norms, bounds = self._rows(rows), self._norms[rows], self._bounds[rows]
            for first in range(seen, self._num_picked, self.PICKS):
                picks = slice(first, min(first + self.PICKS, self._num_picked))
                nearest = self._nearest(values, norms, self._picks[picks], self._pick_norms[picks])
                bounds = bounds.minimum(nearest)
            self._bounds[rows] = bounds
        self._seen[index] = self._num_picked

    def _farthest(self) -> torch.Tensor:
        """The next picks, as far as the farthest few of the active points tell them."""
        bounds = self._bounds[self._active]
        chosen, limit = self._all[: len(bounds)], self._floor
        if len(bounds) > self.WORKING:
            top = bounds.topk(self.WORKING + 1)
            # In their old order, so that of equal points the first is picked.
            chosen, limit = top.indices[:-1].sort().values, float(top.values[-1])
            if limit == float(top.values[0]):  # too many are equally far
                chosen = bounds.argmax()[None]
        index, near = self._active[chosen], bounds[chosen]
        rows, norms = self._rows(index), self._norms[index]
        with single_thread():
            return index[self._pick(rows, norms, near, limit)]

    def _pick(
        self, rows: torch.Tensor, norms: torch.Tensor, near: torch.Tensor, limit: float
    ) -> list[int]:
        """Which of some rows [n, D] to pick while the farthest is farther than the limit."""
        import torch

        picks: list[int] = []
        while len(picks) < self._size - self._num_picked:
            farthest = int(near.argmax())
            if picks and float(near[farthest]) <= limit:
                break
            picks.append(farthest)
            squares = self._nearest(rows, norms, rows[[farthest]], norms[[farthest]])
            near = torch.minimum(near, squares)
            near[farthest] = -1.0
        return picks

    def _record(self, picks: torch.Tensor) -> list[int]:
        new = slice(self._num_picked, self._num_picked + len(picks))
        self._picks[new], self._pick_norms[new] = self._rows(picks), self._norms[picks]
        self._bounds[picks] = -1.0  # never picked again
        self._num_picked = new.stop
        indices: list[int] = picks.tolist()
        return indices


class CoveringRadius:
    """The largest Euclidean distance from points, given block by block, to the nearest kept one.

    Example:
        >>> radius = CoveringRadius(np.array([[0.0, 0.0], [9.0, 0.0]], np.float32))
        >>> radius.update(np.array([[3.0, 4.0], [9.0, 1.0]], np.float32))
        >>> radius.value
        5.0
    """

    BLOCK = 4096  # points whose differences are in memory at a time

    def __init__(self, kept: np.ndarray) -> None:
        """Start without a point.

        Args:
            kept: float32 [K, D], K at least 1.
        """
        self._kept = kept
        self._center = kept.mean(axis=0)
        self._search = ExactSearch(kept - self._center)
        self._square = 0.0

    def update(self, points: np.ndarray) -> None:
        """Take in points, float32 [n, D]."""
        for first in range(0, len(points), self.BLOCK):
            rows = points[first : first + self.BLOCK]
            nearest = self._kept[self._search.query(rows - self._center)[:, 0]]
            squares = np.square(rows.astype(np.float64) - nearest).sum(axis=1)
            self._square = max(self._square, float(squares.max()))

    @property
    def value(self) -> float:
        """The radius, in the unit of the points."""
        return math.sqrt(self._square)


def covering_radius(points: np.ndarray, kept: np.ndarray) -> float:
    """Largest Euclidean distance from a point [N, D] to its nearest kept one [K]; 0 if all kept."""
    radius = CoveringRadius(points[kept])
    radius.update(points)
    return radius.value
