"""Half precision keeps scores: in storage by itself, in arithmetic where a check shows it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoded, Encoder, Precision
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.precision import (
    check_on_images,
    choose_half_precision,
    image_scores,
    largest_difference,
)
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import update_store
from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.parameters.schema import Parameters
from uniformaly_pipeline.scoring import scores as scoring
from uniformaly_pipeline.scoring.patches import score_patches

PREPROCESSING = Preprocessing(resize=112, crop=112)
OFF = BackPatchMasking("off")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Four sound drawings of each of two categories of the demo."""
    root = tmp_path_factory.mktemp("demo")
    for category in ("button", "denim"):
        for path, image in itertools.islice(drawings.draw(0, [category]), 4):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(root / path)
    return ImageFolder(str(root))


@pytest.fixture(scope="module")
def quickstart(shipped: Parameters) -> Backbone:
    return Backbone(**shipped.backbones["quickstart"].model_dump())


def scores_of(
    demo: ImageFolder, quickstart: Backbone, path: Path, dtype: Any, masking: BackPatchMasking
) -> np.ndarray:
    """Scores of a category's last two images against every patch of its first two."""
    files = demo.files("button/train/good")
    images = {sha256(Path(demo.root, file).read_bytes()).hexdigest(): file for file in files}
    names = list(images)
    stream = feature_stream(
        demo,
        images,
        quickstart,
        PREPROCESSING,
        masking,
        dtype=dtype,
        device="cpu",
        num_workers=0,
    )
    update_store(path, stream)
    store = FeatureStore(path)
    bank = build_memory_bank(store, names[:2], masking, coreset_ratio=1.0).arrays["memory_bank"]
    assert bank.dtype == dtype
    grids = score_patches(store, names[2:], bank, masking).arrays["patch_scores"]
    return scoring.image_scores(grids.reshape(len(grids), -1))


@pytest.mark.parametrize("mode", ["binary", "soft"])
def test_storage_in_half_precision_keeps_scores_at_full_bank(
    mode: Any, demo: ImageFolder, quickstart: Backbone, tmp_path: Path
) -> None:
    """Distances of rounded vectors are small differences of large numbers if taken wrongly."""
    half, full = (
        scores_of(demo, quickstart, tmp_path / dtype, dtype, BackPatchMasking(mode))
        for dtype in ("float16", "float32")
    )
    assert full.min() > 0
    np.testing.assert_allclose(half, full, rtol=2e-3)
    assert (half != full).any()


# --- the check ------------------------------------------------------------------------------------


def encoding(errors: dict[str, float], parts: int = 1) -> Callable[[Precision], Encoded]:
    """A stand-in for a model: each precision changes the features by so much of their size."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((8, 20, 6 * parts), generator=generator)
    noise = torch.randn(features.shape, generator=generator)
    noise[..., : 6 * (parts - 1)] = 0  # only the last part is computed badly

    def encode(precision: Precision) -> Encoded:
        error = errors.get(precision, 0.0)
        return Encoded(features * (1 + error * noise), torch.ones(8, 4, 5))

    return encode


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"float16": 1e-5, "bfloat16": 1e-5}, "float16"),
        ({"float16": 1e-1, "bfloat16": 1e-5}, "bfloat16"),
        ({"float16": 1e-1, "bfloat16": 1e-1}, "float32"),
        ({"float16": float("inf"), "bfloat16": 1e-1}, "float32"),
        ({"float16": float("nan"), "bfloat16": float("nan")}, "float32"),
    ],
)
@pytest.mark.parametrize("parts", [1, 3])
def test_the_first_that_keeps_scores_is_chosen_and_logged(
    errors: dict[str, float], expected: str, parts: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert choose_half_precision(encoding(errors, parts), OFF, parts) == expected
    assert f"encoder.precision: {expected}" in caplog.text


def test_a_patch_that_changes_sides_counts() -> None:
    """Equal features are not enough: attention decides which patches score at all."""
    full = encoding({})("float32")
    other = full.attention.clone()
    other[:, :2] = 0
    half = Encoded(full.features, other)
    masking = BackPatchMasking(kernel_size=1)
    encoded = {"float32": full, "float16": half, "bfloat16": half}
    assert choose_half_precision(lambda precision: encoded[precision], masking) == "float32"


def test_scores_of_the_check_by_hand() -> None:
    """Each image against the others of its group alone; background scores 0."""
    features = torch.tensor([[[0.0], [9.0]], [[2.0], [9.0]], [[7.0], [9.0]], [[4.0], [9.0]]])
    attention = torch.tensor([[[1.0, 0.0]]] * 4)
    found = image_scores(Encoded(features, attention), BackPatchMasking(kernel_size=1), 1, 2)
    assert found.tolist() == [[4.0, 4.0, 9.0, 9.0]]


def test_an_image_without_foreground_differs_by_nothing_or_by_everything() -> None:
    zero = torch.zeros(1, 2, dtype=torch.float64)
    assert largest_difference(zero, zero) == 0
    assert largest_difference(zero + 1, zero) > 1


def test_the_check_takes_images_of_the_run_and_leaves_the_encoder_exact(
    demo: ImageFolder, quickstart: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 stands in for all half precision: float16 is slow on a CPU."""
    monkeypatch.setattr("uniformaly_pipeline.features.precision.HALF_PRECISIONS", ("bfloat16",))
    read: list[str] = []
    original = ImageFolder.read_image

    def reading(self: ImageFolder, path: str, *levels: Any) -> Any:
        read.append(path)
        return original(self, path, *levels)

    monkeypatch.setattr(ImageFolder, "read_image", reading)
    model = load_backbone(quickstart, PREPROCESSING.input_size)
    encoder = Encoder(model, quickstart.layers, quickstart.attention_layer, "cpu", "float32")
    names = [*demo.files("denim/train/good"), *demo.files("button/train/good")]
    used: list[torch.dtype] = []
    call = Encoder.__call__

    def calling(self: Encoder, images: torch.Tensor) -> Encoded:
        used.append(self.dtype)
        return call(self, images)

    monkeypatch.setattr(Encoder, "__call__", calling)
    for tolerance, expected in [(1.0, "bfloat16"), (0.0, "float32")]:
        monkeypatch.setattr("uniformaly_pipeline.features.precision.TOLERANCE", tolerance)
        assert check_on_images(encoder, demo, names, PREPROCESSING, OFF) == expected
        assert encoder.dtype == torch.float32
    assert read == sorted(names) * 2
    assert (
        used
        == [torch.float32] * 8 + [torch.bfloat16] * 8 + [torch.float32] * 8 + [torch.bfloat16] * 8
    )


def test_too_few_images_are_no_check(demo: ImageFolder) -> None:
    few = demo.files("denim/train/good")
    nothing: Any = None
    assert check_on_images(nothing, demo, few, PREPROCESSING, OFF) == "float32"
