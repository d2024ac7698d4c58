"""A coreset in parts: the picks of all patches at once, without all patches in one place."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.spread import spread_by
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.memory_bank import coreset, parts
from uniformaly_pipeline.memory_bank.bank import (
    build_memory_bank,
    choose_points,
    collect_candidates,
)

NAMES = [f"{number:02d}" for number in range(37)]
HASHES = [f"#{name}" for name in NAMES]
MASKING = BackPatchMasking(kernel_size=1, threshold=0.2)
SETTINGS: dict[str, Any] = {"projection_dim": 3, "num_starts": 4, "seed": 5}


@pytest.fixture(params=[MASKING, None], ids=["foreground kept", "all kept"])
def store(request: pytest.FixtureRequest, fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path, NAMES, masking=request.param)


@pytest.mark.parametrize("number", [2, 3, 5, 40, 1000])
def test_the_bank_is_that_of_all_patches_at_once(store: FeatureStore, number: int) -> None:
    bank = build_memory_bank(
        store, HASHES, MASKING, coreset_ratio=0.05, coreset_parts=number, **SETTINGS
    )
    candidates = collect_candidates(store, HASHES, MASKING, 3, 5)
    kept, bound = choose_points(candidates.points, 0.05, num_starts=4, parts=number, seed=5)
    expected = candidates.features(kept)
    np.testing.assert_array_equal(bank.arrays["memory_bank"], expected)
    np.testing.assert_array_equal(bank.arrays["image"], candidates.image[kept])
    np.testing.assert_array_equal(bank.arrays["patch"], candidates.patch[kept])
    metadata = bank.metadata
    assert metadata["num_patches"] == len(candidates.points)
    assert metadata["covering_radius_bound"] == bound
    assert metadata["covering_radius"] == candidates.covering_radius(expected) > 0


def test_images_without_foreground_have_no_part(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = {"00", "16", "17", "36"}
    original = fake_encoder.attention
    monkeypatch.setattr(
        fake_encoder, "attention", lambda image: (image not in empty) * original(image)
    )
    store = fake_encoder.store(tmp_path, NAMES)
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3, coreset_parts=6, **SETTINGS)
    candidates = collect_candidates(store, HASHES, MASKING, 3, 5)
    kept, _ = choose_points(candidates.points, 0.3, num_starts=4, parts=6, seed=5)
    np.testing.assert_array_equal(bank.arrays["memory_bank"], candidates.features(kept))
    np.testing.assert_array_equal(bank.arrays["image"], candidates.image[kept])


def test_no_process_holds_more_than_a_part_or_all_picks(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    original = coreset.greedy_coreset

    def spy(points: np.ndarray, size: int, *arguments: Any, **options: Any) -> Any:
        held.append(len(points))
        return original(points, size, *arguments, **options)

    monkeypatch.setattr(coreset, "greedy_coreset", spy)
    monkeypatch.setattr(parts, "IMAGES_AT_ONCE", 4)
    bank = build_memory_bank(
        store, HASHES, MASKING, coreset_ratio=0.02, coreset_parts=8, **SETTINGS
    )
    total, size = bank.metadata["num_patches"], len(bank.arrays["image"])
    assert len(held) == 9
    assert max(held[:8]) <= -(-total // 8)
    assert held[8] == 8 * size < total / 2


def test_parts_are_done_by_whomever_the_run_has(store: FeatureStore) -> None:
    """They and what they share can be sent to another process, and come back in any order."""
    done: list[str] = []

    def elsewhere(function: Any, given: Any, shared: Any) -> Any:
        sent = pickle.dumps((function, shared))
        results = {}
        for part in reversed(given):
            remote, patches = pickle.loads(sent)
            results[part] = remote(part, patches)
            done.append(function.__name__)
        return [results[part] for part in given]

    settings = {"coreset_ratio": 0.05, "coreset_parts": 3, **SETTINGS}
    here = build_memory_bank(store, HASHES, MASKING, **settings)
    with spread_by(elsewhere):
        there = build_memory_bank(store, HASHES, MASKING, **settings)
    assert there.metadata == here.metadata
    np.testing.assert_array_equal(there.arrays["memory_bank"], here.arrays["memory_bank"])
    steps = ["count_patches", "pick_from_part", "features_of_part", "radius_of_part"]
    assert done == [step for step in steps for _ in range(3)]
