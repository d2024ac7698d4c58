"""``defect`` and ``semantic``: a memory bank per class (paper section 5.2, Tables 1 to 3)."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.evaluation.pipeline import create_seeds
from uniformaly_pipeline.pipelines.tasks.assembly import (
    create_categories,
    create_features,
    create_ingestion,
    create_results,
)
from uniformaly_pipeline.pipelines.tasks.plan import plan_task


def create_defect(run: CurrentRun, store: str = "features") -> Pipeline:
    """Defects of a category among its sound images.

    Args:
        run: The run.
        store: The feature store to use.

    Raises:
        InputError: The data set shows no defects, has no such category, or two of them cannot be
            told apart.
    """
    return _create(run, "defect", store)


def create_semantic(run: CurrentRun, store: str = "features") -> Pipeline:
    """Images of other classes; one test set for all, encoded once.

    Args:
        run: The run.
        store: The feature store to use.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    return _create(run, "semantic", store)


def _create(run: CurrentRun, task: str, store: str) -> Pipeline:
    plan = plan_task(task, run)
    seeds = (create_seeds(),) if run.parameters.seeds else ()
    return (
        create_ingestion(run)
        + create_features(run, store)
        + create_categories(run, plan, store=store, more=lambda _: seeds)
        + create_results(run, plan, store=store, has_seeds=bool(seeds))
    )
