"""Whole images beside scikit-learn's nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tests.scoring.methods.conftest import NORMAL, TESTED
from uniformaly_pipeline.features.masking import BackPatchMasking


@pytest.mark.parametrize("num_neighbors", [1, 2])
def test_images_score_the_distance_of_their_mean_feature(
    num_neighbors: int, fit: Any, score: Any, features: Callable[..., np.ndarray]
) -> None:
    """All normal images count, whatever the ratio of a coreset is."""
    model = fit("mean_patch_knn", coreset_ratio=0.1)
    assert list(model.arrays["image"]) == list(range(12))
    found = score("mean_patch_knn", model, num_neighbors=num_neighbors)
    search = NearestNeighbors(n_neighbors=num_neighbors).fit(features(NORMAL).mean(axis=1))
    distances, indices = search.kneighbors(features(TESTED).mean(axis=1))
    expected = np.square(distances).mean(axis=1)
    np.testing.assert_allclose(found["image_scores"], expected, rtol=1e-4)
    # No place in an image is told from another.
    patches = found["patch_scores"].reshape(19, -1)
    assert (patches == found["image_scores"][:, None]).all()
    assert (found["neighbors"].reshape(19, -1) == indices[:, :1]).all()


def test_a_masking_says_which_patches_the_mean_is_over(
    store: Any, fit: Any, score: Any, features: Callable[..., np.ndarray]
) -> None:
    masking = BackPatchMasking(kernel_size=1, threshold=0.2)
    model = fit("mean_patch_knn", masking)
    kept = store.foreground([f"#{name}" for name in NORMAL], masking)
    expected = [each[rows].mean(axis=0) for each, rows in zip(features(NORMAL), kept, strict=True)]
    np.testing.assert_allclose(model.arrays["memory_bank"], expected, rtol=1e-4)
    found = score("mean_patch_knn", model, masking)
    assert (found["patch_scores"].reshape(19, -1).max(axis=1) == found["image_scores"]).all()
