"""The table of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.leaderboard import (
    SUMMARY_ROWS,
    hardest,
    hardest_rows,
    leaderboard_table,
    ordered_keys,
    partial_means,
    passing_none,
)

METRICS: dict[str, Any] = {
    "categories": {
        "b": {"purity": 0.25, "aupro": None, "image_auroc": 0.5, "curve": [1, 2], "kind": "x"},
        "a": {"image_auroc": 1.0, "aupro": 0.75, "points": {"k": 1}, "pair": (1, 2)},
    },
    "mean": {"image_auroc": 0.75, "aupro": 0.75},
    "std": {"image_auroc": 0.25},
}


def test_categories_keep_their_order_and_mean_and_deviation_come_last() -> None:
    table = leaderboard_table(METRICS)
    assert table["category"].tolist() == ["b", "a", "mean", "std"]
    assert table["image_auroc"].tolist() == [0.5, 1.0, 0.75, 0.25]
    assert SUMMARY_ROWS == ("mean", "std")


def test_known_metrics_come_first_in_their_order_and_curves_are_left_out() -> None:
    columns = leaderboard_table(METRICS).columns.tolist()
    assert columns == ["category", "image_auroc", "aupro", "purity", "kind"]


def test_what_is_missing_or_undefined_is_not_a_number() -> None:
    table = leaderboard_table(METRICS)
    np.testing.assert_array_equal(table["aupro"], [np.nan, 0.75, 0.75, np.nan])
    np.testing.assert_array_equal(table["purity"], [0.25, np.nan, np.nan, np.nan])
    assert table["aupro"].dtype == table["purity"].dtype == np.float64


def test_counts_become_numbers_and_texts_stay_texts() -> None:
    metrics = {"categories": {"a": {"bank_size": 3, "kind": "x"}}, "mean": {"bank_size": 3.0}}
    table = leaderboard_table(metrics)
    assert table["bank_size"].dtype == np.float64
    assert table["kind"].tolist()[0] == "x"
    assert pd.isna(table["kind"]).tolist() == [False, True, True]


def test_a_run_without_categories_has_the_summary_alone() -> None:
    table = leaderboard_table({"categories": {}})
    assert table["category"].tolist() == ["mean", "std"]
    assert table.columns.tolist() == ["category"]


def test_keys_are_those_of_any_row_each_once() -> None:
    rows: list[dict[str, Any]] = [{"zeta": 1, "nmi": 1}, {"category": "a", "alpha": 2, "nmi": 2}]
    assert ordered_keys([*rows, {"threshold": 1}]) == ["nmi", "threshold", "zeta", "alpha"]


def board(**metrics: list[float | None]) -> pd.DataFrame:
    """A leaderboard of three categories, then mean and deviation."""
    return pd.DataFrame({"category": ["a", "b", "c", "mean", "std"], **metrics})


def test_a_mean_over_fewer_categories_is_told_with_their_number() -> None:
    table = board(
        image_auroc=[1, 1, 1, 1, 0],
        pixel_auroc=[1, None, 0.5, 0.75, 0.25],
        aupro=[None, None, None, None, None],
        threshold=[3, None, 9, None, None],
        paper=[0.9, None, None, 0.9, None],
    )
    assert partial_means(table) == {"pixel_auroc": 2}
    assert partial_means(table.iloc[:3]) == {}


def test_categories_whose_threshold_passes_no_normal_image_are_named() -> None:
    assert passing_none(board(false_positive_rate=[1, 0.99, 1, 0.997, 0])) == ["a", "c"]
    assert passing_none(board(false_positive_rate=[1, 1, None, 1, 0])) == ["a", "b"]
    assert passing_none(board(image_auroc=[1, 1, 1, 1, 0])) == []


def test_the_hardest_rows_and_the_summary_stay() -> None:
    aurocs = {"a": 0.9, "b": 0.2, "c": None, "d": 0.5, "e": 1.0}
    metrics = {"categories": {name: {"image_auroc": auroc} for name, auroc in aurocs.items()}}
    table = leaderboard_table({**metrics, "mean": {"image_auroc": 0.65}})
    assert list(hardest_rows(table, 2)["category"]) == ["b", "d", "mean", "std"]
    assert list(hardest_rows(table, 5)["category"]) == [*aurocs, "mean", "std"]
    assert hardest(metrics, 3) == ["a", "b", "d"]
    assert hardest(metrics, 5) == list(aurocs)
