"""The clustering stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.clustering.nodes import (
    add_cluster_figures,
    cluster_images,
    compare_categories,
    compare_features,
    draw_clusters,
)
from uniformaly_pipeline.pipelines.reporting.nodes import draw_settings


def create_pipeline(dataset: str, category: str) -> Pipeline:
    """A category's scores to groups of its test images, their figures and pictures.

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
                outputs="settings",
                name="compare_features",
            ),
            Node(
                add_cluster_figures,
                inputs=["detection_figures", "clusters"],
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
    tables = {f"{key}_settings": f"{task}.{key}.settings" for key in categories}
    return Pipeline(
        [
            Node(
                bind(compare_categories, categories=list(categories.values())),
                inputs=list(tables),
                outputs="settings",
                name="average_over_categories_by_setting",
            ),
            Node(
                draw_settings,
                inputs="settings",
                outputs="settings_plot",
                name="draw_curves_of_settings",
            ),
        ],
        inputs=tables,
        namespace=task,
    )
