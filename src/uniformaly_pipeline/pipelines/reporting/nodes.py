"""Nodes of the reporting stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.evaluation.category import ground_truth
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import bank_images
from uniformaly_pipeline.reporting.figures.clusters import bank_figure, embed_2d
from uniformaly_pipeline.reporting.figures.interactive import (
    all_roc_curves,
    all_score_plots,
    roc_plot,
    score_plot,
    sweep_plot,
)
from uniformaly_pipeline.reporting.figures.score_curves import roc_figure, score_histogram
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage, build_gallery
from uniformaly_pipeline.reporting.page.page import ReportSection, render_report
from uniformaly_pipeline.scoring.scores import anomaly_map

BRIGHTEST = 0.995
"""Share of a category's patch scores below the heat maps' brightest colour."""


BANK_VECTORS_SHOWN = 1500
"""t-SNE takes seconds for these, minutes for many more."""


def draw_figures(
    image_scores: pd.DataFrame, metrics: dict[str, Any], category: str
) -> tuple[Figure, Figure]:
    """A category's ROC curve and score histogram."""
    return (
        roc_figure(image_scores, category),
        score_histogram(image_scores, category, metrics["threshold"]),
    )


def draw_bank(images: pd.DataFrame, memory_bank: ArrayBundle, seed: int, name: str) -> Figure:
    """A t-SNE embedding of a memory bank of many classes (Fig. 10).

    Args:
        images: The bank's images.
        memory_bank: The memory bank.
        seed: Seed of t-SNE and of the vectors shown, where there are too many.
        name: What the bank is of.
    """
    vectors, sources = memory_bank.arrays["memory_bank"], memory_bank.arrays["image"]
    shown = np.random.default_rng(seed).permutation(len(vectors))[:BANK_VECTORS_SHOWN]
    class_of = dict(zip(images["content_hash"], images["class"], strict=True))
    hashes = bank_images(memory_bank)
    classes = [class_of[hashes[source]] for source in sources[shown]]
    count = f"{len(shown):,} of {len(vectors):,} vectors"
    return bank_figure(embed_2d(vectors[shown], seed), classes, f"{name}: {count}")


def draw_gallery(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    image_scores: pd.DataFrame,
    metrics: dict[str, Any],
    dataset: dict[str, Any],
    bpm: dict[str, Any],
    reporting: dict[str, Any],
    category: str,
) -> list[GalleryImage]:
    """Draw a category's most telling test images, worst mistakes first.

    Args:
        raw_images: The data set's root.
        images: The category's images.
        features: The feature store, for the foreground.
        patch_scores: ``patch_scores`` [B, grid height, grid width].
        image_scores: A row per test image, in the same order.
        metrics: The category's metrics; the threshold tells right from wrong.
        dataset: ``datasets.<name>``.
        bpm: ``bpm``.
        reporting: ``reporting``.
        category: Name of the category.
    """
    preprocessing = Preprocessing(**dataset["preprocessing"])
    masking = BackPatchMasking(**bpm)
    size = preprocessing.input_size
    grids = patch_scores.arrays["patch_scores"]
    position = {image: row for row, image in enumerate(image_scores["image"])}
    mask_of = image_scores.set_index("image")["mask"].dropna().to_dict()
    hash_of = images.set_index("image")["content_hash"].to_dict()

    def map_of(image: str) -> np.ndarray:
        return anomaly_map(grids[position[image]], features.grid, size)

    def foreground_of(image: str) -> np.ndarray:
        grid = features.foreground([hash_of[image]], masking).reshape(features.grid)
        return _enlarge(grid, size)

    return build_gallery(
        image_scores,
        category=category,
        threshold=metrics["threshold"],
        vmax=float(np.quantile(grids, BRIGHTEST)) if grids.size else 0.0,
        limit=reporting["gallery_images"],
        load_image=lambda image: np.asarray(preprocessing.fit_image(raw_images.read_image(image))),
        load_mask=lambda image: (
            ground_truth(raw_images, mask_of[image], preprocessing, threshold=0.5)
            if image in mask_of
            else None
        ),
        anomaly_map=map_of,
        foreground=foreground_of,
    )


def _enlarge(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A grid [h, w] as pixels [H, W], each patch a block; H and W are multiples of h and w."""
    enlarged: np.ndarray = np.repeat(
        np.repeat(grid, size[0] // grid.shape[0], axis=0), size[1] // grid.shape[1], axis=1
    )
    return enlarged


def write_report(
    metrics: dict[str, Any],
    leaderboard: pd.DataFrame,
    *artifacts: Any,
    title: str,
    task: str,
    categories: Sequence[str],
    parameters: dict[str, Any],
    command: str,
    notes: Sequence[str],
    pictures: Sequence[str],
    num_extras: int = 0,
    sections: Callable[..., list[ReportSection]] | None = None,
) -> str:
    """Put a task's metrics, galleries and settings on one self-contained HTML page.

    Args:
        metrics: The task's metrics.
        leaderboard: The task's leaderboard.
        artifacts: First the task's extras, then each category's gallery, image scores and
            pictures, one category after another.
        title: Heading of the page.
        task: Name of the task.
        categories: Names of the categories, in the order of ``artifacts``.
        parameters: The resolved parameters.
        command: The command that repeats the run.
        notes: What the reader must know first.
        pictures: Names of each category's pictures.
        num_extras: How many extras there are.
        sections: Makes the task's own sections of the parameters and the extras.

    Returns:
        The page.
    """
    extras, rest = artifacts[:num_extras], artifacts[num_extras:]
    step = 2 + len(pictures)
    of_category = {
        category: rest[number * step : (number + 1) * step]
        for number, category in enumerate(categories)
    }
    return render_report(
        title=title,
        task=task,
        dataset=parameters["dataset"],
        backbone=parameters["backbone"],
        metrics=metrics,
        leaderboard=leaderboard,
        galleries={category: parts[0] for category, parts in of_category.items()},
        figures={
            category: dict(zip(pictures, parts[2:], strict=True))
            for category, parts in of_category.items()
        },
        image_scores={category: parts[1] for category, parts in of_category.items()},
        parameters=parameters,
        command=command,
        notes=notes,
        sections=sections(parameters, *extras) if sections else [],
    )


Plot = Any
"""A plotly figure: Kedro reads type hints as it starts, and importing plotly takes a while."""


def draw_plots(
    image_scores: pd.DataFrame, metrics: dict[str, Any], category: str
) -> tuple[Plot, Plot]:
    """A category's ROC curve and score histogram, to hover over."""
    return (
        roc_plot(image_scores, category),
        score_plot(image_scores, category, metrics["threshold"]),
    )


def collect_plots(*plots: Plot, categories: Sequence[str]) -> tuple[Plot, Plot]:
    """All categories' ROC curves in one figure, and their score histograms in another.

    Args:
        plots: First the ROC curves, then the histograms, in the order of ``categories``.
        categories: Names of the categories.
    """
    number = len(categories)
    return (
        all_roc_curves(dict(zip(categories, plots[:number], strict=True))),
        all_score_plots(dict(zip(categories, plots[number:], strict=True))),
    )


def draw_settings(settings: pd.DataFrame) -> Plot:
    """Metrics against each parameter under study, to hover over."""
    return sweep_plot(settings)
