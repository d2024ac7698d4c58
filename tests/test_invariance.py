"""How the work is cut up does not change a score (DESIGN "Tolerances")."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from uniformaly_pipeline.features import store_update
from uniformaly_pipeline.features.encoder import Encoded
from uniformaly_pipeline.features.engines import choice
from uniformaly_pipeline.features.engines.choice import Measurements
from uniformaly_pipeline.features.engines.linear import use_linear as use
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import FeatureStream, update_store
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import folder as folder_layout
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import build_manifest, select_defects
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.patches import score_patches
from uniformaly_pipeline.scoring.scores import image_scores

Dtype = Literal["float16", "float32"]
DTYPES: list[Dtype] = ["float32", "float16"]
DEVICE = os.environ.get("UNIFORMALY_TEST_DEVICE", "cpu")
"""``make bench-gpu`` sets it to ``cuda``."""
MASKING = BackPatchMasking(threshold=0.5)
SOFT = BackPatchMasking(mode="soft")
PREPROCESSING = Preprocessing(resize=128, crop=112)


@dataclass(frozen=True)
class Scenario:
    """One category of the parity data, with the weights of the parity test."""

    images: ImageFolder
    backbone: Any
    manifest: pd.DataFrame

    def stream(
        self,
        dtype: Dtype,
        *,
        batch_size: int = 4,
        num_workers: int = 0,
        order: list[int] | None = None,
        masking: BackPatchMasking = MASKING,
        engine: Literal["torch", "openvino", "onnx"] = "torch",
    ) -> FeatureStream:
        """What the pipeline's features stage makes of the manifest's rows, in the order given."""
        rows = self.manifest if order is None else self.manifest.iloc[order]
        return feature_stream(
            self.images,
            dict(zip(rows["content_hash"], rows["image"], strict=True)),
            self.backbone,
            PREPROCESSING,
            masking,
            dtype=dtype,
            device=DEVICE,
            batch_size=batch_size,
            num_workers=num_workers,
            engine=engine,
        )

    def scores(self, path: Path, masking: BackPatchMasking = MASKING) -> list[np.ndarray]:
        """Image scores [B] against the whole bank and against a coreset of it."""
        store = FeatureStore(path)
        by_split = self.manifest.groupby("split")["content_hash"].agg(list)
        scores = []
        for ratio in (1.0, 0.1):
            bank = build_memory_bank(store, by_split["train"], masking, coreset_ratio=ratio)
            vectors = bank.arrays["memory_bank"]
            scored = score_patches(store, by_split["test"], vectors, masking)
            grids = scored.arrays["patch_scores"]
            scores.append(image_scores(grids.reshape(len(grids), -1)))
        return scores


@pytest.fixture(scope="module")
def scenario(parity: Any) -> Scenario:
    return Scenario(
        parity.images, parity.backbone, select_defects(parity.manifest, ["washer"], ["washer"])
    )


@pytest.fixture(scope="module")
def reference(
    scenario: Scenario, tmp_path_factory: pytest.TempPathFactory
) -> dict[Dtype, list[np.ndarray]]:
    """Scores with all images encoded in one batch."""
    found = {}
    for dtype in DTYPES:
        path = tmp_path_factory.mktemp("reference")
        update_store(path, scenario.stream(dtype, batch_size=len(scenario.manifest)))
        found[dtype] = scenario.scores(path)
    return found


def assert_same(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Equal within DESIGN's tolerance."""
    np.testing.assert_allclose(np.stack(actual), np.stack(expected), rtol=1e-5)


def recording(stream: FeatureStream, encoded: list[str]) -> FeatureStream:
    """The same stream, writing down which images it is asked to encode."""

    def encode(images: list[str]) -> Iterator[Encoded]:
        encoded.extend(images)
        return stream.encode(images)

    return replace(stream, encode=encode)


def interrupted(stream: FeatureStream, batches: int) -> FeatureStream:
    """The same stream, breaking off after some batches."""

    def encode(images: list[str]) -> Iterator[Encoded]:
        for number, batch in enumerate(stream.encode(images)):
            if number == batches:
                raise KeyboardInterrupt
            yield batch

    return replace(stream, encode=encode)


