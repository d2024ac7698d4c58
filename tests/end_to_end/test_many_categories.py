"""Categories in chunks: the same files with the same content, and fewer nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import pipelines
from safetensors.numpy import load_file

from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.evaluation import leaderboard
from uniformaly_pipeline.pipelines.tasks import plan
from uniformaly_pipeline.reporting.gallery.storage import load_gallery

TIMES = {"images_per_second", "seconds"}


def same(one: Path, other: Path) -> None:
    """Check that two files hold the same results."""
    if one.suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other))
    elif one.suffix == ".safetensors":
        first, second = load_file(one), load_file(other)
        assert first.keys() == second.keys()
        for name, array in first.items():
            np.testing.assert_array_equal(array, second[name])
    elif one.name == "metrics.json":
        assert without_times(json.loads(one.read_text())) == without_times(
            json.loads(other.read_text())
        )
    else:
        assert one.read_bytes() == other.read_bytes(), one


def files_in(folder: Path) -> list[Path]:
    """Its files, but for those whose names tell attempts apart."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if not {".checksums", "gallery"} & {*path.parts})


def without_times(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {key: without_times(each) for key, each in content.items() if key not in TIMES}


@pytest.mark.slow
def test_categories_in_chunks_have_the_files_that_they_have_alone(
    project: Any, small: dict[str, Any], tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    project.run(**small)
    place = project.place()
    layers = [f"data/{layer}" for layer in ("05_model_input", "06_models", "07_model_output")]
    folders = [project.path / layer / place for layer in (*layers, "data/08_reporting")]
    alone = [folder.rename(folder.with_name("alone")) for folder in folders]
    monkeypatch.setattr(plan, "MANY_CATEGORIES", 1)
    monkeypatch.setattr(plan, "MOST_CHUNKS", 1)
    monkeypatch.setattr(leaderboard, "MANY_CATEGORIES", 1)
    project.run(**small, mlflow={"log_detector": True})
    of_categories = [node.namespace for node in pipelines["defect"].nodes if node.namespace]
    assert {name for name in of_categories if "." in name} == {"defect.chunk_1"}
    for before, after in zip(alone, folders, strict=True):
        files = files_in(before)
        assert files == files_in(after)
        of_a_category = [path for path in files if path.parts[0] in ("nut", "cloth")]
        assert of_a_category
        for path in of_a_category:
            same(before / path, after / path)
    for category in ("nut", "cloth"):
        galleries = [load_gallery(f / category / "gallery") for f in (alone[-1], folders[-1])]
        assert galleries[0] == galleries[1] != []
    # A category of a chunk is a detector like any other, and a model of the whole task's run.
    root = Path(small["datasets"]["folder"]["root"])
    for category in ("nut", "cloth"):
        detector = Detector.from_run(project.path / "data", category, run=place, device="cpu")
        tested = pd.read_parquet(folders[2] / category / "image_scores.parquet")
        results = detector.predict([root / image for image in tested["image"]])
        scores = [result.score for result in results]
        np.testing.assert_allclose(scores, tested["score"], rtol=1e-6)
        held_out = tested["score"][tested["label"] == 0]
        np.testing.assert_allclose(detector.calibration_scores, held_out, rtol=1e-6)
    # One table in place of a child for each.
    client = MlflowClient(tracking_uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, "", order_by=["attributes.start_time DESC"])
    newest = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [
        run for run in runs if run.data.tags.get("mlflow.parentRunId") == newest.info.run_id
    ]
    assert not children
    models = client.search_model_versions(f"run_id='{newest.info.run_id}'")
    assert sorted(model.name for model in models) == ["cloth", "nut"]
    table = json.loads(
        Path(
            client.download_artifacts(newest.info.run_id, "categories.json", str(project.path))
        ).read_text()
    )
    assert [row[0] for row in table["data"]] == ["cloth", "nut"]
