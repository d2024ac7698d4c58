"""Nodes of the paper stage."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.leaderboard import MANY_CATEGORIES
from uniformaly_pipeline.evaluation.paper.coverage import TEXTURES
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.parameters.current_run import settings_of
from uniformaly_pipeline.pipelines.by_category import by_category
from uniformaly_pipeline.reporting.figures.attention import attention_histogram, smoothed_attention
from uniformaly_pipeline.reporting.page.page import sections_from_json
from uniformaly_pipeline.reporting.paper.items import PaperResults, paper_items
from uniformaly_pipeline.reporting.paper.page import render_paper

Figure = Any
"""A matplotlib figure: Kedro reads type hints as it starts, and importing it takes a while."""


def draw_attention_of_textures(
    features: FeatureStore,
    bpm: dict[str, Any],
    task: dict[str, Any],
    parameters: dict[str, Any],
    **image_scores: Any,
) -> Figure:
    """How smoothed attention is distributed in textures and in objects (Fig. 11).

    It is that of normal test images.

    Args:
        features: The feature store.
        bpm: ``bpm``.
        task: ``params:run.paper``.
        parameters: All parameters; the data set is one of :data:`.coverage.TEXTURES`.
        image_scores: ``image_scores_<namespace>`` of each category.
    """
    masking, textures = BackPatchMasking(**bpm), TEXTURES[parameters["dataset"]]
    groups: dict[str, list[np.ndarray]] = {}
    for name, table in by_category(task, "image_scores", image_scores).items():
        normal: pd.DataFrame = table[table["label"] == 0]
        smoothed = smoothed_attention(features, list(normal["content_hash"]), masking.kernel_size)
        if smoothed.size:
            groups.setdefault("textures" if name in textures else "objects", []).append(smoothed)
    together = {name: np.concatenate(groups[name]) for name in sorted(groups)}
    return attention_histogram(together, masking.threshold)


def collect_items(
    parameters: dict[str, Any],
    task: dict[str, Any],
    attention_histogram: bytes | None = None,
    **results: Any,
) -> list[dict[str, Any]]:
    """Every table and figure of the paper with what became of it, as JSON.

    Args:
        parameters: All parameters.
        task: ``params:run.paper``.
        attention_histogram: How the attention is distributed (PNG), where masking heeds it.
        results: ``<task>_leaderboard`` and ``<task>_sections`` of tasks, ``gallery_<namespace>``
            and ``cluster_maps_<namespace>`` of categories; of more than
            :data:`.leaderboard.MANY_CATEGORIES` the first are shown.

    Returns:
        See :func:`.items.paper_items`.
    """

    def of_categories(artifact: str) -> dict[str, Any]:
        if not any(name.startswith(f"{artifact}_") for name in results):
            return {}
        return dict(islice(by_category(task, artifact, results).items(), MANY_CATEGORIES))

    def of_tasks(artifact: str) -> dict[str, Any]:
        suffix = f"_{artifact}"
        return {
            name.removesuffix(suffix): value
            for name, value in results.items()
            if name.endswith(suffix) and name.removesuffix(suffix) in task["tasks"]
        }

    return paper_items(
        PaperResults(
            dataset=parameters["dataset"],
            kind="defects" if task["has_clusters"] else "classes",
            leaderboards=of_tasks("leaderboard"),
            sections={
                name: sections_from_json(stored) for name, stored in of_tasks("sections").items()
            },
            galleries=of_categories("gallery"),
            attention=attention_histogram,
            cluster_maps=of_categories("cluster_maps"),
            left_out=task["left_out"],
        )
    )


def write_paper(
    items: list[dict[str, Any]], parameters: dict[str, Any], task: dict[str, Any]
) -> str:
    """Put the paper's tables and figures on one self-contained HTML page.

    Args:
        items: See :func:`collect_items`.
        parameters: All parameters.
        task: ``params:run.paper``: title, names, command and notes.
    """
    data_set = parameters["datasets"][parameters["dataset"]]
    return render_paper(
        items,
        title=task["title"],
        dataset=task["names"]["dataset"],
        backbone=task["names"]["backbone"],
        parameters=settings_of(parameters),
        command=task["command"],
        notes=task["notes"],
        facts={
            "Settings": task["names"]["run_key"],
            "Field of view": str(Preprocessing(**data_set["preprocessing"])),
        },
    )
