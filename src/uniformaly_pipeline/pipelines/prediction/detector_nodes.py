"""Nodes of the prediction stage where a detector judges, in place of a run's memory bank."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.detector.decisions import list_images
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.finished_run import normal_picture
from uniformaly_pipeline.detector.results import Result, Unreadable
from uniformaly_pipeline.detector.sources import Source
from uniformaly_pipeline.detector.state import DetectorState, with_asked_threshold
from uniformaly_pipeline.features.view import frame_view
from uniformaly_pipeline.ingestion.decoding import PIXELS_KEY
from uniformaly_pipeline.ingestion.health import odd_images
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import levels_of, sizes_of
from uniformaly_pipeline.memory_bank.bank import bank_images
from uniformaly_pipeline.pipelines.prediction.nodes import draw_heat_maps, summarise_prediction
from uniformaly_pipeline.reporting.gallery.new_images import brightest, draw_prediction
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage, show_place
from uniformaly_pipeline.scoring.scores import images_digest

logger = logging.getLogger(__name__)


def take_detector(
    given: DetectorState, false_alarm_rate: float | None, threshold: float | None
) -> DetectorState:
    """The detector with the threshold that was asked for, or its own.

    Args:
        given: The detector.
        false_alarm_rate: ``predict.false_alarm_rate``.
        threshold: ``predict.threshold``.

    Raises:
        InputError: Both are given, or its held-out images are too few for the rate.
    """
    return with_asked_threshold(given, threshold, false_alarm_rate, "predict")


def list_new_images_of(new_images: ImageFolder, detector: DetectorState) -> pd.DataFrame:
    """The images to judge, see :func:`.decisions.list_images`; odd ones are named in the log.

    Args:
        new_images: The folder of new images.
        detector: The detector, whose levels and region of interest hold for the new images.
    """
    images = list_images(new_images, detector.reading.levels, detector.reading.region)
    for _, _, _, finding in odd_images(images):
        logger.warning("%s", finding)
    return images


def judge_by_detector(
    new_images: ImageFolder,
    images: pd.DataFrame,
    detector: DetectorState,
    device: str,
    batch_size: int,
) -> tuple[pd.DataFrame, ArrayBundle]:
    """Judge images.

    Args:
        new_images: The folder of new images.
        images: A row per new image.
        detector: The detector.
        device: ``encoder.device``.
        batch_size: ``encoder.batch_size``.

    Returns:
        A row per image, highest score first, as :func:`.decisions.decide` returns them; and
        ``patch_scores`` float32 and ``foreground`` uint8 [B, grid height, grid width] in the order
        of ``images``.

    Raises:
        InputError: An image has changed since it was listed, or the encoder cannot be loaded.
    """
    judge = Detector(detector, device=device)
    sources = [_source(new_images, path) for path in images["image"]]
    judged = track(judge.predict_each_of(sources, batch_size), len(sources), "Judging", "images")
    grid = detector.reading.header.grid
    scores, foreground, rows = [np.zeros((0, *grid), np.float32)], [np.zeros((0, *grid), bool)], []
    for each in judged:
        if isinstance(each, Unreadable):
            raise InputError(each.reason)
        scores.append(each.patch_scores[None])
        foreground.append(each.foreground[None])
        rows.append(_row(each))
    table = pd.DataFrame(rows).sort_values(
        ["score", "image"], ascending=[False, True], ignore_index=True
    )
    bundle = ArrayBundle(
        {
            "patch_scores": np.concatenate(scores),
            "foreground": np.concatenate(foreground).astype(np.uint8),
        },
        {"images": images_digest(images["content_hash"])},
    )
    return table, bundle


def calibration_of(detector: DetectorState) -> pd.DataFrame:
    """The scores of the detector's held-out normal images: ``image``, which is a number, ``score``.

    Args:
        detector: The detector; it does not tell the images' names.
    """
    scores = detector.calibration_scores
    names = [f"held out {number}" for number in range(1, len(scores) + 1)]
    return pd.DataFrame({"image": names, "score": scores})


def draw_heat_maps_of(
    new_images: ImageFolder,
    images: pd.DataFrame,
    patch_scores: ArrayBundle,
    scores: pd.DataFrame,
    detector: DetectorState,
) -> dict[str, Callable[[], Image.Image]]:
    """Every new image with its anomaly map over it, see :func:`.nodes.draw_heat_maps`."""
    preprocessing = dict(detector.reading.header.preprocessing)
    return draw_heat_maps(new_images, images, patch_scores, scores, preprocessing)


def draw_flagged_of(
    new_images: ImageFolder,
    images: pd.DataFrame,
    patch_scores: ArrayBundle,
    scores: pd.DataFrame,
    detector: DetectorState,
    gallery_images: int,
) -> list[GalleryImage]:
    """The images with the highest scores, each beside the normal patch it was compared with.

    Args:
        new_images: The folder of new images.
        images: A row per new image.
        patch_scores: ``patch_scores`` and ``foreground`` in the order of ``images``.
        scores: The decisions, highest score first.
        detector: The detector; pictures of normal images are its own, or read from the data set's
            root where that is still there.
        gallery_images: ``reporting.gallery_images``: most images to draw.
    """
    fitting, levels = detector.reading.preprocessing, levels_of(images)
    grids, foreground = (patch_scores.arrays[name] for name in ("patch_scores", "foreground"))
    rows = {image: row for row, image in enumerate(images["image"])}
    vmax = brightest(grids, scores)

    def draw(entry: dict[Any, Any]) -> GalleryImage:
        path, row = entry["image"], rows[entry["image"]]
        picture = fitting.fit_image(new_images.read_image(path, levels.get(path)))
        normal = entry["normal_image"]
        return draw_prediction(
            entry,
            category=detector.name,
            picture=np.asarray(picture),
            patch_scores=grids[row],
            foreground=foreground[row].astype(bool),
            vmax=vmax,
            normal=_normal_picture(detector, normal) if normal else None,
        )

    gallery = [draw(entry) for entry in scores.head(gallery_images).to_dict("records")]
    sizes, grid = sizes_of(images), detector.reading.header.grid
    return show_place(
        gallery,
        lambda path: np.asarray(new_images.read_image(path, levels.get(path))),
        lambda path: frame_view(sizes[path], fitting, detector.reading.region, grid),
    )


def summarise_prediction_of(
    scores: pd.DataFrame, calibration_scores: pd.DataFrame, detector: DetectorState
) -> dict[str, Any]:
    """How many images were flagged, at which threshold, see :func:`.nodes.summarise_prediction`."""
    chosen = detector.threshold
    by_hand = chosen.value if chosen.false_alarm_rate is None else None
    summary = summarise_prediction(
        scores, calibration_scores, detector.bank, chosen.false_alarm_rate, by_hand
    )
    return {**summary, "threshold": chosen.value}


def _source(folder: ImageFolder, path: str) -> Source:
    def read() -> bytes:
        with folder.open(path) as file:
            return file.read()

    return Source(path, read, folder.max_pixels, PIXELS_KEY, is_known=True)


def _row(result: Result) -> dict[str, Any]:
    place, evidence = result.place, result.evidence
    return {
        "image": result.name,
        "score": np.float32(result.score),
        "flagged": int(result.is_anomalous),
        "threshold": result.threshold,
        "p_value": np.nan if result.p_value is None else result.p_value,
        "x": 0 if place is None else round(place.x),
        "y": 0 if place is None else round(place.y),
        "normal_image": "" if evidence is None else evidence.normal_image,
        "normal_x": 0 if evidence is None else round(evidence.place.x),
        "normal_y": 0 if evidence is None else round(evidence.place.y),
    }


def _normal_picture(detector: DetectorState, name: str) -> np.ndarray | None:
    """The encoder's view of a normal image: uint8 [H, W, 3]; ``None`` where it cannot be had."""
    height, width = detector.reading.preprocessing.input_size
    number = detector.normal_images.index(name)
    if detector.thumbnails:
        thumbnail = detector.thumbnails[number]
        with Image.open(io.BytesIO(thumbnail)) as picture:
            return np.asarray(picture.convert("RGB").resize((width, height)))
    key, reading = bank_images(detector.bank)[number], detector.reading
    found = normal_picture(detector.root, name, key, reading.levels)
    return None if found is None else np.asarray(reading.preprocessing.fit_image(found))
