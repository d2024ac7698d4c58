"""Nodes of the scoring stage: which images they score, and that they heed each parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.pipelines.scoring.nodes import score_test_images, score_test_patches
from uniformaly_pipeline.scoring.scores import images_digest

IMAGES = pd.DataFrame(
    {
        "image": ["t1.png", "y.png", "t2.png", "x.png"],
        "content_hash": ["#t1", "#y", "#t2", "#x"],
        "split": ["train", "test", "train", "test"],
        "label": [0, 1, 0, 0],
        "defect": ["good", "dent", "good", "good"],
        "mask": [None, "y_mask.png", None, None],
    }
)
BANK = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
BPM: dict[str, Any] = {"mode": "binary", "kernel_size": 1, "threshold": 0.2}
SCORING: dict[str, Any] = {
    "method": "uniformaly",
    "top_k_ratio": 0.5,
    "num_neighbors": 2,
    "search": "Flat",
}


@pytest.fixture
def store(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path, ["t1", "t2", "x", "y"])


def score(
    store: FeatureStore,
    bpm: dict[str, Any] = BPM,
    scoring: dict[str, Any] = SCORING,
    bank: np.ndarray = BANK,
    images: pd.DataFrame = IMAGES,
    normal: Sequence[str] = ("#t2", "#t1"),
    **made_with: Any,
) -> ArrayBundle:
    """Other arrays of the memory bank must not matter."""
    arrays = {
        "image": np.arange(30),
        "memory_bank": bank,
        "patch": np.arange(30),
        "content_hashes": np.array(normal, "S").view(np.uint8).reshape(len(normal), -1),
    }
    made = {**json.loads(store.header.to_json()), **made_with}
    memory_bank = ArrayBundle(arrays, {"features": made})
    return score_test_patches(images, store, memory_bank, bpm, scoring)


def score_naively(encoder: Any, name: str, bpm: dict[str, Any], neighbours: int) -> np.ndarray:
    """[grid height, grid width] in METHOD's words, for a kernel of 1."""
    attention = encoder.attention(name).ravel()
    attention = attention / attention.max()
    squares = np.sort(cdist(encoder.features(name), BANK, "sqeuclidean"), axis=1)[
        :, :neighbours
    ].mean(axis=1)
    foreground = attention > bpm["threshold"] if bpm["mode"] == "binary" else True
    weights = attention if bpm["mode"] == "soft" else 1.0
    return np.where(foreground, weights * squares, 0.0).reshape(encoder.grid)


@pytest.mark.parametrize("neighbours", [1, 2, 5])
@pytest.mark.parametrize(
    "bpm",
    [BPM, {**BPM, "threshold": 0.6}, {**BPM, "mode": "soft"}, {**BPM, "mode": "off"}],
    ids=["binary", "threshold", "soft", "off"],
)
def test_test_images_are_scored_in_their_order(
    bpm: dict[str, Any], neighbours: int, store: FeatureStore, fake_encoder: Any
) -> None:
    scores = score(store, bpm, {**SCORING, "num_neighbors": neighbours}).arrays["patch_scores"]
    expected = [score_naively(fake_encoder, name, bpm, neighbours) for name in ("y", "x")]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_the_kernel_smooths_the_attention(store: FeatureStore, fake_encoder: Any) -> None:
    scores = score(store, {**BPM, "kernel_size": 3}).arrays["patch_scores"]
    attention = torch.from_numpy(np.stack([fake_encoder.attention(name) for name in ("y", "x")]))
    smooth = BackPatchMasking("binary", 3, 0.2).foreground(attention).numpy()
    sharp = BackPatchMasking("binary", 1, 0.2).foreground(attention).numpy()
    assert (smooth != sharp).any()
    assert ((scores.reshape(2, -1) > 0) == smooth).all()


def test_the_bank_decides(store: FeatureStore) -> None:
    usual = score(store).arrays["patch_scores"]
    other = score(store, bank=BANK + 1).arrays["patch_scores"]
    assert (usual != other)[usual > 0].all()


