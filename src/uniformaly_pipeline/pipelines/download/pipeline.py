"""The download stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.download.nodes import choose_provision


def create_pipeline(layout: str) -> Pipeline:
    """A published data set to disk.

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
