"""From raw images to the manifest."""

from uniformaly_pipeline.pipelines.ingestion.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
