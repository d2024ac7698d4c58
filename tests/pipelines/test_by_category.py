"""What nodes are given of many categories, by the categories' names."""

from __future__ import annotations

import pytest

from uniformaly_pipeline.pipelines.by_category import by_category, inputs_by_category

TASK = {"categories": {"wing_nut": {"name": "wing nut"}, "bolt": {"name": "bolt"}}}


def test_each_input_is_its_own_categorys_in_the_tasks_order() -> None:
    given = {"metrics_bolt": 2, "gallery_bolt": 3, "gallery_wing_nut": 4, "metrics_wing_nut": 1}
    metrics = by_category(TASK, "metrics", given)
    assert list(metrics.items()) == [("wing nut", 1), ("bolt", 2)]
    galleries = by_category(TASK, "gallery", given)
    assert list(galleries.items()) == [("wing nut", 4), ("bolt", 3)]


def test_what_is_of_no_category_is_left_out() -> None:
    given = {"metrics_wing_nut": 1, "metrics_bolt": 2, "metrics_gear": 3}
    assert list(by_category(TASK, "metrics", given)) == ["wing nut", "bolt"]


def test_a_category_without_its_input_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="metrics_bolt"):
        by_category(TASK, "metrics", {"metrics_wing_nut": 1})


def test_inputs_are_named_by_artifact_and_category() -> None:
    names = ["metrics_nut", "metrics_bolt", "gallery_nut", "gallery_bolt"]
    assert inputs_by_category(["nut", "bolt"], "metrics", "gallery") == dict(
        zip(names, names, strict=True)
    )
    assert inputs_by_category([], "metrics") == {}
