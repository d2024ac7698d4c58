"""The paper stage."""

from collections.abc import Iterable, Sequence

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.by_category import inputs_by_category
from uniformaly_pipeline.pipelines.paper.nodes import (
    collect_items,
    draw_attention_of_textures,
    write_paper,
)

STAGE = "paper"


def create_pipeline(made: Iterable[str]) -> Pipeline:
    """The results of several tasks to the paper's tables and figures, and to their page.

    Args:
        made: Names of the results, see :func:`.collect_items`.
    """
    return Pipeline(
        [
            Node(
                collect_items,
                inputs={
                    "parameters": "parameters",
                    "task": "params:task",
                    **{name: name for name in made},
                },
                outputs="items",
                name="collect_tables_and_figures",
            ),
            Node(
                write_paper,
                inputs=["items", "parameters", "params:task"],
                outputs="report",
                name="write_page_of_paper",
            ),
        ],
        tags=STAGE,
    )


def create_attention_of_textures(keys: Sequence[str]) -> Pipeline:
    """The attention in textures and in objects to a picture of how it is distributed.

    Args:
        keys: Namespaces of the categories.
    """
    node = Node(
        draw_attention_of_textures,
        inputs={
            "features": "features",
            "bpm": "params:bpm",
            "task": "params:task",
            "parameters": "parameters",
            **inputs_by_category(keys, "image_scores"),
        },
        outputs="attention_histogram",
        name="draw_attention_of_textures",
    )
    return Pipeline([node], tags=STAGE)
