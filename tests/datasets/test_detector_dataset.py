"""A detector in the catalog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uniformaly_pipeline.datasets.detector_dataset import DetectorDataset
from uniformaly_pipeline.datasets.errors import DatasetInputError


def test_a_detector_is_saved_and_loaded(detector_file: Path, tmp_path: Path) -> None:
    state = DetectorDataset(filepath=str(detector_file)).load()
    copy = DetectorDataset(filepath=str(tmp_path / "new/folder/copy.safetensors"))
    assert not copy.exists()
    copy.save(state)
    assert copy.exists()
    again = copy.load()
    assert again.threshold == state.threshold
    np.testing.assert_array_equal(
        again.bank.arrays["memory_bank"], state.bank.arrays["memory_bank"]
    )
    assert again.thumbnails == state.thumbnails


def test_what_is_wrong_with_it_is_an_error_of_the_dataset(tmp_path: Path) -> None:
    """Kedro passes these on, and the hooks turn them into one line."""
    (tmp_path / "bad.safetensors").write_text("hello")
    run = tmp_path / "06_models/defect/demo/quickstart/default/bolt"
    for path, expected in [
        (tmp_path / "bad.safetensors", "is no detector"),
        (tmp_path / "gone.safetensors", "does not exist"),
        (run, "holds no run defect/demo/quickstart/default of 'bolt'"),
    ]:
        with pytest.raises(DatasetInputError, match=expected):
            DetectorDataset(filepath=str(path)).load()
    (tmp_path / "file").write_text("")
    state = DetectorDataset(filepath=str(tmp_path / "file" / "below.safetensors"))
    assert not state.exists()
