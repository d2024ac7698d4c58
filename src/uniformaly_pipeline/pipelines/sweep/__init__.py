"""Many settings of the method on the same features."""

from uniformaly_pipeline.pipelines.sweep.pipeline import create_pipeline

__all__ = ["create_pipeline"]
