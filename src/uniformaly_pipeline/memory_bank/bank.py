"""The memory bank: a coreset of normal patch features (paper section 3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore, PatchSource, StoreHeader
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.regions import Region
from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.memory_bank.parts import IMAGES_AT_ONCE, Chosen, choose_in_parts

SPACE = "features"
"""The space of a covering radius that is measured between the features themselves."""

_MADE_BY = {
    "backbone": "backbone settings",
    "weights_sha256": "weights",
    "preprocessing": "preprocessing",
    "precision": "precision",
    "grid": "patch grid",
    "dim": "feature size",
    "layer_choices": "blocks",
}
"""Entries of a store's header that features must share to be compared, and their names."""


@dataclass(frozen=True)
class Candidates:
    """The patches that a memory bank is chosen from, as the coreset sees them.

    Only these projections are held: the features of what is kept are read again. So memory grows
    with N * 128 and with the bank, not with the features of all images.

    Attributes:
        store: Where the features are.
        content_hashes: The normal images.
        masking: Which patches count.
        points: float32 [N, P], features, projected if they have more than P dimensions.
        image: int32 [N], which image each patch is of.
        patch: int32 [N], its place in the grid, row by row.
        ends: int64 [blocks + 1], where each block of images ends among the N.
    """

    store: PatchSource
    content_hashes: Sequence[str]
    masking: BackPatchMasking
    points: np.ndarray
    image: np.ndarray
    patch: np.ndarray
    ends: np.ndarray

    def features(self, kept: np.ndarray) -> np.ndarray:
        """Features of the candidates ``kept`` [K], in that order: float32 [K, D]."""
        features = np.empty((len(kept), self.store.dim), np.float32)
        block_of = np.searchsorted(self.ends, kept, side="right") - 1
        for block in np.unique(block_of):
            hashes = self.content_hashes[block * IMAGES_AT_ONCE : (block + 1) * IMAGES_AT_ONCE]
            rows = np.flatnonzero(block_of == block)
            loaded = self.store.load(hashes, self.masking).features
            features[rows] = loaded[kept[rows] - self.ends[block]]
        return features

    def covering_radius(self, bank: np.ndarray) -> float:
        """Largest Euclidean distance of a candidate's feature from the nearest of a bank [K, D].

        The features are read once more, a few images at a time.
        """
        radius = coreset.CoveringRadius(bank.astype(np.float32))
        blocks = range(0, len(self.content_hashes), IMAGES_AT_ONCE)
        for first in track(
            blocks, len(self.content_hashes), "Measuring the bank", "images", IMAGES_AT_ONCE
        ):
            hashes = self.content_hashes[first : first + IMAGES_AT_ONCE]
            radius.update(self.store.load(hashes, self.masking).features)
        return radius.value


