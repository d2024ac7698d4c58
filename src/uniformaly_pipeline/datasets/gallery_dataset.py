"""A category's gallery in the catalog, shown in Kedro-Viz as a contact sheet."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_path import as_path
from uniformaly_pipeline.datasets.errors import DatasetInputError, damage_as_warning
from uniformaly_pipeline.datasets.origins import own_place, own_sources, remember
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.reporting.gallery.storage import (
    gallery_exists,
    gallery_origin,
    load_gallery,
    save_gallery,
)

_PREVIEW_TILE_PX = 144
_BLANK = np.full((1, 1, 3), 255, np.uint8)


class GalleryDataset(AbstractDataset[list[GalleryImage], list[GalleryImage]]):
    """Saves and loads a list of gallery images as a folder of JPEGs with an index.

    A save replaces the whole gallery in one step; a save that fails leaves the old one.

    Example of a catalog entry::

        "{task}.{category}.gallery":
          type: uniformaly_pipeline.datasets.gallery_dataset.GalleryDataset
          filepath: data/08_reporting/gallery/{category}
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Remember where the gallery is.

        Args:
            filepath: Path or URL of the gallery's folder.
            metadata: Ignored here; read by plugins such as Kedro-Viz.
        """
        self._location = as_path(filepath)
        self.metadata = metadata

    def _load(self) -> list[GalleryImage]:
        try:
            images = load_gallery(self._location)
        except InputError as error:
            raise DatasetInputError(str(error)) from error
        if (origin := gallery_origin(self._location)) is not None:
            remember(str(self._location), origin["identity"])
        return images

    def _save(self, data: list[GalleryImage]) -> None:
        folder = str(self._location)
        save_gallery(self._location, data, own_sources(folder), own_place(folder))

    def set_aside_damage(self) -> None:
        """Set the gallery aside if it is not what was saved, with a warning."""
        with damage_as_warning():
            self._load()

    def paths(self) -> list[str]:
        """The folder."""
        return [str(self._location)]

    def _exists(self) -> bool:
        return gallery_exists(self._location)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._location.as_posix()}

    def preview(self, limit: int = 8) -> ImagePreview:
        """Show the first images, every view of each, two images to a row.

        Args:
            limit: Images to show at most.

        Returns:
            A PNG, base64-encoded, as Kedro-Viz expects it.
        """
        images = self._load()[:limit]
        views_per_image = max((len(image.views) for image in images), default=1)
        pictures: list[Image.Image | np.ndarray] = []
        captions: list[str] = []
        for image in images:
            for view, content in image.views.items():
                pictures.append(Image.open(io.BytesIO(content)))
                is_first = view == next(iter(image.views))
                summary = f"{image.defect}: {image.verdict}, {image.score:.4g}"
                captions.append(summary if is_first else view.replace("_", " "))
            # Blank tiles in place of views that this image lacks keep the columns.
            missing = views_per_image - len(image.views)
            pictures += [_BLANK] * missing
            captions += [""] * missing
        if not pictures:
            pictures, captions = [_BLANK], ["no images"]
        sheet = contact_sheet(pictures, 2 * views_per_image, captions, _PREVIEW_TILE_PX)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG", optimize=True)
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode("ascii"))
