"""Pictures in the catalog."""

from __future__ import annotations

import base64
import inspect
import io
from pathlib import Path
from uuid import uuid4

import pytest
from kedro.io import DatasetError
from PIL import Image

from uniformaly_pipeline.datasets.picture_dataset import PictureDataset


def picture(colour: tuple[int, int, int] = (200, 30, 7)) -> Image.Image:
    """One pixel differs from the others, so that a mirrored picture is noticed."""
    image = Image.new("RGB", (7, 4), colour)
    image.putpixel((6, 0), (1, 2, 3))
    return image


@pytest.fixture(params=["local", "memory"])
def filepath(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that does not exist yet, below a folder that does not either."""
    if request.param == "local":
        return str(tmp_path / "folder/sheet.png")
    return f"memory://{uuid4()}/folder/sheet.png"


def test_a_picture_is_read_back_as_png_bytes_without_loss(filepath: str) -> None:
    PictureDataset(filepath=filepath).save(picture())
    content = PictureDataset(filepath=filepath).load()
    opened = Image.open(io.BytesIO(content))
    assert opened.format == "PNG"
    assert opened.size == (7, 4)
    assert opened.tobytes() == picture().tobytes()


def test_a_picture_exists_once_it_is_saved(filepath: str) -> None:
    dataset = PictureDataset(filepath=filepath)
    assert not dataset.exists()
    dataset.save(picture())
    assert dataset.exists()


def test_saving_again_replaces_the_picture(filepath: str) -> None:
    dataset = PictureDataset(filepath=filepath)
    dataset.save(picture())
    dataset.save(picture((9, 9, 9)))
    assert Image.open(io.BytesIO(dataset.load())).tobytes() == picture((9, 9, 9)).tobytes()


def test_loading_what_is_not_there_names_the_file(filepath: str) -> None:
    with pytest.raises(DatasetError, match=r"sheet\.png"):
        PictureDataset(filepath=filepath).load()


def test_preview_is_the_picture_for_kedro_viz(filepath: str) -> None:
    dataset = PictureDataset(filepath=filepath)
    dataset.save(picture())
    assert base64.b64decode(dataset.preview()) == dataset.load()
    # Kedro-Viz picks the display by the name of the return type.
    returned = inspect.signature(dataset.preview).return_annotation
    assert getattr(returned, "__name__", returned) == "ImagePreview"
