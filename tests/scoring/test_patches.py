"""Scores of test patches: the foreground is searched for, the background scores 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from uniformaly_pipeline.features.masking import BackPatchMasking, smooth_attention
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.scoring import patches
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors
from uniformaly_pipeline.scoring.patches import score_patches

NAMES = [f"image {number}" for number in range(7)]
HASHES = [f"#{name}" for name in NAMES]
MASKING = BackPatchMasking(kernel_size=1, threshold=0.2)
BANK = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)


@pytest.fixture
def store(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path, NAMES, masking=MASKING)


def score_naively(encoder: Any, name: str, bank: np.ndarray, num_neighbors: int = 1) -> np.ndarray:
    """[grid height, grid width] in METHOD's words."""
    squares = np.sort(cdist(encoder.features(name), bank, "sqeuclidean"), axis=1)
    scores = squares[:, :num_neighbors].mean(axis=1)
    foreground = MASKING.foreground(torch.from_numpy(encoder.attention(name))[None])[0].numpy()
    return np.where(foreground, scores, 0.0).reshape(encoder.grid)


@pytest.mark.parametrize("num_neighbors", [1, 4])
def test_scores_are_squared_distances_and_0_in_the_background(
    num_neighbors: int, store: FeatureStore, fake_encoder: Any
) -> None:
    scored = score_patches(store, HASHES, BANK, MASKING, num_neighbors=num_neighbors)
    scores = scored.arrays["patch_scores"]
    expected = [score_naively(fake_encoder, name, BANK, num_neighbors) for name in NAMES]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert scores.dtype == np.float32
    assert 0 < (scores == 0).mean() < 1
    assert scored.metadata["seconds"] > 0


