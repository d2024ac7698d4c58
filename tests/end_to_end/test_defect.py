"""The defect pipeline from images to report, through Kedro."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

Parameters = dict[str, Any]


def image_scores(project: Any, category: str, results: str = "") -> pd.DataFrame:
    """A category's scores by image."""
    path = (
        project.path
        / "data/07_model_output"
        / (results or project.place())
        / category
        / "image_scores.parquet"
    )
    return pd.read_parquet(path).set_index("image")


def metrics(project: Any, results: str = "") -> dict[str, Any]:
    """The content of metrics.json."""
    path = project.path / "data/08_reporting" / (results or project.place()) / "metrics.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_outputs(project: Any, small: Parameters, capsys: pytest.CaptureFixture[str]) -> None:
    """The files that others rely on are there, with the content that DESIGN fixes."""
    project.run(**small)
    scores = image_scores(project, "nut")
    assert list(scores.columns[:2]) == ["label", "score"]
    assert scores["label"].to_dict() == {
        **{f"nut/test/good/{i:03d}.png": 0 for i in range(3)},
        **{f"nut/test/hole/{i:03d}.png": 1 for i in range(3)},
    }
    # A black square in noise is found even by random weights.
    assert scores.loc[scores["label"] == 1, "score"].min() > (
        scores.loc[scores["label"] == 0, "score"].max()
    )
    figures = metrics(project)
    assert set(figures) == {"mean", "std", "count", "categories"}
    assert figures["categories"]["nut"]["image_auroc"] == 1.0
    assert figures["categories"]["nut"]["pixel_auroc"] > 0.9
    assert figures["categories"]["cloth"]["pixel_auroc"] is None
    assert figures["categories"]["nut"]["bank_size"] == int(0.1 * 4 * 64)
    assert figures["mean"]["image_auroc"] == 1.0
    assert figures["std"]["image_auroc"] == 0.0
    reporting = project.path / "data/08_reporting" / project.place()
    leaderboard = pd.read_csv(reporting / "leaderboard.csv")
    assert list(leaderboard["category"]) == ["cloth", "nut", "mean", "std"]
    report = (reporting / "report.html").read_text()
    assert "nut/test/hole/000.png" in report
    assert "has random weights" in report
    shown = capsys.readouterr().out
    assert "image AUROC" in shown
    assert "report.html" in shown


