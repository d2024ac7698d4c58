"""Nodes of the evaluation stage: a category's metrics, all categories' and the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import bank_digest
from uniformaly_pipeline.parameters.schema import Parameters
from uniformaly_pipeline.pipelines.evaluation.nodes import (
    collect_metrics,
    evaluate_category,
    rank_categories,
)
from uniformaly_pipeline.scoring.scores import anomaly_map, images_digest

SIZE = 40
"""Side of the images in pixels."""
CROP = 32
GRID = (4, 4)
PREPROCESSING: dict[str, Any] = {
    "resize": None,
    "crop": CROP,
    "pad": None,
    "interpolation": "bilinear",
}
EVALUATION: dict[str, Any] = {"mask_threshold": 1.0, "aupro_limit": 0.3}

IMAGES = pd.DataFrame(
    {
        "image": ["t1", "t2", "t3", "a", "b", "c", "d"],
        "content_hash": ["#t1", "#t2", "#t3", "#a", "#b", "#c", "#d"],
        "split": ["train"] * 3 + ["test"] * 4,
        "mask": [None] * 4 + ["b.png", None, "d.png"],
        "mask_hash": None,
    }
)
SCORES = pd.DataFrame(
    {
        "image": ["a", "b", "c", "d"],
        "label": [0, 1, 0, 1],
        "score": [1.0, 5.0, 3.0, 2.0],
        "defect": ["good", "dent", "good", "dent"],
        "mask": [None, "b.png", None, "d.png"],
        "content_hash": ["#a", "#b", "#c", "#d"],
    }
)
BANK = ArrayBundle(
    {"image": np.zeros(5), "memory_bank": np.zeros((6, 8), np.float16)}, {"covering_radius": 2.5}
)
PATCH_SCORES = np.random.default_rng(7).random((4, *GRID)).astype(np.float32)


class Timed(FeatureStore):
    """A store that knows only how long each image took to encode."""

    def __init__(self) -> None:
        seconds = [100.0, 200.0, 400.0, 0.5, 0.25, 5.0, 0.25]
        self.seconds = dict(zip(IMAGES["content_hash"], seconds, strict=True))

    def encode_seconds(self, content_hashes: Any) -> float:
        return sum(self.seconds[key] for key in content_hashes)


@pytest.fixture(autouse=True)
def grey_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Greys of the masks count as they are, in place of those that resizing makes of edges."""

    def read(folder: ImageFolder, path: str, _: str | None = None) -> Image.Image:
        return Image.open(f"{folder.root}/{path}")

    monkeypatch.setattr(ImageFolder, "read_mask", read)


@pytest.fixture
def raw_images(tmp_path: Path) -> ImageFolder:
    """The masks of the defective images: grey at the border, white inside."""
    for name, (top, left) in {"b": (8, 6), "d": (20, 22)}.items():
        pixels = np.zeros((SIZE, SIZE), np.uint8)
        pixels[top : top + 10, left : left + 10] = 180
        pixels[top + 3 : top + 7, left + 3 : left + 7] = 255
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return ImageFolder(str(tmp_path))


def bundle(recall: float | None = None, patch_scores: np.ndarray = PATCH_SCORES) -> ArrayBundle:
    arrays = {"neighbors": np.zeros((4, 4, 4), np.int64), "patch_scores": patch_scores}
    made_of = {"images": images_digest(SCORES["content_hash"]), "bank": bank_digest(BANK)}
    return ArrayBundle(arrays, {**made_of, "seconds": 2.0, "search_recall": recall})


def evaluate(raw_images: ImageFolder, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "images": IMAGES,
        "features": Timed(),
        "memory_bank": BANK,
        "patch_scores": bundle(),
        "image_scores": SCORES,
        "preprocessing": PREPROCESSING,
        "evaluation": EVALUATION,
    }
    return evaluate_category(raw_images, **{**settings, **changes})


