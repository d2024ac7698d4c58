"""A finished run's category, exported and registered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.detector.detector import Detector

Parameters = dict[str, Any]


def error_line(project: Any, **parameters: Any) -> str:
    with pytest.raises(CommandError) as refused:
        project.run("export", **parameters)
    return refused.value.message


def test_a_finished_run_is_exported_and_registered(
    project: Any, small: Parameters, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of the run is said again, and its category is the model's name."""
    project.run("defect", **small)
    scored = pd.read_parquet(
        project.path / f"data/07_model_output/{project.place()}/nut/image_scores.parquet"
    ).set_index("image")["score"]
    place = project.place().removeprefix("defect/")
    client = mlflow.MlflowClient()
    versions = {v.version for v in client.search_model_versions("name='nut'")}
    capsys.readouterr()
    project.run("export", export={"category": "nut", "format": "onnx"})
    folder = project.path / f"data/06_models/export/{place}/nut/onnx"
    card = json.loads((folder / "card.json").read_text())
    assert card["decisions_flipped"] == 0
    shown = capsys.readouterr().out
    assert "all decisions are the same" in " ".join(shown.split())
    assert f"data/06_models/export/{place}/nut/onnx" in "".join(shown.split())
    hole = images / "nut/test/hole/000.png"
    assert Detector.load(folder).predict(hole).score == pytest.approx(
        scored["nut/test/hole/000.png"], rel=1e-4
    )
    (new,) = [v for v in client.search_model_versions("name='nut'") if v.version not in versions]
    run = client.get_run(new.run_id)
    assert run.data.tags["task"] == "export"
    assert run.info.status == "FINISHED"
    client.set_registered_model_alias("nut", "champion", new.version)
    model = mlflow.pyfunc.load_model("models:/nut@champion")
    row = model.predict(pd.DataFrame({"image": [str(hole)]})).iloc[0]
    assert row["score"] == pytest.approx(scored["nut/test/hole/000.png"], rel=1e-4)

    # A detector's file, compared on images of one's own, with another threshold.
    Detector.load(folder).save(project.path / "mine.safetensors")
    asked = {"detector": str(folder), "images": str(images / "nut/test"), "threshold": 1e6}
    project.run("export", export={**asked, "format": "safetensors"})
    (other,) = (project.path / "data/06_models/export/detectors").rglob("card.json")
    card = json.loads(other.read_text())
    assert card["decisions_compared"] == 6
    assert Detector.load(other.parent).threshold.value == 1e6

    before = project.outputs()
    for export, expected in [
        ({}, "export.category: give a category of a finished run"),
        ({"category": "bolt"}, "holds no run defect/demo/quickstart/default of 'bolt'"),
        ({"category": "nut", "false_alarm_rate": 0.01}, "export: false_alarm_rate is 0.01"),
        ({"detector": "gone.safetensors"}, "gone.safetensors does not exist"),
        ({"category": "nut", "format": "tensorrt"}, "export.format: "),
        ({"category": "nut", "images": "gone"}, "gone"),
    ]:
        assert expected in error_line(project, export=export), export
    assert project.outputs() == before


def test_a_run_logs_its_detectors_where_asked(
    project: Any, small: Parameters, images: Path
) -> None:
    client = mlflow.MlflowClient()
    before = {v.version for v in client.search_model_versions("name='cloth'")}
    project.run("defect", **small, mlflow={"log_detector": True})
    (new,) = [v for v in client.search_model_versions("name='cloth'") if v.version not in before]
    assert client.get_run(new.run_id).data.tags["category"] == "cloth"
    model = mlflow.pyfunc.load_model(f"models:/cloth/{new.version}")
    expected = Detector.from_run(project.path / "data", "cloth", device="cpu")
    hole = images / "cloth/test/hole/000.png"
    row = model.predict(pd.DataFrame({"image": [str(hole)]})).iloc[0]
    assert row["score"] == pytest.approx(expected.predict(hole).score, rel=1e-6)
    assert row["threshold"] == expected.threshold.value
