"""The gallery of a category: the images worth looking at, drawn once and kept as JPEGs.

Mistakes come first, the worst at the top; then images that were nearly mistaken and a clear case of
each kind of defect.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import binary_dilation

from uniformaly_pipeline.figures import (
    FOREGROUND_COLOUR,
    GROUND_TRUTH_COLOUR,
    outline_mask,
    overlay_heat_map,
)

Verdict = Literal["missed", "false alarm", "right", "flagged", "passed", "undecided"]

VIEW_SIDE_PX = 256
"""Longest side of a stored view; larger images are reduced, so that a report stays small."""

_JPEG_QUALITY = 75
_INDEX_NAME = "index.json"
_INDEX_VERSION = 1
_IMAGES_PREFIX = "images-"


@dataclass(frozen=True)
class GalleryImage:
    """One test image, how it was judged, and its views.

    Attributes:
        image: Path relative to the data set's root, ``/``-separated.
        category: Category it was tested in.
        defect: Kind of defect, or the name of the normal class.
        label: 0 normal, 1 anomalous; None for a new image, of which nobody knows.
        score: Image score (mean of the top squared distances).
        decision: 1 if the score is at or above the category's threshold, else 0; None where the
            category has no threshold.
        wrongness: See :func:`wrongness`.
        views: JPEG bytes: ``image`` (ground truth outlined if there is a mask), ``heat_map`` and
            ``foreground`` (BPM: outlined, the background dimmed); of a new image also
            ``nearest_normal``.
        remark: What else to say of the image, in one line.
    """

    image: str
    category: str
    defect: str
    label: int | None
    score: float
    decision: int | None
    wrongness: float
    views: dict[str, bytes]
    remark: str = ""

    @property
    def verdict(self) -> Verdict:
        """How the decision compares with the label."""
        if self.decision is None:
            return "undecided"
        if self.label is None:
            return "flagged" if self.decision else "passed"
        if self.decision == self.label:
            return "right"
        return "missed" if self.label else "false alarm"


def wrongness(scores: np.ndarray, labels: np.ndarray, threshold: float | None) -> np.ndarray:
    """How far each score lies on the wrong side of the threshold.

    Args:
        scores: float [n], image scores of one category.
        labels: int [n], 0 normal, 1 anomalous.
        threshold: Score at and above which an image is called anomalous; None if undefined.

    Returns:
        float64 [n] in standard deviations of the scores: positive = wrong, negative = right; 0 on
        the threshold, which only a normal image gets wrong. All 0 without a threshold.
    """
    scores = np.asarray(scores, np.float64)
    if threshold is None:
        return np.zeros_like(scores)
    spread = scores.std() if len(scores) else 0.0
    excess = (scores - threshold) / (spread if spread > 0 else 1.0)
    return np.where(np.asarray(labels) == 1, -excess, excess)


def rank_mistakes(scores: np.ndarray, labels: np.ndarray, threshold: float | None) -> np.ndarray:
    """Order the images of a category, worst mistake first.

    Args:
        scores: float [n].
        labels: int [n], 0 normal, 1 anomalous.
        threshold: Score at and above which an image is called anomalous; without one the highest
            scores come first.

    Returns:
        int64 [n], positions in ``scores``. Equal wrongness: mistakes, then higher scores, then
        earlier rows first.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    right = ~_mistaken(scores, labels, threshold)
    return np.lexsort((-scores, right, -wrongness(scores, labels, threshold)))


