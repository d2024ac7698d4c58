"""Paths of tasks whose own section of parameters is not what ships."""

from __future__ import annotations

from typing import Any

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines.tasks.plan import PLANNERS


def with_own_keys(catalog: dict[str, Any], run: CurrentRun) -> dict[str, Any]:
    """The catalog, with further patterns of the tasks whose run key is another than the run's.

    ``{task}.{category}.metrics`` serves all tasks: what it says of ``${run:key}`` cannot depend on
    the task. A task whose own section of parameters differs from what ships has the same patterns
    under its name, with its own key in their paths.

    Args:
        catalog: The configuration of the catalog.
        run: The run.
    """
    place = f"{{task}}/{run.data_set}/{run.backbone}/"
    own: dict[str, Any] = {}
    for task in PLANNERS:
        old, new = f"{place}{run.key()}/", f"{place}{run.key(task)}/".replace("{task}", task)
        if run.key(task) == run.key():
            continue
        for name, entry in catalog.items():
            if name.startswith("{task}."):
                own[name.replace("{task}", task)] = {
                    key: value.replace(old, new) if isinstance(value, str) else value
                    for key, value in entry.items()
                }
    return {**catalog, **own}
