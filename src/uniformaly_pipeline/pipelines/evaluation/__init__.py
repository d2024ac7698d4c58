"""From scores to figures of merit."""

from uniformaly_pipeline.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
