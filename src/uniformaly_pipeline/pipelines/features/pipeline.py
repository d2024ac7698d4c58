"""The features stage."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.features.nodes import (
    extract_all_features,
    extract_features,
    extract_turned_features,
)

STAGE = "features"

EXTRACTIONS: dict[str, Callable[..., Any]] = {
    "features": extract_features,
    "all_features": extract_all_features,
    "layered_features": extract_all_features,
    "turned_features": extract_turned_features,
}
"""What fills each feature store."""


def create_pipeline(store: str = "features", name: str | None = None) -> Pipeline:
    """Images to patch features and attention, each image once.

    Args:
        store: The feature store to fill: ``features``, ``all_features`` (of background patches
            too), ``layered_features`` (of several choices of blocks) or ``turned_features`` (of few
            normal images turned around).
        name: Name of the node; by default that of the store, so that tasks which share a store
            share the node, and others can run beside them.
    """
    name = name or f"extract_{store.replace('features', 'patch_features')}"
    inputs = [
        "raw_images",
        "manifest",
        "params:backbone_settings",
        "params:preprocessing",
        "params:encoder",
        "params:features",
        "params:bpm",
        "params:seed",
        "params:run.classes",
    ]
    if store == "layered_features":
        inputs.append("params:run.layer_choices")
    if store == "turned_features":
        inputs.append("params:lowshot")
    return Pipeline([Node(EXTRACTIONS[store], inputs=inputs, outputs=store, name=name)], tags=STAGE)
