"""Nodes of the reporting stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.by_category import ByCategory
from uniformaly_pipeline.evaluation.category import (
    check_same_scores,
    ground_truth,
    map_size,
    shown_part,
)
from uniformaly_pipeline.evaluation.leaderboard import MANY_CATEGORIES, hardest
from uniformaly_pipeline.evaluation.metrics import OVER_SEEDS
from uniformaly_pipeline.features.masking import BackPatchMasking, smooth_attention
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.view import frame_view
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import levels_of, sizes_of
from uniformaly_pipeline.ingestion.regions import regions_of
from uniformaly_pipeline.memory_bank.bank import bank_images
from uniformaly_pipeline.parameters.current_run import settings_of
from uniformaly_pipeline.pipelines.by_category import by_category, category_names
from uniformaly_pipeline.pipelines.chunks import per_category
from uniformaly_pipeline.reporting.figures.attention import (
    attention_histogram,
    most_different,
    smoothed_attention,
)
from uniformaly_pipeline.reporting.figures.clusters import bank_figure, embed_2d
from uniformaly_pipeline.reporting.figures.interactive import (
    all_roc_curves,
    all_score_plots,
    roc_plot,
    score_plot,
)
from uniformaly_pipeline.reporting.gallery.drawing import draw_attention
from uniformaly_pipeline.reporting.gallery.selection import (
    GalleryImage,
    build_gallery,
    show_attention,
    show_place,
)
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
    shown_apart,
)
from uniformaly_pipeline.scoring.scores import anomaly_map, check_same_images, spread_patches

BRIGHTEST = 0.995
"""Share of a category's patch scores below the heat maps' brightest colour."""


BANK_VECTORS_SHOWN = 1500
"""t-SNE takes seconds for these, minutes for many more."""

Plot = Any
"""A plotly figure: Kedro reads type hints as it starts, and importing plotly takes a while."""

Figure = Any
"""A matplotlib figure, likewise."""

CATEGORY_FIGURES = ("cluster_figure", "cluster_sheet")
"""Pictures of a category that the report shows, by their names in the catalog."""


@per_category
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
    # A Gaussian is of all images.
    classes = [
        "all classes" if source < 0 else class_of[hashes[source]] for source in sources[shown]
    ]
    count = f"{len(shown):,} of {len(vectors):,} vectors"
    return bank_figure(embed_2d(vectors[shown], seed), classes, f"{category['name']}: {count}")


@per_category
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
    check_same_images(patch_scores, image_scores["content_hash"])
    geometry = Preprocessing(**preprocessing)
    masking = BackPatchMasking(**bpm)
    grids = patch_scores.arrays["patch_scores"]
    grid_size = (grids.shape[1], grids.shape[2])
    size = map_size(grid_size, geometry, features.grid)
    position = {image: row for row, image in enumerate(image_scores["image"])}
    mask_of = image_scores.set_index("image")["mask"].dropna().to_dict()
    hash_of = images.set_index("image")["content_hash"].to_dict()
    levels = levels_of(images)

    sizes, regions = sizes_of(images), regions_of(images)

    def shown(image: str, pixels: np.ndarray) -> np.ndarray:
        return shown_part(pixels, geometry, sizes[image]) if geometry.sees_all else pixels

    def map_of(image: str) -> np.ndarray:
        return shown(image, anomaly_map(grids[position[image]], grid_size, size))

    def foreground_of(image: str) -> np.ndarray:
        grid = features.foreground([hash_of[image]], masking, grid_size)
        return shown(image, spread_patches(grid.reshape(grid_size), size))

    def attention_of(image: str) -> dict[str, bytes]:
        grid = features.attention([hash_of[image]], grid_size)
        smoothed = smooth_attention(grid, masking.kernel_size)
        spread = (shown(image, spread_patches(each[0], size)) for each in (grid, smoothed))
        return draw_attention(pixels_of(image), *spread)

    def pixels_of(image: str) -> np.ndarray:
        read = raw_images.read_image(image, levels.get(image), hash_of[image])
        return shown(image, np.asarray(geometry.fit_image(read)))

    def whole(image: str) -> np.ndarray:
        return np.asarray(raw_images.read_image(image, levels.get(image), hash_of[image]))

    gallery = build_gallery(
        image_scores,
        category=category["name"],
        threshold=metrics["threshold"],
        vmax=float(np.nanquantile(grids, BRIGHTEST)) if grids.size else 0.0,
        limit=gallery_images,
        load_image=pixels_of,
        load_mask=lambda image: (
            ground_truth(
                raw_images,
                mask_of[image],
                geometry,
                threshold=0.5,
                image_size=sizes[image] if geometry.sees_all else None,
            )
            if image in mask_of
            else None
        ),
        anomaly_map=map_of,
        foreground=foreground_of,
    )
    if masking.heeds_attention:
        gallery = show_attention(gallery, attention_of)
    return show_place(
        gallery,
        whole,
        lambda image: frame_view(sizes[image], geometry, regions.get(image), features.grid),
    )


def _only(names: Sequence[str], of_category: Mapping[str, Any]) -> dict[str, Any]:
    """What is of some categories."""
    return {name: of_category[name] for name in names}


def _shown(task: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """The categories that the report shows, in order: of very many the hardest."""
    names = category_names(task)
    chosen = set(hardest(metrics) if len(names) > MANY_CATEGORIES else names)
    return [name for name in names if name in chosen]


@per_category
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

    Where there are too many to be told apart, those of the first
    :data:`.leaderboard.MANY_CATEGORIES`.

    Args:
        task: ``params:run.<task>``.
        plots: ``roc_plot_<namespace>`` and ``score_plot_<namespace>`` of each category.
    """
    shown = category_names(task)[:MANY_CATEGORIES]
    return (
        all_roc_curves(_only(shown, by_category(task, "roc_plot", plots))),
        all_score_plots(_only(shown, by_category(task, "score_plot", plots))),
    )


