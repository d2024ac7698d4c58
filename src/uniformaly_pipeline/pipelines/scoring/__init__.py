"""From a memory bank to patch and image scores."""

from uniformaly_pipeline.pipelines.scoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
