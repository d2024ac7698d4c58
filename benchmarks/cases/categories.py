"""Whole categories, from image files to metrics."""

from __future__ import annotations

import functools
import importlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Agreement, Arrays, Case, Settings, Workload
from benchmarks.cases.encoding import ATTENTION_LAYER, LAYERS, SIDE, best_rate, flops
from benchmarks.inputs import draw_classes, draw_defects

RATIO = 0.1
DIM = 768
SEED = 0
IMAGE_TOLERANCE = 0.02
"""Of AUROC; one pair of images of the category is 0.01."""
PIXEL_TOLERANCE = 0.005


def _backbone(patch: int) -> Any:
    from uniformaly_pipeline.features.backbone import UNTRAINED, Backbone

    return Backbone(f"vit_base_patch{patch}_224", UNTRAINED, layers=LAYERS)


def _authors_detector(patch: int) -> Any:
    from benchmarks.authors_schedule import AuthorsDetector, AuthorsEncoder
    from uniformaly_pipeline.features.backbone import load_backbone
    from uniformaly_pipeline.features.encoder import choose_num_workers

    model = load_backbone(_backbone(patch), (SIDE, SIDE), SEED)
    encoder = AuthorsEncoder(model, LAYERS, ATTENTION_LAYER)
    return AuthorsDetector(encoder, num_workers=choose_num_workers("auto"))


def _projection() -> np.ndarray:
    from uniformaly_pipeline.memory_bank.coreset import PROJECTION_DIM, random_projection

    return random_projection(DIM, PROJECTION_DIM, SEED)


def _stream(folder: Any, manifest: Any, patch: int) -> Any:
    """Load the model for all images of a manifest, with the settings a run has by default."""
    from uniformaly_pipeline.features.extraction import feature_stream
    from uniformaly_pipeline.features.masking import BackPatchMasking
    from uniformaly_pipeline.features.preprocessing import Preprocessing

    images = dict(zip(manifest["content_hash"], manifest["image"], strict=True))
    masking = BackPatchMasking()
    return feature_stream(
        folder, images, _backbone(patch), Preprocessing(), masking, device="cpu", seed=SEED
    )


def _encode(stream: Any, store: Path) -> Any:
    from uniformaly_pipeline.features.store import FeatureStore
    from uniformaly_pipeline.features.store_update import update_store

    shutil.rmtree(store, ignore_errors=True)
    update_store(store, stream)
    return FeatureStore(store)


def _score(images: Any, features: Any) -> tuple[Any, Any]:
    """A category's memory bank, patch scores and image scores, as a run's nodes make them."""
    from uniformaly_pipeline.features.masking import BackPatchMasking
    from uniformaly_pipeline.memory_bank.bank import build_memory_bank
    from uniformaly_pipeline.pipelines.scoring.nodes import score_test_images
    from uniformaly_pipeline.scoring.patches import score_patches

    hashes = {split: list(rows["content_hash"]) for split, rows in images.groupby("split")}
    masking = BackPatchMasking()
    bank = build_memory_bank(
        features, hashes["train"], masking, coreset_ratio=RATIO, seed=SEED
    ).arrays["memory_bank"]
    patch_scores = score_patches(features, hashes["test"], bank, masking)
    return patch_scores, score_test_images(images, patch_scores, {"top_k_ratio": 0.05})


# --- defect: a category with masks ----------------------------------------------------------------


def _num_images(settings: Settings) -> tuple[int, int, int]:
    """Train, good and defective images."""
    return (4, 2, 2) if settings.quick else (20, 10, 10)


def _defect_folder(settings: Settings) -> Path:
    root = settings.folder / "defect"
    draw_defects(root, *_num_images(settings))
    return root


def _defect_authors(settings: Settings, patch: int) -> Workload:
    from benchmarks.authors_schedule import Sample, auroc

    plate = _defect_folder(settings) / "plate"
    normal = [Sample(path) for path in sorted((plate / "train/good").iterdir())]
    tested = [Sample(path) for path in sorted((plate / "test/good").iterdir())]
    for path in sorted((plate / "test/stain").iterdir()):
        tested.append(Sample(path, 1, plate / f"ground_truth/stain/{path.stem}_mask.png"))

    def run() -> dict[str, Any]:
        detector = _authors_detector(patch)
        detector.fit(normal, RATIO, _projection(), SEED)
        found = detector.predict(tested)
        labels = np.array([sample.label for sample in tested])
        return {
            "scores": found.scores,
            "image_auroc": auroc(labels, found.scores),
            "pixel_auroc": auroc(found.masks, found.maps),
        }

    return Workload(
        run,
        f"{len(normal)} train and {len(tested)} test images, ViT-B/{patch}, image by image",
        arrays=lambda result: {name: np.array(value) for name, value in result.items()},
    )


