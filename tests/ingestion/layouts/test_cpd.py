"""CPD as published, and what is reported where it is not complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from miniatures import levels, make_cpd, pack, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.cpd import CLASS, PUBLISHED, classes, read
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row(tmp_path: Path) -> None:
    root = ImageFolder(str(make_cpd(tmp_path, train=2, good=1, defective=2)))
    assert rows(read(root, [CLASS], Split())) == [
        ("train/ok_front/cast_ok_0_0.jpeg", "train", 0, "casting", "good", None),
        ("train/ok_front/cast_ok_0_1.jpeg", "train", 0, "casting", "good", None),
        ("test/def_front/cast_def_0_1000.jpeg", "test", 1, "casting", "def_front", None),
        ("test/def_front/cast_def_0_1001.jpeg", "test", 1, "casting", "def_front", None),
        ("test/ok_front/cast_ok_0_1000.jpeg", "test", 0, "casting", "good", None),
    ]
    assert read(root, [], Split()) == []


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_cpd(tmp_path / "data")
    for root in levels(folder, "train"):
        assert locate("cpd", root).root == str(folder)
        assert find_classes("cpd", root) == ["casting"]


def test_found_where_the_archive_was_unpacked(tmp_path: Path) -> None:
    shutil.unpack_archive(pack(make_cpd(tmp_path / "made"), tmp_path / "cpd.zip"), tmp_path / "new")
    found = locate("cpd", ImageFolder(str(tmp_path / "new")))
    assert found.root == str(tmp_path / "new/casting_data")


def test_other_folders_do_not_count(tmp_path: Path) -> None:
    folder = make_cpd(tmp_path)
    root = ImageFolder(str(folder))
    before = read(root, [CLASS], Split())
    shutil.copytree(folder / "test/def_front", folder / "test/def_back")
    shutil.rmtree(folder / "train/def_front")
    # The larger photographs that come along have no split.
    shutil.copytree(folder / "test", tmp_path / "casting_512x512")
    assert read(root, [CLASS], Split()) == before
    assert classes(ImageFolder(str(tmp_path / "casting_512x512"))) == []
    assert classes(ImageFolder(str(tmp_path / "nowhere"))) == []


def test_missing_folders_are_all_named(tmp_path: Path) -> None:
    folder = make_cpd(tmp_path)
    shutil.rmtree(folder / "test/def_front")
    for file in (folder / "train/ok_front").iterdir():
        file.unlink()
    with pytest.raises(InputError) as error:
        read(ImageFolder(str(folder)), [CLASS], Split())
    assert str(error.value) == (
        f"{folder}: 2 problems: train/ok_front has no images: unpack the data set again; "
        "test/def_front has no images: unpack the data set again"
    )


def test_published_counts() -> None:
    assert {"casting": Counts(2875, 262, 453)} == PUBLISHED
