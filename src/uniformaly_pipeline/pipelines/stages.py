"""The stages of a run by name: a folder of nodes each, whose nodes bear the name as a tag."""

from __future__ import annotations

from uniformaly_pipeline.pipelines import (
    clustering,
    evaluation,
    export,
    features,
    ingestion,
    memory_bank,
    paper,
    prediction,
    reporting,
    scoring,
    sweep,
)

STAGES = frozenset(
    stage.STAGE
    for stage in (
        ingestion,
        features,
        memory_bank,
        scoring,
        prediction,
        evaluation,
        clustering,
        sweep,
        reporting,
        paper,
        export,
    )
)
