"""What MLflow says of runs that break off, within other runs, and where it cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from PIL import Image

from uniformaly_pipeline import hooks
from uniformaly_pipeline.common.checked_file import CheckedFile
from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.features import extraction
from uniformaly_pipeline.tracking import runs
from uniformaly_pipeline.tracking.compare import runs_table
from uniformaly_pipeline.tracking.database import prepare_database
from uniformaly_pipeline.tracking.lifecycle import PARENT_TAG

Parameters = dict[str, Any]


@pytest.fixture
def client(project: Any, tracking_uri: str) -> MlflowClient:
    """MLflow's client where runs are tracked to."""
    return MlflowClient(tracking_uri)


@pytest.fixture
def newest(client: MlflowClient) -> Callable[[], list[Any]]:
    """The runs that were begun since, newest first, in all experiments."""

    def found() -> list[Any]:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        order = ["attributes.start_time DESC"]
        return list(client.search_runs(experiments, order_by=order))

    before = {run.info.run_id for run in found()}
    return lambda: [run for run in found() if run.info.run_id not in before]


def strangely_named(small: Parameters) -> Parameters:
    """The same run on a data set whose key has characters that MLflow refuses."""
    data_set = {**small["datasets"]["folder"], "layout": "folder"}
    return {**small, "dataset": "a(1)+[2]", "datasets": {"a(1)+[2]": data_set}, "categories": "nut"}


