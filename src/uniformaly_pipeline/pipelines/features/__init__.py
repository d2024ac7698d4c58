"""From images to patch features, once for all categories."""

from uniformaly_pipeline.pipelines.features.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
