"""``clustering``: test images grouped by kind of defect (paper sections 5.2 and 5.4.1, Table 7)."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import clustering
from uniformaly_pipeline.pipelines.reporting.nodes import CATEGORY_FIGURES
from uniformaly_pipeline.pipelines.reporting.pipeline import create_sweep_sections
from uniformaly_pipeline.pipelines.sweep.pipeline import create_summary
from uniformaly_pipeline.pipelines.tasks.assembly import (
    create_categories,
    create_features,
    create_ingestion,
    create_results,
)
from uniformaly_pipeline.pipelines.tasks.plan import plan_task

TASK = "clustering"
STORE = "all_features"
"""The features of background patches are needed too: All is the mean of every patch."""


def create(run: CurrentRun) -> Pipeline:
    """Groups of each category's test images, good ones included.

    Raises:
        InputError: The data set shows no defects, or has no such category.
    """
    plan = plan_task(TASK, run)
    return (
        create_ingestion(run)
        + create_features(run, STORE)
        + create_categories(
            run,
            plan,
            store=STORE,
            metrics="detection_metrics",
            more=lambda _: (clustering.create_pipeline(),),
        )
        + create_results(
            run,
            plan,
            create_summary(plan.units),
            create_sweep_sections(TASK),
            store=STORE,
            figures=CATEGORY_FIGURES,
        )
    )
