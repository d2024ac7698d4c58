"""The clustering stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.clustering.nodes import (
    add_cluster_metrics,
    cluster_images,
    compare_categories,
    compare_features,
    draw_clusters,
)
from uniformaly_pipeline.pipelines.reporting.nodes import draw_settings


def create_pipeline(dataset: str, category: str) -> Pipeline:
    """A category's scores to groups of its test images, their metrics and pictures.

    Args:
        dataset: A key of ``datasets``.
        category: Name of the category.
    """
    return Pipeline(
        [
            Node(
                cluster_images,
                inputs=[
                    "images",
                    "features",
                    "patch_scores",
                    "params:clustering",
                    "params:scoring",
                    "params:seed",
                ],
                outputs="clusters",
                name="cluster_images",
            ),
            Node(
                compare_features,
                inputs=["images", "features", "patch_scores", "params:clustering"],
                outputs="sweep_metrics",
                name="compare_features",
            ),
            Node(
                add_cluster_metrics,
                inputs=["detection_metrics", "clusters"],
                outputs="metrics",
                name="evaluate_clusters",
            ),
            Node(
                bind(draw_clusters, category=category),
                inputs=["raw_images", "clusters", f"params:datasets.{dataset}", "params:reporting"],
                outputs=["cluster_figure", "cluster_sheet"],
                name="draw_clusters",
            ),
        ]
    )


def create_comparison(task: str, categories: dict[str, str]) -> Pipeline:
    """All categories' comparisons of features to one.

    Args:
        task: Name of the task, which is the namespace of its datasets.
        categories: Name of each category by its namespace.
    """
    tables = {f"{key}_sweep": f"{task}.{key}.sweep_metrics" for key in categories}
    return Pipeline(
        [
            Node(
                bind(compare_categories, categories=list(categories.values())),
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
