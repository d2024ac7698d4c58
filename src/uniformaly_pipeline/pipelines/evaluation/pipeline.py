"""The evaluation stage."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.by_category import inputs_by_category
from uniformaly_pipeline.pipelines.evaluation.nodes import (
    collect_metrics,
    evaluate_category,
    evaluate_seeds,
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


def create_seeds() -> Pipeline:
    """A category's features to metrics by memory banks of several seeds."""
    return Pipeline(
        [
            Node(
                evaluate_seeds,
                inputs=[
                    "raw_images",
                    "images",
                    "features",
                    "metrics",
                    "params:bpm",
                    "params:memory_bank",
                    "params:coreset_ratio",
                    "params:scoring",
                    "params:encoder.device",
                    "params:preprocessing",
                    "params:evaluation",
                    "params:seed",
                    "params:seeds",
                ],
                outputs="seed_metrics",
                name="try_every_seed",
            )
        ],
        tags=STAGE,
    )


def create_summary(keys: Iterable[str], has_seeds: bool = False) -> Pipeline:
    """All categories' metrics to the task's metrics and leaderboard.

    Args:
        keys: Namespaces of the categories.
        has_seeds: Whether they are means over several seeds, see :func:`create_seeds`.
    """
    collected = ["metrics", "seed_metrics"] if has_seeds else ["metrics"]
    return Pipeline(
        [
            Node(
                collect_metrics,
                inputs={"task": "params:task", **inputs_by_category(keys, *collected)},
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
