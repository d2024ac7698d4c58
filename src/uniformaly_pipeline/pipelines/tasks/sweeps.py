"""``lowshot`` and ``ablation``: many settings on features that are encoded once (5.3, 5.4)."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.sweep.nodes import sweep_ablation, sweep_shots
from uniformaly_pipeline.pipelines.sweep.pipeline import create_pipeline, create_settings
from uniformaly_pipeline.pipelines.tasks.assembly import (
    category_keys,
    create_categories,
    create_features,
    create_ingestion,
    create_results,
    one_class_categories,
)
from uniformaly_pipeline.reporting.page.sections import ablation_sections, lowshot_sections


def create_lowshot(run: CurrentRun) -> Pipeline:
    """Few normal images, drawn several times.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    return _create(run, "lowshot", sweep_shots, lowshot_sections, "features")


def create_ablation(run: CurrentRun) -> Pipeline:
    """Values of several parameters, one at a time.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    layers = run.layer_choices
    store = "layered_features" if layers else "all_features"
    return _create(run, "ablation", sweep_ablation, ablation_sections, store, layers)


def _create(
    run: CurrentRun,
    task: str,
    sweep: Any,
    sections: Any,
    store: str,
    layers: list[list[int]] | None = None,
) -> Pipeline:
    """The default setting in full, and every setting's metrics beside it."""
    categories = one_class_categories(run)
    names = [category.name for category in categories]
    dataset, backbone = run.parameters.dataset, run.parameters.backbone
    coreset_ratio = run.parameters.coreset_ratio()
    return (
        create_ingestion(run)
        + create_features(run, store, **({"layers": layers} if layers else {}))
        + create_categories(
            run,
            task,
            categories,
            store=store,
            more=lambda _: create_pipeline(
                sweep, dataset, backbone, coreset_ratio, clusters=run.has_defects
            ),
        )
        + create_settings(task, category_keys(names))
        + create_results(run, task, names, extras=["sweep_metrics"], sections=sections)
    )
