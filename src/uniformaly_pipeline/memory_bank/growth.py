"""Normal images added to a memory bank whose own images are gone.

Not in the paper. The old vectors all stay, so no distance to the bank grows: what was normal stays
so, and scores of held-out images can only fall. Of the new patches the greedy k-center coreset goes
on where it ended: again and again it takes the patch that is farthest from all kept ones, old and
new (paper section 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import PatchSource
from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.memory_bank.bank import bank_images, check_same_features, hashes_as_bytes
from uniformaly_pipeline.memory_bank.exact_search import ExactSearch

GROWN = "grown_since_calibration"
"""Entry of a bank's metadata: whether it has learned images after its detector's calibration."""


def grow_bank(
    bank: ArrayBundle,
    source: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    coreset_ratio: float | None = None,
) -> ArrayBundle:
    """Add a coreset of new normal images to a memory bank.

    Args:
        bank: The memory bank, see :func:`.bank.build_memory_bank`.
        source: Where the features of the new images are.
        content_hashes: The new images.
        masking: Which patches count, as in the bank.
        coreset_ratio: Share of the new patches to keep, 0..1; by default the bank's.

    Returns:
        The bank with the new vectors after the old ones. ``covering_radius`` is the larger of the
        old one and that of the new patches, and so a bound for the old patches.

    Raises:
        InputError: The features were made in another way, or no patch counts.
    """
    check_same_features(bank, source.header)
    patches = source.load(content_hashes, masking)
    if len(patches.features) == 0:
        raise InputError("no foreground patch in the new images: there is nothing to add")
    old = bank.arrays["memory_bank"].astype(np.float32)
    ratio = bank.metadata["coreset_ratio"] if coreset_ratio is None else coreset_ratio
    size = coreset.coreset_size(len(patches.features), ratio)
    picked = farthest_first(old, patches.features, size, seed=int(bank.metadata["seed"]))
    vectors = np.concatenate([old, patches.features[picked]])
    radius = coreset.CoveringRadius(vectors)
    radius.update(patches.features)
    known = bank_images(bank)
    arrays = {
        "memory_bank": vectors.astype(bank.arrays["memory_bank"].dtype),
        "image": np.concatenate(
            [bank.arrays["image"], patches.image[picked].astype(np.int32) + np.int32(len(known))]
        ),
        "patch": np.concatenate([bank.arrays["patch"], patches.patch[picked].astype(np.int32)]),
        "content_hashes": hashes_as_bytes([*known, *content_hashes]),
    }
    metadata = {
        **bank.metadata,
        "num_images": bank.metadata["num_images"] + len(content_hashes),
        "num_patches": bank.metadata["num_patches"] + len(patches.features),
        "covering_radius": max(bank.metadata["covering_radius"], radius.value),
        "additions": [
            *bank.metadata.get("additions", []),
            {"images": len(content_hashes), "patches": len(patches.features),
             "vectors": len(picked), "covering_radius": radius.value},
        ],
    }  # fmt: skip
    return ArrayBundle(arrays, metadata)


def farthest_first(old: np.ndarray, points: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """Pick points one by one, each the farthest from the old ones and from those picked before.

    Args:
        old: float32 [K, D], what is kept already.
        points: float32 [N, D].
        size: How many to pick, at most N; fewer where all others coincide with kept ones.
        seed: Seed of the projection to 128 dimensions in which distances are taken.

    Returns:
        int64 [size or fewer], indices in the order of picking; of equally far points the first.
    """
    dim = points.shape[1]
    if dim > coreset.PROJECTION_DIM:
        projection = coreset.random_projection(dim, coreset.PROJECTION_DIM, seed).T
        old, points = old @ projection, points @ projection
    centre = old.mean(axis=0)
    nearest = old[ExactSearch(old - centre).query(points - centre)[:, 0]]
    left = np.square(points - nearest).sum(axis=1)
    picked: list[int] = []
    for _ in track(range(size), size, "Choosing what to add", "patches"):
        farthest = int(left.argmax())
        if left[farthest] <= 0:
            break
        picked.append(farthest)
        left = np.minimum(left, np.square(points - points[farthest]).sum(axis=1))
    return np.array(picked, np.int64)
