"""A memory bank of normal patches as a method's model."""

from __future__ import annotations

from collections.abc import Sequence

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import PatchSource
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.methods.interface import FitSettings


def fit_bank(
    source: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    settings: FitSettings,
) -> ArrayBundle:
    """A coreset of the patches that count, see :func:`.bank.build_memory_bank`.

    Raises:
        InputError: No patch counts.
    """
    return build_memory_bank(
        source,
        content_hashes,
        masking,
        coreset_ratio=settings.coreset_ratio,
        projection_dim=settings.projection_dim,
        num_starts=settings.num_starts,
        coreset_parts=settings.coreset_parts,
        seed=settings.seed,
        device=settings.device,
        levels=settings.levels,
        regions=settings.regions,
    )
