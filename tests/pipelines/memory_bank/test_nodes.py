"""The node of the memory bank stage: which images it takes, and that it heeds each parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features import encoder
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.memory_bank.bank import bank_images, bank_levels
from uniformaly_pipeline.memory_bank.coreset import random_projection, random_starts
from uniformaly_pipeline.pipelines.memory_bank.nodes import build_bank

TRAIN = ["c", "a", "b"]
TEST = ["x", "y"]
IMAGES = pd.DataFrame(
    {
        "content_hash": [f"#{name}" for name in "xcayb"],
        "split": ["test", "train", "train", "test", "train"],
        "class": "nut",
    }
)
BPM = {"mode": "binary", "kernel_size": 1, "threshold": 0.01}
MEMORY_BANK = {
    "coreset_ratio": 0.9,  # what counts is the task's ratio
    "multiclass_coreset_ratio": 0.8,
    "projection_dim": 3,
    "num_starts": 2,
    "coreset_parts": 1,
}
SETTINGS: dict[str, Any] = {
    "bpm": BPM,
    "memory_bank": MEMORY_BANK,
    "coreset_ratio": 0.3,
    "method": "uniformaly",
    "device": "cpu",
    "seed": 4,
}


@pytest.fixture
def store(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path, TRAIN + TEST)


def build(store: FeatureStore, images: pd.DataFrame = IMAGES, **changes: Any) -> ArrayBundle:
    """The bank with some settings changed; those of a section are given as ``bpm__mode``."""
    settings = {**SETTINGS}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        settings[section] = {**settings[section], key: value} if key else value
    return build_bank(images, store, **settings)


def vectors(bank: ArrayBundle) -> np.ndarray:
    return bank.arrays["memory_bank"]


def foreground_features(encoder: Any, masking: BackPatchMasking) -> np.ndarray:
    """The features of the train images' patches that count, in the images' order: [M, D]."""
    kept = []
    for name in TRAIN:
        flags = masking.foreground(torch.from_numpy(encoder.attention(name))[None])[0].numpy()
        kept.append(encoder.features(name)[flags])
    return np.concatenate(kept)


def pick_naively(features: np.ndarray, ratio: float, dim: int, starts: int, seed: int) -> list[int]:
    """The coreset in METHOD's words: always the farthest from those picked before."""
    points = (features @ random_projection(features.shape[1], dim, seed).T).astype(np.float64)
    distances = cdist(points, points[random_starts(len(points), starts, seed)]).mean(axis=1)
    picked: list[int] = []
    for _ in range(int(ratio * len(points))):
        picked.append(int(distances.argmax()))
        distances = np.minimum(distances, cdist(points, points[picked[-1:]])[:, 0])
        distances[picked] = -1
    return picked


def test_the_bank_is_a_coreset_of_the_train_images_foreground(
    store: FeatureStore, fake_encoder: Any
) -> None:
    bank = build(store)
    features = foreground_features(fake_encoder, BackPatchMasking("binary", 1, 0.01))
    picked = pick_naively(features, ratio=0.3, dim=3, starts=2, seed=4)
    assert (vectors(bank) == features[picked]).all()
    assert bank_images(bank) == ["#c", "#a", "#b"]


def test_test_images_add_nothing(store: FeatureStore) -> None:
    all_test = IMAGES.assign(split="test")
    with pytest.raises(InputError, match="no foreground patch in the normal images"):
        build(store, all_test)
    without = IMAGES[IMAGES["split"] == "train"]
    assert (vectors(build(store, without)) == vectors(build(store))).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"bpm__mode": "off"},
        {"bpm__mode": "soft"},
        {"bpm__kernel_size": 3},
        {"bpm__threshold": 0.5},
        {"memory_bank__projection_dim": 5},
        {"memory_bank__num_starts": 7},
        {"memory_bank__coreset_parts": 2},
        {"coreset_ratio": 0.5},
        {"seed": 5},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_parameter_gives_another_bank(changes: dict[str, Any], store: FeatureStore) -> None:
    usual, other = vectors(build(store)), vectors(build(store, **changes))
    assert usual.shape != other.shape or (usual != other).any()


def test_the_ratio_is_the_tasks(store: FeatureStore) -> None:
    every, half = build(store, coreset_ratio=1.0), build(store, coreset_ratio=0.5)
    assert len(vectors(half)) == len(vectors(every)) // 2
    same = build(store, memory_bank__coreset_ratio=0.1, memory_bank__multiclass_coreset_ratio=0.1)
    assert (vectors(same) == vectors(build(store))).all()


@pytest.mark.parametrize(
    ("changes", "dim", "starts", "seed"),
    [
        ({"memory_bank__projection_dim": 5}, 5, 2, 4),
        ({"memory_bank__num_starts": 7}, 3, 7, 4),
        ({"seed": 5}, 3, 2, 5),
    ],
)
def test_projection_starts_and_seed_choose_the_coreset(
    changes: dict[str, Any], dim: int, starts: int, seed: int,
    store: FeatureStore, fake_encoder: Any,
) -> None:  # fmt: skip
    features = foreground_features(fake_encoder, BackPatchMasking("binary", 1, 0.01))
    picked = pick_naively(features, 0.3, dim, starts, seed)
    assert (vectors(build(store, **changes)) == features[picked]).all()


def test_only_several_parts_have_a_bound(store: FeatureStore) -> None:
    assert build(store).metadata["covering_radius_bound"] is None
    parted = build(store, memory_bank__coreset_parts=2)
    assert parted.metadata["covering_radius_bound"] > 0
    assert parted.metadata["coreset_parts"] == 2


def test_soft_masking_keeps_all_patches_as_they_are(store: FeatureStore, fake_encoder: Any) -> None:
    bank = build(store, bpm__mode="soft", coreset_ratio=1.0)
    expected = np.concatenate([fake_encoder.features(name) for name in TRAIN])
    np.testing.assert_allclose(vectors(bank), expected, rtol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_the_coreset_is_chosen_on_the_device_asked_for(
    device: str, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def choose(points: np.ndarray, size: int, starts: np.ndarray, *, device: str) -> np.ndarray:
        used.append(device)
        return np.arange(size)

    monkeypatch.setattr(coreset, "greedy_coreset", choose)
    # As on a machine with two GPUs.
    monkeypatch.setattr(encoder, "choose_device", lambda asked: asked)
    build(store, device=device)
    assert used == [device]


def test_an_automatic_device_gives_the_same_bank(store: FeatureStore) -> None:
    assert (vectors(build(store, device="auto")) == vectors(build(store))).all()


def test_the_bank_remembers_by_which_levels_its_images_were_read(store: FeatureStore) -> None:
    """Those of the train images: images to come are read by the same."""
    deep = IMAGES.assign(depth="float", low=0.0, high=7.0)
    deep.loc[deep["split"] == "train", ["low", "high"]] = (-1.0, 3.0)
    made = build(store, deep)
    assert bank_levels(made, "nut") == Levels(floating=(-1.0, 3.0))
    assert bank_levels(made, "bolt") == Levels()
