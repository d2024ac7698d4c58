"""No run stays RUNNING, none that broke off is FINISHED, and other people's are left alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.common.processes import ProcessIdentity
from uniformaly_pipeline.tracking.lifecycle import (
    PARENT_TAG,
    PROCESS_TAG,
    begin_run,
    child_run,
    close_lost_runs,
    close_runs_of_this_process,
    leave_active_runs,
    one_line,
)

EXPERIMENT = "0"


@pytest.fixture
def client(tracked: str) -> Any:
    """MLflow's client on an empty database."""
    from mlflow import MlflowClient

    return MlflowClient()


def status(client: Any, run_id: str) -> str:
    found: str = client.get_run(run_id).info.status
    return found


def begun_by(client: Any, process: ProcessIdentity) -> str:
    """A run that another process began and did not end."""
    run_id: str = client.create_run(EXPERIMENT, tags=process.to_tags(PROCESS_TAG)).info.run_id
    return run_id


def test_only_what_a_process_that_is_gone_left_running_is_closed(client: Any) -> None:
    this = ProcessIdentity.of_this()
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended = ProcessIdentity(this.host, child.pid, this.started)
    child.wait()
    lost = begun_by(client, ended)
    finished = begun_by(client, ended)
    client.set_terminated(finished)
    living = begun_by(client, this)
    elsewhere = begun_by(client, ProcessIdentity("another machine", child.pid, this.started))
    foreign = client.create_run(EXPERIMENT).info.run_id
    assert close_lost_runs(EXPERIMENT) == 1
    assert status(client, lost) == "KILLED"
    assert status(client, finished) == "FINISHED"
    assert [status(client, run) for run in (living, elsewhere, foreign)] == ["RUNNING"] * 3
    assert close_lost_runs(EXPERIMENT) == 0


def test_more_than_a_page_of_lost_runs(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    search = MlflowClient.search_runs
    monkeypatch.setattr(
        MlflowClient, "search_runs", lambda *a, **kw: search(*a, **{**kw, "max_results": 2})
    )
    this = ProcessIdentity.of_this()
    gone = ProcessIdentity(this.host, this.pid, this.started - 3600)
    lost = [begun_by(client, gone) for _ in range(5)]
    assert close_lost_runs(EXPERIMENT) == 5
    assert {status(client, run) for run in lost} == {"KILLED"}


def test_a_run_names_its_process_from_the_start(client: Any) -> None:
    run_id = begin_run(EXPERIMENT, "defect", parent="0" * 32)
    run = client.get_run(run_id)
    assert run.info.run_name == "defect"
    assert run.data.tags[PARENT_TAG] == "0" * 32
    assert ProcessIdentity.from_tags(run.data.tags, PROCESS_TAG) == ProcessIdentity.of_this()
    close_runs_of_this_process(EXPERIMENT, "KILLED")
    assert status(client, run_id) == "KILLED"


@pytest.mark.parametrize(
    ("error", "ends"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_child_ends_as_what_it_is(
    client: Any, error: type[BaseException] | None, ends: str
) -> None:
    parent = begin_run(EXPERIMENT, "defect")
    children = []
    try:
        with child_run(parent, "bolt") as child:
            children.append(child)
            if error is not None:
                raise error
    except BaseException as raised:
        assert type(raised) is error
    (child,) = children
    assert status(client, child) == ends
    assert client.get_run(child).data.tags[PARENT_TAG] == parent


def test_the_users_own_run_stays_open(client: Any) -> None:
    import mlflow

    with mlflow.start_run(experiment_id=EXPERIMENT) as own:
        ours = begin_run(EXPERIMENT, "defect", own.info.run_id)
        mlflow.start_run(ours, nested=True)
        leave_active_runs("FAILED")
        assert status(client, ours) == "FAILED"
        assert mlflow.active_run().info.run_id == own.info.run_id
        assert status(client, own.info.run_id) == "RUNNING"


def test_what_mlflow_raises_is_one_line_and_the_run_has_failed(client: Any) -> None:
    import mlflow

    run_id = begin_run(EXPERIMENT, "defect")
    mlflow.start_run(run_id)
    with pytest.raises(CommandError, match="could not be logged"), one_line("could not be logged"):
        mlflow.log_param("(", 1)
    assert status(client, run_id) == "FAILED"
    assert mlflow.active_run() is None
    with pytest.raises(ZeroDivisionError), one_line("could not be logged"):
        raise ZeroDivisionError
