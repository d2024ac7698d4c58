"""From the results of several tasks to the paper's tables and figures."""

from uniformaly_pipeline.pipelines.paper.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