def _import_all() -> None:
    """What ours imports when it is first needed, so that imports count on neither side."""
    for name in (
        "features.extraction",
        "pipelines.memory_bank.nodes",
        "pipelines.scoring.nodes",
        "pipelines.evaluation.nodes",
    ):
        importlib.import_module(f"uniformaly_pipeline.{name}")
    for name in ("faiss", "sklearn.metrics", "timm", "torch"):
        importlib.import_module(name)


def _defect_ours(settings: Settings, patch: int) -> Workload:
    from uniformaly_pipeline.ingestion.images import ImageFolder
    from uniformaly_pipeline.ingestion.layouts import folder as layout
    from uniformaly_pipeline.ingestion.layouts.interface import Split
    from uniformaly_pipeline.ingestion.manifest import build_manifest, select_defects

    root = _defect_folder(settings)
    _import_all()

    def run() -> dict[str, Any]:
        folder = ImageFolder(str(root))
        manifest = build_manifest(folder, layout.read(folder, ["plate"], Split()))
        features = _encode(_stream(folder, manifest, patch), settings.folder / "store")
        images = select_defects(manifest, ["plate"], ["plate"])
        patch_scores, image_scores = _score(images, features)
        return _evaluate(folder, patch_scores, image_scores)

    count = sum(_num_images(settings))
    return Workload(
        run,
        f"{count} images, ViT-B/{patch}, files, manifest, feature store and all figures included",
        limit=lambda: count * flops(patch) / best_rate(patch),
        arrays=lambda result: {name: np.array(value) for name, value in result.items()},
    )


def _evaluate(folder: Any, patch_scores: Any, image_scores: Any) -> dict[str, Any]:
    from uniformaly_pipeline.evaluation.category import (
        anomaly_maps,
        ground_truths,
        image_metrics,
        pixel_metrics,
    )
    from uniformaly_pipeline.features.preprocessing import Preprocessing

    preprocessing = Preprocessing()
    masks = ground_truths(folder, image_scores.assign(mask_hash=None), preprocessing)
    maps = anomaly_maps(patch_scores.arrays["patch_scores"], preprocessing)
    # Good images come before stained ones on the authors' side.
    ordered = image_scores.sort_values(["label", "image"])
    return {
        "scores": ordered["score"].to_numpy(),
        "image_auroc": image_metrics(image_scores)["image_auroc"],
        "pixel_auroc": pixel_metrics(masks, maps)["pixel_auroc"],
    }


def _compare_figures(_settings: Settings, authors: Arrays, ours: Arrays) -> Agreement:
    """Metrics within a tolerance; scores are reported.

    Half-precision features may change which of two nearly equally far patches enters the bank.
    """
    tolerances = {"image_auroc": IMAGE_TOLERANCE, "pixel_auroc": PIXEL_TOLERANCE}
    details: dict[str, Any] = {}
    for name in ours:
        details[f"authors_{name}"], details[f"our_{name}"] = authors[name], ours[name]
    details = {name: value.tolist() for name, value in details.items() if value.ndim == 0}
    if "scores" in ours:
        relative = np.abs(ours["scores"] / authors["scores"] - 1)
        details["scores_relative_difference"] = float(relative.max())
    errors = {name: np.abs(authors[name] - ours[name]).max() for name in tolerances if name in ours}
    return Agreement(all(errors[name] <= tolerances[name] for name in errors), details)


# --- semantic: classes that share a test set ------------------------------------------------------

CLASSES = tuple(f"class_{number}" for number in range(10))
FULL_TEST = 1000
"""Test images that the case stands for."""


def _class_sizes(settings: Settings) -> tuple[int, int]:
    """Train and test images a class that are measured."""
    return (2, 1) if settings.quick else (10, 6)


@dataclass(frozen=True)
class _Stages:
    """Seconds of the parts of a run that grow with different numbers of images.

    Attributes:
        once: Loading the model.
        train: Grows with the train images.
        encoding: Grows with all images; the authors encode nothing apart from the rest.
        test: Grows with the test images.
        aurocs: Image AUROC by class.
    """

    once: float
    train: float
    encoding: float
    test: float
    aurocs: list[float]


