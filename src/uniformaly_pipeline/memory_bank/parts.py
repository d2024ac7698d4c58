"""A coreset in two rounds, each part of the patches worked on where it lies.

No process holds more than a part's patches, or the picks of all parts: see
:func:`.coreset.two_round_coreset`, whose picks these are. Parts are done one after another, or side
by side by whomever the run has, see :mod:`.common.spread`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.common.spread import spread
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore, PatchFeatures
from uniformaly_pipeline.memory_bank import coreset

IMAGES_AT_ONCE = 16


@dataclass(frozen=True)
class Patches:
    """The patches that count of normal images, in order, and how a coreset of them is chosen.

    Attributes:
        store: Where the features are.
        content_hashes: The normal images.
        masking: Which patches count.
        projection_dim: Most dimensions of the projections, P.
        num_starts: Random points that the first distances are taken to.
        seed: Seed of projection and starts.
        device: Torch device that chooses.
        bounds: int64 [parts + 1], where each part begins and ends among the N patches.
        ends: int64 [images + 1], where the patches of each image end among the N.
        size: How many patches to keep.
        kept: int64 [K], the patches that are kept, in order of their places; none yet at first.
        bank: float32 [K, D], their features.
    """

    store: FeatureStore
    content_hashes: Sequence[str]
    masking: BackPatchMasking
    projection_dim: int
    num_starts: int
    seed: int
    device: str
    bounds: np.ndarray
    ends: np.ndarray
    size: int
    kept: np.ndarray
    bank: np.ndarray

    def blocks(self, part: int) -> Iterator[tuple[int, PatchFeatures]]:
        """The patches of each block of images that a part is of, and where the first one stands.

        Blocks are the same whatever the parts, so that projections have the same bits.
        """
        begin, end = self.bounds[part], self.bounds[part + 1]
        if begin == end:
            return
        grid = self.store.grid_of(self.content_hashes)
        first = int(np.searchsorted(self.ends, begin, side="right")) - 1
        last = int(np.searchsorted(self.ends, end, side="left"))
        for image in range(first - first % IMAGES_AT_ONCE, last, IMAGES_AT_ONCE):
            hashes = self.content_hashes[image : image + IMAGES_AT_ONCE]
            yield int(self.ends[image]), self.store.load(hashes, self.masking, grid)

    def inside(self, part: int, at: int, count: int) -> slice:
        """Which of ``count`` patches from place ``at`` on are a part's."""
        begin, end = self.bounds[part] - at, self.bounds[part + 1] - at
        return slice(max(0, int(begin)), min(count, max(0, int(end))))


class Picks(NamedTuple):
    """What the first round picks of a part.

    Attributes:
        place: int64 [m], places among the N patches.
        patch: int32 [m], places in the grids, row by row.
        points: float32 [m, P], features, projected if they have more than P dimensions.
        radius: Largest distance of one of the part's points from the nearest pick.
    """

    place: np.ndarray
    patch: np.ndarray
    points: np.ndarray
    radius: float


class Chosen(NamedTuple):
    """The coreset of normal patches.

    Attributes:
        features: float32 [K, D].
        image: int32 [K], which image each is of.
        patch: int32 [K], its place in the grid, row by row.
        num_patches: How many there are in all, N.
        radius: Largest Euclidean distance of a patch's feature from the nearest kept one.
        radius_bound: What two rounds promise in the space in which they choose.
    """

    features: np.ndarray
    image: np.ndarray
    patch: np.ndarray
    num_patches: int
    radius: float
    radius_bound: float | None