def test_masking_matters_here(scenario: Scenario, tmp_path: Path) -> None:
    update_store(tmp_path, scenario.stream("float32"))
    hashes = list(scenario.manifest["content_hash"])
    foreground = FeatureStore(tmp_path).foreground(hashes, MASKING)
    assert 0.2 < foreground.mean() < 0.9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batch_size_and_workers(
    dtype: Dtype,
    batch_size: int,
    num_workers: int,
    scenario: Scenario,
    reference: dict[Dtype, list[np.ndarray]],
    tmp_path: Path,
) -> None:
    update_store(tmp_path, scenario.stream(dtype, batch_size=batch_size, num_workers=num_workers))
    assert_same(scenario.scores(tmp_path), reference[dtype])


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_engines(
    engine: Literal["openvino", "onnx"],
    scenario: Scenario,
    reference: dict[Dtype, list[np.ndarray]],
    tmp_path: Path,
) -> None:
    """1e-4 between engines; batches, workers, an interruption and order: 1e-5 within one."""
    update_store(tmp_path / "whole", scenario.stream("float32", batch_size=16, engine=engine))
    whole = scenario.scores(tmp_path / "whole")
    np.testing.assert_allclose(whole[0], reference["float32"][0], rtol=1e-4)
    order = list(np.random.default_rng(0).permutation(len(scenario.manifest)))
    parts = scenario.stream("float32", batch_size=3, num_workers=1, order=order, engine=engine)
    with pytest.raises(KeyboardInterrupt):
        update_store(tmp_path / "parts", interrupted(parts, batches=2))
    update_store(tmp_path / "parts", replace(parts, batch_size=1))
    assert_same(scenario.scores(tmp_path / "parts"), whole)


def test_libraries_of_linear_layers(
    scenario: Scenario,
    reference: dict[Dtype, list[np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One store may be begun with MKL and gone on with by oneDNN."""
    monkeypatch.setattr(store_update, "SHARD_BYTES", 1)  # a shard per batch
    used: list[str] = []
    for library in ("mkl", "onednn"):
        monkeypatch.setattr(Measurements, "known", lambda _, library=library: {library: 0.0})
        monkeypatch.setattr(choice, "use_linear", lambda m, kind: used.append(kind) or use(m, kind))
        stream = scenario.stream("float32", batch_size=3)
        if library == "mkl":
            with pytest.raises(KeyboardInterrupt):
                update_store(tmp_path, interrupted(stream, batches=1))
    update_store(tmp_path, stream)
    assert used == ["mkl", "onednn"]
    assert_same(scenario.scores(tmp_path), reference["float32"])


def test_batch_size_with_soft_masking(scenario: Scenario, tmp_path: Path) -> None:
    found = []
    for batch_size in (1, 3, 16):
        path = tmp_path / str(batch_size)
        update_store(path, scenario.stream("float32", batch_size=batch_size, masking=SOFT))
        found.append(scenario.scores(path, SOFT))
    assert_same(found[0], found[2])
    assert_same(found[1], found[2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_interrupted_run_goes_on_where_it_stopped(
    dtype: Dtype,
    scenario: Scenario,
    reference: dict[Dtype, list[np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_update, "SHARD_BYTES", 1)  # a shard per batch
    stream = scenario.stream(dtype, batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        update_store(tmp_path, interrupted(stream, batches=1))
    encoded: list[str] = []
    update_store(tmp_path, recording(stream, encoded))
    assert encoded == list(scenario.manifest["image"])[3:]
    assert_same(scenario.scores(tmp_path), reference[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_order_of_encoding(
    dtype: Dtype,
    scenario: Scenario,
    reference: dict[Dtype, list[np.ndarray]],
    tmp_path: Path,
) -> None:
    order = list(np.random.default_rng(0).permutation(len(scenario.manifest)))
    update_store(tmp_path, scenario.stream(dtype, batch_size=3, order=order))
    assert_same(scenario.scores(tmp_path), reference[dtype])


def test_order_of_scoring(scenario: Scenario, tmp_path: Path) -> None:
    update_store(tmp_path, scenario.stream("float32"))
    store = FeatureStore(tmp_path)
    by_split = scenario.manifest.groupby("split")["content_hash"].agg(list)
    bank = build_memory_bank(store, by_split["train"], MASKING, coreset_ratio=1.0)
    turned = build_memory_bank(store, by_split["train"][::-1], MASKING, coreset_ratio=1.0)
    forward = score_patches(store, by_split["test"], bank.arrays["memory_bank"], MASKING)
    backward = score_patches(store, by_split["test"][::-1], turned.arrays["memory_bank"], MASKING)
    np.testing.assert_allclose(
        backward.arrays["patch_scores"][::-1], forward.arrays["patch_scores"], rtol=1e-5
    )


def test_image_that_occurs_twice_is_encoded_once(
    make_dataset: Callable[..., ImageFolder], tiny_backbone: Any, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    folder = make_dataset(root, train=2, good=1, dent=1)
    copied, copy = root / "bottle/test/dent/000.png", root / "bottle/test/good/copy.png"
    shutil.copy(copied, copy)
    records = folder_layout.read(folder, ["bottle"], Split())
    manifest = select_defects(build_manifest(folder, records), ["bottle"], ["bottle"])
    scenario = Scenario(folder, tiny_backbone, manifest)
    encoded: list[str] = []
    update_store(tmp_path / "store", recording(scenario.stream("float32"), encoded))
    assert len(manifest) == 5
    assert len(encoded) == 4
    tested = manifest.loc[manifest["split"] == "test", "image"]
    scores = dict(zip(tested, scenario.scores(tmp_path / "store")[0], strict=True))
    assert scores["bottle/test/good/copy.png"] == scores["bottle/test/dent/000.png"]
    assert len(set(scores.values())) == 2
