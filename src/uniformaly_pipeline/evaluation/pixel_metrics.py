"""Pixel AUROC, AP, F1-max and AUPRO of any number of anomaly maps, exactly and in bounded memory.

Between two neighbouring scores of anomalous pixels only normal ones are added: recall and overlap
stay level, precision and F1 fall. So the metrics need nothing but this: for every distinct score
of an anomalous pixel, how many anomalous and normal pixels reach it. Normal pixels are sorted as
bare numbers, the few anomalous ones together with the size of their region. What does not fit the
memory goes to temporary files in sorted runs, and these are merged one range of scores at a time,
from the highest down.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from scipy.ndimage import find_objects
from scipy.ndimage import label as label_regions

from uniformaly_pipeline.evaluation.metrics import PIXEL_METRICS

AUPRO_LIMIT = 0.3
"""False-positive rate up to which per-region overlap is integrated."""

MEMORY_BYTES = 64 << 20
"""Memory that pixels may take. Where one in twenty is anomalous it holds 4 million of them, which
are 90 maps of 224 x 224."""

NORMAL_BYTES = 12
ANOMALOUS_BYTES = 64
"""The most that a pixel takes at a time, copies and results included (tested)."""


_LAST_KEY = 2**32 - 1

_BLOCK = 1 << 12
"""Thresholds whose points of the curves are in memory at a time."""


class PixelMetrics:
    """Pixel-level metrics, one image after the other.

    Every distinct score is a threshold and equal scores share one, as in scikit-learn; the order
    of the images does not matter. Memory stays below ``memory_bytes`` and what a few copies of
    the largest image take, whatever the number of images. Where they do not fit, 4 bytes for a
    normal and 8 for an anomalous pixel go to files in the folder of temporary files (``TMPDIR``);
    they have no name and vanish with the object or the process.

    >>> mask = np.array([[True, False], [False, False]])
    >>> with PixelMetrics() as metrics:
    ...     metrics.update(mask, np.array([[5.0, 1.0], [2.0, 9.0]], np.float32))
    ...     found = metrics.compute()
    >>> round(found["pixel_auroc"], 3), found["pixel_ap"]
    (0.667, 0.5)
    """

    def __init__(self, aupro_limit: float = AUPRO_LIMIT, memory_bytes: int = MEMORY_BYTES) -> None:
        """Start without an image.

        Args:
            aupro_limit: False-positive rate at which the integration of AUPRO stops, 0..1.
            memory_bytes: Memory that pixels may take.
        """
        self._aupro_limit = aupro_limit
        self._memory_bytes = memory_bytes
        self._normal = _SortedRuns(np.uint32)
        # The score's key, then the size of the pixel's region.
        self._anomalous = _SortedRuns(np.uint64)
        self._num_normal = self._num_anomalous = self._num_regions = 0
        self._held_bytes = 0
        self._spilled = False

    def __enter__(self) -> PixelMetrics:
        """Use as a context, which ends the temporary files."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give memory and temporary files back."""
        self._normal.close()
        self._anomalous.close()

    def update(
        self, mask: np.ndarray, anomaly_map: np.ndarray, counted: np.ndarray | None = None
    ) -> None:
        """Add an image.

        Args:
            mask: bool [H, W], true where anomalous.
            anomaly_map: float32 [H, W], higher is more anomalous.
            counted: bool [H, W], the pixels that count; ``None`` for all.

        Raises:
            ValueError: The shapes differ or a score is not finite.
            OSError: A temporary file cannot be written.
        """
        mask = np.asarray(mask, dtype=bool)
        scores = np.asarray(anomaly_map, dtype=np.float32)
        if mask.shape != scores.shape:
            raise ValueError(f"a mask of {mask.shape} for an anomaly map of {scores.shape}")
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite")
        keys = _ordered_keys(scores)
        normal = keys
        if counted is not None and not counted.all():
            mask, normal = mask & counted, keys[counted & ~mask]
        elif mask.any():
            normal = keys[~mask]
        if mask.any():
            sizes, num_regions = _region_sizes(mask)
            anomalous = keys[mask].astype(np.uint64) << 32 | sizes
            self._anomalous.add(anomalous)
            self._num_anomalous += anomalous.size
            self._num_regions += num_regions
            self._held_bytes += ANOMALOUS_BYTES * anomalous.size
        self._normal.add(normal.ravel())
        self._num_normal += normal.size
        self._held_bytes += NORMAL_BYTES * normal.size
        if self._held_bytes > self._memory_bytes:
            self._spill()

    def compute(self) -> dict[str, float | None]:
        """Metrics of all images so far.

        Returns:
            ``pixel_auroc``, ``pixel_ap``, ``pixel_f1_max`` and ``aupro``, 0..1; ``None`` where
            all pixels are of one kind. AUPRO is the mean share of each 8-connected defect region
            that is found, large or small, averaged over false-positive rates up to the limit
            (Bergmann et al., the MVTec AD papers).

        Raises:
            OSError: A temporary file cannot be written.
        """
        if not (self._num_normal and self._num_anomalous):
            return dict.fromkeys(PIXEL_METRICS)
        if self._spilled:
            self._spill()
        self._normal.sort()
        self._anomalous.sort()
        curves = _Curves(self._num_normal * self._aupro_limit)
        last = _LAST_KEY
        while last >= 0:
            first = self._first_key(last)
            curves.extend(self._thresholds(first, last), self._num_anomalous)
            last = first - 1
        return curves.metrics(self._num_normal, self._num_anomalous, self._num_regions)

    def _spill(self) -> None:
        self._normal.spill()
        self._anomalous.spill()
        self._held_bytes = 0
        self._spilled = True

    def _first_key(self, last: int) -> int:
        """A key from which all pixels up to ``last`` fit the memory, or ``last`` itself."""
        normal, anomalous = (0, last), _packed(0, last)
        held = NORMAL_BYTES * self._normal.count(*normal)
        held += ANOMALOUS_BYTES * self._anomalous.count(*anomalous)
        if held <= self._memory_bytes:
            return 0
        # No run may give more than its share.
        share = self._memory_bytes / held
        given_up = self._normal.below_top(share, *normal)
        given_up += [packed >> 32 for packed in self._anomalous.below_top(share, *anomalous)]
        return min(max(given_up) + 1, last)

    def _thresholds(self, first: int, last: int) -> _Thresholds:
        """The anomalous pixels' scores within a range of keys, both ends included."""
        if first == last:
            return self._one_threshold(first)
        anomalous = self._anomalous.merge(*_packed(first, last))
        keys = (anomalous >> 32).astype(np.uint32)
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        regions = np.add.reduceat(_region_shares(anomalous), starts)
        num_anomalous = np.diff(starts, append=len(keys))
        keys = keys[starts]
        del anomalous, starts
        normal = self._normal.merge(first, last)
        return _Thresholds(
            num_anomalous[::-1],
            regions[::-1],
            above=(len(normal) - np.searchsorted(normal, keys, "right"))[::-1],
            reached=(len(normal) - np.searchsorted(normal, keys, "left"))[::-1],
            num_normal=len(normal),
        )

    def _one_threshold(self, key: int) -> _Thresholds:
        """A single score: its pixels, perhaps more than fit the memory, need counts only."""
        bounds, num_normal = _packed(key, key), self._normal.count(key, key)
        shares = [_region_shares(part).sum() for part in self._anomalous.between(*bounds)]
        return _Thresholds(
            np.array([self._anomalous.count(*bounds)]),
            np.array([sum(shares)]),
            above=np.array([0]),
            reached=np.array([num_normal]),
            num_normal=num_normal,
        )


