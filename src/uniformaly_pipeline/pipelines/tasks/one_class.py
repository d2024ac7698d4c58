"""``defect`` and ``semantic``: a memory bank per class (paper section 5.2, Tables 1 to 3)."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.tasks.assembly import (
    Category,
    create_categories,
    create_features,
    create_ingestion,
    create_results,
    defect_category,
    semantic_categories,
)


def create_defect(run: CurrentRun) -> Pipeline:
    """Defects of a category among its sound images.

    Raises:
        InputError: The data set shows no defects, has no such category, or two of them cannot be
            told apart.
    """
    if not run.has_defects:
        raise InputError(
            f"the data set '{run.parameters.dataset}' shows no defects; its pipelines are "
            "semantic, multiclass, lowshot and ablation"
        )
    return _create(run, "defect", [defect_category(name) for name in run.classes()])


def create_semantic(run: CurrentRun) -> Pipeline:
    """Images of other classes; one test set for all, encoded once.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    return _create(run, "semantic", semantic_categories(run))


def _create(run: CurrentRun, task: str, categories: list[Category]) -> Pipeline:
    return (
        create_ingestion(run)
        + create_features(run)
        + create_categories(run, task, categories)
        + create_results(run, task, [category.name for category in categories])
    )
