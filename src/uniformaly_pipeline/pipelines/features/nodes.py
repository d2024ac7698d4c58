"""Nodes of the features stage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.masking import BackPatchMasking, Keep
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store_update import FeatureStream
from uniformaly_pipeline.ingestion.images import ImageFolder


def extract_features(
    raw_images: ImageFolder,
    manifest: pd.DataFrame,
    backbone: dict[str, Any],
    dataset: dict[str, Any],
    encoder: dict[str, Any],
    features: dict[str, Any],
    bpm: dict[str, Any],
    seed: int,
    normal: list[str],
    keep: Keep | None = None,
    layers: list[list[int]] | None = None,
) -> FeatureStream:
    """Describe how to encode the images a run needs; the feature store asks for what it lacks.

    Args:
        raw_images: The data set's root.
        manifest: One row per image.
        backbone: ``backbones.<name>``.
        dataset: ``datasets.<name>``.
        encoder: ``encoder``.
        features: ``features``.
        bpm: ``bpm``.
        seed: Seed of untrained weights.
        normal: Classes whose train images are needed; the test images of all classes are.
        keep: Which patches to keep, in place of the run's ``features.keep``.
        layers: Choices of blocks, in place of the backbone's own; see
            :func:`.extraction.feature_stream`.

    Raises:
        InputError: The backbone cannot be loaded.
    """
    # Torch takes seconds to import, which commands such as "kedro registry list" need not wait for.
    from uniformaly_pipeline.features.extraction import feature_stream

    needed = manifest[(manifest["split"] == "test") | manifest["class"].isin(normal)]
    return feature_stream(
        raw_images,
        dict(zip(needed["content_hash"], needed["image"], strict=True)),
        Backbone(**backbone),
        Preprocessing(**dataset["preprocessing"]),
        BackPatchMasking(**bpm),
        keep=keep or features["keep"],
        layer_choices=layers,
        dtype=features["dtype"],
        seed=seed,
        **encoder,
    )