class _SortedRuns:
    """Numbers of one type: the newest in memory, the others as sorted runs in a file."""

    def __init__(self, dtype: type[np.unsignedinteger[Any]]) -> None:
        self._dtype = np.dtype(dtype)
        self._newest: list[np.ndarray] = []
        self._lengths: list[int] = []
        self._file: IO[bytes] | None = None

    def add(self, values: np.ndarray) -> None:
        """Keep ``values`` [n] without a copy."""
        self._newest.append(values)

    def sort(self) -> None:
        """Make what is in memory a run."""
        if len(self._newest) > 1:
            self._newest = [np.concatenate(self._newest)]
        for run in self._newest:
            run.sort()

    def spill(self) -> None:
        """Append what is in memory to the file, as a run."""
        self.sort()
        if self._file is None:
            # Closed by close() or, at the latest, with this object.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        for run in self._newest:
            self._file.write(run.data)
        self._lengths += [len(run) for run in self._newest if len(run)]
        self._file.flush()
        self._newest = []

    def between(self, first: int, last: int) -> Iterator[np.ndarray]:
        """The part of each run from ``first`` to ``last``; nothing may have come since sorting."""
        # A plain number would make numpy convert the whole run to a wider type.
        low, high = self._dtype.type(first), self._dtype.type(last)
        for run in self._runs():
            yield run[np.searchsorted(run, low, "left") : np.searchsorted(run, high, "right")]

    def count(self, first: int, last: int) -> int:
        """How many numbers there are from ``first`` to ``last``."""
        return sum(map(len, self.between(first, last)))

    def below_top(self, share: float, first: int, last: int) -> list[int]:
        """The next number of each run below its highest ``share`` of :meth:`between`."""
        return [
            int(part[max(len(part) - 1 - math.ceil(share * len(part)), 0)])
            for part in self.between(first, last)
            if len(part)
        ]

    def merge(self, first: int, last: int) -> np.ndarray:
        """All numbers from ``first`` to ``last``, ascending."""
        if not self._lengths:
            return next(self.between(first, last), np.zeros(0, self._dtype))
        merged = np.empty(self.count(first, last), self._dtype)
        start = 0
        for part in self.between(first, last):
            merged[start : start + len(part)] = part
            start += len(part)
        # numpy's stable sort finds and merges the runs: several times as fast as its default here.
        merged.sort(kind="stable")
        return merged

    def close(self) -> None:
        """Forget everything."""
        self._newest, self._lengths = [], []
        if self._file is not None:
            self._file.close()
            self._file = None

    def _runs(self) -> Iterator[np.ndarray]:
        # Mapped one after the other: pages read so far count as this process's memory.
        if self._file is not None:
            offset = 0
            for length in self._lengths:
                run = np.memmap(self._file, self._dtype, "r", offset, (length,))
                yield run
                offset += run.nbytes
        yield from self._newest


