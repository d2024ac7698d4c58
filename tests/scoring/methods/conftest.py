"""A small store of invented features, and each method's scores of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.scoring.methods.choice import fit_model, scorer_of
from uniformaly_pipeline.scoring.methods.interface import FitSettings, SearchSettings
from uniformaly_pipeline.scoring.patches import score_by

NORMAL = [f"normal {i}" for i in range(12)]
TESTED = [f"tested {i}" for i in range(19)]
"""More than are scored at a time."""

ALL = BackPatchMasking(mode="off")


@pytest.fixture
def store(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path, [*NORMAL, *TESTED])


@pytest.fixture
def fit(store: FeatureStore) -> Callable[..., ArrayBundle]:
    def fit(method: Any, masking: BackPatchMasking = ALL, **settings: Any) -> ArrayBundle:
        hashes = [f"#{name}" for name in settings.pop("images", NORMAL)]
        return fit_model(method, store, hashes, masking, FitSettings(**settings))

    return fit


@pytest.fixture
def score(store: FeatureStore) -> Callable[..., dict[str, np.ndarray]]:
    def score(
        method: str, model: ArrayBundle, masking: BackPatchMasking = ALL, **settings: Any
    ) -> dict[str, np.ndarray]:
        return score_by(
            lambda: scorer_of(method, model, SearchSettings(**settings)),
            store,
            [f"#{name}" for name in TESTED],
            masking,
            keep_neighbors=True,
        ).arrays

    return score


@pytest.fixture
def features(fake_encoder: Any) -> Callable[[list[str]], np.ndarray]:
    """float32 [images, N, D], as the encoder gives them."""
    return lambda names: np.stack([fake_encoder.features(name) for name in names])
