"""Pixel metrics one image at a time: exact, whatever the order, whatever the memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from uniformaly_pipeline.evaluation.pixel_metrics import (
    ANOMALOUS_BYTES,
    NORMAL_BYTES,
    PIXEL_METRICS,
    PixelMetrics,
)

QUICK = settings(deadline=None, derandomize=True, max_examples=50)
NOTHING = dict.fromkeys(PIXEL_METRICS)
Images = Iterable[tuple[np.ndarray, np.ndarray]]

LEVELS = st.integers(-3, 3).map(float)
ANY_SCORE = st.floats(width=32, allow_nan=False, allow_infinity=False)
LIMITS = st.integers(1, 100).map(lambda percent: percent / 100)
MEMORY = st.sampled_from([1, 300, 1500, 1 << 20])


@st.composite
def image_sets(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks and maps of several shapes with both kinds of pixel; scores tie, some are negative."""
    shapes = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(2, 6)), min_size=1, max_size=5))
    elements = draw(st.sampled_from([LEVELS, ANY_SCORE, LEVELS.map(lambda level: 1e4 + level)]))
    images = [
        (draw(hnp.arrays(bool, shape)), draw(hnp.arrays(np.float32, shape, elements=elements)))
        for shape in shapes
    ]
    images[0][0][0, :2] = (True, False)
    return images


def metrics_of(images: Images, limit: float = 0.3, **options: Any) -> dict[str, float | None]:
    with PixelMetrics(limit, **options) as metrics:
        for mask, anomaly_map in images:
            metrics.update(mask, anomaly_map)
        return metrics.compute()


def aupro(masks: Iterable[np.ndarray], maps: Iterable[np.ndarray], limit: float = 0.3) -> Any:
    return metrics_of(zip(masks, maps, strict=True), limit)["aupro"]


