"""The clustering stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.clustering.nodes import (
    add_cluster_metrics,
    cluster_images,
    compare_features,
    draw_cluster_maps,
    draw_clusters,
)

STAGE = "clustering"


def create_pipeline() -> Pipeline:
    """A category's scores to groups of its test images, their metrics and figures."""
    return Pipeline(
        [
            Node(
                cluster_images,
                inputs=[
                    "images",
                    "features",
                    "patch_scores",
                    "params:clustering.features",
                    "params:scoring.top_k_ratio",
                    "params:seed",
                ],
                outputs="clusters",
                name="cluster_images",
            ),
            Node(
                compare_features,
                inputs=["images", "features", "patch_scores", "params:clustering.compared_ratios"],
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
                draw_clusters,
                inputs=[
                    "raw_images",
                    "images",
                    "clusters",
                    "params:preprocessing",
                    "params:reporting.gallery_images",
                    "params:category",
                ],
                outputs=["cluster_figure", "cluster_sheet"],
                name="draw_clusters",
            ),
        ],
        tags=STAGE,
    )


def create_maps() -> Pipeline:
    """A category's scores to a picture of its clusters by each choice of features."""
    node = Node(
        draw_cluster_maps,
        inputs=[
            "images",
            "features",
            "patch_scores",
            "params:scoring.top_k_ratio",
            "params:seed",
            "params:category",
        ],
        outputs="cluster_maps",
        name="draw_cluster_maps",
    )
    return Pipeline([node], tags=STAGE)
