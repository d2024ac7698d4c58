"""Nodes of the memory bank stage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.manifest import levels_by_class
from uniformaly_pipeline.ingestion.regions import regions_by_class
from uniformaly_pipeline.pipelines.chunks import per_category
from uniformaly_pipeline.scoring.methods.choice import fit_model
from uniformaly_pipeline.scoring.methods.interface import FitSettings, MethodName


@per_category
def build_bank(
    images: pd.DataFrame,
    features: FeatureStore,
    bpm: dict[str, Any],
    memory_bank: dict[str, Any],
    coreset_ratio: float,
    method: MethodName,
    device: str,
    seed: int,
) -> ArrayBundle:
    """Keep a coreset of the normal images' patches, or the model of another method.

    Args:
        images: The category's images.
        features: The feature store.
        bpm: ``bpm``.
        memory_bank: ``memory_bank``: how the coreset is chosen.
        coreset_ratio: Share of the patches to keep, 0..1: that of the task.
        method: ``scoring.method``.
        device: ``encoder.device``; the coreset is chosen on the same device.
        seed: Seed of all that is drawn, such as a coreset's projection and starting points.

    Returns:
        ``memory_bank`` [K, D] in the features' type, and where each vector comes from; see
        :func:`.bank.build_memory_bank`, and of other methods their modules in
        :mod:`.scoring.methods`.

    Raises:
        InputError: The normal images have no foreground patch.
    """
    normal = images[images["split"] == "train"]
    settings = FitSettings(
        seed=seed,
        device=device,
        coreset_ratio=coreset_ratio,
        projection_dim=memory_bank["projection_dim"],
        num_starts=memory_bank["num_starts"],
        coreset_parts=memory_bank["coreset_parts"],
        levels=levels_by_class(normal),
        regions=regions_by_class(normal),
    )
    hashes = list(normal["content_hash"])
    return fit_model(method, features, hashes, BackPatchMasking(**bpm), settings)
