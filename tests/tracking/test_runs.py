"""What tells runs apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from plotly.graph_objects import Figure

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.detector.state import load_state
from uniformaly_pipeline.tracking.runs import (
    CategoryArtifacts,
    data_hash,
    detector_tags,
    log_category,
    log_data_set,
    run_name,
    run_tags,
)

PARAMETERS: dict[str, Any] = {
    "dataset": "demo",
    "backbone": "quickstart",
    "bpm": {"mode": "binary", "threshold": 0.1},
    "scoring": {"top_k_ratio": 0.05},
    "memory_bank": {"coreset_ratio": 0.1, "multiclass_coreset_ratio": 0.02},
    "seed": 3,
}
NAMES = {"dataset": "demo", "backbone": "quickstart", "run_key": "seed-3"}


def test_tags_equal_the_parameters() -> None:
    assert run_tags("defect", PARAMETERS, NAMES, "abc") == {
        "task": "defect",
        "dataset": "demo",
        "backbone": "quickstart",
        "bpm": "binary",
        "top_k_ratio": "0.05",
        "coreset_ratio": "0.1",
        "seed": "3",
        "run_key": "seed-3",
        "git_commit": "abc",
    }
    assert "git_commit" not in run_tags("defect", PARAMETERS, NAMES)


def test_coreset_ratio_is_that_of_the_tasks_banks() -> None:
    assert run_tags("multiclass", PARAMETERS, NAMES)["coreset_ratio"] == "0.02"


def test_name() -> None:
    name = run_name(run_tags("defect", PARAMETERS, NAMES))
    assert name == f"defect {NAMES['run_key']} demo quickstart"


@pytest.fixture
def manifest() -> pd.DataFrame:
    """Two images."""
    return pd.DataFrame(
        {
            "image": ["a.png", "b.png"],
            "class": ["bolt", "bolt"],
            "split": ["train", "test"],
            "defect": ["good", "dent"],
            "label": [0, 1],
            "content_hash": ["1", "2"],
            "mask_hash": ["", "7"],
            "fingerprint": ["x", "y"],
        }
    )


def test_the_tags_of_a_detector_are_those_of_its_making(detector_file: Path) -> None:
    state = load_state(detector_file)
    made = state.bank.metadata
    assert detector_tags(state) == {
        "bpm": made["bpm"]["mode"],
        "top_k_ratio": str(state.scoring.top_k_ratio),
        "coreset_ratio": str(made["coreset_ratio"]),
        "seed": str(made["seed"]),
    }
    bare = {key: value for key, value in made.items() if key != "seed"}
    older = replace(state, bank=ArrayBundle(state.bank.arrays, bare))
    assert detector_tags(older)["seed"] == "unknown"


def test_data_hash_follows_pictures_and_what_they_are_for(manifest: pd.DataFrame) -> None:
    of_all = data_hash(manifest)
    assert len(of_all) == 12
    # Names, times and order change nothing.
    moved = manifest.assign(image=["c", "d"], fingerprint="z").iloc[::-1]
    assert data_hash(moved) == of_all
    for column, value in (("content_hash", "3"), ("split", "test"), ("mask_hash", "8")):
        assert data_hash(manifest.assign(**{column: value})) != of_all


def test_a_category_is_logged_whole_in_one_request(
    tracked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one upload; each request waits for the database to write."""
    import mlflow
    from mlflow import MlflowClient

    asked: list[str] = []
    for name in ("log_batch", "log_artifacts", "log_figure"):
        method = getattr(MlflowClient, name)

        def counted(*arguments: Any, name: str = name, method: Any = method, **named: Any) -> Any:
            asked.append(name)
            return method(*arguments, **named)

        monkeypatch.setattr(MlflowClient, name, counted)
    experiment = mlflow.create_experiment("batches", artifact_location=str(tmp_path / "artifacts"))
    with mlflow.start_run(experiment_id=experiment) as parent:
        artifacts = CategoryArtifacts(
            metrics={"image_auroc": 0.5, "pixel_auroc": None},
            image_scores=pd.DataFrame({"image": ["a.png"], "score": [1.0]}),
            figures={"cluster_figure": b"png"},
            plots={"roc_plot": Figure()},
            gallery=[],
        )
        log_category(parent.info.run_id, "bolt", artifacts, PARAMETERS, {"task": "defect"})
    assert sorted(asked) == ["log_artifacts", "log_batch"]
    client = MlflowClient(tracked)
    (child,) = client.search_runs([experiment], "tags.category = 'bolt'")
    assert child.data.metrics == {"image_auroc": 0.5}
    assert child.data.params["scoring.top_k_ratio"] == "0.05"
    assert child.data.tags["task"] == "defect"
    files = {file.path for file in client.list_artifacts(child.info.run_id)}
    assert files == {"image_scores.csv", "cluster_figure.png", "roc_plot.html"}


@pytest.mark.parametrize(("root", "kind"), [("data/01_raw/nuts", "local"), ("s3://b/nuts", "s3")])
def test_a_run_says_which_images_it_is_of(tracked: str, root: str, kind: str) -> None:
    images = pd.DataFrame(
        {
            "class": ["nut", "nut", "bolt", "bolt"],
            "split": ["train", "test", "test", "test"],
            "defect": ["good", "good", "dent", "dent"],
            "label": [0, 0, 1, 1],
            "content_hash": list("abcd"),
            "mask_hash": ["", "", "5", "6"],
        }
    )
    run = MlflowClient(tracked).create_run("0").info.run_id
    log_data_set(run, "nuts", root, images)
    (logged,) = MlflowClient(tracked).get_run(run).inputs.dataset_inputs
    found = logged.dataset
    assert (found.name, found.digest, found.source_type) == ("nuts", data_hash(images), kind)
    assert json.loads(found.source) == {"uri": root}
    assert json.loads(found.profile) == {
        "classes": 2, "train images": 1, "test images": 3, "anomalous test images": 2,
    }  # fmt: skip
