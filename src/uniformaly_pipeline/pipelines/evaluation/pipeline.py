"""The evaluation stage."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.by_category import inputs_by_category
from uniformaly_pipeline.pipelines.evaluation.nodes import (
    collect_metrics,
    evaluate_category,
    evaluate_seeds,
    rank_categories,
    shared_bank_name,
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


def create_seeds(shared_banks: Iterable[int] = ()) -> Pipeline:
    """A category's features to metrics by memory banks of several seeds.

    Args:
        shared_banks: Seeds of the memory banks that it shares with other categories.
    """
    names = [shared_bank_name(seed) for seed in shared_banks]
    return Pipeline(
        [
            Node(
                evaluate_seeds,
                inputs={
                    "raw_images": "raw_images",
                    "images": "images",
                    "features": "features",
                    "metrics": "metrics",
                    "bpm": "params:bpm",
                    "memory_bank": "params:memory_bank",
                    "coreset_ratio": "params:coreset_ratio",
                    "scoring": "params:scoring",
                    "device": "params:encoder.device",
                    "preprocessing": "params:preprocessing",
                    "evaluation": "params:evaluation",
                    "seed": "params:seed",
                    "seeds": "params:seeds",
                    **dict(zip(names, names, strict=True)),
                },
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
