"""The methods by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import PatchSource
from uniformaly_pipeline.memory_bank.bank import unlike
from uniformaly_pipeline.scoring.methods import anomalydino, mean_patch_knn, padim
from uniformaly_pipeline.scoring.methods.banks import fit_bank
from uniformaly_pipeline.scoring.methods.interface import (
    UNIFORMALY,
    FitSettings,
    Method,
    MethodName,
    Scorer,
    SearchSettings,
)
from uniformaly_pipeline.scoring.methods.patchcore import PatchCore
from uniformaly_pipeline.scoring.methods.uniformaly import UniFormaly

METHODS: Mapping[str, Method] = {
    "uniformaly": Method(fit_bank, UniFormaly.of),
    "patchcore": Method(fit_bank, PatchCore.of),
    "anomalydino": Method(
        anomalydino.fit, anomalydino.AnomalyDino.of, view=anomalydino.UnitPatches
    ),
    "padim": Method(padim.fit, padim.PaDiM.of, compares_patches=False, needs_one_grid=True),
    "mean_patch_knn": Method(
        mean_patch_knn.fit,
        mean_patch_knn.MeanPatchNeighbors.of,
        compares_patches=False,
        localises=False,
    ),
}
"""Every method, by its :data:`.interface.MethodName`."""

ENTRY = "method"
"""Entry of a model's metadata: by which method it was made; UniFormaly's have none."""


def fit_model(
    method: MethodName,
    source: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    settings: FitSettings,
) -> ArrayBundle:
    """Make a method's model of normal images, see :class:`.interface.Method`.

    Raises:
        InputError: No patch counts.
    """
    model = METHODS[method].fit(source, content_hashes, masking, settings)
    if method == UNIFORMALY:
        return model
    return ArrayBundle(model.arrays, {**model.metadata, ENTRY: method})


def search_settings(scoring: Mapping[str, Any], loads_torch: bool = True) -> SearchSettings:
    """What of ``scoring`` a scorer goes by."""
    return SearchSettings(
        scoring["search"], scoring["num_neighbors"], loads_torch, scoring["top_k_ratio"]
    )


def scorer_of(method: str, model: ArrayBundle, settings: SearchSettings) -> Scorer:
    """A model at work.

    Raises:
        InputError: It was made by another method, or cannot be searched as asked.
    """
    if method_of(model) != method:
        raise InputError(unlike(["method (scoring.method)"]))
    return METHODS[method].scorer(model, settings)


def method_of(model: ArrayBundle) -> str:
    """Name of the method that made a model."""
    return str(model.metadata.get(ENTRY, UNIFORMALY))


def localises(patch_scores: ArrayBundle) -> bool:
    """Whether patches have scores of their own, from which pixels can be judged."""
    scoring: Mapping[str, Any] = patch_scores.metadata.get("scoring", {})
    return METHODS[scoring.get("method", UNIFORMALY)].localises


def check_compares_patches(method: str, what: str) -> None:
    """Refuse what only a memory bank of normal patches can do.

    Args:
        method: Name of the method.
        what: What is asked of it, for the line.

    Raises:
        InputError: It has none.
    """
    if not METHODS[method].compares_patches:
        able = [name for name, each in METHODS.items() if each.compares_patches]
        raise InputError(
            f"scoring.method is {method}, and {what} compares patches with normal ones, which "
            f"{', '.join(able[:-1])} and {able[-1]} do"
        )
