"""Every task but ``defect`` from images to report, through Kedro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import CommandError

Parameters = dict[str, Any]


def metrics(project: Any, place: str) -> dict[str, Any]:
    """The content of metrics.json."""
    path = project.path / "data/08_reporting" / place / "metrics.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def scores(project: Any, place: str) -> pd.DataFrame:
    """A category's image scores by image."""
    path = project.path / "data/07_model_output" / place / "image_scores.parquet"
    return pd.read_parquet(path).set_index("image")


def report(project: Any, place: str) -> str:
    """The report's text."""
    path: Path = project.path / "data/08_reporting" / place / "report.html"
    return path.read_text()


def error_line(project: Any, pipeline: str, parameters: Parameters) -> str:
    """The message that ends a run."""
    with pytest.raises(CommandError) as error:
        project.run(pipeline, **parameters)
    message = error.value.format_message()
    assert "\n" not in message
    return message


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of all images that the encoder was given, in order."""
    from uniformaly_pipeline.features import extraction

    given: list[str] = []
    original = extraction.encode_images

    def noted(encoder: Any, folder: Any, images: Any, **more: Any) -> Any:
        given.extend(images)
        return original(encoder, folder, images, **more)

    monkeypatch.setattr(extraction, "encode_images", noted)
    return given


def test_semantic(project: Any, small_classes: Parameters) -> None:
    """Every class is normal in turn, and all test images are tested each time."""
    project.run("semantic", **small_classes)
    place = project.place("semantic")
    of_red = scores(project, f"{place}/red")
    assert list(of_red.columns[:2]) == ["label", "score"]
    assert of_red["label"].to_dict() == {
        f"one_class_test/{name}/nested/{i}.png": int(name != "red")
        for name in ("red", "green", "blue")
        for i in range(2)
    }
    figures = metrics(project, place)
    assert set(figures["categories"]) == {"red", "green", "blue"}
    # Plain colours are told apart even by random weights.
    assert figures["mean"]["image_auroc"] == 1.0
    assert figures["mean"]["pixel_auroc"] is None
    assert "one_class_test/green/nested/0.png" in report(project, place)


def test_semantic_encodes_each_test_image_once(
    project: Any, small_classes: Parameters, encoded: list[str]
) -> None:
    """Another class costs its own train images and nothing else."""
    project.run("semantic", categories="red", **small_classes)
    tested = [path for path in encoded if path.startswith("one_class_test")]
    assert len(tested) == len(set(tested)) == 6
    assert len(encoded) == 6 + 3
    encoded.clear()
    project.run("semantic", categories="red+green", **small_classes)
    assert sorted(encoded) == [f"one_class_train/green/nested/{i}.png" for i in range(3)]
    encoded.clear()
    project.run("semantic", **small_classes)
    project.run("multiclass", **small_classes)
    project.run("lowshot", **small_classes)
    assert sorted(encoded) == [f"one_class_train/blue/nested/{i}.png" for i in range(3)]


def test_semantic_on_defect_data_leaves_defective_images_out(
    project: Any, small: Parameters
) -> None:
    project.run("semantic", **small)
    of_nut = scores(project, f"{project.place('semantic')}/nut")
    expected = {
        f"{name}/test/good/{i:03d}.png": int(name != "nut")
        for name in ("nut", "cloth")
        for i in range(3)
    }
    assert of_nut["label"].to_dict() == expected


def test_multiclass_on_defects_tests_each_category_with_one_bank(
    project: Any, small: Parameters
) -> None:
    project.run("multiclass", **small)
    figures = metrics(project, project.place("multiclass"))
    # One bank of both categories' patches, at the multi-class ratio of 0.05.
    sizes = {name: entry["bank_size"] for name, entry in figures["categories"].items()}
    assert sizes == dict.fromkeys(("cloth", "nut"), int(0.05 * 2 * 4 * 64))
    assert set(scores(project, f"{project.place('multiclass')}/nut").index.str[:3]) == {"nut"}
    assert figures["categories"]["nut"]["pixel_auroc"] > 0.9
    assert len(list((project.path / "data/06_models").rglob("memory_bank.safetensors"))) == 1


def test_multiclass_splits(project: Any, small_classes: Parameters) -> None:
    dataset = small_classes["datasets"]["class_folder"]
    dataset["splits"] = {"A": ["red", "blue"], "B": ["green"]}
    project.run("multiclass", memory_bank={"coreset_ratio": 0.2}, **small_classes)
    place = project.place("multiclass")
    of_a = scores(project, f"{place}/A")
    anomalous = of_a.index[of_a["label"] == 1]
    assert all("/green/" in path for path in anomalous)
    assert len(anomalous) == 2
    figures = metrics(project, place)
    assert figures["categories"]["A"]["num_train"] == 6
    assert figures["categories"]["B"]["num_train"] == 3
    assert figures["categories"]["B"]["bank_size"] == int(0.2 * 3 * 64)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"A": ["red", "bleu"]}, "no class 'bleu'; did you mean 'blue'?"),
        ({"A": ["red", "green", "blue"]}, "both normal and anomalous classes are needed"),
        ({"A": []}, "splits.A: list should have at least 1 item"),
    ],
)
def test_impossible_splits(
    project: Any, small_classes: Parameters, splits: Any, expected: str
) -> None:
    small_classes["datasets"]["class_folder"]["splits"] = splits
    assert expected in error_line(project, "multiclass", small_classes)
    assert project.outputs() == []


def test_clustering(project: Any, small: Parameters) -> None:
    project.run("clustering", **small)
    place = project.place("clustering")
    figures = metrics(project, place)["categories"]["nut"]
    # A black square in noise: two clear groups.
    assert {name: figures[name] for name in ("nmi", "ari", "f1")} == {
        "nmi": 1.0, "ari": 1.0, "f1": 1.0,
    }  # fmt: skip
    assert figures["image_auroc"] == 1.0
    output = project.path / "data/07_model_output" / place
    clusters = pd.read_parquet(output / "nut/clusters.parquet")
    assert set(clusters.columns) >= {"image", "defect", "cluster", "x", "y"}
    assert len(clusters) == 6
    assert clusters.groupby("defect")["cluster"].nunique().tolist() == [1, 1]
    page = report(project, place)
    assert "Contact sheet of each cluster of nut" in page
    settings = pd.read_csv(project.path / "data/08_reporting" / place / "sweep_metrics.csv")
    assert list(settings["value"]) == ["all", "max", "top 0.05", "top 0.01"]
    with Image.open(project.path / "data/08_reporting" / place / "nut/cluster_sheet.png") as sheet:
        assert sheet.height > 2 * 112


def test_lowshot(project: Any, small: Parameters) -> None:
    project.run("lowshot", lowshot={"shots": "1+3+9+all", "num_draws": 2}, **small)
    place = project.place("lowshot")
    settings = pd.read_csv(
        project.path / "data/08_reporting" / place / "sweep_metrics.csv", dtype=str
    )
    assert list(settings["value"]) == ["1", "3", "all"]
    of_nut = pd.read_parquet(
        project.path / "data/07_model_output" / place / "nut/sweep_metrics.parquet"
    ).set_index(["value", "draw"])
    assert list(of_nut.index) == [("1", 0), ("1", 1), ("3", 0), ("3", 1), ("all", 0)]
    assert of_nut["bank_size"].tolist() == [6, 6, 19, 19, 25]
    # All images: what the category's own row of the leaderboard says.
    whole = metrics(project, place)["categories"]["nut"]
    assert of_nut.loc[("all", 0), "image_auroc"] == whole["image_auroc"]
    assert of_nut.loc[("all", 0), "pixel_auroc"] == pytest.approx(whole["pixel_auroc"], abs=1e-9)
    assert "How many normal images it takes" in report(project, place)


ABLATION = {
    "top_k_ratio": [0.01, 0.05, 0.5],
    "kernel_size": [1, 7],
    "threshold": [0.1, 0.3],
    "mode": "binary+soft",
    "features": "max+top_k",
    "coreset_ratio": [0.05, 0.1, 1.0],
    "layers": [[2, 3], [8, 9]],
}


def test_ablation(project: Any, small: Parameters, encoded: list[str], tracking_uri: str) -> None:
    """Every setting from one encoding; the default's row equals the leaderboard."""
    project.run("ablation", ablation=ABLATION, seed=3, **small)
    assert len(encoded) == len(set(encoded)) == 20
    place = project.place("ablation")
    settings = pd.read_csv(
        project.path / "data/08_reporting" / place / "sweep_metrics.csv", dtype={"value": str}
    )
    assert settings.groupby("parameter", sort=False)["value"].agg(list).to_dict() == {
        "scoring.top_k_ratio": ["0.01", "0.05", "0.5"],
        "bpm.kernel_size": ["1", "7"],
        "bpm.threshold": ["0.1", "0.3"],
        "bpm.mode": ["binary", "soft"],
        "clustering.features": ["max", "top_k"],
        "memory_bank.coreset_ratio": ["0.05", "0.1", "1"],
        "backbone.layers": ["2 3 4 5 6 7 8 9", "2 3", "8 9"],
    }
    by_setting = settings.set_index(["parameter", "value"])
    mean = metrics(project, place)["mean"]
    for key, value in [
        ("scoring.top_k_ratio", "0.05"),
        ("bpm.kernel_size", "7"),
        ("backbone.layers", "2 3 4 5 6 7 8 9"),
    ]:
        row = by_setting.loc[(key, value)]
        assert row["image_auroc"] == pytest.approx(mean["image_auroc"], abs=1e-9)
        assert row["pixel_auroc"] == pytest.approx(mean["pixel_auroc"], abs=1e-9)
    layers = by_setting.loc["backbone.layers"]["pixel_auroc"]
    assert layers.nunique() == 3, "other blocks give other figures"
    page = report(project, place)
    assert "Smoothing kernel (paper Table 9)" in page
    _check_children(tracking_uri)


