"""The memory bank: a coreset of normal patch features (paper section 3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from uniformaly_pipeline import coreset
from uniformaly_pipeline.array_bundle import ArrayBundle
from uniformaly_pipeline.errors import InputError
from uniformaly_pipeline.feature_store import FeatureStore
from uniformaly_pipeline.masking import BackPatchMasking


def build_memory_bank(
    store: FeatureStore,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    *,
    coreset_ratio: float,
    projection_dim: int = coreset.PROJECTION_DIM,
    num_starts: int = coreset.NUM_STARTS,
    seed: int = 0,
    device: str = "cpu",
) -> ArrayBundle:
    """Collect the patches that count of normal images and keep a coreset of them.

    Args:
        store: Where the features are.
        content_hashes: The normal images.
        masking: Which patches count.
        coreset_ratio: Share of the patches to keep, 0..1; 1 keeps all.
        projection_dim: Dimensions in which the coreset is chosen; features that have no more are
            not projected.
        num_starts: Random points that the first distances are taken to.
        seed: Seed of projection and starts.
        device: Torch device, or ``auto``.

    Returns:
        Array ``memory_bank`` [K, D] in the store's type (float32 for soft masking); the metadata
        record how it was made.

    Raises:
        InputError: No patch counts.
    """
    patches = store.load(content_hashes, masking)
    num_patches = len(patches.features)
    if num_patches == 0:
        raise InputError("no foreground patch in the normal images: lower bpm.threshold")
    kept = np.arange(num_patches)
    if coreset_ratio < 1:
        kept = choose_coreset(
            patches.features,
            coreset_ratio,
            projection_dim=projection_dim,
            num_starts=num_starts,
            seed=seed,
            device=device,
        )
    exact = "float32" if masking.mode == "soft" else store.header.dtype
    return ArrayBundle(
        {"memory_bank": patches.features[kept].astype(exact)},
        {
            "num_images": len(content_hashes),
            "num_patches": num_patches,
            "coreset_ratio": coreset_ratio,
            "seed": seed,
            "bpm": asdict(masking),
            "features": json.loads(store.header.to_json()),
        },
    )


def choose_coreset(
    features: np.ndarray,
    ratio: float,
    *,
    projection_dim: int = coreset.PROJECTION_DIM,
    num_starts: int = coreset.NUM_STARTS,
    seed: int = 0,
    device: str = "cpu",
) -> np.ndarray:
    """Indices of a greedy k-center coreset of features [N, D]: int64 [int(ratio * N)]."""
    from uniformaly_pipeline.encoder import choose_device

    num_points, dim = features.shape
    if dim > projection_dim:
        features = features @ coreset.random_projection(dim, projection_dim, seed).T
    return coreset.greedy_coreset(
        features,
        coreset.coreset_size(num_points, ratio),
        coreset.random_starts(num_points, num_starts, seed),
        device=choose_device(device),
    )
