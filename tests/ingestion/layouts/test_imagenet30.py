"""ImageNet-30 as published, however its folders are spelt."""

from __future__ import annotations

import csv
import shutil
from importlib import resources
from pathlib import Path

import pytest
from miniatures import levels, make_imagenet30, pack, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.imagenet30 import CLASSES, classes, read
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row(tmp_path: Path) -> None:
    root = ImageFolder(str(make_imagenet30(tmp_path, train=2, test=1)))
    train, test = "one_class_train/grand_piano/n03452741", "one_class_test/grand_piano/n03452741"
    piano = [
        (f"{train}/n03452741_10001.JPEG", "train", 0, "grand_piano", "good", None),
        (f"{train}/n03452741_10014.JPEG", "train", 0, "grand_piano", "good", None),
        (f"{test}/n03452741_10002.JPEG", "test", 0, "grand_piano", "good", None),
    ]
    assert rows(read(root, ["grand_piano"], Split())) == piano
    every = read(root, classes(root), Split())
    assert rows(every)[3:6] == piano
    assert [r.class_name for r in every] == ["acorn"] * 3 + ["grand_piano"] * 3 + ["volcano"] * 3


@pytest.mark.parametrize("spelling", ["grand piano", "Grand_Piano", "grand-piano", "GRAND  PIANO"])
def test_folder_names_may_be_spelt_otherwise(spelling: str, tmp_path: Path) -> None:
    folder = make_imagenet30(tmp_path, train=1, test=1)
    train = folder / "one_class_train"
    (train / "grand_piano").rename(train / spelling)
    root = ImageFolder(str(folder))
    assert classes(root) == ["acorn", "grand_piano", "volcano"]
    first, second = read(root, ["grand_piano"], Split())
    assert first.image.startswith(f"one_class_train/{spelling}/")
    assert second.image.startswith("one_class_test/grand_piano/")
    assert first.class_name == second.class_name == "grand_piano"


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_imagenet30(tmp_path / "data")
    for root in levels(folder, "one_class_test"):
        assert locate("imagenet30", root).root == str(folder)
        assert find_classes("imagenet30", root) == ["acorn", "grand_piano", "volcano"]


def test_found_where_both_archives_were_unpacked(tmp_path: Path) -> None:
    folder = make_imagenet30(tmp_path / "made")
    for part in ("one_class_train", "one_class_test"):
        archive = pack(folder / part, tmp_path / f"{part}.tar")
        shutil.unpack_archive(archive, tmp_path / "unpacked")
    assert len(classes(ImageFolder(str(tmp_path / "unpacked")))) == 3


def test_other_folders_do_not_count(tmp_path: Path) -> None:
    folder = make_imagenet30(tmp_path)
    for part in ("one_class_train", "one_class_test"):
        shutil.copytree(folder / part / "acorn", folder / part / "grand_hotel")
    assert classes(ImageFolder(str(folder))) == ["acorn", "grand_piano", "volcano"]
    assert classes(ImageFolder(str(tmp_path))) == []
    assert classes(ImageFolder(str(tmp_path / "nowhere"))) == []


def test_missing_images_are_all_named(tmp_path: Path) -> None:
    folder = make_imagenet30(tmp_path)
    shutil.rmtree(folder / "one_class_test/acorn")
    shutil.rmtree(folder / "one_class_train/volcano/n09472597")
    root = ImageFolder(str(folder))
    assert classes(root) == ["acorn", "grand_piano", "volcano"]
    with pytest.raises(InputError) as error:
        read(root, classes(root), Split())
    assert str(error.value) == (
        f"{folder}: 2 problems: class 'acorn' has no images in one_class_test/acorn; "
        "class 'volcano' has no images in one_class_train/volcano"
    )


def test_the_classes_are_the_papers() -> None:
    table = resources.files("uniformaly_pipeline.evaluation.paper") / "results.csv"
    results = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    names = [row["category"] for row in results if row["source"] == "Table 17"]
    assert list(dict.fromkeys(name for name in names if name in CLASSES)) == list(CLASSES)
    assert len(CLASSES) == 30
