"""The sweep stage."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.reporting.nodes import draw_settings
from uniformaly_pipeline.pipelines.sweep.nodes import summarise_categories


def create_pipeline(
    sweep: Callable[..., Any], dataset: str, backbone: str, coreset_ratio: float, clusters: bool
) -> Pipeline:
    """A category's images and features to every setting's metrics.

    Args:
        sweep: One of the sweeps in :mod:`.nodes`.
        dataset: A key of ``datasets``.
        backbone: A key of ``backbones``.
        coreset_ratio: Share of the patches in the memory bank.
        clusters: Whether test images can be grouped by kind as well.
    """
    bound = bind(
        sweep, coreset_ratio=coreset_ratio, dataset=dataset, backbone=backbone, clusters=clusters
    )
    return Pipeline(
        [
            Node(
                bound,
                inputs=["raw_images", "images", "features", "parameters"],
                outputs="sweep_metrics",
                name="try_every_setting",
            )
        ]
    )


def create_settings(task: str, categories: dict[str, str]) -> Pipeline:
    """All categories' metrics of every setting to their means.

    Args:
        task: Name of the task, which is the namespace of its datasets.
        categories: Name of each category by its namespace.
    """
    tables = {f"{key}_sweep": f"{task}.{key}.sweep_metrics" for key in categories}
    summarise = bind(
        summarise_categories,
        categories=list(categories.values()),
        spread_over_draws=task == "lowshot",
    )
    return Pipeline(
        [
            Node(
                summarise,
                inputs=list(tables),
                outputs="sweep_metrics",
                name="average_over_categories_by_setting",
            ),
            Node(
                draw_settings,
                inputs="sweep_metrics",
                outputs="sweep_plot",
                name="draw_curves_of_settings",
            ),
        ],
        inputs=tables,
        namespace=task,
    )
