"""Arrays as one file, local or remote."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from kedro.io import DatasetError
from safetensors.numpy import load_file

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.datasets.array_bundle_dataset import ArrayBundleDataset

ARRAYS = {
    "half": np.arange(6, dtype=np.float16).reshape(2, 3),
    "exact": np.random.default_rng(0).standard_normal((4, 1, 2)).astype(np.float32),
    "whole": np.array([2**40, -1]),
    "empty": np.zeros((0, 3), np.float32),
}
METADATA = {"seed": 3, "bpm": {"mode": "soft", "threshold": 0.1}, "none": None, "text": "naïve"}


@pytest.fixture(params=["local", "memory"])
def filepath(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that does not exist yet, below folders that do not either."""
    if request.param == "local":
        return str(tmp_path / "new/folder/bank.safetensors")
    return f"memory://{uuid4()}/folder/bank.safetensors"


def test_arrays_and_metadata_come_back(filepath: str) -> None:
    dataset = ArrayBundleDataset(filepath=filepath)
    assert not dataset.exists()
    dataset.save(ArrayBundle(ARRAYS, METADATA))
    assert dataset.exists()
    loaded = ArrayBundleDataset(filepath=filepath).load()
    assert loaded.metadata == METADATA
    assert loaded.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].shape == array.shape
        assert (loaded.arrays[name] == array).all()


def test_saving_again_replaces_and_leaves_no_other_file(filepath: str) -> None:
    dataset = ArrayBundleDataset(filepath=filepath)
    dataset.save(ArrayBundle(ARRAYS, METADATA))
    dataset.save(ArrayBundle({"other": np.ones(2)}))
    assert list(dataset.load().arrays) == ["other"]
    assert dataset.load().metadata == {}
    fs, path = fsspec.core.url_to_fs(filepath)
    found = fs.find(path.rsplit("/", 1)[0])
    assert [name for name in found if "/.checksums/" not in name] == [path]


def test_views_are_stored_as_they_look(filepath: str) -> None:
    square = np.arange(9.0).reshape(3, 3)
    dataset = ArrayBundleDataset(filepath=filepath)
    dataset.save(ArrayBundle({"turned": square.T, "striped": square[:, ::2]}))
    loaded = dataset.load().arrays
    assert (loaded["turned"] == square.T).all()
    assert (loaded["striped"] == square[:, ::2]).all()


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    ArrayBundleDataset(filepath=str(path)).save(ArrayBundle(ARRAYS, METADATA))
    assert (load_file(path)["exact"] == ARRAYS["exact"]).all()


def test_a_missing_file_is_kedros_error(filepath: str) -> None:
    with pytest.raises(DatasetError):
        ArrayBundleDataset(filepath=filepath).load()