def collect_candidates(
    store: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    projection_dim: int = coreset.PROJECTION_DIM,
    seed: int = 0,
) -> Candidates:
    """Project the patches that count of normal images, a few images at a time.

    Args:
        store: Where the features are.
        content_hashes: The normal images.
        masking: Which patches count.
        projection_dim: Most dimensions of the projections, P; features that have no more are not
            projected.
        seed: Seed of the projection.

    Raises:
        InputError: No patch counts.
    """
    projection = None
    if store.dim > projection_dim:
        projection = coreset.random_projection(store.dim, projection_dim, seed).T
    grid = store.grid_of(content_hashes)
    points, image, patch = [], [], []
    blocks = range(0, len(content_hashes), IMAGES_AT_ONCE)
    for first in track(
        blocks, len(content_hashes), "Reading normal patches", "images", IMAGES_AT_ONCE
    ):
        block = store.load(content_hashes[first : first + IMAGES_AT_ONCE], masking, grid)
        points.append(block.features if projection is None else block.features @ projection)
        image.append(block.image.astype(np.int32) + first)
        patch.append(block.patch.astype(np.int32))
    if sum(map(len, points)) == 0:
        raise InputError("no foreground patch in the normal images: lower bpm.threshold")
    return Candidates(
        store,
        content_hashes,
        masking,
        ends=np.cumsum([0, *map(len, points)]),
        points=_joined(points),
        image=_joined(image),
        patch=_joined(patch),
    )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Parts one after the other; the list is emptied on the way, so that no part is held twice."""
    total = sum(map(len, parts))
    joined = np.empty((total, *parts[0].shape[1:]), parts[0].dtype)
    end = total
    while parts:
        last = parts.pop()
        joined[end - len(last) : end] = last
        end -= len(last)
    return joined


def build_memory_bank(
    store: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    *,
    coreset_ratio: float,
    projection_dim: int = coreset.PROJECTION_DIM,
    num_starts: int = coreset.NUM_STARTS,
    coreset_parts: int = 1,
    seed: int = 0,
    device: str = "cpu",
    levels: Mapping[str, Levels] | None = None,
    regions: Mapping[str, Region] | None = None,
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
        coreset_parts: 1 for a greedy coreset, more for one in two rounds, see
            :func:`.coreset.two_round_coreset`; of a store on disk only a part's patches, or the
            picks of all parts, are then in memory at a time, see :mod:`.parts`.
        seed: Seed of projection and starts.
        device: Torch device, or ``auto``.
        levels: Black and white of deep images by class, recorded for images to come.
        regions: What counts of the images by class, recorded likewise.

    Returns:
        Array ``memory_bank`` [K, D] in the store's type; ``image`` and
        ``patch`` int32 [K] tell which image and which place in its grid each vector comes from,
        ``content_hashes`` which images these are, see :func:`bank_images`. The metadata record how
        the bank was made; ``covering_radius`` is the largest Euclidean distance of a patch that
        counts from the nearest kept one, among the features themselves
        (``covering_radius_space``), 0 where all are kept. Two rounds state their bound as well,
        ``covering_radius_bound``, which holds where the coreset was chosen
        (``covering_radius_bound_space``).

    Raises:
        InputError: No patch counts.
    """
    if coreset_ratio < 1 and coreset_parts > 1 and isinstance(store, FeatureStore):
        chosen = choose_in_parts(
            store,
            content_hashes,
            masking,
            ratio=coreset_ratio,
            parts=coreset_parts,
            projection_dim=projection_dim,
            num_starts=num_starts,
            seed=seed,
            device=_device_of_choice(device),
        )
    else:
        candidates = collect_candidates(store, content_hashes, masking, projection_dim, seed)
        num_patches = len(candidates.points)
        kept, radius_bound = np.arange(num_patches), None
        if coreset_ratio < 1:
            kept, radius_bound = choose_points(
                candidates.points,
                coreset_ratio,
                num_starts=num_starts,
                parts=coreset_parts,
                seed=seed,
                device=device,
            )
        bank = candidates.features(kept)
        radius = 0.0 if len(kept) == num_patches else candidates.covering_radius(bank)
        chosen = Chosen(
            bank, candidates.image[kept], candidates.patch[kept], num_patches, radius, radius_bound
        )
    return ArrayBundle(
        {
            "memory_bank": chosen.features.astype(store.header.dtype),
            "image": chosen.image,
            "patch": chosen.patch,
            "content_hashes": hashes_as_bytes(content_hashes),
        },
        {
            **describe_bank(store, content_hashes, masking, seed, levels, regions),
            "num_patches": chosen.num_patches,
            "coreset_ratio": coreset_ratio,
            "coreset_parts": coreset_parts,
            "covering_radius": chosen.radius,
            "covering_radius_space": SPACE,
            "covering_radius_bound": chosen.radius_bound,
            "covering_radius_bound_space": (
                f"projected to {projection_dim} dimensions" if store.dim > projection_dim else SPACE
            ),
        },
    )


def describe_bank(
    store: PatchSource,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    seed: int,
    levels: Mapping[str, Levels] | None = None,
    regions: Mapping[str, Region] | None = None,
) -> dict[str, Any]:
    """What the metadata of every model of normal images say, be it a memory bank or another.

    Args:
        store: Where the features are.
        content_hashes: The normal images.
        masking: Which patches count.
        seed: Of all that was drawn.
        levels: Black and white of deep images by class, for images to come.
        regions: What counts of the images by class, likewise.
    """
    return {
        "num_images": len(content_hashes),
        "seed": seed,
        "bpm": asdict(masking),
        "grid": list(store.grid_of(content_hashes)),
        "levels": {name: asdict(of_class) for name, of_class in (levels or {}).items()},
        "regions": {name: region.text for name, region in (regions or {}).items()},
        "features": json.loads(store.header.to_json()),
    }


def bank_images(bank: ArrayBundle) -> list[str]:
    """Content hashes of the images that a memory bank was made of, in the order it counts them."""
    return [row.tobytes().rstrip(b"\0").decode() for row in bank.arrays["content_hashes"]]


def bank_digest(bank: ArrayBundle) -> str:
    """What tells the vectors of a memory bank, and their order, from all others."""
    vectors = np.ascontiguousarray(bank.arrays["memory_bank"])
    return hashlib.sha256(
        f"{vectors.shape}{vectors.dtype}".encode() + vectors.tobytes()
    ).hexdigest()


