"""The table of metrics that a task ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from uniformaly_pipeline.evaluation.metrics import METRIC_ORDER

SUMMARY_ROWS = ("mean", "std")

MANY_CATEGORIES = 100
"""Above so many categories a node works on a chunk of them, the report and the tracking show the
hardest ones, and a table has the rest."""


def leaderboard_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Lay the metrics of a run out as a table.

    Args:
        metrics: As in ``metrics.json``: ``mean`` and ``std`` map a metric to a number or None,
            ``categories`` maps a category to such a map.

    Returns:
        A row per category in the given order, then the rows ``mean`` and ``std``; column
        ``category``, then a column per metric: the known ones first, in a fixed order, then any
        others. Undefined metrics are NaN. Lists and maps (curves) are left out.
    """
    per_category: Mapping[str, Mapping[str, Any]] = metrics["categories"]
    rows = [{"category": name, **metrics} for name, metrics in per_category.items()]
    rows += [{"category": name, **metrics.get(name, {})} for name in SUMMARY_ROWS]
    keys = ordered_keys(rows)
    table = pd.DataFrame(
        [[row["category"], *(row.get(key) for key in keys)] for row in rows],
        columns=["category", *keys],
    )
    texts = {key for key in keys if any(isinstance(row.get(key), str) for row in rows)}
    return table.astype({key: float for key in keys if key not in texts})


def ordered_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics found in any row, known ones first; keys whose values are not scalar are left out."""
    found = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key != "category" and not isinstance(value, Mapping | list | tuple)
    )
    return sorted(found, key=lambda key: METRIC_ORDER.get(key, len(METRIC_ORDER)))


def hardest(metrics: Mapping[str, Any], limit: int = MANY_CATEGORIES) -> list[str]:
    """The categories with the lowest image AUROC, at most ``limit``, in the given order.

    Those without one come last: nothing says that they are hard.

    Args:
        metrics: As in ``metrics.json``.
        limit: How many at most.

    Example:
        >>> of = {"a": {"image_auroc": 1.0}, "b": {"image_auroc": None}, "c": {"image_auroc": 0.5}}
        >>> hardest({"categories": of}, 2)
        ['a', 'c']
    """
    per_category: Mapping[str, Mapping[str, Any]] = metrics["categories"]
    found = {name: of_category.get("image_auroc") for name, of_category in per_category.items()}
    aurocs = {name: math.inf if value is None else value for name, value in found.items()}
    chosen = set(sorted(aurocs, key=aurocs.__getitem__)[:limit])
    return [name for name in per_category if name in chosen]


def hardest_rows(leaderboard: pd.DataFrame, limit: int = MANY_CATEGORIES) -> pd.DataFrame:
    """A leaderboard's rows of the categories with the lowest image AUROC, and its summary.

    Args:
        leaderboard: See :func:`leaderboard_table`.
        limit: Categories at most; with no more than that, and with no image AUROC, all stay.
    """
    of_categories = _categories(leaderboard)
    if len(of_categories) <= limit or "image_auroc" not in leaderboard:
        return leaderboard
    chosen = of_categories["image_auroc"].sort_values(kind="stable").index[:limit]
    return pd.concat([of_categories.loc[sorted(chosen)], leaderboard.iloc[len(of_categories) :]])


def partial_means(leaderboard: pd.DataFrame) -> dict[str, int]:
    """How many categories a mean is over, by metric, where some category lacks the metric.

    Args:
        leaderboard: See :func:`leaderboard_table`; the paper's columns may stand in it.

    Example:
        >>> table = pd.DataFrame({"category": ["a", "b", "mean", "std"], "aupro": [1, None, 1, 0]})
        >>> partial_means(table)
        {'aupro': 1}
    """
    of_categories = _categories(leaderboard)
    if len(of_categories) == len(leaderboard):
        return {}
    mean = leaderboard.iloc[len(of_categories)]
    known = of_categories.notna().sum()
    return {
        key: int(known[key])
        for key in leaderboard.columns
        if known[key] < len(of_categories)
        and not pd.isna(mean[key])
        and key.partition("_")[0] not in {"paper", "difference"}
    }


def passing_none(leaderboard: pd.DataFrame) -> list[str]:
    """Categories in which the threshold of the best F1 calls every normal image anomalous."""
    if "false_positive_rate" not in leaderboard:
        return []
    rows = _categories(leaderboard)
    return [str(name) for name in rows.loc[rows["false_positive_rate"] == 1, "category"]]


def _categories(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """The rows before ``mean`` and ``std``."""
    has_summary = tuple(leaderboard["category"].iloc[-2:]) == SUMMARY_ROWS
    return leaderboard.iloc[:-2] if has_summary else leaderboard
