"""MPDD as published."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import levels, make_mpdd, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.layouts.mpdd import MPDD
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row(tmp_path: Path) -> None:
    root = ImageFolder(str(make_mpdd(tmp_path)))
    kind, truth = "parts_mismatch", "connector/ground_truth/parts_mismatch"
    assert rows(MPDD.read(root, ["connector"], Split())) == [
        *[(f"connector/train/good/00{i}.png", "train", 0, "connector", "good", None)
          for i in range(3)],
        *[(f"connector/test/good/00{i}.png", "test", 0, "connector", "good", None)
          for i in range(2)],
        *[(f"connector/test/{kind}/00{i}.png", "test", 1, "connector", kind,
           f"{truth}/00{i}_mask.png") for i in range(2)],
    ]  # fmt: skip


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_mpdd(tmp_path / "data")
    for root in levels(folder, "tubes"):
        assert locate("mpdd", root).root == str(folder)
        assert find_classes("mpdd", root) == ["connector", "tubes"]


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    folder = make_mpdd(tmp_path)
    (folder / "tubes/ground_truth/anomalous/001_mask.png").unlink()
    root = ImageFolder(str(folder))
    with pytest.raises(InputError, match=r"tubes/test/anomalous/001\.png has no mask"):
        MPDD.read(root, MPDD.classes(root), Split())


def test_published_numbers_add_up() -> None:
    """888 images to learn from, 176 normal and 282 defective ones to test (the paper's table 1)."""
    totals = [sum(column) for column in zip(*map(_counts, MPDD.PUBLISHED), strict=True)]
    assert totals == [888, 176, 282]


def _counts(name: str) -> tuple[int, int, int]:
    counts = MPDD.PUBLISHED[name]
    return counts.train, counts.good, counts.anomalous
