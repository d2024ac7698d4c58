"""The features stage."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.features.nodes import extract_features


def create_pipeline(
    dataset: str,
    backbone: str,
    output: str = "features",
    name: str = "extract_patch_features",
    **arguments: Any,
) -> Pipeline:
    """Images to patch features and attention, each image once.

    Args:
        dataset: A key of ``datasets``.
        backbone: A key of ``backbones``.
        output: Name of the feature store in the catalog.
        name: Name of the node.
        arguments: What else :func:`.nodes.extract_features` is told.
    """
    return Pipeline(
        [
            Node(
                bind(extract_features, **arguments),
                inputs=[
                    "raw_images",
                    "manifest",
                    f"params:backbones.{backbone}",
                    f"params:datasets.{dataset}",
                    "params:encoder",
                    "params:features",
                    "params:bpm",
                    "params:seed",
                ],
                outputs=output,
                name=name,
            )
        ]
    )
