"""The backbone that ships with the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import uniformaly_pipeline
from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoder
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.parameters.schema import Parameters
from uniformaly_pipeline.reporting.prose import notes_on

WEIGHTS = Path(uniformaly_pipeline.__file__).parent / "features/weights"


def backbone(shipped: Parameters, name: str) -> Backbone:
    """A configured backbone."""
    return Backbone(**shipped.backbones[name].model_dump())


def test_it_is_the_default(shipped: Parameters) -> None:
    assert shipped.backbone == "quickstart"
    assert "for trying things out" in notes_on(shipped)[0]


def test_the_file_is_small_and_in_half_precision() -> None:
    path = WEIGHTS / "quickstart.safetensors"
    assert path.stat().st_size < 12e6
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


@pytest.mark.parametrize("name", ["quickstart", "untrained"])
def test_the_configuration_is_what_was_trained(shipped: Parameters, name: str) -> None:
    trained = json.loads((WEIGHTS / "quickstart.json").read_text(encoding="utf-8"))
    configured = backbone(shipped, name)
    assert configured.model == trained["model"]
    assert {"num_classes": 0, **configured.model_kwargs} == trained["model_kwargs"]


def central_attention(shipped: Parameters, name: str) -> float:
    """Share of the attention to patches that falls on the middle of the demo's buttons."""
    preprocessing = Preprocessing(resize=224, crop=224)
    pictures = [
        preprocessing.image_tensor(image)
        for path, image in drawings.draw(0, ["button"])
        if path in {f"button/train/good/{number:03d}.png" for number in range(4)}
    ]
    chosen = backbone(shipped, name)
    model = load_backbone(chosen, preprocessing.input_size)
    encoder = Encoder(model, chosen.layers, chosen.attention_layer, "cpu")
    attention = encoder(torch.stack(pictures)).attention
    return float((attention[:, 6:22, 6:22].sum((1, 2)) / attention.sum((1, 2))).mean())


def test_it_looks_at_objects(shipped: Parameters) -> None:
    """Back Patch Masking needs a class token that attends to what is in front."""
    assert central_attention(shipped, "quickstart") > 0.8
    assert central_attention(shipped, "untrained") < 0.5
