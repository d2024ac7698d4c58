"""From normal patch features to a memory bank."""

from uniformaly_pipeline.pipelines.memory_bank.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
