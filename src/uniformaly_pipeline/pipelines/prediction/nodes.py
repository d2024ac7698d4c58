"""Nodes of the prediction stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.detector.decisions import (
    check_same_masking,
    decide,
    list_images,
    normal_test_images,
)
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import check_same_features
from uniformaly_pipeline.parameters.current_run import settings_of
from uniformaly_pipeline.reporting.figures.pictures import overlay_heat_map
from uniformaly_pipeline.reporting.gallery.new_images import brightest, draw_prediction, file_names
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.reporting.page.page import render_report
from uniformaly_pipeline.reporting.page.sections import prediction_sections
from uniformaly_pipeline.scoring.patches import score_patches
from uniformaly_pipeline.scoring.scores import anomaly_map, image_scores


def list_new_images(new_images: ImageFolder) -> pd.DataFrame:
    """The images to judge, see :func:`.decisions.list_images`."""
    return list_images(new_images)


def score_new_patches(
    images: pd.DataFrame,
    features: FeatureStore,
    memory_bank: ArrayBundle,
    bpm: dict[str, Any],
    scoring: dict[str, Any],
) -> ArrayBundle:
    """Score the foreground patches of images against a memory bank that was made before.

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
    return score_patches(
        features,
        list(images["content_hash"]),
        memory_bank.arrays["memory_bank"],
        BackPatchMasking(**bpm),
        search=scoring["search"],
        num_neighbors=scoring["num_neighbors"],
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
    grids = scored.arrays["patch_scores"]
    scores = image_scores(grids.reshape(len(grids), -1), scoring["top_k_ratio"])
    return normal[["image"]].assign(score=scores).reset_index(drop=True)


def judge_images(
    images: pd.DataFrame,
    patch_scores: ArrayBundle,
    calibration_scores: pd.DataFrame,
    memory_bank: ArrayBundle,
    bank_images: pd.DataFrame,
    preprocessing: dict[str, Any],
    top_k_ratio: float,
    false_alarm_rate: float,
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

    Returns:
        A row per image, see :func:`.decisions.decide`.

    Raises:
        InputError: Too few normal images are left to keep the rate.
    """
    normal = bank_images[bank_images["split"] == "train"]
    return decide(
        images,
        patch_scores,
        calibration_scores["score"].to_numpy(),
        top_k_ratio=top_k_ratio,
        false_alarm_rate=false_alarm_rate,
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

    Returns:
        Functions that draw, by the image's path without its suffix.
    """
    geometry = Preprocessing(**preprocessing)
    grids = patch_scores.arrays["patch_scores"]
    vmax = brightest(grids, scores)

    def draw(path: str, grid: np.ndarray) -> Image.Image:
        picture = np.asarray(geometry.fit_image(new_images.read_image(path)))
        pixels = anomaly_map(grid, (grid.shape[0], grid.shape[1]), geometry.input_size)
        return Image.fromarray(overlay_heat_map(picture, pixels, vmax))

    names = file_names(list(images["image"]))
    return {
        name: lambda path=path, grid=grid: draw(path, grid)  # type: ignore[misc]
        for name, path, grid in zip(names, images["image"], grids, strict=True)
    }


def draw_flagged(
    new_images: ImageFolder,
    raw_images: ImageFolder,
    images: pd.DataFrame,
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
        features: Their features, for the foreground.
        patch_scores: ``patch_scores`` [B, grid height, grid width], in the order of ``images``.
        scores: The decisions, highest score first.
        preprocessing: ``datasets.<name>.preprocessing``.
        bpm: ``bpm``.
        gallery_images: ``reporting.gallery_images``: most images to draw.
        category: ``params:run.predict.categories.<namespace>``.
    """
    geometry = Preprocessing(**preprocessing)
    masking = BackPatchMasking(**bpm)
    grids = patch_scores.arrays["patch_scores"]
    rows = {image: row for row, image in enumerate(images["image"])}
    vmax = brightest(grids, scores)

    def picture(folder: ImageFolder, path: str) -> np.ndarray:
        return np.asarray(geometry.fit_image(folder.read_image(path)))

    def draw(entry: dict[Any, Any]) -> GalleryImage:
        row = rows[entry["image"]]
        foreground = features.foreground([images["content_hash"][row]], masking)
        normal = entry["normal_image"]
        return draw_prediction(
            entry,
            category=category["name"],
            picture=picture(new_images, entry["image"]),
            patch_scores=grids[row],
            foreground=foreground.reshape(features.grid),
            vmax=vmax,
            normal=picture(raw_images, normal) if normal else None,
        )

    shown = scores.head(gallery_images)
    return [draw(entry) for entry in shown.to_dict("records")]


def summarise_prediction(
    scores: pd.DataFrame,
    calibration_scores: pd.DataFrame,
    memory_bank: ArrayBundle,
    false_alarm_rate: float,
) -> dict[str, Any]:
    """How many images were flagged, at which threshold.

    Args:
        scores: The decisions.
        calibration_scores: A row per normal image that is not in the memory bank.
        memory_bank: The memory bank.
        false_alarm_rate: ``predict.false_alarm_rate``.

    Returns:
        ``num_images``, ``num_flagged``, ``threshold`` [unit of the scores], ``false_alarm_rate``,
        ``num_calibration`` and ``bank_size``.
    """
    return {
        "num_images": len(scores),
        "num_flagged": int(scores["flagged"].sum()),
        "threshold": float(scores["threshold"].iloc[0]),
        "false_alarm_rate": false_alarm_rate,
        "num_calibration": len(calibration_scores),
        "bank_size": len(memory_bank.arrays["memory_bank"]),
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
    return render_report(
        title=f"{task['title']}: {name}",
        task="predict",
        dataset=task["names"]["dataset"],
        backbone=task["names"]["backbone"],
        metrics=None,
        leaderboard=None,
        galleries={name: gallery},
        figures={},
        parameters=settings_of(parameters),
        command=task["command"],
        notes=task["notes"],
        facts={
            "Settings": task["names"]["run_key"],
            "Memory bank": f"{name}, {metrics['bank_size']:,} vectors",
            "Flagged": f"{metrics['num_flagged']} of {metrics['num_images']} images",
            "False-alarm rate": f"at most {metrics['false_alarm_rate']:g}",
        },
        sections=prediction_sections(scores, calibration_scores, metrics),
    )
