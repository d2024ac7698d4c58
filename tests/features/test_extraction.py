"""The stream of features: its header must tell apart all that gives other features."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features import extraction
from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.engines import choice
from uniformaly_pipeline.features.engines.choice import Measurements
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store_update import FeatureStream
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Levels

BACKBONE = Backbone(
    "vit_tiny_patch16_224",
    "untrained",
    model_kwargs={"img_size": [32, 48], "embed_dim": 12, "depth": 3, "num_heads": 2},
    layers=(0, 1),
    attention_layer=1,
)


def make_stream(**changes: Any) -> FeatureStream:
    settings: dict[str, Any] = {
        "folder": ImageFolder("nowhere"),
        "images": {},
        "backbone": BACKBONE,
        "preprocessing": Preprocessing(resize=40, crop=(32, 48)),
        "masking": BackPatchMasking(),
        "device": "cpu",
        "num_workers": 0,
    }
    return feature_stream(**{**settings, **changes})


def differences(**changes: Any) -> list[str]:
    """What a store made with the defaults says of a stream with other settings."""
    stored = json.loads(make_stream().header.to_json())
    return make_stream(**changes).header.differences(stored)


def test_header_describes_the_features() -> None:
    header = make_stream().header
    assert (header.grid, header.dim, header.dtype) == ((2, 3), 12, "float16")
    assert (header.precision, header.backbone["layers"]) == ("float32", [0, 1])
    assert header.masking == {"mode": "binary", "kernel_size": 7, "threshold": 0.1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone": replace(BACKBONE, layers=(1,))}, ["backbone"]),
        ({"backbone": replace(BACKBONE, attention_layer=0)}, ["backbone"]),
        ({"seed": 1}, ["weights_sha256"]),
        ({"preprocessing": Preprocessing(resize=48, crop=(32, 48))}, ["preprocessing"]),
        ({"preprocessing": Preprocessing(40, (32, 48), None, "lanczos")}, ["preprocessing"]),
        ({"precision": "bfloat16"}, ["precision"]),
        ({"dtype": "float32"}, ["dtype"]),
        ({"masking": BackPatchMasking(threshold=0.2)}, ["masking"]),
        ({"masking": BackPatchMasking(kernel_size=5)}, ["masking"]),
        ({"keep": "all"}, ["masking"]),
    ],
)
def test_what_gives_other_features_gives_another_header(
    changes: dict[str, Any], named: list[str]
) -> None:
    assert differences(**changes) == named


@pytest.mark.parametrize(
    "changes", [{}, {"batch_size": 3}, {"num_workers": 2}, {"images": {"#a": "a.png"}}]
)
def test_what_gives_the_same_features_gives_the_same_header(changes: dict[str, Any]) -> None:
    assert differences(**changes) == []


@pytest.mark.parametrize("mode", ["soft", "off"])
def test_a_store_of_all_patches_serves_every_masking_that_drops_none(mode: Any) -> None:
    stored = json.loads(make_stream(keep="all").header.to_json())
    stream = make_stream(masking=BackPatchMasking(mode, 3))
    assert stream.header.masking is None
    assert stream.header.differences(stored) == []


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [("cuda:0", "auto", "bfloat16"), ("cuda:0", "float16", "float16"), ("cpu", "auto", "float32")],
)
def test_automatic_precision_is_checked_on_the_images_where_there_is_a_gpu(
    device: str, precision: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model itself stays on the CPU; the header tells what is computed in."""
    checked: list[list[str]] = []

    def check(encoder: Any, folder: Any, images: Any, *_: Any) -> str:
        checked.append(list(images))
        assert encoder.dtype == torch.float32
        return "bfloat16"

    monkeypatch.setattr(extraction, "choose_device", lambda _: device)
    monkeypatch.setattr(extraction, "check_on_images", check)
    stream = make_stream(images={"#a": "a.png"}, precision=precision)
    assert stream.header.precision == expected
    assert checked == ([["a.png"]] if expected == "bfloat16" else [])


