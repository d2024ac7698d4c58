"""A metric against a parameter, category by category, as in the paper's Fig. 7."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from uniformaly_pipeline.evaluation.metrics import metric_label
from uniformaly_pipeline.reporting.figures.style import COLOURS, INK, MARKERS, new_figure
from uniformaly_pipeline.reporting.figures.sweeps import AXIS_NAMES

LABELS_APART = 1.25
"""Least ratio of neighbouring values that both get a label."""

_LINES = ("-", "--", "-.", ":")


def category_curves(table: pd.DataFrame, metric: str, parameter: str) -> Figure:
    """Draw a metric against a parameter, a thin line per category and a bold mean.

    Args:
        table: A row per category and value: ``category``, ``parameter``, ``value`` (the text of a
            number above 0) and ``<metric>``, 0..1. Several rows of one category and value, such
            as draws, are averaged.
        metric: Metric to draw.
        parameter: The dotted key whose rows are drawn.

    Returns:
        The figure, with a logarithmic axis. The mean at a value is over the categories that have
        a value there.
    """
    rows = table[table["parameter"] == parameter].assign(value=lambda of: of["value"].astype(float))
    curves = rows.pivot_table(metric, index="value", columns="category", sort=True)
    figure, axes = new_figure("")
    for number, (category, curve) in enumerate(curves.items()):
        known = curve.dropna()
        axes.plot(
            known.index, known, label=str(category), linewidth=0.9, markersize=3.5,
            color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)],
            linestyle=_LINES[number % len(_LINES)],
        )  # fmt: skip
    mean = curves.mean(axis=1)
    axes.plot(mean.index, mean, "o-", color="black", linewidth=2.8, markersize=5, label="mean")
    axes.set_title(f"bold: mean of {curves.shape[1]} categories", fontsize=9, loc="left", color=INK)
    axes.set(xlabel=AXIS_NAMES.get(parameter, parameter), ylabel=metric_label(metric))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xscale("log")
    labelled = [curves.index[0]]
    for value in curves.index[1:]:
        if value >= LABELS_APART * labelled[-1]:
            labelled.append(value)
    texts = [f"{value:g}" for value in labelled]
    axes.set_xticks(labelled, texts, rotation=45, ha="right", rotation_mode="anchor")
    axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    # Names take the room of a few rows: the curves keep theirs.
    figure.set_figheight(figure.get_figheight() + 0.17 * (curves.shape[1] // 3 + 1))
    return figure
