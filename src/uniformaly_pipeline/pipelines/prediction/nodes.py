"""Nodes of the prediction stage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.detector.decisions import (
    check_same_masking,
    choose_threshold,
    decide,
    list_images,
    normal_test_images,
)
from uniformaly_pipeline.evaluation.category import map_size, shown_part
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.view import frame_view
from uniformaly_pipeline.ingestion.health import odd_images
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.manifest import levels_of, sizes_of
from uniformaly_pipeline.ingestion.regions import regions_of
from uniformaly_pipeline.memory_bank.bank import bank_levels, bank_region, check_same_features
from uniformaly_pipeline.memory_bank.growth import GROWN
from uniformaly_pipeline.parameters.current_run import settings_of
from uniformaly_pipeline.reporting.gallery.naming import file_names
from uniformaly_pipeline.reporting.gallery.new_images import brightest, draw_prediction
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage, show_place
from uniformaly_pipeline.reporting.page.page import render_report
from uniformaly_pipeline.reporting.page.sections import (
    prediction_sections,
    shown_apart,
    threshold_facts,
)
from uniformaly_pipeline.scoring.heat_map import overlay_heat_map
from uniformaly_pipeline.scoring.methods.choice import scorer_of, search_settings
from uniformaly_pipeline.scoring.patches import score_by
from uniformaly_pipeline.scoring.scores import anomaly_map, check_same_images, scores_of_images

logger = logging.getLogger(__name__)


def list_new_images(
    new_images: ImageFolder, memory_bank: ArrayBundle, category: dict[str, Any]
) -> pd.DataFrame:
    """The images to judge, see :func:`.decisions.list_images`; odd ones are named in the log.

    Args:
        new_images: The folder of new images.
        memory_bank: The memory bank, whose levels and region of interest hold for the new images.
        category: ``params:run.predict.categories.<namespace>``.
    """
    name = (category["tested"] or category["normal"])[0]
    images = list_images(new_images, bank_levels(memory_bank, name), bank_region(memory_bank, name))
    for _, _, _, finding in odd_images(images):
        logger.warning("%s", finding)
    return images


def score_new_patches(
    images: pd.DataFrame,
    features: FeatureStore,
    memory_bank: ArrayBundle,
    bpm: dict[str, Any],
    scoring: dict[str, Any],
) -> ArrayBundle:
    """Score the patches of images that count against a memory bank that was made before.

    Args:
        images: The images.
        features: Their features.
        memory_bank: The memory bank.
        bpm: ``bpm``.
        scoring: ``scoring``.

    Returns:
        ``patch_scores`` and ``neighbors`` [B, grid height, grid width] in the order of the images.

    Raises:
        InputError: The bank's features were made in another way.
    """
    check_same_masking(memory_bank, bpm)
    check_same_features(memory_bank, features.header)
    return score_by(
        lambda: scorer_of(scoring["method"], memory_bank, search_settings(scoring)),
        features,
        list(images["content_hash"]),
        BackPatchMasking(**bpm),
        keep_neighbors=True,
    )


def calibrate(
    bank_images: pd.DataFrame,
    bank_features: FeatureStore,
    memory_bank: ArrayBundle,
    bpm: dict[str, Any],
    scoring: dict[str, Any],
) -> pd.DataFrame:
    """Scores of the normal images that are not in the memory bank: its category's normal tests.

    Args:
        bank_images: The images of the bank's category.
        bank_features: Their features.
        memory_bank: The memory bank.
        bpm: ``bpm``.
        scoring: ``scoring``.

    Returns:
        A row per held-out normal image: ``image``, ``score``.

    Raises:
        InputError: The bank's features were made in another way.
    """
    normal = normal_test_images(bank_images)
    scored = score_new_patches(normal, bank_features, memory_bank, bpm, scoring)
    scores = scores_of_images(scored, scoring["top_k_ratio"])
    return normal[["image"]].assign(score=scores).reset_index(drop=True)


def judge_images(
    images: pd.DataFrame,
    patch_scores: ArrayBundle,
    calibration_scores: pd.DataFrame,
    memory_bank: ArrayBundle,
    bank_images: pd.DataFrame,
    preprocessing: dict[str, Any],
    top_k_ratio: float,
    false_alarm_rate: float | None,
    threshold: float | None = None,
) -> pd.DataFrame:
    """Flag the images that few normal ones would outscore.

    Args:
        images: The new images.
        patch_scores: ``patch_scores`` and ``neighbors`` of the new images.
        calibration_scores: A row per normal image that is not in the memory bank.
        memory_bank: The memory bank.
        bank_images: The images of the bank's category.
        preprocessing: ``datasets.<name>.preprocessing``.
        top_k_ratio: ``scoring.top_k_ratio``.
        false_alarm_rate: ``predict.false_alarm_rate``: share of normal images that may be flagged.
        threshold: ``predict.threshold``: the score above which an image is flagged.

    Returns:
        A row per image, see :func:`.decisions.decide`.

    Raises:
        InputError: Too few normal images are left to keep the rate.
    """
    check_same_images(patch_scores, images["content_hash"])
    normal = bank_images[bank_images["split"] == "train"]
    return decide(
        images,
        patch_scores,
        calibration_scores["score"].to_numpy(),
        top_k_ratio=top_k_ratio,
        false_alarm_rate=false_alarm_rate,
        threshold=threshold,
        preprocessing=Preprocessing(**preprocessing),
        bank=memory_bank,
        normal_images=dict(zip(normal["content_hash"], normal["image"], strict=True)),
    )


def draw_heat_maps(
    new_images: ImageFolder,
    images: pd.DataFrame,
    patch_scores: ArrayBundle,
    scores: pd.DataFrame,
    preprocessing: dict[str, Any],
    features: FeatureStore | None = None,
) -> dict[str, Callable[[], Image.Image]]:
    """Every new image with its anomaly map over it, drawn as it is saved.

    The brightest colour is the highest patch score of the folder, but at least twice the
    decision threshold: a folder of sound images stays dark.

    Args:
        new_images: The folder of new images.
        images: A row per new image.
        patch_scores: ``patch_scores`` [B, grid height, grid width], in the order of ``images``.
        scores: The decisions, for the threshold.
        preprocessing: ``datasets.<name>.preprocessing``.
        features: Their features, for the grid of an input where images are cut into tiles.

    Returns:
        Functions that draw, by the image's path without its suffix.
    """
    check_same_images(patch_scores, images["content_hash"])
    geometry = Preprocessing(**preprocessing)
    levels = levels_of(images)
    inputs = None if features is None else features.grid
    grids = patch_scores.arrays["patch_scores"]
    vmax = brightest(grids, scores)
    hash_of = dict(zip(images["image"], images["content_hash"], strict=True))

    def draw(path: str, grid: np.ndarray) -> Image.Image:
        image = new_images.read_image(path, levels.get(path), hash_of[path])
        picture = np.asarray(geometry.fit_image(image))
        whole = (grid.shape[0], grid.shape[1])
        pixels = anomaly_map(grid, whole, map_size(whole, geometry, inputs))
        shown = [shown_part(part, geometry, image.size) for part in (picture, pixels)]
        return Image.fromarray(overlay_heat_map(shown[0], shown[1], vmax))

    names = file_names(list(images["image"]))
    return {
        name: lambda path=path, grid=grid: draw(path, grid)  # type: ignore[misc]
        for name, path, grid in zip(names, images["image"], grids, strict=True)
    }


def draw_flagged(
    new_images: ImageFolder,
    raw_images: ImageFolder,
    images: pd.DataFrame,
    bank_images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    scores: pd.DataFrame,
    preprocessing: dict[str, Any],
    bpm: dict[str, Any],
    gallery_images: int,
    category: dict[str, Any],
) -> list[GalleryImage]:
    """The images with the highest scores, each beside the normal patch it was compared with.

    Args:
        new_images: The folder of new images.
        raw_images: The data set's root, for the normal images.
        images: A row per new image.
        bank_images: The images of the bank's category.
        features: Features of the new images, for the foreground.
        patch_scores: ``patch_scores`` [B, grid height, grid width], in the order of ``images``.
        scores: The decisions, highest score first.
        preprocessing: ``datasets.<name>.preprocessing``.
        bpm: ``bpm``.
        gallery_images: ``reporting.gallery_images``: most images to draw.
        category: ``params:run.predict.categories.<namespace>``.
    """
    check_same_images(patch_scores, images["content_hash"])
    geometry = Preprocessing(**preprocessing)
    masking = BackPatchMasking(**bpm)
    grids = patch_scores.arrays["patch_scores"]
    rows = {image: row for row, image in enumerate(images["image"])}
    vmax = brightest(grids, scores)
    whole = (grids.shape[1], grids.shape[2])
    size = map_size(whole, geometry, features.grid)
    new_levels, normal_levels = levels_of(images), levels_of(bank_images)

    new_hash = dict(zip(images["image"], images["content_hash"], strict=True))
    normal_hash = dict(zip(bank_images["image"], bank_images["content_hash"], strict=True))

    def picture(
        folder: ImageFolder, path: str, levels: dict[str, Levels], content_hash: str
    ) -> np.ndarray:
        image = folder.read_image(path, levels.get(path), content_hash)
        seen = np.asarray(geometry.fit_image(image))
        below, right = (max(0, a - b) for a, b in zip(size, seen.shape[:2], strict=True))
        return np.pad(seen, ((0, below), (0, right), (0, 0)), mode="edge")

    def normal_picture(path: str) -> np.ndarray | None:
        """A normal image as it was when the bank was made, or none: scores do not need it."""
        try:
            return picture(raw_images, path, normal_levels, normal_hash[path])
        except InputError as error:
            logger.warning("A picture of a normal patch is left out: %s", error)
            return None

    def draw(entry: dict[Any, Any]) -> GalleryImage:
        row = rows[entry["image"]]
        foreground = features.foreground([images["content_hash"][row]], masking, whole)
        normal = entry["normal_image"]
        return draw_prediction(
            entry,
            category=category["name"],
            picture=picture(new_images, entry["image"], new_levels, new_hash[entry["image"]]),
            patch_scores=grids[row],
            foreground=foreground.reshape(whole),
            vmax=vmax,
            normal=normal_picture(normal) if normal else None,
        )

    def whole_image(path: str) -> np.ndarray:
        return np.asarray(new_images.read_image(path, new_levels.get(path), new_hash[path]))

    gallery = [draw(entry) for entry in scores.head(gallery_images).to_dict("records")]
    sizes, regions = sizes_of(images), regions_of(images)
    return show_place(
        gallery,
        whole_image,
        lambda path: frame_view(sizes[path], geometry, regions.get(path), features.grid),
    )


def summarise_prediction(
    scores: pd.DataFrame,
    calibration_scores: pd.DataFrame,
    memory_bank: ArrayBundle,
    false_alarm_rate: float | None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """How many images were flagged, at which threshold.

    Args:
        scores: The decisions.
        calibration_scores: A row per normal image that is not in the memory bank.
        memory_bank: The memory bank.
        false_alarm_rate: ``predict.false_alarm_rate``.
        threshold: ``predict.threshold``.

    Returns:
        ``num_images``, ``num_flagged``, ``threshold`` [unit of the scores], ``false_alarm_rate``
        (``None`` where the threshold was set by hand), ``num_calibration`` and ``bank_size``; and
        :data:`.growth.GROWN` where the bank has learned images since it was calibrated.
    """
    chosen = choose_threshold(calibration_scores["score"].to_numpy(), false_alarm_rate, threshold)
    return {
        "num_images": len(scores),
        "num_flagged": int(scores["flagged"].sum()),
        "threshold": chosen.value,
        "false_alarm_rate": chosen.false_alarm_rate,
        "num_calibration": len(calibration_scores),
        "bank_size": len(memory_bank.arrays["memory_bank"]),
        **({GROWN: True} if memory_bank.metadata.get(GROWN) else {}),
    }


def write_prediction_report(
    scores: pd.DataFrame,
    calibration_scores: pd.DataFrame,
    metrics: dict[str, Any],
    gallery: list[GalleryImage],
    parameters: dict[str, Any],
    task: dict[str, Any],
    category: dict[str, Any],
) -> str:
    """Put the decisions and pictures on one self-contained HTML page.

    Args:
        scores: The decisions.
        calibration_scores: A row per normal image that is not in the memory bank.
        metrics: As :func:`summarise_prediction` returns them.
        gallery: The images with the highest scores.
        parameters: All parameters.
        task: ``params:run.predict``: title, names, command and notes.
        category: ``params:run.predict.categories.<namespace>``.
    """
    name = category["name"]
    galleries, apart = shown_apart({name: gallery})
    return render_report(
        title=f"{task['title']}: {name}",
        task="predict",
        dataset=task["names"]["dataset"],
        backbone=task["names"]["backbone"],
        metrics=None,
        leaderboard=None,
        galleries=galleries,
        figures={},
        parameters=settings_of(parameters),
        command=task["command"],
        notes=task["notes"],
        facts={
            "Settings": task["names"]["run_key"],
            "Memory bank": f"{name}, {metrics['bank_size']:,} vectors",
            "Flagged": f"{metrics['num_flagged']} of {number_of(metrics['num_images'], 'image')}",
            **threshold_facts(metrics),
        },
        sections=[*prediction_sections(scores, calibration_scores, metrics), *apart],
    )
