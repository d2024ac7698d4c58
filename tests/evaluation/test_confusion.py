"""What a threshold makes of scores."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from uniformaly_pipeline.evaluation.confusion import Confusion, confusion


@pytest.mark.parametrize("threshold", [-10.0, 0.0, 0.7, 10.0])
def test_counts_and_ratios_are_scikit_learns(threshold: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    scores = rng.normal(labels, 1.0)
    counts = confusion(labels, scores, threshold)
    called = scores >= threshold
    tn, fp, fn, tp = confusion_matrix(labels, called).ravel()
    assert (counts.tn, counts.fp, counts.fn, counts.tp) == (tn, fp, fn, tp)
    assert counts.recall == pytest.approx(recall_score(labels, called))
    assert counts.accuracy == pytest.approx(accuracy_score(labels, called))
    assert counts.f1 == pytest.approx(f1_score(labels, called, zero_division=0))
    if called.any():
        assert counts.precision == pytest.approx(precision_score(labels, called))
    else:
        assert counts.precision is None


def test_a_score_on_the_threshold_is_called_anomalous() -> None:
    assert confusion(np.array([1, 0]), np.array([2.0, 2.0]), 2.0) == Confusion(1, 1, 0, 0)


def test_without_images_no_ratio_is_defined() -> None:
    nothing = confusion(np.array([]), np.array([]), 0.0)
    assert nothing == Confusion(0, 0, 0, 0)
    assert {nothing.precision, nothing.recall, nothing.f1, nothing.accuracy} == {None}
    assert nothing.false_positive_rate is None


def test_counts_of_categories_add_up() -> None:
    assert Confusion(1, 2, 3, 4) + Confusion(10, 20, 30, 40) == Confusion(11, 22, 33, 44)
