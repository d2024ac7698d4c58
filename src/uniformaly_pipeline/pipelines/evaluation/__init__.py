"""From scores to metrics."""

from uniformaly_pipeline.pipelines.evaluation.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