def pixels_of(
    folder: ImageFolder, level: int = 255, crop: int = CROP
) -> tuple[np.ndarray, np.ndarray]:
    """Anomalous pixels and anomaly maps [4, crop, crop], by plain means."""
    cut = (SIZE - crop) // 2
    masks = np.zeros((4, SIZE, SIZE), bool)
    for row, name in {1: "b", 3: "d"}.items():
        masks[row] = np.asarray(Image.open(f"{folder.root}/{name}.png")) >= level
    maps = [anomaly_map(scores.ravel(), GRID, (crop, crop)) for scores in PATCH_SCORES]
    return masks[:, cut : cut + crop, cut : cut + crop], np.stack(maps)


def aupro_naively(masks: np.ndarray, maps: np.ndarray, limit: float) -> float:
    """Mean overlap of the regions (one to a mask here) over the false-positive rate."""
    regions = [maps[row][masks[row]] for row in (1, 3)]
    normal = maps[~masks]
    thresholds = np.unique(maps)[::-1]
    rates = np.array([0.0, *[(normal >= threshold).mean() for threshold in thresholds]])
    overlaps = np.array(
        [0.0, *[np.mean([(r >= threshold).mean() for r in regions]) for threshold in thresholds]]
    )
    grid = np.append(rates[rates < limit], limit)
    heights = np.append(overlaps[rates < limit], np.interp(limit, rates, overlaps))
    return float(np.sum(np.diff(grid) * (heights[1:] + heights[:-1]) / 2) / limit)


def test_a_method_that_scores_whole_images_has_no_pixel_metrics(raw_images: ImageFolder) -> None:
    by = {method: bundle() for method in ("mean_patch_knn", "padim")}
    found = {
        method: evaluate(
            raw_images,
            patch_scores=ArrayBundle(
                scored.arrays, {**scored.metadata, "scoring": {"method": method}}
            ),
        )
        for method, scored in by.items()
    }
    plain = evaluate(raw_images)
    assert found["padim"] == plain
    pixels = {"pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"}
    assert found["mean_patch_knn"] == {**plain, **dict.fromkeys(pixels)}


def test_the_size_of_a_model_counts_all_of_it(raw_images: ImageFolder) -> None:
    model = ArrayBundle(
        {**BANK.arrays, "whitening": np.zeros((6, 8, 8), np.float32)}, BANK.metadata
    )
    assert evaluate(raw_images)["bank_bytes"] == 6 * 8 * 2
    assert evaluate(raw_images, memory_bank=model)["bank_bytes"] == 6 * 8 * 2 + 6 * 64 * 4


def test_image_metrics_are_of_the_image_scores(raw_images: ImageFolder) -> None:
    metrics = evaluate(raw_images)
    # Of the four pairs of a defective and a normal image, 2.0 before 3.0 is the wrong one.
    assert metrics["image_auroc"] == pytest.approx(3 / 4)
    expected = average_precision_score(SCORES["label"], SCORES["score"])
    assert metrics["image_ap"] == pytest.approx(expected)
    # At 2.0 both defects are found, with one false alarm: F1 = 2 * 2 / (2 * 2 + 1 + 0).
    assert metrics["image_f1_max"] == pytest.approx(4 / 5)
    assert metrics["threshold"] == 2.0


@pytest.mark.parametrize(("threshold", "level"), [(1.0, 255), (0.5, 128)])
def test_pixel_metrics_follow_the_masks_threshold(
    threshold: float, level: int, raw_images: ImageFolder
) -> None:
    metrics = evaluate(raw_images, evaluation={**EVALUATION, "mask_threshold": threshold})
    masks, maps = pixels_of(raw_images, level)
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert metrics["pixel_ap"] == pytest.approx(
        average_precision_score(masks.ravel(), maps.ravel())
    )


@pytest.mark.parametrize("limit", [0.05, 0.3, 0.8])
def test_aupro_stops_at_its_limit(limit: float, raw_images: ImageFolder) -> None:
    metrics = evaluate(raw_images, evaluation={**EVALUATION, "aupro_limit": limit})
    assert metrics["aupro"] == pytest.approx(aupro_naively(*pixels_of(raw_images), limit), abs=1e-3)