def test_the_same_weights_from_a_file_have_the_same_hash(tmp_path: Path) -> None:
    torch.save(load_backbone(BACKBONE, (32, 48)).state_dict(), tmp_path / "weights.pth")
    backbone = replace(BACKBONE, checkpoint=str(tmp_path / "weights.pth"))
    assert differences(backbone=backbone) == ["backbone"]


def test_images_are_encoded_when_asked_for(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path, ["nut"], train=3)
    paths = folder.files("nut/train/good")
    images = {str(number): path for number, path in enumerate(paths)}
    stream = make_stream(folder=folder, images=images, batch_size=2)
    batches = list(stream.encode(paths[1:]))
    assert stream.images == images
    assert [batch.features.shape for batch in batches] == [(2, 6, 12)]


def test_a_backbone_that_cannot_be_loaded_is_refused() -> None:
    with pytest.raises(InputError, match="asks for block 9"):
        make_stream(backbone=replace(BACKBONE, layers=(9,)))


def test_a_deep_image_is_encoded_by_the_levels_given(tmp_path: Path) -> None:
    """Not by its own range: twice the white is half as bright. The key tells the levels."""
    rng = np.random.default_rng(0)
    half = rng.integers(0, 128, (40, 50), dtype=np.uint8)
    Image.fromarray(half.astype(np.float32) / 255).save(tmp_path / "deep.tif")
    Image.fromarray(half).save(tmp_path / "bytes.png")
    Image.fromarray(half * 2).save(tmp_path / "bright.png")
    folder, names = ImageFolder(str(tmp_path)), {"#": "deep.tif"}

    def encoded(name: str, high: float = 1.0) -> Any:
        stream = make_stream(folder=folder, images=names, levels={"deep.tif": Levels.of(0, high)})
        (batch,) = stream.encode([name])
        return batch

    same, bright = encoded("deep.tif"), encoded("deep.tif", 0.5)
    torch.testing.assert_close(same.features, encoded("bytes.png").features)
    torch.testing.assert_close(bright.features, encoded("bright.png").features)
    digest = folder.content_hash("deep.tif")
    assert [*same.content_hashes, *bright.content_hashes] == [f"{digest}@0..1", f"{digest}@0..0.5"]
    assert encoded("bytes.png").content_hashes == (folder.content_hash("bytes.png"),)


def test_a_stream_made_elsewhere_gives_the_same_bits(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path / "images", train=3)
    images = [f"bottle/train/good/{number:03d}.png" for number in range(3)]
    stream = make_stream(folder=folder, batch_size=2, layer_choices=[[0], [0, 1]])
    assert stream.portable is not None
    remade = pickle.loads(pickle.dumps(stream.portable()))(1)
    assert remade.header == stream.header
    assert remade.images == {}
    for here, there in zip(stream.encode(images), remade.encode(images), strict=True):
        assert torch.equal(here.features, there.features)
        assert torch.equal(here.attention, there.attention)
        assert here.content_hashes == there.content_hashes


@pytest.mark.parametrize("linear", ["mkl", "onednn"])
def test_linear_layers_elsewhere_are_those_chosen_here(
    linear: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Measurements, "known", lambda _: {linear: 0.0})
    stream = make_stream()
    assert stream.portable is not None
    portable = stream.portable()
    other = {"mkl": "onednn", "onednn": "mkl"}[linear]
    monkeypatch.setattr(Measurements, "known", lambda _: {other: 0.0})  # of that machine
    used: list[str] = []
    monkeypatch.setattr(choice, "use_linear", lambda _, kind: used.append(kind))
    list(portable(1).encode([]))
    assert used == [linear]


@pytest.mark.parametrize(
    ("asked", "cores", "expected"), [("auto", 1, 1), ("auto", 4, 3), ("auto", 99, 8), (2, 99, 2)]
)
def test_workers_elsewhere_fit_the_cores_there(
    asked: Any, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(num_workers=asked)
    assert stream.portable is not None
    given: list[Any] = []
    monkeypatch.setattr(extraction, "encode_images", lambda *_, **o: given.append(o) or iter(()))
    list(stream.portable()(cores).encode([]))
    assert given[0]["num_workers"] == expected
