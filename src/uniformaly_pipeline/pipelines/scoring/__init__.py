"""From a memory bank to patch and image scores."""

from uniformaly_pipeline.pipelines.scoring.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
