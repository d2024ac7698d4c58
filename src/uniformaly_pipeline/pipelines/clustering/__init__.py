"""From scores to groups of test images."""

from uniformaly_pipeline.pipelines.clustering.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
