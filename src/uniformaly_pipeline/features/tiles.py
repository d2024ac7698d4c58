"""Large images in overlapping tiles: where they lie, and how their patches make one grid.

A tile is encoded as an image is. All tiles of an image lie on one grid of patches, so that those of
neighbours coincide where tiles overlap; there the mean of their values counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from uniformaly_pipeline.common.errors import InputError

ROUNDING = 1e-9
"""Share of a patch that an image may exceed a whole number of them by."""


@dataclass(frozen=True)
class Tiles:
    """How large images are cut.

    Attributes:
        size: Side of a tile in pixels of the image; an image that fits into one is not cut.
        overlap: Pixels that neighbours share at least.
    """

    size: int
    overlap: int = 0

    def cut(self, image_size: tuple[int, int]) -> bool:
        """Whether an image of (width, height) pixels takes more than one tile."""
        return max(image_size) > self.size


@dataclass(frozen=True)
class Tiling:
    """The tiles of one image.

    Attributes:
        image_size: (width, height) of the image in pixels.
        grid: (height, width) of a tile in patches.
        whole: (height, width) of the image in patches.
        origins: (row, column) of each tile's first patch in the whole grid, row by row.
        patch: Side of a patch in pixels of the image.
    """

    image_size: tuple[int, int]
    grid: tuple[int, int]
    whole: tuple[int, int]
    origins: tuple[tuple[int, int], ...]
    patch: float

    def box(self, origin: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a tile in pixels of the image."""
        width, height = self.image_size
        left, top = origin[1] * self.patch, origin[0] * self.patch
        right, bottom = left + self.grid[1] * self.patch, top + self.grid[0] * self.patch
        return left, top, min(right, width), min(bottom, height)

    def counted(self, origin: tuple[int, int]) -> np.ndarray:
        """The patches of a tile that show something of the image: bool [grid height, width]."""
        rows, columns = (
            np.arange(side) + first < limit
            for side, first, limit in zip(self.grid, origin, self.whole, strict=True)
        )
        return rows[:, None] & columns

    def places(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each tile in the whole grid, cut off at its end."""
        for row, column in self.origins:
            yield (
                slice(row, min(row + self.grid[0], self.whole[0])),
                slice(column, min(column + self.grid[1], self.whole[1])),
            )

    def patches(self) -> np.ndarray:
        """The place of each tile's patches in the whole grid, row by row: int64 [tiles, N].

        -1 for those beyond it.
        """
        places = np.arange(self.whole[0] * self.whole[1]).reshape(self.whole)
        found = np.full((len(self.origins), *self.grid), -1, np.int64)
        for tile, (rows, columns) in zip(found, self.places(), strict=True):
            inside = places[rows, columns]
            tile[: inside.shape[0], : inside.shape[1]] = inside
        return found.reshape(len(found), -1)

    def stitch(self, values: np.ndarray) -> np.ndarray:
        """Values of the tiles' patches [tiles, grid height, grid width] as one grid.

        Returns:
            float32 [whole height, whole width], the mean where tiles overlap; NaN counts for
            nothing, and stays where there is nothing else.
        """
        places, flat = self.patches().ravel(), values.ravel()
        kept = (places >= 0) & ~np.isnan(flat)
        size = self.whole[0] * self.whole[1]
        total = np.bincount(places[kept], flat[kept].astype(np.float64), size)
        count = np.bincount(places[kept], minlength=size)
        with np.errstate(invalid="ignore"):
            mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return mean.astype(np.float32).reshape(self.whole)


def lay_tiles(image_size: tuple[int, int], tiles: Tiles, grid: tuple[int, int]) -> Tiling:
    """Where the tiles of an image lie.

    Args:
        image_size: (width, height) of the image in pixels.
        tiles: How it is cut.
        grid: (height, width) of a tile in patches; both are the same.

    Raises:
        InputError: The overlap leaves no step from one tile to the next.
    """
    side = grid[0]
    patch = tiles.size / side
    step = side - math.ceil(tiles.overlap / patch - ROUNDING)
    if step < 1:
        raise InputError(
            f"preprocessing.tiles: an overlap of {tiles.overlap} pixels leaves no step between "
            f"tiles of {tiles.size} pixels: lower it"
        )
    width, height = (max(1, math.ceil(length / patch - ROUNDING)) for length in image_size)
    origins = tuple(
        (row, column)
        for row in _firsts(height, side, step)
        for column in _firsts(width, side, step)
    )
    return Tiling(image_size, grid, (height, width), origins, patch)


def tiling_of(image_size: tuple[int, int], tiles: Tiles, grid: tuple[int, int]) -> Tiling:
    """As :func:`lay_tiles`; an image that is not cut has one tile, which is the whole grid."""
    if tiles.cut(image_size):
        return lay_tiles(image_size, tiles, grid)
    return Tiling(image_size, grid, grid, ((0, 0),), max(image_size) / max(grid))


def _firsts(whole: int, side: int, step: int) -> list[int]:
    """First patches of the tiles along one side; the last one ends with the image."""
    last = max(0, whole - side)
    return [min(first, last) for first in range(0, last + step, step)]
