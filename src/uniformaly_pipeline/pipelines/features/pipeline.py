"""The features stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.features.nodes import extract_features


def create_pipeline(dataset: str, backbone: str) -> Pipeline:
    """Images to patch features and attention, each image once.

    Args:
        dataset: A key of ``datasets``.
        backbone: A key of ``backbones``.
    """
    return Pipeline(
        [
            Node(
                extract_features,
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
                outputs="features",
                name="extract_patch_features",
            )
        ]
    )
