"""``multiclass``: one memory bank of many classes (paper section 5.2, Tables 4 to 6)."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.ingestion.pipeline import create_defect_selection
from uniformaly_pipeline.pipelines.reporting.pipeline import create_bank_figure
from uniformaly_pipeline.pipelines.tasks.assembly import (
    Category,
    category_key,
    class_category,
    create_banks,
    create_categories,
    create_features,
    create_ingestion,
    create_results,
)
from uniformaly_pipeline.reporting.page.sections import multiclass_sections

TASK = "multiclass"


def create(run: CurrentRun) -> Pipeline:
    """Defects: every category tested on its own with the shared bank. Classes: a test per split.

    Raises:
        InputError: A split names unknown classes or leaves nothing to be anomalous.
    """
    categories, banks = categories_and_banks(run)
    ratio = run.parameters.coreset_ratio(multiclass=True)
    pictured = list(banks) or [category_key(category.name) for category in categories]
    return (
        create_ingestion(run)
        + create_features(run)
        + create_banks(TASK, banks, ratio)
        + create_categories(run, TASK, categories, multiclass=True, more=_picture_own_bank)
        + create_results(
            run,
            TASK,
            [category.name for category in categories],
            extras=[f"{key}.bank_figure" for key in pictured],
            sections=multiclass_sections,
        )
    )


def categories_and_banks(run: CurrentRun) -> tuple[list[Category], dict[str, Pipeline]]:
    """The categories, and the selections of the images of the banks they share by namespace.

    Raises:
        InputError: A split names unknown classes or leaves nothing to be anomalous.
    """
    splits = run.splits()
    if not run.has_defects:
        return [class_category(split, normal) for split, normal in splits.items()], {}
    banks = {_bank_key(split): create_defect_selection(c, []) for split, c in splits.items()}
    categories = [
        Category(
            name if len(splits) == 1 else f"{split}_{name}",
            create_defect_selection(normal, [name]),
            _bank_key(split),
        )
        for split, normal in splits.items()
        for name in normal
    ]
    taken = {category_key(category.name) for category in categories} & set(banks)
    if taken:
        raise InputError(f"categories: '{taken.pop()}' is the name of a shared memory bank")
    return categories, banks


def _picture_own_bank(category: Category) -> Pipeline:
    """A shared bank is pictured once, where it is made."""
    return Pipeline([]) if category.bank else create_bank_figure(category.name)


def _bank_key(split: str) -> str:
    return category_key(split) + "_bank"
