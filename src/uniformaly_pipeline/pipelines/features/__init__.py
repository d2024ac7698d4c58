"""From images to patch features, once for all categories."""

from uniformaly_pipeline.pipelines.features.pipeline import create_pipeline

__all__ = ["create_pipeline"]
