"""Nodes of the clustering stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.evaluation.clustering import FeatureChoice, cluster, cluster_metrics
from uniformaly_pipeline.evaluation.metrics import SWEPT_METRICS
from uniformaly_pipeline.evaluation.sweep import image_features
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import levels_of
from uniformaly_pipeline.memory_bank.bank import check_same_features
from uniformaly_pipeline.pipelines.chunks import per_category
from uniformaly_pipeline.reporting.figures.clusters import (
    cluster_figure,
    cluster_maps_figure,
    cluster_sheets,
    embed_2d,
    standardised,
)
from uniformaly_pipeline.scoring.scores import check_same_images

Figure = Any
"""A matplotlib figure: Kedro reads type hints as it starts, and importing it takes a while."""


@per_category
def cluster_images(
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    choice: FeatureChoice,
    top_k_ratio: float,
    seed: int,
) -> pd.DataFrame:
    """Group a category's test images, as many groups as there are kinds.

    Args:
        images: The category's images.
        features: Features of all patches.
        patch_scores: ``patch_scores`` [B, grid height, grid width].
        choice: ``clustering.features``: which patches stand for an image.
        top_k_ratio: ``scoring.top_k_ratio``: share of the patches that ``top_k`` takes.
        seed: Seed of the embedding.

    Returns:
        A row per test image: ``image``, ``defect``, ``cluster`` and its place ``x``, ``y`` in a
        t-SNE embedding.
    """
    tested = images[images["split"] == "test"]
    chosen = _image_features(tested, features, patch_scores, choice, top_k_ratio)
    place = embed_2d(chosen, seed)
    return (
        tested[["image", "defect"]]
        .reset_index(drop=True)
        .assign(cluster=_group(tested, chosen), x=place[:, 0], y=place[:, 1])
    )


@per_category
def compare_features(
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    compared_ratios: list[float],
) -> pd.DataFrame:
    """Metrics of every choice of features (Table 8), a row each as in an ablation.

    Args:
        images: The category's images.
        features: Features of all patches.
        patch_scores: ``patch_scores`` [B, grid height, grid width].
        compared_ratios: ``clustering.compared_ratios``: top-k ratios to compare.
    """
    tested = images[images["split"] == "test"]
    choices: list[tuple[str, FeatureChoice, float]] = [("all", "all", 1.0), ("max", "max", 1.0)]
    choices += [(f"top {r:.3g}", "top_k", r) for r in compared_ratios]
    rows = []
    for value, choice, ratio in choices:
        chosen = _image_features(tested, features, patch_scores, choice, ratio)
        metrics = cluster_metrics(list(tested["defect"]), _group(tested, chosen))
        rows.append({"parameter": "clustering.features", "value": value, "draw": 0, **metrics})
    table = pd.DataFrame(rows, columns=["parameter", "value", "draw", *SWEPT_METRICS])
    return table.astype(dict.fromkeys(SWEPT_METRICS, float))


@per_category
def add_cluster_metrics(
    detection_metrics: dict[str, Any], clusters: pd.DataFrame
) -> dict[str, Any]:
    """A category's metrics, those of its clusters included."""
    found = clusters["cluster"].to_numpy()
    return {
        **detection_metrics,
        **cluster_metrics(list(clusters["defect"]), found),
        "num_clusters": int(clusters["cluster"].nunique()),
    }


@per_category
def draw_clusters(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    clusters: pd.DataFrame,
    preprocessing: dict[str, Any],
    gallery_images: int,
    category: dict[str, Any],
) -> tuple[Figure, Image.Image]:
    """A category's t-SNE figure, and a contact sheet of each of its clusters.

    Args:
        raw_images: The data set's root.
        images: The category's images.
        clusters: As :func:`cluster_images` returns them.
        preprocessing: ``datasets.<name>.preprocessing``: the images as the encoder sees them.
        gallery_images: ``reporting.gallery_images``: most images shown of a cluster.
        category: ``params:run.<task>.categories.<namespace>``.
    """
    geometry = Preprocessing(**preprocessing)
    truth, found = list(clusters["defect"]), list(clusters["cluster"])
    place = clusters[["x", "y"]].to_numpy(np.float32)
    levels = levels_of(images)
    hash_of = images.set_index("image")["content_hash"].to_dict()
    pictures = [
        geometry.fit_image(raw_images.read_image(path, levels.get(path), hash_of[path]))
        for path in clusters["image"]
    ]
    sheet = cluster_sheets(pictures, truth, found, limit=gallery_images)
    return cluster_figure(place, truth, found, category["name"]), sheet


@per_category
def draw_cluster_maps(
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    top_k_ratio: float,
    seed: int,
    category: dict[str, Any],
) -> Figure:
    """A category's clusters by all patches, the highest one and the top-k (Fig. 8 and 9).

    Features are standardised before they are placed, as the authors do.

    Args:
        images: The category's images.
        features: Features of all patches.
        patch_scores: ``patch_scores`` [B, grid height, grid width].
        top_k_ratio: ``scoring.top_k_ratio``.
        seed: Seed of the embedding.
        category: ``params:run.paper.categories.<namespace>``.
    """
    tested = images[images["split"] == "test"]
    choices: dict[str, FeatureChoice] = {
        "All": "all",
        "Max": "max",
        f"Top {top_k_ratio:.3g}": "top_k",
    }
    maps = {}
    for title, choice in choices.items():
        chosen = _image_features(tested, features, patch_scores, choice, top_k_ratio)
        maps[title] = (embed_2d(standardised(chosen), seed), list(_group(tested, chosen)))
    return cluster_maps_figure(maps, list(tested["defect"]), category["name"])


def _image_features(
    tested: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    choice: FeatureChoice,
    top_k_ratio: float,
) -> np.ndarray:
    check_same_images(patch_scores, tested["content_hash"])
    check_same_features(patch_scores, features.header)
    flat = patch_scores.arrays["patch_scores"].reshape(len(tested), -1)
    return image_features(features, list(tested["content_hash"]), flat, choice, top_k_ratio)


def _group(tested: pd.DataFrame, chosen: np.ndarray) -> np.ndarray:
    return cluster(chosen, tested["defect"].nunique())
