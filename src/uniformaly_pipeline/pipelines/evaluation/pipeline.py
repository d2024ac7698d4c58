"""The evaluation stage."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.by_category import inputs_by_category
from uniformaly_pipeline.pipelines.evaluation.nodes import (
    collect_metrics,
    evaluate_category,
    rank_categories,
)

STAGE = "evaluation"


def create_pipeline(output: str = "metrics") -> Pipeline:
    """A category's scores to its metrics.

    Args:
        output: Name of the metrics in the catalog.
    """
    return Pipeline(
        [
            Node(
                evaluate_category,
                inputs=[
                    "raw_images",
                    "images",
                    "features",
                    "memory_bank",
                    "patch_scores",
                    "image_scores",
                    "params:preprocessing",
                    "params:evaluation",
                ],
                outputs=output,
                name="compute_metrics",
            )
        ],
        tags=STAGE,
    )


def create_summary(keys: Iterable[str]) -> Pipeline:
    """All categories' metrics to the task's metrics and leaderboard.

    Args:
        keys: Namespaces of the categories.
    """
    return Pipeline(
        [
            Node(
                collect_metrics,
                inputs={"task": "params:task", **inputs_by_category(keys, "metrics")},
                outputs="metrics",
                name="average_over_categories",
            ),
            Node(
                rank_categories,
                inputs=["metrics", "params:task", "parameters"],
                outputs="leaderboard",
                name="write_leaderboard",
            ),
        ],
        tags=STAGE,
    )
