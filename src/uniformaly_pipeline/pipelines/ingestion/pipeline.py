"""The ingestion stage."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.ingestion.nodes import (
    choose_publication,
    draw_demo_images,
    draw_masks,
    draw_samples,
    examine_manifest,
    plan_tree,
    read_manifest,
    refuse_task,
    select_class_images,
    select_defect_images,
    write_examination,
)

STAGE = "ingestion"


def create_pipeline(draws_demo: bool = False) -> Pipeline:
    """Raw images to manifest.

    Args:
        draws_demo: Whether the raw images are drawn first.
    """
    nodes = [
        Node(
            read_manifest,
            inputs=[
                "raw_images",
                "params:data_set",
                "params:categories",
                "params:ingestion.verify",
                "params:run.root_record",
            ],
            outputs=["manifest", "data_set_root"],
            name="read_and_check_images",
        )
    ]
    if draws_demo:
        nodes.append(
            Node(draw_demo_images, inputs=None, outputs="raw_images", name="draw_demo_images")
        )
    return Pipeline(nodes, tags=STAGE)


def create_examination() -> Pipeline:
    """Manifest to the doctor's report on the data set."""
    return Pipeline(
        [
            Node(
                examine_manifest,
                inputs=[
                    "raw_images",
                    "manifest",
                    "params:data_set",
                    "params:preprocessing",
                    "params:backbone_settings",
                ],
                outputs=["counts", "findings", "masks"],
                name="examine_data_set",
            ),
            Node(
                draw_samples,
                inputs=[
                    "raw_images",
                    "manifest",
                    "params:preprocessing",
                    "params:backbone_settings",
                ],
                outputs="samples",
                name="draw_sample_images",
            ),
            Node(
                draw_masks,
                inputs=["raw_images", "manifest"],
                outputs="mask_samples",
                name="draw_masks",
            ),
            Node(
                write_examination,
                inputs=["counts", "findings", "masks", "samples", "mask_samples", "parameters"],
                outputs="report",
                name="write_data_set_report",
            ),
        ],
        inputs={"raw_images", "manifest"},
        parameters={
            "params:data_set",
            "params:preprocessing",
            "params:backbone_settings",
            "parameters",
        },
        namespace="ingestion",
        tags=STAGE,
    )


def create_tree() -> Pipeline:
    """Manifest to a tree of folders by split and class."""
    node = Node(
        plan_tree, inputs=["raw_images", "manifest"], outputs="tree", name="copy_images_into_tree"
    )
    return Pipeline([node], inputs={"raw_images", "manifest"}, namespace="ingestion", tags=STAGE)


def create_download() -> Pipeline:
    """A published data set from its publishers to disk."""
    node = Node(
        choose_publication,
        inputs="params:data_set",
        outputs="downloaded",
        name="download_data_set",
    )
    return Pipeline([node], tags=STAGE)


def create_defect_selection() -> Pipeline:
    """Manifest to the images of a category whose anomalies are defects."""
    return _selection(select_defect_images)


def create_class_selection() -> Pipeline:
    """Manifest to the images of a category whose anomalies are foreign classes."""
    return _selection(select_class_images)


def create_refusal(task: str) -> Pipeline:
    """What stands for a task that does not fit the run: its only node says why."""
    node = Node(refuse_task, inputs="params:refusal", outputs="metrics", name="refuse_task")
    return Pipeline(
        [node],
        namespace=task,
        parameters={"params:refusal": f"params:run.{task}.refusal"},
        tags=STAGE,
    )


def _selection(select: Callable[..., Any]) -> Pipeline:
    node = Node(
        select,
        inputs=["manifest", "params:category"],
        outputs="images",
        name="select_normal_and_test_images",
    )
    return Pipeline([node], tags=STAGE)
