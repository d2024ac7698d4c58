"""Nodes of the features stage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uniformaly_pipeline.backbone import Backbone
from uniformaly_pipeline.feature_store import FeatureStream
from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.masking import BackPatchMasking
from uniformaly_pipeline.preprocessing import Preprocessing


def extract_features(
    raw_images: ImageFolder,
    manifest: pd.DataFrame,
    backbone: dict[str, Any],
    dataset: dict[str, Any],
    encoder: dict[str, Any],
    features: dict[str, Any],
    bpm: dict[str, Any],
    seed: int,
) -> FeatureStream:
    """Describe how to encode every image of the manifest; the feature store asks for what it lacks.

    Args:
        raw_images: The data set's root.
        manifest: One row per image.
        backbone: ``backbones.<name>``.
        dataset: ``datasets.<name>``.
        encoder: ``encoder``.
        features: ``features``.
        bpm: ``bpm``.
        seed: Seed of untrained weights.

    Raises:
        InputError: The backbone cannot be loaded.
    """
    # Torch takes seconds to import, which commands such as "kedro registry list" need not wait for.
    from uniformaly_pipeline.extraction import feature_stream

    return feature_stream(
        raw_images,
        dict(zip(manifest["content_hash"], manifest["image"], strict=True)),
        Backbone(**backbone),
        Preprocessing(**dataset["preprocessing"]),
        BackPatchMasking(**bpm),
        keep=features["keep"],
        dtype=features["dtype"],
        seed=seed,
        **encoder,
    )
