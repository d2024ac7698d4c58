"""The reporting stage."""

from collections.abc import Sequence
from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.reporting.nodes import (
    collect_plots,
    draw_bank,
    draw_figures,
    draw_gallery,
    draw_plots,
    write_report,
)


def create_pipeline(dataset: str, category: str) -> Pipeline:
    """A category's scores and metrics to pictures.

    Args:
        dataset: A key of ``datasets``.
        category: Name of the category.
    """
    return Pipeline(
        [
            Node(
                bind(draw_figures, category=category),
                inputs=["image_scores", "metrics"],
                outputs=["roc_figure", "score_histogram"],
                name="draw_figures",
            ),
            Node(
                bind(draw_plots, category=category),
                inputs=["image_scores", "metrics"],
                outputs=["roc_plot", "score_plot"],
                name="draw_interactive_figures",
            ),
            Node(
                bind(draw_gallery, category=category),
                inputs=[
                    "raw_images",
                    "images",
                    "features",
                    "patch_scores",
                    "image_scores",
                    "metrics",
                    f"params:datasets.{dataset}",
                    "params:bpm",
                    "params:reporting",
                ],
                outputs="gallery",
                name="draw_gallery",
            ),
        ]
    )


def create_overview(task: str, categories: dict[str, str]) -> Pipeline:
    """All categories' interactive figures to one of each kind.

    Args:
        task: Name of the task, which is the namespace of its datasets.
        categories: Name of each category by its namespace.
    """
    plots = {
        f"{key}_{name}": f"{task}.{key}.{name}"
        for name in ("roc_plot", "score_plot")
        for key in categories
    }
    return Pipeline(
        [
            Node(
                bind(collect_plots, categories=list(categories.values())),
                inputs=list(plots),
                outputs=["roc_plots", "score_plots"],
                name="collect_interactive_figures",
            )
        ],
        inputs=plots,
        namespace=task,
    )


def create_bank_figure(name: str) -> Pipeline:
    """A memory bank of many classes to a picture of it.

    Args:
        name: What the bank is of.
    """
    return Pipeline(
        [
            Node(
                bind(draw_bank, name=name),
                inputs=["images", "memory_bank", "params:seed"],
                outputs="bank_figure",
                name="draw_memory_bank",
            )
        ]
    )


def create_report(
    task: str,
    categories: dict[str, str],
    pictures: Sequence[str] = (),
    extras: Sequence[str] = (),
    **settings: Any,
) -> Pipeline:
    """All categories' pictures and the leaderboard to the report.

    Args:
        task: Name of the task, which is the namespace of its datasets.
        categories: Name of each category by its namespace.
        pictures: Further pictures of each category, names in the catalog.
        extras: Datasets of the task that its own sections of the report are made of.
        settings: Title, parameters, command, notes and what makes the sections of the extras, see
            :func:`.nodes.write_report`.
    """
    names = ["gallery", "image_scores", *pictures]
    artifacts = {f"{key}_{name}": f"{task}.{key}.{name}" for key in categories for name in names}
    results = {
        name.replace(".", "_"): f"{task}.{name}" for name in ("metrics", "leaderboard", *extras)
    }
    report = bind(
        write_report,
        task=task,
        categories=list(categories.values()),
        pictures=list(pictures),
        num_extras=len(extras),
        **settings,
    )
    return Pipeline(
        [
            Node(
                report,
                inputs=[*results, *artifacts],
                outputs="report",
                name="write_report",
            )
        ],
        inputs=results | artifacts,
        namespace=task,
    )
