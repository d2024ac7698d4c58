"""The paper's items say what the leaderboards and sections say, and why one has no result."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from uniformaly_pipeline.evaluation.paper.coverage import ITEMS
from uniformaly_pipeline.reporting.page.page import (
    ReportSection,
    ReportTable,
    sections_from_json,
)
from uniformaly_pipeline.reporting.page.sections import caption_of
from uniformaly_pipeline.reporting.paper.items import PaperResults, paper_items
from uniformaly_pipeline.reporting.paper.page import coverage_section, render_paper

BOARD = pd.DataFrame(
    {
        "category": ["wood", "tile", "mean", "std"],
        "image_auroc": [0.9, 0.8, 0.85, 0.05],
        "paper": [0.95, 0.75, 0.851, 0.06],
        "difference": [-0.05, 0.05, -0.001, None],
        "image_ap": [0.5, 0.5, 0.5, 0.0],
        "pixel_auroc": [0.7, 0.6, 0.65, 0.05],
        "paper_pixel_auroc": [0.7, 0.7, 0.7, 0.0],
        "difference_pixel_auroc": [0.0, -0.1, -0.05, None],
        "bank_size": [10.0, 20.0, 15.0, 5.0],
    }
)


def swept(key: str, **columns: Any) -> ReportSection:
    """A section of a sweep as a report has it."""
    return ReportSection(
        key, "text", [ReportTable(caption_of(key), pd.DataFrame(columns))], {"Detection": b"p"}
    )


def results(**changes: Any) -> PaperResults:
    kernel = {"value": ["1", "7"], "image_auroc": [0.7, 0.9], "image_auroc_std": [0.1, 0.2]}
    top_k = {"value": ["0.01", "0.05"], "image_auroc": [0.6, 0.9]}
    given: dict[str, Any] = {
        "dataset": "mvtec",
        "kind": "defects",
        "leaderboards": {"defect": BOARD, "ablation": BOARD, "multiclass_ablation": BOARD},
        "sections": {
            "ablation": [
                swept("bpm.kernel_size", **kernel, paper_image_auroc=[0.75, 0.9]),
                swept("scoring.top_k_ratio", **top_k),
            ],
            "multiclass_ablation": [
                swept("bpm.kernel_size", **kernel),
                swept("scoring.top_k_ratio", **top_k),
            ],
        },
    }
    return PaperResults(**{**given, **changes})


def items_of(given: PaperResults) -> dict[str, dict[str, Any]]:
    return {item["item"]: item for item in paper_items(given)}


def tables_of(item: dict[str, Any]) -> list[ReportTable]:
    (section,) = sections_from_json([item["section"]])
    return list(section.tables)


def test_every_item_is_there_in_the_papers_order() -> None:
    assert [item["item"] for item in paper_items(results())] == [item.name for item in ITEMS]


def test_a_table_has_our_value_the_papers_and_the_difference_side_by_side() -> None:
    items = items_of(results())
    (means,) = tables_of(items["Table 1"])
    assert list(means.table.columns) == [
        "category",
        "image_auroc",
        "paper_image_auroc",
        "difference_image_auroc",
        "pixel_auroc",
        "paper_pixel_auroc",
        "difference_pixel_auroc",
    ]
    assert means.table["category"].tolist() == ["mean", "std"]
    assert means.table["paper_image_auroc"].tolist() == [0.851, 0.06]
    assert means.table["difference_pixel_auroc"].tolist()[0] == -0.05
    (each,) = tables_of(items["Table 14"])
    assert each.table["image_auroc"].tolist() == BOARD["image_auroc"].tolist()


def test_without_the_papers_numbers_there_is_our_column_alone() -> None:
    bare = BOARD[["category", "image_auroc", "pixel_auroc"]]
    (means,) = tables_of(items_of(results(leaderboards={"defect": bare}))["Table 1"])
    assert list(means.table.columns) == ["category", "image_auroc", "pixel_auroc"]


def test_what_no_image_has_is_left_out() -> None:
    bare = BOARD[["category", "image_auroc"]].assign(pixel_auroc=None)
    (means,) = tables_of(items_of(results(leaderboards={"defect": bare}))["Table 1"])
    assert list(means.table.columns) == ["category", "image_auroc"]


def test_an_ablation_has_the_rows_of_both_tasks() -> None:
    one, many = tables_of(items_of(results())["Table 9"])
    assert many.caption.startswith("One memory bank of many classes")
    assert one.table["difference_image_auroc"].tolist() == pytest.approx([-0.05, 0.0])
    assert list(one.table.columns) == [
        "value", "image_auroc", "paper_image_auroc", "difference_image_auroc", "image_auroc_std",
    ]  # fmt: skip
    assert "paper_image_auroc" not in many.table


def test_an_item_without_a_result_says_why() -> None:
    items = items_of(results(left_out={"multiclass": "one category"}))
    assert (items["Table 4"]["status"], items["Table 4"]["reason"]) == ("no result", "one category")
    assert items["Table 10"]["reason"] == (
        "ablation.threshold and ablation.mode gives no values to try"
    )
    assert items["Figure 11"]["reason"].startswith("bpm.mode is off")
    assert items["Table 7"]["reason"] == "clustering did not run"
    assert items["Table 15"]["status"] == "of other data"
    assert items["Table 11"]["status"] == "not reproducible"
    for item in items.values():
        assert (item["section"] is None) == bool(item["reason"])


def test_the_page_lists_all_items_and_heads_those_that_are_shown() -> None:
    items = paper_items(results())
    page = render_paper(
        items, title="t", dataset="d", backbone="b", parameters={}, command="kedro run"
    )
    for item in items:
        assert f">{item['item']}<" in page, item["item"]
        assert (f"{item['title']}</h2>" in page) == (item["status"] == "shown"), item["item"]


@pytest.mark.parametrize("dataset", ["mvtec", "demo"])
def test_the_list_says_whether_the_papers_values_are_beside_ours(dataset: str) -> None:
    bare = {"defect": BOARD[["category", "image_auroc"]]}
    given = results() if dataset == "mvtec" else results(leaderboards=bare, sections={})
    items = paper_items(given)
    shown = sections_from_json([item["section"] for item in items if item["section"]])
    told = coverage_section(items, shown).text
    assert told.startswith("The paper's values" if dataset == "mvtec" else "No value of the paper")