def bank_levels(bank: ArrayBundle, name: str) -> Levels:
    """Black and white of a class's deep images, as the memory bank's own were read.

    Of a bank that holds no class of the name, or is of an older version, they are the default.
    """
    ends = bank.metadata.get("levels", {}).get(name)
    return Levels(tuple(ends["integer"]), tuple(ends["floating"])) if ends else Levels()


def bank_region(bank: ArrayBundle, name: str) -> Region | None:
    """The region of interest of a class, as it was of the memory bank's own images."""
    text = bank.metadata.get("regions", {}).get(name)
    return Region.from_text(text) if text else None


def check_same_preprocessing(bank: ArrayBundle, preprocessing: Preprocessing) -> None:
    """Refuse a memory bank of images that were prepared in another way.

    Raises:
        InputError: They were.
    """
    if dict(bank.metadata["features"]["preprocessing"]) != json.loads(
        json.dumps(preprocessing.to_dict())
    ):
        raise InputError(unlike(["preprocessing"]))


def check_same_features(bank: ArrayBundle, header: StoreHeader) -> None:
    """Refuse to compare features that were made in different ways.

    Args:
        bank: The memory bank, or patch scores; its metadata tell how its features were made.
        header: How the new features are made.

    Raises:
        InputError: They differ; the line names in what.
    """
    differences = header.differences(bank.metadata["features"])
    named = [_MADE_BY[key] for key in differences if key in _MADE_BY]
    if named:
        raise InputError(unlike(named))


def check_same_normal_images(bank: ArrayBundle, content_hashes: Sequence[str]) -> None:
    """Refuse a memory bank of other images than a category's normal ones.

    Raises:
        InputError: It is of others; an earlier run made it before images were changed.
    """
    if sorted(bank_images(bank)) != sorted(content_hashes):
        raise InputError(
            "the memory bank that an earlier run made is of other normal images than those listed "
            f"now: {RUN_AGAIN}"
        )


def unlike(differences: Sequence[str]) -> str:
    """The line that refuses a bank which was made in another way."""
    return (
        f"the memory bank was made with other {' and '.join(differences)} than this run's: use "
        f"the settings that made it, or {RUN_AGAIN}"
    )


def hashes_as_bytes(content_hashes: Sequence[str]) -> np.ndarray:
    """Texts as an array that safetensors can hold, uint8 [images, longest text]."""
    return np.array(content_hashes, dtype="S").view(np.uint8).reshape(len(content_hashes), -1)


def _device_of_choice(device: str) -> str:
    """The torch device that chooses a coreset."""
    from uniformaly_pipeline.features.encoder import choose_device

    chosen = choose_device(device)
    return "cpu" if chosen == "mps" else chosen  # that lacks double precision


def choose_points(
    points: np.ndarray,
    ratio: float,
    *,
    num_starts: int = coreset.NUM_STARTS,
    parts: int = 1,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[np.ndarray, float | None]:
    """Choose a coreset of projected points [N, P].

    Args:
        points: float32 [N, P].
        ratio: Share of the points to keep, 0..1.
        num_starts: Random points that the first distances are taken to.
        parts: 1 for a greedy coreset, more for one in two rounds.
        seed: Seed of the starts.
        device: Torch device, or ``auto``.

    Returns:
        Indices int64 [int(ratio * N)] in the order of picking, where a smaller greedy coreset is
        the beginning of a larger one; and for two rounds the bound on its covering radius.
    """
    device = _device_of_choice(device)
    size = coreset.coreset_size(len(points), ratio)
    if parts > 1:
        chosen = coreset.two_round_coreset(
            points, size, parts, num_starts=num_starts, seed=seed, device=device
        )
        return chosen.indices, chosen.radius_bound
    starts = coreset.random_starts(len(points), num_starts, seed)
    return coreset.greedy_coreset(points, size, starts, device=device), None


def choose_coreset(
    features: np.ndarray,
    ratio: float,
    *,
    projection_dim: int = coreset.PROJECTION_DIM,
    num_starts: int = coreset.NUM_STARTS,
    seed: int = 0,
    device: str = "cpu",
) -> np.ndarray:
    """Choose a greedy k-center coreset of features at hand (paper section 3).

    Args:
        features: float32 [N, D].
        ratio: Share of the features to keep, 0..1; at least one is kept.
        projection_dim: Dimensions in which the coreset is chosen; features that have no more are
            not projected.
        num_starts: Random points that the first distances are taken to.
        seed: Seed of projection and starts.
        device: Torch device, or ``auto``.

    Returns:
        Indices int64 [int(ratio * N)], in the order of picking.
    """
    dim = features.shape[1]
    if dim > projection_dim:
        features = features @ coreset.random_projection(dim, projection_dim, seed).T
    return choose_points(features, ratio, num_starts=num_starts, seed=seed, device=device)[0]