def test_images_are_scored_in_the_order_given_however_they_are_grouped(
    store: FeatureStore, fake_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = [4, 0, 6, 2, 0]
    monkeypatch.setattr(patches, "IMAGES_AT_ONCE", 2)
    scored = score_patches(store, [HASHES[i] for i in order], BANK, MASKING)
    expected = [score_naively(fake_encoder, NAMES[i], BANK) for i in order]
    np.testing.assert_allclose(scored.arrays["patch_scores"], expected, rtol=1e-5)


def test_only_the_foreground_is_searched_for(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    query = NearestNeighbors.query

    def counting(self: Any, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        searched.append(len(features))
        return query(self, features)

    monkeypatch.setattr(NearestNeighbors, "query", counting)
    score_patches(store, HASHES, BANK, MASKING)
    assert sum(searched) == store.foreground(HASHES, MASKING).sum() < 7 * 20


def test_a_bank_in_half_precision_is_used_as_it_is(store: FeatureStore, fake_encoder: Any) -> None:
    half = BANK.astype(np.float16)
    scored = score_patches(store, HASHES[:1], half, MASKING)
    expected = score_naively(fake_encoder, NAMES[0], half.astype(np.float32))
    np.testing.assert_allclose(scored.arrays["patch_scores"][0], expected, rtol=1e-5)


def test_soft_masking_by_hand(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distances are multiplied, not features: those times attention would score 2.25, 1, 3.24."""
    features = np.array([[3, 4], [0, 1], [2, 0]], np.float32)
    monkeypatch.setattr(fake_encoder, "features", lambda image: features)
    # Sums of neighbours, 6, 20 and 18, over the largest: weights 0.3, 1 and 0.9.
    attention = np.array([[0.02, 0.04, 0.14]], np.float32)
    monkeypatch.setattr(fake_encoder, "attention", lambda image: attention)
    fake_encoder.grid, fake_encoder.dim = (1, 3), 2
    store = fake_encoder.store(tmp_path, ["a"])
    bank = np.array([[0, 0], [3, 5]], np.float32)  # squared distances 1, 1 and 4
    scored = score_patches(store, ["#a"], bank, BackPatchMasking("soft", 3), keep_neighbors=True)
    np.testing.assert_allclose(scored.arrays["patch_scores"][0], [[0.3, 1.0, 3.6]], rtol=1e-6)
    assert scored.arrays["neighbors"].tolist() == [[[1, 0, 0]]]


@pytest.mark.parametrize("num_neighbors", [1, 4])
def test_soft_scores_are_those_without_masking_times_the_smoothed_attention(
    num_neighbors: int, fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "IMAGES_AT_ONCE", 3)
    store = fake_encoder.store(tmp_path, NAMES)
    soft, off = (
        score_patches(store, HASHES, BANK, BackPatchMasking(mode, 3), num_neighbors=num_neighbors)
        for mode in ("soft", "off")
    )
    attention = torch.from_numpy(np.stack([fake_encoder.attention(name) for name in NAMES]))
    expected = off.arrays["patch_scores"] * smooth_attention(attention, 3).numpy()
    np.testing.assert_allclose(soft.arrays["patch_scores"], expected, rtol=1e-6)
    assert soft.arrays["patch_scores"].min() > 0, "no patch is left out"


@pytest.mark.parametrize("masking", [MASKING, BackPatchMasking("soft")])
def test_no_images_give_no_scores(
    masking: BackPatchMasking, fake_encoder: Any, tmp_path: Path
) -> None:
    store = fake_encoder.store(tmp_path, NAMES)
    assert score_patches(store, [], BANK, masking).arrays["patch_scores"].shape == (0, 4, 5)


def test_the_recall_of_an_approximate_search_is_measured(store: FeatureStore) -> None:
    assert score_patches(store, HASHES, BANK, MASKING).metadata["search_recall"] is None
    approximate = score_patches(store, HASHES, BANK, MASKING, search="HNSW8")
    assert 0 < approximate.metadata["search_recall"] <= 1.0


@pytest.mark.parametrize("num_neighbors", [1, 3])
def test_neighbours_are_the_nearest_vectors_and_minus_1_in_the_background(
    num_neighbors: int, store: FeatureStore, fake_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "IMAGES_AT_ONCE", 3)
    arrays = score_patches(
        store, HASHES, BANK, MASKING, num_neighbors=num_neighbors, keep_neighbors=True
    ).arrays
    neighbors = arrays["neighbors"]
    foreground = store.foreground(HASHES, MASKING).reshape(7, 4, 5)
    squares = np.stack([cdist(fake_encoder.features(name), BANK) for name in NAMES])
    expected = np.where(foreground, squares.argmin(axis=2).reshape(7, 4, 5), -1)
    assert 0 < foreground.mean() < 1
    assert (neighbors == expected).all()
    assert neighbors.dtype == np.int64
    plain = score_patches(store, HASHES, BANK, MASKING, num_neighbors=num_neighbors).arrays
    assert list(plain) == ["patch_scores"]
    assert (plain["patch_scores"] == arrays["patch_scores"]).all()


def test_no_images_have_no_neighbours(store: FeatureStore) -> None:
    scored = score_patches(store, [], BANK, MASKING, keep_neighbors=True)
    assert scored.arrays["neighbors"].shape == (0, 4, 5)
    assert scored.arrays["neighbors"].dtype == np.int64
    assert scored.metadata["search_recall"] is None


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The features that the recall was measured on; loading a block takes 1 s, measuring 100."""
    given: list[np.ndarray] = []
    now = 5000.0

    def recall(self: Any, features: np.ndarray) -> float:
        nonlocal now
        now += 100
        given.append(features)
        return 0.25 + len(given) / 4

    query = NearestNeighbors.query

    def slow_query(self: Any, features: np.ndarray) -> Any:
        nonlocal now
        now += 1
        return query(self, features)

    monkeypatch.setattr(patches, "IMAGES_AT_ONCE", 3)
    monkeypatch.setattr(patches, "RECALL_PATCHES", 5)
    monkeypatch.setattr(patches.time, "perf_counter", lambda: now)
    monkeypatch.setattr(NearestNeighbors, "recall", recall)
    monkeypatch.setattr(NearestNeighbors, "query", slow_query)
    return given


def test_recall_is_measured_on_the_first_patches_alone_and_its_time_left_out(
    store: FeatureStore, measured: list[np.ndarray]
) -> None:
    scored = score_patches(store, HASHES, BANK, MASKING, search="HNSW8")
    assert len(measured) == 1
    assert (measured[0] == store.load(HASHES[:3], MASKING).features[:5]).all()
    timing = {key: scored.metadata[key] for key in ("seconds", "search_recall")}
    assert timing == {"seconds": 3.0, "search_recall": 0.5}


def test_the_recall_of_an_exact_search_is_not_measured(
    store: FeatureStore, measured: list[np.ndarray]
) -> None:
    scored = score_patches(store, HASHES, BANK, MASKING)
    assert measured == []
    timing = {key: scored.metadata[key] for key in ("seconds", "search_recall")}
    assert timing == {"seconds": 3.0, "search_recall": None}


def test_the_search_is_the_one_asked_for(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []

    class Recording(NearestNeighbors):
        def __init__(self, bank: np.ndarray, *options: Any) -> None:
            made.append((bank.dtype, *options))
            super().__init__(bank, *options)

    monkeypatch.setattr(patches, "NearestNeighbors", Recording)
    score_patches(store, HASHES, BANK.astype(np.float16), MASKING)
    score_patches(store, HASHES, BANK, MASKING, search="IVF2,Flat", num_neighbors=2)
    # The bank as it is stored: the search makes the one float32 copy.
    assert made == [(np.float16, "Flat", 1), (np.float32, "IVF2,Flat", 2)]
