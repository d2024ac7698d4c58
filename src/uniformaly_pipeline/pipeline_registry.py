"""All pipelines, made from the stages and the current run's parameters."""

from __future__ import annotations

import re

from kedro.pipeline import Pipeline

from uniformaly_pipeline.errors import InputError
from uniformaly_pipeline.logs import CommandError
from uniformaly_pipeline.pipelines import (
    evaluation,
    features,
    ingestion,
    memory_bank,
    reporting,
    scoring,
)
from uniformaly_pipeline.pipelines.evaluation.pipeline import create_summary
from uniformaly_pipeline.pipelines.ingestion.pipeline import create_selection
from uniformaly_pipeline.pipelines.reporting.pipeline import create_report
from uniformaly_pipeline.run_parameters import CurrentRun, current_run

SHARED = {"raw_images", "manifest", "features"}
"""Datasets that all categories and tasks use."""


def register_pipelines() -> dict[str, Pipeline]:
    """The project's pipelines by name.

    Raises:
        CommandError: The current run's parameters or data set cannot be used.
    """
    try:
        run = current_run()
        defect = create_defect(run)
    except InputError as error:
        raise CommandError(str(error)) from error
    return {"__default__": defect, "defect": defect, "ingestion": _create_ingestion(run)}


def create_defect(run: CurrentRun) -> Pipeline:
    """One-class defect detection: a memory bank per category.

    Raises:
        InputError: The data set has no such category, or two cannot be told apart.
    """
    task = "defect"
    dataset = run.parameters.dataset
    categories = category_keys(run.classes())
    stages = [
        _in_namespace(
            create_selection(name)
            + memory_bank.create_pipeline()
            + scoring.create_pipeline()
            + evaluation.create_pipeline(dataset)
            + reporting.create_pipeline(dataset, name),
            f"{task}.{key}",
        )
        for key, name in categories.items()
    ]
    return (
        _create_ingestion(run)
        + features.create_pipeline(dataset, run.parameters.backbone)
        + sum(stages, Pipeline([]))
        + create_summary(task, categories)
        + create_report(
            task,
            categories,
            title=run.title(task),
            parameters=run.parameters.resolved(),
            command=run.command(task),
            notes=run.notes,
        )
    )


def category_keys(names: list[str]) -> dict[str, str]:
    """Namespace of each category: its name with what Kedro and file systems mind replaced.

    Returns:
        Names by namespace, in order.

    Raises:
        InputError: Two names become the same.
    """
    keys: dict[str, str] = {}
    for name in names:
        key = re.sub(r"[^\w-]+", "_", name)
        if key in keys:
            raise InputError(f"categories '{keys[key]}' and '{name}' differ only in punctuation")
        keys[key] = name
    return keys


def _create_ingestion(run: CurrentRun) -> Pipeline:
    draws_demo = run.parameters.chosen_dataset.layout == "demo"
    return ingestion.create_pipeline(run.parameters.dataset, draws_demo)


def _in_namespace(pipeline: Pipeline, namespace: str) -> Pipeline:
    """Put a category's stages into its namespace; parameters and shared datasets stay outside."""
    inputs = pipeline.inputs()
    return Pipeline(
        pipeline,
        namespace=namespace,
        inputs=inputs & SHARED,
        parameters={name for name in inputs if name.startswith("params:")},
    )
