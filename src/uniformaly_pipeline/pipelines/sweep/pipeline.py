"""The sweep stage."""

from collections.abc import Callable, Iterable
from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.by_category import inputs_by_category
from uniformaly_pipeline.pipelines.sweep.nodes import (
    draw_sweep,
    summarise_categories,
    sweep_ablation,
    sweep_many_classes,
    sweep_shared_bank,
    sweep_shots,
)

STAGE = "sweep"

SWEEPS: dict[str, Callable[..., Any]] = {
    "lowshot": sweep_shots,
    "ablation": sweep_ablation,
    "multiclass_ablation": sweep_many_classes,
}
"""What tries every setting of a task."""


def create_pipeline(task: str) -> Pipeline:
    """A category's images and features to every setting's metrics.

    Args:
        task: A key of :data:`SWEEPS`.
    """
    inputs = ["raw_images", "images", "features", "parameters"]
    if task == "ablation":
        inputs.append("params:task.has_clusters")
    node = Node(SWEEPS[task], inputs=inputs, outputs="sweep_metrics", name="try_every_setting")
    return Pipeline([node], tags=STAGE)


def create_shared(keys: Iterable[str], name: str) -> Pipeline:
    """The images of categories that share a memory bank to every setting's metrics on each.

    Args:
        keys: Namespaces of the categories, or of their chunks.
        name: Namespace of the bank.
    """
    node = Node(
        sweep_shared_bank,
        inputs={
            "raw_images": "raw_images",
            "features": "features",
            "parameters": "parameters",
            **inputs_by_category(keys, "images"),
        },
        outputs=inputs_by_category(keys, "sweep_metrics"),
        name=f"try_every_setting_of_{name}",
    )
    return Pipeline([node], tags=STAGE)


def create_summary(keys: Iterable[str]) -> Pipeline:
    """All categories' metrics of every setting to their means.

    Args:
        keys: Namespaces of the categories.
    """
    return Pipeline(
        [
            Node(
                summarise_categories,
                inputs={"task": "params:task", **inputs_by_category(keys, "sweep_metrics")},
                outputs="sweep_metrics",
                name="average_over_categories_by_setting",
            ),
            Node(
                draw_sweep,
                inputs="sweep_metrics",
                outputs="sweep_plot",
                name="draw_curves_of_settings",
            ),
        ],
        tags=STAGE,
    )
