"""Stores that several processes write to, and stores whose files were damaged."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.features import writers
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.features import shards
from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import update_store
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import ImageRecord, build_manifest

OFF = BackPatchMasking(mode="off")
TRIALS = 40
IMAGES = ["a", "b", "c", "d", "e"]


def loaded(folder: Path, images: list[str]) -> np.ndarray:
    """Features of images as a store gives them: [B, N, D]."""
    patches = FeatureStore(folder).load([f"#{image}" for image in images], OFF)
    return patches.features.reshape(len(images), -1, writers.DIM)


# --- several writers ------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "shared"), [(2, 0), (4, 3)])
def test_every_image_has_its_own_features_however_many_write(
    count: int, shared: int, tmp_path: Path
) -> None:
    """Without a lock: other images of each writer, and some that all of them want."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    wanted = [
        [f"writer {writer} image {i}" for i in range(4)] + [f"shared {i}" for i in range(shared)]
        for writer in range(count)
    ]
    processes = [
        context.Process(target=writers.write, args=(str(tmp_path), own, TRIALS, barrier))
        for own in wanted
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    everything = sorted({image for own in wanted for image in own})
    expected = np.stack([writers.features(image) for image in everything])
    for trial in range(TRIALS):
        np.testing.assert_array_equal(loaded(tmp_path / str(trial), everything), expected)


def test_of_images_stored_twice_every_reader_takes_the_same(tmp_path: Path) -> None:
    folder = update_store(tmp_path, writers.stream(["a"]))
    again = folder / f"{'0' * 32}.safetensors"
    (first,) = shards.shards_in(folder)
    shutil.copy(first, again)
    index = FeatureStore(tmp_path).index
    assert list(index.index) == ["#a"]
    assert index.loc["#a", "shard"] == min(first, again)


# --- damage ---------------------------------------------------------------------------------------


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one shard."""
    folder = tmp_path_factory.mktemp("sound")
    update_store(folder, writers.stream(IMAGES))
    return folder


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_anywhere_gives_the_same_features_or_one_line(
    data: st.DataObject, sound: Path, tmp_path: Path
) -> None:
    """In a shard, its description, the header or the note of the current store."""
    folder = tmp_path / "store"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    shards.read_info.cache_clear()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = data.draw(st.sampled_from(files))
    position = data.draw(st.integers(0, file.stat().st_size - 1))
    flip(file, position, data.draw(st.integers(0, 7)))
    expected = np.stack([writers.features(image) for image in IMAGES])
    try:
        found = loaded(folder, IMAGES)
    except InputError as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error)
    else:
        np.testing.assert_array_equal(found, expected)
    # Running again mends what can be mended, whatever it was.
    update_store(folder, writers.stream(IMAGES))
    np.testing.assert_array_equal(loaded(folder, IMAGES), expected)


@pytest.mark.parametrize("content", [b"", b"half", b"\x00" * 4096])
def test_a_file_that_is_no_shard_is_named_and_its_images_are_encoded_again(
    content: bytes, sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    (shard,) = folder.rglob("*.safetensors")
    shard.write_bytes(content)
    shards.read_info.cache_clear()
    with caplog.at_level(logging.WARNING):
        update_store(folder, writers.stream(IMAGES))
    assert f"{shard} was damaged and is set aside as {shard.stem}.damaged" in caplog.text
    assert shard.with_suffix(".damaged").read_bytes() == content
    np.testing.assert_array_equal(
        loaded(folder, IMAGES), np.stack([writers.features(image) for image in IMAGES])
    )


def test_damage_found_while_reading_ends_in_one_line_and_the_next_run_mends_it(
    sound: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    (shard,) = folder.rglob("*.safetensors")
    flip(shard, shard.stat().st_size - 5, 3)  # among the features
    shards.read_info.cache_clear()
    with pytest.raises(InputError, match=r"damaged and are set aside as \w+\.damaged: run again"):
        loaded(folder, IMAGES)
    update_store(folder, writers.stream(IMAGES))
    assert loaded(folder, IMAGES).shape == (5, 6, 4)


def test_a_shard_of_another_store_is_set_aside(sound: Path, tmp_path: Path) -> None:
    """Copied by hand or by a sync that went wrong: its features were made in another way."""
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    other = writers.stream(["x"])
    header = {**vars(other.header), "weights_sha256": "1" * 64}
    foreign = update_store(
        tmp_path / "other", type(other)(type(other.header)(**header), other.images, other.encode, 1)
    )
    (shard,) = shards.shards_in(foreign)
    shutil.copy(shard, FeatureStore(folder).path)
    assert sorted(FeatureStore(folder).index.index) == [f"#{image}" for image in IMAGES]


# --- which store is meant -------------------------------------------------------------------------


def test_the_current_store_is_the_one_brought_up_to_date_last(tmp_path: Path) -> None:
    first = writers.stream(["a"])
    header = {**vars(first.header), "weights_sha256": "1" * 64}
    other = type(first)(type(first.header)(**header), {"#b": "b"}, first.encode, 1)
    for stream, image in ((first, "#a"), (other, "#b"), (first, "#a")):
        update_store(tmp_path, stream)
        assert list(FeatureStore(tmp_path).index.index) == [image]
    (tmp_path / "current.json").write_text("{}")
    with pytest.raises(InputError, match=f"holds no features: {RUN_AGAIN}"):
        FeatureStore(tmp_path)


def test_an_interrupted_run_does_not_leave_older_features_as_its_own(tmp_path: Path) -> None:
    first = writers.stream(["a"])
    update_store(tmp_path, first)

    def interrupted(_: list[str]) -> Any:
        raise KeyboardInterrupt

    header = {**vars(first.header), "weights_sha256": "1" * 64}
    other = type(first)(type(first.header)(**header), {"#a": "a"}, interrupted, 1)
    with pytest.raises(KeyboardInterrupt):
        update_store(tmp_path, other)
    with pytest.raises(InputError, match="lacks the features of 1 image:"):
        FeatureStore(tmp_path).load(["#a"], OFF)


def test_a_store_of_an_older_version_is_left_alone_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "float16-all"
    (old / "shards").mkdir(parents=True)
    (old / "header.json").write_text(json.dumps({"version": 1}))
    (old / "shards/00000.safetensors").write_bytes(b"old")
    with caplog.at_level(logging.WARNING):
        update_store(tmp_path / "float16-all-1234", writers.stream(["a"]))
    assert f"older version lie in {old} and are not used: remove the folder" in caplog.text
    assert (old / "shards/00000.safetensors").read_bytes() == b"old"
    with pytest.raises(InputError, match=r"older version, which are not used: remove the folder"):
        FeatureStore(old)


# --- images that change ---------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_changes_before_it_is_encoded_ends_the_run_by_name(
    num_workers: int, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    """Nothing is filed under the hash of the old bytes."""
    root = tmp_path / "images"
    root.mkdir()
    for number in range(4):
        Image.new("RGB", (48, 48), (40 * number, 90, 120)).save(root / f"{number}.png")
    folder = ImageFolder(str(root))
    manifest = build_manifest(folder, [ImageRecord(f"{i}.png", "nut", "train") for i in range(4)])
    images = dict(zip(manifest["content_hash"], manifest["image"], strict=True))
    Image.new("RGB", (48, 48), (250, 0, 0)).save(root / "2.png")
    stream = feature_stream(
        folder,
        images,
        tiny_backbone,
        Preprocessing(resize=64, crop=64),
        OFF,
        batch_size=1,
        num_workers=num_workers,
    )
    with pytest.raises(InputError, match=r"^2\.png has changed since this run read it"):
        update_store(tmp_path / "store", stream)
    stored = set(FeatureStore(tmp_path / "store").index.index)
    assert list(images)[2] not in stored
    assert stored <= set(images)
