"""Nodes of the evaluation stage."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.evaluation.category import (
    NO_PIXEL_METRICS,
    anomaly_maps,
    counted_pixels,
    ground_truths,
    has_ground_truth,
    image_metrics,
    pixel_metrics,
    summarise,
)
from uniformaly_pipeline.evaluation.leaderboard import leaderboard_table
from uniformaly_pipeline.evaluation.paper import follows_paper, with_paper
from uniformaly_pipeline.evaluation.seeds import seed_table, summarise_seeds
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.pipelines.by_category import by_category
from uniformaly_pipeline.pipelines.chunks import per_category
from uniformaly_pipeline.pipelines.memory_bank.nodes import build_bank
from uniformaly_pipeline.pipelines.scoring.nodes import score_test_images, score_test_patches
from uniformaly_pipeline.scoring.methods.choice import localises
from uniformaly_pipeline.scoring.methods.padim import BESIDE_VECTORS
from uniformaly_pipeline.scoring.scores import check_same_bank, check_same_images

logger = logging.getLogger(__name__)


@per_category
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
        Image and pixel metrics in 0..1 (the latter undefined where a method scores whole images),
        the threshold, the bank's size in vectors and bytes and its
        covering radius, the numbers of images, and images encoded and scored a second; for an
        approximate search also ``search_recall``, the share of the truly nearest vectors that it
        finds.

    Raises:
        InputError: An earlier run made some of it before images or masks were changed, and some
            after.
    """
    rows = images[images["split"] == "test"]
    tested = rows["content_hash"]
    check_same_images(patch_scores, tested)
    check_same_images(patch_scores, image_scores["content_hash"])
    check_same_bank(patch_scores, memory_bank)
    metrics = image_metrics(image_scores)
    pixels = NO_PIXEL_METRICS
    known = has_ground_truth(image_scores) & localises(patch_scores)
    if known.any():
        if not known.all():
            unknown = image_scores.loc[~known, "image"]
            logger.warning(
                "%d anomalous images have no mask, such as %s: pixel metrics are of the others",
                len(unknown),
                unknown.iloc[0],
            )
        geometry = Preprocessing(**preprocessing)
        shown = rows[known]
        sizes = None
        if geometry.sees_all:
            sizes = list(zip(shown["width"], shown["height"], strict=True))
        grid = features.grid if geometry.tiles is not None else None
        masks = ground_truths(raw_images, shown, geometry, evaluation["mask_threshold"], sizes)
        grids = patch_scores.arrays["patch_scores"][known]
        maps = anomaly_maps(grids, geometry, sizes, grid)
        counted = counted_pixels(grids, geometry, sizes, grid) if np.isnan(grids).any() else None
        unseen: list[str] = []
        masks = _noting_unseen(masks, shown, unseen)
        maps = track(maps, int(known.sum()), "Comparing anomaly maps with masks", "images")
        pixels = pixel_metrics(masks, maps, evaluation["aupro_limit"], counted)
        if unseen:
            logger.warning(
                "nothing is left of what the masks of %d images mark, such as %s: it is too small "
                "(lower evaluation.mask_threshold), or preprocessing crops it",
                len(unseen),
                unseen[0],
            )
    bank = memory_bank.arrays["memory_bank"]
    bank_bytes = bank.nbytes + sum(
        memory_bank.arrays[name].nbytes for name in BESIDE_VECTORS if name in memory_bank.arrays
    )
    seconds = features.encode_seconds(list(tested)) + patch_scores.metadata["seconds"]
    recall = patch_scores.metadata["search_recall"]
    return {
        **metrics,
        **pixels,
        "bank_size": len(bank),
        "bank_bytes": bank_bytes,
        "covering_radius": memory_bank.metadata["covering_radius"],
        "num_train": int((images["split"] == "train").sum()),
        "num_test": len(tested),
        "images_per_second": len(tested) / seconds,
        **({} if recall is None else {"search_recall": recall}),
    }


def _noting_unseen(
    masks: Iterator[np.ndarray], images: pd.DataFrame, unseen: list[str]
) -> Iterator[np.ndarray]:
    """Pass masks on, and add the names of images with no mark left to ``unseen``."""
    marked = images.get("mask_pixels", pd.Series(0, index=images.index))
    for image, pixels, mask in zip(images["image"], marked, masks, strict=True):
        if pixels > 0 and not mask.any():
            unseen.append(image)
        yield mask


@per_category
def evaluate_seeds(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    metrics: dict[str, Any],
    bpm: dict[str, Any],
    memory_bank: dict[str, Any],
    coreset_ratio: float,
    scoring: dict[str, Any],
    device: str,
    preprocessing: dict[str, Any],
    evaluation: dict[str, Any],
    seed: int,
    seeds: list[int],
    **shared_banks: ArrayBundle,
) -> pd.DataFrame:
    """Metrics of a category by memory banks of several seeds, on the same features.

    Each is what a run of that seed gives; the run's own is not made again.

    Args:
        raw_images: The data set's root, for the masks.
        images: The category's images.
        features: The feature store.
        metrics: The category's metrics of the run's own seed.
        bpm: ``bpm``.
        memory_bank: ``memory_bank``.
        coreset_ratio: Share of the patches to keep.
        scoring: ``scoring``.
        device: ``encoder.device``.
        preprocessing: ``datasets.<name>.preprocessing``.
        evaluation: ``evaluation``.
        seed: ``seed``.
        seeds: ``seeds``.
        shared_banks: Where categories share a memory bank, that of each other seed by
            :func:`shared_bank_name`; where not, the category's own are built here.

    Returns:
        See :func:`.seeds.seed_table`.
    """
    found: dict[int, dict[str, Any]] = {}
    for each in seeds:
        if each == seed:
            found[each] = metrics
            continue
        bank = shared_banks.get(shared_bank_name(each)) or build_bank(
            images, features, bpm, memory_bank, coreset_ratio, scoring["method"], device, each
        )
        patch_scores = score_test_patches(images, features, bank, bpm, scoring)
        image_scores = score_test_images(images, patch_scores, scoring)
        found[each] = evaluate_category(
            raw_images, images, features, bank, patch_scores, image_scores, preprocessing,
            evaluation,
        )  # fmt: skip
    return seed_table(found)


def shared_bank_name(seed: int) -> str:
    """What :func:`evaluate_seeds` calls the memory bank of one seed that categories share."""
    return f"memory_bank_of_seed_{seed}"


def collect_metrics(task: dict[str, Any], **metrics: Any) -> dict[str, Any]:
    """Mean, deviation and metrics of all categories.

    Args:
        task: ``params:run.<task>``; its ``categories`` give the order and the names.
        metrics: ``metrics_<namespace>`` of each category, and of several seeds
            ``seed_metrics_<namespace>``.

    Returns:
        See :func:`.category.summarise`, of several seeds :func:`.seeds.summarise_seeds`.
    """
    of_category = by_category(task, "metrics", metrics)
    if not any(name.startswith("seed_metrics_") for name in metrics):
        return summarise(of_category)
    return summarise_seeds(of_category, by_category(task, "seed_metrics", metrics))


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
