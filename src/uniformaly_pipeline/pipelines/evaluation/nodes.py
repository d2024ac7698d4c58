"""Nodes of the evaluation stage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.evaluation.category import (
    NO_PIXEL_METRICS,
    anomaly_maps,
    ground_truths,
    has_masks,
    image_metrics,
    pixel_metrics,
    summarise,
)
from uniformaly_pipeline.evaluation.leaderboard import leaderboard_table
from uniformaly_pipeline.evaluation.paper import with_paper
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder


def evaluate_category(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    memory_bank: ArrayBundle,
    patch_scores: ArrayBundle,
    image_scores: pd.DataFrame,
    dataset: dict[str, Any],
    evaluation: dict[str, Any],
) -> dict[str, Any]:
    """Compute a category's metrics.

    Args:
        raw_images: The data set's root, for the masks.
        images: The category's images.
        features: The feature store, for the time that encoding took.
        memory_bank: The category's memory bank.
        patch_scores: ``patch_scores`` [B, grid height, grid width].
        image_scores: A row per test image.
        dataset: ``datasets.<name>``.
        evaluation: ``evaluation``.

    Returns:
        Image and pixel metrics in 0..1, the threshold, the bank's size in vectors and bytes, the
        numbers of images, and images encoded and scored a second; for an approximate search also
        ``search_recall``, the share of the truly nearest vectors that it finds.
    """
    metrics = image_metrics(image_scores)
    pixels = NO_PIXEL_METRICS
    if has_masks(image_scores):
        preprocessing = Preprocessing(**dataset["preprocessing"])
        masks = ground_truths(
            raw_images, image_scores["mask"], preprocessing, evaluation["mask_threshold"]
        )
        maps = anomaly_maps(patch_scores.arrays["patch_scores"], preprocessing)
        maps = track(maps, len(image_scores), "Comparing anomaly maps with masks", "images")
        pixels = pixel_metrics(masks, maps, evaluation["aupro_limit"])
    bank = memory_bank.arrays["memory_bank"]
    tested = images.loc[images["split"] == "test", "content_hash"]
    seconds = features.encode_seconds(list(tested)) + patch_scores.metadata["seconds"]
    recall = patch_scores.metadata["search_recall"]
    return {
        **metrics,
        **pixels,
        "bank_size": len(bank),
        "bank_bytes": bank.nbytes,
        "num_train": int((images["split"] == "train").sum()),
        "num_test": len(tested),
        "images_per_second": len(tested) / seconds,
        **({} if recall is None else {"search_recall": recall}),
    }


def collect_metrics(*metrics: dict[str, Any], categories: list[str]) -> dict[str, Any]:
    """Mean, deviation and metrics of all categories, see :func:`.category.summarise`."""
    return summarise(dict(zip(categories, metrics, strict=True)))


def rank_categories(
    metrics: dict[str, Any], task: str, dataset: str, backbone: str
) -> pd.DataFrame:
    """The leaderboard: a row per category, then mean and deviation, beside the paper's metrics."""
    return with_paper(leaderboard_table(metrics), task, dataset, backbone)
