"""All pipelines, made from the current run's parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.pipelines.ingestion.pipeline import (
    create_download,
    create_examination,
    create_refusal,
    create_tree,
)
from uniformaly_pipeline.pipelines.tasks import clustering, multiclass, one_class, predict, sweeps
from uniformaly_pipeline.pipelines.tasks.assembly import create_ingestion, with_parameters

TASKS: dict[str, Callable[[CurrentRun], Pipeline]] = {
    "defect": one_class.create_defect,
    "semantic": one_class.create_semantic,
    "multiclass": multiclass.create,
    "clustering": clustering.create,
    "lowshot": sweeps.create_lowshot,
    "ablation": sweeps.create_ablation,
    "predict": predict.create,
}


def register_pipelines() -> dict[str, Pipeline]:
    """The project's pipelines by name.

    Raises:
        CommandError: The current run's parameters cannot be used.
    """
    run = current_run() or _configured_run()
    pipelines = {task: _create(task, run) for task in TASKS}
    doctor = create_ingestion(run) + with_parameters(create_examination(), run)
    if run.parameters.chosen_dataset.tree is not None:
        doctor += create_tree()
    return {
        "__default__": pipelines["defect"],
        **pipelines,
        "ingestion": doctor,
        "download": with_parameters(create_download(), run),
    }


def _configured_run() -> CurrentRun:
    """A run with the configuration's own parameters, for commands without a context."""
    project_path = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project_path / settings.CONF_SOURCE), **settings.CONFIG_LOADER_ARGS
    )
    loader["parameters"]
    run = current_run()
    assert run is not None
    return run


def _create(task: str, run: CurrentRun) -> Pipeline:
    """A task's pipeline; one that only says why, where the task does not fit the run."""
    try:
        return TASKS[task](run)
    except InputError:
        return create_refusal(task)
