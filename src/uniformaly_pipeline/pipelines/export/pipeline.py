"""The export stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.export.nodes import export_detector

STAGE = "export"


def create_pipeline(has_samples: bool = False) -> Pipeline:
    """A detector to a folder for use elsewhere.

    Args:
        has_samples: Whether there are images to compare on.
    """
    return Pipeline(
        [
            Node(
                export_detector,
                inputs=[
                    "detector",
                    "params:export.format",
                    "params:export.false_alarm_rate",
                    "params:export.threshold",
                    *(["sample_images"] if has_samples else []),
                ],
                outputs="folder",
                name="export_detector",
            )
        ],
        tags=STAGE,
    )
