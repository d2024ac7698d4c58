"""The memory bank stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.memory_bank.nodes import build_bank

STAGE = "memory_bank"


def create_pipeline() -> Pipeline:
    """A category's normal images to its memory bank."""
    return Pipeline(
        [
            Node(
                build_bank,
                inputs=[
                    "images",
                    "features",
                    "params:bpm",
                    "params:memory_bank",
                    "params:coreset_ratio",
                    "params:scoring.method",
                    "params:encoder.device",
                    "params:seed",
                ],
                outputs="memory_bank",
                name="build_memory_bank",
            )
        ],
        tags=STAGE,
    )
