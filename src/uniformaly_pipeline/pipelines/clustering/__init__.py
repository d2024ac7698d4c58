"""From scores to groups of test images."""

from uniformaly_pipeline.pipelines.clustering.pipeline import create_pipeline

__all__ = ["create_pipeline"]
