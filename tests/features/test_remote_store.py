"""A feature store elsewhere: the same features, sound whoever writes and whatever is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.features import writers
from uniformaly_pipeline.common import file_cache
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, as_path
from uniformaly_pipeline.features import shards, store_update
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import update_store

OFF = BackPatchMasking(mode="off")
MASKING = BackPatchMasking()
NAMES = ["a", "b", "c", "d", "e"]
HASHES = [f"#{name}" for name in NAMES]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are kept in this test."""
    monkeypatch.setenv(file_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache/shards"


@pytest.fixture(params=["memory", "s3"])
def folder(request: pytest.FixtureRequest) -> RemotePath:
    """Where stores are to lie."""
    if request.param == "s3":
        return RemotePath(f"{request.getfixturevalue('bucket')}/nuts/vit/default")
    return RemotePath(f"memory://{uuid.uuid4().hex}/nuts/vit/default")


def taken(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.iterdir())


@pytest.mark.parametrize("masking", [None, MASKING])
def test_features_are_bitwise_those_of_a_local_store(
    fake_encoder: Any, folder: RemotePath, tmp_path: Path, masking: BackPatchMasking | None
) -> None:
    local = fake_encoder.store(tmp_path / "local", NAMES, masking=masking)
    fake_encoder.encoded.clear()
    update_store(folder, fake_encoder.stream(NAMES[:2], masking=masking))
    update_store(folder, fake_encoder.stream(NAMES, masking=masking))
    assert fake_encoder.encoded == NAMES
    remote = FeatureStore(folder)
    assert isinstance(remote.path, RemotePath)
    assert remote.path.name == local.path.name
    assert remote.header == local.header
    wanted = MASKING if masking else OFF
    for one, other in zip(
        vars(remote.load(HASHES, wanted)).values(),
        vars(local.load(HASHES, wanted)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(remote.attention(HASHES), local.attention(HASHES))


def test_copies_take_no_more_than_they_may(
    fake_encoder: Any, folder: RemotePath, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_update, "SHARD_BYTES", 1)
    monkeypatch.setattr(fake_encoder, "batch_size", 1)
    update_store(folder, fake_encoder.stream(NAMES))
    sizes = [len(path.read_bytes()) for path in shards.shards_in(FeatureStore(folder).path)]
    size = max(sizes)
    assert not cache.exists()  # what files say of themselves is not fetched with all of them
    monkeypatch.setenv(file_cache.LIMIT_VARIABLE, str(2.5 * size / 1e9))
    expected = FeatureStore(folder).load(HASHES, OFF).features
    assert 0 < taken(cache) <= 2.5 * size
    again = FeatureStore(folder).load(HASHES[::-1], OFF).features
    np.testing.assert_array_equal(again.reshape(5, -1, 8)[::-1], expected.reshape(5, -1, 8))
    assert taken(cache) <= 2.5 * size


def test_a_damaged_copy_is_fetched_again(
    fake_encoder: Any, folder: RemotePath, cache: Path
) -> None:
    update_store(folder, fake_encoder.stream(NAMES))
    expected = FeatureStore(folder).load(HASHES, OFF).features
    (copy,) = cache.iterdir()
    for damage in (b"\x00" * 30, b"", copy.read_bytes()[:-1] + b"?"):
        copy.write_bytes(damage)
        np.testing.assert_array_equal(FeatureStore(folder).load(HASHES, OFF).features, expected)
    assert len(shards.shards_in(FeatureStore(folder).path)) == 1
    assert not list(FeatureStore(folder).path.glob("*.damaged"))


def test_a_damaged_file_is_set_aside_and_its_images_are_encoded_again(
    fake_encoder: Any, folder: RemotePath
) -> None:
    update_store(folder, fake_encoder.stream(NAMES))
    (shard,) = shards.shards_in(FeatureStore(folder).path)
    content = shard.read_bytes()
    shards.read_info.cache_clear()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # type: ignore[union-attr]
    with pytest.raises(InputError, match="were damaged and are set aside"):
        FeatureStore(folder).load(HASHES, OFF)
    update_store(folder, fake_encoder.stream(NAMES))
    assert FeatureStore(folder).load(HASHES, OFF).num_images == 5
    (shard,) = shards.shards_in(FeatureStore(folder).path)
    shards.read_info.cache_clear()
    shard.write_bytes(shard.read_bytes()[:20])  # type: ignore[union-attr]
    fake_encoder.encoded.clear()
    update_store(folder, fake_encoder.stream(NAMES))
    assert fake_encoder.encoded == NAMES


def test_storage_that_is_down_is_no_damage(
    fake_encoder: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound files must not be set aside because a server does not answer."""
    folder = RemotePath(f"{bucket}/nuts/vit/default")
    update_store(folder, fake_encoder.stream(NAMES))
    shards.read_info.cache_clear()

    def down(*args: Any, **options: Any) -> None:
        raise InputError("s3://x cannot be read (down): check the address and the network")

    with monkeypatch.context() as patched:
        patched.setattr(RemotePath, "read_range", down)
        with pytest.raises(InputError, match="check the address and the network"):
            _ = FeatureStore(folder).index
    assert sorted(FeatureStore(folder).index.index) == HASHES


# --- several writers, and killed ones -------------------------------------------------------------


def _loaded(folder: AnyPath, images: list[str]) -> np.ndarray:
    patches = FeatureStore(folder).load([f"#{image}" for image in images], OFF)
    return patches.features.reshape(len(images), -1, writers.DIM)


def test_two_writers_at_once_lose_nothing(bucket: str) -> None:
    context = multiprocessing.get_context("spawn")
    trials, barrier = 3, context.Barrier(2)
    wanted = [[f"writer {writer} image {i}" for i in range(3)] + ["shared"] for writer in range(2)]
    processes = [
        context.Process(target=writers.write, args=(bucket, own, trials, barrier)) for own in wanted
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    everything = sorted({image for own in wanted for image in own})
    expected = np.stack([writers.features(image) for image in everything])
    for trial in range(trials):
        np.testing.assert_array_equal(_loaded(as_path(f"{bucket}/{trial}"), everything), expected)


def test_a_killed_writer_leaves_what_it_had_uploaded(bucket: str) -> None:
    """Whenever it is killed, what is there is whole, and the next run encodes only the rest."""
    context = multiprocessing.get_context("spawn")
    images = [f"image {i}" for i in range(200)]
    barrier = context.Barrier(1)
    process = context.Process(target=writers.write, args=(bucket, images, 1, barrier))
    process.start()
    folder = as_path(f"{bucket}/0")
    until = time.monotonic() + 240
    while time.monotonic() < until and not any(folder.glob("*/")):
        time.sleep(0.02)
    while time.monotonic() < until and not shards.shards_in(next(iter(folder.glob("*/")))):
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(60)
    kept = set(FeatureStore(folder).index.index)
    assert 0 < len(kept) < len(images)
    encoded = []
    stream = writers.stream(images)

    def encode(names: list[str]) -> Any:
        encoded.extend(names)
        return writers.encode(names)

    update_store(folder, replace(stream, encode=encode))
    assert {f"#{name}" for name in encoded} == {f"#{image}" for image in images} - kept
    expected = np.stack([writers.features(image) for image in images])
    np.testing.assert_array_equal(_loaded(folder, images), expected)
    store = FeatureStore(folder).path
    assert not list(store.glob("*.damaged")) + list(store.glob("*.part"))
