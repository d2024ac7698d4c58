"""What of the images the encoder sees: shares, and masks that lie where nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.tiles import lay_tiles
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.regions import Region, regions_of

SEEN_ALL = 0.995
"""Share of an image from which on it counts as wholly seen: the rest is rounding."""

MOST_DISTORTED = 0.1
"""How much longer or shorter than in the image a side may be beside the other."""


def view_findings(
    folder: ImageFolder,
    manifest: pd.DataFrame,
    preprocessing: Preprocessing,
    grid_of: Callable[[], tuple[int, int]] | None = None,
) -> pd.DataFrame:
    """What a crop or a region of interest leaves out of the images, and the masks that lie there.

    Masks are read of images that are not wholly seen only.

    Args:
        folder: The data set's root.
        manifest: See :func:`.manifest.build_manifest`.
        preprocessing: From image to input.
        grid_of: Gives (height, width) of an input in patches; asked only where there is a region.

    Returns:
        Findings as those of :func:`.health.examine`.

    Raises:
        InputError: No patch counts of a region of interest; the line names its class.
    """
    findings = []
    regions = regions_of(manifest)
    grid = grid_of() if regions and grid_of is not None else None
    for name, rows in manifest.groupby("class", sort=True):
        sizes = list(zip(rows["width"], rows["height"], strict=True))
        seen = np.array([preprocessing.seen_share(size) for size in sizes])
        if (seen < SEEN_ALL).any():
            text = (
                f"{_span(1 - seen)} of each image of {name} is not looked at: preprocessing crops "
                "it. With resize alone, crop and pad null, all of it is"
            )
            findings.append(("warning", str(name), "field of view", text))
        distorted = rows["image"][[_distortion(preprocessing, s) > MOST_DISTORTED for s in sizes]]
        if len(distorted):
            text = (
                f"{len(distorted)} of {len(rows)} images of {name} are squeezed by more than "
                f"{MOST_DISTORTED:.0%}, such as {distorted.iloc[0]}: {_squeezed_by(preprocessing)}"
            )
            findings.append(("warning", str(name), "distortion", text))
        region = regions.get(rows["image"].iloc[0])
        if region is not None:
            if grid is not None:
                _check_region(preprocessing, region, grid, str(name))
            text = (
                f"{1 - region.pixels.mean():.0%} of each image of {name} lies outside of its "
                "region of interest and does not count"
            )
            findings.append(("warning", str(name), "region of interest", text))
        partly = rows if region is not None else rows[seen < SEEN_ALL]
        outside = list(_outside(folder, partly, preprocessing, regions, grid))
        if outside:
            more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
            text = (
                f"what the masks of {', '.join(outside[:3])}{more} mark lies wholly outside of "
                "what is looked at"
            )
            findings.append(("warning", str(name), "masks outside", text))
    return pd.DataFrame(findings, columns=["severity", "class", "check", "finding"])


def _check_region(
    preprocessing: Preprocessing, region: Region, grid: tuple[int, int], name: str
) -> None:
    try:
        preprocessing.check_region(region, grid)
    except InputError as error:
        raise InputError(f"category '{name}': {error}") from error


def _squeezed_by(preprocessing: Preprocessing) -> str:
    """Why images are squeezed, and what would keep their aspect."""
    if isinstance(preprocessing.resize, int):
        return (
            f"preprocessing.resize of {preprocessing.resize} leaves a few pixels of their shorter "
            "side. A larger one, or preprocessing.tiles, keeps more of it"
        )
    height, width = preprocessing.input_size
    return (
        f"preprocessing.resize makes all {width}x{height} pixels. A single number keeps their "
        "aspect"
    )


def _distortion(preprocessing: Preprocessing, size: tuple[int, int]) -> float:
    """How far the sides of an image are from their proportion, 0 for not at all.

    An image of one row or column has no other choice.
    """
    fitted = preprocessing.fitted_size(size)
    if 1 in size:
        return 0.0
    ratio = (fitted[0] / fitted[1]) / (size[0] / size[1])
    return max(ratio, 1 / ratio) - 1


def _span(shares: np.ndarray) -> str:
    """Shares as a percentage, or from the least to the largest."""
    least, most = float(shares.min()), float(shares.max())
    return f"{least:.0%} to {most:.0%}" if most - least > 0.01 else f"{most:.0%}"


def _outside(
    folder: ImageFolder,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    regions: Mapping[str, Region],
    grid: tuple[int, int] | None,
) -> Iterator[str]:
    """Images of which nothing that their masks mark is looked at."""
    for row in rows[rows["mask"].notna() & (rows["mask_pixels"] > 0)].itertuples():
        seen = frame_view((row.width, row.height), preprocessing, regions.get(row.image), grid)
        mask = np.asarray(folder.read_mask(row.mask)) > 0
        if seen is not None and not (mask & seen).any():
            yield row.image


def frame_view(
    image_size: tuple[int, int],
    preprocessing: Preprocessing,
    region: Region | None = None,
    grid: tuple[int, int] | None = None,
) -> np.ndarray | None:
    """The pixels of an image that are looked at, bool [H, W]; ``None`` where all are.

    Args:
        image_size: (width, height) of the image in pixels.
        preprocessing: From image to input.
        region: Its region of interest, ``None`` for all.
        grid: (height, width) of an input in patches. Where it is known, what of the region lies in
            patches that do not count is not looked at, either.
    """
    if preprocessing.seen_share(image_size) >= SEEN_ALL:
        seen = None
    else:
        left, top, right, bottom = map(round, preprocessing.seen_box(image_size))
        seen = np.zeros(image_size[::-1], bool)
        seen[top:bottom, left:right] = True
    if region is None:
        return seen
    pixels = region.pixels if seen is None else seen & region.pixels
    return pixels if grid is None else pixels & _counted_pixels(preprocessing, region, grid)


def _counted_pixels(
    preprocessing: Preprocessing, region: Region, grid: tuple[int, int]
) -> np.ndarray:
    """The pixels of an image whose patches count, bool [H, W]."""
    size = region.size
    if preprocessing.tiles is not None and preprocessing.is_cut(size):
        tiling = lay_tiles(size, preprocessing.tiles, grid)
        (rows, columns), patch = tiling.whole, tiling.patch
        box = (0.0, 0.0, columns * patch, rows * patch)
        counted = region.covers(box, tiling.whole)
    else:
        box, counted = preprocessing.input_box(size), preprocessing.counted(size, grid, region)
    across, down = (
        _patches_of(side, *ends, number)
        for side, ends, number in zip(
            size, ((box[0], box[2]), (box[1], box[3])), counted.shape[::-1], strict=True
        )
    )
    # Pixels beside the grid are of the row or column that is put in for them.
    framed = np.pad(counted, 1)
    pixels: np.ndarray = framed[np.ix_(down, across)]
    return pixels


def _patches_of(side: int, first: float, last: float, number: int) -> np.ndarray:
    """Which of so many patches each pixel of a line is in, from 1 on; 0 or one more for none."""
    place = (np.arange(side) + 0.5 - first) * (number / (last - first))
    return np.clip(np.floor(place).astype(int) + 1, 0, number + 1)