def _check_children(tracking_uri: str) -> None:
    """A child run per setting, each with its own value of the parameter under study."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("uniformaly_pipeline")
    children = client.search_runs(
        [experiment.experiment_id], "params.seed = '3' and tags.setting = 'bpm.kernel_size'"
    )
    by_value = {run.data.params["bpm.kernel_size"]: run for run in children}
    assert set(by_value) == {"1", "7"}
    assert by_value["1"].info.run_name == "bpm.kernel_size = 1"
    assert 0 <= by_value["1"].data.metrics["image_auroc"] <= 1
    assert by_value["1"].data.params["scoring.top_k_ratio"] == "0.05"
    assert by_value["1"].data.tags["top_k_ratio"] == "0.05"
    of_mode = client.search_runs(
        [experiment.experiment_id], "params.seed = '3' and tags.setting = 'bpm.mode'"
    )
    assert {run.data.tags["bpm"] for run in of_mode} == {"binary", "soft"}
    parent_id = by_value["1"].data.tags["mlflow.parentRunId"]
    curves = {file.path for file in client.list_artifacts(parent_id, "curves")}
    assert "curves/bpm.kernel_size.png" in curves


def test_layers_of_an_ablation_equal_a_run_with_those_layers(
    project: Any, small: Parameters
) -> None:
    ablation = {**{key: [] for key in ABLATION}, "layers": [[8, 9]]}
    project.run("ablation", ablation=ablation, features={"dtype": "float32"}, **small)
    of_nut = pd.read_parquet(
        project.path
        / "data/07_model_output"
        / project.place("ablation")
        / "nut/sweep_metrics.parquet"
    ).set_index("value")
    small["backbones"]["custom"] = {**small["backbones"]["custom"], "layers": [8, 9]}
    project.run("defect", features={"dtype": "float32"}, **small)
    whole = metrics(project, project.place("defect"))["categories"]["nut"]
    row = of_nut.loc["8 9"]
    assert row["bank_size"] == whole["bank_size"]
    assert row["pixel_auroc"] == pytest.approx(whole["pixel_auroc"], abs=1e-6)


def test_soft_masking_of_an_ablation_equals_a_run_with_it(project: Any, small: Parameters) -> None:
    ablation = {**{key: [] for key in ABLATION}, "mode": ["off", "soft"]}
    project.run("ablation", ablation=ablation, **small)
    of_nut = pd.read_parquet(
        project.path
        / "data/07_model_output"
        / project.place("ablation")
        / "nut/sweep_metrics.parquet"
    ).set_index("value")
    project.run("defect", bpm={"mode": "soft"}, **small)
    whole = metrics(project, project.place("defect"))["categories"]["nut"]
    row = of_nut.loc["soft"]
    assert row["bank_size"] == whole["bank_size"]
    for name in ("image_auroc", "pixel_auroc"):
        assert row[name] == pytest.approx(whole[name], abs=1e-9)
    assert abs(row["pixel_auroc"] - of_nut.loc["off", "pixel_auroc"]) > 1e-4, "weights matter"


@pytest.mark.parametrize("pipeline", ["defect", "clustering"])
def test_tasks_about_defects_refuse_data_without(
    project: Any, small_classes: Parameters, pipeline: str
) -> None:
    line = error_line(project, pipeline, small_classes)
    assert "its pipelines are semantic, multiclass, lowshot and ablation" in line
    assert project.outputs() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lowshot": {"shots": "1+none"}}, "lowshot.shots"),
        ({"lowshot": {"shots": []}}, "lowshot.shots"),
        ({"ablation": {"kernel_size": "3+4"}}, "4 must be odd"),
        ({"ablation": {"mode": "binary+hard"}}, "ablation.mode"),
        ({"ablation": {"top_k_ratio": [0.1, 0.1]}}, "the same value is listed twice"),
        ({"ablation": {"layers": [[2, 99]]}}, "asks for block 99"),
        ({"clustering": {"features": "best"}}, "clustering.features"),
        ({"predict": {"false_alarm_rate": 1}}, "predict.false_alarm_rate"),
    ],
)
def test_impossible_parameters(
    project: Any, small: Parameters, changes: Parameters, expected: str
) -> None:
    assert expected in error_line(project, "ablation", {**small, **changes})
    assert project.outputs() == []
