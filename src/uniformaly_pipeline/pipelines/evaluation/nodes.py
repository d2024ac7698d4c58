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
from uniformaly_pipeline.evaluation.paper import follows_paper, with_paper
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.pipelines.by_category import by_category


def evaluate_category(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    memory_bank: ArrayBundle,
    patch_scores: ArrayBundle,
    image_scores: pd.DataFrame,
    preprocessing: dict[str, Any],
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
        preprocessing: ``datasets.<name>.preprocessing``, for the masks and anomaly maps.
        evaluation: ``evaluation``.

    Returns:
        Image and pixel metrics in 0..1, the threshold, the bank's size in vectors and bytes and its
        covering radius, the numbers of images, and images encoded and scored a second; for an
        approximate search also ``search_recall``, the share of the truly nearest vectors that it
        finds.
    """
    metrics = image_metrics(image_scores)
    pixels = NO_PIXEL_METRICS
    if has_masks(image_scores):
        geometry = Preprocessing(**preprocessing)
        masks = ground_truths(
            raw_images, image_scores["mask"], geometry, evaluation["mask_threshold"]
        )
        maps = anomaly_maps(patch_scores.arrays["patch_scores"], geometry)
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
        "covering_radius": memory_bank.metadata["covering_radius"],
        "num_train": int((images["split"] == "train").sum()),
        "num_test": len(tested),
        "images_per_second": len(tested) / seconds,
        **({} if recall is None else {"search_recall": recall}),
    }


def collect_metrics(task: dict[str, Any], **metrics: dict[str, Any]) -> dict[str, Any]:
    """Mean, deviation and metrics of all categories.

    Args:
        task: ``params:run.<task>``; its ``categories`` give the order and the names.
        metrics: ``metrics_<namespace>`` of each category.

    Returns:
        See :func:`.category.summarise`.
    """
    return summarise(by_category(task, "metrics", metrics))


def rank_categories(
    metrics: dict[str, Any], task: dict[str, Any], parameters: dict[str, Any]
) -> pd.DataFrame:
    """The leaderboard: a row per category, then mean and deviation.

    The paper's numbers stand beside ours where the settings are the paper's.

    Args:
        metrics: The task's metrics.
        task: ``params:run.<task>``.
        parameters: All parameters.
    """
    table = leaderboard_table(metrics)
    if not follows_paper(parameters, task["task"]):
        return table
    return with_paper(table, task["task"], parameters["dataset"], parameters["backbone"])
