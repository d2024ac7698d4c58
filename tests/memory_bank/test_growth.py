"""A memory bank that grows without its old images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.memory_bank.bank import bank_images, build_memory_bank
from uniformaly_pipeline.memory_bank.coreset import CoveringRadius
from uniformaly_pipeline.memory_bank.growth import farthest_first, grow_bank

OLD, NEW = ("a", "b", "c"), ("d", "e")


def naive(old: np.ndarray, points: np.ndarray, size: int) -> list[int]:
    """The rule in a few words, in double precision."""
    kept, picked = [*old.astype(float)], []
    for _ in range(size):
        far = [min(np.square(p - k).sum() for k in kept) for p in points.astype(float)]
        picked.append(int(np.argmax(far)))
        kept.append(points[picked[-1]].astype(float))
    return picked


def test_the_farthest_from_old_and_new_is_picked() -> None:
    rng = np.random.default_rng(0)
    old, points = (rng.standard_normal((n, 6)).astype(np.float32) for n in (5, 30))
    assert farthest_first(old, points, 12).tolist() == naive(old, points, 12)


def test_what_is_there_already_is_not_picked() -> None:
    old = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    points = np.concatenate([old, old[:1] + 1])
    assert farthest_first(old, points, 6).tolist() == [5]


@pytest.mark.parametrize("mode", ["binary", "off"])
def test_old_vectors_stay_and_the_radius_covers_old_and_new(
    fake_encoder: Any, tmp_path: Path, mode: Any
) -> None:
    masking = BackPatchMasking(mode)
    store = fake_encoder.store(tmp_path, [*OLD, *NEW], masking=None)
    hashes = {name: f"#{name}" for name in (*OLD, *NEW)}
    bank = build_memory_bank(store, [hashes[n] for n in OLD], masking, coreset_ratio=0.3)
    grown = grow_bank(bank, store, [hashes[n] for n in NEW], masking)
    size = len(bank.arrays["memory_bank"])
    for name in ("memory_bank", "image", "patch"):
        np.testing.assert_array_equal(grown.arrays[name][:size], bank.arrays[name])
    assert bank_images(grown) == [hashes[name] for name in (*OLD, *NEW)]
    every = store.load([hashes[n] for n in (*OLD, *NEW)], masking)
    radius = CoveringRadius(grown.arrays["memory_bank"].astype(np.float32))
    radius.update(every.features)
    assert radius.value <= grown.metadata["covering_radius"] + 1e-6
    # Each new vector is the patch that it says it is.
    for vector, image, patch in zip(
        *(grown.arrays[n][size:] for n in ("memory_bank", "image", "patch")), strict=True
    ):
        where = (every.image == image) & (every.patch == patch)
        np.testing.assert_array_equal(every.features[where][0], vector)
    (addition,) = grown.metadata["additions"]
    assert addition["vectors"] == len(grown.arrays["image"]) - size
    assert addition["vectors"] == int(0.3 * addition["patches"])
    assert grown.metadata["num_images"] == 5
    again = grow_bank(grown, store, [hashes["d"]], masking, coreset_ratio=1.0)
    assert len(again.metadata["additions"]) == 2


def test_images_of_another_encoder_are_refused(fake_encoder: Any, tmp_path: Path) -> None:
    masking = BackPatchMasking("off")
    store = fake_encoder.store(tmp_path / "one", OLD)
    other = fake_encoder.store(tmp_path / "two", NEW, weights_sha256="1" * 64)
    bank = build_memory_bank(store, ["#a"], masking, coreset_ratio=0.5)
    with pytest.raises(InputError, match="made with other weights than"):
        grow_bank(bank, other, ["#d"], masking)
