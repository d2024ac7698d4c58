"""Nodes of the sweep stage."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.by_category import ByCategory
from uniformaly_pipeline.evaluation.category import ground_truths, has_ground_truth
from uniformaly_pipeline.evaluation.sweep import (
    MULTICLASS_RATIO,
    PARAMETER_KEYS,
    Setting,
    SweepInputs,
    ablation_settings,
    evaluate_settings,
    evaluate_shared_bank,
    lowshot_settings,
    summarise_sweep,
)
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.pipelines.by_category import by_category
from uniformaly_pipeline.pipelines.chunks import per_category
from uniformaly_pipeline.reporting.figures.interactive import sweep_plot


@per_category
def sweep_ablation(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    parameters: dict[str, Any],
    has_clusters: bool,
) -> pd.DataFrame:
    """Metrics of every value of ``ablation``.

    Args:
        raw_images: The data set's root, for the masks.
        images: The category's images.
        features: Features of all patches.
        parameters: All parameters.
        has_clusters: Whether test images are of several kinds and are grouped as well.

    Returns:
        A row per setting, see :func:`.sweep.evaluate_settings`.
    """
    settings = _ablated(features, parameters, has_clusters)
    inputs = _inputs(raw_images, images, features, parameters, has_clusters)
    return evaluate_settings(inputs, settings)


@per_category
def sweep_many_classes(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    parameters: dict[str, Any],
) -> pd.DataFrame:
    """Metrics of every value of ``ablation`` with a memory bank of many classes.

    Args:
        raw_images: The data set's root, for the masks.
        images: The images of a category that has a bank of its own.
        features: Features of all patches.
        parameters: All parameters.

    Returns:
        A row per setting, see :func:`.sweep.evaluate_settings`.
    """
    settings = _ablated(features, parameters, has_clusters=False, many_classes=True)
    inputs = _inputs(raw_images, images, features, parameters, has_clusters=False)
    return evaluate_settings(inputs, settings)


def sweep_shared_bank(
    raw_images: ImageFolder, features: FeatureStore, parameters: dict[str, Any], **images: Any
) -> dict[str, Any]:
    """Metrics of every value of ``ablation`` on categories that share a memory bank.

    Args:
        raw_images: The data set's root, for the masks.
        features: Features of all patches.
        parameters: All parameters.
        images: ``images_<namespace>`` of each category, or of the categories of each chunk.

    Returns:
        ``sweep_metrics_<namespace>`` of each, see :func:`.sweep.evaluate_shared_bank`.
    """
    units = {name.removeprefix("images_"): given for name, given in images.items()}
    of_unit = {
        unit: given if isinstance(given, ByCategory) else {unit: given}
        for unit, given in units.items()
    }
    tables = evaluate_shared_bank(
        {
            key: _inputs(raw_images, own, features, parameters, has_clusters=False)
            for of_category in of_unit.values()
            for key, own in of_category.items()
        },
        _ablated(features, parameters, has_clusters=False, many_classes=True),
    )
    return {
        f"sweep_metrics_{unit}": {key: tables[key] for key in of_unit[unit]}
        if isinstance(given, ByCategory)
        else tables[unit]
        for unit, given in units.items()
    }


@per_category
def sweep_shots(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    parameters: dict[str, Any],
) -> pd.DataFrame:
    """Metrics with few normal images, each number of them drawn several times.

    Args:
        raw_images: The data set's root, for the masks.
        images: The category's images.
        features: The feature store.
        parameters: All parameters.

    Returns:
        A row per number and draw, see :func:`.sweep.evaluate_settings`.
    """
    settings = lowshot_settings(
        _base(parameters),
        parameters["lowshot"]["shots"],
        parameters["lowshot"]["num_draws"],
        num_normal=int((images["split"] == "train").sum()),
    )
    inputs = _inputs(raw_images, images, features, parameters, has_clusters=False)
    turned = replace(inputs, rotations=parameters["lowshot"]["rotations"])
    return evaluate_settings(turned, settings)


logger = logging.getLogger(__name__)


def summarise_categories(task: dict[str, Any], **tables: pd.DataFrame) -> pd.DataFrame:
    """Every setting's mean metrics over all categories, and their deviation.

    Args:
        task: ``params:run.<task>``; ``spread`` tells what the deviation is over.
        tables: ``sweep_metrics_<namespace>`` of each category.

    Returns:
        See :func:`.sweep.summarise_sweep`.
    """
    named = by_category(task, "sweep_metrics", tables)
    return summarise_sweep(named, spread_over_draws=task["spread"] == "draws")


def draw_sweep(sweep_metrics: pd.DataFrame) -> Any:
    """Metrics against each parameter under study, a plotly figure to hover over."""
    return sweep_plot(sweep_metrics)


def _ablated(
    features: FeatureStore,
    parameters: dict[str, Any],
    has_clusters: bool,
    many_classes: bool = False,
) -> list[Setting]:
    """The settings of an ablation; of a bank of many classes its own coreset ratio is varied."""
    own_layers = sorted(set(parameters["backbones"][parameters["backbone"]]["layers"]))
    base = _base(parameters)
    if many_classes:
        ratio = parameters["memory_bank"]["multiclass_coreset_ratio"]
        base = replace(base, coreset_ratio=ratio)
    if features.header.layer_choices:
        base = replace(base, layers=tuple(own_layers))
    values = _values(parameters["ablation"], base, own_layers, has_clusters)
    settings = ablation_settings(base, values)
    if not many_classes:
        return settings
    keys = {PARAMETER_KEYS["coreset_ratio"]: MULTICLASS_RATIO}
    return [replace(s, parameter=keys.get(s.parameter, s.parameter)) for s in settings]


def _base(parameters: dict[str, Any]) -> Setting:
    """The run's own setting, which all others vary."""
    return Setting(
        parameter="",
        value="",
        masking=BackPatchMasking(**parameters["bpm"]),
        coreset_ratio=parameters["memory_bank"]["coreset_ratio"],
        top_k_ratio=parameters["scoring"]["top_k_ratio"],
        features=parameters["clustering"]["features"],
        method=parameters["scoring"]["method"],
    )


