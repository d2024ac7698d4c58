"""From raw images to the manifest."""

from uniformaly_pipeline.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
