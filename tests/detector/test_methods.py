"""Detectors of other methods: they find, tell why, learn more and come back from their files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import DETECTOR_FITTING, TINY_8
from uniformaly_pipeline import Detector
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.state import DetectorState, Scoring, load_state

SMALL: dict[str, Any] = {"backbone": TINY_8, "preprocessing": DETECTOR_FITTING, "device": "cpu"}


@pytest.fixture(params=["patchcore", "anomalydino"])
def other(request: Any, pictures: Path) -> Detector:
    return Detector.fit(
        pictures / "good",
        calibration=pictures / "held",
        false_alarm_rate=0.25,
        scoring=Scoring(method=request.param),
        **SMALL,
    )


def test_a_hole_is_found_and_the_file_knows_the_method(
    other: Detector, pictures: Path, tmp_path: Path
) -> None:
    results = {result.name: result for result in other.predict(pictures / "new")}
    assert results["holes/x.png"].is_anomalous
    assert results["holes/x.png"].score > max(other.calibration_scores)
    assert results["holes/x.png"].evidence.normal_image
    assert other.state.reading.masking.mode == "off"
    assert results["00.png"].foreground.all()
    other.save(tmp_path / "other.safetensors", embed_weights=True)
    again = Detector.load(tmp_path / "other.safetensors", device="cpu")
    assert again.state.scoring == other.state.scoring
    for result in again.predict(pictures / "new"):
        assert result.score == results[result.name].score
        np.testing.assert_array_equal(result.patch_scores, results[result.name].patch_scores)


def test_what_was_learned_holds(other: Detector, pictures: Path) -> None:
    before = other.predict(pictures / "new/holes/x.png").score
    other.add(pictures / "new/holes", coreset_ratio=1.0)
    # The bank has it in half precision.
    assert other.predict(pictures / "new/holes/x.png").score < before / 20


@pytest.mark.parametrize("method", ["padim", "mean_patch_knn"])
def test_a_method_without_normal_patches_has_no_detector(method: Any, pictures: Path) -> None:
    with pytest.raises(InputError, match=rf"scoring\.method is {method}, and a detector compares"):
        Detector.fit(pictures / "good", scoring=Scoring(method=method), **SMALL)


def test_the_papers_file_says_what_it_always_did(detector_file: Path) -> None:
    """So that earlier versions read it."""
    state = load_state(detector_file)
    assert set(asdict(state.scoring)) - set(state.scoring.entries()) == {"method"}
    settings = state.scoring.entries()
    assert settings == {"top_k_ratio": 0.05, "num_neighbors": 1, "search": "Flat"}


def test_a_method_of_a_newer_version_is_refused(detector_file: Path) -> None:
    state = load_state(detector_file)
    object.__setattr__(state.scoring, "method", "newest")
    content = state.to_bytes()
    assert json.dumps("newest").encode() in content.replace(b"\\", b"")
    with pytest.raises(InputError, match=r"new\.safetensors has settings that this version"):
        DetectorState.from_bytes(content, "new.safetensors")
