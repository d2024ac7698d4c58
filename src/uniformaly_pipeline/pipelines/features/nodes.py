"""Nodes of the features stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.stream import FeatureStream
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import levels_of, sizes_of
from uniformaly_pipeline.ingestion.regions import regions_of


def extract_features(
    raw_images: ImageFolder,
    manifest: pd.DataFrame,
    backbone: dict[str, Any],
    preprocessing: dict[str, Any],
    encoder: dict[str, Any],
    features: dict[str, Any],
    bpm: dict[str, Any],
    seed: int,
    classes: list[str],
    layer_choices: Sequence[Sequence[int]] | None = None,
) -> FeatureStream:
    """Describe how to encode the images a run needs; the feature store asks for what it lacks.

    Args:
        raw_images: The data set's root.
        manifest: One row per image.
        backbone: ``backbones.<name>``.
        preprocessing: ``datasets.<name>.preprocessing``.
        encoder: ``encoder``.
        features: ``features``: what is stored of each image.
        bpm: ``bpm``: which patches are stored.
        seed: Seed of untrained weights.
        classes: Classes whose train images are needed; the test images of all classes are.
        layer_choices: Choices of blocks, all from one pass, in place of the backbone's own, see
            :func:`.extraction.feature_stream`.

    Raises:
        InputError: The backbone cannot be loaded, or no patch counts of a region of interest.
    """
    # Torch takes seconds to import, which commands such as "kedro registry list" need not wait for.
    from uniformaly_pipeline.features.extraction import feature_stream

    needed = manifest[(manifest["split"] == "test") | manifest["class"].isin(classes)]
    return feature_stream(
        raw_images,
        dict(zip(needed["content_hash"], needed["image"], strict=True)),
        Backbone(**backbone),
        Preprocessing(**preprocessing),
        BackPatchMasking(**bpm),
        keep=features["keep"],
        layer_choices=layer_choices,
        dtype=features["dtype"],
        seed=seed,
        levels=levels_of(needed),
        regions=regions_of(needed),
        sizes=sizes_of(needed),
        **encoder,
    )


def extract_all_features(
    raw_images: ImageFolder,
    manifest: pd.DataFrame,
    backbone: dict[str, Any],
    preprocessing: dict[str, Any],
    encoder: dict[str, Any],
    features: dict[str, Any],
    bpm: dict[str, Any],
    seed: int,
    classes: list[str],
    layer_choices: Sequence[Sequence[int]] | None = None,
) -> FeatureStream:
    """As :func:`extract_features`, but of background patches too, whatever ``features.keep`` says.

    Clustering takes the mean of all patches, and an ablation tries other maskings.
    """
    every = {**features, "keep": "all"}
    return extract_features(
        raw_images,
        manifest,
        backbone,
        preprocessing,
        encoder,
        every,
        bpm,
        seed,
        classes,
        layer_choices,
    )
