"""The reporting stage."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.reporting.nodes import draw_figures, draw_gallery, write_report


def create_pipeline(dataset: str, category: str) -> Pipeline:
    """A category's scores and figures of merit to pictures.

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


def create_report(task: str, categories: dict[str, str], **settings: Any) -> Pipeline:
    """All categories' pictures and the leaderboard to the report.

    Args:
        task: Name of the task, which is the namespace of its datasets.
        categories: Name of each category by its namespace.
        settings: Title, parameters, command and notes, see :func:`.nodes.write_report`.
    """
    artifacts = {
        f"{key}_{name}": f"{task}.{key}.{name}"
        for key in categories
        for name in ("gallery", "roc_figure", "score_histogram")
    }
    report = bind(write_report, task=task, categories=list(categories.values()), **settings)
    results = {name: f"{task}.{name}" for name in ("metrics", "leaderboard")}
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
