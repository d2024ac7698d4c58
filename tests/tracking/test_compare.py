"""Runs of a small MLflow database side by side."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.tracking.compare import main, runs_table
from uniformaly_pipeline.tracking.runs import log_parameters, run_tags

Run = dict[str, Any]

RUNS: list[Run] = [
    {"backbone": "small", "bpm": "binary", "seed": 0, "image_auroc": 0.9, "num_test": 8},
    {"backbone": "large", "bpm": "binary", "seed": 0, "image_auroc": 0.95, "num_test": 8},
    {"backbone": "large", "bpm": "off", "seed": 0, "image_auroc": 0.85, "num_test": 8},
    {"task": "semantic", "backbone": "large", "bpm": "off", "seed": 1, "image_auroc": 0.7},
]


def parameters(run: Run) -> dict[str, Any]:
    """Resolved parameters of a run, the few that matter here."""
    return {
        "dataset": "demo",
        "backbone": run["backbone"],
        "backbones": {run["backbone"]: {"model": f"vit_{run['backbone']}"}},
        "bpm": {"mode": run["bpm"]},
        "scoring": {"top_k_ratio": 0.05, "num_neighbors": 1 if run["bpm"] == "binary" else 3},
        "memory_bank": {"coreset_ratio": 0.1},
        "seed": run["seed"],
    }


def track(client: Any, experiment: str, run: Run, start: int, **tags: str) -> str:
    """A finished run."""
    run_id: str = client.create_run(experiment, start_time=start).info.run_id
    names = {"dataset": "demo", "backbone": run["backbone"], "run_key": f"bpm.mode-{run['bpm']}"}
    own = run_tags(run.get("task", "defect"), parameters(run), names, "0123456789ab+changes")
    log_parameters(run_id, parameters(run), {**own, **tags})
    for name in ("image_auroc", "num_test"):
        if name in run:
            client.log_metric(run_id, name, run[name])
    client.set_terminated(run_id)
    return run_id


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The runs, a category of the first, a setting of the second, and one that failed."""
    import mlflow
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    client = MlflowClient()
    experiment = client.create_experiment("uniformaly_pipeline")
    for number, run in enumerate(RUNS):
        track(client, experiment, run, start=1_000_000 * (number + 1))
    track(client, experiment, {**RUNS[0], "image_auroc": 1.0}, 1, category="bolt")
    track(client, experiment, RUNS[1], 2, setting="bpm.mode")
    failed = client.create_run(experiment, tags={"task": "defect"}).info.run_id
    client.set_terminated(failed, "FAILED")
    yield path
    mlflow.set_tracking_uri(before)


@pytest.fixture
def uri(database: Path) -> str:
    """The database's address."""
    return f"sqlite:///{database}"


def test_a_row_per_finished_task_newest_first(uri: str) -> None:
    table = runs_table(uri)
    assert list(table["image_auroc"]) == [0.7, 0.85, 0.95, 0.9]
    assert list(table["task"]) == ["semantic", "defect", "defect", "defect"]
    assert table.index.name == "run_id"
    assert table.index.is_unique
    assert table["started"].is_monotonic_decreasing


def test_settings_then_parameters_that_differ_then_metrics(uri: str) -> None:
    table = runs_table(uri)
    assert list(table.columns) == [
        "run", "started", "task", "dataset", "backbone", "bpm", "top_k_ratio", "coreset_ratio",
        "seed", "run_key", "git_commit", "data_hash", "scoring.num_neighbors", "image_auroc",
        "num_test",
    ]  # fmt: skip
    # Numbers can be drawn and sorted; what a run lacks is undefined.
    assert list(table["top_k_ratio"]) == [0.05] * 4
    assert list(table["scoring.num_neighbors"]) == [3, 3, 1, 1]
    assert pd.isna(table["num_test"].iloc[0])


def test_differing_leaves_out_what_is_the_same(uri: str) -> None:
    table = runs_table(uri, task="defect", differing=True)
    assert list(table.columns) == [
        "run", "started", "backbone", "bpm", "run_key", "scoring.num_neighbors",
        "image_auroc",
    ]  # fmt: skip
    asked_for = runs_table(uri, task="defect", differing=True, metrics=["num_test"])
    assert list(asked_for.columns)[-1] == "num_test"


def test_filters(uri: str) -> None:
    assert list(runs_table(uri, task="defect", last=2)["image_auroc"]) == [0.85, 0.95]
    of_bolt = runs_table(uri, category="bolt")
    assert list(of_bolt["image_auroc"]) == [1.0]
    with pytest.raises(InputError, match="no finished run"):
        runs_table(uri, dataset="mvtec")
    with pytest.raises(InputError, match="did you mean 'image_auroc'"):
        runs_table(uri, metrics=["image_aurok"])
    with pytest.raises(InputError, match="did you mean 'uniformaly_pipeline'"):
        runs_table(uri, experiment="uniformaly")


def test_runs_without_tags_show_their_parameters(uri: str) -> None:
    """As tracked before there were such tags."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.create_experiment("old")
    run_id = track(client, experiment, RUNS[2], 5)
    for name in ("bpm", "top_k_ratio", "coreset_ratio", "seed"):
        client.delete_tag(run_id, name)
    row = runs_table(uri, experiment="old").iloc[0]
    assert (row["bpm"], row["top_k_ratio"], row["seed"]) == ("off", 0.05, 0)


def test_no_database_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there are no runs in sqlite:///mlflow"):
        runs_table()
    assert not list(tmp_path.iterdir())


def test_comparing_does_not_change_where_runs_are_tracked(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook may compare a colleague's runs between two of its own."""
    import mlflow

    before = mlflow.get_tracking_uri()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = tmp_path / "mlflow.db"
    shutil.copy(uri.removeprefix("sqlite:///"), copy)
    assert len(runs_table(f"sqlite:///{copy}")) == len(RUNS)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.get_tracking_uri() == before


def test_command(database: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["--tracking-uri", str(database), "--task=defect"])
    assert run.exit_code == 0, run.output
    for shown in ("AUROC", "0.9500", "binary", "0123456+changes", "scoring.num_neighbors"):
        assert shown in run.output
    assert "semantic" not in run.output
    csv = tmp_path / "runs.csv"
    run = CliRunner().invoke(main, ["--tracking-uri", str(database), "--csv", str(csv)])
    assert run.exit_code == 0, run.output
    assert len(pd.read_csv(csv)) == len(RUNS)


def test_command_ends_with_one_line(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["--tracking-uri", str(tmp_path / "none.db")])
    assert run.exit_code == 1
    assert run.output.startswith("Error: there are no runs in sqlite:///")


def test_what_all_runs_share_is_said_once(database: Path) -> None:
    run = CliRunner().invoke(main, ["--tracking-uri", str(database), "--task=defect"])
    line = run.output.splitlines()[-1]
    assert line.startswith("all: task defect, dataset demo, top k ratio 0.05")
    assert "dataset" not in run.output.removesuffix(line + "\n")
