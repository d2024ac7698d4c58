"""Nodes of the features stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from uniformaly_pipeline.evaluation.sweep import draw_images
from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.stream import FeatureStream
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import levels_of, sizes_of
from uniformaly_pipeline.ingestion.regions import regions_of
from uniformaly_pipeline.ingestion.turns import Turn, turns_of


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
    needed = manifest[(manifest["split"] == "test") | manifest["class"].isin(classes)]
    return _stream(
        raw_images, needed, backbone, preprocessing, encoder, features, bpm, seed, layer_choices
    )


def extract_turned_features(
    raw_images: ImageFolder,
    manifest: pd.DataFrame,
    backbone: dict[str, Any],
    preprocessing: dict[str, Any],
    encoder: dict[str, Any],
    features: dict[str, Any],
    bpm: dict[str, Any],
    seed: int,
    classes: list[str],
    lowshot: dict[str, Any],
) -> FeatureStream:
    """As :func:`extract_features`, and of the few normal images that are drawn all turns.

    Args:
        lowshot: ``lowshot``: how many images are drawn, how often, and the turns.
    """
    needed = manifest[(manifest["split"] == "test") | manifest["class"].isin(classes)]
    drawn: set[str] = set()
    for _, rows in needed[needed["split"] == "train"].groupby("class", sort=False):
        normal = list(rows["content_hash"])
        # Smaller draws are parts of the largest; of all images none is turned.
        few = [n for n in lowshot["shots"] if n != "all" and n < len(normal)]
        for draw in range(lowshot["num_draws"]):
            drawn |= set(draw_images(normal, max(few, default=0), seed, draw))
    some = needed[needed["content_hash"].isin(drawn)]
    turned = [needed]
    turns: dict[str, tuple[str, Turn]] = {}
    for turn in turns_of(lowshot["rotations"]):
        turns |= {turn.key(path): (path, turn) for path in some["image"]}
        names = {name: some[name].map(turn.key) for name in ("image", "content_hash")}
        turned.append(some.assign(**names))
    return _stream(
        raw_images,
        pd.concat(turned, ignore_index=True),
        backbone,
        preprocessing,
        encoder,
        features,
        bpm,
        seed,
        turns=turns,
    )


def _stream(
    raw_images: ImageFolder,
    needed: pd.DataFrame,
    backbone: dict[str, Any],
    preprocessing: dict[str, Any],
    encoder: dict[str, Any],
    features: dict[str, Any],
    bpm: dict[str, Any],
    seed: int,
    layer_choices: Sequence[Sequence[int]] | None = None,
    turns: Mapping[str, tuple[str, Turn]] | None = None,
) -> FeatureStream:
    # Torch takes seconds to import, which commands such as "kedro registry list" need not wait for.
    from uniformaly_pipeline.features.extraction import feature_stream

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
        turns=turns,
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
