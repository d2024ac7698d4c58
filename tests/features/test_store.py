"""The feature store: every image encoded once, whatever happens in between."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features import encoders, shards, store_update
from uniformaly_pipeline.features import store as store_module
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore, PatchFeatures, current_store
from uniformaly_pipeline.features.store_update import update_store

NAMES = ["a", "b", "c", "d", "e"]
HASHES = [f"#{name}" for name in NAMES]
MASKING = BackPatchMasking(kernel_size=1, threshold=0.2)
OFF = BackPatchMasking(mode="off")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard per batch."""
    monkeypatch.setattr(store_update, "SHARD_BYTES", 1)


def expected_features(encoder: Any, names: list[str], masking: BackPatchMasking) -> PatchFeatures:
    """What a store must give back, image by image and patch by patch."""
    features, images, patches = [], [], []
    for number, name in enumerate(names):
        attention = torch.from_numpy(encoder.attention(name))[None]
        kept = masking.foreground(attention)[0].numpy()
        features.append(encoder.features(name)[kept])
        images += [number] * int(kept.sum())
        patches += np.flatnonzero(kept).tolist()
    rows = np.concatenate(features)
    return PatchFeatures(rows, np.array(images), np.array(patches), len(names), encoder.grid)


def assert_same(actual: PatchFeatures, expected: PatchFeatures, rtol: float = 0) -> None:
    np.testing.assert_array_equal(actual.image, expected.image)
    np.testing.assert_array_equal(actual.patch, expected.patch)
    np.testing.assert_allclose(actual.features, expected.features, rtol=rtol)
    assert actual.features.dtype == np.float32
    assert (actual.num_images, actual.grid) == (expected.num_images, expected.grid)


def shards_of(path: Path) -> list[Path]:
    """The files of the current store, its header left out."""
    return sorted(file for file in current_store(path).iterdir() if file.name != "header.json")


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [None, MASKING])
def test_patches_come_back_in_the_order_asked_for(
    kept: BackPatchMasking | None, fake_encoder: Any, tmp_path: Path, small_shards: None
) -> None:
    store = fake_encoder.store(tmp_path, NAMES, masking=kept)
    assert len(shards_of(tmp_path)) == 3
    for names in (NAMES, ["d", "a", "e"], ["c"], ["b", "b"]):
        patches = store.load([f"#{name}" for name in names], MASKING)
        expected = expected_features(fake_encoder, names, MASKING)
        assert 0 < len(expected.features) < len(names) * 20
        assert_same(patches, expected)


def test_all_patches_serve_every_masking(fake_encoder: Any, tmp_path: Path) -> None:
    store = fake_encoder.store(tmp_path, NAMES)
    counts = []
    for masking in (OFF, BackPatchMasking("soft", 3), BackPatchMasking("binary", 3, 0.5), MASKING):
        expected = expected_features(fake_encoder, NAMES, masking)
        assert_same(store.load(HASHES, masking), expected, rtol=1e-6)
        counts.append(len(expected.features))
    assert counts[0] == counts[1] == 100
    assert len(set(counts)) == 3


def test_a_store_of_the_foreground_refuses_another_masking(
    fake_encoder: Any, tmp_path: Path
) -> None:
    store = fake_encoder.store(tmp_path, NAMES, masking=MASKING)
    for other in (OFF, BackPatchMasking("soft", 1, 0.2), replace(MASKING, threshold=0.3)):
        for read in (store.load, store.foreground):
            with pytest.raises(InputError, match=r"only the foreground .* features\.keep to all"):
                read(HASHES, other)


def test_attention_and_foreground_are_those_of_each_image(
    fake_encoder: Any, tmp_path: Path, small_shards: None
) -> None:
    store = fake_encoder.store(tmp_path, NAMES, masking=MASKING)
    attention = store.attention(["#d", "#b"])
    expected = np.stack([fake_encoder.attention(name) for name in "db"])
    assert (attention == expected).all()
    foreground = store.foreground(["#d", "#b"], MASKING)
    assert foreground.dtype == bool
    assert (foreground == MASKING.foreground(torch.from_numpy(expected)).numpy()).all()


