"""AnomalyDINO beside scikit-learn's cosines and the authors' mean of the highest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_distances

from tests.scoring.methods.conftest import TESTED
from uniformaly_pipeline.features.store import PatchFeatures
from uniformaly_pipeline.scoring.methods.anomalydino import AnomalyDino, of_length_one
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors


@pytest.mark.parametrize("num_neighbors", [1, 3])
def test_patches_score_their_cosine_distance(
    num_neighbors: int, fit: Any, score: Any, features: Callable[..., np.ndarray]
) -> None:
    model = fit("anomalydino", coreset_ratio=0.3)
    found = score("anomalydino", model, num_neighbors=num_neighbors)
    distances = cosine_distances(features(TESTED).reshape(-1, 8), model.arrays["memory_bank"])
    nearest = np.sort(distances, axis=1)[:, :num_neighbors].mean(axis=1)
    np.testing.assert_allclose(found["patch_scores"].ravel(), nearest, rtol=1e-4)
    assert (found["neighbors"].ravel() == distances.argmin(axis=1)).all()


def test_lengths_do_not_matter(fit: Any, score: Any, fake_encoder: Any, tmp_path: Any) -> None:
    """The bank holds directions: of features three times as long it is the same."""
    bank = fit("anomalydino", coreset_ratio=0.3).arrays["memory_bank"]
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1, rtol=1e-5)
    longer = of_length_one(3 * fake_encoder.features("normal 0"))
    np.testing.assert_allclose(longer, of_length_one(fake_encoder.features("normal 0")), rtol=1e-5)
    assert (of_length_one(np.zeros((2, 3))) == 0).all()


@pytest.mark.parametrize(("num_patches", "count"), [(20, 1), (199, 1), (200, 2), (784, 7)])
def test_an_image_is_the_mean_of_its_highest_hundredth_rounded_down(
    num_patches: int, count: int
) -> None:
    scorer = AnomalyDino(NearestNeighbors(np.eye(4, dtype=np.float32)))
    rng = np.random.default_rng(0)
    rows = rng.permuted(np.tile(np.arange(num_patches, dtype=np.float32), (2, 1)), axis=1)
    nothing = PatchFeatures(np.zeros((0, 4)), np.zeros(0), np.zeros(0), 2, (1, num_patches))
    expected = np.arange(num_patches)[-count:].mean()
    assert scorer.images(rows, nothing, np.zeros(0)) == pytest.approx([expected] * 2)


def test_patches_that_do_not_count_are_no_part_of_the_hundredth() -> None:
    scorer = AnomalyDino(NearestNeighbors(np.eye(4, dtype=np.float32)))
    rows = np.full((2, 300), np.nan, np.float32)
    rows[0, :150] = np.arange(150)
    nothing = PatchFeatures(np.zeros((0, 4)), np.zeros(0), np.zeros(0), 2, (1, 300))
    assert list(scorer.images(rows, nothing, np.zeros(0))) == [149, 0]
