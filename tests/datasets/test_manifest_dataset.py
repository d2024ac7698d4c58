"""The manifest in the catalog: kept up to date, and never taken from a file that is damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.manifest_dataset import ManifestDataset
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import folder as folder_layout
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import ManifestPlan


@pytest.fixture
def plan(make_dataset: Callable[..., ImageFolder], tmp_path: Path) -> ManifestPlan:
    """The manifest of a few drawn images."""
    images = make_dataset(tmp_path / "images")
    return ManifestPlan(images, folder_layout.read(images, ["bottle"], Split()))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_is_one_line_and_the_next_run_reads_the_images_anew(
    data: st.DataObject, plan: ManifestPlan, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.parquet"
    stored = ManifestDataset(filepath=str(path))
    stored.save(plan)
    sound = stored.load()
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content[: data.draw(st.none() | st.integers(0, len(content)))])
    if data.draw(st.booleans()):
        with pytest.raises(InputError) as error:
            stored.load()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    stored.save(plan)
    pd.testing.assert_frame_equal(stored.load(), sound)


def test_a_damaged_manifest_is_named_in_the_log(
    plan: ManifestPlan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "manifest.parquet"
    stored = ManifestDataset(filepath=str(path))
    stored.save(plan)
    assert not caplog.records
    path.write_bytes(b"PAR1")
    with caplog.at_level(logging.WARNING):
        stored.save(plan)
    assert f"{path} is not what a run wrote" in caplog.text
    assert "Its images are read anew" in caplog.text


def test_another_choice_of_images_has_a_manifest_of_its_own(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither overwrites the other's, and what one knows the other need not read."""
    images = make_dataset(tmp_path / "images", ["bottle", "cap"])
    opened: list[str] = []
    original = ImageFolder.open

    def noted(folder: ImageFolder, path: str) -> Any:
        opened.append(path)
        return original(folder, path)

    monkeypatch.setattr(ImageFolder, "open", noted)

    def read(place: str, classes: list[str]) -> pd.DataFrame:
        opened.clear()
        stored = ManifestDataset(
            filepath=str(tmp_path / f"{place}/manifest.parquet"), path=str(tmp_path / "D")
        )
        stored.save(ManifestPlan(images, folder_layout.read(images, classes, Split())))
        return stored.load()

    one = read("D/categories-bottle", ["bottle"])
    assert opened
    other = read("D/categories-cap", ["cap"])
    assert {path.split("/")[0] for path in opened} == {"cap"}
    both = read("D", ["bottle", "cap"])
    assert not opened
    pd.testing.assert_frame_equal(both, pd.concat([one, other], ignore_index=True))
    pd.testing.assert_frame_equal(read("D/categories-cap", ["cap"]), other)
