"""The catalog's entries for categories in chunks."""

from __future__ import annotations

from typing import Any

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.tasks.plan import PLANNERS, plan_task

PLACE = "<category>"
"""Stands for a category's key, see :class:`.by_category_dataset.ByCategoryDataset`."""

DATASET = "uniformaly_pipeline.datasets.by_category_dataset.ByCategoryDataset"


def with_chunks(catalog: dict[str, Any], run: CurrentRun) -> dict[str, Any]:
    """The catalog, with an entry for each chunk and each thing that is made of a category.

    Its categories' files lie where the patterns ``{task}.{category}...`` put them.

    Args:
        catalog: The configuration of the catalog.
        run: The run.
    """
    added: dict[str, Any] = {}
    for task in PLANNERS:
        try:
            chunks = plan_task(task, run).chunks
        except InputError:
            continue  # the task does not fit the run: nothing is made of its categories
        for artifact, entry in _of_categories(catalog, task).items() if chunks else ():
            alone = {key: value for key, value in entry.items() if key != "metadata"}
            about = {"metadata": entry["metadata"]} if "metadata" in entry else {}
            for chunk, categories in chunks.items():
                added[f"{task}.{chunk}.{artifact}"] = {
                    "type": DATASET,
                    "dataset": _placed(alone, task),
                    "categories": list(categories),
                    **about,
                }
    return {**catalog, **added}


def _of_categories(catalog: dict[str, Any], task: str) -> dict[str, dict[str, Any]]:
    """The patterns of a task's categories; those of the task alone before those of all tasks."""
    found: dict[str, dict[str, Any]] = {}
    for prefix in ("{task}.{category}.", f"{task}.{{category}}."):
        found |= {
            name.removeprefix(prefix): entry
            for name, entry in catalog.items()
            if name.startswith(prefix)
        }
    return found


def _placed(value: Any, task: str) -> Any:
    if isinstance(value, dict):
        return {key: _placed(each, task) for key, each in value.items()}
    if isinstance(value, str):
        return value.replace("{task}", task).replace("{category}", PLACE)
    return value
