"""The numbers that the UniFormaly paper (arXiv 2307.12540) reports, to set a run's beside.

``results.csv`` holds them as printed: percents divided by 100, every digit kept. Where the paper
is at odds with itself or incomplete:

- MVTec's pixel mean with DINO is 98.47 in Tables 10 and 14 and 98.48 in Tables 1 and 9. The mean
  at default settings is Table 14's, which its categories average to; each sweep keeps its own.
- Clustering at default settings is .547 / .4334 / .6447 in Tables 8 and 9 and .5452 / .4331 / .6451
  in Table 10. The former are the numbers at default settings; each sweep keeps its own.
- Table 16's iBOT classes average to 91.1, its mean says 91.2; the mean stays as printed.
- Table 14's deviations are the population's, except that of DINO's pixel numbers.
- Table 18 gives an index where this gives a species. The index of a species is its alphabetical
  place, because the paper's list of names repeats seven of them.

Left out: Table 11 and section 5.3 (low-shot), which do not say which backbone their numbers are
for (Table 11's 99.6 on MVTec is neither's); what is only drawn (Figures 6 and 7); and Tables 2 to
7, which the text that this was taken from lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources

import pandas as pd

from uniformaly_pipeline.evaluation.leaderboard import SUMMARY_ROWS
from uniformaly_pipeline.evaluation.paper.protocol import follows_paper

__all__ = ["category_names", "follows_paper", "paper_metrics", "paper_sweep", "with_paper"]


def paper_metrics(task: str, dataset: str, backbone: str) -> dict[str, dict[str, float]]:
    """What the paper reports at default settings.

    Args:
        task: Pipeline, such as ``defect``.
        dataset: Key of the data set.
        backbone: Key of the backbone.

    Returns:
        A map from metric to its value (0..1) for each category, and for ``mean`` and ``std`` where
        the paper states them; empty where it reports nothing.

    Example:
        >>> paper_metrics("semantic", "imagenet30", "ibot_vitb16")["mean"]
        {'image_auroc': 0.976}
    """
    rows = _rows(task, dataset, backbone, parameter="")
    return _nested(rows["category"], rows["metric"], rows["reported"])


def paper_sweep(
    task: str, dataset: str, backbone: str, parameter: str
) -> dict[str, dict[str, float]]:
    """What the paper reports as one parameter varies, the others at their defaults.

    Args:
        task: Pipeline, such as ``defect``.
        dataset: Key of the data set.
        backbone: Key of the backbone.
        parameter: Dotted key, such as ``bpm.kernel_size``.

    Returns:
        A map from metric to its mean over the categories (0..1) for each value of the parameter,
        the default among them, as text and in the paper's order; empty where it reports nothing.

    Example:
        >>> paper_sweep("semantic", "species60", "dino_vitb8", "bpm.mode")
        {'binary': {'image_auroc': 0.9264}, 'soft': {'image_auroc': 0.9049}}
    """
    if not parameter:
        return {}
    rows = _rows(task, dataset, backbone, parameter)
    return _nested(rows["value"], rows["metric"], rows["reported"])


def with_paper(leaderboard: pd.DataFrame, task: str, dataset: str, backbone: str) -> pd.DataFrame:
    """Set the paper's numbers beside a run's that :func:`.follows_paper`.

    The mean and the deviation are compared only where ours are over the same categories as the
    paper's: over others they are another metric. Where the paper states a mean without its
    categories, they are those that it lists for the data set elsewhere, if it does.

    Args:
        leaderboard: Column ``category``, then a column per metric; a row per category, then the
            rows ``mean`` and ``std``.
        task: Pipeline that ran, such as ``defect``.
        dataset: Key of the data set.
        backbone: Key of the backbone.

    Returns:
        The leaderboard, with two columns after each metric that the paper reports: its value and
        ours less that. They are ``paper`` and ``difference`` for the first such metric,
        ``paper_<metric>`` and ``difference_<metric>`` for the others. NaN where the paper reports
        nothing, and for the difference of deviations, which says nothing. The given leaderboard
        itself if the paper reports none of its metrics.
    """
    numbers = {
        _lenient(category): by_metric
        for category, by_metric in paper_metrics(task, dataset, backbone).items()
    }
    reported = {metric for by_metric in numbers.values() for metric in by_metric}
    metrics = [column for column in leaderboard.columns if column in reported]
    if not metrics:
        return leaderboard

    names = [_lenient(category) for category in leaderboard["category"]]
    expected = category_names(task, dataset, backbone)
    table = leaderboard.copy()
    for metric in metrics:
        ours = leaderboard[metric].astype(float)
        # A category whose number is undefined is not in our mean either.
        covered = {name for name, known in zip(names, ours.notna(), strict=True) if known}
        same_mean = not expected or covered.difference(SUMMARY_ROWS) == expected
        paper = pd.Series(
            [
                numbers.get(name, {}).get(metric) if same_mean or name not in SUMMARY_ROWS else None
                for name in names
            ],
            index=leaderboard.index,
            dtype=float,
        )
        difference = (ours - paper).mask([name == "std" for name in names])
        suffix = "" if metric == metrics[0] else f"_{metric}"
        position = int(table.columns.get_loc(metric)) + 1
        table.insert(position, f"paper{suffix}", paper)
        table.insert(position + 1, f"difference{suffix}", difference)
    return table


@lru_cache(maxsize=1)
def _results() -> pd.DataFrame:
    """All of ``results.csv``; its texts stay texts, such as the value ``0.1``."""
    path = resources.files("uniformaly_pipeline.evaluation.paper").joinpath("results.csv")
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False).astype({"reported": float})


def _rows(task: str, dataset: str, backbone: str, parameter: str) -> pd.DataFrame:
    results = _results()
    return results[
        (results["task"] == task)
        & (results["dataset"] == dataset)
        & (results["backbone"] == backbone)
        & (results["parameter"] == parameter)
    ]


def _nested(
    names: Iterable[str], metrics: Iterable[str], values: Iterable[float]
) -> dict[str, dict[str, float]]:
    nested: dict[str, dict[str, float]] = {}
    for name, metric, value in zip(names, metrics, values, strict=True):
        nested.setdefault(name, {})[metric] = float(value)
    return nested


def category_names(task: str, dataset: str, backbone: str) -> set[str]:
    """Lenient names of the categories that the paper's mean is over; empty where unknown."""
    results = _results()
    listed = results[(results["dataset"] == dataset) & ~results["category"].isin(SUMMARY_ROWS)]
    own = listed[(listed["task"] == task) & (listed["backbone"] == backbone)]
    return {_lenient(category) for category in (listed if own.empty else own)["category"]}


def _lenient(category: object) -> str:
    """A category's name without what data sets' copies spell differently.

    Example:
        >>> _lenient("Metal-Nut") == _lenient("metal_nut")
        True
    """
    return re.sub(r"[\s_-]+", "", str(category)).casefold()
