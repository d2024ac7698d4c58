"""A category's metrics (METHOD "Evaluation")."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.evaluation.confusion import confusion
from uniformaly_pipeline.evaluation.image_metrics import detection_metrics, mean_and_std
from uniformaly_pipeline.evaluation.metrics import NOT_AVERAGED, OVER_SEEDS
from uniformaly_pipeline.evaluation.pixel_metrics import AUPRO_LIMIT, PIXEL_METRICS, PixelMetrics
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.scoring.scores import anomaly_map, spread_patches

ROUNDING = 1e-9
"""What figures may lose on their way through a file."""


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


def check_same_scores(metrics: Mapping[str, Any], image_scores: pd.DataFrame) -> None:
    """Refuse metrics of other scores than those at hand.

    Args:
        metrics: A category's metrics; those that are means over seeds are not compared.
        image_scores: As :func:`image_metrics`.

    Raises:
        InputError: They are of others; an earlier run made one of them.
    """
    for name, expected in image_metrics(image_scores).items():
        if f"{name}{OVER_SEEDS}" in metrics:
            continue  # a mean over seeds, of which the scores are one's
        found = metrics.get(name, expected)
        if expected is None or found is None:
            same = expected is found
        else:
            same = math.isclose(expected, found, rel_tol=ROUNDING)
        if not same:
            raise InputError(
                f"by the image scores {name} is {expected}, but the metrics say {found}: another "
                f"run made one of them: {RUN_AGAIN}"
            )


def pixel_metrics(
    masks: Iterable[np.ndarray],
    maps: Iterable[np.ndarray],
    aupro_limit: float = AUPRO_LIMIT,
    counted: Iterable[np.ndarray] | None = None,
) -> dict[str, float | None]:
    """Pixel-level metrics over all test images of a category, one image in memory at a time.

    Args:
        masks: bool [H, W] per image, true where anomalous.
        maps: float32 [H, W] per image, the anomaly maps in the same order.
        aupro_limit: False-positive rate at which AUPRO stops.
        counted: bool [H, W] per image, the pixels that count; ``None`` for all.

    Returns:
        See :meth:`.PixelMetrics.compute`.

    Raises:
        ValueError: See :meth:`.PixelMetrics.update`, or there are more masks or more maps.
    """
    with PixelMetrics(aupro_limit) as metrics:
        if counted is None:
            for mask, pixels in zip(masks, maps, strict=True):
                metrics.update(mask, pixels)
        else:
            for mask, pixels, known in zip(masks, maps, counted, strict=True):
                metrics.update(mask, pixels, known)
        return metrics.compute()


NO_PIXEL_METRICS: dict[str, float | None] = dict.fromkeys(PIXEL_METRICS)


def ground_truth(
    folder: ImageFolder,
    mask: str | None,
    preprocessing: Preprocessing,
    threshold: float = 1.0,
    mask_hash: str | None = None,
    image_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """An image's anomalous pixels in the geometry of its anomaly map.

    Args:
        folder: Where the masks are.
        mask: Path of the mask; without one nothing is anomalous.
        preprocessing: The images' preprocessing.
        threshold: Value of the resized mask at and above which a pixel is anomalous; 1 is what
            the authors' code does, 0.5 follows the mask's outline.
        mask_hash: Hash of the mask that is meant, as the manifest has it.
        image_size: (width, height) of the image in pixels; where it is given the result is of what
            is shown of the image, without padding.

    Returns:
        bool [H, W].

    Raises:
        InputError: The mask cannot be read, or is another one.
    """
    height, width = preprocessing.input_size
    if image_size is not None:
        width, height = preprocessing.shown_size(image_size)
    if mask is None:
        return np.zeros((height, width), dtype=bool)
    values = preprocessing.mask_tensor(folder.read_mask(mask, mask_hash)).numpy()
    anomalous: np.ndarray = values >= threshold
    return anomalous[:height, :width]


def ground_truths(
    folder: ImageFolder,
    images: pd.DataFrame,
    preprocessing: Preprocessing,
    threshold: float = 1.0,
    image_sizes: Sequence[tuple[int, int]] | None = None,
) -> Iterator[np.ndarray]:
    """Anomalous pixels of several images, see :func:`ground_truth`.

    Args:
        folder: Where the masks are.
        images: Rows of a manifest: ``mask``, no path where there is none, and ``mask_hash``.
        preprocessing: The images' preprocessing.
        threshold: Value of the resized mask at and above which a pixel is anomalous.
        image_sizes: (width, height) of each image, see :func:`ground_truth`.
    """
    sizes: Sequence[tuple[int, int] | None] = image_sizes or [None] * len(images)
    for mask, mask_hash, size in zip(images["mask"], images["mask_hash"], sizes, strict=True):
        is_there = isinstance(mask, str)
        yield ground_truth(
            folder,
            mask if is_there else None,
            preprocessing,
            threshold,
            mask_hash if is_there else None,
            size,
        )


def has_ground_truth(image_scores: pd.DataFrame) -> np.ndarray:
    """The test images whose anomalous pixels are known: bool [B].

    They are the normal ones and those with a mask; none where no anomalous image has a mask.
    """
    anomalous, masked = image_scores["label"] == 1, image_scores["mask"].notna()
    known: np.ndarray = (~anomalous | masked).to_numpy(bool)
    return known if bool((anomalous & masked).any()) else np.zeros_like(known)


def anomaly_maps(
    patch_scores: np.ndarray,
    preprocessing: Preprocessing,
    image_sizes: Sequence[tuple[int, int]] | None = None,
    grid: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """The anomaly maps [H, W] of patch scores [B, grid height, grid width], one by one.

    Args:
        patch_scores: The scores.
        preprocessing: From image to input.
        image_sizes: (width, height) of each image in pixels; where they are given the maps are of
            what is shown of the images, without padding.
        grid: (height, width) of an input in patches, where images are cut into tiles.
    """
    whole = (patch_scores.shape[1], patch_scores.shape[2])
    size = map_size(whole, preprocessing, grid)
    for scores, image_size in zip(
        patch_scores, image_sizes or itertools.repeat(None), strict=False
    ):
        pixels = anomaly_map(scores, whole, size)
        yield pixels if image_size is None else shown_part(pixels, preprocessing, image_size)


def shown_part(
    pixels: np.ndarray, preprocessing: Preprocessing, image_size: tuple[int, int]
) -> np.ndarray:
    """What of pixels in the input's geometry [H, W, ...] shows an image of (width, height)."""
    width, height = preprocessing.shown_size(image_size)
    return pixels[:height, :width]