def choose_in_parts(
    store: FeatureStore,
    content_hashes: Sequence[str],
    masking: BackPatchMasking,
    *,
    ratio: float,
    parts: int,
    projection_dim: int,
    num_starts: int,
    seed: int,
    device: str,
) -> Chosen:
    """Choose a coreset of the patches that count of normal images, in two rounds.

    Args:
        store: Where the features are.
        content_hashes: The normal images.
        masking: Which patches count.
        ratio: Share of the patches to keep, 0..1.
        parts: Into how many parts of neighbouring patches to split them, at least 1.
        projection_dim: Most dimensions of the projections, P.
        num_starts: Random points that the first distances are taken to.
        seed: Seed of projection and starts.
        device: Torch device that chooses.

    Raises:
        InputError: No patch counts.
    """
    nothing = np.zeros(0, np.int64)
    images = np.linspace(0, len(content_hashes), parts + 1).astype(np.int64)
    patches = Patches(
        store, content_hashes, masking, projection_dim, num_starts, seed, device,
        bounds=images, ends=nothing, size=0, kept=nothing,
        bank=np.zeros((0, store.dim), np.float32),
    )  # fmt: skip
    order = range(parts)
    counts = np.concatenate(list(spread(count_patches, order, patches)))
    total = int(counts.sum())
    if total == 0:
        raise InputError("no foreground patch in the normal images: lower bpm.threshold")
    sizes = [len(part) for part in np.array_split(np.arange(total), parts)]
    patches = replace(
        patches,
        ends=np.cumsum([0, *counts]),
        bounds=np.cumsum([0, *sizes]),
        size=coreset.coreset_size(total, ratio),
    )
    picks = list(_shown(spread(pick_from_part, order, patches), parts, "Choosing from each part"))
    union = np.concatenate([part.points for part in picks])
    second = coreset.second_round(
        union, patches.size, max(part.radius for part in picks),
        num_starts=num_starts, seed=seed, device=device,
    )  # fmt: skip
    index = np.concatenate([part.place for part in picks])[second.indices]
    patch = np.concatenate([part.patch for part in picks])[second.indices]
    sorting = np.argsort(index)
    patches = replace(patches, kept=index[sorting])
    features = np.empty((len(index), store.dim), np.float32)
    features[sorting] = np.concatenate(list(spread(features_of_part, order, patches)))
    measured = spread(radius_of_part, order, replace(patches, bank=features))
    return Chosen(
        features,
        (np.searchsorted(patches.ends, index, side="right") - 1).astype(np.int32),
        patch,
        total,
        max(_shown(measured, parts, "Measuring the bank")),
        second.radius_bound,
    )


def _shown(results: Iterator, parts: int, description: str) -> Iterator:
    return track(results, parts, description, "parts")


def count_patches(part: int, patches: Patches) -> np.ndarray:
    """How many patches count of each image of a part of the images: int64."""
    images = range(patches.bounds[part], patches.bounds[part + 1])
    found = [np.zeros(0, np.int64)]
    for first in images[::IMAGES_AT_ONCE]:
        block = patches.content_hashes[first : min(first + IMAGES_AT_ONCE, images.stop)]
        found.append(patches.store.count(block, patches.masking))
    return np.concatenate(found)


def pick_from_part(part: int, patches: Patches) -> Picks:
    """The first round: pick from a part as many as may be wanted of it."""
    projection = None
    if patches.store.dim > patches.projection_dim:
        dims = patches.store.dim, patches.projection_dim
        projection = coreset.random_projection(*dims, patches.seed).T
    begin, end = patches.bounds[part], patches.bounds[part + 1]
    points = np.empty((end - begin, min(patches.store.dim, patches.projection_dim)), np.float32)
    patch, done = np.empty(len(points), np.int32), 0
    for at, block in patches.blocks(part):
        own = patches.inside(part, at, len(block.features))
        values = block.features if projection is None else block.features @ projection
        filled = slice(done, done + own.stop - own.start)
        points[filled], patch[filled] = values[own], block.patch[own]
        done = filled.stop
    picked, radius = coreset.first_round(
        points, patches.size, len(patches.bounds) - 1,
        num_starts=patches.num_starts, seed=patches.seed, device=patches.device,
    )  # fmt: skip
    return Picks(begin + picked, patch[picked], points[picked], radius)


def features_of_part(part: int, patches: Patches) -> np.ndarray:
    """Features of the patches of a part that are kept, in order: float32 [k, D]."""
    found = [np.zeros((0, patches.store.dim), np.float32)]
    for at, block in patches.blocks(part):
        own = patches.inside(part, at, len(block.features))
        first, last = np.searchsorted(patches.kept, [at + own.start, at + own.stop])
        found.append(block.features[patches.kept[first:last] - at])
    return np.concatenate(found)


def radius_of_part(part: int, patches: Patches) -> float:
    """Largest distance of a feature of a part from the nearest of the bank."""
    radius = coreset.CoveringRadius(patches.bank)
    for at, block in patches.blocks(part):
        radius.update(block.features[patches.inside(part, at, len(block.features))])
    return radius.value