def test_tracking(project: Any, small: Parameters, tracking_uri: str) -> None:
    """One parent run with every parameter, mean figures and artifacts; one child per category."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    project.run(seed=7, **small)
    experiment = client.get_experiment_by_name("uniformaly_pipeline")
    parents = client.search_runs(
        [experiment.experiment_id],
        "params.seed = '7' and tags.task = 'defect' and tags.category IS NULL",
    )
    assert len(parents) == 1
    parent = parents[0]
    assert parent.info.status == "FINISHED"
    place = project.place().split("/")
    assert parent.info.run_name == " ".join(["defect", place[-1], "images", "vit_tiny_patch16_224"])
    assert place[-1].startswith("seed-7_")
    told = {
        "task": "defect", "dataset": "images", "backbone": "vit_tiny_patch16_224",
        "bpm": "binary", "run_key": project.place().rpartition("/")[2],
        "top_k_ratio": "0.05", "coreset_ratio": "0.1", "seed": "7",
    }  # fmt: skip
    assert told.items() <= parent.data.tags.items()
    assert len(parent.data.tags["data_hash"]) == 12
    assert "kedro run --pipelines=defect" in parent.data.tags["mlflow.note.content"]
    assert parent.data.params["scoring.top_k_ratio"] == told["top_k_ratio"]
    assert "mlflow.sharedViewState.runs" in client.get_experiment(experiment.experiment_id).tags
    assert parent.data.params["bpm.threshold"] == "0.1"
    assert parent.data.params["memory_bank.coreset_ratio"] == "0.1"
    assert parent.data.params["backbones.custom.model_kwargs.embed_dim"] == "24"
    assert not any(key.startswith("datasets.demo") for key in parent.data.params)
    assert parent.data.metrics["image_auroc"] == 1.0
    assert parent.data.metrics["image_auroc_std"] == 0.0
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"leaderboard.csv", "metrics.json", "report.html"}
    children = client.search_runs(
        [experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    )
    assert {child.info.run_name for child in children} == {"nut", "cloth"}
    for child in children:
        assert child.info.status == "FINISHED"
        assert child.data.metrics["bank_size"] == 25
        assert child.data.params["seed"] == "7"
        assert told.items() <= child.data.tags.items()
        assert child.data.tags["category"] == child.info.run_name
        assert child.data.tags["data_hash"] == parent.data.tags["data_hash"]
        artifacts = {file.path for file in client.list_artifacts(child.info.run_id)}
        assert {"roc_plot.html", "score_plot.html"} <= artifacts
        assert client.list_artifacts(child.info.run_id, "heat_maps")


def test_features_are_encoded_once(
    project: Any, small: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    """A second run with another memory bank finds every feature in the store."""
    with caplog.at_level("INFO"):
        project.run(**small)
        first = image_scores(project, "nut")["score"]
        caplog.clear()
        project.run(memory_bank={"coreset_ratio": 0.5}, **small)
    assert "0 images to encode, 20 stored already" in caplog.text
    assert metrics(project)["categories"]["nut"]["bank_size"] == 128
    # More normal patches to compare with: no patch gets farther from its nearest one.
    assert (image_scores(project, "nut")["score"] <= first + 1e-6).all()


def test_one_category_by_name(project: Any, small: Parameters) -> None:
    project.run(categories="nut", **small)
    assert list(metrics(project)["categories"]) == ["nut"]


def test_names_that_namespaces_cannot_hold(project: Any, small: Parameters, images: Any) -> None:
    """A category's name is kept in the results; only its folder's name is adapted."""
    (images / "nut").rename(images / "hex nut v1.5")
    project.run(categories="hex nut v1.5", **small)
    assert list(metrics(project)["categories"]) == ["hex nut v1.5"]
    assert len(image_scores(project, "hex_nut_v1_5")) == 6


def test_bpm_modes(project: Any, small: Parameters) -> None:
    """Every masking runs, and says so in its scores: binary zeroes patches that off scores."""
    found = {}
    for mode in ("binary", "soft", "off"):
        bpm = {"mode": mode, "kernel_size": 1, "threshold": 0.99}
        project.run(categories="nut", bpm=bpm, **small)
        found[mode] = metrics(project)["categories"]["nut"]["bank_size"]
    assert found["off"] == found["soft"] == int(0.1 * 4 * 64)
    assert 0 < found["binary"] < found["off"]


def test_ingestion_alone(project: Any, small: Parameters) -> None:
    project.run("ingestion", **small)
    names = ("counts.csv", "findings.csv", "masks.csv", "masks.png", "report.html", "samples.png")
    assert project.outputs() == [
        "02_intermediate/images/manifest.parquet",
        "06_models/data_sets/images.json",
        *(f"08_reporting/ingestion/images/{name}" for name in names),
    ]


@pytest.mark.slow
def test_runners_agree(demo: Any) -> None:
    """The demo gives the same scores with every runner."""
    reference: dict[str, pd.Series] = {}
    for runner in ("SequentialRunner", "ThreadRunner", "ParallelRunner"):
        run = demo.kedro("run", "--env=test", "--pipeline=defect", f"--runner={runner}")
        assert run.returncode == 0, run.stdout + run.stderr
        assert "image AUROC" in run.stdout
        for category in ("button", "denim"):
            scores = image_scores(
                demo,
                category,
                "defect/demo/quickstart/categories-button.denim_preprocessing.resize-112_pr-a09db095",
            )["score"]
            pd.testing.assert_series_equal(
                scores, reference.setdefault(category, scores), rtol=1e-5, check_exact=False
            )


@pytest.mark.slow
def test_lineage(project: Any) -> None:
    """Kedro-Viz builds the site, with a box per category and layers from raw to report."""
    build = project.kedro("viz", "build")
    assert build.returncode == 0, build.stdout + build.stderr
    graph = json.loads((project.path / "build/api/main").read_text())
    names = {node["name"] for node in graph["nodes"] if node["type"] == "modularPipeline"}
    assert {"defect", "defect.button", "defect.denim"} <= names
    assert graph["layers"] == [
        "raw", "manifest", "features", "memory bank", "scores", "metrics", "report",
    ]  # fmt: skip
