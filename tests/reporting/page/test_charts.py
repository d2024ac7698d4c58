"""Where the report's charts put scores."""

from __future__ import annotations

import re

import numpy as np
import pytest

from uniformaly_pipeline.reporting.page.charts import (
    histogram_chart,
    nice_step,
    precision_recall_chart,
    roc_chart,
    score_range,
)

LABELS = np.array([0] * 30 + [1] * 20)
SCORES = np.concatenate([np.linspace(1, 5, 30), np.linspace(4, 9, 20)])


def points(path: str) -> np.ndarray:
    """The points of a path of straight lines [n, 2]."""
    return np.array([[float(n) for n in pair.split(",")] for pair in re.split("[ML]", path)[1:]])


def test_the_range_lets_a_threshold_be_beyond_all_scores() -> None:
    low, high = score_range(SCORES)
    assert low < 1
    assert high > 9


@pytest.mark.parametrize("scores", [np.array([]), np.array([3.0]), np.zeros(4)])
def test_a_range_is_never_empty(scores: np.ndarray) -> None:
    low, high = score_range(scores)
    assert low < high
    assert nice_step(low, high) > 0


def test_steps_are_round_and_small() -> None:
    for high in (0.013, 1.0, 777.0, 1e6):
        step = nice_step(0, high)
        assert 200 <= high / step <= 500.5
        assert f"{step:.0e}"[0] in "125"


def test_bars_end_on_the_axis_and_stay_within_the_plot() -> None:
    chart = histogram_chart(LABELS, SCORES)
    assert chart.y_label == "share of the class"
    assert histogram_chart(LABELS, SCORES, "images").y_label == "share of the images"
    assert set(chart.shapes) == {"normal", "anomalous"}
    for path in chart.shapes.values():
        heights = [float(y) for y in re.findall(r"V([\d.]+)", path)]
        assert min(heights) >= chart.frame.top
        assert heights[-1] == chart.frame.bottom
        assert path.endswith("Z")
    assert chart.x(chart.low) == chart.frame.left
    assert chart.x(chart.high) == chart.frame.right
    assert all(chart.frame.left <= place <= chart.frame.right for place, _ in chart.x_ticks)


@pytest.mark.parametrize("labels", [np.zeros(50, int), np.ones(50, int)])
def test_a_class_may_be_missing(labels: np.ndarray) -> None:
    assert "nan" not in str(histogram_chart(labels, SCORES).shapes)


def test_the_roc_curve_goes_from_corner_to_corner() -> None:
    chart = roc_chart(LABELS, SCORES)
    line, frame = points(chart.shapes["curve"]), chart.frame
    assert line[0].tolist() == [frame.left, frame.bottom]
    assert line[-1].tolist() == [frame.right, frame.top]
    assert (np.diff(line[:, 0]) >= 0).all()


def test_chance_of_precision_is_the_share_of_anomalous_images() -> None:
    chart = precision_recall_chart(LABELS, SCORES)
    assert {y for _, y in points(chart.shapes["chance"]).tolist()} == {chart.y(0.4)}


def test_curves_of_many_images_have_few_points() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20_000)
    chart = roc_chart(labels, rng.normal(labels, 2.0))
    assert len(points(chart.shapes["curve"])) <= 300