def draw_attention_histogram(
    features: FeatureStore,
    metrics: dict[str, Any],
    bpm: dict[str, Any],
    task: dict[str, Any],
    **image_scores: Any,
) -> Figure:
    """How the smoothed attention of each category's patches is distributed (Fig. 11).

    It is that of the normal test images, or of all where there is none. Which categories are
    shown, where there are too many: of those that the report shows, see
    :func:`.attention.most_different`.

    Args:
        features: The feature store.
        metrics: The task's metrics.
        bpm: ``bpm``.
        task: ``params:run.<task>``.
        image_scores: ``image_scores_<namespace>`` of each category.
    """
    masking = BackPatchMasking(**bpm)

    def of_images(table: pd.DataFrame) -> np.ndarray:
        normal = table[table["label"] == 0]
        hashes = (table if normal.empty else normal)["content_hash"].unique()
        return smoothed_attention(features, hashes, masking.kernel_size)

    of_category = by_category(task, "image_scores", image_scores)
    groups = {name: of_images(of_category[name]) for name in _shown(task, metrics)}
    return attention_histogram(most_different(groups, masking.threshold), masking.threshold)


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


def write_multiclass_ablation_sections(
    sweep_metrics: pd.DataFrame, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """Metrics by parameter with banks of many classes, see :func:`.sections.ablation_sections`."""
    return sections_to_json(ablation_sections(parameters, sweep_metrics, "multiclass_ablation"))


def write_multiclass_sections(**bank_figures: Any) -> list[dict[str, Any]]:
    """What the memory banks hold, see :func:`.sections.multiclass_sections`, as JSON.

    Args:
        bank_figures: A picture (PNG) of each memory bank, or those of the categories of a chunk;
            the first :data:`.leaderboard.MANY_CATEGORIES` are shown.
    """
    pictures = chain.from_iterable(
        given.values() if isinstance(given, ByCategory) else [given]
        for given in bank_figures.values()
    )
    return sections_to_json(multiclass_sections(*islice(pictures, MANY_CATEGORIES)))


def write_report(
    metrics: dict[str, Any],
    leaderboard: pd.DataFrame,
    parameters: dict[str, Any],
    task: dict[str, Any],
    sections: Sequence[dict[str, Any]] = (),
    attention_histogram: bytes | None = None,
    **artifacts: Any,
) -> str:
    """Put a task's metrics, galleries and settings on one self-contained HTML page.

    Where there are more than :data:`.leaderboard.MANY_CATEGORIES` it shows the images, decisions
    and figures of the hardest, and says so.

    Args:
        metrics: The task's metrics.
        leaderboard: The task's leaderboard.
        parameters: All parameters.
        task: ``params:run.<task>``: title, names, command, notes and categories.
        sections: The task's own part of the report, as JSON.
        attention_histogram: How the attention is distributed (PNG), where masking heeds it.
        artifacts: ``gallery_<namespace>``, ``image_scores_<namespace>`` and, where the task draws
            them, ``cluster_figure_<namespace>`` and ``cluster_sheet_<namespace>`` of each category.

    Returns:
        The page.

    Raises:
        InputError: The metrics are of other scores than those that are shown.
    """
    names, shown = category_names(task), _shown(task, metrics)
    image_scores = _only(shown, by_category(task, "image_scores", artifacts))
    for name, scores in image_scores.items():
        check_same_scores(metrics["categories"][name], scores)
    data_set = parameters["datasets"][parameters["dataset"]]
    facts = {
        "Settings": task["names"]["run_key"],
        "Field of view": str(Preprocessing(**data_set["preprocessing"])),
    }
    if any(name.endswith(OVER_SEEDS) for name in metrics["mean"]):
        facts["Seeds"] = (
            f"metrics are means over {', '.join(map(str, parameters['seeds']))}; images and "
            f"decisions are of seed {parameters['seed']}"
        )
    if len(shown) < len(names):
        facts["Shown below"] = (
            f"{len(shown)} of {len(names):,} categories, those with the lowest image AUROC; all "
            "are in leaderboard.csv"
        )
    figures = {
        name: _only(shown, by_category(task, name, artifacts))
        for name in CATEGORY_FIGURES
        if any(given.startswith(f"{name}_") for given in artifacts)
    }
    galleries, apart = shown_apart(
        _only(shown, by_category(task, "gallery", artifacts)), attention_histogram
    )
    return render_report(
        title=task["title"],
        task=task["task"],
        dataset=task["names"]["dataset"],
        backbone=task["names"]["backbone"],
        metrics=metrics,
        leaderboard=leaderboard,
        galleries=galleries,
        figures={
            name: {figure: of_category[name] for figure, of_category in figures.items()}
            for name in shown
        },
        image_scores=image_scores,
        parameters=settings_of(parameters),
        command=task["command"],
        notes=task["notes"],
        sections=[*sections_from_json(sections), *apart],
        facts=facts,
    )
