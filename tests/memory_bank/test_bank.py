"""The memory bank: which normal patches are kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.memory_bank import bank as bank_module
from uniformaly_pipeline.memory_bank.bank import bank_images, build_memory_bank, choose_coreset
from uniformaly_pipeline.memory_bank.coreset import greedy_coreset, random_projection, random_starts

NAMES = [f"image {number}" for number in range(6)]
HASHES = [f"#{name}" for name in NAMES]
MASKING = BackPatchMasking(kernel_size=1, threshold=0.2)


@pytest.fixture
def store(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path, NAMES, masking=MASKING)


def rows(array: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in array}


def test_ratio_1_keeps_the_foreground_of_the_images_given_and_nothing_else(
    store: FeatureStore,
) -> None:
    bank = build_memory_bank(store, HASHES[:4], MASKING, coreset_ratio=1.0).arrays["memory_bank"]
    assert (bank == store.load(HASHES[:4], MASKING).features).all()
    assert 0 < len(bank) < 4 * 20


def test_a_coreset_keeps_a_share_of_different_vectors_as_they_are(store: FeatureStore) -> None:
    every = store.load(HASHES, MASKING).features
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3).arrays["memory_bank"]
    assert bank.shape == (int(0.3 * len(every)), 8)
    assert len(rows(bank)) == len(bank)
    assert rows(bank) <= rows(every)


def test_the_seed_alone_decides(store: FeatureStore) -> None:
    banks = [
        build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.2, projection_dim=3, seed=seed)
        for seed in (1, 1, 2)
    ]
    first, again, other = (bank.arrays["memory_bank"] for bank in banks)
    assert (first == again).all()
    assert rows(first) != rows(other)


@pytest.mark.parametrize("projection_dim", [4, 8])
def test_the_coreset_is_chosen_in_the_projected_space(
    store: FeatureStore, projection_dim: int
) -> None:
    features = store.load(HASHES, MASKING).features
    size = int(0.25 * len(features))
    points = features
    if projection_dim < features.shape[1]:
        points = features @ random_projection(features.shape[1], projection_dim, seed=5).T
    kept = greedy_coreset(points, size, random_starts(len(points), 10, seed=5))
    at_hand = choose_coreset(features, 0.25, projection_dim=projection_dim, seed=5)
    assert (at_hand == kept).all()
    bank = build_memory_bank(
        store, HASHES, MASKING, coreset_ratio=0.25, projection_dim=projection_dim, seed=5
    )
    assert (bank.arrays["memory_bank"] == features[kept]).all()


def test_a_coreset_in_two_rounds_states_its_bound(store: FeatureStore) -> None:
    every = store.load(HASHES, MASKING).features
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3, coreset_parts=3)
    assert len(rows(bank.arrays["memory_bank"])) == int(0.3 * len(every))
    assert bank.metadata["covering_radius_bound"] > 0
    one = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3)
    assert one.metadata["covering_radius_bound"] is None


@pytest.mark.parametrize(
    ("mode", "dtype", "stored"),
    [("binary", "float16", "float16"), ("binary", "float32", "float32"),
     ("soft", "float16", "float16")],
)  # fmt: skip
def test_vectors_keep_the_stores_type(
    mode: Any, dtype: str, stored: str, fake_encoder: Any, tmp_path: Path
) -> None:
    masking = BackPatchMasking(mode, 1, 0.2)
    store = fake_encoder.store(tmp_path, NAMES, dtype=dtype)
    bank = build_memory_bank(store, HASHES, masking, coreset_ratio=1.0).arrays["memory_bank"]
    assert bank.dtype == stored
    # Storing the bank costs no digits.
    assert (bank.astype(np.float32) == store.load(HASHES, masking).features).all()


def test_a_soft_bank_is_the_bank_without_masking(fake_encoder: Any, tmp_path: Path) -> None:
    """A build that weighs features, or leaves out those of low attention, gives other vectors."""
    store = fake_encoder.store(tmp_path, NAMES)
    soft, off = (
        build_memory_bank(
            store, HASHES, BackPatchMasking(mode, 3), coreset_ratio=0.3, projection_dim=3
        )
        for mode in ("soft", "off")
    )
    for name, array in off.arrays.items():
        assert (soft.arrays[name] == array).all(), name
    assert soft.metadata["bpm"]["mode"] == "soft"


def test_metadata_say_how_the_bank_was_made(store: FeatureStore) -> None:
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.5, seed=3)
    assert bank.metadata["num_images"] == 6
    assert bank.metadata["num_patches"] == len(store.load(HASHES, MASKING).features)
    assert (bank.metadata["coreset_ratio"], bank.metadata["seed"]) == (0.5, 3)
    assert bank.metadata["bpm"] == asdict(MASKING)
    assert store.header.differences(bank.metadata["features"]) == []


def test_no_foreground_at_all_is_one_clear_line(fake_encoder: Any, tmp_path: Path) -> None:
    store = fake_encoder.store(tmp_path, NAMES)
    with pytest.raises(InputError, match=r"no foreground patch .* lower bpm\.threshold"):
        build_memory_bank(store, [], MASKING, coreset_ratio=1.0)


def test_every_vector_knows_the_patch_it_is_of(store: FeatureStore) -> None:
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3)
    assert bank_images(bank) == HASHES
    for vector, image, patch in zip(
        bank.arrays["memory_bank"], bank.arrays["image"], bank.arrays["patch"], strict=True
    ):
        patches = store.load([HASHES[image]], MASKING)
        assert (patches.features[list(patches.patch).index(patch)] == vector).all()


def test_a_smaller_bank_is_the_beginning_of_a_larger_one(store: FeatureStore) -> None:
    small, large = (
        build_memory_bank(store, HASHES, MASKING, coreset_ratio=ratio, projection_dim=3)
        for ratio in (0.1, 0.4)
    )
    vectors = small.arrays["memory_bank"]
    assert 0 < len(vectors) < len(large.arrays["memory_bank"])
    assert (large.arrays["memory_bank"][: len(vectors)] == vectors).all()


def test_images_read_in_blocks_give_the_same_bank(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3, projection_dim=3)
    monkeypatch.setattr(bank_module, "IMAGES_AT_ONCE", 2)
    in_blocks = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3, projection_dim=3)
    for name, array in at_once.arrays.items():
        assert (in_blocks.arrays[name] == array).all(), name
