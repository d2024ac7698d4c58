"""Many settings of the method on the same features."""

from uniformaly_pipeline.pipelines.sweep.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
