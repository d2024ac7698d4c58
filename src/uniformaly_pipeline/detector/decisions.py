"""New images judged by a memory bank that was made before: how anomalous, where, beside what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.conformal import conformal_p_values, conformal_threshold
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import ImageRecord, build_manifest
from uniformaly_pipeline.memory_bank.bank import bank_images, unlike
from uniformaly_pipeline.scoring.scores import image_scores


def list_images(folder: ImageFolder) -> pd.DataFrame:
    """All images below a folder, however deep, as a manifest without labels.

    Raises:
        InputError: There is no such folder, no image in it, or files cannot be read as images.
    """
    if not folder.exists():
        raise InputError(f"predict.images: the folder {folder.root} does not exist")
    records = [ImageRecord(path, "", "test") for path in folder.files_below()]
    if not records:
        raise InputError(f"predict.images: the folder {folder.root} holds no images")
    return build_manifest(folder, records)


def normal_test_images(images: pd.DataFrame) -> pd.DataFrame:
    """The normal images of a category that are not in its memory bank."""
    return images[(images["split"] == "test") & (images["label"] == 0)]


def check_rate(images: pd.DataFrame, false_alarm_rate: float) -> None:
    """Refuse a rate that the held-out images of a category are too few for.

    Raises:
        InputError: They are; the line says how many it takes.
    """
    conformal_threshold(np.zeros(len(normal_test_images(images))), false_alarm_rate)


def check_same_masking(bank: ArrayBundle, masking: Mapping[str, Any]) -> None:
    """Refuse a memory bank of other patches than those that count in this run.

    Args:
        bank: The memory bank; its metadata tell how it was made.
        masking: ``bpm`` of this run.

    Raises:
        InputError: Its masking is another one.
    """
    if not {"image", "patch", "content_hashes"} <= set(bank.arrays):
        raise InputError("the memory bank was made by an older version: make it anew")
    if dict(bank.metadata["bpm"]) != dict(masking):
        raise InputError(unlike(["masking (bpm)"]))


def decide(
    images: pd.DataFrame,
    patch_scores: ArrayBundle,
    calibration_scores: np.ndarray,
    *,
    top_k_ratio: float,
    false_alarm_rate: float,
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
        false_alarm_rate: Share of normal images that may be flagged.
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
    threshold = conformal_threshold(calibration_scores, false_alarm_rate)
    grids = patch_scores.arrays["patch_scores"]
    scores = image_scores(grids.reshape(len(grids), -1), top_k_ratio)
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
            "p_value": conformal_p_values(calibration_scores, scores),
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
    row, column = np.unravel_index(int(grid.argmax()), grid.shape)
    vector = int(nearest[row, column])
    x, y = patch_centre(int(row), int(column), grid.shape, preprocessing)
    x, y = preprocessing.to_image(x, y, image_size)
    if vector < 0:  # all background
        return {"x": round(x), "y": round(y), "source": -1, "normal_x": 0, "normal_y": 0}
    normal_row, normal_column = divmod(int(bank.arrays["patch"][vector]), grid.shape[1])
    normal = patch_centre(normal_row, normal_column, grid.shape, preprocessing)
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
