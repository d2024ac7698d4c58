"""Detectors as models in MLflow: from the registry, and served."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from tools.servers import serving
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.results import Result
from uniformaly_pipeline.detector.state import Scoring
from uniformaly_pipeline.tracking.detector_model import OUTPUT_TYPES, DetectorModel
from uniformaly_pipeline.tracking.models import log_embedded, log_exported, requirements


@pytest.fixture
def run_id(tracked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose artifacts lie in the test's own folder; Python writes bytecode, as it does."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    experiment = mlflow.create_experiment("models", (tmp_path / "artifacts").as_uri())
    return str(mlflow.MlflowClient().create_run(experiment).info.run_id)


@pytest.fixture
def registered(run_id: str, detector: Detector) -> str:
    """The detector in ONNX as the champion."""
    address = log_exported(run_id, detector.exported("onnx"))
    assert address == "models:/noise/1"
    mlflow.MlflowClient().set_registered_model_alias("noise", "champion", "1")
    return "models:/noise@champion"


def in_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def check(row: Any, expected: Result) -> None:
    assert row["score"] == pytest.approx(expected.score, rel=1e-4)
    assert row["is_anomalous"] == expected.is_anomalous
    assert row["threshold"] == expected.threshold
    assert row["p_value"] == expected.p_value
    assert expected.place is not None
    assert (row["x"], row["y"]) == (round(expected.place.x), round(expected.place.y))


def test_the_registered_model_judges_as_the_detector(
    registered: str, run_id: str, detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    model = mlflow.pyfunc.load_model(registered)
    paths = [pictures / "new/00.png", pictures / "new/holes/x.png"]
    given = pd.DataFrame({"image": [in_base64(paths[0]), str(paths[1])]})
    found = model.predict(given)
    assert list(found.columns) == list(OUTPUT_TYPES)
    assert list(found["image"]) == ["image 1", str(paths[1])]
    for (_, row), path in zip(found.iterrows(), paths, strict=True):
        check(row, detector.predict(path))
    for text, expected in [
        (str(tmp_path / "gone.png"), "image 1 is neither base64 nor a file"),
        (base64.b64encode(b"hello").decode(), "image 1 cannot be read as an image"),
    ]:
        with pytest.raises(MlflowException, match=expected):
            model.predict(pd.DataFrame({"image": [text]}))
    inner = DetectorModel()
    inner.detector = detector
    for odd in (None, b"bytes", 3):
        with pytest.raises(MlflowException, match="image 1 is no text but"):
            inner.predict(None, pd.DataFrame({"image": [odd]}))
    broken = "\n".join([given["image"][0][:76], given["image"][0][76:]])
    numbered = inner.predict(None, pd.DataFrame({"image": [broken, given["image"][0]]}, [7, 9]))
    assert list(numbered.index) == [7, 9]
    assert numbered["score"].nunique() == 1
    # Its own example is a request, and a table without the column is refused.
    example = model.metadata.load_input_example(mlflow.artifacts.download_artifacts(registered))
    assert len(model.predict(example)) == 1
    with pytest.raises(MlflowException, match="missing inputs"):
        model.predict(pd.DataFrame({"picture": [given["image"][0]]}))
    info = mlflow.MlflowClient().get_model_version("noise", "1")
    assert info.run_id == run_id


def test_what_is_logged_has_all_it_needs_and_no_pickle(
    registered: str, detector: Detector, tmp_path: Path
) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(registered, dst_path=str(tmp_path / "got")))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pth", ".pyc"))]
    assert {"artifacts/detector/encoder.onnx", "artifacts/detector/card.json"} <= names
    assert "code/uniformaly_pipeline/detector/detector.py" in names
    pinned = (folder / "requirements.txt").read_text().split()
    assert f"onnxruntime=={version('onnxruntime')}" in pinned
    assert f"mlflow=={version('mlflow')}" in pinned
    assert all("==" in line for line in pinned)
    # By itself, without the package, torch and faiss.
    script = f"""
import sys
sys.path = [path for path in sys.path if not path.endswith(("src", "wt/export"))]
for name in ("torch", "torchvision", "timm", "faiss", "kedro"):
    sys.modules[name] = None
import mlflow
model = mlflow.pyfunc.load_model({str(folder)!r})
import uniformaly_pipeline
print(uniformaly_pipeline.__file__)
print(model.predict(model.input_example)["score"][0])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    place, score = done.stdout.splitlines()[-2:]
    assert Path(place).is_relative_to(folder)
    assert float(score) >= 0


def test_a_detector_with_its_weights_is_the_next_version(
    run_id: str, detector: Detector, pictures: Path
) -> None:
    """Named by its category, in a form that MLflow takes; the encoder serves the next one."""
    state = replace(detector.state, name="nut / bolt", thumbnails=(), weights={})
    encoder = log_embedded(run_id, state, detector.encoder)
    assert encoder is detector.encoder
    log_embedded(run_id, state, encoder)
    (model,) = mlflow.MlflowClient().search_registered_models()
    assert model.name == "nut_bolt"
    found = mlflow.pyfunc.load_model("models:/nut_bolt/2")
    image = pictures / "new/holes/x.png"
    expected = detector.predict(image)
    row = found.predict(pd.DataFrame({"image": [str(image)]})).iloc[0]
    check(row, expected)
    assert row["score"] == pytest.approx(expected.score, rel=1e-6)


def test_requirements_are_those_of_the_engine(detector: Detector) -> None:
    names = {
        engine: {each.partition("==")[0] for each in requirements(detector.state, engine)}  # type: ignore[arg-type]
        for engine in ("safetensors", "onnx", "openvino")
    }
    assert names["safetensors"] - names["onnx"] == {"torch", "torchvision", "timm"}
    assert names["openvino"] - names["onnx"] == {"openvino"}
    approximate = replace(detector.state, scoring=Scoring(search="IVF4,Flat"))
    assert any(each.startswith("faiss") for each in requirements(approximate, "onnx"))
    assert not any("+" in each for each in requirements(detector.state, "safetensors"))


def served(address: str, uri: str) -> AbstractContextManager[str]:
    """``mlflow models serve`` on loopback; its URL."""
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", address,
        "--env-manager", "local", "--port",
    ]  # fmt: skip
    # MLflow starts uvicorn by name, which nobody may have activated the environment for.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": path}
    return serving(lambda port: [*command, str(port)], "/ping", environment=environment)


@pytest.mark.slow
def test_a_served_model_answers(
    registered: str, tracked: str, detector: Detector, pictures: Path
) -> None:
    paths = [pictures / "new/00.png", pictures / "new/holes/x.png"]

    def ask(*images: str) -> Any:
        request = urllib.request.Request(
            f"{url}/invocations",
            json.dumps({"dataframe_records": [{"image": each} for each in images]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["predictions"]

    with served(registered, tracked) as url:
        for row, path in zip(ask(in_base64(paths[0]), str(paths[1])), paths, strict=True):
            check(row, detector.predict(path))
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask("no sense!")
        assert refused.value.code == 400
        assert "image 1 is neither base64 nor a file: no sense!" in refused.value.read().decode()
        assert len(ask(str(paths[0]))) == 1, "it still answers"
