"""VisA as published and as its publishers' script rearranges it."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import levels, make_visa, make_visa_prepared, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.layouts.visa import PUBLISHED, SPLIT, classes, read
from uniformaly_pipeline.ingestion.manifest import build_manifest
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row(tmp_path: Path) -> None:
    root = ImageFolder(str(make_visa(tmp_path)))
    images, masks = "candle/Data/Images", "candle/Data/Masks/Anomaly"
    assert rows(read(root, ["candle"], Split())) == [
        *[(f"{images}/Normal/000{i}.JPG", "train", 0, "candle", "good", None) for i in range(3)],
        *[(f"{images}/Normal/000{i}.JPG", "test", 0, "candle", "good", None) for i in (3, 4)],
        (f"{images}/Anomaly/000.JPG", "test", 1, "candle", "bent", f"{masks}/000.png"),
        (f"{images}/Anomaly/001.JPG", "test", 1, "candle", "bent+scratch", f"{masks}/001.png"),
    ]  # fmt: skip


def test_numbers_of_kinds_in_a_mask_are_all_anomalous(tmp_path: Path) -> None:
    root = ImageFolder(str(make_visa(tmp_path)))
    marked = build_manifest(root, read(root, ["candle"], Split()))["mask_pixels"].tolist()
    assert marked[-2] == marked[-1] > 0


def test_without_annotations_an_anomaly_has_no_kind(tmp_path: Path) -> None:
    folder = make_visa(tmp_path)
    (folder / "pcb1/image_anno.csv").unlink()
    found = read(ImageFolder(str(folder)), ["pcb1"], Split())
    assert [record.defect for record in found if record.label] == ["anomaly", "anomaly"]


def test_the_prepared_tree(tmp_path: Path) -> None:
    root = ImageFolder(str(make_visa_prepared(tmp_path)))
    assert classes(root) == ["candle"]
    found = rows(read(root, ["candle"], Split()))
    assert [row[1:3] for row in found] == [("train", 0)] * 3 + [("test", 1)] * 2 + [("test", 0)] * 2
    truth = "candle/ground_truth/bad"
    assert [row[5] for row in found if row[2]] == [f"{truth}/0000.png", f"{truth}/0001.png"]


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_visa(tmp_path / "data")
    for root in levels(folder, "pcb1"):
        assert locate("visa", root).root == str(folder)
        assert find_classes("visa", root) == ["candle", "pcb1"]


def test_all_problems_are_named(tmp_path: Path) -> None:
    folder = make_visa(tmp_path)
    (folder / "candle/Data/Images/Normal/0004.JPG").unlink()
    (folder / "pcb1/Data/Masks/Anomaly/000.png").unlink()
    (folder / "fryum/Data/Images/Normal").mkdir(parents=True)
    root = ImageFolder(str(folder))
    with pytest.raises(InputError) as caught:
        read(root, classes(root), Split())
    for problem in (
        "names no train images of 'fryum'",
        "candle/Data/Images/Normal/0004.JPG is in split_csv/1cls.csv but not there",
        "pcb1/Data/Images/Anomaly/000.JPG has no mask pcb1/Data/Masks/Anomaly/000.png",
    ):
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "1cls.csv is missing"),
        (b"\xff\xfe\x00", "is not a CSV file"),
        (b"object,split,image\n", "has no column label, mask"),
    ],
)
def test_a_table_that_is_none_is_named(content: bytes | None, problem: str, tmp_path: Path) -> None:
    folder = make_visa(tmp_path)
    table = folder / SPLIT
    table.unlink()
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        read(ImageFolder(str(folder)), ["candle"], Split())


def test_published_numbers_add_up() -> None:
    """8,659 images to learn from, 962 normal and 1,200 anomalous ones to test."""
    counts = PUBLISHED.values()
    assert sum(count.train for count in counts) == 8659
    assert sum(count.good for count in counts) == 962
    assert sum(count.anomalous for count in counts) == 1200
