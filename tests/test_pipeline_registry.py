"""Pipelines that run side by side: what they share is one node, what they do not has two names."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
from kedro.pipeline import Pipeline

from uniformaly_pipeline import pipeline_registry
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters
from uniformaly_pipeline.pipelines.tasks.one_class import create_defect


@pytest.fixture
def pipelines(
    shipped: Parameters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, Pipeline]:
    """All pipelines of a data set that every task fits."""
    for name in ("bolt", "nut"):
        for part in ("train/good", "test/good", "test/dent"):
            (tmp_path / name / part).mkdir(parents=True)
    raw = shipped.model_dump()
    raw["dataset"] = "folder"
    raw["datasets"]["folder"]["root"] = str(tmp_path)
    raw["ablation"]["layers"] = [[2], [3, 4]]
    run = CurrentRun(parse_parameters(raw), tmp_path)
    monkeypatch.setattr(pipeline_registry, "current_run", lambda: run)
    return pipeline_registry.register_pipelines()


def test_any_pipelines_run_together(pipelines: Mapping[str, Pipeline]) -> None:
    """``--pipelines=a,b`` adds them up: Kedro refuses two nodes of one name that differ."""
    of_tasks = {name: pipelines[name] for name in pipeline_registry.TASKS}
    for one, other in combinations(of_tasks, 2):
        together = of_tasks[one] + of_tasks[other]
        names = [{node.name for node in of_tasks[task].nodes} for task in (one, other)]
        assert {node.name for node in together.nodes} == names[0] | names[1]


def test_stores_that_tasks_share_are_filled_by_one_node(pipelines: Mapping[str, Pipeline]) -> None:
    """And each of the three stores by a node of its own."""
    together = sum((pipelines[name] for name in pipeline_registry.TASKS), Pipeline([]))
    nodes = [node for node in together.nodes if "features" in node.tags]
    fills = [node for node in nodes if "manifest" in node.inputs]
    assert sorted(output for node in fills for output in node.outputs) == [
        "all_features",
        "features",
        "layered_features",
    ]


def test_only_what_is_asked_for_is_built(
    pipelines: Mapping[str, Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    create = pipeline_registry._create
    monkeypatch.setattr(pipeline_registry, "_last", None)
    monkeypatch.setattr(
        pipeline_registry, "_create", lambda task, run: built.append(task) or create(task, run)
    )
    fresh = pipeline_registry.register_pipelines()
    assert sorted(fresh) == sorted(pipelines)
    assert built == []
    assert fresh["__default__"] is fresh["defect"]
    # Kedro asks anew for every choice of pipelines.
    assert pipeline_registry.register_pipelines()["defect"] is fresh["defect"]
    assert built == ["defect"]


@pytest.mark.parametrize(("mode", "is_drawn"), [("binary", True), ("soft", True), ("off", False)])
def test_the_attention_is_drawn_where_something_depends_on_it(
    mode: str, is_drawn: bool, shipped: Parameters, tmp_path: Path
) -> None:
    raw = shipped.model_dump()
    raw["bpm"]["mode"] = mode
    pipeline = create_defect(CurrentRun(parse_parameters(raw), tmp_path))
    (report,) = (node for node in pipeline.nodes if node.name == "defect.write_report")
    histogram = "defect.attention_histogram"
    assert (histogram in report.inputs) == (histogram in pipeline.all_outputs()) == is_drawn
