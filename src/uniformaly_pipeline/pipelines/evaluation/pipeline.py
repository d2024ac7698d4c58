"""The evaluation stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.evaluation.nodes import (
    collect_metrics,
    evaluate_category,
    rank_categories,
)


def create_pipeline(dataset: str, output: str = "metrics") -> Pipeline:
    """A category's scores to its metrics.

    Args:
        dataset: A key of ``datasets``.
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
                    f"params:datasets.{dataset}",
                    "params:evaluation",
                ],
                outputs=output,
                name="compute_metrics",
            )
        ]
    )


def create_summary(task: str, categories: dict[str, str], dataset: str, backbone: str) -> Pipeline:
    """All categories' metrics to the task's metrics and leaderboard.

    Args:
        task: Name of the task, which is the namespace of its datasets.
        categories: Name of each category by its namespace.
        dataset: A key of ``datasets``.
        backbone: A key of ``backbones``.
    """
    metrics = {f"{key}_metrics": f"{task}.{key}.metrics" for key in categories}
    return Pipeline(
        [
            Node(
                bind(collect_metrics, categories=list(categories.values())),
                inputs=list(metrics),
                outputs="metrics",
                name="average_over_categories",
            ),
            Node(
                bind(rank_categories, task=task, dataset=dataset, backbone=backbone),
                inputs="metrics",
                outputs="leaderboard",
                name="write_leaderboard",
            ),
        ],
        inputs=metrics,
        namespace=task,
    )
