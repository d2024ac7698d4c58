"""``multiclass``: one memory bank of many classes (paper section 5.2, Tables 4 to 6).

``multiclass_ablation`` varies its parameters one at a time (section 5.4, Tables 9 and 10, Fig. 7).
"""

from __future__ import annotations

from collections.abc import Sequence

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import sweep
from uniformaly_pipeline.pipelines.evaluation.pipeline import create_seeds
from uniformaly_pipeline.pipelines.reporting.pipeline import (
    create_bank_figure,
    create_bank_sections,
    create_sweep_sections,
)
from uniformaly_pipeline.pipelines.sweep.pipeline import create_shared, create_summary
from uniformaly_pipeline.pipelines.tasks.assembly import (
    create_bank,
    create_categories,
    create_features,
    create_ingestion,
    create_results,
    of_whole_task,
    other_seeds,
)
from uniformaly_pipeline.pipelines.tasks.plan import Category, TaskPlan, plan_task
from uniformaly_pipeline.pipelines.tasks.sweeps import ablation_store

TASK, ABLATION = "multiclass", "multiclass_ablation"


def create(run: CurrentRun, store: str = "features") -> Pipeline:
    """Defects: every category tested on its own with the shared bank. Classes: a test per split.

    Args:
        run: The run.
        store: The feature store to use.

    Raises:
        InputError: A split names unknown classes or leaves nothing to be anomalous.
    """
    plan = plan_task(TASK, run)
    pictured = list(plan.banks or plan.units)
    others = other_seeds(run)
    banks = [create_bank(run, TASK, key, create_bank_figure(), store=store) for key in plan.banks]
    banks += [
        create_bank(run, TASK, key, store=store, seed=seed) for key in plan.banks for seed in others
    ]

    def more(category: Category) -> Sequence[Pipeline]:
        # A shared bank is pictured once, where it is made.
        pictures = () if category.bank else (create_bank_figure(),)
        if not run.parameters.seeds:
            return pictures
        return (*pictures, create_seeds(others if category.bank else ()))

    return (
        create_ingestion(run)
        + create_features(run, store)
        + Pipeline(banks)
        + create_categories(run, plan, store=store, more=more)
        + create_results(
            run,
            plan,
            create_bank_sections(pictured),
            store=store,
            has_seeds=bool(run.parameters.seeds),
        )
    )


def create_ablation(run: CurrentRun) -> Pipeline:
    """The default setting of ``multiclass`` in full, and every setting's metrics beside it.

    Raises:
        InputError: As for ``multiclass``.
    """
    plan, store = plan_task(ABLATION, run), ablation_store(run)
    banks = [create_bank(run, ABLATION, key, store=store) for key in plan.banks]
    shared = [
        of_whole_task(create_shared(keys, bank), run, plan, store=store)
        for bank, keys in _units_by_bank(plan).items()
    ]

    def more(category: Category) -> Sequence[Pipeline]:
        return () if category.bank else (sweep.create_pipeline(ABLATION),)

    return (
        create_ingestion(run)
        + create_features(run, store)
        + Pipeline(banks)
        + create_categories(run, plan, store=store, more=more)
        + Pipeline(shared)
        + create_results(
            run, plan, create_summary(plan.units), create_sweep_sections(ABLATION), store=store
        )
    )


def _units_by_bank(plan: TaskPlan) -> dict[str, list[str]]:
    """Namespaces of the categories, or of their chunks, that share a bank, by the bank's."""
    found: dict[str, list[str]] = {}
    firsts = {chunk: next(iter(each.values())) for chunk, each in plan.chunks.items()}
    for key, category in (firsts or plan.categories).items():
        if category.bank is not None:
            found.setdefault(category.bank, []).append(key)
    return found
