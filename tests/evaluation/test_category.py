"""A category's metrics and their summary."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.evaluation.category import (
    NO_PIXEL_METRICS,
    anomaly_maps,
    ground_truth,
    ground_truths,
    has_ground_truth,
    image_metrics,
    pixel_metrics,
    summarise,
)
from uniformaly_pipeline.evaluation.pixel_metrics import PixelMetrics
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.scoring.scores import anomaly_map


def masks(*paths: Any, mask_hash: str | None = None) -> pd.DataFrame:
    """Rows of a manifest, as far as masks need them."""
    return pd.DataFrame({"mask": paths, "mask_hash": mask_hash}, dtype=object)


def test_image_figures_and_the_threshold_between_normal_and_anomalous() -> None:
    scores = pd.DataFrame({"label": [0, 1, 0, 1], "score": [310.0, 900.0, 305.0, 420.0]})
    metrics = image_metrics(scores)
    assert metrics == {
        "image_auroc": 1.0,
        "image_ap": 1.0,
        "image_f1_max": 1.0,
        "threshold": 420.0,
        "false_positive_rate": 0.0,
    }


@pytest.mark.parametrize("label", [0, 1])
def test_images_of_one_kind_only_have_no_figures(label: int) -> None:
    metrics = image_metrics(pd.DataFrame({"label": [label] * 3, "score": [1.0, 2.0, 3.0]}))
    assert set(metrics.values()) == {None}


def test_pixel_figures_are_over_all_pixels_of_all_images() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((6, 7)) > 0.8, np.zeros((6, 7), bool), rng.random((6, 7)) > 0.5]
    maps = [100 + rng.random((6, 7)).astype(np.float32) + mask for mask in masks]
    maps[1] += 0.5
    metrics = pixel_metrics(masks, maps, aupro_limit=0.5)
    assert metrics["pixel_auroc"] == pytest.approx(
        roc_auc_score(np.stack(masks).ravel(), np.stack(maps).ravel())
    )
    with PixelMetrics(0.5) as expected:
        for mask, anomaly_map in zip(masks, maps, strict=True):
            expected.update(mask, anomaly_map)
        assert metrics["aupro"] == pytest.approx(expected.compute()["aupro"])
    assert metrics.keys() == NO_PIXEL_METRICS.keys()


def test_pixels_without_an_anomaly_have_no_figures() -> None:
    masks = [np.zeros((3, 3), bool)] * 2
    assert pixel_metrics(masks, [np.ones((3, 3))] * 2) == NO_PIXEL_METRICS


def test_pixel_figures_hold_one_image_at_a_time() -> None:
    given: list[weakref.ref[np.ndarray]] = []

    def images(seed: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(seed)
        for _ in range(5):
            image = rng.random((8, 8)).astype(np.float32)
            given.append(weakref.ref(image))
            # The image before and this one, of masks and maps.
            assert sum(reference() is not None for reference in given) <= 4
            yield image
            del image

    masks = (image > 0.5 for image in images(0))
    assert pixel_metrics(masks, images(1)).keys() == NO_PIXEL_METRICS.keys()
    assert len(given) == 10


def test_pixel_figures_need_a_map_per_mask() -> None:
    mask = np.eye(3, dtype=bool)
    with pytest.raises(ValueError, match="shorter"):
        pixel_metrics([mask, mask], [np.zeros((3, 3), np.float32)])


def test_ground_truths_are_read_one_by_one_and_are_empty_without_a_mask() -> None:
    preprocessing = Preprocessing(resize=None, crop=(8, 12))
    truths = ground_truths(ImageFolder("nowhere"), masks(pd.NA, None, "absent.png"), preprocessing)
    assert not next(truths).any()
    assert next(truths).shape == (8, 12)
    with pytest.raises(InputError, match=r"absent\.png is gone since"):
        next(truths)


def test_ground_truth_follows_the_crop_and_counts_full_pixels_only(tmp_path: Path) -> None:
    # Enlarged twofold, the mask's edge gets values in between.
    pixels = np.zeros((40, 40), np.uint8)
    pixels[16:24, 16:24] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    folder = ImageFolder(str(tmp_path))
    preprocessing = Preprocessing(resize=80, crop=64)
    strict = ground_truth(folder, "mask.png", preprocessing, 1.0)
    geometric = ground_truth(folder, "mask.png", preprocessing, 0.5)
    outline = np.zeros((64, 64), bool)
    outline[24:40, 24:40] = True
    assert (geometric == outline).all()
    assert strict.sum() < geometric.sum()
    assert (geometric | ~strict).all()
    assert strict[26:38, 26:38].all()


def test_an_image_without_mask_has_no_anomalous_pixel() -> None:
    truth = ground_truth(ImageFolder("nowhere"), None, Preprocessing(resize=None, crop=(8, 12)))
    assert truth.shape == (8, 12)
    assert truth.dtype == bool
    assert not truth.any()


@pytest.mark.parametrize(
    ("labels", "masks", "expected"),
    [
        ([0, 1, 1], [None, "a", "b"], [True, True, True]),
        ([0, 1, 1], [None, "a", None], [True, True, False]),
        ([0, 1], [None, None], [False, False]),
        ([0, 0], [None, None], [False, False]),
        ([1, 0], ["a", None], [True, True]),
        ([1, 0], [None, "a"], [False, False]),
    ],
)
def test_pixels_are_evaluated_of_normal_and_of_masked_images(
    labels: list[int], masks: list[str | None], expected: list[bool]
) -> None:
    table = pd.DataFrame({"label": labels, "mask": pd.Series(masks, dtype="string")})
    assert has_ground_truth(table).tolist() == expected


def test_anomaly_maps_are_those_of_each_image_in_the_size_of_the_input() -> None:
    grids = np.random.default_rng(0).random((3, 2, 4)).astype(np.float32)
    maps = list(anomaly_maps(grids, Preprocessing(resize=None, crop=(32, 64))))
    assert len(maps) == 3
    for grid, pixels in zip(grids, maps, strict=True):
        assert (pixels == anomaly_map(grid.ravel(), (2, 4), (32, 64))).all()


def test_summary_is_mean_and_deviation_over_the_categories_that_have_a_figure() -> None:
    categories = {
        "a": {"image_auroc": 0.8, "pixel_auroc": 0.5, "threshold": 3.0, "bank_size": 10},
        "b": {"image_auroc": 1.0, "pixel_auroc": None, "threshold": 900.0, "bank_size": 30},
        "c": {"image_auroc": None, "pixel_auroc": None, "threshold": None, "bank_size": 20},
    }
    summary = summarise(categories)
    assert summary["mean"] == pytest.approx(
        {"image_auroc": 0.9, "pixel_auroc": 0.5, "bank_size": 20}
    )
    assert summary["std"] == pytest.approx(
        {"image_auroc": 0.1, "pixel_auroc": 0.0, "bank_size": (200 / 3) ** 0.5}
    )
    assert summary["count"] == {"image_auroc": 2, "pixel_auroc": 1, "bank_size": 3}
    assert summary["categories"] == categories


def test_summary_leaves_out_what_differs_in_scale_between_categories() -> None:
    summary = summarise({"a": {"f1": 0.5, "threshold": 3.0, "covering_radius": 12.0}})
    for part in ("mean", "std", "count"):
        assert list(summary[part]) == ["f1"]


@pytest.mark.parametrize(
    ("normal", "anomalous", "rate"),
    [([1.0, 2.0], [3.0, 4.0], 0.0), ([3.0, 4.0], [3.0, 4.0], 1.0), ([1.0, 3.0], [2.0, 4.0], 0.5)],
)
def test_false_alarms_are_counted_at_the_threshold_of_the_best_f1(
    normal: list[float], anomalous: list[float], rate: float
) -> None:
    metrics = image_metrics(pd.DataFrame({"label": [0, 0, 1, 1], "score": [*normal, *anomalous]}))
    assert metrics["false_positive_rate"] == rate


def test_summary_of_figures_that_no_category_has() -> None:
    summary = summarise({"a": {"aupro": None}, "b": {"aupro": None}})
    assert summary["mean"] == summary["std"] == {"aupro": None}
    assert summary["count"] == {"aupro": 0}


def test_a_pixel_on_the_threshold_is_anomalous_and_one_just_below_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Greys in place of those that resizing makes of edges.
    monkeypatch.setattr(ImageFolder, "read_mask", lambda self, p, _: Image.open(f"{self.root}/{p}"))
    pixels = np.array([[0, 50, 51, 52], [254, 255, 128, 0]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    folder, preprocessing = ImageFolder(str(tmp_path)), Preprocessing(resize=None, crop=(2, 4))
    by_default = ground_truth(folder, "mask.png", preprocessing)
    assert by_default.tolist() == [[False] * 4, [False, True, False, False]]
    at_a_fifth = ground_truth(folder, "mask.png", preprocessing, 0.2)  # 51 / 255
    assert at_a_fifth.tolist() == [[False, False, True, True], [True, True, True, False]]
    (strict,) = ground_truths(folder, masks("mask.png"), preprocessing)
    (lenient,) = ground_truths(folder, masks("mask.png"), preprocessing, 0.2)
    assert (strict == by_default).all()
    assert (lenient == at_a_fifth).all()


def test_pixels_are_compared_up_to_30_percent_false_positives_by_default() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((9, 9)) > 0.7 for _ in range(2)]
    maps = [(rng.random((9, 9)) + 0.2 * mask).astype(np.float32) for mask in masks]
    assert pixel_metrics(masks, maps) == pixel_metrics(masks, maps, 0.3)
    assert pixel_metrics(masks, maps)["aupro"] != pixel_metrics(masks, maps, 0.4)["aupro"]


def test_image_metrics_are_each_under_its_own_name() -> None:
    # One of three anomalous images scores below the normal one.
    scores = pd.DataFrame({"label": [0, 1, 1, 1], "score": [2.0, 1.0, 3.0, 4.0]})
    assert image_metrics(scores) == pytest.approx(
        {
            "image_auroc": 2 / 3,
            "image_ap": 11 / 12,
            "image_f1_max": 6 / 7,
            "threshold": 1.0,
            "false_positive_rate": 1.0,
        }
    )


def test_a_category_that_lacks_a_metric_is_left_out_of_its_mean() -> None:
    summary = summarise({"a": {"nmi": 0.5}, "b": {"image_auroc": 1.0, "nmi": 0.9}, "c": {}})
    assert summary["mean"] == pytest.approx({"nmi": 0.7, "image_auroc": 1.0})
    assert summary["std"] == pytest.approx({"nmi": 0.2, "image_auroc": 0.0})
    assert list(summary["mean"]) == list(summary["std"]) == ["nmi", "image_auroc"]
    assert list(summary) == ["mean", "std", "count", "categories"]


def test_a_mask_that_has_changed_since_the_manifest_is_refused(tmp_path: Path) -> None:
    """Its pixels would be compared with the anomaly map of another picture."""
    folder, preprocessing = ImageFolder(str(tmp_path)), Preprocessing(resize=8, crop=8)
    path = tmp_path / "mask.png"
    Image.new("L", (8, 8), 255).save(path)
    meant = masks("mask.png", mask_hash=hashlib.sha256(path.read_bytes()).hexdigest())
    assert next(ground_truths(folder, meant, preprocessing)).all()
    Image.new("L", (8, 8), 0).save(path)
    with pytest.raises(InputError, match=r"^mask\.png has changed since its data set was read"):
        next(ground_truths(folder, meant, preprocessing))
