"""How runs begin and end in MLflow: none stays RUNNING, and none that broke off is FINISHED."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

from uniformaly_pipeline.common.errors import CommandError, first_line
from uniformaly_pipeline.common.interruption import was_interrupted
from uniformaly_pipeline.common.machine import machine_fault
from uniformaly_pipeline.common.processes import ProcessIdentity, host_name
from uniformaly_pipeline.common.secrets import without_secrets
from uniformaly_pipeline.tracking.keys import mlflow_value
from uniformaly_pipeline.tracking.search import search
from uniformaly_pipeline.tracking.server import tracking_errors

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
PROCESS_TAG = "process."
"""Begins the tags that say which process a run is of: its host, number and start."""

Status = Literal["FINISHED", "FAILED", "KILLED"]


def begin_run(
    experiment_id: str, name: str, parent: str | None = None, tags: Mapping[str, str] | None = None
) -> str:
    """Begin a run that names its process from its first moment on.

    Args:
        experiment_id: The experiment.
        name: The run's name.
        parent: The run that it is a child of.
        tags: Further tags.

    Returns:
        Its id.
    """
    from mlflow import MlflowClient
    from mlflow.tracking.context.registry import resolve_tags

    own = {
        **ProcessIdentity.of_this().to_tags(PROCESS_TAG),
        **(tags or {}),
        NAME_TAG: mlflow_value(name),
    }
    if parent is not None:
        own[PARENT_TAG] = parent
    run_id: str = MlflowClient().create_run(experiment_id, tags=resolve_tags(own)).info.run_id
    return run_id


@contextmanager
def child_run(parent: str, name: str) -> Iterator[str]:
    """A run below another one, closed at the end of the block as what it is.

    Yields:
        Its id.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    run_id = begin_run(client.get_run(parent).info.experiment_id, name, parent)
    try:
        yield run_id
    except BaseException as error:
        client.set_terminated(run_id, ending(error))
        raise
    client.set_terminated(run_id, "FINISHED")


def ending(error: BaseException) -> Status:
    """How a run ended that an exception ended: KILLED by somebody, or FAILED by itself."""
    if was_interrupted() or isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "KILLED"
    return "FAILED"


def is_ours(run: Any) -> bool:
    """Whether this process began a run."""
    return ProcessIdentity.from_tags(run.data.tags, PROCESS_TAG) == ProcessIdentity.of_this()


def leave_active_runs(status: Status) -> None:
    """End the active runs that this process began; those around them are the user's."""
    import mlflow

    around = os.environ.get("MLFLOW_RUN_ID")
    while (active := mlflow.active_run()) is not None and is_ours(active):
        mlflow.end_run(status)
        # MLflow forgets the run that ours is to be a child of.
        if around is not None:
            os.environ["MLFLOW_RUN_ID"] = around


def close_runs_of_this_process(experiment_id: str, status: Status) -> None:
    """End all runs of this process that are still RUNNING, from any thread."""
    this = ProcessIdentity.of_this()
    for run in _running(experiment_id):
        if ProcessIdentity.from_tags(run.data.tags, PROCESS_TAG) == this:
            _close(run, status)


def close_lost_runs(experiment_id: str) -> int:
    """End, as KILLED, runs of this machine whose process is gone: nobody else will.

    Args:
        experiment_id: The experiment.

    Returns:
        How many there were.
    """
    lost = [
        run
        for run in _running(experiment_id)
        if (process := ProcessIdentity.from_tags(run.data.tags, PROCESS_TAG)) is not None
        and process.is_gone
    ]
    for run in lost:
        _close(run, "KILLED")
    return len(lost)


def _running(experiment_id: str) -> list[Any]:
    from mlflow import MlflowClient

    of_this_machine = f"tags.`{PROCESS_TAG}host` = '{host_name()}'"
    wanted = f"attributes.status = 'RUNNING' AND {of_this_machine}"
    # All before any is closed: that would move the pages.
    return list(search(MlflowClient(), experiment_id, wanted))


def _close(run: Any, status: Status) -> None:
    from mlflow import MlflowClient

    MlflowClient().set_terminated(run.info.run_id, status)


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn what MLflow raises into one line; a run that was begun ends as what it is.

    Args:
        what: What could not be done, the beginning of the line.

    Raises:
        CommandError: MLflow, its server, database or place for artifacts failed.
    """
    try:
        yield
    except BaseException as error:
        # Of a server that is gone nothing can be ended; the next run closes it.
        with suppress(*tracking_errors()):
            leave_active_runs(ending(error))
        if isinstance(error, tracking_errors()):
            uri = without_secrets(os.environ.get("MLFLOW_TRACKING_URI", "mlflow.db"))
            reason = machine_fault(error) or without_secrets(first_line(error))
            raise CommandError(f"{what} ({uri}: {reason})") from error
        raise
