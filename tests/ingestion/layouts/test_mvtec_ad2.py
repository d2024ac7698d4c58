"""MVTec AD 2 as published: the public test is the test, the rest is told of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from miniatures import levels, make_mvtec_ad2, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Note, Split
from uniformaly_pipeline.ingestion.layouts.mvtec_ad2 import MVTEC_AD2
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row_and_what_is_left_out(tmp_path: Path) -> None:
    root = ImageFolder(str(make_mvtec_ad2(tmp_path)))
    truth = "can/test_public/ground_truth/bad"
    found = rows(MVTEC_AD2.read(root, ["can"], Split()))
    assert found == [
        *[(f"can/train/good/00{i}_regular.png", "train", 0, "can", "good", None)
          for i in range(3)],
        *[(f"can/test_public/good/00{i}_regular.png", "test", 0, "can", "good", None)
          for i in range(2)],
        *[(f"can/test_public/bad/00{i}_regular.png", "test", 1, "can", "bad",
           f"{truth}/00{i}_regular_mask.png") for i in range(2)],
    ]  # fmt: skip
    assert MVTEC_AD2.notes(root, ["can"], Split()) == [
        Note("can", "left out", f"can/{folder}: 1 image")
        for folder in ("validation/good", "test_private", "test_private_mixed")
    ]


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_mvtec_ad2(tmp_path / "data")
    (folder / "fabric/train").mkdir(parents=True)
    for root in levels(folder, "can"):
        assert locate("mvtec_ad2", root).root == str(folder)
        assert find_classes("mvtec_ad2", root) == ["can", "vial"]


def test_all_problems_are_named(tmp_path: Path) -> None:
    folder = make_mvtec_ad2(tmp_path)
    (folder / "can/test_public/ground_truth/bad/001_regular_mask.png").unlink()
    shutil.rmtree(folder / "vial/train")
    root = ImageFolder(str(folder))
    with pytest.raises(InputError) as caught:
        MVTEC_AD2.read(root, MVTEC_AD2.classes(root), Split())
    assert "can/test_public/bad/001_regular.png has no mask" in str(caught.value)
    assert "vial/train/good has no images" in str(caught.value)


def test_published_numbers_add_up() -> None:
    counts = MVTEC_AD2.PUBLISHED.values()
    assert sum(count.train for count in counts) == 2528
    assert sum(count.good + count.anomalous for count in counts) == 1084
