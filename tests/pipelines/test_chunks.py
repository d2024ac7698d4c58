"""Nodes that do the work of many categories."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from uniformaly_pipeline.common.by_category import ByCategory
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.pipelines.chunks import in_chunks, per_category
from uniformaly_pipeline.pipelines.scoring import nodes

CHUNK = [{"key": "hex_nut", "name": "hex nut"}, {"key": "bolt", "name": "bolt"}]
LENGTHS = {"hex_nut": 3, "bolt": 5}


@per_category
def describe(length: int, unit: str, category: dict[str, Any]) -> str:
    """A sentence."""
    if length > 5:
        raise InputError("too long")
    return f"{category['name']}: {length} {unit}"


@per_category
def double(length: int) -> tuple[int, str]:
    return 2 * length, str(length)


class Saved(MemoryDataset):
    """Collects what is saved, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.saves: list[Any] = []

    def save(self, data: Any) -> None:
        self.saves.append(data)


def lengths(**changes: int) -> ByCategory[int]:
    given = LENGTHS | changes
    return ByCategory({key: lambda key=key: given[key] for key in given})  # type: ignore[misc]


def test_each_category_is_saved_before_the_next_is_worked_out() -> None:
    stages = Pipeline(
        [
            Node(describe, ["lengths", "params:unit", "params:category"], "texts", name="d"),
            Node(double, ["lengths"], ["doubles", "digits"], name="x", tags="scoring"),
        ]
    )
    saved = {name: Saved() for name in ("texts", "doubles", "digits")}
    given = {"lengths": lengths(), "params:unit": "mm", "params:category": CHUNK}
    catalog = DataCatalog({**{key: MemoryDataset(each) for key, each in given.items()}, **saved})
    chunked = in_chunks(stages)
    SequentialRunner().run(chunked, catalog)
    assert saved["texts"].saves == [{"hex_nut": "hex nut: 3 mm"}, {"bolt": "bolt: 5 mm"}]
    assert saved["doubles"].saves == [{"hex_nut": 6}, {"bolt": 10}]
    assert saved["digits"].saves == [{"hex_nut": "3"}, {"bolt": "5"}]
    assert {node.name: node.tags for node in chunked.nodes} == {"d": set(), "x": {"scoring"}}
    # Alone a function does what it did.
    assert describe(4, "mm", CHUNK[1]) == "bolt: 4 mm"


def test_an_error_names_its_category_and_keeps_what_was_done() -> None:
    results = vars(describe)["in_chunks"](lengths(bolt=6), unit="mm", category=CHUNK)
    assert next(results) == {"hex_nut": "hex nut: 3 mm"}
    with pytest.raises(InputError, match=r"^bolt: too long$"):
        next(results)


def test_worker_processes_find_the_function() -> None:
    function = vars(nodes.score_test_images)["in_chunks"]
    assert pickle.loads(pickle.dumps(function)) is function


def test_its_code_is_shown() -> None:
    """Kedro-Viz asks :mod:`inspect` for that of a plain function."""
    function = vars(nodes.score_test_images)["in_chunks"]
    assert inspect.isfunction(function)
    assert inspect.getsource(function) == inspect.getsource(nodes.score_test_images)


@per_category
def total(length: int, **shared: int) -> int:
    """The length and what all categories share."""
    return length + sum(shared.values())


def test_further_named_inputs_are_passed_on_to_each_category() -> None:
    results = vars(total)["in_chunks"](lengths(), first=10, second=20)
    assert list(results) == [{"hex_nut": 33}, {"bolt": 35}]
