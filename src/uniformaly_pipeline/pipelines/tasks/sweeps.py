"""``lowshot`` and ``ablation``: many settings on features that are encoded once (5.3, 5.4)."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import sweep
from uniformaly_pipeline.pipelines.reporting.pipeline import create_sweep_sections
from uniformaly_pipeline.pipelines.sweep.pipeline import create_summary
from uniformaly_pipeline.pipelines.tasks.assembly import (
    create_categories,
    create_features,
    create_ingestion,
    create_results,
)
from uniformaly_pipeline.pipelines.tasks.plan import plan_task


def create_lowshot(run: CurrentRun, store: str = "features") -> Pipeline:
    """Few normal images, drawn several times.

    Args:
        run: The run.
        store: The feature store to use.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    turned = run.parameters.lowshot.rotations > 1
    return _create(run, "lowshot", "turned_features" if turned else store)


def create_ablation(run: CurrentRun) -> Pipeline:
    """Values of several parameters, one at a time.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    return _create(run, "ablation", ablation_store(run))


def ablation_store(run: CurrentRun) -> str:
    """The feature store of an ablation: of all patches, and of several choices of blocks."""
    return "all_features" if run.parameters.layer_choices is None else "layered_features"


def _create(run: CurrentRun, task: str, store: str) -> Pipeline:
    """The default setting in full, and every setting's metrics beside it."""
    plan = plan_task(task, run)
    return (
        create_ingestion(run)
        + create_features(run, store)
        + create_categories(run, plan, store=store, more=lambda _: (sweep.create_pipeline(task),))
        + create_results(
            run, plan, create_summary(plan.units), create_sweep_sections(task), store=store
        )
    )
