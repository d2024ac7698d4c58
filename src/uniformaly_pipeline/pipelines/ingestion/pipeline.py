"""The ingestion stage."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.ingestion.nodes import (
    choose_provision,
    draw_demo_images,
    draw_samples,
    examine_manifest,
    plan_tree,
    read_manifest,
    select_class_images,
    select_defect_images,
    write_examination,
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


def create_examination(dataset: str, title: str) -> Pipeline:
    """Manifest to the doctor's report on the data set.

    Args:
        dataset: A key of ``datasets``.
        title: Heading of the report.
    """
    return Pipeline(
        [
            Node(
                examine_manifest,
                inputs=["manifest", f"params:datasets.{dataset}"],
                outputs=["counts", "findings"],
                name="examine_data_set",
            ),
            Node(
                draw_samples,
                inputs=["raw_images", "manifest"],
                outputs="samples",
                name="draw_sample_images",
            ),
            Node(
                bind(write_examination, title=title),
                inputs=["counts", "findings", "samples", "parameters"],
                outputs="report",
                name="write_data_set_report",
            ),
        ],
        inputs={"raw_images", "manifest"},
        parameters={f"params:datasets.{dataset}", "parameters"},
        namespace="ingestion",
    )


def create_tree() -> Pipeline:
    """Manifest to a tree of folders by split and class."""
    node = Node(
        plan_tree, inputs=["raw_images", "manifest"], outputs="tree", name="copy_images_into_tree"
    )
    return Pipeline([node], inputs={"raw_images", "manifest"}, namespace="ingestion")


def create_defect_selection(normal: list[str], tested: list[str]) -> Pipeline:
    """Manifest to the images of a category whose anomalies are defects."""
    return _selection(bind(select_defect_images, normal=normal, tested=tested))


def create_class_selection(normal: list[str]) -> Pipeline:
    """Manifest to the images of a category whose anomalies are foreign classes."""
    return _selection(bind(select_class_images, normal=normal))


def _selection(select: Callable[..., Any]) -> Pipeline:
    name = "select_normal_and_test_images"
    return Pipeline([Node(select, inputs="manifest", outputs="images", name=name)])


def create_download(layout: str) -> Pipeline:
    """A published data set from its publishers to disk.

    Args:
        layout: A key of :data:`.layouts.LAYOUTS`.
    """
    return Pipeline(
        [
            Node(
                bind(choose_provision, layout=layout),
                inputs=None,
                outputs="downloaded",
                name="download_data_set",
            )
        ]
    )