def test_the_limit_and_the_masks_threshold_change_nothing_else(raw_images: ImageFolder) -> None:
    usual = evaluate(raw_images)
    limited = evaluate(raw_images, evaluation={**EVALUATION, "aupro_limit": 0.05})
    assert {key for key in usual if usual[key] != limited[key]} == {"aupro"}


@pytest.mark.parametrize("crop", [24, 32, 40])
def test_masks_and_maps_are_in_the_geometry_of_the_input(
    crop: int, raw_images: ImageFolder
) -> None:
    metrics = evaluate(raw_images, preprocessing={**PREPROCESSING, "crop": crop})
    masks, maps = pixels_of(raw_images, crop=crop)
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))


@pytest.mark.parametrize("changes", [{"resize": 64}, {"pad": 48}])
def test_resizing_and_padding_reach_the_masks(
    changes: dict[str, Any], raw_images: ImageFolder
) -> None:
    usual = evaluate(raw_images)
    other = evaluate(raw_images, preprocessing={**PREPROCESSING, **changes})
    assert usual["pixel_auroc"] != other["pixel_auroc"]
    assert usual["image_auroc"] == other["image_auroc"]


def test_without_masks_there_are_no_pixel_metrics(raw_images: ImageFolder) -> None:
    metrics = evaluate(raw_images, image_scores=SCORES.assign(mask=None))
    assert metrics["pixel_auroc"] is metrics["pixel_ap"] is metrics["aupro"] is None
    assert metrics["image_auroc"] == pytest.approx(3 / 4)


