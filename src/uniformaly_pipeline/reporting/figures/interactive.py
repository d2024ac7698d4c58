"""Figures to hover over, for Kedro-Viz: score histogram, ROC curve, metrics against a parameter.

They show the same as the pictures in :mod:`.style` and :mod:`.sweeps`. Plotly is imported
where it is used: it takes a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.metrics import BRIEF_METRICS, metric_label
from uniformaly_pipeline.reporting.figures.style import ANOMALOUS_COLOUR, COLOURS, NORMAL_COLOUR
from uniformaly_pipeline.reporting.figures.sweeps import AXIS_NAMES

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

GREY = "#888888"
"""Visible on Kedro-Viz's light and dark ground."""

_COLOURS = COLOURS[:5]
_DASHES = ("solid", "dash", "dot", "dashdot")
_MENU = {"x": 1, "xanchor": "right", "y": 1.16, "yanchor": "top"}
_MARKERS = ("circle", "square", "triangle-up", "diamond", "x")


def roc_plot(image_scores: pd.DataFrame, category: str) -> Figure:
    """The image-level ROC curve; hovering tells the threshold at each point.

    Args:
        image_scores: A row per test image; columns ``label`` (0 normal, 1 anomalous) and
            ``score``.
        category: Name for the title.

    Returns:
        The figure; where one class is missing the title says so in place of a curve.
    """
    labels, scores = image_scores["label"].to_numpy(), image_scores["score"].to_numpy(float)
    axes = {"range": [-0.02, 1.02], "zeroline": False}
    layout = {
        "xaxis": {"title": {"text": "false positive rate"}, **axes},
        "yaxis": {"title": {"text": "true positive rate"}, **axes},
        "showlegend": False,
    }
    if len(np.unique(labels)) < 2:
        return _figure(f"{category}: no ROC curve, all test images are of one kind", [], layout)
    from sklearn.metrics import roc_auc_score, roc_curve

    false_rate, true_rate, thresholds = roc_curve(labels, scores)
    curve = {
        "type": "scatter",
        "x": false_rate.tolist(),
        "y": true_rate.tolist(),
        # The curve begins above the highest score, which JSON cannot express as infinity.
        "text": [f"{value:.4g}" if np.isfinite(value) else "none" for value in thresholds],
        "mode": "lines+markers",
        "line": {"color": NORMAL_COLOUR, "width": 2},
        "marker": {"size": 5},
        "hovertemplate": "found %{y:.1%}, false alarms %{x:.1%}, threshold %{text}<extra></extra>",
    }
    chance = {
        "type": "scatter", "x": [0, 1], "y": [0, 1], "mode": "lines", "hoverinfo": "skip",
        "line": {"color": GREY, "width": 1, "dash": "dot"},
    }  # fmt: skip
    auroc = roc_auc_score(labels, scores)
    return _figure(f"{category}: ROC curve, AUROC {auroc:.3f}", [chance, curve], layout)


def score_plot(image_scores: pd.DataFrame, category: str, threshold: float | None) -> Figure:
    """How the image scores of normal and of anomalous images are distributed.

    Args:
        image_scores: As for :func:`roc_plot`.
        category: Name for the title.
        threshold: Score at and above which an image is called anomalous; None if undefined.

    Returns:
        The figure; bars show the share of each class's images, hovering tells their number.
    """
    scores = image_scores["score"].to_numpy(float)
    edges = np.histogram_bin_edges(scores, bins=int(np.clip(np.sqrt(len(scores)), 10, 40)))
    traces = []
    kinds = (("normal", NORMAL_COLOUR, ""), ("anomalous", ANOMALOUS_COLOUR, "/"))
    for label, (name, colour, pattern) in enumerate(kinds):
        of_class = scores[image_scores["label"].to_numpy() == label]
        counts = np.histogram(of_class, edges)[0]
        traces.append(
            {
                "type": "bar",
                "name": f"{name} ({len(of_class)})",
                "x": ((edges[:-1] + edges[1:]) / 2).tolist(),
                "width": np.diff(edges).tolist(),
                "y": (counts / max(len(of_class), 1)).tolist(),
                "text": counts.tolist(),
                "textposition": "none",
                "opacity": 0.6,
                # The pattern tells the classes apart without colour.
                "marker": {"color": colour, "pattern": {"shape": pattern}},
                "hovertemplate": "%{text} images, score about %{x:.4g}<extra>" + name + "</extra>",
            }
        )
    layout: dict[str, Any] = {
        "barmode": "overlay",
        "bargap": 0,
        "xaxis": {"title": {"text": "image score"}},
        "yaxis": {"title": {"text": "share of the class"}, "tickformat": ".0%"},
    }
    if threshold is not None:
        layout |= _threshold_line(threshold)
    return _figure(f"{category}: image scores", traces, layout)


