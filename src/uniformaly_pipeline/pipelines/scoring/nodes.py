"""Nodes of the scoring stage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.memory_bank.bank import (
    bank_digest,
    check_same_features,
    check_same_normal_images,
)
from uniformaly_pipeline.pipelines.chunks import per_category
from uniformaly_pipeline.scoring.methods.choice import scorer_of, search_settings
from uniformaly_pipeline.scoring.patches import score_by
from uniformaly_pipeline.scoring.scores import check_same_images, scores_of_images


@per_category
def score_test_patches(
    images: pd.DataFrame,
    features: FeatureStore,
    memory_bank: ArrayBundle,
    bpm: dict[str, Any],
    scoring: dict[str, Any],
) -> ArrayBundle:
    """Score the patches of the test images that count against the memory bank.

    Args:
        images: The category's images.
        features: The feature store.
        memory_bank: The category's memory bank.
        bpm: ``bpm``.
        scoring: ``scoring``.

    Returns:
        ``patch_scores`` [B, grid height, grid width] in the order of the test images; the
        metadata say how they were made, ``scoring``, and by which memory bank, ``bank``.

    Raises:
        InputError: The bank's features were made in another way or of other images, for instance
            by an earlier run.
    """
    check_same_features(memory_bank, features.header)
    normal = images.loc[images["split"] == "train", "content_hash"]
    check_same_normal_images(memory_bank, list(normal))
    tested = images.loc[images["split"] == "test", "content_hash"]
    scored = score_by(
        lambda: scorer_of(scoring["method"], memory_bank, search_settings(scoring)),
        features,
        list(tested),
        BackPatchMasking(**bpm),
    )
    made_by = {"scoring": dict(scoring), "bank": bank_digest(memory_bank)}
    return ArrayBundle(scored.arrays, {**scored.metadata, **made_by})


@per_category
def score_test_images(
    images: pd.DataFrame, patch_scores: ArrayBundle, scoring: dict[str, Any]
) -> pd.DataFrame:
    """Score each test image: as ``scoring.method`` does, or by its highest patch scores.

    Returns:
        A row per test image: ``image``, ``label`` (0 normal, 1 anomalous), ``score`` (by
        UniFormaly a squared distance), ``defect``, ``mask``, ``content_hash``.

    Raises:
        InputError: The patch scores are of other images.
    """
    tested = images[images["split"] == "test"]
    check_same_images(patch_scores, tested["content_hash"])
    scores = scores_of_images(patch_scores, scoring["top_k_ratio"])
    columns = ["image", "label", "score", "defect", "mask", "content_hash"]
    return tested.assign(score=scores)[columns].reset_index(drop=True)
