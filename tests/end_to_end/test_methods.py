"""Other methods, seeds and turned images from images to report, through Kedro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from uniformaly_pipeline import Detector
from uniformaly_pipeline.common.errors import CommandError, InputError
from uniformaly_pipeline.features import extraction
from uniformaly_pipeline.scoring.methods.interface import MethodName

METHODS = get_args(MethodName)


def metrics(project: Any, place: str) -> dict[str, Any]:
    path = project.path / "data/08_reporting" / place / "metrics.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def with_method(small: dict[str, Any], method: str, **more: Any) -> dict[str, Any]:
    return {**small, "scoring": {"method": method}, "features": {"keep": "all"}, **more}


def test_every_method_runs_and_is_what_the_ablation_says_of_it(
    project: Any, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one store of features, and each under its own name."""
    encoded: list[str] = []
    original = extraction.encode_images

    def noted(encoder: Any, folder: Any, images: Any, **more: Any) -> Any:
        encoded.extend(images)
        return original(encoder, folder, images, **more)

    monkeypatch.setattr(extraction, "encode_images", noted)
    others = ("top_k_ratio", "kernel_size", "threshold", "mode", "features", "coreset_ratio")
    nothing: dict[str, Any] = {name: [] for name in others}
    project.run("ablation", ablation=nothing | {"method": "+".join(METHODS)}, **small)
    assert len(encoded) == len(set(encoded)) == 20
    place = project.place("ablation")
    table = pd.read_csv(project.path / "data/08_reporting" / place / "sweep_metrics.csv")
    assert list(table["value"]) == list(METHODS)
    quality = {"image_auroc", "image_ap", "image_f1_max", "pixel_ap", "pixel_f1_max", "aupro"}
    assert quality < set(table)
    places = set()
    for method in ("uniformaly", "patchcore", "mean_patch_knn"):
        project.run("defect", **with_method(small, method))
        place = project.place("defect")
        places.add(place)
        mean = metrics(project, place)["mean"]
        row = table[table["value"] == method].iloc[0]
        for name in quality:
            if method == "mean_patch_knn" and not name.startswith("image"):
                assert mean[name] is None
                assert np.isnan(row[name])
            else:
                assert row[name] == pytest.approx(mean[name], abs=1e-6), (method, name)
        assert (project.path / "data/08_reporting" / place / "report.html").exists()
    assert len(encoded) == 20
    assert len(places) == 3


@pytest.mark.parametrize("method", ["padim", "mean_patch_knn"])
def test_methods_run_where_classes_are_foreign_and_banks_are_shared(
    method: str, project: Any, small: dict[str, Any], small_classes: dict[str, Any]
) -> None:
    project.run("semantic", **with_method(small_classes, method))
    assert metrics(project, project.place("semantic"))["mean"]["image_auroc"] > 0.9
    project.run("multiclass", **with_method(small, method))
    assert metrics(project, project.place("multiclass"))["mean"]["image_auroc"] is not None


@pytest.mark.parametrize(
    ("pipeline", "method", "more", "said"),
    [
        ("clustering", "mean_patch_knn", {}, "clustering groups images by their highest-scoring"),
        ("predict", "padim", {"predict": {"category": "nut"}}, "and predict compares patches"),
    ],
)
def test_what_makes_no_sense_is_one_line_before_any_work(
    pipeline: str, method: str, more: Any, said: str, project: Any, small: dict[str, Any]
) -> None:
    with pytest.raises(CommandError) as error:
        project.run(pipeline, **with_method(small, method, **more))
    line = error.value.format_message()
    assert "\n" not in line
    assert said in line
    assert project.outputs() == []


def test_detectors_of_finished_runs(project: Any, small: dict[str, Any], images: Path) -> None:
    """They score as their run did; of a method that shows no patches there is none."""
    for method in ("patchcore", "anomalydino"):
        project.run("defect", **with_method(small, method))
        place = project.place("defect")
        detector = Detector.from_run("data", "nut", run=place, threshold=1.0)
        path = project.path / "data/07_model_output" / place / "nut/image_scores.parquet"
        for row in pd.read_parquet(path).itertuples():
            result = detector.predict(str(images / row.image))
            assert result.score == pytest.approx(row.score, rel=1e-3)
    project.run("defect", **with_method(small, "padim"))
    with pytest.raises(InputError, match=r"scoring\.method is padim, and a detector .* compares"):
        Detector.from_run("data", "nut", run=project.place("defect"), threshold=1.0)


