"""A detector made of what a task left, for use elsewhere."""

from uniformaly_pipeline.pipelines.export.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
