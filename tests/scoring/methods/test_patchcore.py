"""PatchCore beside its equations, computed plainly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

from tests.scoring.methods.conftest import ALL, NORMAL, TESTED
from uniformaly_pipeline.features.masking import BackPatchMasking


def image_score(features: np.ndarray, bank: np.ndarray, around: int = 9) -> float:
    """Equations 6 and 7 of one image [N, D], in double precision."""
    distances = cdist(features.astype(float), bank.astype(float))
    patch = distances.min(axis=1).argmax()
    nearest = distances[patch].argmin()
    neighbourhood = cdist(bank[nearest : nearest + 1], bank)[0].argsort()[:around]
    assert neighbourhood[0] == nearest
    weight = 1 - softmax(distances[patch, neighbourhood])[0]
    return float(weight * distances[patch, nearest])


@pytest.mark.parametrize("ratio", [1.0, 0.2, 0.02])
def test_images_score_as_their_equations_say(
    ratio: float, fit: Any, score: Any, features: Callable[..., np.ndarray]
) -> None:
    model = fit("patchcore", coreset_ratio=ratio)
    bank = model.arrays["memory_bank"]
    assert len(bank) == int(ratio * 12 * 20)
    found = score("patchcore", model)
    expected = [image_score(each, bank) for each in features(TESTED)]
    np.testing.assert_allclose(found["image_scores"], expected, rtol=1e-5)
    assert np.ptp(expected) > 0.1


def test_patches_score_their_distance_and_name_the_vector(
    fit: Any, score: Any, features: Callable[..., np.ndarray]
) -> None:
    model = fit("patchcore", coreset_ratio=0.2)
    found = score("patchcore", model)
    distances = cdist(features(TESTED).reshape(-1, 8), model.arrays["memory_bank"])
    np.testing.assert_allclose(found["patch_scores"].ravel(), distances.min(axis=1), rtol=1e-5)
    assert (found["neighbors"].ravel() == distances.argmin(axis=1)).all()
    of_two = score("patchcore", model, num_neighbors=2)["patch_scores"].ravel()
    roots = np.sqrt(np.square(np.sort(distances, axis=1)[:, :2]).mean(axis=1))
    np.testing.assert_allclose(of_two, roots, rtol=1e-5)


def test_the_bank_is_the_papers_own_of_all_patches(fit: Any) -> None:
    ours = fit("uniformaly", ALL, coreset_ratio=0.2).arrays["memory_bank"]
    assert (fit("patchcore", coreset_ratio=0.2).arrays["memory_bank"] == ours).all()


def test_background_scores_0_where_a_masking_is_asked_for(
    store: Any, fit: Any, score: Any, features: Callable[..., np.ndarray]
) -> None:
    masking = BackPatchMasking(kernel_size=1, threshold=0.2)
    model = fit("patchcore", masking, coreset_ratio=1.0)
    found = score("patchcore", model, masking)
    kept = store.foreground([f"#{name}" for name in TESTED], masking)
    assert ((found["patch_scores"].reshape(19, 20) > 0) == kept).all()
    expected = [
        image_score(each[rows], model.arrays["memory_bank"])
        for each, rows in zip(features(TESTED), kept, strict=True)
    ]
    np.testing.assert_allclose(found["image_scores"], expected, rtol=1e-5)


def test_images_of_the_bank_score_0(store: Any, fit: Any) -> None:
    from uniformaly_pipeline.scoring.methods.choice import scorer_of
    from uniformaly_pipeline.scoring.methods.interface import SearchSettings
    from uniformaly_pipeline.scoring.patches import score_by

    model = fit("patchcore", coreset_ratio=1.0)
    known = [f"#{name}" for name in NORMAL]
    scored = score_by(lambda: scorer_of("patchcore", model, SearchSettings()), store, known, ALL)
    assert (scored.arrays["image_scores"] == 0).all()