def select_telling(
    scores: np.ndarray,
    labels: np.ndarray,
    defects: Sequence[str],
    threshold: float | None,
    limit: int,
) -> np.ndarray:
    """Choose the images that tell a reader most about a category.

    All mistakes, worst first, as far as the limit goes. What is left is shared between the images
    nearest to a mistake and the clearest image of each kind, so that a good detector's successes
    can be seen, too.

    Args:
        scores: float [n].
        labels: int [n], 0 normal, 1 anomalous.
        defects: Kind of each image [n].
        threshold: Score at and above which an image is called anomalous, or None.
        limit: Images to choose at most, at least 0.

    Returns:
        int64 [min(n, limit)], positions in ``scores``, worst first.
    """
    ranking = rank_mistakes(scores, labels, threshold)
    if threshold is None:
        return ranking[:limit]
    is_mistake = _mistaken(np.asarray(scores), np.asarray(labels), threshold)[ranking]
    mistakes, right = ranking[is_mistake][:limit], ranking[~is_mistake]
    places = limit - len(mistakes)
    # Later entries overwrite earlier ones: the last of a kind in the ranking is its clearest.
    clearest = {defects[position]: int(position) for position in right}
    clear = sorted(clearest.values(), key=right.tolist().index, reverse=True)[: places // 2]
    near = right[~np.isin(right, clear)][: places - len(clear)]
    chosen = np.concatenate([mistakes, near, np.asarray(clear, np.int64)])
    return ranking[np.isin(ranking, chosen)]


def build_gallery(
    image_scores: pd.DataFrame,
    *,
    category: str,
    threshold: float | None,
    vmax: float,
    limit: int,
    load_image: Callable[[str], np.ndarray],
    load_mask: Callable[[str], np.ndarray | None],
    anomaly_map: Callable[[str], np.ndarray],
    foreground: Callable[[str], np.ndarray],
) -> list[GalleryImage]:
    """Draw the most telling images of a category, holding one at a time.

    The four functions take the path of an image and are called for the chosen images only.

    Args:
        image_scores: A row per test image; columns ``image``, ``label`` (0 or 1), ``score`` and
            ``defect``.
        category: Category of the images.
        threshold: Score at and above which an image is called anomalous; None if undefined.
        vmax: Anomaly-map value of the brightest colour, common to the category.
        limit: Images to draw at most.
        load_image: Gives uint8 [H, W, 3], cropped as the encoder saw it.
        load_mask: Gives the ground truth, bool [H, W], cropped alike; None without a mask.
        anomaly_map: Gives float32 [H, W].
        foreground: Gives BPM's foreground patches, bool [H, W], enlarged to the image's size.

    Returns:
        At most ``limit`` images, worst mistake first.

    Raises:
        ValueError: A mask, map or foreground has another size than its image, or ``vmax`` is
            negative or not finite.
    """
    scores = image_scores["score"].to_numpy(np.float64)
    labels = image_scores["label"].to_numpy(np.int64)
    images = image_scores["image"].astype(str).tolist()
    defects = image_scores["defect"].astype(str).tolist()
    distances = wrongness(scores, labels, threshold)

    def draw(row: int) -> GalleryImage:
        path = images[row]
        return GalleryImage(
            image=path,
            category=category,
            defect=defects[row],
            label=int(labels[row]),
            score=float(scores[row]),
            decision=None if threshold is None else int(scores[row] >= threshold),
            wrongness=float(distances[row]),
            views=draw_views(
                load_image(path), load_mask(path), anomaly_map(path), foreground(path), vmax
            ),
        )

    return [draw(row) for row in select_telling(scores, labels, defects, threshold, limit)]


def save_gallery(folder: Path, images: Sequence[GalleryImage]) -> None:
    """Write a gallery, in place of the one that was there, in one step.

    The JPEGs go into a folder of their own; replacing ``index.json`` then switches to them at
    once. Until that moment the old gallery stays whole; after it, the old JPEGs are removed.
    Files that are not the gallery's are left alone.

    Args:
        folder: Folder of the gallery; made if needed.
        images: The images, in the order to keep.

    Raises:
        OSError: The folder cannot be written.
        ValueError: A number is not finite, or a view's name is not a plain word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{_IMAGES_PREFIX}{uuid.uuid4().hex[:12]}"
    draft = fresh / _INDEX_NAME
    try:
        fresh.mkdir()
        entries = [_write_views(fresh, number, image) for number, image in enumerate(images)]
        index = {"version": _INDEX_VERSION, "folder": fresh.name, "images": entries}
        draft.write_text(json.dumps(index, indent=1, allow_nan=False), encoding="utf-8")
        draft.replace(folder / _INDEX_NAME)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    for stale in folder.glob(f"{_IMAGES_PREFIX}*"):
        if stale != fresh:
            shutil.rmtree(stale, ignore_errors=True)


def load_gallery(folder: Path) -> list[GalleryImage]:
    """Read a gallery that :func:`save_gallery` wrote, in its order.

    Raises:
        FileNotFoundError: There is no gallery in the folder.
        ValueError: It was written by another version.
    """
    index = json.loads((folder / _INDEX_NAME).read_text(encoding="utf-8"))
    if index.get("version") != _INDEX_VERSION:
        raise ValueError(f"{folder} holds a gallery of another version: run the task again")
    pictures = folder / Path(index["folder"]).name
    return [_read_entry(pictures, number, entry) for number, entry in enumerate(index["images"])]


def gallery_exists(folder: Path) -> bool:
    """Whether a whole gallery is in the folder."""
    return (folder / _INDEX_NAME).is_file()


def _mistaken(scores: np.ndarray, labels: np.ndarray, threshold: float | None) -> np.ndarray:
    """Where the decision differs from the label, bool [n]; nowhere without a threshold."""
    if threshold is None:
        return np.zeros(len(scores), bool)
    return (scores >= threshold) != (labels == 1)


def draw_views(
    image: np.ndarray,
    mask: np.ndarray | None,
    anomaly_map: np.ndarray,
    foreground: np.ndarray,
    vmax: float,
) -> dict[str, bytes]:
    """The JPEGs of one image; outlines are drawn after reducing, so that they stay crisp.

    Args:
        image: uint8 [H, W, 3], cropped as the encoder saw it.
        mask: Ground truth, bool [H, W], or None.
        anomaly_map: float32 [H, W].
        foreground: bool [H, W], what BPM keeps.
        vmax: Anomaly-map value of the brightest colour.

    Raises:
        ValueError: A mask, map or foreground has another size than the image.
    """
    for name, array in (("mask", mask), ("foreground", foreground), ("anomaly map", anomaly_map)):
        if array is not None and array.shape != image.shape[:2]:
            raise ValueError(f"{name} {array.shape} does not fit the image {image.shape}")
    small = _reduce(image)
    small_map = _reduce(anomaly_map.astype(np.float32))
    small_foreground = _reduce(foreground)
    marked = small
    if mask is not None:
        # Drawn at a distance: a line right on a scratch would hide it.
        around = binary_dilation(_reduce(mask), iterations=4)
        marked = outline_mask(small, around, GROUND_TRUTH_COLOUR)
    dimmed = np.where(small_foreground[..., None], small, small // 2)
    return {
        "image": encode_jpeg(marked),
        "heat_map": encode_jpeg(overlay_heat_map(small, small_map, vmax)),
        "foreground": encode_jpeg(outline_mask(dimmed, small_foreground, FOREGROUND_COLOUR)),
    }


def _reduce(array: np.ndarray) -> np.ndarray:
    """Reduce an image, map or mask to a longest side of :data:`VIEW_SIDE_PX`; never enlarge.

    Args:
        array: uint8 [H, W, 3], float32 [H, W] or bool [H, W].

    Returns:
        The same dtype; a bool pixel is set where any part of it was, so thin regions survive.
    """
    height, width = array.shape[:2]
    scale = VIEW_SIDE_PX / max(height, width)
    if scale >= 1:
        return array
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if array.dtype == bool:
        covered = Image.fromarray(array.astype(np.float32)).resize(size, Image.Resampling.BOX)
        return np.asarray(covered) > 0
    return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BICUBIC))


def encode_jpeg(picture: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3], as a small JPEG."""
    buffer = io.BytesIO()
    # Full-resolution colour: a thin coloured outline would bleed otherwise.
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _view_path(folder: Path, number: int, view: str) -> Path:
    if not re.fullmatch(r"\w+", view):
        raise ValueError(f"view {view!r} of a gallery must be named by a plain word")
    return folder / f"{number:04d}_{view}.jpg"


def _write_views(folder: Path, number: int, image: GalleryImage) -> dict[str, Any]:
    """Write the JPEGs of one image and return its entry in the index."""
    for view, content in image.views.items():
        _view_path(folder, number, view).write_bytes(content)
    return asdict(image) | {"views": list(image.views)}


def _read_entry(folder: Path, number: int, entry: dict[str, Any]) -> GalleryImage:
    views = {view: _view_path(folder, number, view).read_bytes() for view in entry["views"]}
    return GalleryImage(**(entry | {"views": views}))
