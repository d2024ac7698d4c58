"""Nodes that let a detector judge."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.detector_dataset import DetectorDataset
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.encoding import TorchEncoder
from uniformaly_pipeline.detector.state import DetectorState, load_state
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.pipelines.prediction import detector_nodes as nodes


@pytest.fixture
def state(detector_file: Path) -> DetectorState:
    return load_state(detector_file)


@pytest.fixture
def judged(state: DetectorState, pictures: Path) -> dict[str, Any]:
    """The new images with what became of them."""
    folder = ImageFolder(str(pictures / "new"))
    images = nodes.list_new_images_of(folder, state)
    scores, patch_scores = nodes.judge_by_detector(folder, images, state, "cpu", 2)
    return {"new_images": folder, "images": images, "scores": scores, "patch_scores": patch_scores}


def test_the_threshold_is_the_detectors_unless_another_is_asked_for(state: DetectorState) -> None:
    assert nodes.take_detector(state, None, None) is state
    assert nodes.take_detector(state, None, 3.0).threshold.value == 3.0
    assert nodes.take_detector(state, 0.5, None).threshold.false_alarm_rate == 0.5
    with pytest.raises(InputError, match=r"^predict: false_alarm_rate is 0.01"):
        nodes.take_detector(state, 0.01, None)
    with pytest.raises(InputError, match=r"^predict: give either"):
        nodes.take_detector(state, 0.5, 3.0)


def test_rows_are_what_the_detector_says_highest_score_first(
    judged: dict[str, Any], detector: Detector, pictures: Path
) -> None:
    results = {r.name: r for r in detector.predict(pictures / "new")}
    scores, images = judged["scores"], judged["images"]
    assert list(scores["score"]) == sorted(scores["score"], reverse=True)
    assert scores["image"].iloc[0] == "holes/x.png"
    for row in scores.itertuples():
        result = results[row.image]
        assert row.score == pytest.approx(result.score, rel=1e-5)
        assert row.flagged == int(result.is_anomalous)
        assert (row.threshold, row.p_value) == (result.threshold, result.p_value)
        assert (row.x, row.y) == (round(result.place.x), round(result.place.y))
        assert row.normal_image == result.evidence.normal_image
        assert (row.normal_x, row.normal_y) == (
            round(result.evidence.place.x),
            round(result.evidence.place.y),
        )
    arrays = judged["patch_scores"].arrays
    for position, name in enumerate(images["image"]):
        np.testing.assert_allclose(
            arrays["patch_scores"][position], results[name].patch_scores, rtol=1e-4, atol=1e-4
        )
        np.testing.assert_array_equal(arrays["foreground"][position], results[name].foreground)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_exported_folder_judges_with_its_own_encoder(
    engine: Any, detector: Detector, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which torch's is not even loaded for; worker processes get it as well."""
    detector.export(tmp_path / "out", engine)
    expected = {r.name: r for r in Detector.load(tmp_path / "out").predict(pictures / "new")}
    state = pickle.loads(pickle.dumps(DetectorDataset(filepath=str(tmp_path / "out")).load()))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("torch's encoder")

    monkeypatch.setattr(TorchEncoder, "__init__", refuse)
    folder = ImageFolder(str(pictures / "new"))
    images = nodes.list_new_images_of(folder, state)
    asked = nodes.take_detector(state, None, 3.0)
    scores, _ = nodes.judge_by_detector(folder, images, asked, "auto", 2)
    assert {row.image: row.score for row in scores.itertuples()} == pytest.approx(
        {name: result.score for name, result in expected.items()}, rel=1e-6
    )
    assert set(scores["threshold"]) == {3.0}
    with pytest.raises(InputError, match=r"out computes on a CPU: leave the device cuda out"):
        nodes.judge_by_detector(folder, images, state, "cuda", 2)


def test_an_image_that_cannot_be_read_ends_it_with_its_name(
    state: DetectorState, judged: dict[str, Any], tmp_path: Path
) -> None:
    gone = ImageFolder(str(tmp_path))
    with pytest.raises(InputError, match=r"00\.png does not exist"):
        nodes.judge_by_detector(gone, judged["images"], state, "cpu", 2)


def test_counts_say_whose_threshold_it_is(state: DetectorState, judged: dict[str, Any]) -> None:
    calibration = nodes.calibration_of(state)
    assert list(calibration["score"]) == list(state.calibration_scores)
    metrics = nodes.summarise_prediction_of(judged["scores"], calibration, state)
    assert metrics["num_images"] == 3
    assert metrics["num_flagged"] == 1
    assert metrics["num_calibration"] == 4
    assert metrics["false_alarm_rate"] == 0.25
    assert metrics["threshold"] == state.threshold.value
    by_hand = nodes.take_detector(state, None, 3.0)
    metrics = nodes.summarise_prediction_of(judged["scores"], calibration, by_hand)
    assert (metrics["threshold"], metrics["false_alarm_rate"]) == (3.0, None)


def test_pictures_of_normal_images_are_the_detectors_or_the_roots(
    state: DetectorState, judged: dict[str, Any], pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = replace(state, thumbnails=())

    def gallery(detector: DetectorState) -> list[Any]:
        return nodes.draw_flagged_of(**judged, detector=detector, gallery_images=2)

    shown = gallery(state)
    assert [each.image for each in shown] == list(judged["scores"]["image"][:2])
    assert [each.decision for each in shown] == [1, 0]
    assert "nearest_normal" in shown[0].views
    from_root = gallery(replace(bare, root=str(pictures / "good")))
    assert "nearest_normal" in from_root[0].views
    assert from_root[0].remark == shown[0].remark
    with caplog.at_level(logging.WARNING):
        without = gallery(replace(bare, root=str(pictures / "gone")))
    assert "nearest_normal" not in without[0].views
    assert "is not in" in caplog.text
    assert "no picture of it is shown" in caplog.text


def test_heat_maps_are_of_the_encoders_view(state: DetectorState, judged: dict[str, Any]) -> None:
    maps = nodes.draw_heat_maps_of(**judged, detector=state)
    assert list(maps) == ["00", "01", "holes/x"]
    picture = maps["holes/x"]()
    assert isinstance(picture, Image.Image)
    assert picture.size == (64, 64)
    assert isinstance(judged["scores"], pd.DataFrame)
