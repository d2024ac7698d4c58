"""PaDiM beside scikit-learn's covariances and scipy's Mahalanobis distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import empirical_covariance

from tests.scoring.methods.conftest import NORMAL, TESTED
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.memory_bank import bank
from uniformaly_pipeline.scoring.methods import padim


def plainly(normal: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Scores [images, N] of features [images, N, d] by the paper's section 3."""
    scores = np.zeros(tested.shape[:2])
    for place in range(normal.shape[1]):
        known = normal[:, place].astype(float)
        covariance = 0.01 * np.eye(known.shape[1])
        if len(known) > 1:
            covariance += len(known) / (len(known) - 1) * empirical_covariance(known)
        inverse = np.linalg.inv(covariance)
        for image, feature in enumerate(tested[:, place]):
            scores[image, place] = mahalanobis(feature, known.mean(axis=0), inverse)
    return scores


@pytest.mark.parametrize("count", [12, 3, 1])
def test_patches_score_their_mahalanobis_distance(
    count: int, fit: Any, score: Any, features: Callable[..., np.ndarray]
) -> None:
    """Also of fewer images than dimensions, and of a single one."""
    found = score("padim", fit("padim", images=NORMAL[:count]))
    expected = plainly(features(NORMAL[:count]), features(TESTED))
    np.testing.assert_allclose(found["patch_scores"].reshape(19, 20), expected, rtol=2e-4)
    np.testing.assert_allclose(found["image_scores"], expected.max(axis=1), rtol=2e-4)
    assert (found["neighbors"] == -1).all()


def test_dimensions_are_drawn_by_the_seed(
    fit: Any, score: Any, features: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(padim, "DIMENSIONS", 3)
    drawn = {seed: fit("padim", seed=seed).arrays["dimensions"] for seed in range(6)}
    assert len({tuple(kept) for kept in drawn.values()}) > 1
    assert (fit("padim", seed=2).arrays["dimensions"] == drawn[2]).all()
    kept = drawn[2]
    assert len(set(kept)) == 3
    found = score("padim", fit("padim", seed=2))["patch_scores"].reshape(19, 20)
    expected = plainly(features(NORMAL)[..., kept], features(TESTED)[..., kept])
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_normal_images_are_read_a_few_at_a_time(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = fit("padim").arrays
    monkeypatch.setattr(padim, "IMAGES_AT_ONCE", 5)
    assert padim.IMAGES_AT_ONCE != bank.IMAGES_AT_ONCE
    for name, array in fit("padim").arrays.items():
        np.testing.assert_allclose(array, at_once[name], rtol=1e-4, atol=1e-5)


def test_a_place_where_nothing_normal_counts_has_the_gaussian_of_all(
    store: Any, fit: Any, features: Callable[..., np.ndarray]
) -> None:
    masking = BackPatchMasking(kernel_size=1, threshold=0.2)
    kept = store.foreground([f"#{name}" for name in NORMAL], masking)
    empty = ~kept.any(axis=0)
    assert empty.any()
    model = fit("padim", masking)
    every = features(NORMAL)[kept].astype(float)
    np.testing.assert_allclose(
        model.arrays["memory_bank"][empty], np.tile(every.mean(axis=0), (empty.sum(), 1)),
        atol=1e-5,
    )  # fmt: skip
    whitening = model.arrays["whitening"][np.flatnonzero(empty)[0]].astype(float)
    covariance = np.cov(every.T) + 0.01 * np.eye(8)
    np.testing.assert_allclose(whitening.T @ whitening @ covariance, np.eye(8), atol=1e-3)
