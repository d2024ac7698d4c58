"""The memory bank stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.memory_bank.nodes import build_bank


def create_pipeline(coreset_ratio: float) -> Pipeline:
    """A category's normal images to its memory bank.

    Args:
        coreset_ratio: Share of the patches to keep.
    """
    return Pipeline(
        [
            Node(
                bind(build_bank, coreset_ratio=coreset_ratio),
                inputs=[
                    "images",
                    "features",
                    "params:bpm",
                    "params:memory_bank",
                    "params:encoder",
                    "params:seed",
                ],
                outputs="memory_bank",
                name="build_memory_bank",
            )
        ]
    )
