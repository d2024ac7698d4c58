"""``export``: a finished run's category, or a detector's file, for use elsewhere."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import export

TASK = "export"


def create(run: CurrentRun) -> Pipeline:
    """The detector in another format; where none was given it can be looked at, but not run."""
    stage = export.create_pipeline(has_samples=run.parameters.export.images is not None)
    parameters = {name for name in stage.inputs() if name.startswith("params:")}
    return Pipeline(stage, namespace=TASK, parameters=parameters)
