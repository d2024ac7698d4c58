"""The ingestion stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.ingestion.nodes import (
    draw_demo_images,
    read_manifest,
    select_images,
)


def create_pipeline(dataset: str, draws_demo: bool) -> Pipeline:
    """Raw images to manifest.

    Args:
        dataset: A key of ``datasets``.
        draws_demo: Whether the raw images are drawn first.
    """
    manifest = Node(
        read_manifest,
        inputs=["raw_images", f"params:datasets.{dataset}", "params:categories"],
        outputs="manifest",
        name="read_and_check_images",
    )
    if not draws_demo:
        return Pipeline([manifest])
    return Pipeline(
        [
            Node(draw_demo_images, inputs=None, outputs="raw_images", name="draw_demo_images"),
            manifest,
        ]
    )


def create_selection(class_name: str) -> Pipeline:
    """Manifest to the images of one one-class category."""
    return Pipeline(
        [
            Node(
                bind(select_images, class_name=class_name),
                inputs="manifest",
                outputs="images",
                name="select_images",
            )
        ]
    )
