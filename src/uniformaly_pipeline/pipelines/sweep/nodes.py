"""Nodes of the sweep stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.category import ground_truths, has_masks
from uniformaly_pipeline.evaluation.sweep import (
    Category,
    Setting,
    ablation_settings,
    evaluate_settings,
    lowshot_settings,
    summarise_sweep,
)
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder


def sweep_ablation(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    parameters: dict[str, Any],
    coreset_ratio: float,
    dataset: str,
    backbone: str,
    clusters: bool,
) -> pd.DataFrame:
    """Metrics of every value of ``ablation``.

    Args:
        raw_images: The data set's root, for the masks.
        images: The category's images.
        features: Features of all patches.
        parameters: All parameters.
        coreset_ratio: Share of the patches in the memory bank, as the task resolves it.
        dataset: A key of ``datasets``.
        backbone: A key of ``backbones``.
        clusters: Whether test images are grouped by kind as well.

    Returns:
        A row per setting, see :func:`.sweep.evaluate_settings`.
    """
    base = _base(parameters, coreset_ratio)
    if features.header.layer_choices:
        base = _with_layers(base, parameters["backbones"][backbone]["layers"])
    settings = ablation_settings(base, _values(parameters, backbone, base, clusters))
    category = _category(raw_images, images, features, parameters, dataset, clusters)
    return evaluate_settings(category, settings)


def sweep_shots(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    parameters: dict[str, Any],
    coreset_ratio: float,
    dataset: str,
    backbone: str,  # noqa: ARG001 - the sweeps' common signature
    clusters: bool,  # noqa: ARG001
) -> pd.DataFrame:
    """Metrics with few normal images, see :func:`sweep_ablation` for the arguments."""
    num_normal = int((images["split"] == "train").sum())
    settings = lowshot_settings(
        _base(parameters, coreset_ratio),
        parameters["lowshot"]["shots"],
        parameters["lowshot"]["num_draws"],
        num_normal,
    )
    category = _category(raw_images, images, features, parameters, dataset, clusters=False)
    return evaluate_settings(category, settings)


def summarise_categories(
    *tables: pd.DataFrame, categories: list[str], spread_over_draws: bool
) -> pd.DataFrame:
    """Every setting's mean metrics over all categories, see :func:`.sweep.summarise_sweep`."""
    by_category = dict(zip(categories, tables, strict=True))
    return summarise_sweep(by_category, spread_over_draws)


def _base(parameters: dict[str, Any], coreset_ratio: float) -> Setting:
    return Setting(
        parameter="",
        value="",
        masking=BackPatchMasking(**parameters["bpm"]),
        coreset_ratio=coreset_ratio,
        top_k_ratio=parameters["scoring"]["top_k_ratio"],
        features=parameters["clustering"]["features"],
    )


def _with_layers(base: Setting, layers: list[int]) -> Setting:
    return Setting(**{**vars(base), "layers": tuple(sorted(set(layers)))})


def _values(
    parameters: dict[str, Any], backbone: str, base: Setting, clusters: bool
) -> dict[str, list[Any]]:
    """What to try: the run's own value is always among those compared with it."""
    own = {
        "top_k_ratio": base.top_k_ratio,
        "kernel_size": base.masking.kernel_size,
        "threshold": base.masking.threshold,
        "mode": base.masking.mode,
        "features": base.features,
        "coreset_ratio": base.coreset_ratio,
        "layers": sorted(set(parameters["backbones"][backbone]["layers"])),
    }
    values = {}
    for name, choices in parameters["ablation"].items():
        if not choices or (name == "features" and not clusters):
            continue
        missing = [] if own[name] in choices else [own[name]]
        listed = [*choices, *missing]
        is_number = all(isinstance(choice, (int, float)) for choice in listed)
        values[name] = sorted(listed) if is_number else [*missing, *choices]
    return values


def _category(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    parameters: dict[str, Any],
    dataset: str,
    clusters: bool,
) -> Category:
    normal, tested = images[images["split"] == "train"], images[images["split"] == "test"]
    preprocessing = Preprocessing(**parameters["datasets"][dataset]["preprocessing"])
    memory_bank, scoring = parameters["memory_bank"], parameters["scoring"]
    return Category(
        store=features,
        normal=list(normal["content_hash"]),
        tested=list(tested["content_hash"]),
        labels=tested["label"].to_numpy(),
        defects=list(tested["defect"]) if clusters else (),
        masks=_masks(raw_images, tested, preprocessing, parameters["evaluation"]),
        preprocessing=preprocessing,
        seed=parameters["seed"],
        projection_dim=memory_bank["projection_dim"],
        num_starts=memory_bank["num_starts"],
        coreset_parts=memory_bank["coreset_parts"],
        search=scoring["search"],
        num_neighbors=scoring["num_neighbors"],
        device=parameters["encoder"]["device"],
    )


def _masks(
    raw_images: ImageFolder,
    tested: pd.DataFrame,
    preprocessing: Preprocessing,
    evaluation: dict[str, Any],
) -> np.ndarray | None:
    if not has_masks(tested):
        return None
    threshold = evaluation["mask_threshold"]
    return np.stack(list(ground_truths(raw_images, tested["mask"], preprocessing, threshold)))
