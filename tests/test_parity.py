"""The pipeline's functions give the same numbers as the authors' code (tests/parity)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uniformaly_pipeline.evaluation.category import anomaly_maps
from uniformaly_pipeline.features.engines.choice import Measurements
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking, smooth_attention
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import update_store
from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.memory_bank.coreset import coreset_size, greedy_coreset
from uniformaly_pipeline.scoring.patches import score_patches
from uniformaly_pipeline.scoring.scores import image_scores, top_k_mean_features

DEVICE = os.environ.get("UNIFORMALY_TEST_DEVICE", "cpu")
"""``make bench-gpu`` sets it to ``cuda``."""
CATEGORIES = ["washer", "weave"]
ENGINES = ["torch with mkl", "torch with onednn", "openvino", "onnx"]
SCORES = [
    ("image_scores", 0.1, 0.05),
    ("image_scores_tau0.2", 0.2, 0.05),
    ("image_scores_tau0.3", 0.3, 0.05),
    ("image_scores_k0.01", 0.1, 0.01),
    ("image_scores_k0.2", 0.1, 0.2),
]
STORED_THRESHOLD = BackPatchMasking().threshold
MAP_STEP = 4
"""The expected maps hold every fourth row and column."""
FEATURES_OF = [0, 3]
"""The images whose patch features are expected: the first of train and of test."""


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """An engine; of torch's libraries for linear layers the one in question is thought fastest."""
    name, _, library = request.param.partition(" with ")
    with pytest.MonkeyPatch.context() as patch:
        if library:
            patch.setattr(Measurements, "known", lambda _: {library: 0.0})
        yield name


@pytest.fixture(scope="module")
def store_with(
    parity: Any, engine: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., FeatureStore]:
    """Makes a feature store of the parity images, or gives back the one made before."""
    stores: dict[Any, FeatureStore] = {}

    def make(dtype: str = "float32", keep: str = "foreground") -> FeatureStore:
        key = (dtype, keep)
        if key not in stores:
            path: Path = tmp_path_factory.mktemp("features")
            rows = parity.manifest
            stream = feature_stream(
                parity.images,
                dict(zip(rows["content_hash"], rows["image"], strict=True)),
                parity.backbone,
                parity.preprocessing,
                BackPatchMasking(),
                keep=keep,
                dtype=dtype,
                device=DEVICE,
                num_workers=0,
                engine=engine,
            )
            update_store(path, stream)
            stores[key] = FeatureStore(path)
        return stores[key]

    return make


def patch_scores(store: FeatureStore, parity: Any, category: str, threshold: float) -> np.ndarray:
    """Scores of the test images [B, grid height, grid width] with every patch kept in the bank."""
    masking = BackPatchMasking(threshold=threshold)
    normal, tested = parity.hashes(category, "train"), parity.hashes(category, "test")
    bank = build_memory_bank(store, normal, masking, coreset_ratio=1.0).arrays["memory_bank"]
    return score_patches(store, tested, bank, masking).arrays["patch_scores"]


def assert_close(actual: np.ndarray, expected: np.ndarray, rtol: float = 1e-4) -> None:
    """Equal up to ``rtol`` of the largest value: a feature close to 0 has no digits of its own."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("kernel_size", [1, 7, 13])
def test_smoothed_attention(
    category: str,
    kernel_size: int,
    engine: str,
    store_with: Callable[..., FeatureStore],
    parity: Any,
) -> None:
    hashes = parity.hashes(category, "train") + parity.hashes(category, "test")
    attention = torch.from_numpy(store_with().attention(hashes))
    smoothed = smooth_attention(attention, kernel_size).flatten(1).numpy()
    expected = parity.expected[f"{category}/smoothed_attention_s{kernel_size}"]
    # Another engine may differ from torch by as much as torch from the authors.
    atol = 1e-4 if engine == "torch" else 2e-4
    np.testing.assert_allclose(smoothed, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("category", CATEGORIES)
def test_patch_features(
    category: str, store_with: Callable[..., FeatureStore], parity: Any
) -> None:
    hashes = parity.hashes(category, "train") + parity.hashes(category, "test")
    chosen = [hashes[i] for i in FEATURES_OF]
    patches = store_with(keep="all").load(chosen, BackPatchMasking(mode="off"))
    expected = parity.expected[f"{category}/patch_features"]
    assert_close(patches.features.reshape(expected.shape), expected)


@pytest.mark.parametrize("category", CATEGORIES)
def test_memory_bank(category: str, store_with: Callable[..., FeatureStore], parity: Any) -> None:
    normal = parity.hashes(category, "train")
    bank = build_memory_bank(store_with(), normal, BackPatchMasking(), coreset_ratio=1.0)
    assert_close(bank.arrays["memory_bank"], parity.expected[f"{category}/bank"])


@pytest.mark.parametrize("category", CATEGORIES)
def test_coreset(
    category: str,
    store_with: Callable[..., FeatureStore],
    parity: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    projection = parity.expected[f"{category}/coreset_projection"]
    starts = parity.expected[f"{category}/coreset_starts"]
    indices = parity.expected[f"{category}/coreset_indices"]
    store, normal = store_with(), parity.hashes(category, "train")
    full = build_memory_bank(store, normal, BackPatchMasking(), coreset_ratio=1.0)
    features = full.arrays["memory_bank"]
    size = coreset_size(len(features), 0.1)
    assert (greedy_coreset(features @ projection.T, size, starts) == indices).all()

    monkeypatch.setattr(coreset, "random_projection", lambda *_: projection)
    monkeypatch.setattr(coreset, "random_starts", lambda *_: starts)
    bank = build_memory_bank(
        store, normal, BackPatchMasking(), coreset_ratio=0.1, projection_dim=len(projection)
    )
    assert (bank.arrays["memory_bank"] == features[indices]).all()


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize(("key", "threshold", "top_k_ratio"), SCORES)
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-4), ("float16", 2e-3)])
def test_image_scores(
    category: str,
    key: str,
    threshold: float,
    top_k_ratio: float,
    dtype: str,
    rtol: float,
    store_with: Callable[..., FeatureStore],
    parity: Any,
) -> None:
    # A store of the foreground serves one threshold only, as in the pipeline.
    store = store_with(dtype, keep="foreground" if threshold == STORED_THRESHOLD else "all")
    grids = patch_scores(store, parity, category, threshold)
    scores = image_scores(grids.reshape(len(grids), -1), top_k_ratio)
    np.testing.assert_allclose(scores, parity.expected[f"{category}/{key}"], rtol=rtol)


@pytest.mark.parametrize("category", CATEGORIES)
def test_anomaly_maps(category: str, store_with: Callable[..., FeatureStore], parity: Any) -> None:
    grids = patch_scores(store_with(), parity, category, 0.1)
    maps = np.stack(list(anomaly_maps(grids, parity.preprocessing)))
    sampled = maps[:, ::MAP_STEP, ::MAP_STEP]
    np.testing.assert_allclose(sampled, parity.expected[f"{category}/anomaly_maps"], rtol=1e-4)


@pytest.mark.parametrize("category", CATEGORIES)
def test_top_k_mean_features(
    category: str, store_with: Callable[..., FeatureStore], parity: Any
) -> None:
    store = store_with(keep="all")
    grids = patch_scores(store, parity, category, 0.1)
    scores = grids.reshape(len(grids), -1)
    patches = store.load(parity.hashes(category, "test"), BackPatchMasking(mode="off"))
    features = patches.features.reshape(*scores.shape, -1)
    expected = parity.expected[f"{category}/topk_mean_features"]
    assert_close(top_k_mean_features(features, scores), expected)
