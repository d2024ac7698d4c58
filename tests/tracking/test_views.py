"""Saved tables of MLflow's pages, and the address that opens one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from uniformaly_pipeline.evaluation.metrics import BRIEF_METRICS
from uniformaly_pipeline.tracking.views import (
    COLUMNS,
    VIEW_TAG,
    VIEWS,
    main,
    save_views,
    view_address,
)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sqlite:///mlflow.db", "http://127.0.0.1:5000"),
        ("http://host:8080/", "http://host:8080"),
        ("https://user:secret@host/mlflow", "https://host/mlflow"),
    ],
)
def test_the_address_is_the_servers_or_that_of_mlflow_ui(uri: str, address: str) -> None:
    found = view_address(uri, "7", "categories")
    assert found == f"{address}/#/experiments/7/runs?viewStateShareKey=categories"


def test_the_command_prints_the_address_of_all_runs(
    tracked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked)
    answer = CliRunner().invoke(main)
    assert answer.exit_code == 1
    assert answer.stderr == f"Error: there are no runs in {tracked} yet: first kedro run\n"
    experiment = MlflowClient(tracked).create_experiment("uniformaly_pipeline")
    answer = CliRunner().invoke(main)
    assert answer.exit_code == 0, answer.output
    assert answer.output.startswith(f"Open {view_address(tracked, experiment)} (")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    answer = CliRunner().invoke(main)
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: there are no runs in sqlite:///")


def test_views_are_saved_once_and_stay_as_people_left_them(tracked: str) -> None:
    client = MlflowClient(tracked)
    experiment = client.create_experiment("mine")
    run = client.create_run(experiment).info.run_id
    save_views(run)
    saved = client.get_experiment(experiment).tags
    for key, view in VIEWS.items():
        state = json.loads(json.loads(saved[f"{VIEW_TAG}{key}"])["state"])
        assert state["columnOrder"] == view["columns"]
    # Whoever opens it sees the metrics without scrolling.
    assert COLUMNS[:3] == [f"metrics.`{name}`" for name in ("image_auroc", "pixel_auroc", "aupro")]
    assert {f"metrics.`{name}`" for name in BRIEF_METRICS} < set(COLUMNS)
    client.set_experiment_tag(experiment, f"{VIEW_TAG}runs", "my own")
    save_views(run)
    assert client.get_experiment(experiment).tags[f"{VIEW_TAG}runs"] == "my own"
