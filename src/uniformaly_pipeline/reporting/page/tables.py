"""How the report names, writes and lays out metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from uniformaly_pipeline.evaluation.leaderboard import (
    SUMMARY_ROWS,
    hardest_rows,
    ordered_keys,
    partial_means,
)
from uniformaly_pipeline.evaluation.metrics import Kind, find_metric

MISSING = "–"
"""Shown for a metric that is undefined, such as pixel AUROC without masks."""

MOST_ROWS = 1000
"""Rows of a table of categories: each takes up to 2 kB of the page."""

_COLUMN_TITLES = {
    "category": "Category",
    "p_value": "p-value",
    "x": "x (px)",
    "y": "y (px)",
    "normal_image": "Nearest normal patch in",
}


def headline(
    metrics: Mapping[str, Any], leaderboard: pd.DataFrame | None
) -> dict[str, list[dict[str, Any]]]:
    """The headline: for each group the name, mean and spread of its metrics, written out.

    ``of`` is the number of categories that a mean is over, where some lack the metric.
    """
    paper = _paper_means(leaderboard)
    partial = {} if leaderboard is None else partial_means(leaderboard)
    mean, std = metrics.get("mean", {}), metrics.get("std", {})
    several = len(metrics["categories"]) > 1
    panels: dict[str, list[dict[str, Any]]] = {}
    for key in ordered_keys([mean]):
        metric = find_metric(key)
        # Without masks there is no pixel metric at all: a panel of dashes says nothing.
        if not metric.group or _undefined(metric.group, mean):
            continue
        spread = format_metric(std.get(key), metric.kind)
        panel = panels.setdefault(metric.group, [])
        panel.append(
            {
                # The first metric of a panel is set large; counts and costs are not.
                "lead": not panel and metric.kind == "ratio",
                "name": metric.name,
                "mean": format_metric(mean[key], metric.kind),
                "of": partial.get(key),
                "std": spread if several and spread != MISSING else "",
                "paper": format_metric(paper[key], "ratio") if key in paper else "",
            }
        )
    return panels


def _undefined(group: str, mean: Mapping[str, Any]) -> bool:
    """Whether none of a panel's metrics is defined."""
    return all(pd.isna(value) for key, value in mean.items() if find_metric(key).group == group)


def _paper_means(leaderboard: pd.DataFrame | None) -> dict[str, float]:
    """The paper's means by metric, where the leaderboard has them."""
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
    merged = {f"{key}_{of}" for key in list(values)[1:] for of in ("std", "count")}
    shown = [key for key in values if key not in merged]
    is_text = {key: any(isinstance(value, str) for value in values[key]) for key in shown}
    body = [
        [
            {
                "text": format_metric(values[key][row], find_metric(key).kind),
                "spread": _spread(values.get(f"{key}_std"), row, find_metric(key).kind),
                "value": _sort_value(values[key][row]),
                "is_text": is_text[key],
                "of": (values[f"{key}_count"][row] or None) if f"{key}_count" in values else None,
            }
            for key in shown
        ]
        for row in range(len(table))
    ]
    # A narrow heading breaks between words, not within "F1-max".
    labels = [
        _COLUMN_TITLES.get(key, find_metric(key).label).replace("-", "\N{NON-BREAKING HYPHEN}")
        for key in shown
    ]
    header = [
        {"label": label, "is_text": is_text[key]} for key, label in zip(shown, labels, strict=True)
    ]
    return {"header": header, "body": body, "foot": []}


def _spread(deviations: Sequence[Any] | None, row: int, kind: Kind) -> str:
    """A deviation to show after its mean; nothing where there is none."""
    text = MISSING if deviations is None else format_metric(deviations[row], kind)
    return "" if text == MISSING else text


def leaderboard_view(leaderboard: pd.DataFrame) -> dict[str, Any]:
    """The leaderboard as a view of a table; rows ``mean`` and ``std`` at its end are its foot.

    Of more than :data:`MOST_ROWS` categories the hardest are shown.
    """
    defined = leaderboard.columns[leaderboard.notna().any()]
    ordered = ["category", *(column for column in defined if column != "category")]
    view = table_view(hardest_rows(leaderboard, MOST_ROWS)[ordered])
    if tuple(leaderboard["category"].iloc[-2:]) == SUMMARY_ROWS:
        view |= {"body": view["body"][:-2], "foot": view["body"][-2:]}
        partial = partial_means(leaderboard)
        for key, cell in zip(ordered, view["foot"][0], strict=True):
            cell["of"] = partial.get(key)
    return view


def glossary(leaderboard: pd.DataFrame | None) -> set[str]:
    """Terms that the glossary explains only where the leaderboard has them."""
    columns = set() if leaderboard is None else set(map(str, leaderboard.columns))
    terms = columns & {"nmi", "ari", "f1", "covering_radius", "false_positive_rate"}
    return terms | ({"paper"} if any(name.startswith("paper") for name in columns) else set())


def format_metric(value: Any, kind: Kind = "plain") -> str:
    """Write a metric's value; None and NaN become a dash."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return MISSING
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if kind == "ratio":
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
