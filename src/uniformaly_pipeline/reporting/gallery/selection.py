"""The gallery of a category: the images worth looking at, drawn once and kept as JPEGs.

Mistakes come first, the worst at the top; then images that were nearly mistaken and a clear case of
each kind of defect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from uniformaly_pipeline.reporting.gallery.drawing import draw_place, draw_views

Verdict = Literal["missed", "false alarm", "right", "flagged", "passed", "undecided"]


@dataclass(frozen=True)
class GalleryImage:
    """One test image, how it was judged, and its views.

    Attributes:
        image: Path relative to the data set's root, ``/``-separated.
        category: Category it was tested in.
        defect: Kind of defect, or the name of the normal class.
        label: 0 normal, 1 anomalous; None for a new image, of which nobody knows.
        score: Image score.
        decision: 1 if the score is at or above the category's threshold, else 0; None where the
            category has no threshold.
        error_margin: See :func:`error_margin`.
        views: JPEG bytes: ``image`` (ground truth outlined if there is a mask), ``heat_map`` and
            ``foreground`` (BPM: outlined, the background dimmed); of a new image also
            ``nearest_normal``; and see :func:`show_place` and :func:`show_attention`.
        remark: What else to say of the image, in one line.
        seen_share: Share of the image that was looked at, 0..1.
    """

    image: str
    category: str
    defect: str
    label: int | None
    score: float
    decision: int | None
    error_margin: float
    views: dict[str, bytes]
    remark: str = ""
    seen_share: float = 1.0

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


def error_margin(scores: np.ndarray, labels: np.ndarray, threshold: float | None) -> np.ndarray:
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
        int64 [n], positions in ``scores``. Equal error_margin: mistakes, then higher scores, then
        earlier rows first.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    right = ~_mistaken(scores, labels, threshold)
    return np.lexsort((-scores, right, -error_margin(scores, labels, threshold)))


def select_examples(
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
    """Draw the most informative images of a category, holding one at a time.

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
    distances = error_margin(scores, labels, threshold)

    def draw(row: int) -> GalleryImage:
        path = images[row]
        return GalleryImage(
            image=path,
            category=category,
            defect=defects[row],
            label=int(labels[row]),
            score=float(scores[row]),
            decision=None if threshold is None else int(scores[row] >= threshold),
            error_margin=float(distances[row]),
            views=draw_views(
                load_image(path), load_mask(path), anomaly_map(path), foreground(path), vmax
            ),
        )

    return [draw(row) for row in select_examples(scores, labels, defects, threshold, limit)]


def show_place(
    gallery: list[GalleryImage],
    read: Callable[[str], np.ndarray],
    seen_of: Callable[[str], np.ndarray | None],
) -> list[GalleryImage]:
    """Add to a gallery's first image where it was looked at, unless all of it was.

    Args:
        gallery: The images.
        read: Gives a whole image by its path, uint8 [H, W, 3].
        seen_of: Gives what of an image was looked at by its path, bool [H, W]; None for all.

    Returns:
        The gallery; its first image has the view ``looked_at``, all of it with that outlined, and
        its ``seen_share``.
    """
    for first in gallery[:1]:
        seen = seen_of(first.image)
        if seen is not None:
            views = {**first.views, "looked_at": draw_place(read(first.image), seen)}
            return [replace(first, views=views, seen_share=float(seen.mean())), *gallery[1:]]
    return gallery


def show_attention(
    gallery: list[GalleryImage], views_of: Callable[[str], dict[str, bytes]]
) -> list[GalleryImage]:
    """Add to a gallery's first image the views of what its masking goes by.

    Args:
        gallery: The images.
        views_of: Gives these views by an image's path, see :func:`.drawing.draw_attention`.
    """
    first = [replace(each, views={**each.views, **views_of(each.image)}) for each in gallery[:1]]
    return [*first, *gallery[1:]]


def _mistaken(scores: np.ndarray, labels: np.ndarray, threshold: float | None) -> np.ndarray:
    """Where the decision differs from the label, bool [n]; nowhere without a threshold."""
    if threshold is None:
        return np.zeros(len(scores), bool)
    return (scores >= threshold) != (labels == 1)
