"""Drift: quiet while images are exchangeable, soon told when they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.stats import ks_2samp

from uniformaly_pipeline.detector.drift import FALSE_ALARMS, FIRST, WINDOWS, DriftMonitor, compare


def drawn(rng: np.random.Generator, count: int) -> np.ndarray:
    """Scores of normal images, skewed as they are."""
    return rng.gamma(3.0, 10.0, count)


@pytest.mark.parametrize("num_calibration", [9, 50, 300])
def test_exchangeable_images_are_no_drift(num_calibration: int) -> None:
    """6,000 images; 0.6 false alarms are allowed for."""
    alarms = 0
    for seed in range(6):
        rng = np.random.default_rng([seed, num_calibration])
        monitor = DriftMonitor(drawn(rng, num_calibration))
        alarms += sum(monitor.update(score).is_drifting for score in drawn(rng, 1000))
    assert alarms == 0


def test_rare_defects_are_no_drift() -> None:
    rng = np.random.default_rng(0)
    monitor = DriftMonitor(drawn(rng, 50))
    scores = np.where(rng.random(1000) < 0.02, 500.0, drawn(rng, 1000))
    assert not any(monitor.update(score).is_drifting for score in scores)


@pytest.mark.parametrize(("factor", "direction"), [(3.0, "higher"), (0.2, "lower")])
def test_a_change_is_told_within_40_images(factor: float, direction: str) -> None:
    """Also after many images without one."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        monitor = DriftMonitor(drawn(rng, 50))
        for score in drawn(rng, 500):
            monitor.update(score)
        told = [monitor.update(score) for score in factor * drawn(rng, 40)]
        assert told[-1].is_drifting
        assert told[-1].direction == direction
        assert f"are {direction} than" in str(told[-1])
        assert told[-1].num_images == 540


def test_the_p_value_is_the_exact_test_of_each_window() -> None:
    rng = np.random.default_rng(0)
    calibration, scores = drawn(rng, 30), 2.5 * drawn(rng, 60)
    monitor = DriftMonitor(calibration)
    drift = [monitor.update(score) for score in scores][-1]
    expected = {w: ks_2samp(scores[-w:], calibration).pvalue for w in (20, 50, 60)}
    assert drift.p_value == pytest.approx(3 * min(expected.values()))
    assert expected[drift.window] == min(expected.values())


def test_nothing_is_said_too_early_or_without_calibration() -> None:
    monitor = DriftMonitor(np.arange(50.0))
    early = [monitor.update(1e6) for _ in range(FIRST)]
    assert [each.is_drifting for each in early] == [False] * (FIRST - 1) + [True]
    assert early[0].p_value == 1.0
    silent = DriftMonitor(np.zeros(0))
    assert not any(silent.update(1e6).is_drifting for _ in range(100))
    assert sorted(WINDOWS)[0] >= FIRST
    assert FALSE_ALARMS <= 1e-3


def test_a_change_of_light_is_told(detector: Any, pictures: Path) -> None:
    """The scores of a real encoder: sound images are no drift, the same under dimmed light are."""
    rng = np.random.default_rng(5)
    fresh = [Image.fromarray(rng.integers(90, 160, (72, 90, 3), dtype=np.uint8)) for _ in range(40)]
    calibration = np.array([each.score for each in detector.predict(fresh[:20])])
    monitor = DriftMonitor(calibration)
    drift = monitor.look()
    for result in detector.predict(fresh[20:]):
        drift = monitor.update(result.score)
    assert not drift.is_drifting
    dimmed = [ImageEnhance.Brightness(each).enhance(0.4) for each in fresh[20:]]
    told = [monitor.update(each.score).is_drifting for each in detector.predict(dimmed)]
    assert told[-1], "within 20 images"


def test_a_folder_is_compared_as_a_whole() -> None:
    rng = np.random.default_rng(1)
    calibration, scores = drawn(rng, 40), drawn(rng, 300)
    assert not compare(calibration, scores).is_drifting
    shifted = compare(calibration, 2 * scores)
    assert shifted.direction == "higher"
    assert shifted.window == 300
    assert shifted.p_value == pytest.approx(ks_2samp(2 * scores, calibration).pvalue)
    assert not compare(calibration, np.zeros(0)).is_drifting


def test_after_learning_more_only_higher_scores_are_a_drift() -> None:
    """Every image that the bank learns makes scores smaller, of images of the same kind too."""
    rng = np.random.default_rng(0)
    calibration = rng.normal(10.0, 1.0, 50)
    both, higher = DriftMonitor(calibration), DriftMonitor(calibration, only_higher=True)
    for score in rng.normal(7.0, 1.0, 60):
        lower = both.update(score), higher.update(score)
    assert [each.is_drifting for each in lower] == [True, False]
    for score in rng.normal(14.0, 1.0, 60):
        now = higher.update(score)
    assert now.is_drifting
    assert now.direction == "higher"


def test_a_whole_folder_is_compared_likewise() -> None:
    rng = np.random.default_rng(1)
    calibration, lower = rng.normal(10.0, 1.0, 50), rng.normal(7.0, 1.0, 60)
    assert compare(calibration, lower).is_drifting
    assert not compare(calibration, lower, only_higher=True).is_drifting
