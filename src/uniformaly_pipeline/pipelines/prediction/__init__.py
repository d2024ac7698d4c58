"""New images judged by a memory bank that another task made."""

from uniformaly_pipeline.pipelines.prediction.pipeline import STAGE, create_pipeline

__all__ = ["STAGE", "create_pipeline"]
