"""ROC curve and score histogram of a category."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uniformaly_pipeline.reporting.figures.style import (
    ANOMALOUS_COLOUR,
    INK,
    NORMAL_COLOUR,
    new_figure,
)


def roc_figure(image_scores: pd.DataFrame, category: str) -> Figure:
    """Draw the image-level ROC curve, with the AUROC in the legend.

    Args:
        image_scores: A row per test image; columns ``label`` (0 normal, 1 anomalous) and
            ``score`` (float).
        category: Name for the title.

    Returns:
        The figure; where one class is missing it says so in place of a curve.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    labels, scores = _labels_and_scores(image_scores, category)
    figure, axes = new_figure(f"{category}: ROC curve")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal")
    if len(np.unique(labels)) < 2:
        message = "undefined: only one class\nin the test set"
        axes.text(0.5, 0.5, message, ha="center", va="center", color=INK)
        return figure
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":", label="chance")
    label = f"AUROC {roc_auc_score(labels, scores):.3f}"
    axes.plot(
        false_positive_rate,
        true_positive_rate,
        color=NORMAL_COLOUR,
        linewidth=2,
        label=label,
        # A perfect curve runs along the frame: let all of the line be seen.
        clip_on=False,
    )
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def score_histogram(
    image_scores: pd.DataFrame,
    category: str,
    threshold: float | None = None,
    names: tuple[str, str] = ("normal", "anomalous"),
) -> Figure:
    """Draw how the image scores of normal and of anomalous images are distributed.

    Bars show the share of each class's images, so a small class stays visible beside a large one.

    Args:
        image_scores: A row per test image; columns ``label`` (0 normal, 1 anomalous) and
            ``score`` (float, squared distance).
        category: Name for the title.
        threshold: Score at and above which an image is called anomalous, drawn as a line; None
            where it is undefined.
        names: What labels 0 and 1 stand for.

    Returns:
        The figure.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    labels, scores = _labels_and_scores(image_scores, category)
    figure, axes = new_figure(f"{category}: image scores")
    axes.set(xlabel="image score (squared distance)", ylabel="share of the class")
    axes.yaxis.set_major_formatter("{x:.0%}")
    edges = np.histogram_bin_edges(scores, bins=int(np.clip(np.sqrt(len(scores)), 10, 40)))
    # The hatch tells the classes apart without colour.
    styles = ((0, names[0], NORMAL_COLOUR, ""), (1, names[1], ANOMALOUS_COLOUR, "////"))
    for label, name, colour, hatch in styles:
        of_class = scores[labels == label]
        shares = np.histogram(of_class, edges)[0] / max(len(of_class), 1)
        axes.stairs(
            shares,
            edges,
            fill=True,
            facecolor=(colour, 0.25),
            edgecolor=colour,
            linewidth=1.4,
            hatch=hatch,
            label=f"{name} ({len(of_class)})",
        )
    if threshold is not None:
        axes.axvline(
            threshold, color=INK, linewidth=1.4, linestyle="--", label=f"threshold {threshold:.4g}"
        )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    # Outside the axes: a legend inside would hide some of the bars.
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=1.4,
        columnspacing=1.2,
    )
    return figure


def _labels_and_scores(image_scores: pd.DataFrame, category: str) -> tuple[np.ndarray, np.ndarray]:
    """The labels, int64 [n], and scores, float64 [n], of a table of image scores."""
    labels = image_scores["label"].to_numpy(np.int64)
    scores = image_scores["score"].to_numpy(np.float64)
    if not np.isfinite(scores).all():
        raise ValueError(f"{category}: an image score is not a finite number")
    return labels, scores