def test_within_the_users_run_ours_is_a_child_and_changes_nothing(
    project: Any,
    small: Parameters,
    client: MlflowClient,
    newest: Callable[[], list[Any]],
    tracking_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a key that MLflow refuses is no reason to fail."""
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    mlflow.set_tracking_uri(tracking_uri)
    parameters = strangely_named(small)
    with mlflow.start_run(experiment_id="0", run_name="mine") as own:
        before = client.get_run(own.info.run_id)
        project.run("defect", **parameters)
        assert mlflow.active_run().info.run_id == own.info.run_id

        def fails(*_: Any) -> None:
            raise mlflow.MlflowException("no space")

        monkeypatch.setattr(runs, "log_task", fails)
        with pytest.raises(CommandError, match=r"results are complete, but .* \(.*: no space\)"):
            project.run("defect", **parameters)
        assert mlflow.active_run().info.run_id == own.info.run_id
        after = client.get_run(own.info.run_id)
    assert after.to_dictionary() == before.to_dictionary()

    failed, *children, done, _ = newest()
    assert failed.info.status == "FAILED"
    assert [child.info.status for child in children] == ["FINISHED"]
    assert children[0].data.tags[PARENT_TAG] == done.info.run_id
    assert done.info.status == "FINISHED"
    assert done.info.run_name.startswith("defect ")
    assert done.info.experiment_id == own.info.experiment_id
    for run in (failed, done):
        assert run.data.tags[PARENT_TAG] == own.info.run_id
    key = "datasets.a_x0028_1_x0029__x002B__x005B_2_x005D_.layout"
    assert done.data.params[key] == "folder"
    logged = mlflow.artifacts.load_dict(f"runs:/{done.info.run_id}/parameters.json")
    assert logged["datasets.a(1)+[2].layout"] == "folder"


def test_the_end_says_where_to_compare_and_mlflow_adds_nothing(
    project: Any,
    small: Parameters,
    newest: Callable[[], list[Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    # As after make run, which activates nothing.
    monkeypatch.setenv("PATH", os.defpath)
    project.run("defect", **small, categories="nut")
    (run,) = (each for each in newest() if PARENT_TAG not in each.data.tags)
    printed = capsys.readouterr().out
    place = f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs"
    assert f" {place}?viewStateShareKey=runs\n" in printed
    for program in ("uniformaly compare", "mlflow ui, then", "kedro viz run"):
        (line,) = (each for each in printed.splitlines() if each.endswith(program))
        name = program.split()[0]
        called = Path(line.removesuffix(program.removeprefix(name)).split()[-1])
        assert called.name == name
        assert called.resolve().parent == Path(sys.executable).parent.resolve()
    # Of a server it prints two lines for every run, the categories' too.
    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get()
    (logged,) = run.inputs.dataset_inputs
    assert logged.dataset.digest == run.data.tags["data_hash"]
    assert logged.dataset.name == run.data.tags["dataset"]


def test_an_interrupted_run_is_killed_and_not_compared(
    project: Any,
    small: Parameters,
    client: MlflowClient,
    newest: Callable[[], list[Any]],
    tracking_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a notebook, where the process lives on; and a run that others start parts of."""
    around = client.create_run("0", run_name="a whole").info.run_id

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(extraction, "encode_images", interrupted)
        project.run("defect", **small, categories="nut")
    monkeypatch.setenv("MLFLOW_RUN_ID", around)
    project.run("defect", **small, categories="nut")

    *_, done, broken, whole = newest()
    assert broken.info.status == "KILLED"
    assert done.info.status == "FINISHED"
    assert done.data.tags[PARENT_TAG] == around
    assert PARENT_TAG not in broken.data.tags
    assert (whole.info.run_name, whole.info.status, whole.data.params) == ("a whole", "RUNNING", {})
    listed = runs_table(tracking_uri, task="defect")
    assert done.info.run_id in listed.index
    assert broken.info.run_id not in listed.index


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_database_that_cannot_grow_is_one_line(
    project: Any, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of the system that a file meets as it meets a full disk."""
    import resource

    prepare_database(tracking_uri)
    database = Path(shutil.copy(tracking_uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{database}")
    client = MlflowClient(uri)

    def running() -> set[str]:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(experiments, "attributes.status = 'RUNNING'")
        return {run.info.run_id for run in found}

    # Tests before may have left some, of this very process.
    before = running()
    limit = database.stat().st_size
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--env=test"],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    what = f"in MLflow ({uri}: MLflow's database cannot be written (disk I/O error): check its"
    assert what in line
    assert "Traceback" not in done.stdout
    assert not any(path.startswith("04_feature") for path in project.outputs())
    assert running() <= before


@pytest.mark.slow
def test_a_dead_server_is_one_line_before_any_work(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    done = project.kedro("run", "--env=test")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"Error: the tracking server http://127.0.0.1:{port} cannot be used"
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert project.outputs() == []


def test_a_run_around_ours_must_be_there(
    project: Any, small: Parameters, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable left over from another tracking server is no run of this one."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(CommandError, match=r"MLFLOW_RUN_ID is '0{32}', and .* has no such run"):
        project.run("defect", **small)
    assert not any(path.startswith("04_feature") for path in project.outputs())


def test_tasks_of_one_run_keep_their_metrics_apart(
    project: Any,
    small: Parameters,
    images: Path,
    newest: Callable[[], list[Any]],
    tracking_uri: str,
) -> None:
    """All have metrics of the same names, in MLflow and in the table of runs."""
    shutil.copytree(images / "nut", images / "screw")
    for path in (images / "screw").rglob("*.png"):
        picture = Image.open(path)
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    project.run("defect,multiclass", **small)
    runs_made = newest()
    (whole,) = (run for run in runs_made if PARENT_TAG not in run.data.tags)
    assert whole.data.metrics == {}
    assert whole.data.tags["tasks"] == "defect+multiclass"
    table = runs_table(tracking_uri).loc[lambda t: t.index.isin([r.info.run_id for r in runs_made])]
    assert sorted(table["task"]) == ["defect", "multiclass"]
    for run_id, row in table.iterrows():
        (file,) = (project.path / f"data/08_reporting/{row['task']}").glob("*/*/*/metrics.json")
        metrics = json.loads(file.read_text(encoding="utf-8"))
        assert row["image_auroc"] == metrics["mean"]["image_auroc"]
        children = [r for r in runs_made if r.data.tags.get(PARENT_TAG) == run_id]
        assert {child.data.tags["task"] for child in children} == {row["task"]}
        assert len(children) == len(metrics["categories"]) > 1


def test_what_another_run_put_in_the_place_of_ours_is_not_logged_as_ours(
    project: Any,
    small: Parameters,
    newest: Callable[[], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that began before and was slower wrote its metrics after ours, as it read others."""
    check = hooks.check_sources

    def overtaken(*arguments: Any) -> None:
        (path,) = (project.path / "data/08_reporting" / project.place()).glob("nut/metrics.json")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        CheckedFile(str(path)).write(json.dumps({**metrics, "image_auroc": 0.123}).encode())
        check(*arguments)

    monkeypatch.setattr(hooks, "check_sources", overtaken)
    with pytest.raises(CommandError, match=r"metrics of 'nut' changed after an earlier run had"):
        project.run("defect", **small)
    (run,) = newest()
    assert (run.info.status, run.data.metrics) == ("FAILED", {})