def test_half_precision_takes_half_the_space(fake_encoder: Any, tmp_path: Path) -> None:
    half = fake_encoder.store(tmp_path / "half", NAMES, dtype="float16").load(HASHES, OFF)
    full = fake_encoder.store(tmp_path / "full", NAMES).load(HASHES, OFF)
    assert (half.features == full.features.astype(np.float16).astype(np.float32)).all()
    assert (half.features != full.features).any()
    sizes = [
        sum(shard.stat().st_size for shard in shards_of(tmp_path / name))
        for name in ("half", "full")
    ]
    assert abs(sizes[1] - sizes[0] - 100 * 8 * 2) < 64, "but for the text of their headers"


def test_no_images_give_no_patches(fake_encoder: Any, tmp_path: Path) -> None:
    store = fake_encoder.store(tmp_path, NAMES)
    assert store.load([], MASKING).features.shape == (0, 8)
    assert store.attention([]).shape == (0, 4, 5)


def test_an_image_without_foreground_has_no_patches(fake_encoder: Any, tmp_path: Path) -> None:
    fake_encoder.attention = lambda name: np.full((4, 5), float(name == "b"), np.float32)
    patches = fake_encoder.store(tmp_path, NAMES, masking=MASKING).load(HASHES, MASKING)
    assert set(patches.image.tolist()) == {1}
    assert len(patches.features) == 20


def test_scatter_puts_values_back_and_leaves_the_background_0() -> None:
    image, patch = np.array([0, 0, 2]), np.array([1, 3, 0])
    patches = PatchFeatures(np.zeros((3, 1), np.float32), image, patch, 3, (2, 2))
    values = np.array([5.0, 6.0, 7.0], np.float32)
    assert patches.scatter(values).tolist() == [[0, 5, 0, 6], [0, 0, 0, 0], [7, 0, 0, 0]]


def test_a_missing_store_and_missing_images_are_named(fake_encoder: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path / 'x'} holds no features"):
        FeatureStore(tmp_path / "x")
    store = fake_encoder.store(tmp_path, NAMES)
    with pytest.raises(InputError, match="lacks the features of 2 images"):
        store.load(["#a", "#y", "#z"], MASKING)


def test_time_of_encoding_is_that_of_the_images_asked_for(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every look at the clock is a second later; a batch of two images takes one.
    seconds = iter(range(1000))
    monkeypatch.setattr(store_update.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(encoders, "track", lambda batches, *_: batches)
    store = fake_encoder.store(tmp_path, NAMES)
    assert store.encode_seconds(HASHES) == pytest.approx(3.0)
    assert store.encode_seconds(["#a", "#b", "#c"]) == pytest.approx(1.5)
    assert store.encode_seconds(["#e"]) == pytest.approx(1.0)


# --- bringing up to date --------------------------------------------------------------------------


def test_only_what_is_missing_is_encoded(fake_encoder: Any, tmp_path: Path) -> None:
    fake_encoder.store(tmp_path, ["a", "b"])
    fake_encoder.store(tmp_path, ["b", "c", "a", "d"])
    store = fake_encoder.store(tmp_path, ["a"])
    assert fake_encoder.encoded == ["a", "b", "c", "d"]
    expected = expected_features(fake_encoder, ["d", "a", "b", "c"], MASKING)
    assert_same(store.load(["#d", "#a", "#b", "#c"], MASKING), expected)


def test_a_store_that_is_up_to_date_is_left_as_it_is(fake_encoder: Any, tmp_path: Path) -> None:
    fake_encoder.store(tmp_path, NAMES)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    fake_encoder.store(tmp_path, NAMES)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights_sha256": "1" * 64}, "weights_sha256"),
        ({"backbone": {"model": "other"}}, "backbone"),
        ({"preprocessing": {"crop": 65}}, "preprocessing"),
        ({"dtype": "float16"}, "dtype"),
        ({"precision": "float16"}, "precision"),
        ({"masking": MASKING}, "masking"),
        ({"version": 99}, "version"),
    ],
)
def test_features_made_in_another_way_lie_beside_and_nothing_is_lost(
    change: dict[str, Any], named: str, fake_encoder: Any, tmp_path: Path
) -> None:
    first = fake_encoder.store(tmp_path, NAMES)
    other = fake_encoder.store(tmp_path, NAMES[:2], **change)
    assert other.path != first.path
    assert other.header.differences(json.loads(first.header.to_json())) == [named]
    assert fake_encoder.encoded == [*NAMES, "a", "b"]
    assert sorted(other.index.index) == ["#a", "#b"]
    again = fake_encoder.store(tmp_path, NAMES)
    assert again.path == first.path
    assert len(fake_encoder.encoded) == 7, "nothing was encoded a third time"
    assert_same(again.load(HASHES, MASKING), expected_features(fake_encoder, NAMES, MASKING))


