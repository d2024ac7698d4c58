"""New images judged by a memory bank that was made before: how anomalous, where, beside what."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.detector.conformal import (
    FALSE_ALARM_RATE,
    conformal_p_values,
    conformal_threshold,
)
from uniformaly_pipeline.detector.state import Threshold
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.manifest import ImageRecord, build_manifest
from uniformaly_pipeline.ingestion.regions import Region, is_to_judge
from uniformaly_pipeline.memory_bank.bank import bank_images, unlike
from uniformaly_pipeline.scoring.scores import scores_of_images

logger = logging.getLogger(__name__)


def list_images(
    folder: ImageFolder, levels: Levels | None = None, region: Region | None = None
) -> pd.DataFrame:
    """All images below a folder, however deep, as a manifest without labels.

    Args:
        folder: The folder.
        levels: Black and white of images deeper than 8 bits, as the memory bank's were read.
        region: What counts of them, as of the memory bank's images.

    Raises:
        InputError: There is no such folder, no image in it, files cannot be read as images, or
            are not of the region's size.
    """
    if not folder.exists():
        raise InputError(f"predict.images: there is no file or folder {folder.root}")
    files = folder.files_below()
    others = [path for path in files if not is_to_judge(path) and path != folder.only]
    if others:
        logger.warning(
            "%s left out as no image to judge, such as %s",
            number_of(len(others), "file"),
            others[0],
        )
    records = [ImageRecord(path, "", "test") for path in files if path not in set(others)]
    if not records:
        raise InputError(f"predict.images: the folder {folder.root} holds no images")
    return build_manifest(folder, records, levels=levels or Levels(), region=region)


def normal_test_images(images: pd.DataFrame) -> pd.DataFrame:
    """The normal images of a category that are not in its memory bank."""
    return images[(images["split"] == "test") & (images["label"] == 0)]


def choose_threshold(
    calibration_scores: np.ndarray, false_alarm_rate: float | None, threshold: float | None
) -> Threshold:
    """The threshold that ``predict`` was asked for.

    Args:
        calibration_scores: float [n], scores of normal images that are not in the bank.
        false_alarm_rate: ``predict.false_alarm_rate``; ``None``:
            :data:`.conformal.FALSE_ALARM_RATE`.
        threshold: ``predict.threshold``; ``None``: by the rate.

    Raises:
        InputError: Both are given, or the held-out images are too few for the rate.
    """
    if threshold is not None:
        if false_alarm_rate is not None:
            raise InputError("predict: give either threshold or false_alarm_rate, not both")
        return Threshold(threshold)
    rate = FALSE_ALARM_RATE if false_alarm_rate is None else false_alarm_rate
    return Threshold(conformal_threshold(calibration_scores, rate), rate)


def check_rate(
    images: pd.DataFrame, false_alarm_rate: float | None, threshold: float | None = None
) -> None:
    """Refuse a rate that the held-out images of a category are too few for.

    Raises:
        InputError: They are; the line says how many it takes.
    """
    choose_threshold(np.zeros(len(normal_test_images(images))), false_alarm_rate, threshold)


def check_same_masking(bank: ArrayBundle, masking: Mapping[str, Any]) -> None:
    """Refuse a memory bank of other patches than those that count in this run.

    Args:
        bank: The memory bank; its metadata tell how it was made.
        masking: ``bpm`` of this run.

    Raises:
        InputError: Its masking is another one.
    """
    if not {"image", "patch", "content_hashes"} <= set(bank.arrays):
        raise InputError(f"the memory bank was made by an older version: {RUN_AGAIN}")
    if dict(bank.metadata["bpm"]) != dict(masking):
        raise InputError(unlike(["masking (bpm)"]))


def decide(
    images: pd.DataFrame,
    patch_scores: ArrayBundle,
    calibration_scores: np.ndarray,
    *,
    top_k_ratio: float,
    false_alarm_rate: float | None,
    threshold: float | None = None,
    preprocessing: Preprocessing,
    bank: ArrayBundle,
    normal_images: Mapping[str, str],
) -> pd.DataFrame:
    """Score new images and flag those that few normal ones would outscore.

    The threshold comes from held-out normal images by split conformal prediction: if these and a
    new normal image are exchangeable, it is flagged with at most the stated probability.

    Args:
        images: The new images, as :func:`list_images` returns them.
        patch_scores: ``patch_scores`` and ``neighbors`` of the new images.
        calibration_scores: float [n], image scores of normal images that are not in the bank.
        top_k_ratio: Share of the patches whose scores are averaged.
        false_alarm_rate: Share of normal images that may be flagged, see
            :func:`choose_threshold`.
        threshold: The score strictly above which an image is flagged, in place of a rate.
        preprocessing: From image to input.
        bank: The memory bank.
        normal_images: Path of the bank's images by content hash.

    Returns:
        A row per image, highest score first: ``image``, ``score``, ``flagged`` (0 or 1),
        ``threshold``, ``p_value``, the centre ``x``, ``y`` of the highest-scoring patch in pixels
        of the image, and what that patch was compared with: ``normal_image`` and the place
        ``normal_x``, ``normal_y`` in pixels of the encoder's view of it (0 and empty where the
        whole image is background).

    Raises:
        InputError: Too few held-out images for the rate.
    """
    threshold = choose_threshold(calibration_scores, false_alarm_rate, threshold).value
    grids = patch_scores.arrays["patch_scores"]
    scores = scores_of_images(patch_scores, top_k_ratio)
    places = [
        _highest_patch(grid, nearest, size, preprocessing, bank)
        for grid, nearest, size in zip(
            grids,
            patch_scores.arrays["neighbors"],
            zip(images["width"], images["height"], strict=True),
            strict=True,
        )
    ]
    hashes = bank_images(bank)
    table = pd.DataFrame(
        {
            "image": images["image"].to_numpy(),
            "score": scores,
            "flagged": (scores > threshold).astype(int),
            "threshold": threshold,
            "p_value": (
                conformal_p_values(calibration_scores, scores)
                if len(calibration_scores)
                else np.nan  # no image was held out
            ),
            "x": [place["x"] for place in places],
            "y": [place["y"] for place in places],
            "normal_image": [
                "" if p["source"] < 0 else normal_images.get(hashes[p["source"]], "")
                for p in places
            ],
            "normal_x": [place["normal_x"] for place in places],
            "normal_y": [place["normal_y"] for place in places],
        }
    )
    return table.sort_values(["score", "image"], ascending=[False, True], ignore_index=True)


def _highest_patch(
    grid: np.ndarray,
    nearest: np.ndarray,
    image_size: tuple[int, int],
    preprocessing: Preprocessing,
    bank: ArrayBundle,
) -> dict[str, int]:
    """Centre of an image's highest-scoring patch, and the normal patch it was compared with."""
    row, column = np.unravel_index(int(np.nanargmax(grid)), grid.shape)
    vector = int(nearest[row, column])
    inputs = bank.metadata.get("features", {}).get("grid", grid.shape)
    x, y = patch_centre(int(row), int(column), inputs, preprocessing)
    x, y = preprocessing.image_point(x, y, image_size)
    if vector < 0:  # all background
        return {"x": round(x), "y": round(y), "source": -1, "normal_x": 0, "normal_y": 0}
    across = bank.metadata.get("grid", inputs)[1]
    normal_row, normal_column = divmod(int(bank.arrays["patch"][vector]), across)
    normal = patch_centre(normal_row, normal_column, inputs, preprocessing)
    return {
        "x": round(x),
        "y": round(y),
        "source": int(bank.arrays["image"][vector]),
        "normal_x": round(normal[0]),
        "normal_y": round(normal[1]),
    }


def patch_centre(
    row: int, column: int, grid: Sequence[int], preprocessing: Preprocessing
) -> tuple[float, float]:
    """(x, y) of a patch's centre in pixels of the encoder's input."""
    height, width = preprocessing.input_size
    return (column + 0.5) * width / grid[1], (row + 0.5) * height / grid[0]
