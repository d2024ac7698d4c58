"""Small pictures of datasets, for Kedro-Viz."""

from __future__ import annotations

import base64
from io import BytesIO

from kedro_datasets._typing import ImagePreview
from PIL import Image

from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet

PREVIEW_IMAGES = 24
COLUMNS = 6


def picture_preview(picture: Image.Image) -> ImagePreview:
    """A picture as Kedro-Viz expects it: a PNG, base64-encoded.

    256 colours are enough for a preview, and a static site holds all of them in its pages.
    """
    content = BytesIO()
    picture.convert("RGB").quantize(256).save(content, "PNG", optimize=True)
    return ImagePreview(base64.b64encode(content.getvalue()).decode("ascii"))


def folder_preview(folder: ImageFolder) -> ImagePreview:
    """A contact sheet of images from all over a folder."""
    paths = folder.sample(PREVIEW_IMAGES)
    return picture_preview(contact_sheet([folder.read_image(path) for path in paths], COLUMNS))