def _whole(stages: _Stages, settings: Settings, measured_classes: int) -> float:
    """Seconds for ten classes and the whole test set, each part linear in its images."""
    train, test = (count * len(CLASSES) for count in _class_sizes(settings))
    encoding = stages.encoding * (train + FULL_TEST) / (train + test)
    by_class = stages.train + stages.test * FULL_TEST / test
    return stages.once + encoding + by_class * len(CLASSES) / measured_classes


def _classes_folder(settings: Settings) -> Path:
    root = settings.folder / "classes"
    draw_classes(root, CLASSES, *_class_sizes(settings))
    return root


def _semantic_authors(settings: Settings) -> Workload:
    from benchmarks.authors_schedule import Sample, auroc

    root = _classes_folder(settings)
    normal = [Sample(path) for path in sorted((root / "train" / CLASSES[0]).iterdir())]
    tested = [
        Sample(path, int(name != CLASSES[0]))
        for name in CLASSES
        for path in sorted((root / "test" / name).iterdir())
    ]

    def run() -> _Stages:
        start = time.perf_counter()
        detector = _authors_detector(16)
        loaded = time.perf_counter()
        detector.fit(normal, RATIO, _projection(), SEED)
        fitted = time.perf_counter()
        found = detector.predict(tested)
        figure = auroc(np.array([sample.label for sample in tested]), found.scores)
        end = time.perf_counter()
        return _Stages(loaded - start, fitted - loaded, 0.0, end - fitted, [figure])

    return Workload(
        run,
        f"1 class of 10, {len(normal)} train and {len(tested)} test images; the time is "
        f"extrapolated to 10 classes and {FULL_TEST:,} test images",
        seconds=lambda _, stages: _whole(stages, settings, measured_classes=1),
        arrays=lambda stages: {"image_auroc": np.array(stages.aurocs[0])},
    )


def _semantic_ours(settings: Settings) -> Workload:
    from uniformaly_pipeline.evaluation.category import image_metrics
    from uniformaly_pipeline.ingestion.images import ImageFolder
    from uniformaly_pipeline.ingestion.manifest import ImageRecord, build_manifest, select_classes

    root = _classes_folder(settings)
    paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    records = [ImageRecord(path.as_posix(), path.parts[1], path.parts[0]) for path in paths]
    _import_all()

    def run() -> _Stages:
        start = time.perf_counter()
        folder = ImageFolder(str(root))
        manifest = build_manifest(folder, records)
        listed = time.perf_counter()
        stream = _stream(folder, manifest, 16)
        loaded = time.perf_counter()
        features = _encode(stream, settings.folder / "store")
        encoded = time.perf_counter()
        figures = []
        for name in CLASSES:
            images = select_classes(manifest, [name])
            _, image_scores = _score(images, features)
            figures.append(image_metrics(image_scores)["image_auroc"] or 0.0)
        # Banks are counted with the tests: they are small, and that is to our disadvantage.
        encoding = listed - start + encoded - loaded
        return _Stages(loaded - listed, 0.0, encoding, time.perf_counter() - encoded, figures)

    return Workload(
        run,
        f"10 classes, {len(records)} images, each encoded once; the time is extrapolated to "
        f"{FULL_TEST:,} test images",
        seconds=lambda _, stages: _whole(stages, settings, measured_classes=len(CLASSES)),
        limit=lambda: len(records) * flops(16) / best_rate(16),
        arrays=lambda stages: {"image_auroc": np.array(stages.aurocs[0])},
        details=lambda: {"train_images": _class_sizes(settings)[0] * len(CLASSES)},
    )


def _defect_case(name: str, patch: int, quick: bool) -> Case:
    return Case(
        name=name,
        authors=functools.partial(_defect_authors, patch=patch),
        ours=functools.partial(_defect_ours, patch=patch),
        compare=_compare_figures,
        limit="float32 GEMM of encoding",
        note="random weights: no patch is background, so nothing is masked",
        repeats=2,
        quick=quick,
        decodes=True,
    )


CASES = [
    _defect_case("defect_category", 8, quick=False),
    _defect_case("defect_category_b16", 16, quick=True),
    Case(
        name="semantic_10",
        authors=_semantic_authors,
        ours=_semantic_ours,
        compare=_compare_figures,
        limit="float32 GEMM of encoding",
        note="measured on 60 test images, fewer with --quick, and one class (authors) or all ten "
        f"(ours), extrapolated linearly to 10 classes and {FULL_TEST:,} test images",
        repeats=2,
        decodes=True,
    ),
]
