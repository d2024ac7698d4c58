"""What Kedro-Viz shows of datasets that are neither tables nor figures."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.datasets.array_bundle_dataset import ArrayBundleDataset
from uniformaly_pipeline.datasets.download_dataset import DownloadDataset
from uniformaly_pipeline.datasets.patch_scores_dataset import PatchScoresDataset
from uniformaly_pipeline.datasets.picture_dataset import PictureFolderDataset
from uniformaly_pipeline.datasets.tree_dataset import TreeDataset


def opened(preview: str) -> np.ndarray:
    """The pixels of a preview, uint8 [H, W, 3]."""
    picture = Image.open(io.BytesIO(base64.b64decode(preview)))
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB"))


def test_arrays_are_told_by_shape_and_long_lists_by_length(tmp_path: Path) -> None:
    dataset = ArrayBundleDataset(filepath=str(tmp_path / "bank.safetensors"))
    arrays = {"memory_bank": np.zeros((3, 2), np.float16)}
    dataset.save(ArrayBundle(arrays, {"images": list("abcdefghij"), "seconds": 1.5, "grid": [4]}))
    assert json.loads(dataset.preview()) == {
        "arrays": {"memory_bank": "float16 [3, 2]"},
        "images": "10 entries",
        "seconds": 1.5,
        "grid": [4],
    }


def test_patch_scores_are_heat_maps(tmp_path: Path) -> None:
    """On one scale: black is nothing, the highest score is the brightest."""
    scores = np.zeros((2, 4, 4), np.float32)
    scores[1, :, 2:] = 5
    dataset = PatchScoresDataset(filepath=str(tmp_path / "scores.safetensors"))
    dataset.save(ArrayBundle({"patch_scores": scores}, {}))
    pixels = opened(dataset.preview())
    quiet, loud = pixels[60, 60], pixels[60, 8 + 120 + 90]
    assert quiet.sum() < 30
    assert loud.sum() > 500


@pytest.mark.parametrize("number", [1, 3, 30])
def test_a_folder_of_pictures_is_a_contact_sheet(tmp_path: Path, number: int) -> None:
    dataset = PictureFolderDataset(path=str(tmp_path / "maps"))
    picture = Image.new("RGB", (8, 8), (0, 200, 0))
    dataset.save({f"bolt/{i:02d}": picture for i in range(number)})
    pixels = opened(dataset.preview())
    green = (pixels == (0, 200, 0)).all(axis=-1).sum()
    assert green == pytest.approx(min(number, 15) * 160**2, rel=0.01)


@pytest.mark.parametrize("kind", ["tree", "download"])
def test_folders_of_images_are_contact_sheets(tmp_path: Path, make_dataset: Any, kind: str) -> None:
    root = str(make_dataset(tmp_path / "images").root)
    dataset: Any = TreeDataset(filepath=root)
    if kind == "download":
        dataset = DownloadDataset(filepath=root, layout="folder")
    assert opened(dataset.preview()).shape[1] > 3 * 160
