"""How the report names, writes and lays out figures of merit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

MISSING = "–"
"""Shown for a figure that is undefined, such as pixel AUROC without masks."""

_SUMMARY_ROWS = ("mean", "std")
_COLUMN_TITLES = {
    "category": "Category",
    "p_value": "p-value",
    "x": "x (px)",
    "y": "y (px)",
    "normal_image": "Nearest normal patch in",
}

Kind = Literal["figure", "difference", "rate", "count", "bytes", "plain"]


@dataclass(frozen=True)
class Metric:
    """How a metric of ``metrics.json`` is named and written.

    Attributes:
        key: Name in ``metrics.json``.
        group: Panel of the headline it belongs to; empty to keep it out of the headline.
        name: Name within the panel.
        label: Full name, for the leaderboard.
        kind: ``figure`` (0..1), ``difference`` of two figures, ``rate`` (1/s), ``count``,
            ``bytes`` or ``plain``.
    """

    key: str
    group: str
    name: str
    label: str
    kind: Kind = "figure"


_KNOWN_METRICS = (
    Metric("image_auroc", "Image level", "AUROC", "Image AUROC"),
    Metric("image_ap", "Image level", "AP", "Image AP"),
    Metric("image_f1_max", "Image level", "F1-max", "Image F1-max"),
    Metric("pixel_auroc", "Pixel level", "AUROC", "Pixel AUROC"),
    Metric("pixel_ap", "Pixel level", "AP", "Pixel AP"),
    Metric("pixel_f1_max", "Pixel level", "F1-max", "Pixel F1-max"),
    Metric("aupro", "Pixel level", "AUPRO", "AUPRO"),
    Metric("nmi", "Clusters", "NMI", "NMI"),
    Metric("ari", "Clusters", "ARI", "ARI"),
    Metric("f1", "Clusters", "F1", "F1"),
    Metric("num_clusters", "", "Clusters", "Clusters", "count"),
    Metric("images_per_second", "Cost", "Images/s", "Images/s", "rate"),
    Metric("bank_size", "Cost", "Bank size", "Bank size", "count"),
    Metric("bank_bytes", "Cost", "Bank memory", "Bank memory", "bytes"),
    Metric("num_train", "", "Train images", "Train images", "count"),
    Metric("num_test", "", "Test images", "Test images", "count"),
    # A mean of thresholds says nothing: squared distances differ in scale between categories.
    Metric("threshold", "", "Threshold", "Threshold", "plain"),
)


_METRIC_BY_KEY = {metric.key: metric for metric in _KNOWN_METRICS}
_KEY_ORDER = {metric.key: position for position, metric in enumerate(_KNOWN_METRICS)}


def metric_label(key: str) -> str:
    """The name of a metric within a sentence or a figure.

    Example:
        >>> metric_label("image_auroc"), metric_label("nmi")
        ('image AUROC', 'NMI')
    """
    label = _metric(key).label
    return label if label[1:2].isupper() or label[1:2].isdigit() else label[:1].lower() + label[1:]


def leaderboard_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Lay the metrics of a run out as a table.

    Args:
        metrics: As in ``metrics.json``: ``mean`` and ``std`` map a metric to a number or None,
            ``categories`` maps a category to such a map.

    Returns:
        A row per category in the given order, then the rows ``mean`` and ``std``; column
        ``category``, then a column per metric: the known ones first, in a fixed order, then any
        others. Undefined figures are NaN. Lists and maps (curves) are left out.
    """
    per_category: Mapping[str, Mapping[str, Any]] = metrics["categories"]
    rows = [{"category": name, **figures} for name, figures in per_category.items()]
    rows += [{"category": name, **metrics.get(name, {})} for name in _SUMMARY_ROWS]
    keys = _ordered_keys(rows)
    table = pd.DataFrame(
        [[row["category"], *(row.get(key) for key in keys)] for row in rows],
        columns=["category", *keys],
    )
    texts = {key for key in keys if any(isinstance(row.get(key), str) for row in rows)}
    return table.astype({key: float for key in keys if key not in texts})


def _ordered_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics found in any row, known ones first; keys whose values are not scalar are left out."""
    found = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key != "category" and not isinstance(value, Mapping | list | tuple)
    )
    return sorted(found, key=lambda key: _KEY_ORDER.get(key, len(_KEY_ORDER)))


def _metric(key: str) -> Metric:
    """The description of a metric; an unknown one is named after its key."""
    prefix, _, of = key.partition("_")
    if prefix in {"paper", "difference"}:
        kind: Kind = "figure" if prefix == "paper" else "difference"
        label = f"{_metric(of).label}, {prefix}" if of else prefix.capitalize()
        return Metric(key, "", label, label, kind)
    name = key[:1].upper() + key[1:].replace("_", " ")
    return _METRIC_BY_KEY.get(key) or Metric(key, "Other", name, name, "plain")


def headline(
    metrics: Mapping[str, Any], leaderboard: pd.DataFrame | None
) -> dict[str, list[dict[str, Any]]]:
    """The headline: for each group the name, mean and spread of its metrics, written out."""
    paper = _paper_means(leaderboard)
    mean, std = metrics.get("mean", {}), metrics.get("std", {})
    several = len(metrics["categories"]) > 1
    panels: dict[str, list[dict[str, Any]]] = {}
    for key in _ordered_keys([mean]):
        metric = _metric(key)
        # Without masks there is no pixel figure at all: a panel of dashes says nothing.
        if not metric.group or _undefined(metric.group, mean):
            continue
        spread = format_figure(std.get(key), metric.kind)
        panel = panels.setdefault(metric.group, [])
        panel.append(
            {
                # The first figure of a panel is set large; counts and costs are not.
                "lead": not panel and metric.kind == "figure",
                "name": metric.name,
                "mean": format_figure(mean[key], metric.kind),
                "std": spread if several and spread != MISSING else "",
                "paper": format_figure(paper[key], "figure") if key in paper else "",
            }
        )
    return panels


def _undefined(group: str, mean: Mapping[str, Any]) -> bool:
    """Whether none of a panel's metrics is defined."""
    return all(pd.isna(value) for key, value in mean.items() if _metric(key).group == group)


