"""``clustering``: test images grouped by kind of defect (paper sections 5.2 and 5.4.1, Table 7)."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.clustering.pipeline import create_comparison, create_pipeline
from uniformaly_pipeline.pipelines.tasks.assembly import (
    category_keys,
    create_categories,
    create_features,
    create_ingestion,
    create_results,
    defect_category,
)
from uniformaly_pipeline.reporting.page.sections import clustering_sections

TASK = "clustering"
STORE = "all_features"
"""The features of background patches are needed too: All is the mean of every patch."""


def create(run: CurrentRun) -> Pipeline:
    """Groups of each category's test images, good ones included.

    Raises:
        InputError: The data set shows no defects, or has no such category.
    """
    if not run.has_defects:
        raise InputError(
            f"the data set '{run.parameters.dataset}' shows no kinds of defect to group; its "
            "pipelines are semantic, multiclass, lowshot and ablation"
        )
    names = run.classes()
    dataset = run.parameters.dataset
    return (
        create_ingestion(run)
        + create_features(run, STORE)
        + create_categories(
            run,
            TASK,
            [defect_category(name) for name in names],
            store=STORE,
            more=lambda category: create_pipeline(dataset, category.name),
            metrics="detection_metrics",
        )
        + create_comparison(TASK, category_keys(names))
        + create_results(
            run,
            TASK,
            names,
            pictures=["cluster_figure", "cluster_sheet"],
            extras=["sweep_metrics"],
            sections=clustering_sections,
        )
    )
