"""What encoding will take, and how far off that was."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.backbone import Backbone, load_backbone
from uniformaly_pipeline.encoder import Encoder
from uniformaly_pipeline.estimates import EncodingCost, peak_memory
from uniformaly_pipeline.feature_store import update_store


def test_the_difference_is_a_share_of_the_estimate() -> None:
    measured = EncodingCost(30.0, 1_500_000_000)
    assert measured.compared_with(EncodingCost(40.0, 1_000_000_000)) == (
        "25% less time and 50% more memory than estimated"
    )
    assert measured.compared_with(EncodingCost(30.0, None)) == "0% more time than estimated"
    assert str(measured) == "30.0 s and 1.50 GB of memory"


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory()
    if before is None:
        pytest.skip("this system does not tell")
    held = np.ones(before // 8 + 2**23)  # more than the peak so far
    after = peak_memory()
    assert after is not None
    assert after >= held.nbytes


def test_time_and_memory_grow_with_the_images() -> None:
    backbone = Backbone(
        "vit_tiny_patch16_224",
        "untrained",
        model_kwargs={"embed_dim": 24, "depth": 4, "num_heads": 2},
        layers=(0, 1),
        attention_layer=1,
    )
    encoder = Encoder(load_backbone(backbone, (64, 64)), [0, 1], 1)
    one, many = encoder.estimate((64, 64), 1, 8), encoder.estimate((64, 64), 4000, 8)
    assert 0 < one.seconds < many.seconds
    assert one.memory_bytes is not None
    assert many.memory_bytes is not None
    assert many.memory_bytes > one.memory_bytes


def test_estimate_and_error_are_logged_before_and_after(
    fake_encoder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = fake_encoder.stream(["a", "b", "c"])
    stream = replace(
        stream, estimate=lambda count: EncodingCost(100.0 * count, 10), peak_memory=lambda: 20
    )
    with caplog.at_level(logging.INFO):
        update_store(tmp_path, stream)
    text = caplog.text
    assert "encoding 3 images will take about 300.0 s and 0.00 GB" in text
    assert re.search(r"encoded 3 images .*; 100% less time and 100% more memory", text)