def regions_of(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Sets of pixels that touch, at corners too."""
    left = set(zip(*map(np.ndarray.tolist, np.nonzero(mask)), strict=True))
    regions = []
    while left:
        region, border = set(), {left.pop()}
        while border:
            region |= border
            border = {
                (row, column)
                for row, column in left
                if any(max(abs(row - r), abs(column - c)) == 1 for r, c in border)
            }
            left -= border
        regions.append(region)
    return regions


def sweep_aupro(masks: np.ndarray, maps: np.ndarray, limit: float) -> float:
    """AUPRO from its definition: a point per threshold, then the area up to the limit."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        called = maps >= threshold
        overlaps = [
            np.mean([called[image][pixel] for pixel in region])
            for image, mask in enumerate(masks)
            for region in regions_of(mask)
        ]
        points.append((float(called[~masks].mean()), float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        end = min(x1, limit)
        if end > x0:
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@st.composite
def masked_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Masks with a defect somewhere and maps that tie: bool and float [B, H, W]."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)))
    masks = draw(hnp.arrays(bool, shape))
    masks[0, 0, :2] = (True, False)
    levels = draw(hnp.arrays(np.float32, shape, elements=st.integers(0, 6).map(float)))
    return masks, 40.0 * levels


def overlap_area(images: Images, limit: float) -> float:
    """AUPRO from its definition: every score a threshold, every region counted alike."""
    masks, maps = zip(*images, strict=True)
    regions = []
    for mask, anomaly_map in zip(masks, maps, strict=True):
        found, count = label(mask, structure=np.ones((3, 3)))
        regions += [anomaly_map[found == number] for number in range(1, count + 1)]
    normal = np.concatenate([pixels[~mask] for mask, pixels in zip(masks, maps, strict=True)])
    thresholds = np.unique(np.concatenate([pixels.ravel() for pixels in maps]))[::-1]
    fpr = np.array([0.0, *(np.mean(normal >= t) for t in thresholds)])
    pro = np.array([0.0, *(np.mean([(r >= t).mean() for r in regions]) for t in thresholds)])
    inside = fpr <= limit
    x, y = np.append(fpr[inside], limit), np.append(pro[inside], np.interp(limit, fpr, pro))
    return float(np.trapezoid(y, x) / limit)


def reference(images: Images, limit: float) -> dict[str, float]:
    images = list(images)
    labels = np.concatenate([mask.ravel() for mask, _ in images])
    scores = np.concatenate([anomaly_map.ravel() for _, anomaly_map in images])
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return {
        "pixel_auroc": roc_auc_score(labels, scores),
        "pixel_ap": average_precision_score(labels, scores),
        "pixel_f1_max": f1.max(),
        "aupro": overlap_area(images, limit),
    }


def continuous(count: int, size: int = 64, anomalous: float = 0.05) -> list[Any]:
    """Images with a defect each, of scores that hardly tie but for a background of zeros."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        mask = np.zeros((size, size), bool)
        mask[4 : 4 + int(size * anomalous**0.5), 4 : 4 + int(size * anomalous**0.5)] = True
        anomaly_map = rng.gamma(2.0, 100.0, mask.shape).astype(np.float32) + 50 * mask
        anomaly_map[-size // 3 :] = 0
        images.append((mask, anomaly_map.astype(np.float32)))
    return images


@pytest.fixture
def spills(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The temporary files opened so far, all below ``tmp_path``."""
    opened: list[Any] = []
    create: Callable[[], Any] = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: opened.append(create()) or opened[-1])
    return opened


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The ranges of keys that were merged so far."""
    merged: list[tuple[int, int]] = []
    thresholds = PixelMetrics._thresholds

    def spy(self: PixelMetrics, first: int, last: int) -> Any:
        merged.append((first, last))
        return thresholds(self, first, last)

    monkeypatch.setattr(PixelMetrics, "_thresholds", spy)
    return merged


@QUICK
@given(image_sets(), LIMITS, MEMORY)
def test_figures_are_those_of_scikit_learn_and_of_the_definition_in_any_memory(
    images: list[Any], limit: float, memory: int
) -> None:
    found = metrics_of(images, limit, memory_bytes=memory)
    assert found == pytest.approx(reference(images, limit), abs=1e-12)


@QUICK
@given(image_sets(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(images: list[Any], random: Any) -> None:
    shuffled = random.sample(images, len(images))
    assert metrics_of(shuffled) == metrics_of(images)
    assert metrics_of(shuffled, memory_bytes=500) == pytest.approx(metrics_of(images), abs=1e-12)


@QUICK
@given(image_sets(), image_sets(), MEMORY)
def test_more_images_may_come_after_the_figures(
    images: list[Any], more: list[Any], memory: int
) -> None:
    with PixelMetrics(memory_bytes=memory) as metrics:
        for image in images:
            metrics.update(*image)
        first = metrics.compute()
        assert metrics.compute() == first
        for image in more:
            metrics.update(*image)
        both = metrics.compute()
    assert first == pytest.approx(metrics_of(images), abs=1e-12)
    assert both == pytest.approx(metrics_of([*images, *more]), abs=1e-12)


def test_little_memory_takes_a_file_and_many_ranges(
    spills: list[Any], ranges: list[tuple[int, int]]
) -> None:
    images = continuous(20, size=24)
    enough = metrics_of(images)
    assert not spills
    assert len(ranges) == 1
    little = metrics_of(images, memory_bytes=6_000)
    assert len(spills) == 2
    assert len(ranges) > 20
    assert little == pytest.approx(enough, abs=1e-12)
    assert enough == pytest.approx(reference(images, 0.3), abs=1e-12)


def test_images_whose_scores_do_not_overlap_are_merged_too(ranges: list[tuple[int, int]]) -> None:
    images = [
        (mask, anomaly_map + np.float32(1e4 * number))
        for number, (mask, anomaly_map) in enumerate(continuous(8, size=32))
    ]
    found = metrics_of(images, memory_bytes=10_000)
    assert found == pytest.approx(metrics_of(images), abs=1e-12)
    # Each of the 16 runs gives its share of a tenth at a time, when others give nothing.
    assert 10 < len(ranges) < 2 * 16 * 10


def test_zeros_tie_whatever_their_sign() -> None:
    mask = np.array([[True, True, False, False]])
    signed = np.array([[0.0, -0.0, 0.0, -0.0]], np.float32)
    assert metrics_of([(mask, signed)]) == metrics_of([(mask, np.abs(signed))])


def test_a_perfect_a_constant_and_an_inverted_map() -> None:
    mask = np.zeros((6, 6), bool)
    mask[1:3, 1:3] = True
    perfect = dict.fromkeys(PIXEL_METRICS, 1.0)
    assert metrics_of([(mask, np.float32(300) * mask)]) == pytest.approx(perfect)
    constant = {"pixel_auroc": 0.5, "pixel_ap": 1 / 9, "pixel_f1_max": 0.2, "aupro": 0.15}
    assert metrics_of([(mask, np.full(mask.shape, -7.0))]) == pytest.approx(constant)
    inverted = metrics_of([(mask, 1.0 - mask)])
    assert (inverted["pixel_auroc"], inverted["aupro"]) == (0.0, 0.0)


@pytest.mark.parametrize("memory", [1, 1 << 20])
@pytest.mark.parametrize("masks", [[], [np.zeros((3, 3), bool)] * 2, [np.ones((3, 3), bool)]])
def test_pixels_of_one_kind_have_no_figures(masks: list[np.ndarray], memory: int) -> None:
    assert metrics_of([(mask, np.ones((3, 3))) for mask in masks], memory_bytes=memory) == NOTHING


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics_of([(np.eye(2, dtype=bool), np.array([[0.0, 1.0], [bad, 2.0]], np.float32))])


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mask of \(2, 2\) for an anomaly map of \(2, 3\)"):
        metrics_of([(np.eye(2, dtype=bool), np.zeros((2, 3), np.float32))])


def test_the_images_given_are_left_as_they_are() -> None:
    ((mask, anomaly_map),) = continuous(1)
    before = mask.copy(), anomaly_map.copy()
    metrics_of([(mask, anomaly_map), (np.zeros_like(mask), anomaly_map)])
    assert (mask == before[0]).all()
    assert (anomaly_map == before[1]).all()


def test_temporary_files_vanish_after_an_error_too(spills: list[Any], tmp_path: Path) -> None:
    def images() -> Iterator[Any]:
        yield from continuous(3)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        metrics_of(images(), memory_bytes=1000)
    assert len(spills) == 2
    assert all(file.closed for file in spills)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="an open file has a name there")
def test_temporary_files_have_no_name_that_a_killed_process_could_leave(
    spills: list[Any], tmp_path: Path
) -> None:
    with PixelMetrics(memory_bytes=1000) as metrics:
        for image in continuous(3):
            metrics.update(*image)
        assert spills
        assert list(tmp_path.iterdir()) == []


MEMORY_BYTES = 4 << 20
SIDE, NUM_IMAGES = 128, 120
ONE_IMAGE = 64 * SIDE * SIDE
"""Bytes that an image may take on its way, in several forms."""


def many(kind: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[: {"normal": 1, "mixed": 12, "background": 12, "constant": 30}.get(kind, SIDE)] = True
    mask[-1] = kind == "anomalous"
    mask[0, 0] = False
    for _ in range(NUM_IMAGES):
        scores = np.zeros((SIDE, SIDE), np.float32)
        if kind != "constant":
            scores[: SIDE // 10 if kind == "background" else SIDE] = 1
        yield mask, scores * rng.random((SIDE, SIDE), np.float32)


@pytest.mark.parametrize("kind", ["normal", "anomalous", "mixed", "background", "constant"])
def test_memory_is_what_was_allowed_whatever_the_scores(kind: str) -> None:
    assert NUM_IMAGES * SIDE * SIDE * NORMAL_BYTES > 5 * MEMORY_BYTES
    with PixelMetrics(memory_bytes=MEMORY_BYTES) as metrics:
        tracemalloc.start()
        try:
            for image in many(kind):
                metrics.update(*image)
            found = metrics.compute()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < MEMORY_BYTES + ONE_IMAGE
    assert found == pytest.approx(metrics_of(many(kind), memory_bytes=1 << 30), abs=1e-9)


def test_the_bytes_of_a_pixel_are_not_less_than_what_it_takes() -> None:
    for kind in ("normal", "anomalous", "mixed"):
        images = list(many(kind))
        anomalous = sum(int(mask.sum()) for mask, _ in images)
        normal = NUM_IMAGES * SIDE * SIDE - anomalous
        tracemalloc.start()
        try:
            metrics_of(images, memory_bytes=1 << 30)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < NORMAL_BYTES * normal + ANOMALOUS_BYTES * anomalous + ONE_IMAGE


@QUICK
@given(masked_maps(), st.integers(1, 100).map(lambda percent: percent / 100))
def test_aupro_is_the_area_under_a_sweep_of_all_thresholds(
    data: tuple[np.ndarray, np.ndarray], limit: float
) -> None:
    masks, maps = data
    assert aupro(masks, maps, limit) == pytest.approx(sweep_aupro(masks, maps, limit))


def test_aupro_of_a_perfect_a_constant_and_an_inverted_map() -> None:
    mask = np.zeros((6, 6), bool)
    mask[1:3, 1:3] = True
    assert aupro([mask], [300.0 * mask]) == pytest.approx(1.0)
    # One threshold calls everything anomalous: the curve is the diagonal up to 0.3.
    assert aupro([mask], [np.full(mask.shape, 7.0)]) == pytest.approx(0.15)
    assert aupro([mask], [1.0 - mask]) == pytest.approx(0.0)


def test_aupro_counts_a_small_region_like_a_large_one() -> None:
    mask = np.zeros((10, 10), bool)
    mask[0, 0] = True
    mask[4:8, 4:8] = True
    only_small = np.where(mask, 0.0, 1.0)
    only_small[0, 0] = 2.0
    only_large = np.where(mask, 2.0, 1.0)
    only_large[0, 0] = 0.0
    assert aupro([mask], [only_small]) == pytest.approx(aupro([mask], [only_large]))


@pytest.mark.parametrize("value", [False, True])
def test_aupro_needs_a_defect_and_a_normal_pixel(value: bool) -> None:
    assert aupro([np.full((3, 3), value)], [np.zeros((3, 3))]) is None


def test_aupro_needs_a_map_per_mask() -> None:
    mask = np.eye(3, dtype=bool)
    with pytest.raises(ValueError, match="shorter"):
        aupro([mask, mask], [np.zeros((3, 3))])


SCRIPT = """
import json, resource, sys
import numpy as np
from uniformaly_pipeline.evaluation.pixel_metrics import PixelMetrics

memory, allowance, count = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
mask = np.zeros((256, 256), bool)
mask[:60, :60] = True

def metrics(count):
    with PixelMetrics(memory_bytes=memory) as metrics:
        for _ in range(count):
            metrics.update(mask, rng.random(mask.shape, np.float32))
        return metrics.compute()

metrics(2)  # what libraries allocate once
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = int(status["VmData"].split()[0]) * 1024 + allowance
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
metrics(count)
print("done")
"""


def run_limited(memory: int, allowance: int, count: int) -> subprocess.CompletedProcess[str]:
    arguments = json.dumps([memory, allowance, count])
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_the_operating_system_gives_no_more_either() -> None:
    memory, allowance, count = 8 << 20, 16 << 20, 120
    assert count * 256 * 256 * 4 > allowance
    modest = run_limited(memory, allowance, count)
    assert modest.returncode == 0, modest.stderr
    assert modest.stdout == "done\n"
    # The limit bites: all pixels together do not fit.
    greedy = run_limited(1 << 40, allowance, count)
    assert greedy.returncode != 0
    assert "MemoryError" in greedy.stderr


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_masks_may_be_of_zeros_and_ones(dtype: type) -> None:
    images = continuous(3, size=16)
    given = [(mask.astype(dtype), anomaly_map) for mask, anomaly_map in images]
    assert metrics_of(given) == metrics_of(images)


def test_memory_is_filled_again_after_each_time_it_was_emptied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emptied: list[int] = []
    spill = PixelMetrics._spill
    monkeypatch.setattr(PixelMetrics, "_spill", lambda self: emptied.append(1) or spill(self))
    # Ten normal pixels of 12 bytes each: every fourth image is too much, and what is left at last.
    with PixelMetrics(memory_bytes=400) as metrics:
        for number in range(12):
            metrics.update(np.zeros((1, 10), bool), np.full((1, 10), number, np.float32))
        assert len(emptied) == 3


def test_memory_is_given_back_at_the_end() -> None:
    with PixelMetrics() as metrics:
        for image in continuous(2):
            metrics.update(*image)
        assert metrics._normal.count(0, 2**32 - 1) > 0
    assert metrics._normal.count(0, 2**32 - 1) == 0