def all_roc_curves(plots: Mapping[str, Figure]) -> Figure:
    """The ROC curves of all categories in one figure.

    Args:
        plots: What :func:`roc_plot` made, by category.
    """
    drawn = {name: plot.data for name, plot in plots.items() if len(plot.data)}
    chance = [plots[name].data[0].to_plotly_json() for name in list(drawn)[:1]]
    curves = [
        {
            **data[-1].to_plotly_json(),
            "name": _escaped(name),
            "line": {"color": _COLOURS[number % len(_COLOURS)], "dash": _DASHES[number % 4]},
            "hovertemplate": data[-1].hovertemplate.replace("<extra></extra>", "")
            + f"<extra>{_escaped(name)}</extra>",
        }
        for number, (name, data) in enumerate(drawn.items())
    ]
    any_plot = next(iter(plots.values())).layout.to_plotly_json()
    layout = {"xaxis": any_plot["xaxis"], "yaxis": any_plot["yaxis"], "showlegend": True}
    for trace in chance:
        trace["showlegend"] = False
    return _figure("ROC curves of all categories", chance + curves, layout)


def all_score_plots(plots: Mapping[str, Figure]) -> Figure:
    """The score histograms of all categories in one figure; a menu chooses the category.

    Args:
        plots: What :func:`score_plot` made, by category.
    """
    traces, buttons = [], []
    first = next(iter(plots))
    for name, plot in plots.items():
        traces += [{**bars.to_plotly_json(), "visible": name == first} for bars in plot.data]
        layout = plot.layout.to_plotly_json()
        changed = {
            "title.text": layout["title"]["text"],
            "shapes": layout.get("shapes", []),
            "annotations": layout.get("annotations", []),
        }
        visible = [name == other for other, bars in plots.items() for _ in bars.data]
        buttons.append(
            {"label": _escaped(name), "method": "update", "args": [{"visible": visible}, changed]}
        )
    layout = plots[first].layout.to_plotly_json()
    if len(plots) > 1:
        layout["updatemenus"] = [{**_MENU, "buttons": buttons}]
    return _figure("", traces, layout)


def sweep_plot(sweep_metrics: pd.DataFrame) -> Figure:
    """Mean metrics against each parameter under study; a menu chooses the parameter.

    Args:
        sweep_metrics: See :func:`.sweep.summarise_sweep`.

    Returns:
        The figure; error bars are the deviation over categories or draws.
    """
    parameters = list(sweep_metrics["parameter"].unique())
    traces, owners = [], []
    for parameter in parameters:
        rows = sweep_metrics[sweep_metrics["parameter"] == parameter]
        for trace in _curves(rows):
            traces.append({**trace, "visible": parameter == parameters[0]})
            owners.append(parameter)
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": _axis_name(parameters[0])}, "type": "category"},
        "yaxis": {"title": {"text": "metric"}},
    }
    if len(parameters) > 1:
        layout["updatemenus"] = [_menu(parameters, owners)]
    return _figure("Metrics, mean and deviation", traces, layout)


def _curves(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A curve per metric that is defined; values stand side by side, evenly."""
    for number, name in enumerate(BRIEF_METRICS):
        if name not in rows or rows[name].isna().all():
            continue
        known = rows.dropna(subset=[name])
        colour = _COLOURS[number % len(_COLOURS)]
        yield {
            "type": "scatter",
            "name": metric_label(name),
            "x": [str(value) for value in known["value"]],
            "y": known[name].tolist(),
            "error_y": {"array": known[f"{name}_std"].fillna(0).tolist(), "thickness": 1},
            "mode": "lines+markers",
            "line": {"color": colour},
            "marker": {"symbol": _MARKERS[number % len(_MARKERS)], "size": 8},
            "hovertemplate": "%{x}: %{y:.4f}<extra>" + metric_label(name) + "</extra>",
        }


def _menu(parameters: Sequence[str], owners: Sequence[str]) -> dict[str, Any]:
    """A menu that shows the curves of one parameter and hides the others."""
    buttons = [
        {
            "label": _axis_name(parameter),
            "method": "update",
            "args": [
                {"visible": [owner == parameter for owner in owners]},
                {"xaxis.title.text": _axis_name(parameter)},
            ],
        }
        for parameter in parameters
    ]
    return {**_MENU, "buttons": buttons}


def _axis_name(parameter: str) -> str:
    return AXIS_NAMES.get(parameter, parameter)


def _threshold_line(threshold: float) -> dict[str, Any]:
    line = {"color": GREY, "width": 2, "dash": "dash"}
    place = {"x0": threshold, "x1": threshold, "y0": 0, "y1": 1, "yref": "paper"}
    return {
        "shapes": [{"type": "line", "line": line, **place}],
        "annotations": [
            {"x": threshold, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False,
             "text": f"threshold {threshold:.4g}"}
        ],
    }  # fmt: skip


def _figure(title: str, traces: list[dict[str, Any]], layout: dict[str, Any]) -> Figure:
    from plotly.graph_objects import Figure

    # Plotly's own template would be ten times the figure, and Kedro-Viz brings its colours.
    legend = {"orientation": "h", "x": 0, "y": -0.25}
    title_of = {"text": _escaped(title), "x": 0.02, "font": {"size": 14}}
    common = {"template": "none", "title": title_of, "legend": legend}
    return Figure(data=traces, layout=common | layout)


def _escaped(text: str) -> str:
    """Text in which plotly finds no markup: category names are folder names."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
