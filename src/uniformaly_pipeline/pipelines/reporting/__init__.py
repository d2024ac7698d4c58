"""From metrics to what people read."""

from uniformaly_pipeline.pipelines.reporting.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
