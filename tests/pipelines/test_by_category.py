"""What nodes are given of many categories, by the categories' names."""

from __future__ import annotations

from functools import partial

import pytest

from uniformaly_pipeline.common.by_category import ByCategory
from uniformaly_pipeline.pipelines.by_category import (
    by_category,
    category_names,
    inputs_by_category,
)

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


def test_categories_in_chunks_are_read_one_at_a_time() -> None:
    read: list[str] = []

    def reading(**values: int) -> ByCategory[int]:
        def read_one(key: str) -> int:
            read.append(key)
            return values[key]

        return ByCategory({key: partial(read_one, key) for key in values})

    chunks = {"chunk_1": [{"key": "wing_nut", "name": "wing nut"}, {"key": "nut", "name": "nut"}]}
    chunks["chunk_2"] = [{"key": "bolt", "name": "bolt"}]
    task = {"categories": {}, "chunks": chunks}
    given = {"metrics_chunk_2": reading(bolt=3), "metrics_chunk_1": reading(nut=2, wing_nut=1)}
    metrics = by_category(task, "metrics", given)
    assert list(metrics) == category_names(task) == ["wing nut", "nut", "bolt"]
    assert read == []
    assert metrics["nut"] == 2
    assert read == ["nut"]
    assert list(metrics.values()) == [1, 2, 3]
