"""Nodes that draw interactive figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from uniformaly_pipeline.reporting.figures.interactive import (
    all_roc_curves,
    all_score_plots,
    roc_plot,
    score_plot,
    settings_plot,
)

Plot = Any
"""A plotly figure: Kedro reads type hints as it starts, and importing plotly takes a while."""


def draw_plots(
    image_scores: pd.DataFrame, metrics: dict[str, Any], category: str
) -> tuple[Plot, Plot]:
    """A category's ROC curve and score histogram, to hover over."""
    return (
        roc_plot(image_scores, category),
        score_plot(image_scores, category, metrics["threshold"]),
    )


def collect_plots(*plots: Plot, categories: Sequence[str]) -> tuple[Plot, Plot]:
    """All categories' ROC curves in one figure, and their score histograms in another.

    Args:
        plots: First the ROC curves, then the histograms, in the order of ``categories``.
        categories: Names of the categories.
    """
    number = len(categories)
    return (
        all_roc_curves(dict(zip(categories, plots[:number], strict=True))),
        all_score_plots(dict(zip(categories, plots[number:], strict=True))),
    )


def draw_settings(settings: pd.DataFrame) -> Plot:
    """Figures of merit against each parameter under study, to hover over."""
    return settings_plot(settings)