def _values(
    ablation: dict[str, list[Any]], base: Setting, own_layers: list[int], has_clusters: bool
) -> dict[str, list[Any]]:
    """What to try: the run's own value is always among those compared with it."""
    own = {
        "top_k_ratio": base.top_k_ratio,
        "kernel_size": base.masking.kernel_size,
        "threshold": base.masking.threshold,
        "mode": base.masking.mode,
        "features": base.features,
        "coreset_ratio": base.coreset_ratio,
        "layers": own_layers,
        "method": base.method,
    }
    values = {}
    for name, given in ablation.items():
        if not given or (name == "features" and not has_clusters):
            continue
        # The same blocks in another order are the same features.
        choices = [sorted(set(blocks)) for blocks in given] if name == "layers" else given
        missing = [] if own[name] in choices else [own[name]]
        listed = [*choices, *missing]
        is_number = all(isinstance(choice, (int, float)) for choice in listed)
        values[name] = sorted(listed) if is_number else [*missing, *choices]
    return values


def _inputs(
    raw_images: ImageFolder,
    images: pd.DataFrame,
    features: FeatureStore,
    parameters: dict[str, Any],
    has_clusters: bool,
) -> SweepInputs:
    normal, tested = images[images["split"] == "train"], images[images["split"] == "test"]
    preprocessing = Preprocessing(**parameters["datasets"][parameters["dataset"]]["preprocessing"])
    memory_bank, scoring = parameters["memory_bank"], parameters["scoring"]
    return SweepInputs(
        store=features,
        normal=list(normal["content_hash"]),
        tested=list(tested["content_hash"]),
        labels=tested["label"].to_numpy(),
        defects=list(tested["defect"]) if has_clusters else (),
        masks=_masks(raw_images, tested, preprocessing, parameters["evaluation"]),
        masked=has_ground_truth(tested),
        preprocessing=preprocessing,
        seed=parameters["seed"],
        projection_dim=memory_bank["projection_dim"],
        num_starts=memory_bank["num_starts"],
        coreset_parts=memory_bank["coreset_parts"],
        search=scoring["search"],
        num_neighbors=scoring["num_neighbors"],
        device=parameters["encoder"]["device"],
        aupro_limit=parameters["evaluation"]["aupro_limit"],
    )


def _masks(
    raw_images: ImageFolder,
    tested: pd.DataFrame,
    preprocessing: Preprocessing,
    evaluation: dict[str, Any],
) -> np.ndarray | None:
    known = tested[has_ground_truth(tested)]
    if known.empty:
        return None
    if preprocessing.tiles is not None:
        logger.warning("there are no pixel metrics of a sweep over images in tiles")
        return None
    threshold = evaluation["mask_threshold"]
    return np.stack(list(ground_truths(raw_images, known, preprocessing, threshold)))
