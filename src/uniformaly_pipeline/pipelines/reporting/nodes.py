"""Nodes of the reporting stage."""

from __future__ import annotations

from collections.abc import Sequence
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
from uniformaly_pipeline.parameters.current_run import settings_of
from uniformaly_pipeline.pipelines.by_category import by_category
from uniformaly_pipeline.reporting.figures.clusters import bank_figure, embed_2d
from uniformaly_pipeline.reporting.figures.interactive import (
    all_roc_curves,
    all_score_plots,
    roc_plot,
    score_plot,
)
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage, build_gallery
from uniformaly_pipeline.reporting.page.page import (
    render_report,
    sections_from_json,
    sections_to_json,
)
from uniformaly_pipeline.reporting.page.sections import (
    ablation_sections,
    clustering_sections,
    lowshot_sections,
    multiclass_sections,
)
from uniformaly_pipeline.scoring.scores import anomaly_map

BRIGHTEST = 0.995
"""Share of a category's patch scores below the heat maps' brightest colour."""


BANK_VECTORS_SHOWN = 1500
"""t-SNE takes seconds for these, minutes for many more."""

Plot = Any
"""A plotly figure: Kedro reads type hints as it starts, and importing plotly takes a while."""

CATEGORY_FIGURES = ("cluster_figure", "cluster_sheet")
"""Pictures of a category that the report shows, by their names in the catalog."""


def draw_bank(
    images: pd.DataFrame, memory_bank: ArrayBundle, seed: int, category: dict[str, Any]
) -> Figure:
    """A t-SNE embedding of a memory bank of many classes (Fig. 10).

    Args:
        images: The bank's images.
        memory_bank: The memory bank.
        seed: Seed of t-SNE and of the vectors shown, where there are too many.
        category: ``params:run.<task>.categories.<namespace>``, or a bank of ``banks``.
    """
    vectors, sources = memory_bank.arrays["memory_bank"], memory_bank.arrays["image"]
    shown = np.random.default_rng(seed).permutation(len(vectors))[:BANK_VECTORS_SHOWN]
    class_of = dict(zip(images["content_hash"], images["class"], strict=True))
    hashes = bank_images(memory_bank)
    classes = [class_of[hashes[source]] for source in sources[shown]]
    count = f"{len(shown):,} of {len(vectors):,} vectors"
    return bank_figure(embed_2d(vectors[shown], seed), classes, f"{category['name']}: {count}")


def draw_gallery(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    image_scores: pd.DataFrame,
    metrics: dict[str, Any],
    preprocessing: dict[str, Any],
    bpm: dict[str, Any],
    gallery_images: int,
    category: dict[str, Any],
) -> list[GalleryImage]:
    """Draw the test images of a category that say most about it, worst mistakes first.

    Args:
        raw_images: The data set's root.
        images: The category's images.
        features: The feature store, for the foreground.
        patch_scores: ``patch_scores`` [B, grid height, grid width].
        image_scores: A row per test image, in the same order.
        metrics: The category's metrics; the threshold tells right from wrong.
        preprocessing: ``datasets.<name>.preprocessing``: the images as the encoder sees them.
        bpm: ``bpm``.
        gallery_images: ``reporting.gallery_images``: most images to draw.
        category: ``params:run.<task>.categories.<namespace>``.
    """
    geometry = Preprocessing(**preprocessing)
    masking = BackPatchMasking(**bpm)
    size = geometry.input_size
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
        category=category["name"],
        threshold=metrics["threshold"],
        vmax=float(np.quantile(grids, BRIGHTEST)) if grids.size else 0.0,
        limit=gallery_images,
        load_image=lambda image: np.asarray(geometry.fit_image(raw_images.read_image(image))),
        load_mask=lambda image: (
            ground_truth(raw_images, mask_of[image], geometry, threshold=0.5)
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


def draw_plots(
    image_scores: pd.DataFrame, metrics: dict[str, Any], category: dict[str, Any]
) -> tuple[Plot, Plot]:
    """A category's ROC curve and score histogram, to hover over.

    Args:
        image_scores: A row per test image.
        metrics: The category's metrics; the threshold is drawn.
        category: ``params:run.<task>.categories.<namespace>``.
    """
    name = category["name"]
    return roc_plot(image_scores, name), score_plot(image_scores, name, metrics["threshold"])


def collect_plots(task: dict[str, Any], **plots: Plot) -> tuple[Plot, Plot]:
    """All categories' ROC curves in one figure, and their score histograms in another.

    Args:
        task: ``params:run.<task>``.
        plots: ``roc_plot_<namespace>`` and ``score_plot_<namespace>`` of each category.
    """
    return (
        all_roc_curves(by_category(task, "roc_plot", plots)),
        all_score_plots(by_category(task, "score_plot", plots)),
    )


def write_clustering_sections(
    sweep_metrics: pd.DataFrame, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """The comparison of features, see :func:`.sections.clustering_sections`, as JSON."""
    return sections_to_json(clustering_sections(parameters, sweep_metrics))


def write_lowshot_sections(
    sweep_metrics: pd.DataFrame, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """Metrics by the number of images, see :func:`.sections.lowshot_sections`, as JSON."""
    return sections_to_json(lowshot_sections(parameters, sweep_metrics))


def write_ablation_sections(
    sweep_metrics: pd.DataFrame, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """Metrics by parameter, see :func:`.sections.ablation_sections`, as JSON."""
    return sections_to_json(ablation_sections(parameters, sweep_metrics))


def write_multiclass_sections(**bank_figures: bytes) -> list[dict[str, Any]]:
    """What the memory banks hold, see :func:`.sections.multiclass_sections`, as JSON.

    Args:
        bank_figures: A picture (PNG) of each memory bank.
    """
    return sections_to_json(multiclass_sections(*bank_figures.values()))


def write_report(
    metrics: dict[str, Any],
    leaderboard: pd.DataFrame,
    parameters: dict[str, Any],
    task: dict[str, Any],
    sections: Sequence[dict[str, Any]] = (),
    **artifacts: Any,
) -> str:
    """Put a task's metrics, galleries and settings on one self-contained HTML page.

    Args:
        metrics: The task's metrics.
        leaderboard: The task's leaderboard.
        parameters: All parameters.
        task: ``params:run.<task>``: title, names, command, notes and categories.
        sections: The task's own part of the report, as JSON.
        artifacts: ``gallery_<namespace>``, ``image_scores_<namespace>`` and, where the task draws
            them, ``cluster_figure_<namespace>`` and ``cluster_sheet_<namespace>`` of each category.

    Returns:
        The page.
    """
    figures = {
        name: by_category(task, name, artifacts)
        for name in CATEGORY_FIGURES
        if any(given.startswith(f"{name}_") for given in artifacts)
    }
    names = [category["name"] for category in task["categories"].values()]
    return render_report(
        title=task["title"],
        task=task["task"],
        dataset=task["names"]["dataset"],
        backbone=task["names"]["backbone"],
        metrics=metrics,
        leaderboard=leaderboard,
        galleries=by_category(task, "gallery", artifacts),
        figures={
            name: {figure: of_category[name] for figure, of_category in figures.items()}
            for name in names
        },
        image_scores=by_category(task, "image_scores", artifacts),
        parameters=settings_of(parameters),
        command=task["command"],
        notes=task["notes"],
        sections=sections_from_json(sections),
        facts={"Settings": task["names"]["run_key"]},
    )
