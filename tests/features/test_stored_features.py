"""Features that were stored before images could be padded, cut or limited to a region.

``stored/square.safetensors`` holds some of the features and attention of two square images, as the
version before wrote them: every 49th patch and every 7th value of attention, by preprocessing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking, Keep
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import FeatureStream, update_store
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.parameters.schema import Parameters

STORED = load_file(Path(__file__).parent / "stored/square.safetensors")
PRESETS: dict[str, dict[str, Any]] = {
    "photo": {"resize": 256, "crop": 224},
    "demo": {"resize": 224, "crop": 224},
    "small": {"resize": 112, "crop": None, "pad": 224, "interpolation": "lanczos"},
}
FOLDERS = {"photo": "eac40fc65ec8826c", "demo": "fd5a9880358f8de8", "small": "055a821ae9185c4c"}
"""What the stores of the quick-start backbone's features were called."""

TOLERANCE = 0.02
"""Features are 2.5 on average. Libraries for linear layers agree to 0.004 in half precision;
a resize by two pixels more changes them by more than 0.2 (tested)."""


def draw(side: int) -> Image.Image:
    down, across = np.mgrid[:side, :side] * (256 / side)
    layers = [across, down, across * down / 64]
    pixels = np.stack([np.mod(layer.astype(int), 256) for layer in layers], -1).astype(np.uint8)
    pixels[side // 3 : side // 2, side // 4 : side // 2] = (200, 40, 90)
    return Image.fromarray(pixels)


def stream_of(
    folder: Path, shipped: Parameters, preprocessing: dict[str, Any], keep: Keep
) -> FeatureStream:
    images = {}
    for side in (96, 300):
        draw(side).save(folder / f"{side}.png")
        images[hashlib.sha256((folder / f"{side}.png").read_bytes()).hexdigest()] = f"{side}.png"
    return feature_stream(
        ImageFolder(str(folder)),
        images,
        Backbone(**shipped.backbones["quickstart"].model_dump()),
        Preprocessing(**preprocessing),
        BackPatchMasking(),
        keep=keep,
        device="cpu",
        num_workers=0,
    )


def differences(
    folder: Path, shipped: Parameters, name: str, **changes: Any
) -> tuple[float, float]:
    """How far features and attention are at most from the stored ones."""
    stream = stream_of(folder, shipped, {**PRESETS[name], **changes}, "all")
    store, hashes = FeatureStore(update_store(folder / "store", stream)), list(stream.images)
    features = store.load(hashes, BackPatchMasking("off")).features.reshape(2, -1, store.dim)
    attention = store.attention(hashes).reshape(2, -1)
    return (
        float(np.abs(features[:, ::49] - STORED[f"{name}.features"].astype(np.float32)).max()),
        float(np.abs(attention[:, ::7] - STORED[f"{name}.attention"]).max()),
    )


@pytest.mark.parametrize("name", ["photo", "small"])
def test_features_of_square_images_are_what_they_were(
    tmp_path: Path, shipped: Parameters, name: str
) -> None:
    features, attention = differences(tmp_path, shipped, name)
    assert features < TOLERANCE
    assert attention < 1e-6


def test_another_preprocessing_would_be_noticed(tmp_path: Path, shipped: Parameters) -> None:
    assert differences(tmp_path, shipped, "photo", resize=258)[0] > 10 * TOLERANCE


@pytest.mark.parametrize("name", PRESETS)
def test_stored_features_are_found_where_they_were_stored(
    tmp_path: Path, shipped: Parameters, name: str
) -> None:
    """A header with one more entry is another folder: all images would be encoded again."""
    stream = stream_of(tmp_path, shipped, PRESETS[name], "foreground")
    assert stream.header.key == FOLDERS[name]
