"""How the stages of a task are put together, in a namespace per category."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import (
    evaluation,
    features,
    ingestion,
    memory_bank,
    reporting,
    scoring,
)
from uniformaly_pipeline.pipelines.evaluation.pipeline import create_summary
from uniformaly_pipeline.pipelines.ingestion.pipeline import (
    create_class_selection,
    create_defect_selection,
)
from uniformaly_pipeline.pipelines.reporting.pipeline import (
    create_bank_figure,
    create_overview,
    create_report,
)

SHARED = ("raw_images", "manifest")
"""Datasets that all categories and tasks use; so is a feature store."""


@dataclass(frozen=True)
class Category:
    """One memory bank and one test (DESIGN "ingestion").

    Attributes:
        name: What people call it.
        selection: Manifest to its images.
        bank: Namespace of the memory bank that it shares with others; ``None``: one of its own.
    """

    name: str
    selection: Pipeline
    bank: str | None = None


def defect_category(name: str) -> Category:
    """A category whose anomalies are defects."""
    return Category(name, create_defect_selection([name], [name]))


def class_category(name: str, normal: list[str]) -> Category:
    """A category whose anomalies are all classes that are not ``normal``."""
    return Category(name, create_class_selection(normal))


def one_class_categories(run: CurrentRun) -> list[Category]:
    """A category per class: its defects are anomalous, or the other classes are.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    if run.has_defects:
        return [defect_category(name) for name in run.classes()]
    return semantic_categories(run)


def semantic_categories(run: CurrentRun) -> list[Category]:
    """A category per class, the other classes being anomalous.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    classes = run.classes()
    if len(classes if run.has_defects else run.all_classes) < 2:
        raise InputError(
            f"{run.root}: with one class nothing is foreign to it; at least two are needed"
        )
    return [class_category(name, [name]) for name in classes]


def category_keys(names: Iterable[str]) -> dict[str, str]:
    """Namespace of each category: its name with what Kedro and file systems mind replaced.

    Returns:
        Names by namespace, in order.

    Raises:
        InputError: Two names become the same.
    """
    keys: dict[str, str] = {}
    for name in names:
        key = category_key(name)
        if key in keys:
            raise InputError(f"categories '{keys[key]}' and '{name}' differ only in punctuation")
        keys[key] = name
    return keys


def category_key(name: str) -> str:
    """Namespace of a category."""
    return re.sub(r"[^\w-]+", "_", name)


def create_ingestion(run: CurrentRun) -> Pipeline:
    """Raw images to manifest."""
    draws_demo = run.parameters.chosen_dataset.layout == "demo"
    return ingestion.create_pipeline(run.parameters.dataset, draws_demo)


def create_features(run: CurrentRun, store: str = "features", **arguments: Any) -> Pipeline:
    """Images to a feature store: ``features``, or one that keeps all patches."""
    if store != "features":
        arguments["keep"] = "all"
    return features.create_pipeline(
        run.parameters.dataset,
        run.parameters.backbone,
        store,
        normal=run.classes(),
        **arguments,
    )


def create_banks(
    task: str, banks: Mapping[str, Pipeline], coreset_ratio: float, store: str = "features"
) -> Pipeline:
    """Memory banks that several categories share, by namespace; values select their images."""
    return Pipeline(
        [
            in_namespace(
                selection + memory_bank.create_pipeline(coreset_ratio) + create_bank_figure(key),
                f"{task}.{key}",
                store,
            )
            for key, selection in banks.items()
        ]
    )


def create_categories(
    run: CurrentRun,
    task: str,
    categories: Iterable[Category],
    *,
    store: str = "features",
    multiclass: bool = False,
    more: Callable[[Category], Pipeline] | None = None,
    metrics: str = "metrics",
) -> Pipeline:
    """Selection, memory bank, scores, metrics and pictures of every category.

    Args:
        run: The run.
        task: The task, which is the outer namespace.
        categories: The categories.
        store: The feature store to use.
        multiclass: Whether memory banks hold many classes.
        more: Further stages of a category.
        metrics: Name of the detection metrics, if ``more`` makes ``metrics`` of them.
    """
    dataset = run.parameters.dataset
    coreset_ratio = run.parameters.coreset_ratio(multiclass=multiclass)
    parts = []
    listed = list(categories)
    for key, category in zip(category_keys(c.name for c in listed), listed, strict=True):
        stages = [
            category.selection,
            scoring.create_pipeline(),
            evaluation.create_pipeline(dataset, metrics),
            reporting.create_pipeline(dataset, category.name),
        ]
        shared = {}
        if category.bank is None:
            stages.append(memory_bank.create_pipeline(coreset_ratio))
        else:
            shared["memory_bank"] = f"{task}.{category.bank}.memory_bank"
        if more is not None:
            stages.append(more(category))
        parts.append(in_namespace(Pipeline(stages), f"{task}.{key}", store, shared))
    return Pipeline(parts)


def create_results(run: CurrentRun, task: str, names: Iterable[str], **report: Any) -> Pipeline:
    """All categories' metrics to metrics, leaderboard and report.

    Args:
        run: The run.
        task: The task.
        names: The categories' names.
        report: What else the report shows, see
            :func:`.pipelines.reporting.pipeline.create_report`.
    """
    categories = category_keys(names)
    parameters = run.parameters
    return (
        create_summary(task, categories, dataset=parameters.dataset, backbone=parameters.backbone)
        + create_overview(task, categories)
        + create_report(
            task,
            categories,
            title=run.title(task),
            parameters=parameters.resolved(),
            command=run.command(task),
            notes=run.notes,
            **report,
        )
    )


def in_namespace(
    pipeline: Pipeline, namespace: str, store: str = "features", shared: Mapping[str, str] = {}
) -> Pipeline:
    """Put a category's stages into its namespace; parameters and shared datasets stay outside."""
    inputs = pipeline.inputs()
    outside = {name: name for name in SHARED} | {"features": store} | dict(shared)
    return Pipeline(
        pipeline,
        namespace=namespace,
        inputs={name: actual for name, actual in outside.items() if name in inputs},
        parameters={name for name in inputs if name.startswith("params:")},
    )
