"""Who encodes: lists of whole batches go through one function, here or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features import store_update
from uniformaly_pipeline.features.encoders import (
    OwnEncoder,
    Shards,
    current_encoders,
    encoded_by,
)
from uniformaly_pipeline.features.estimates import EncodingCost
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.shard_encoding import encode_shard
from uniformaly_pipeline.features.shards import read_info, shards_in
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import plan_shards, update_store
from uniformaly_pipeline.features.stream import FeatureStream

NAMES = [f"{number:02d}" for number in range(11)]
HASHES = [f"#{name}" for name in NAMES]
OFF = BackPatchMasking("off")
BATCH_BYTES = 2 * 20 * 37
"""What a batch of two images of the fake encoder takes."""


class Others:
    """Stand in for other machines: encode each list by itself, the last one first."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []

    def encode(self, folder: Path, stream: FeatureStream, shards: Shards) -> list[EncodingCost]:
        self.given += [list(shard.values()) for shard in shards]
        for shard in reversed(shards):
            encode_shard(folder, stream, shard)
        return []


def rows(path: Path) -> dict[str, bytes]:
    store = FeatureStore(path)
    return {
        key: store.load([key], OFF).features.tobytes() + store.attention([key]).tobytes()
        for key in store.index.index
    }


@pytest.mark.parametrize(("size", "lengths"), [(1, [2] * 5 + [1]), (BATCH_BYTES + 1, [4, 4, 3])])
def test_lists_are_of_whole_batches(
    size: int, lengths: list[int], fake_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_update, "SHARD_BYTES", size)
    stream = fake_encoder.stream(NAMES)
    shards = plan_shards(stream, stream.images)
    assert [len(shard) for shard in shards] == lengths
    assert [image for shard in shards for image in shard.values()] == NAMES


def test_images_in_tiles_fill_their_lists_sooner(
    fake_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_update, "SHARD_BYTES", 3 * BATCH_BYTES // 2)  # three inputs
    stream = replace(fake_encoder.stream(NAMES[:5]), batch_size=1, num_inputs={"#01": 4})
    lengths = [len(shard) for shard in plan_shards(stream, stream.images)]
    assert lengths == [2, 3]


def test_others_give_the_same_store(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_update, "SHARD_BYTES", BATCH_BYTES + 1)
    update_store(tmp_path / "one", fake_encoder.stream(NAMES))
    others = Others()
    with encoded_by(others):
        update_store(tmp_path / "many", fake_encoder.stream(NAMES))
    assert isinstance(current_encoders(), OwnEncoder)
    assert others.given == [NAMES[:4], NAMES[4:8], NAMES[8:]]
    assert rows(tmp_path / "many") == rows(tmp_path / "one")
    contents = [
        sorted(
            [image.content_hash for image in read_info(path).images]
            for path in shards_in(FeatureStore(tmp_path / name).path)
        )
        for name in ("one", "many")
    ]
    assert contents[0] == contents[1]


def test_a_list_that_fails_leaves_no_shard(fake_encoder: Any, tmp_path: Path) -> None:
    stream = replace(fake_encoder.stream(NAMES), images={"#another": "00"})
    with pytest.raises(InputError, match=r"^00 has changed since"):
        encode_shard(tmp_path, stream, stream.images)
    assert shards_in(tmp_path) == []


def test_a_list_takes_its_batches_from_a_longer_stream(fake_encoder: Any, tmp_path: Path) -> None:
    stream = fake_encoder.stream(NAMES)
    encoded = stream.encode(NAMES[:6])
    wanted: Sequence[dict[str, str]] = [
        dict(zip(HASHES[first : first + 4], NAMES[first : first + 4], strict=True))
        for first in (0, 4, 8)
    ]
    seen: list[int] = []
    done = [
        encode_shard(tmp_path, stream, shard, encoded, lambda batch: seen.append(len(batch.images)))
        for shard in wanted
    ]
    assert done == [4, 2, 0]  # it ended early
    assert seen == [2, 2, 2]
    assert len(shards_in(tmp_path)) == 2
    assert np.all([len(read_info(path).images) in (4, 2) for path in shards_in(tmp_path)])
