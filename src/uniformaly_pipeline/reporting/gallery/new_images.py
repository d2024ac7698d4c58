"""Pictures of new images: where they are anomalous, and the normal patch that comes nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.detector.picture import CLOSE_UP_PX, close_up
from uniformaly_pipeline.reporting.gallery.drawing import draw_views, encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.scoring.scores import anomaly_map


def brightest(patch_scores: np.ndarray, scores: pd.DataFrame) -> float:
    """Anomaly-map value of the brightest colour, common to a folder of new images.

    It is the highest patch score, but at least twice the decision threshold, so that a folder of
    sound images stays dark.
    """
    if patch_scores.size == 0:
        return 0.0
    return max(float(np.nanmax(patch_scores)), 2 * float(scores["threshold"].iloc[0]))


def draw_prediction(
    entry: Mapping[str, Any],
    *,
    category: str,
    picture: np.ndarray,
    patch_scores: np.ndarray,
    foreground: np.ndarray,
    vmax: float,
    normal: np.ndarray | None,
) -> GalleryImage:
    """One judged image with its views.

    Args:
        entry: Its row of :func:`.decisions.decide`.
        category: The memory bank's category.
        picture: uint8 [H, W, 3], as the encoder saw it.
        patch_scores: float32 [grid height, grid width].
        foreground: bool [grid height, grid width], the patches that count.
        vmax: Anomaly-map value of the brightest colour.
        normal: uint8 [H, W, 3], the normal image with the nearest patch; ``None`` for no patch.
    """
    size = (picture.shape[0], picture.shape[1])
    patch = (size[0] // patch_scores.shape[0], size[1] // patch_scores.shape[1])
    row, column = np.unravel_index(int(np.nanargmax(patch_scores)), patch_scores.shape)
    views = draw_views(
        picture,
        None,
        anomaly_map(patch_scores, foreground.shape, size),
        np.kron(foreground, np.ones(patch, bool)),
        vmax,
    )
    remark = "no foreground: nothing was compared"
    if normal is not None:
        here = ((column + 0.5) * patch[1], (row + 0.5) * patch[0])
        there = (entry["normal_x"], entry["normal_y"])
        pair = np.concatenate(
            [close_up(picture, here, patch), _GAP, close_up(normal, there, patch)]
        )
        views["nearest_normal"] = encode_jpeg(pair)
        remark = (
            f"highest at ({entry['x']}, {entry['y']}); nearest normal patch: "
            f"{entry['normal_image']} at ({entry['normal_x']}, {entry['normal_y']})"
        )
    return GalleryImage(
        image=entry["image"],
        category=category,
        defect="new",
        label=None,
        score=float(entry["score"]),
        decision=int(entry["flagged"]),
        error_margin=float(entry["score"]),
        views=views,
        remark=remark,
    )


_GAP = np.full((4, CLOSE_UP_PX[0], 3), 255, np.uint8)
