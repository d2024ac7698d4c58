"""A detector's folder for use elsewhere, in the catalog."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.exported_detector_dataset import ExportedDetectorDataset
from uniformaly_pipeline.detector.detector import Detector


def test_a_folder_is_saved_loaded_and_shown(detector: Detector, tmp_path: Path) -> None:
    exported = detector.exported("onnx")
    folder = tmp_path / "a/b"
    dataset = ExportedDetectorDataset(filepath=str(folder))
    assert not dataset.exists()
    dataset.save(exported)
    assert dataset.exists()
    assert dataset.load() == exported
    assert json.loads(dataset.preview()) == exported.card
    assert Detector.load(folder).threshold == detector.threshold
    (folder / "encoder.onnx").unlink()
    with pytest.raises(DatasetInputError, match=r"encoder\.onnx is missing: export"):
        dataset.load()
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(DatasetInputError, match="holds something else"):
        ExportedDetectorDataset(filepath=str(other)).save(exported)