def test_the_search_is_the_one_asked_for(store: FeatureStore) -> None:
    assert score(store).metadata["search_recall"] is None
    approximate = score(store, scoring={**SCORING, "search": "IVF8,Flat"})
    assert 0 < approximate.metadata["search_recall"] < 1
    with pytest.raises(InputError, match=r"scoring\.search: faiss cannot build the index 'Flop'"):
        score(store, scoring={**SCORING, "search": "Flop"})


def test_more_neighbours_than_the_bank_holds_are_refused(store: FeatureStore) -> None:
    with pytest.raises(InputError, match=r"scoring\.num_neighbors is 31 .* holds only 30"):
        score(store, scoring={**SCORING, "num_neighbors": 31})


def test_the_share_of_patches_averaged_does_not_change_the_patches(store: FeatureStore) -> None:
    usual, other = score(store), score(store, scoring={**SCORING, "top_k_ratio": 0.1})
    assert (usual.arrays["patch_scores"] == other.arrays["patch_scores"]).all()


# --- images ---------------------------------------------------------------------------------------

GRIDS = np.array([[[1, 8], [2, 4]], [[3, 3], [0, 7]]], np.float32)


@pytest.mark.parametrize(
    ("ratio", "scores"), [(0.25, [8.0, 7.0]), (0.5, [6.0, 5.0]), (1.0, [3.75, 3.25])]
)
def test_an_image_scores_the_mean_of_its_highest_patches(ratio: float, scores: list[float]) -> None:
    bundle = ArrayBundle(
        {"neighbors": np.zeros_like(GRIDS), "patch_scores": GRIDS},
        {"images": images_digest(["#y", "#x"])},
    )
    table = score_test_images(IMAGES, bundle, {**SCORING, "top_k_ratio": ratio})
    assert list(table.columns) == ["image", "label", "score", "defect", "mask", "content_hash"]
    assert list(table.index) == [0, 1]
    assert table.drop(columns="mask").values.tolist() == [
        ["y.png", 1, scores[0], "dent", "#y"],
        ["x.png", 0, scores[1], "good", "#x"],
    ]
    assert table["mask"][0] == "y_mask.png"
    assert pd.isna(table["mask"][1])


def test_a_bank_of_other_weights_is_refused(store: FeatureStore) -> None:
    """For instance of an earlier run, before the checkpoint was replaced."""
    with pytest.raises(InputError, match="the memory bank was made with other weights"):
        score(store, weights_sha256="1" * 64)


# --- results of an earlier run, beside images that have changed since -----------------------------

LINE = f"other (normal )?images than those listed now: {RUN_AGAIN}"


@pytest.mark.parametrize("normal", [("#t1",), ("#t1", "#t3"), ("#t1", "#t2", "#t3")])
def test_a_bank_of_other_images_is_refused(normal: Sequence[str], store: FeatureStore) -> None:
    with pytest.raises(InputError, match=LINE):
        score(store, normal=normal)


@pytest.mark.parametrize("tested", [["#x", "#y"], ["#y", "#z"], ["#y"], ["#y", "#x", "#x"]])
def test_patch_scores_of_other_images_are_refused(tested: list[str]) -> None:
    """Of more, of fewer, of others or in another order: rows would get each other's scores."""
    bundle = ArrayBundle({"patch_scores": GRIDS}, {"images": images_digest(tested)})
    with pytest.raises(InputError, match=LINE):
        score_test_images(IMAGES, bundle, SCORING)
    with pytest.raises(InputError, match=LINE):
        score_test_images(IMAGES, ArrayBundle({"patch_scores": GRIDS}), SCORING)


def test_patch_scores_say_which_images_they_are_of(store: FeatureStore) -> None:
    table = score_test_images(IMAGES, score(store), SCORING)
    assert list(table["content_hash"]) == ["#y", "#x"]
