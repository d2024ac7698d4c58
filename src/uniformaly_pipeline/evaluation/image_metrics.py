"""Metrics for images and pixels (METHOD "Evaluation"; paper section 5.1).

Scores are distances without an upper bound: torchmetrics would pass them through a sigmoid, where
large ones tie, so the rank-based metrics are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DetectionMetrics:
    """How well scores separate anomalous from normal; each is ``None`` if a class is missing.

    Attributes:
        auroc: Area under the ROC curve, 0..1.
        ap: Average precision, 0..1.
        f1_max: F1 at the best threshold, 0..1.
        threshold: The score at and above which that best F1 calls anomalous.
    """

    auroc: float | None
    ap: float | None
    f1_max: float | None
    threshold: float | None


def detection_metrics(labels: np.ndarray, scores: np.ndarray) -> DetectionMetrics:
    """AUROC, AP and F1-max of images or pixels; :mod:`.pixel_metrics` takes any number of pixels.

    Args:
        labels: bool or int [n], 1 anomalous.
        scores: float [n], higher is more anomalous.

    Returns:
        The metrics; all ``None`` where only one class is present.

    Raises:
        ValueError: The lengths differ or a score is not finite.
    """
    # scikit-learn takes a second to import, which "kedro registry list" need not wait for.
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels = np.asarray(labels).astype(bool).ravel()
    scores = np.asarray(scores).ravel()
    if labels.shape != scores.shape:
        raise ValueError(f"{labels.size} labels for {scores.size} scores")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    if labels.all() or not labels.any():
        return DetectionMetrics(None, None, None, None)
    f1_max, threshold = best_f1(labels, scores)
    return DetectionMetrics(
        auroc=float(roc_auc_score(labels, scores)),
        ap=float(average_precision_score(labels, scores)),
        f1_max=f1_max,
        threshold=threshold,
    )


def auroc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve alone, for millions of pixels: sorts the normal ones only.

    Args:
        labels: bool [n], true where anomalous.
        scores: float [n].

    Returns:
        The share of pairs of an anomalous and a normal item in which the anomalous one scores
        higher, ties counted half; ``None`` where only one class is present.
    """
    anomalous, normal = scores[labels], np.sort(scores[~labels])
    if len(anomalous) == 0 or len(normal) == 0:
        return None
    below = np.searchsorted(normal, anomalous, side="left").mean(dtype=np.float64)
    up_to = np.searchsorted(normal, anomalous, side="right").mean(dtype=np.float64)
    return float((below + up_to) / (2 * len(normal)))


def best_f1(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """The highest F1 over all thresholds and the score [unit of ``scores``] that gives it.

    Args:
        labels: bool [n] with both classes.
        scores: float [n].
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(np.argmax(f1[:-1]))
    return float(f1[best]), float(thresholds[best])


def mean_and_std(metrics: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and population standard deviation, ``None`` values left out."""
    known = [metric for metric in metrics if metric is not None]
    if not known:
        return None, None
    return float(np.mean(known)), float(np.std(known))