def test_the_same_header_logs_no_warning(
    fake_encoder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fake_encoder.store(tmp_path, ["a"], masking=MASKING)
        fake_encoder.store(tmp_path, NAMES, masking=MASKING)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert "4 images to encode, 1 stored already" in caplog.text


def test_who_encodes_again_for_the_sake_of_all_patches_is_told(
    fake_encoder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    why = "all patches are needed, those stored are without the background"
    with caplog.at_level(logging.INFO):
        fake_encoder.store(tmp_path, NAMES, masking=MASKING)
        assert why not in caplog.text
        fake_encoder.store(tmp_path, NAMES[:2])
        assert f"2 images to encode, 0 stored already: {why}" in caplog.text
        caplog.clear()
        fake_encoder.store(tmp_path, NAMES)
        fake_encoder.store(tmp_path, NAMES)
    assert "3 images to encode, 2 stored already\n" in caplog.text
    assert why not in caplog.text


def test_an_interrupted_run_keeps_what_it_stored(
    fake_encoder: Any, tmp_path: Path, small_shards: None
) -> None:
    fake_encoder.fail_at = "e"
    with pytest.raises(KeyboardInterrupt):
        fake_encoder.store(tmp_path, NAMES)
    assert sorted(FeatureStore(tmp_path).index.index) == HASHES[:4]
    fake_encoder.fail_at = None
    store = fake_encoder.store(tmp_path, NAMES)
    assert fake_encoder.encoded == NAMES
    assert_same(store.load(HASHES, MASKING), expected_features(fake_encoder, NAMES, MASKING))


def test_what_was_left_long_ago_is_removed_and_what_is_being_written_stays(
    fake_encoder: Any, tmp_path: Path
) -> None:
    folder = fake_encoder.store(tmp_path, ["a", "b"]).path
    stale, fresh = folder / "1.safetensors.part", folder / "2.safetensors.part"
    for leftover in (stale, fresh):
        leftover.write_bytes(b"half")
    os.utime(stale, (0, 0))
    store = fake_encoder.store(tmp_path, NAMES)
    assert not stale.exists()
    assert fresh.exists()
    assert_same(store.load(HASHES, MASKING), expected_features(fake_encoder, NAMES, MASKING))


def test_no_file_is_seen_half_written(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_encoder.store(tmp_path, ["a", "b"])

    def break_off(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(shards, "save_file", break_off)
    with pytest.raises(OSError, match="disk full"):
        fake_encoder.store(tmp_path, NAMES)
    assert len(shards_of(tmp_path)) == 1
    store = FeatureStore(tmp_path)
    assert sorted(store.index.index) == ["#a", "#b"]


def test_images_fill_shards_up_to_their_size(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A batch of two takes 2 x 20 x (8 x 4 + 4 + 1) bytes.
    monkeypatch.setattr(store_update, "SHARD_BYTES", 2 * 20 * 37 + 1)
    store = fake_encoder.store(tmp_path, NAMES)
    assert sorted(store.index["shard"].value_counts()) == [1, 4]
    assert store.index.loc[HASHES[:4], "row"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("of_all", "size"), [(0, 4 << 20), (4 << 30, 4 << 20), (8 << 30, 8 << 20), (1 << 40, 64 << 20)]
)
def test_files_of_large_stores_are_larger(of_all: int, size: int) -> None:
    assert store_update._shard_bytes(of_all) == size


@pytest.mark.usefixtures("small_shards")
def test_few_files_are_open_at_a_time_and_each_is_checked_once(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open ones take memory, and a system allows so many."""
    made = fake_encoder.store(tmp_path, NAMES)
    store, checked = FeatureStore(made.path), []
    monkeypatch.setattr(store_module, "OPEN_SHARDS", 1)
    original = shards.describe_array
    monkeypatch.setattr(shards, "describe_array", lambda a: checked.append(a) or original(a))
    for name in [*NAMES, *reversed(NAMES)]:
        loaded = store.load([f"#{name}"], OFF)
        assert_same(loaded, expected_features(fake_encoder, [name], OFF))
        assert len(store._shards) == 1
    assert len(checked) == len(shards.TENSORS) * len(shards_of(tmp_path))


def test_header_is_readable_and_says_how_features_were_made(
    fake_encoder: Any, tmp_path: Path
) -> None:
    store = fake_encoder.store(tmp_path, ["a"], masking=MASKING)
    header = json.loads((store.path / "header.json").read_text(encoding="utf-8"))
    assert header["masking"] == {"mode": "binary", "kernel_size": 1, "threshold": 0.2}
    assert header["grid"] == [4, 5]
    assert store.header.differences(header) == []
    assert store.header.num_patches == 20


# --- refusals -------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_found_out_before_encoding(
    fake_encoder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3000))
    with caplog.at_level(logging.INFO), pytest.raises(InputError) as error:
        fake_encoder.store(tmp_path, NAMES)
    assert "kB but only 3.0 kB are free" in str(error.value)
    assert "\n" not in str(error.value)
    assert "Features need at most" in caplog.text
    assert fake_encoder.encoded == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "size"), [("float16", 16), ("float32", 32)])
def test_the_estimate_is_an_upper_limit_and_a_close_one(
    dtype: str, size: int, fake_encoder: Any, tmp_path: Path
) -> None:
    store = fake_encoder.store(tmp_path, NAMES, dtype=dtype)
    estimate = store.header.estimate_bytes(5)
    assert estimate == 5 * 20 * (size + 5)
    # The file's own header is all that is added.
    assert estimate <= shards_of(tmp_path)[0].stat().st_size < estimate + 2000


def test_features_too_large_for_half_precision_are_refused(
    fake_encoder: Any, tmp_path: Path
) -> None:
    fake_encoder.scale = 1e5
    message = "features overflow float16: set features.dtype to float32"
    with pytest.raises(InputError, match=message):
        fake_encoder.store(tmp_path, NAMES, dtype="float16")
    assert shards_of(tmp_path) == []
    store = fake_encoder.store(tmp_path, NAMES, dtype="float32")
    assert np.abs(store.load(HASHES, OFF).features).max() > 1e5


@pytest.mark.parametrize("masking", [None, MASKING])
def test_attention_that_is_not_finite_is_refused(
    masking: BackPatchMasking | None, fake_encoder: Any, tmp_path: Path
) -> None:
    # Overflow within the model gives NaN; without this no patch would count and the image score 0.
    fake_encoder.attention = lambda _: np.full((4, 5), np.nan, np.float32)
    with pytest.raises(InputError, match="overflow"):
        fake_encoder.store(tmp_path, NAMES, masking=masking)


def test_a_stream_that_ends_early_is_not_taken_for_complete(
    fake_encoder: Any, tmp_path: Path
) -> None:
    stream = fake_encoder.stream(NAMES)
    update_store(tmp_path, replace(stream, encode=lambda images: fake_encoder(images[:2])))
    store = fake_encoder.store(tmp_path, NAMES)
    assert fake_encoder.encoded == NAMES
    assert_same(store.load(HASHES, MASKING), expected_features(fake_encoder, NAMES, MASKING))


def test_layer_choices_lie_side_by_side_and_the_first_is_the_default(
    fake_encoder: Any, tmp_path: Path
) -> None:
    store = fake_encoder.store(tmp_path, NAMES, layer_choices=[[2, 3], [5]])
    whole = np.stack([fake_encoder.features(name) for name in NAMES]).reshape(-1, 8)
    assert store.header.dim == 8
    assert store.dim == 4
    assert (store.load(HASHES, OFF).features == whole[:, :4]).all()
    assert (store.with_layers([3, 2]).load(HASHES, OFF).features == whole[:, :4]).all()
    other = store.with_layers([5])
    assert (other.load(HASHES, OFF).features == whole[:, 4:]).all()
    with pytest.raises(InputError, match=r"no features of the blocks \[7\]"):
        store.with_layers([7])


def test_other_layer_choices_are_other_features(fake_encoder: Any, tmp_path: Path) -> None:
    fake_encoder.store(tmp_path, NAMES, layer_choices=[[2, 3], [5]])
    fake_encoder.encoded.clear()
    fake_encoder.store(tmp_path, NAMES, layer_choices=[[2, 3], [6]])
    assert fake_encoder.encoded == NAMES


def test_a_header_tells_no_password(fake_encoder: Any) -> None:
    backbone = {"model": "fake", "checkpoint": "https://me:hush@host/a?token=x"}
    text = fake_encoder.stream(["a"], backbone=backbone).header.to_json()
    assert "https://host/a?token=***" in text
    assert "hush" not in text