def test_metrics_of_several_seeds_are_means_of_their_runs(
    project: Any, small: dict[str, Any]
) -> None:
    # Weights of the tiny backbone follow the seed: its features are those of the first.
    project.run("defect", seeds="0+1", memory_bank={"coreset_ratio": 0.02}, **small)
    place = project.place("defect")
    assert "seeds-0.1" in place
    of_nut = pd.read_parquet(
        project.path / "data/07_model_output" / place / "nut/seed_metrics.parquet"
    )
    assert list(of_nut["seed"]) == [0, 1]
    assert of_nut["pixel_auroc"].nunique() == 2
    whole = metrics(project, place)
    nut = whole["categories"]["nut"]
    assert nut["pixel_auroc"] == pytest.approx(of_nut["pixel_auroc"].mean())
    assert nut["pixel_auroc_over_seeds"] == pytest.approx(of_nut["pixel_auroc"].std(ddof=0))
    project.run("defect", memory_bank={"coreset_ratio": 0.02}, **small)
    alone = metrics(project, project.place("defect"))["categories"]["nut"]
    assert alone["pixel_auroc"] == of_nut["pixel_auroc"][0]
    assert alone["threshold"] == nut["threshold"]
    board = pd.read_csv(project.path / "data/08_reporting" / place / "leaderboard.csv")
    assert board.set_index("category").at["nut", "pixel_auroc_over_seeds"] > 0
    page = (project.path / "data/08_reporting" / place / "report.html").read_text()
    assert "metrics are means over 0, 1" in page
    import mlflow

    (run,) = (
        mlflow.search_runs(
            filter_string=f"tags.run_key = '{place.rpartition('/')[2]}' and tags.task = 'defect'",
            search_all_experiments=True,
        )
        .query("`tags.category`.isna()", engine="python")
        .to_dict("records")
    )
    assert run["metrics.pixel_auroc_over_seeds"] == pytest.approx(
        whole["mean"]["pixel_auroc_over_seeds"]
    )


def test_a_shared_bank_is_made_of_each_seed_once(project: Any, small: dict[str, Any]) -> None:
    few = {"multiclass_coreset_ratio": 0.02}
    project.run("multiclass", seeds="1+0+2", memory_bank=few, **small)
    place = project.place("multiclass")
    whole = metrics(project, place)
    (bank,) = (project.path / "data/06_models" / place).glob("*_bank")
    for seed in (1, 2):
        other = load_file(f"{bank}_of_seed_{seed}/memory_bank.safetensors")["memory_bank"]
        assert other.shape == load_file(bank / "memory_bank.safetensors")["memory_bank"].shape
        assert not np.array_equal(other, load_file(bank / "memory_bank.safetensors")["memory_bank"])
    tables = {
        name: pd.read_parquet(
            project.path / "data/07_model_output" / place / name / "seed_metrics.parquet"
        )
        for name in whole["categories"]
    }
    assert len(tables) == 2
    for name, table in tables.items():
        assert list(table["seed"]) == [1, 0, 2]
        mean = whole["categories"][name]["image_auroc"]
        assert mean == pytest.approx(table["image_auroc"].mean())
    assert tables["nut"]["pixel_auroc"].nunique() == 3
    project.run("multiclass", memory_bank=few, **small)
    alone = metrics(project, project.place("multiclass"))["categories"]
    for name, table in tables.items():
        assert alone[name]["image_auroc"] == table["image_auroc"][1]
    assert alone["nut"]["pixel_auroc"] == tables["nut"]["pixel_auroc"][1]


def test_few_images_may_be_turned(project: Any, small: dict[str, Any]) -> None:
    project.run("lowshot", lowshot={"shots": "1+all", "num_draws": 2, "rotations": 3}, **small)
    place = project.place("lowshot")
    of_nut = pd.read_parquet(
        project.path / "data/07_model_output" / place / "nut/sweep_metrics.parquet"
    )
    assert of_nut["bank_size"].tolist() == [19, 19, 25]  # a tenth of 3 x 64 and of 4 x 64
