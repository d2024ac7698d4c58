"""The gallery through Kedro's catalog."""

from __future__ import annotations

import base64
import inspect
import io
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DataCatalog, DatasetError
from PIL import Image

from uniformaly_pipeline.datasets.gallery_dataset import GalleryDataset
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage


def images(number: int) -> list[GalleryImage]:
    """Missed anomalies with red views."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), (255, 0, 0), np.uint8)).save(buffer, "JPEG")
    views = {"image": buffer.getvalue(), "heat_map": buffer.getvalue()}
    return [
        GalleryImage(f"tile/test/crack/{row}.png", "tile", "crack", 1, 2.0, 0, 0.5, views)
        for row in range(number)
    ]


def open_preview(dataset: GalleryDataset) -> Image.Image:
    """The preview as Kedro-Viz would show it."""
    return Image.open(io.BytesIO(base64.b64decode(dataset.preview())))


def test_catalog_entry_saves_and_loads(tmp_path: Path) -> None:
    entry = {
        "type": "uniformaly_pipeline.datasets.gallery_dataset.GalleryDataset",
        "filepath": str(tmp_path / "gallery"),
        "metadata": {"kedro-viz": {"layer": "reporting"}},
    }
    catalog = DataCatalog.from_config({"gallery": entry})
    assert not catalog.exists("gallery")
    catalog.save("gallery", images(2))
    assert catalog.exists("gallery")
    assert catalog.load("gallery") == images(2)


def test_loading_what_is_not_there_names_the_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="gallery"):
        GalleryDataset(filepath=str(tmp_path / "gallery")).load()


def test_preview_is_a_contact_sheet_for_kedro_viz(tmp_path: Path) -> None:
    dataset = GalleryDataset(filepath=str(tmp_path))
    dataset.save(images(3))
    sheet = open_preview(dataset)
    assert sheet.format == "PNG"
    colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3).astype(int)
    assert (np.abs(colours - (255, 0, 0)).max(axis=1) < 20).mean() > 0.2
    # Kedro-Viz picks the display by the name of the return type.
    assert "ImagePreview" in str(inspect.signature(dataset.preview).return_annotation)


def test_preview_of_an_empty_gallery_is_an_image(tmp_path: Path) -> None:
    dataset = GalleryDataset(filepath=str(tmp_path))
    dataset.save([])
    assert open_preview(dataset).width > 0
