"""Patch scores in the catalog, shown in Kedro-Viz as heat maps."""

from __future__ import annotations

import numpy as np
from kedro_datasets._typing import ImagePreview

from uniformaly_pipeline.datasets.array_bundle_dataset import ArrayBundleDataset
from uniformaly_pipeline.datasets.previews import COLUMNS, PREVIEW_IMAGES, picture_preview
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet

BRIGHTEST = 0.995
"""Share of the scores below the brightest colour, as in the report's heat maps."""


class PatchScoresDataset(ArrayBundleDataset):
    """An array bundle whose ``patch_scores`` [B, grid height, grid width] can be looked at."""

    def preview(self) -> ImagePreview:
        """Heat maps of test images from all over the category, on one scale."""
        import matplotlib

        grids = self.load().arrays["patch_scores"]
        count = min(PREVIEW_IMAGES, len(grids))
        # Test images are sorted by kind: evenly spaced ones show all kinds.
        shown = np.linspace(0, len(grids) - 1, count).round().astype(int)
        scale = float(np.quantile(grids, BRIGHTEST)) or 1.0
        colours = matplotlib.colormaps["inferno"](np.clip(grids[shown] / scale, 0, 1))[..., :3]
        tiles = [np.rint(tile * 255).astype(np.uint8) for tile in colours]
        captions = [f"test image {number + 1}" for number in shown]
        return picture_preview(contact_sheet(tiles, COLUMNS, captions, tile=112))
