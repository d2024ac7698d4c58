"""``multiclass``: one memory bank of many classes (paper section 5.2, Tables 4 to 6)."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.evaluation.pipeline import create_seeds
from uniformaly_pipeline.pipelines.reporting.pipeline import (
    create_bank_figure,
    create_bank_sections,
)
from uniformaly_pipeline.pipelines.tasks.assembly import (
    create_bank,
    create_categories,
    create_features,
    create_ingestion,
    create_results,
)
from uniformaly_pipeline.pipelines.tasks.plan import plan_task

TASK = "multiclass"


def create(run: CurrentRun) -> Pipeline:
    """Defects: every category tested on its own with the shared bank. Classes: a test per split.

    Raises:
        InputError: A split names unknown classes or leaves nothing to be anomalous.
    """
    plan = plan_task(TASK, run)
    pictured = list(plan.banks or plan.units)
    seeds = (create_seeds(),) if run.parameters.seeds else ()
    banks = [create_bank(run, TASK, key, create_bank_figure()) for key in plan.banks]
    return (
        create_ingestion(run)
        + create_features(run)
        + Pipeline(banks)
        + create_categories(
            run,
            plan,
            # A shared bank is pictured once, where it is made.
            more=lambda category: () if category.bank else (create_bank_figure(), *seeds),
        )
        + create_results(run, plan, create_bank_sections(pictured), has_seeds=bool(seeds))
    )
