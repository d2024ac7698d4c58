"""The list of the paper's tables and figures: whole, in order, and of the right data sets."""

from __future__ import annotations

import pytest

from uniformaly_pipeline.evaluation.paper.coverage import ITEMS, Kind, tasks_for
from uniformaly_pipeline.evaluation.paper.protocol import DATASETS

KIND: dict[str, Kind] = {
    "mvtec": "defects",
    "btad": "defects",
    "mtd": "defects",
    "cpd": "defects",
    "cifar10": "classes",
    "cifar100": "classes",
    "imagenet30": "classes",
    "species60": "classes",
}


def applicable(dataset: str, kind: Kind) -> set[str]:
    return {item.name for item in ITEMS if item.tasks and not item.refusal(dataset, kind)}


def test_every_table_and_figure_of_the_paper_is_listed_once() -> None:
    names = [item.name for item in ITEMS]
    assert len(set(names)) == len(names)
    numbers = {f"Table {number}" for number in range(1, 19)} - {"Table 12", "Table 13"}
    assert set(names) == numbers | {f"Figure {number}" for number in range(1, 13)} | {
        "Tables 12 and 13",
        "Appendix F",
    }


def test_what_nothing_can_show_says_why() -> None:
    for item in ITEMS:
        assert item.tasks or item.missing, item.name
    lacking = {item.name for item in ITEMS if not item.tasks}
    assert {"Figure 3", "Figure 4", "Table 11"} <= lacking


@pytest.mark.parametrize(
    ("dataset", "has", "lacks"),
    [
        ("mvtec", {"Table 1", "Table 4", "Table 14"}, {"Table 2", "Table 3", "Table 15"}),
        ("btad", {"Table 2", "Table 7"}, {"Table 1", "Table 14"}),
        ("cifar10", {"Table 3", "Table 5", "Table 15"}, {"Table 6", "Table 18", "Table 1"}),
        ("cifar100", {"Table 3", "Table 16"}, {"Table 5", "Table 15", "Table 18"}),
        ("imagenet30", {"Table 3", "Table 17"}, {"Table 5", "Table 18"}),
        ("species60", {"Table 3", "Table 6", "Table 18", "Table 9"}, {"Table 5", "Table 8"}),
    ],
)
def test_items_are_of_the_data_sets_that_the_paper_has_them_of(
    dataset: str, has: set[str], lacks: set[str]
) -> None:
    found = applicable(dataset, KIND[dataset])
    assert has <= found
    assert not lacks & found


def test_other_data_sets_stand_for_their_kind() -> None:
    assert {"Table 1", "Table 14", "Figure 9"} <= applicable("demo", "defects")
    assert {"Table 3", "Table 6", "Table 18"} <= applicable("class_folder", "classes")
    assert not {"Table 2", "Table 15"} & applicable("demo", "defects")


def test_all_data_sets_of_the_protocol_have_a_main_table() -> None:
    for dataset in DATASETS:
        assert {"Table 1", "Table 3"} & applicable(dataset, KIND[dataset]), dataset


def test_the_tasks_are_those_that_the_items_need() -> None:
    assert tasks_for("defects") == [
        "defect",
        "multiclass",
        "clustering",
        "lowshot",
        "ablation",
        "multiclass_ablation",
    ]
    assert tasks_for("classes") == ["semantic", "multiclass", "ablation"]
