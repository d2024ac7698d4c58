"""The feature store in the catalog."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.io import DatasetError

from uniformaly_pipeline.common.errors import RUN_AGAIN, find_input_error
from uniformaly_pipeline.datasets.feature_store_dataset import FeatureStoreDataset


def test_saving_encodes_what_is_missing_and_loading_opens_the_store(
    fake_encoder: Any, tmp_path: Path
) -> None:
    dataset = FeatureStoreDataset(filepath=str(tmp_path / "features"))
    assert not dataset.exists()
    dataset.save(fake_encoder.stream(["a", "b"]))
    dataset.save(fake_encoder.stream(["b", "c"]))
    assert dataset.exists()
    assert fake_encoder.encoded == ["a", "b", "c"]
    store = dataset.load()
    assert store.attention(["#c", "#a"]).shape == (2, 4, 5)


def test_preview_says_how_the_features_were_made(fake_encoder: Any, tmp_path: Path) -> None:
    dataset = FeatureStoreDataset(filepath=str(tmp_path))
    dataset.save(fake_encoder.stream(["a"], weights_sha256="abc"))
    assert json.loads(str(dataset.preview()))["weights_sha256"] == "abc"


def test_a_folder_elsewhere_does_as_well(fake_encoder: Any) -> None:
    dataset = FeatureStoreDataset(filepath=f"memory://{uuid.uuid4().hex}/nuts/vit/default")
    assert not dataset.exists()
    dataset.save(fake_encoder.stream(["a", "b"]))
    assert dataset.exists()
    assert dataset.load().attention(["#b", "#a"]).shape == (2, 4, 5)


def test_a_missing_store_is_an_input_error(tmp_path: Path) -> None:
    dataset = FeatureStoreDataset(filepath=str(tmp_path / "x"))
    with pytest.raises(DatasetError) as error:
        dataset.load()
    assert f"holds no features: {RUN_AGAIN}" in str(error.value)
    assert find_input_error(error.value) is not None


def test_a_refusal_while_saving_reaches_the_user_as_one_line(
    fake_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DatasetError) as error:
        FeatureStoreDataset(filepath=str(tmp_path)).save(fake_encoder.stream(["a"]))
    cause = find_input_error(error.value)
    assert cause is not None
    assert str(cause).startswith("the feature store needs up to")
    assert "\n" not in str(cause)


def test_features_of_another_place_are_refused(fake_encoder: Any, tmp_path: Path) -> None:
    """Two folders swapped by hand hold sound features, but of other settings."""
    places = [tmp_path / f"data/nuts/vit/{key}" for key in ("default", "seed-3")]
    for number, place in enumerate(places):
        FeatureStoreDataset(filepath=str(place)).save(
            fake_encoder.stream(["a"], weights_sha256=str(number))
        )
    shutil.copytree(tmp_path / "data", tmp_path / "moved/data")
    assert FeatureStoreDataset(filepath=str(tmp_path / "moved/data/nuts/vit/seed-3")).load()
    places[0].rename(tmp_path / "aside")
    places[1].rename(places[0])
    with pytest.raises(DatasetError, match="copied there, they are those of nuts/vit/seed-3"):
        FeatureStoreDataset(filepath=str(places[0])).load()
