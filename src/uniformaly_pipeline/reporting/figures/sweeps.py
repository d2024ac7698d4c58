"""Metrics against a parameter, as in the paper's Fig. 6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.metrics import metric_label
from uniformaly_pipeline.reporting.figures.style import COLOURS, MARKERS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS_NAMES = {
    "scoring.top_k_ratio": "top-k ratio",
    "bpm.kernel_size": "smoothing kernel (patches)",
    "bpm.threshold": "masking threshold",
    "bpm.mode": "masking mode",
    "memory_bank.coreset_ratio": "coreset ratio",
    "backbone.layers": "blocks",
    "layers": "blocks",
    "lowshot.shots": "normal images",
    "scoring.method": "method",
    "clustering.features": "patches that stand for an image",
}
LOGARITHMIC_FROM = 20
"""Ratio of the largest to the smallest value from which the axis is logarithmic."""

# Colours, markers and line styles have no common factor: combinations repeat late.
_LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_NOTHING = "nothing to show"
_AXIS_INCHES = 2.9
_CHARACTER_INCHES = 0.075
_ROTATED_INCHES = 0.17
_DODGE = 0.12


@dataclass(frozen=True)
class _Scale:
    """Where the values of a parameter lie on the axis.

    Attributes:
        places: Place of each value, by its text, in the order of the axis.
        is_numeric: Whether places are the values themselves.
        is_ordered: Whether values follow on each other, so that a line between them means
            something: "1, 2, 5, all" do, "binary, soft" do not.
    """

    places: dict[str, float]
    is_numeric: bool
    is_ordered: bool

    @property
    def is_logarithmic(self) -> bool:
        """Whether numbers span so much that small ones would be crowded together."""
        low, high = min(self.places.values()), max(self.places.values())
        return self.is_numeric and low > 0 and high / low >= LOGARITHMIC_FROM


def sweep_figure(table: pd.DataFrame, parameter: str, metrics: Sequence[str]) -> Figure:
    """Draw mean metrics against the values of a parameter, with their deviation.

    Numbers stand on a numeric axis, logarithmic if they span a factor of 20 or more; values of
    which one is a word stand side by side.

    Args:
        table: A row per value: ``parameter``, ``value`` (text), and per metric ``<metric>``, at
            most 1, and ``<metric>_std``; undefined metrics are NaN.
        parameter: The dotted key whose rows are drawn.
        metrics: Metrics to draw, a curve each.

    Returns:
        The figure; where there is nothing to draw it says so.
    """
    rows = _rows(table, parameter)
    shown = [metric for metric in metrics if metric in rows and rows[metric].notna().any()]
    figure, axes = _new_axes(parameter)
    if not shown:
        return _say_nothing(figure, axes)
    scale = _scale(rows["value"])
    rows = rows.iloc[np.argsort(rows["value"].map(scale.places), kind="stable")]
    for number, metric in enumerate(shown):
        mean = rows[metric].to_numpy(float)
        std = np.zeros_like(mean)
        if f"{metric}_std" in rows:
            std = rows[f"{metric}_std"].fillna(0).to_numpy(float)
        style = {"color": _cycled(COLOURS, number), "linewidth": 1.6, "markersize": 5}
        style |= {"marker": _cycled(MARKERS, number), "label": metric_label(metric)}
        style |= {"linestyle": _cycled(_LINES, number) if scale.is_ordered else "none"}
        places = rows["value"].map(scale.places).to_numpy(float)
        # No metric exceeds 1: neither does its band.
        above = np.clip(1.0 - mean, 0, std)
        if scale.is_numeric and len(rows) > 1:
            axes.plot(places, mean, **style)
            axes.fill_between(
                places, mean - std, mean + above, color=style["color"], alpha=0.15, linewidth=0
            )
        else:
            # Side by side, so that the bars of one metric do not hide those of another.
            aside = _DODGE * (number - (len(shown) - 1) / 2) * (not scale.is_numeric)
            errors = np.stack([std, above])
            axes.errorbar(places + aside, mean, errors, capsize=3, elinewidth=1, **style)
    _finish(axes, scale, shown)
    if len(shown) > 1:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _rows(table: pd.DataFrame, parameter: str) -> pd.DataFrame:
    if "parameter" not in table:
        return pd.DataFrame()
    return table[table["parameter"] == parameter].assign(value=lambda rows: rows["value"].map(str))


def _new_axes(parameter: str) -> tuple[Figure, Axes]:
    figure, axes = new_figure("")
    axes.set_xlabel(AXIS_NAMES.get(parameter, parameter), parse_math=False)
    return figure, axes


def _say_nothing(figure: Figure, axes: Axes) -> Figure:
    axes.text(0.5, 0.5, _NOTHING, ha="center", color="#333333", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
    return figure


def _cycled(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]


def _number(value: str) -> float | None:
    """The finite number that a text stands for; None for words."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _scale(values: Sequence[str]) -> _Scale:
    """Numbers at their own places, ascending; with a word among them all stand side by side."""
    texts = list(dict.fromkeys(values))
    numbers = {text: number for text in texts if (number := _number(text)) is not None}
    if len(numbers) == len(texts):
        ascending = dict(sorted(numbers.items(), key=lambda pair: pair[1]))
        return _Scale(ascending, is_numeric=True, is_ordered=True)
    places = {text: float(place) for place, text in enumerate(texts)}
    return _Scale(places, is_numeric=False, is_ordered=bool(numbers))


def _finish(axes: Axes, scale: _Scale, metrics: Sequence[str]) -> None:
    """Scale, ticks and names of the axes."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    axes.set_ylabel(metric_label(metrics[0]) if len(metrics) == 1 else "metric")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if scale.is_logarithmic:
        axes.set_xscale("log")
    if not scale.is_numeric:
        axes.set_xlim(-0.5, len(scale.places) - 0.5)
    labelled, is_rotated = _labels_that_fit(scale)
    axes.set_xticks(
        [scale.places[text] for text in labelled],
        [f"{scale.places[text]:g}" if scale.is_numeric else text for text in labelled],
        rotation=45 if is_rotated else 0,
        ha="right" if is_rotated else "center",
        rotation_mode="anchor",
        parse_math=False,
    )
    axes.xaxis.set_minor_locator(FixedLocator(list(scale.places.values())))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _labels_that_fit(scale: _Scale) -> tuple[list[str], bool]:
    """The values to label so that labels do not overlap, and whether these must be slanted."""
    texts = list(scale.places)
    places = np.array(list(scale.places.values()))
    if scale.is_logarithmic:
        places = np.log(places)
    span = (float(np.ptp(places)) or 1.0) if scale.is_numeric else float(len(texts))
    inches = (places - places[0]) / span * _AXIS_INCHES
    widths = np.array([(len(text) + 1) * _CHARACTER_INCHES for text in texts])
    if (np.diff(inches) >= (widths[1:] + widths[:-1]) / 2).all():
        return texts, False
    kept = [0]
    for position in range(1, len(texts)):
        if inches[position] - inches[kept[-1]] >= _ROTATED_INCHES:
            kept.append(position)
    # Both ends of the range are told.
    kept[-1] = len(texts) - 1
    return [texts[position] for position in kept], True
