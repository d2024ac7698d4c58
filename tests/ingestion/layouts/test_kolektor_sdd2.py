"""KolektorSDD2 as published: masks tell which images are defective."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import levels, make_kolektor_sdd2, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Note, Split
from uniformaly_pipeline.ingestion.layouts.kolektor_sdd2 import CLASS, PUBLISHED, notes, read
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row_and_what_is_left_out(tmp_path: Path) -> None:
    root = ImageFolder(str(make_kolektor_sdd2(tmp_path)))
    assert rows(read(root, [CLASS], Split())) == [
        *[(f"train/{i}.png", "train", 0, CLASS, "good", None)
          for i in (10000, 10001, 10003, 10004)],
        ("test/20000.png", "test", 0, CLASS, "good", None),
        ("test/20001.png", "test", 1, CLASS, "defect", "test/20001_GT.png"),
        ("test/20002.png", "test", 0, CLASS, "good", None),
        ("test/20003.png", "test", 0, CLASS, "good", None),
        ("test/20004.png", "test", 1, CLASS, "defect", "test/20004_GT.png"),
        ("test/20005.png", "test", 0, CLASS, "good", None),
    ]  # fmt: skip
    assert notes(root, [CLASS], Split()) == [Note(CLASS, "left out", "train: 2 defective images")]
    assert read(root, [], Split()) == notes(root, [], Split()) == []


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_kolektor_sdd2(tmp_path / "data")
    for root in levels(folder, "train"):
        assert locate("kolektor_sdd2", root).root == str(folder)
        assert find_classes("kolektor_sdd2", root) == [CLASS]


def test_all_problems_are_named(tmp_path: Path) -> None:
    folder = make_kolektor_sdd2(tmp_path)
    (folder / "train/10002_GT.png").write_bytes(b"no mask")
    with pytest.raises(InputError, match=r"train/10002_GT\.png cannot be read as a mask"):
        read(ImageFolder(str(folder)), [CLASS], Split())
    (folder / "train/10001_GT.png").unlink()
    with pytest.raises(InputError, match=r"train/10001\.png has no mask train/10001_GT\.png"):
        read(ImageFolder(str(folder)), [CLASS], Split())


def test_published_numbers() -> None:
    """Of 2,331 train images 246 are defective; 1,004 test images."""
    counts = PUBLISHED[CLASS]
    assert counts.train == 2331 - 246
    assert counts.good + counts.anomalous == 1004
