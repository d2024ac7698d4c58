"""A category's metrics (METHOD "Evaluation")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.confusion import confusion
from uniformaly_pipeline.evaluation.image_metrics import detection_metrics, mean_and_std
from uniformaly_pipeline.evaluation.metrics import NOT_AVERAGED
from uniformaly_pipeline.evaluation.pixel_metrics import AUPRO_LIMIT, PIXEL_METRICS, PixelMetrics
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.scoring.scores import anomaly_map


def image_metrics(image_scores: pd.DataFrame) -> dict[str, float | None]:
    """Image-level metrics and the decision threshold.

    Args:
        image_scores: Columns ``label`` (0 normal, 1 anomalous) and ``score``.

    Returns:
        ``image_auroc``, ``image_ap``, ``image_f1_max`` in 0..1, ``threshold``, the score at and
        above which F1 is highest, and ``false_positive_rate``, the share of the normal images that
        it calls anomalous: 1 where the best F1 comes from passing none. ``None`` where the test
        images are all of one kind.
    """
    labels, scores = image_scores["label"].to_numpy(), image_scores["score"].to_numpy()
    metrics = detection_metrics(labels, scores)
    false_positive_rate = None
    if metrics.threshold is not None:
        false_positive_rate = confusion(labels, scores, metrics.threshold).false_positive_rate
    return {
        "image_auroc": metrics.auroc,
        "image_ap": metrics.ap,
        "image_f1_max": metrics.f1_max,
        "threshold": metrics.threshold,
        "false_positive_rate": false_positive_rate,
    }


def pixel_metrics(
    masks: Iterable[np.ndarray], maps: Iterable[np.ndarray], aupro_limit: float = AUPRO_LIMIT
) -> dict[str, float | None]:
    """Pixel-level metrics over all test images of a category, one image in memory at a time.

    Args:
        masks: bool [H, W] per image, true where anomalous.
        maps: float32 [H, W] per image, the anomaly maps in the same order.
        aupro_limit: False-positive rate at which AUPRO stops.

    Returns:
        See :meth:`.PixelMetrics.compute`.

    Raises:
        ValueError: See :meth:`.PixelMetrics.update`, or there are more masks or more maps.
    """
    with PixelMetrics(aupro_limit) as metrics:
        for mask, pixels in zip(masks, maps, strict=True):
            metrics.update(mask, pixels)
        return metrics.compute()


NO_PIXEL_METRICS: dict[str, float | None] = dict.fromkeys(PIXEL_METRICS)


def ground_truth(
    folder: ImageFolder, mask: str | None, preprocessing: Preprocessing, threshold: float = 1.0
) -> np.ndarray:
    """An image's anomalous pixels in the geometry of its anomaly map.

    Args:
        folder: Where the masks are.
        mask: Path of the mask; without one nothing is anomalous.
        preprocessing: The images' preprocessing.
        threshold: Value of the resized mask at and above which a pixel is anomalous; 1 is what
            the authors' code does, 0.5 follows the mask's outline.

    Returns:
        bool [H, W].
    """
    if mask is None:
        return np.zeros(preprocessing.input_size, dtype=bool)
    anomalous: np.ndarray = preprocessing.mask_tensor(folder.read_mask(mask)).numpy() >= threshold
    return anomalous


def ground_truths(
    folder: ImageFolder,
    masks: Iterable[Any],
    preprocessing: Preprocessing,
    threshold: float = 1.0,
) -> Iterator[np.ndarray]:
    """Anomalous pixels of several images, see :func:`ground_truth`; no path stands for no mask."""
    for mask in masks:
        path = mask if isinstance(mask, str) else None
        yield ground_truth(folder, path, preprocessing, threshold)


def has_masks(image_scores: pd.DataFrame) -> bool:
    """Whether every anomalous test image has a ground-truth mask, and there is one."""
    masks = image_scores.loc[image_scores["label"] == 1, "mask"]
    return len(masks) > 0 and bool(masks.notna().all())


def anomaly_maps(patch_scores: np.ndarray, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """The anomaly maps [H, W] of patch scores [B, grid height, grid width], one by one."""
    grid = (patch_scores.shape[1], patch_scores.shape[2])
    return (anomaly_map(scores, grid, preprocessing.input_size) for scores in patch_scores)


def summarise(categories: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Put the metrics of all categories together.

    Args:
        categories: Metrics by category; ``None`` where a category has no such metric.

    Returns:
        The content of ``metrics.json``: ``mean`` and ``std`` (the population's) over the
        categories that have the metric, ``count``, how many these are, and ``categories``.
    """
    names = list(
        dict.fromkeys(
            name for metrics in categories.values() for name in metrics if name not in NOT_AVERAGED
        )
    )
    both = {
        name: mean_and_std(metrics.get(name) for metrics in categories.values()) for name in names
    }
    return {
        "mean": {name: mean for name, (mean, _) in both.items()},
        "std": {name: std for name, (_, std) in both.items()},
        "count": {
            name: sum(metrics.get(name) is not None for metrics in categories.values())
            for name in names
        },
        "categories": categories,
    }
