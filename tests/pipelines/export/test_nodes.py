"""The node that exports a detector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.state import (
    DETECTOR_FILE,
    DetectorState,
    TranslatedEncoder,
    load_state,
)
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.pipelines.export.nodes import export_detector


def test_a_detector_is_exported_with_what_was_asked_for(
    detector_file: Path, pictures: Path
) -> None:
    state = load_state(detector_file)
    new = ImageFolder(str(pictures / "new"))
    exported = export_detector(state, "safetensors", None, 2.5, new)
    assert exported.card["compared_on"] == "given images"
    assert exported.card["decisions_compared"] == 3
    found = DetectorState.from_bytes(exported.files[DETECTOR_FILE], "it")
    assert found.threshold.value == 2.5
    assert found.weights
    with pytest.raises(InputError, match=r"^export: false_alarm_rate is 0.01"):
        export_detector(state, "safetensors", 0.01, None)


def test_pictures_of_a_finished_run_are_those_at_its_root(
    detector_file: Path, pictures: Path
) -> None:
    bare = replace(load_state(detector_file), thumbnails=())
    with pytest.raises(InputError, match="give images"):
        export_detector(bare, "safetensors", None, None)
    exported = export_detector(
        replace(bare, root=str(pictures / "good")), "safetensors", None, None
    )
    found = DetectorState.from_bytes(exported.files[DETECTOR_FILE], "it")
    assert len(found.thumbnails) == len(found.normal_images)


def test_what_was_exported_is_exported_in_another_format(detector_file: Path) -> None:
    """By torch's encoder: another engine's cannot be translated."""
    first = export_detector(load_state(detector_file), "onnx", None, None)
    # An export to ONNX leaves the weights out, which this test's backbone has nowhere else.
    whole = replace(load_state(detector_file), translated=TranslatedEncoder("onnx", {}, "x"))
    again = export_detector(whole, "openvino", None, None)
    assert again.card["encoder"] == first.card["encoder"]
    assert again.card["engine"] == "openvino"
