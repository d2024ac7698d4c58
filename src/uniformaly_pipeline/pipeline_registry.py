"""All pipelines, made from the current run's parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
from uniformaly_pipeline.pipelines.tasks import (
    clustering,
    export,
    multiclass,
    one_class,
    paper,
    predict,
    sweeps,
)
from uniformaly_pipeline.pipelines.tasks.assembly import create_ingestion, with_parameters

TASKS: dict[str, Callable[[CurrentRun], Pipeline]] = {
    "defect": one_class.create_defect,
    "semantic": one_class.create_semantic,
    "multiclass": multiclass.create,
    "clustering": clustering.create,
    "lowshot": sweeps.create_lowshot,
    "ablation": sweeps.create_ablation,
    "multiclass_ablation": multiclass.create_ablation,
    "predict": predict.create,
    "export": export.create,
}
"""Pipelines that run side by side; ``paper`` holds several of them, on one feature store."""


class Pipelines(Mapping[str, Pipeline]):
    """The pipelines of a run by name, each built when it is first asked for.

    With many categories a pipeline takes seconds to build, and a run needs one of them.
    """

    def __init__(self, run: CurrentRun) -> None:
        """Build nothing yet."""
        self.run = run
        self._build: dict[str, Callable[[], Pipeline]] = {
            "__default__": lambda: self["defect"],
            **{task: partial(_create, task, run) for task in (*TASKS, paper.TASK)},
            "ingestion": partial(_create_doctor, run),
            "download": lambda: with_parameters(create_download(), run),
        }
        self._built: dict[str, Pipeline] = {}

    def __getitem__(self, name: str) -> Pipeline:
        """A pipeline."""
        if name not in self._built:
            self._built[name] = self._build[name]()
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._build)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._build)


_last: Pipelines | None = None


def register_pipelines() -> Pipelines:
    """The project's pipelines by name.

    Raises:
        CommandError: The current run's parameters cannot be used.
    """
    global _last  # noqa: PLW0603 - Kedro asks anew for each choice of pipelines, without arguments
    run = current_run() or _configured_run()
    if _last is None or _last.run is not run:
        _last = Pipelines(run)
    return _last


def _create_doctor(run: CurrentRun) -> Pipeline:
    doctor = create_ingestion(run) + with_parameters(create_examination(), run)
    return doctor if run.parameters.chosen_dataset.tree is None else doctor + create_tree()


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
        return (TASKS | {paper.TASK: paper.create})[task](run)
    except InputError:
        return create_refusal(task)