def map_size(
    whole: tuple[int, int], preprocessing: Preprocessing, grid: tuple[int, int] | None
) -> tuple[int, int]:
    """(height, width) in pixels of the map of a grid, larger than the input where tiles make it.

    Args:
        whole: (height, width) of the scores in patches.
        preprocessing: From image to input.
        grid: (height, width) of an input in patches; ``None`` where it is the same.
    """
    height, width = preprocessing.input_size
    if grid is None or preprocessing.tiles is None:
        return height, width
    return height // grid[0] * whole[0], width // grid[1] * whole[1]


def counted_pixels(
    patch_scores: np.ndarray,
    preprocessing: Preprocessing,
    image_sizes: Sequence[tuple[int, int]] | None = None,
    grid: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """The pixels [H, W] whose patches count, image by image; arguments as :func:`anomaly_maps`."""
    size = map_size((patch_scores.shape[1], patch_scores.shape[2]), preprocessing, grid)
    for scores, image_size in zip(
        patch_scores, image_sizes or itertools.repeat(None), strict=False
    ):
        pixels = spread_patches(~np.isnan(scores), size)
        yield pixels if image_size is None else shown_part(pixels, preprocessing, image_size)


def summarise(categories: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Put the metrics of all categories together.

    Args:
        categories: Metrics by category; ``None`` where a category has no such metric.

    Returns:
        The content of ``metrics.json``: ``mean`` and ``std`` (the population's) over the
        categories that have the metric, ``count``, how many these are, and ``categories``.
    """
    categories = dict(categories)
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
