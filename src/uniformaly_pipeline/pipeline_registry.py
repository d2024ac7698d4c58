"""All pipelines, made from the current run's parameters."""

from __future__ import annotations

from collections.abc import Callable

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.common.errors import CommandError, InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.parameters.refusal import REFUSAL, refuse
from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.ingestion.pipeline import (
    create_download,
    create_examination,
    create_tree,
)
from uniformaly_pipeline.pipelines.tasks import clustering, multiclass, one_class, predict, sweeps
from uniformaly_pipeline.pipelines.tasks.assembly import create_ingestion

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
    try:
        run = current_run()
    except InputError as error:
        raise CommandError(str(error)) from error
    pipelines = {task: _create(task, run) for task in TASKS}
    doctor = create_ingestion(run) + create_examination(
        run.parameters.dataset, f"{run.parameters.dataset}: the images"
    )
    if run.parameters.chosen_dataset.tree is not None:
        doctor += create_tree()
    return {
        "__default__": pipelines["defect"],
        **pipelines,
        "ingestion": doctor,
        "download": create_download(run.parameters.chosen_dataset.layout),
    }


def _create(task: str, run: CurrentRun) -> Pipeline:
    """A task's pipeline; one that only says why, where the task does not fit the run."""
    try:
        return TASKS[task](run)
    except InputError as error:
        refusal = bind(refuse, reason=str(error))
        node = Node(refusal, inputs=None, outputs="metrics", name=REFUSAL)
        return Pipeline([node], namespace=task)
