"""What the report needs to let a reader try other decision thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.confusion import Confusion, confusion
from uniformaly_pipeline.reporting.page.charts import (
    Chart,
    histogram_chart,
    nice_step,
    precision_recall_chart,
    roc_chart,
    score_range,
)
from uniformaly_pipeline.reporting.page.tables import format_metric

COUNTS = {
    "tp": "anomalous images called anomalous: found",
    "fp": "normal images called anomalous: false alarms",
    "tn": "normal images called normal: passed",
    "fn": "anomalous images called normal: missed",
}
RATIOS = {"precision": "Precision", "recall": "Recall", "f1": "F1", "accuracy": "Accuracy"}


@dataclass(frozen=True)
class Panel:
    """A category's scores and decisions.

    Attributes:
        category: Name of the category.
        threshold: Score at and above which an image is called anomalous, from ``metrics.json``;
            None where the test images are all of one kind.
        kept: What ``predict.threshold`` decides so by, see :func:`kept_threshold`.
        step: What the slider and the field move by.
        num_normal: Normal test images.
        num_anomalous: Anomalous test images.
        counts: Counts and ratios at the threshold, see :func:`texts_of`.
        histogram: Distribution of the scores.
        roc: ROC curve; None where a class is missing.
        precision_recall: Precision-recall curve; None where a class is missing.
        confusion: The counts at the threshold.
        areas: Area under the curves, in words, by chart.
    """

    category: str
    threshold: float | None
    kept: float | None
    step: float
    num_normal: int
    num_anomalous: int
    counts: dict[str, dict[str, str]]
    histogram: Chart
    roc: Chart | None
    precision_recall: Chart | None
    confusion: Confusion | None
    areas: dict[str, str]

    @property
    def passes_none(self) -> bool:
        """Whether the threshold calls every normal image anomalous."""
        return self.confusion is not None and self.confusion.false_positive_rate == 1


def panel_of(category: str, image_scores: pd.DataFrame, metrics: Mapping[str, Any]) -> Panel:
    """Draw a category's scores and count its decisions.

    Args:
        category: Name of the category.
        image_scores: A row per test image; columns ``label`` (0 normal, 1 anomalous) and
            ``score``.
        metrics: The category's metrics, of which ``threshold`` decides.
    """
    labels, scores = _labels_and_scores(image_scores)
    threshold = metrics.get("threshold")
    both = bool((labels == 1).any() and (labels == 0).any())
    counts = None if threshold is None else confusion(labels, scores, threshold)
    return Panel(
        category=category,
        threshold=threshold,
        kept=None if threshold is None else kept_threshold(scores, threshold),
        step=nice_step(*score_range(scores)),
        num_normal=int((labels == 0).sum()),
        num_anomalous=int((labels == 1).sum()),
        counts={} if counts is None else texts_of(counts),
        histogram=histogram_chart(labels, scores),
        roc=roc_chart(labels, scores) if both else None,
        precision_recall=precision_recall_chart(labels, scores) if both else None,
        confusion=counts,
        areas={
            chart: f"{name} {format_metric(metrics[key], 'ratio')}"
            for chart, name, key in (
                ("roc", "AUROC", "image_auroc"),
                ("precision_recall", "AP", "image_ap"),
            )
            if metrics.get(key) is not None
        },
    )


def kept_threshold(scores: np.ndarray, threshold: float) -> float:
    """The threshold by which ``predict`` and detectors decide as the page does.

    The page calls anomalous what is at or above its threshold, they what is above theirs. Between
    two scores both decide alike, so a threshold that is a score itself moves to the middle below.

    Args:
        scores: float [n], the scores of the test images.
        threshold: The page's threshold.

    Returns:
        A number with as few digits as tell it from the scores beside it, at least six.
    """
    singles = np.sort(scores.astype(np.float32)).astype(np.float64)
    place = int(np.searchsorted(singles, np.float64(np.float32(threshold)), side="left"))
    below = float(singles[place - 1]) if place > 0 else -np.inf
    above = float(singles[place]) if place < len(singles) else np.inf
    if not threshold < above:
        threshold = (below + above) / 2 if np.isfinite(below) else above - abs(above) * 1e-3
    for digits in range(6, 17):
        kept = float(f"{threshold:.{digits}g}")
        if below <= kept < above:
            return kept
    return threshold


def texts_of(counts: Confusion) -> dict[str, dict[str, str]]:
    """Counts and ratios as texts and as values to sort by, in the order in which they are shown."""
    values: dict[str, float | int | None] = {
        **asdict(counts),
        **{name: getattr(counts, name) for name in RATIOS},
    }
    return {
        name: {
            "text": format_metric(value, "ratio" if name in RATIOS else "count"),
            "value": "" if value is None else repr(value),
        }
        for name, value in values.items()
    }


def total_of(panels: Mapping[str, Panel]) -> dict[str, dict[str, str]]:
    """Counts of all categories together, as texts; empty where there are none."""
    known = [panel.confusion for panel in panels.values() if panel.confusion is not None]
    return texts_of(sum(known, Confusion(0, 0, 0, 0))) if known else {}


def embedded_scores(
    image_scores: Mapping[str, pd.DataFrame], panels: Mapping[str, Panel]
) -> dict[str, Any]:
    """All scores for the page's script: by category, in order, in single precision.

    The script rounds thresholds to single precision, too, so that a score which is equal to the
    threshold stays so.
    """
    return {
        category: {
            "threshold": panels[category].threshold,
            # Spread of the scores, in which the gallery says how wrong an image is.
            "spread": float(image_scores[category]["score"].to_numpy(np.float64).std()) or 1.0,
            "normal": _sorted_scores(image_scores[category], 0),
            "anomalous": _sorted_scores(image_scores[category], 1),
        }
        for category in panels
        if panels[category].threshold is not None
    }


def _sorted_scores(image_scores: pd.DataFrame, label: int) -> list[float]:
    """The scores of a class, lowest first, with no more digits than single precision has."""
    labels, scores = _labels_and_scores(image_scores)
    return [float(str(score)) for score in np.sort(scores[labels == label]).astype(np.float32)]


def _labels_and_scores(image_scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return (
        image_scores["label"].to_numpy(np.int64),
        image_scores["score"].to_numpy(np.float64),
    )
