"""Scores as vector graphics for the report: histogram, ROC curve and precision-recall curve.

Only places and texts are computed here, in the units of the drawing; the template draws them, so
that the page's style sheet chooses the colours, light or dark, and its script can move the mark of
the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_MAX_POINTS = 300
"""Points of a curve: more cannot be seen at this size."""

_MARGIN = 0.02
"""Share of the scores' range on either side, so that a threshold can be beyond all scores."""


@dataclass(frozen=True)
class Frame:
    """A chart's size and the place of its plot, in units of the drawing, y downwards.

    Attributes:
        width: Of the whole chart.
        height: Of the whole chart.
        left: Place of the plot's left edge.
        right: Place of its right edge.
        top: Place of its upper edge.
        bottom: Place of its lower edge, where the x axis is.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


HISTOGRAM_FRAME = Frame(width=440, height=236, left=44, right=430, top=10, bottom=196)
CURVE_FRAME = Frame(width=250, height=236, left=42, right=240, top=10, bottom=196)


@dataclass(frozen=True)
class Chart:
    """A chart to draw.

    Attributes:
        frame: Its size and the place of the plot.
        low: x at the left edge of the plot.
        high: x at its right edge.
        x_label: What x is.
        y_label: What y is.
        x_ticks: Place and text of each mark on the x axis.
        y_ticks: Place and text of each mark on the y axis.
        shapes: SVG path by its class in the style sheet.
    """

    frame: Frame
    low: float
    high: float
    x_label: str
    y_label: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    shapes: dict[str, str]

    def x(self, value: float) -> float:
        """Place of a value on the x axis."""
        return _axis(self.low, self.high, self.frame.left, self.frame.right)(value)

    def y(self, share: float) -> float:
        """Place of a share, 0..1, on the y axis of a curve."""
        return _axis(0, 1, self.frame.bottom, self.frame.top)(share)


def score_range(scores: np.ndarray) -> tuple[float, float]:
    """The scores' range with a margin: from "all anomalous" to "all normal".

    Example:
        >>> score_range(np.array([0.0, 100.0]))
        (-2.0, 102.0)
    """
    if len(scores) == 0:
        return 0.0, 1.0
    low, high = float(scores.min()), float(scores.max())
    margin = _MARGIN * (high - low or abs(high) or 1.0)
    return low - margin, high + margin


def nice_step(low: float, high: float, steps: int = 200) -> float:
    """A step of 1, 2 or 5 times a power of ten that takes about ``steps`` from low to high.

    Example:
        >>> nice_step(0.0, 100.0), nice_step(0.0, 0.003)
        (0.5, 1e-05)
    """
    wanted = (high - low) / steps
    power = 10.0 ** np.floor(np.log10(wanted))
    factor = max(factor for factor in (1, 2, 5) if factor * power <= wanted * (1 + 1e-9))
    return float(f"{factor * power:.0e}")


def histogram_chart(labels: np.ndarray, scores: np.ndarray, groups: str = "class") -> Chart:
    """How the scores of normal and of anomalous images are distributed.

    Bars show the share of each class's images, so a small class stays visible beside a large one.

    Args:
        labels: int [n], 0 normal, 1 anomalous.
        scores: float [n].
        groups: What a bar is a share of, as the axis says.

    Raises:
        ValueError: A score is not finite.
    """
    low, high = score_range(scores)
    frame = HISTOGRAM_FRAME
    edges = np.histogram_bin_edges(scores, bins=int(np.clip(np.sqrt(len(scores)), 10, 40)))
    shares = {
        name: np.histogram(of_class, edges)[0] / max(len(of_class), 1)
        for name, of_class in (("normal", scores[labels == 0]), ("anomalous", scores[labels == 1]))
    }
    top = max(*(float(share.max()) for share in shares.values()), 1e-9) * 1.05
    to_x, to_y = (
        _axis(low, high, frame.left, frame.right),
        _axis(0, top, frame.bottom, frame.top),
    )
    return Chart(
        frame,
        low,
        high,
        "image score",
        f"share of the {groups}",
        _ticks(low, high, to_x, "{:g}"),
        [(place, f"{float(text):.0%}") for place, text in _ticks(0, top, to_y, "{:g}")],
        {name: _bars(edges, share, to_x, to_y) for name, share in shares.items()},
    )


def roc_chart(labels: np.ndarray, scores: np.ndarray) -> Chart:
    """The ROC curve of the images.

    Args:
        labels: int [n], 0 normal, 1 anomalous; both must be there.
        scores: float [n].
    """
    from sklearn.metrics import roc_curve

    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores)
    return _curve_chart(
        "false positive rate",
        "recall",
        _line(np.column_stack([false_positive_rate, true_positive_rate])),
        _line(np.array([[0, 0], [1, 1]])),
    )


def precision_recall_chart(labels: np.ndarray, scores: np.ndarray) -> Chart:
    """The precision-recall curve of the images.

    Args:
        labels: int [n], 0 normal, 1 anomalous; both must be there.
        scores: float [n].
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
    chance = float(np.mean(labels == 1))
    return _curve_chart(
        "recall",
        "precision",
        _line(np.column_stack([recall, precision])),
        _line(np.array([[0, chance], [1, chance]])),
    )


def _curve_chart(x_label: str, y_label: str, curve: str, chance: str) -> Chart:
    frame = CURVE_FRAME
    to_x, to_y = _axis(0, 1, frame.left, frame.right), _axis(0, 1, frame.bottom, frame.top)
    return Chart(
        frame,
        0.0,
        1.0,
        x_label,
        y_label,
        _ticks(0, 1, to_x, "{:.1f}"),
        _ticks(0, 1, to_y, "{:.1f}"),
        {"chance": chance, "curve": curve},
    )


def _axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The map from values to places."""
    return lambda value: round(start + (value - low) / (high - low) * (end - start), 2)


def _ticks(
    low: float, high: float, to_place: Callable[[float], float], text: str
) -> list[tuple[float, str]]:
    """Round values within the range, five or so."""
    from matplotlib.ticker import MaxNLocator

    values = MaxNLocator(5).tick_values(low, high)
    room = 1e-9 * (high - low)
    return [
        # Adding nothing turns -0 into 0.
        (to_place(value), text.format(round(float(value), 12) + 0.0))
        for value in values
        if low - room <= value <= high + room
    ]


def _bars(
    edges: np.ndarray,
    shares: np.ndarray,
    to_x: Callable[[float], float],
    to_y: Callable[[float], float],
) -> str:
    """The outline of a histogram, closed along the x axis."""
    path = f"M{to_x(edges[0])},{to_y(0)}"
    for right, share in zip(edges[1:], shares, strict=True):
        path += f"V{to_y(share)}H{to_x(right)}"
    return path + f"V{to_y(0)}Z"


def _line(points: np.ndarray) -> str:
    """A line through points, shares 0..1 in x and y [n, 2]."""
    if len(points) > _MAX_POINTS:
        points = points[np.linspace(0, len(points) - 1, _MAX_POINTS).round().astype(int)]
    frame = CURVE_FRAME
    to_x, to_y = _axis(0, 1, frame.left, frame.right), _axis(0, 1, frame.bottom, frame.top)
    return "M" + "L".join(f"{to_x(x)},{to_y(y)}" for x, y in points)