def _paper_means(leaderboard: pd.DataFrame | None) -> dict[str, float]:
    """The paper's mean figures by metric, where the leaderboard has them."""
    if leaderboard is None or "mean" not in set(leaderboard["category"]):
        return {}
    mean = leaderboard.set_index("category").loc["mean"]
    columns = list(leaderboard.columns)
    found = {}
    for column in columns:
        if column == "paper":  # stands right after the metric it is of
            found[columns[columns.index(column) - 1]] = mean[column]
        elif column.startswith("paper_"):
            found[column.removeprefix("paper_")] = mean[column]
    return {key: float(value) for key, value in found.items() if not pd.isna(value)}


def table_view(table: pd.DataFrame) -> dict[str, Any]:
    """A table as texts with values to sort by: header, body and an empty foot."""
    values = {str(key): table.iloc[:, i].tolist() for i, key in enumerate(table.columns)}
    spreads = {f"{key}_std" for key in list(values)[1:]}
    shown = [key for key in values if key not in spreads]
    is_text = {key: any(isinstance(value, str) for value in values[key]) for key in shown}
    body = [
        [
            {
                "text": format_figure(values[key][row], _metric(key).kind),
                "spread": _spread(values.get(f"{key}_std"), row, _metric(key).kind),
                "value": _sort_value(values[key][row]),
                "is_text": is_text[key],
            }
            for key in shown
        ]
        for row in range(len(table))
    ]
    # A narrow heading breaks between words, not within "F1-max".
    labels = [
        _COLUMN_TITLES.get(key, _metric(key).label).replace("-", "\N{NON-BREAKING HYPHEN}")
        for key in shown
    ]
    header = [
        {"label": label, "is_text": is_text[key]} for key, label in zip(shown, labels, strict=True)
    ]
    return {"header": header, "body": body, "foot": []}


def _spread(deviations: Sequence[Any] | None, row: int, kind: Kind) -> str:
    """A deviation to show after its figure; nothing where there is none."""
    text = MISSING if deviations is None else format_figure(deviations[row], kind)
    return "" if text == MISSING else text


def leaderboard_view(leaderboard: pd.DataFrame) -> dict[str, Any]:
    """The leaderboard as a view of a table; rows ``mean`` and ``std`` at its end are its foot."""
    defined = leaderboard.columns[leaderboard.notna().any()]
    ordered = ["category", *(column for column in defined if column != "category")]
    view = table_view(leaderboard[ordered])
    if tuple(leaderboard["category"].iloc[-2:]) == _SUMMARY_ROWS:
        view |= {"body": view["body"][:-2], "foot": view["body"][-2:]}
    return view


def glossary(leaderboard: pd.DataFrame | None) -> set[str]:
    """Terms that the glossary explains only where the leaderboard has them."""
    columns = set() if leaderboard is None else set(map(str, leaderboard.columns))
    terms = columns & {"nmi", "ari", "f1"}
    return terms | ({"paper"} if any(name.startswith("paper") for name in columns) else set())


def format_figure(value: Any, kind: Kind = "plain") -> str:
    """Write a metric's value; None and NaN become a dash."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return MISSING
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if kind == "figure":
        return f"{number:.3f}"
    if kind == "difference":
        # A true minus sign, as wide as the plus; what rounds to nothing has no sign.
        text = f"{number:+.3f}".replace("-", "\N{MINUS SIGN}")
        return text[1:] if float(text[1:]) == 0 else text
    if kind == "rate":
        return f"{number:.1f}"
    if kind == "count":
        return f"{number:,.0f}"
    if kind == "bytes":
        return _as_bytes(number)
    return general(number)


def general(number: float) -> str:
    """Write a number of unknown scale: whole numbers in full, others to four digits."""
    if float(number).is_integer():
        return f"{number:,.0f}"
    return f"{number:.4g}" if 1e-3 <= abs(number) < 1e4 else f"{number:.3g}"


def _as_bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _sort_value(value: Any) -> str:
    """What a column is sorted by: words, a number as text, or nothing if it is undefined."""
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else repr(float(value))
