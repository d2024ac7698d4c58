"""Every backbone that ships: what timm says of it, and its architecture in small, read in full."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tests.features.test_encoder import assert_equal, encode_naively, images_of, make_model
from uniformaly_pipeline.features import backbone as module
from uniformaly_pipeline.features.backbone import (
    UNTRAINED,
    Backbone,
    check_backbone,
    named_backbone,
)
from uniformaly_pipeline.features.encoder import Encoder
from uniformaly_pipeline.features.preprocessing import IMAGENET_MEAN, IMAGENET_STD

SHIPPED = json.loads(Path(module.__file__).with_name("backbones.json").read_text("utf-8"))
NAMES = sorted(set(SHIPPED) - {"custom"})
PAPERS = ["dino_vitb8", "dino_vitb16", "dino_vits8", "dino_vits16", "ibot_vitb16", "quickstart"]
GRID = (3, 4)


def registers_of(name: str) -> int:
    """DINOv2 and DINOv3 ship with four."""
    return 4 if name.startswith(("dinov2", "dinov3")) else 0


def in_small(name: str) -> Backbone:
    """The architecture with few heads and dimensions, and no more blocks than are read."""
    chosen = named_backbone(name)
    depth = max(*chosen.layers, chosen.attention_layer) + 1
    small: dict[str, Any] = {"embed_dim": 24, "depth": depth, "num_heads": 2}
    return replace(chosen, checkpoint=UNTRAINED, model_kwargs={**chosen.model_kwargs, **small})


@pytest.mark.parametrize("name", NAMES)
def test_patches_and_attention_are_those_of_a_plain_pass(name: str) -> None:
    small = in_small(name)
    patch = timm.create_model(small.model, **small.model_kwargs).patch_embed.patch_size[0]
    size = (GRID[0] * patch, GRID[1] * patch)
    model = make_model(small, size)
    encoder = Encoder(model, small.layers, small.attention_layer, "cpu", norm=small.norm)
    encoded = encoder(images_of(size))
    assert encoder.num_tokens(size) == 12 + 1 + registers_of(name)
    assert encoded.features.shape == (2, 12, 24)
    assert encoded.attention.shape == (2, *GRID)
    sums = encoded.attention.sum(dim=(1, 2))
    assert bool((encoded.attention > 0).all()) and bool((sums < 1).all())
    # Softmaxes and rotations are those of timm's own blocks, with the whole matrix.
    expected = encode_naively(
        model, small.layers, small.attention_layer, images_of(size), norm=small.norm
    )
    assert_equal(encoded, expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_takes_the_input_that_suits_it(name: str) -> None:
    """Its blocks are there, and patches fill the input."""
    chosen = replace(named_backbone(name), checkpoint=UNTRAINED)
    check_backbone(chosen, (chosen.input_side, chosen.input_side))


@pytest.mark.parametrize("name", NAMES)
def test_timm_hosts_the_weights_and_they_want_the_inputs_that_they_get(name: str) -> None:
    """All inputs are normalised by ImageNet's mean and deviation."""
    if SHIPPED[name]["checkpoint"] is not None:
        return
    wanted = timm.get_pretrained_cfg(SHIPPED[name]["model"])
    assert wanted is not None and wanted.has_weights
    assert (wanted.mean, wanted.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_backbones_keep_the_papers_settings(name: str) -> None:
    chosen = named_backbone(name)
    assert chosen.layers == (2, 3, 4, 5, 6, 7, 8, 9) and chosen.attention_layer == 9
    assert not chosen.norm and chosen.input_side == 224
    assert {chosen.kernel_size_at((side, side)) for side in (112, 224, 448)} == {7}


def test_deeper_models_read_the_same_share_of_their_blocks() -> None:
    for name in NAMES:
        chosen = named_backbone(name)
        with torch.device("meta"):
            blocks = timm.create_model(chosen.model, **chosen.model_kwargs).blocks
        if len(blocks) == 24:
            assert min(chosen.layers) >= 4, name
            assert chosen.attention_layer >= 18, name


@pytest.mark.parametrize(
    ("side", "kernel_size"),
    [(392, 7), (224, 3), (225, 5), (448, 7), (449, 9), (196, 3), (56, 1), (14, 1), (784, 13)],
)
def test_the_kernel_covers_the_same_share_of_another_input(side: int, kernel_size: int) -> None:
    """The nearest odd number, of two the smaller: 8 patches of 448 pixels are 7."""
    chosen = Backbone("vit_small_patch14_dinov2", resolution=392, kernel_size=7)
    assert chosen.kernel_size_at((side, side)) == kernel_size
    assert chosen.kernel_size_at((side, 10 * side)) == kernel_size
    assert chosen.kernel_size_at((10 * side, side)) == kernel_size


def test_only_what_features_depend_on_is_told_of_them() -> None:
    plain = Backbone("vit_small_patch14_dinov2")
    told = plain.entries()
    assert told.keys() == {
        "model", "checkpoint", "sha256", "model_kwargs", "layers", "attention_layer",
    }  # fmt: skip
    assert replace(plain, resolution=392, kernel_size=3).entries() == told
    assert replace(plain, norm=True).entries() == {**told, "norm": True}
    assert Backbone(**{**told, "layers": tuple(told["layers"])}) == plain
