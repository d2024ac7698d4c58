"""From normal patch features to a memory bank."""

from uniformaly_pipeline.pipelines.memory_bank.pipeline import create_pipeline

__all__ = ["create_pipeline"]