@dataclass(frozen=True)
class _Thresholds:
    """Scores of anomalous pixels within a range, highest first; normal ones count from its top.

    Attributes:
        anomalous: int64 [T], anomalous pixels of each score.
        regions: float64 [T], the sum of their shares of their regions.
        above: int64 [T], normal pixels with a higher score.
        reached: int64 [T], normal pixels with that score or a higher one.
        num_normal: Normal pixels of the whole range.
    """

    anomalous: np.ndarray
    regions: np.ndarray
    above: np.ndarray
    reached: np.ndarray
    num_normal: int


class _Curves:
    """Running sums of all four metrics, from the highest score down."""

    def __init__(self, stop: float) -> None:
        """``stop`` is the number of normal pixels up to which AUPRO is integrated."""
        self._stop = stop
        # Up to the last range and, of normal pixels, also up to the last threshold.
        self._anomalous = self._normal = self._reached = 0
        self._regions = 0.0
        self._outranked = 0
        self._precision = 0.0
        self._f1_max = 0.0
        self._area = 0.0

    def extend(self, part: _Thresholds, num_anomalous: int) -> None:
        """Go on with the next lower range; ``num_anomalous`` is that of all pixels."""
        for start in range(0, len(part.anomalous), _BLOCK):
            block = slice(start, start + _BLOCK)
            found = self._anomalous + np.cumsum(part.anomalous[block])
            above, reached = self._normal + part.above[block], self._normal + part.reached[block]
            # Integers: a normal pixel above an anomalous one counts two, one as high counts one.
            self._outranked += int(part.anomalous[block] @ (above + reached))
            self._precision += float(part.anomalous[block] @ (found / (found + reached)))
            f1 = 2 * found / (found + reached + num_anomalous)
            self._f1_max = max(self._f1_max, float(f1.max()))
            self._add_area(part.regions[block], above, reached)
            self._anomalous, self._reached = int(found[-1]), int(reached[-1])
        self._normal += part.num_normal

    def _add_area(self, regions: np.ndarray, above: np.ndarray, reached: np.ndarray) -> None:
        """Below the overlap curve: level between scores, a slope where normal pixels tie."""
        after = self._regions + np.cumsum(regions)
        before = np.append(self._regions, after[:-1])
        level_from = np.append(self._reached, reached[:-1]).clip(max=self._stop)
        level = above.clip(max=self._stop) - level_from
        slope = reached.clip(max=self._stop) - above.clip(max=self._stop)
        climbed = (after - before) * slope / (reached - above).clip(min=1)
        self._area += float(before @ level + (before + climbed / 2) @ slope)
        self._regions = float(after[-1])

    def metrics(
        self, num_normal: int, num_anomalous: int, num_regions: int
    ) -> dict[str, float | None]:
        """What :meth:`PixelMetrics.compute` returns, of the sums over all pixels."""
        pairs = 2 * num_normal * num_anomalous
        tail = self._regions * (self._stop - min(self._reached, self._stop))
        return {
            "pixel_auroc": (pairs - self._outranked) / pairs,
            "pixel_ap": self._precision / num_anomalous,
            "pixel_f1_max": self._f1_max,
            "aupro": (self._area + tail) / (self._stop * num_regions),
        }


def _ordered_keys(scores: np.ndarray) -> np.ndarray:
    """Numbers in the order of ``scores``: float32 [...] to uint32 [...]."""
    # -0 and 0 are the same score.
    bits = (scores + np.float32(0)).view(np.uint32)
    # Positive floats are in the order of their bits; negative ones in the reverse, below them.
    flipped = (bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(1 << 31)
    keys: np.ndarray = bits ^ flipped
    return keys


def _packed(first: int, last: int) -> tuple[int, int]:
    """Bounds of the anomalous pixels whose keys are from ``first`` to ``last``."""
    return first << 32, last << 32 | _LAST_KEY


def _region_sizes(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Size of the region of each anomalous pixel, uint64 [n], and the number of regions.

    Args:
        mask: bool [H, W] with n anomalous pixels, at least one; regions touch at corners too.
    """
    # Labelling takes longer than all else, and defects are small.
    (box,) = find_objects(mask.astype(np.uint8))
    regions, count = label_regions(mask[box], structure=np.ones((3, 3)))
    labels = regions[mask[box]]
    return np.bincount(labels)[labels].astype(np.uint64), count


def _region_shares(packed: np.ndarray) -> np.ndarray:
    """What each anomalous pixel is of its region, float64 [n]."""
    shares: np.ndarray = 1.0 / (packed & np.uint64(_LAST_KEY))
    return shares
