"""Nodes of the features stage: which images they need, and that each parameter is heeded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features import extraction
from uniformaly_pipeline.features.store_update import FeatureStream
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.turns import Turn
from uniformaly_pipeline.pipelines.features.nodes import (
    extract_all_features,
    extract_features,
    extract_turned_features,
)

MANIFEST = pd.DataFrame(
    [
        ("nut/1.png", "nut", "train", "#n1"),
        ("nut/2.png", "nut", "test", "#n2"),
        ("bolt/1.png", "bolt", "train", "#b1"),
        ("bolt/2.png", "bolt", "test", "#b2"),
        ("gear/1.png", "gear", "train", "#g1"),
    ],
    columns=["image", "class", "split", "content_hash"],
)
BACKBONE: dict[str, Any] = {
    "model": "vit_tiny_patch16_224",
    "checkpoint": "untrained",
    "sha256": None,
    "model_kwargs": {"img_size": [32, 48], "embed_dim": 12, "depth": 3, "num_heads": 2},
    "layers": [0, 1],
    "attention_layer": 1,
}
SETTINGS: dict[str, Any] = {
    "backbone": BACKBONE,
    "preprocessing": {"resize": 40, "crop": [32, 48], "pad": None, "interpolation": "bilinear"},
    "encoder": {
        "device": "cpu",
        "precision": "float32",
        "batch_size": 3,
        "num_workers": 0,
        "compile": False,
    },
    "features": {"dtype": "float32", "keep": "foreground"},
    "bpm": {"mode": "binary", "kernel_size": 5, "threshold": 0.3},
    "seed": 2,
    "classes": ["nut"],
}
FOLDER = ImageFolder("nowhere")


def changed(**changes: Any) -> dict[str, Any]:
    """The settings with some changed; those of a section are given as ``bpm__mode``."""
    settings = {**SETTINGS}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        settings[section] = {**settings[section], key: value} if key else value
    return settings


def stream(node: Callable[..., FeatureStream] = extract_features, **changes: Any) -> FeatureStream:
    return node(FOLDER, MANIFEST, **changed(**changes))


def differences(node: Callable[..., FeatureStream] = extract_features, **changes: Any) -> list[str]:
    """What a store that :func:`extract_features` made as usual says of a changed stream."""
    stored = json.loads(stream().header.to_json())
    return stream(node, **changes).header.differences(stored)


# --- which images ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "train"),
    [([], {}), (["nut"], {"#n1": "nut/1.png"}), (["gear", "bolt"],
     {"#b1": "bolt/1.png", "#g1": "gear/1.png"})],
)  # fmt: skip
def test_all_test_images_are_needed_and_the_train_images_of_the_classes(
    classes: list[str], train: dict[str, str]
) -> None:
    tested = {"#n2": "nut/2.png", "#b2": "bolt/2.png"}
    assert stream(classes=classes).images == {**tested, **train}


def test_no_other_image_is_needed_however_much_is_stored_of_each() -> None:
    images = stream().images
    assert stream(extract_all_features).images == images
    layered = extract_all_features(FOLDER, MANIFEST, **SETTINGS, layer_choices=[[0], [1]])
    assert layered.images == images


@pytest.mark.parametrize(
    ("shots", "draws", "turned"),
    [([1], 1, 1), ([1, 2, 9], 1, 2), ([1], 9, 3), ([3, "all"], 1, 0), (["all"], 1, 0)],
)
def test_of_the_normal_images_that_are_drawn_turns_are_needed(
    shots: list[Any], draws: int, turned: int
) -> None:
    rows = [(f"nut/{i}.png", "nut", "train", f"#{i}") for i in range(3)]
    manifest = pd.concat([MANIFEST[3:], pd.DataFrame(rows, columns=MANIFEST.columns)])
    lowshot = {"shots": shots, "num_draws": draws, "rotations": 3}
    images = extract_turned_features(FOLDER, manifest, **SETTINGS, lowshot=lowshot).images
    plain = extract_features(FOLDER, manifest, **SETTINGS).images
    assert {key: images[key] for key in plain} == plain
    more = {key: path for key, path in images.items() if key not in plain}
    assert len(more) == 2 * turned
    for key, path in more.items():
        name, _, turn = key.partition("@")
        assert turn in {"turned-120", "turned-240"}
        assert path == f"nut/{name.removeprefix('#')}.png@{turn}"


def test_a_turned_image_is_encoded_as_a_file_of_its_pixels_would_be(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Turn(90).picture(Image.fromarray(pixels)).save(tmp_path / "b.png")
    folder = ImageFolder(str(tmp_path))
    rows = [(f"{name}.png", "nut", "train", folder.content_hash(f"{name}.png")) for name in "ab"]
    manifest = pd.DataFrame(rows, columns=MANIFEST.columns)
    settings = changed(features__keep="all")
    lowshot = {"shots": [1], "num_draws": 9, "rotations": 4}
    stream = extract_turned_features(folder, manifest, **settings, lowshot=lowshot)
    key, path = f"{rows[0][3]}@turned-90", "a.png@turned-90"
    assert stream.images[key] == path
    (encoded,) = stream.encode([path, "b.png"])
    assert list(encoded.content_hashes) == [key, rows[1][3]]
    for both in (encoded.features, encoded.attention):
        np.testing.assert_allclose(both[0], both[1], rtol=1e-5, atol=1e-6)
    assert encoded.attention[0].std() > 0


# --- how they are encoded -------------------------------------------------------------------------


def test_the_header_says_how_features_are_made() -> None:
    header = stream().header
    assert (header.grid, header.dim, header.dtype) == ((2, 3), 12, "float32")
    assert header.precision == "float32"
    assert header.masking == {"mode": "binary", "kernel_size": 5, "threshold": 0.3}
    assert dict(header.preprocessing) == SETTINGS["preprocessing"]
    assert dict(header.backbone) == BACKBONE
    assert header.layer_choices is None
    assert differences() == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone__layers": [1]}, ["backbone"]),
        ({"backbone__attention_layer": 0}, ["backbone"]),
        ({"preprocessing__resize": 48}, ["preprocessing"]),
        ({"preprocessing__pad": [32, 48]}, ["preprocessing"]),
        ({"preprocessing__interpolation": "lanczos"}, ["preprocessing"]),
        ({"encoder__precision": "bfloat16"}, ["precision"]),
        ({"features__dtype": "float16"}, ["dtype"]),
        ({"features__keep": "all"}, ["masking"]),
        ({"bpm__mode": "soft"}, ["masking"]),
        ({"bpm__kernel_size": 3}, ["masking"]),
        ({"bpm__threshold": 0.1}, ["masking"]),
        ({"seed": 3}, ["weights_sha256"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_parameter_gives_other_features(changes: dict[str, Any], named: list[str]) -> None:
    assert differences(**changes) == named


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"backbone__model": "vit_huge_tiny"}, "timm has no model 'vit_huge_tiny'"),
        ({"backbone__checkpoint": "lost.pth"}, "checkpoint lost.pth does not exist"),
        ({"backbone__model_kwargs": {"wings": 2}}, "model_kwargs do not fit"),
        ({"backbone__layers": [9]}, "layers asks for block 9"),
        ({"backbone__attention_layer": 3}, "attention_layer asks for block 3"),
        ({"preprocessing__crop": [32, 47]}, "47x32 pixels, which patches of 16x16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_the_backbone_is_refused(changes: dict[str, Any], refusal: str) -> None:
    with pytest.raises(InputError, match=refusal):
        stream(**changes)


def test_a_checkpoint_with_another_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    with pytest.raises(InputError, match=f"has SHA-256 .* expected {'0' * 64}"):
        stream(backbone__checkpoint=str(path), backbone__sha256="0" * 64)


@pytest.mark.parametrize(
    ("key", "value", "argument"),
    [
        ("device", "cuda:7", "device"),
        ("precision", "bfloat16", "precision"),
        ("batch_size", 5, "batch_size"),
        ("num_workers", 6, "num_workers"),
        ("compile", True, "compile"),
    ],
)
def test_the_encoder_is_set_up_as_asked_for(
    key: str, value: Any, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(extraction, "feature_stream", lambda *_, **settings: given.update(settings))
    stream()
    usual = dict(given)
    stream(**{f"encoder__{key}": value})
    assert {name for name in given if given[name] != usual[name]} == {argument}
    assert given[argument] == value


def test_images_are_encoded_in_batches(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path, ["nut"], train=4)
    made = extract_features(folder, MANIFEST, **SETTINGS)
    batches = list(made.encode(folder.files("nut/train/good")))
    assert [tuple(batch.features.shape) for batch in batches] == [(3, 6, 12), (1, 6, 12)]
    assert made.batch_size == 3


# --- all patches, and several choices of blocks ---------------------------------------------------


@pytest.mark.parametrize("keep", ["foreground", "all"])
def test_all_features_are_of_the_background_too(keep: str) -> None:
    made = stream(extract_all_features, features__keep=keep)
    assert made.header.masking is None
    assert differences(extract_all_features, features__keep=keep) == ["masking"]


EVERY_CHANGE: list[tuple[dict[str, Any], str]] = [
    ({"backbone__attention_layer": 0}, "backbone"),
    ({"preprocessing__resize": 48}, "preprocessing"),
    ({"encoder__precision": "bfloat16"}, "precision"),
    ({"features__dtype": "float16"}, "dtype"),
    ({"seed": 3}, "weights_sha256"),
]


@pytest.mark.parametrize(("changes", "named"), EVERY_CHANGE)
def test_all_features_heed_the_other_parameters(changes: dict[str, Any], named: str) -> None:
    assert set(differences(extract_all_features, **changes)) == {"masking", named}
    assert set(stream(extract_all_features, classes=[]).images) == {"#n2", "#b2"}


@pytest.mark.parametrize("bpm", [{"bpm__mode": "off"}, {"bpm__kernel_size": 3}])
def test_all_features_serve_every_masking(bpm: dict[str, Any]) -> None:
    assert differences(extract_all_features, **bpm) == ["masking"]


def layered(choices: list[list[int]], **changes: Any) -> FeatureStream:
    return extract_all_features(FOLDER, MANIFEST, **changed(**changes), layer_choices=choices)


def test_several_choices_of_blocks_lie_side_by_side() -> None:
    header = layered([[1, 0], [2]]).header
    assert header.layer_choices == [[0, 1], [2]]
    assert header.dim == 2 * 12
    assert header.masking is None
    assert layered([[0], [1], [2]]).header.dim == 3 * 12


@pytest.mark.parametrize(("changes", "named"), EVERY_CHANGE)
def test_choices_of_blocks_heed_the_other_parameters(changes: dict[str, Any], named: str) -> None:
    stored = json.loads(layered([[0], [1]]).header.to_json())
    assert layered([[0], [1]], **changes).header.differences(stored) == [named]
    assert set(layered([[0], [1]], classes=[]).images) == {"#n2", "#b2"}


def test_the_nodes_leave_the_parameters_as_they_are() -> None:
    before = json.dumps(SETTINGS)
    stream(extract_all_features)
    layered([[0], [1]])
    assert json.dumps(SETTINGS) == before
