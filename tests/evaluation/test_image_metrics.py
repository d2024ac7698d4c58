"""Metrics, against brute force, on scores that tie and scores without a bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from uniformaly_pipeline.evaluation.image_metrics import (
    DetectionMetrics,
    auroc,
    detection_metrics,
    mean_and_std,
)

QUICK = settings(deadline=None, derandomize=True, max_examples=50)


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes, and scores that tie, some large enough to saturate a sigmoid."""
    count = draw(st.integers(2, 40))
    labels = draw(hnp.arrays(np.int8, count, elements=st.integers(0, 1)))
    labels[:2] = (0, 1)
    levels = draw(hnp.arrays(np.float32, count, elements=st.integers(0, 9).map(float)))
    offset, scale = draw(st.sampled_from([(0.0, 1.0), (100.0, 1.0), (5e3, 250.0), (-3.0, 0.1)]))
    return labels, np.float32(offset) + np.float32(scale) * levels


def f1_at(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    called = scores >= threshold
    hits = (called & (labels == 1)).sum()
    return 2 * hits / (called.sum() + (labels == 1).sum())


@QUICK
@given(labelled_scores())
def test_auroc_is_the_chance_that_an_anomaly_scores_higher(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = data
    differences = scores[labels == 1][:, None] - scores[labels == 0][None]
    expected = np.mean((differences > 0) + 0.5 * (differences == 0))
    found = detection_metrics(labels, scores)
    assert found.auroc == pytest.approx(expected)
    assert found.auroc == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))


@QUICK
@given(labelled_scores())
def test_ap_sums_precision_over_the_steps_of_recall(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    expected = reached = 0.0
    for threshold in np.unique(scores)[::-1]:
        called = labels[scores >= threshold]
        recall = called.sum() / labels.sum()
        expected += (recall - reached) * called.mean()
        reached = recall
    found = detection_metrics(labels, scores)
    assert found.ap == pytest.approx(expected)
    assert found.ap == pytest.approx(sklearn_metrics.average_precision_score(labels, scores))


@QUICK
@given(labelled_scores())
def test_f1_max_is_the_best_of_all_thresholds_and_its_threshold_gives_it(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = data
    found = detection_metrics(labels, scores)
    assert found.f1_max == pytest.approx(max(f1_at(labels, scores, t) for t in scores))
    assert found.threshold in scores
    assert f1_at(labels, scores, found.threshold) == pytest.approx(found.f1_max)


@QUICK
@given(labelled_scores())
def test_only_the_order_of_scores_counts(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    found, stretched = detection_metrics(labels, scores), detection_metrics(labels, 8 * scores)
    assert (found.auroc, found.ap, found.f1_max) == (
        stretched.auroc,
        stretched.ap,
        stretched.f1_max,
    )


def test_large_scores_do_not_tie() -> None:
    # A sigmoid turns every one of these into 1.
    scores = np.array([200.0, 201.0, 202.0, 203.0], np.float32)
    metrics = detection_metrics(np.array([0, 0, 1, 1]), scores)
    assert metrics == DetectionMetrics(auroc=1.0, ap=1.0, f1_max=1.0, threshold=202.0)
    assert detection_metrics(np.array([1, 1, 0, 0]), scores).auroc == 0.0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_metrics(label: int) -> None:
    metrics = detection_metrics(np.full(3, label), np.arange(3.0))
    assert metrics == DetectionMetrics(None, None, None, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        detection_metrics(np.array([0, 1]), np.array([0.0, bad]))


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labels for 3 scores"):
        detection_metrics(np.array([0, 1]), np.zeros(3))


@QUICK
@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_mean_and_std_leave_out_what_is_missing(metrics: list[float | None]) -> None:
    known = [metric for metric in metrics if metric is not None]
    mean, std = mean_and_std(metrics)
    if not known:
        assert (mean, std) == (None, None)
    else:
        assert mean == pytest.approx(sum(known) / len(known))
        variance = sum((metric - sum(known) / len(known)) ** 2 for metric in known) / len(known)
        assert std == pytest.approx(variance**0.5)


@QUICK
@given(labelled_scores())
def test_auroc_alone_equals_scikit_learn_ties_included(
    sample: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = sample
    expected = sklearn_metrics.roc_auc_score(labels, scores)
    assert auroc(labels.astype(bool), scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label", [True, False])
def test_auroc_alone_is_undefined_for_one_class(label: bool) -> None:
    assert auroc(np.full(3, label), np.arange(3.0)) is None


def test_metrics_are_those_of_all_pixels_of_a_map_and_of_lists() -> None:
    labels, scores = [[0, 1], [1, 0]], [[0.1, 0.7], [0.3, 0.5]]
    flat = detection_metrics(np.ravel(labels), np.ravel(scores))
    assert detection_metrics(np.array(labels), np.array(scores)) == flat
    assert detection_metrics(labels, scores) == flat  # type: ignore[arg-type]
    assert flat.auroc == 0.75
