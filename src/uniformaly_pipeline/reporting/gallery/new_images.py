"""Pictures of new images: where they are anomalous, and the normal patch that comes nearest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from uniformaly_pipeline.reporting.figures.style import GROUND_TRUTH_COLOUR
from uniformaly_pipeline.reporting.gallery.drawing import draw_views, encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.scoring.scores import anomaly_map

CONTEXT = (3, 7)
"""Patches above and below, left and right of the one compared that a close-up shows."""

_CLOSE_UP_PX = (256, 126)


def brightest(patch_scores: np.ndarray, scores: pd.DataFrame) -> float:
    """Anomaly-map value of the brightest colour, common to a folder of new images.

    It is the highest patch score, but at least twice the decision threshold, so that a folder of
    sound images stays dark.
    """
    if patch_scores.size == 0:
        return 0.0
    return max(float(patch_scores.max()), 2 * float(scores["threshold"].iloc[0]))


def file_names(images: Sequence[str]) -> list[str]:
    """A file name without suffix for each path, like the path itself and all different."""
    taken: set[str] = set()
    names = []
    for path in images:
        plain = re.sub(r"[^\w./-]+", "_", str(PurePosixPath(path).with_suffix("")))
        name, number = plain, 2
        # Some file systems take "A" and "a" for the same name.
        while name.lower() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


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
    row, column = np.unravel_index(int(patch_scores.argmax()), patch_scores.shape)
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
            [_close_up(picture, here, patch), _GAP, _close_up(normal, there, patch)]
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


_GAP = np.full((4, _CLOSE_UP_PX[0], 3), 255, np.uint8)


def _close_up(
    picture: np.ndarray, centre: tuple[float, float], patch: tuple[int, int]
) -> np.ndarray:
    """The surroundings of a patch, enlarged, with the patch framed: uint8 [h, w, 3]."""
    height = min(patch[0] * (2 * CONTEXT[0] + 1), picture.shape[0])
    width = min(patch[1] * (2 * CONTEXT[1] + 1), picture.shape[1])
    left = int(np.clip(centre[0] - width / 2, 0, picture.shape[1] - width))
    top = int(np.clip(centre[1] - height / 2, 0, picture.shape[0] - height))
    view = Image.fromarray(picture[top : top + height, left : left + width])
    view = view.resize(_CLOSE_UP_PX, Image.Resampling.BICUBIC)
    scale = (view.width / width, view.height / height)
    x, y = (centre[0] - left - patch[1] / 2) * scale[0], (centre[1] - top - patch[0] / 2) * scale[1]
    frame = [x, y, x + patch[1] * scale[0], y + patch[0] * scale[1]]
    draw = ImageDraw.Draw(view)
    # A dark rim keeps the frame visible on any ground.
    for outset, colour in ((3, (0, 0, 0)), (2, GROUND_TRUTH_COLOUR), (0, (0, 0, 0))):
        box = (frame[0] - outset, frame[1] - outset, frame[2] + outset, frame[3] + outset)
        draw.rectangle(box, outline=colour, width=1 if colour == (0, 0, 0) else 2)
    return np.asarray(view)
