"""Which runs may stand beside the paper: the shipped settings, and any other of them not."""

from __future__ import annotations

from typing import Any

import pytest

from uniformaly_pipeline.evaluation.paper import _results, follows_paper
from uniformaly_pipeline.parameters.schema import Parameters


def parameters_of(shipped: Parameters, dataset: str, backbone: str) -> dict[str, Any]:
    return shipped.model_copy(update={"dataset": dataset, "backbone": backbone}).resolved()


@pytest.fixture
def papers(shipped: Parameters) -> dict[str, Any]:
    return parameters_of(shipped, "mvtec", "dino_vitb8")


REPORTED = _results()[["task", "dataset", "backbone"]].drop_duplicates().values.tolist()


@pytest.mark.parametrize(("task", "dataset", "backbone"), REPORTED)
def test_what_ships_follows_the_paper_wherever_it_reports_something(
    task: str, dataset: str, backbone: str, shipped: Parameters
) -> None:
    assert follows_paper(parameters_of(shipped, dataset, backbone), task)


@pytest.mark.parametrize(
    ("dataset", "backbone"), [("demo", "dino_vitb8"), ("mvtec", "quickstart"), ("mtd", "custom")]
)
def test_what_the_paper_lacks_does_not_follow_it(
    dataset: str, backbone: str, shipped: Parameters
) -> None:
    assert not follows_paper(parameters_of(shipped, dataset, backbone), "defect")


CHANGES: list[tuple[str, Any]] = [
    ("bpm.mode", "off"),
    ("bpm.kernel_size", 5),
    ("bpm.threshold", 0.2),
    ("memory_bank.coreset_ratio", 0.2),
    ("memory_bank.projection_dim", 64),
    ("memory_bank.num_starts", 1),
    ("memory_bank.coreset_parts", 2),
    ("scoring.top_k_ratio", 0.1),
    ("scoring.num_neighbors", 2),
    ("scoring.search", "HNSW32"),
    ("evaluation.mask_threshold", 0.5),
    ("datasets.mvtec.layout", "folder"),
    ("datasets.mvtec.preprocessing.resize", 224),
    ("datasets.mvtec.preprocessing.crop", 256),
    ("datasets.mvtec.preprocessing.pad", 256),
    ("datasets.mvtec.preprocessing.interpolation", "lanczos"),
    ("datasets.mvtec.splits", {"A": ["bottle"]}),
    ("backbones.dino_vitb8.model", "vit_base_patch16_224.dino"),
    ("backbones.dino_vitb8.checkpoint", "untrained"),
    ("backbones.dino_vitb8.layers", [11]),
    ("backbones.dino_vitb8.attention_layer", 11),
    ("backbones.dino_vitb8.norm", True),
    ("backbones.dino_vitb8.model_kwargs", {"img_size": 448}),
]


def changed(parameters: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    *sections, name = key.split(".")
    place = parameters
    for section in sections:
        place = place[section]
    assert place[name] != value
    place[name] = value
    return parameters


@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_whatever_changes_the_metrics_leaves_the_papers_protocol(
    key: str, value: Any, papers: dict[str, Any]
) -> None:
    assert not follows_paper(changed(papers, key, value), "defect")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 7),
        ("features.dtype", "float32"),
        ("features.keep", "all"),
        ("encoder.batch_size", 64),
        ("evaluation.aupro_limit", 0.05),  # the paper reports no AUPRO
        ("reporting.gallery_images", 0),
        ("clustering.features", "max"),  # of another task
        ("memory_bank.multiclass_coreset_ratio", 0.5),
        ("datasets.mvtec.root", "/elsewhere"),
        ("datasets.mvtec.split.seed", 3),
    ],
)
def test_what_the_papers_numbers_do_not_hang_on_may_differ(
    key: str, value: Any, papers: dict[str, Any]
) -> None:
    assert follows_paper(changed(papers, key, value), "defect")


def test_each_task_has_the_settings_of_its_own(papers: dict[str, Any]) -> None:
    changed(papers, "memory_bank.multiclass_coreset_ratio", 0.5)
    changed(papers, "clustering.features", "max")
    assert follows_paper(papers, "defect")
    assert not follows_paper(papers, "multiclass")
    assert not follows_paper(papers, "clustering")


def test_what_is_swept_may_differ_and_nothing_else(papers: dict[str, Any]) -> None:
    changed(papers, "bpm.kernel_size", 13)
    assert follows_paper(papers, "defect", {"bpm.kernel_size"})
    assert not follows_paper(papers, "defect", {"bpm.threshold"})
