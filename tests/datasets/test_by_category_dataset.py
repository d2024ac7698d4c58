"""The files of many categories as one dataset."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from uniformaly_pipeline.datasets.by_category_dataset import ByCategoryDataset


@pytest.fixture
def dataset(tmp_path: Path) -> ByCategoryDataset:
    entry = {
        "type": "uniformaly_pipeline.datasets.checked_dataset.CheckedDataset",
        "dataset": "json.JSONDataset",
        "filepath": f"{tmp_path}/<category>/metrics.json",
    }
    return ByCategoryDataset(dataset=entry, categories=["nut", "bolt"])


def test_each_category_lies_in_a_file_of_its_own(
    dataset: ByCategoryDataset, tmp_path: Path
) -> None:
    dataset.save({"nut": {"auroc": 1.0}})
    assert not dataset.exists()
    dataset.save({"bolt": {"auroc": 0.5}})
    assert dataset.exists()
    assert json.loads((tmp_path / "bolt/metrics.json").read_text()) == {"auroc": 0.5}
    assert dict(dataset.load()) == {"nut": {"auroc": 1.0}, "bolt": {"auroc": 0.5}}
    (tmp_path / "nut/metrics.json").unlink()
    assert not dataset.exists()


def test_nothing_is_read_before_it_is_asked_for(dataset: ByCategoryDataset) -> None:
    loaded = dataset.load()
    assert list(loaded) == ["nut", "bolt"]
    dataset.save({"nut": 1, "bolt": 2})
    assert loaded["nut"] == 1
    dataset.save({"nut": 3})
    assert loaded["nut"] == 3  # it was not kept


def test_worker_processes_get_a_copy(dataset: ByCategoryDataset) -> None:
    dataset.save({"nut": 1, "bolt": 2})
    assert dict(pickle.loads(pickle.dumps(dataset)).load()) == {"nut": 1, "bolt": 2}