def test_pixel_metrics_are_of_the_images_whose_anomalous_pixels_are_known(
    raw_images: ImageFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """An anomalous image without a mask is left out, not taken for a normal one, and named."""
    bare = SCORES.assign(mask=[None, "b.png", None, None])
    metrics = evaluate(raw_images, image_scores=bare)
    masks, maps = (part[:3] for part in pixels_of(raw_images, 255))
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert f"1 anomalous images have no mask, such as {SCORES['image'][3]}" in caplog.text


def test_images_and_vectors_are_counted(raw_images: ImageFolder) -> None:
    metrics = evaluate(raw_images)
    assert (metrics["num_train"], metrics["num_test"]) == (3, 4)
    assert (metrics["bank_size"], metrics["bank_bytes"]) == (6, 6 * 8 * 2)


def test_the_banks_covering_radius_is_told(raw_images: ImageFolder) -> None:
    assert evaluate(raw_images)["covering_radius"] == 2.5


def test_the_rate_is_over_the_time_of_encoding_and_of_scoring(raw_images: ImageFolder) -> None:
    # The test images took 6 s to encode, and 2 s to score.
    assert evaluate(raw_images)["images_per_second"] == pytest.approx(4 / (6 + 2))


def test_only_an_approximate_search_has_a_recall(raw_images: ImageFolder) -> None:
    assert "search_recall" not in evaluate(raw_images)
    assert evaluate(raw_images, patch_scores=bundle(0.75))["search_recall"] == 0.75


def test_pixel_metrics_are_of_the_patch_scores(raw_images: ImageFolder) -> None:
    other = evaluate(raw_images, patch_scores=bundle(patch_scores=PATCH_SCORES[::-1].copy()))
    assert other["pixel_auroc"] != evaluate(raw_images)["pixel_auroc"]


# --- all categories -------------------------------------------------------------------------------

TASK = {
    "task": "defect",
    "categories": {"wing_nut": {"name": "wing nut"}, "bolt": {"name": "bolt"}},
}


def test_metrics_of_all_categories_are_put_together_in_the_tasks_order() -> None:
    metrics = collect_metrics(
        TASK,
        metrics_bolt={"image_auroc": 0.5, "threshold": 9.0},
        metrics_wing_nut={"image_auroc": 0.9, "threshold": 1.0},
    )
    assert metrics["mean"] == pytest.approx({"image_auroc": 0.7})
    assert metrics["std"] == pytest.approx({"image_auroc": 0.2})
    assert list(metrics["categories"].items()) == [
        ("wing nut", {"image_auroc": 0.9, "threshold": 1.0}),
        ("bolt", {"image_auroc": 0.5, "threshold": 9.0}),
    ]


# --- the leaderboard ------------------------------------------------------------------------------


def parameters_of(shipped: Parameters, dataset: str, backbone: str) -> dict[str, Any]:
    return shipped.model_copy(update={"dataset": dataset, "backbone": backbone}).resolved()


METRICS = {
    "mean": {"image_auroc": 0.7},
    "std": {"image_auroc": 0.2},
    "categories": {"screw": {"image_auroc": 0.9}, "bottle": {"image_auroc": 0.5}},
}


def test_the_leaderboard_has_a_row_per_category_then_mean_and_deviation(
    shipped: Parameters,
) -> None:
    table = rank_categories(METRICS, TASK, parameters_of(shipped, "folder", "custom"))
    assert table.values.tolist() == [["screw", 0.9], ["bottle", 0.5], ["mean", 0.7], ["std", 0.2]]
    assert list(table.columns) == ["category", "image_auroc"]


@pytest.mark.parametrize(
    ("dataset", "backbone", "screw"),
    [("mvtec", "dino_vitb8", 0.9615), ("mvtec", "ibot_vitb16", 0.964)],
)
def test_the_papers_numbers_are_those_of_data_set_and_backbone(
    dataset: str, backbone: str, screw: float, shipped: Parameters
) -> None:
    table = rank_categories(METRICS, TASK, parameters_of(shipped, dataset, backbone))
    assert list(table.columns) == ["category", "image_auroc", "paper", "difference"]
    assert table["paper"][:2].tolist() == [screw, 1.0]
    assert table["difference"][:2].tolist() == pytest.approx([0.9 - screw, 0.5 - 1.0])


@pytest.mark.parametrize(
    ("task", "dataset", "backbone"),
    [
        ("semantic", "mvtec", "dino_vitb8"),
        ("defect", "folder", "dino_vitb8"),
        ("defect", "mvtec", "custom"),
    ],
)
def test_what_the_paper_did_not_run_stands_alone(
    task: str, dataset: str, backbone: str, shipped: Parameters
) -> None:
    parameters = parameters_of(shipped, dataset, backbone)
    assert "paper" not in rank_categories(METRICS, {**TASK, "task": task}, parameters)


def test_other_settings_than_the_papers_stand_alone(shipped: Parameters) -> None:
    parameters = parameters_of(shipped, "mvtec", "dino_vitb8")
    parameters["bpm"]["mode"] = "off"
    assert "paper" not in rank_categories(METRICS, TASK, parameters)


def test_scores_of_an_earlier_run_on_other_images_are_refused(raw_images: ImageFolder) -> None:
    """Patch scores, image scores and the list of images must be of the same images."""
    other = SCORES.assign(content_hash=["#a", "#b", "#c", "#new"])
    newer = IMAGES.replace({"content_hash": {"#d": "#new"}})
    for changes in ({"image_scores": other}, {"images": newer}):
        with pytest.raises(InputError, match="of other images than those listed now"):
            evaluate(raw_images, **changes)


@pytest.mark.parametrize(
    "vectors",
    [np.ones((6, 8), np.float16), np.zeros((5, 8), np.float16), np.zeros((6, 8), np.float32)],
)
def test_scores_of_another_memory_bank_are_refused(
    raw_images: ImageFolder, vectors: np.ndarray
) -> None:
    """Of the same images: an earlier run made the bank anew and not the scores."""
    bank = ArrayBundle({**BANK.arrays, "memory_bank": vectors}, BANK.metadata)
    with pytest.raises(InputError, match="are of another memory bank: run the task from the"):
        evaluate(raw_images, memory_bank=bank)
