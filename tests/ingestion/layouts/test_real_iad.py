"""Real-IAD as published: the split is read, the largest images are taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import levels, make_real_iad, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.layouts.real_iad import classes, read
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row_of_the_largest_size(tmp_path: Path) -> None:
    root = ImageFolder(str(make_real_iad(tmp_path)))
    base = "realiad_1024/audiojack"
    assert rows(read(root, ["audiojack"], Split())) == [
        *[(f"{base}/OK/S000{i}/audiojack_000{i}_OK_C1.jpg", "train" if i < 3 else "test", 0,
           "audiojack", "good", None) for i in range(1, 5)],
        *[(f"{base}/NG/{kind}/S000{i}/audiojack_000{i}_{kind}_C1.jpg", "test", 1, "audiojack",
           kind, f"{base}/NG/{kind}/S000{i}/audiojack_000{i}_{kind}_C1.png")
          for i, kind in ((5, "HS"), (6, "QS"))],
    ]  # fmt: skip


def test_the_untouched_images_are_the_largest(tmp_path: Path) -> None:
    folder = make_real_iad(tmp_path)
    (folder / "realiad_1024").rename(folder / "realiad_raw")
    found = read(ImageFolder(str(folder)), ["zipper"], Split())
    assert all(record.image.startswith("realiad_raw/zipper/") for record in found)


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_real_iad(tmp_path / "data")
    for root in levels(folder, "realiad_256"):
        assert locate("real_iad", root).root == str(folder)
        assert find_classes("real_iad", root) == ["audiojack", "zipper"]


def test_all_problems_are_named(tmp_path: Path) -> None:
    folder = make_real_iad(tmp_path)
    images = folder / "realiad_1024"
    (images / "audiojack/OK/S0001/audiojack_0001_OK_C1.jpg").unlink()
    (images / "audiojack/NG/HS/S0005/audiojack_0005_HS_C1.png").unlink()
    (folder / "realiad_jsons/realiad_jsons/zipper.json").write_text("[]")
    root = ImageFolder(str(folder))
    with pytest.raises(InputError) as caught:
        read(root, classes(root), Split())
    for problem in (
        "audiojack_0001_OK_C1.jpg is in realiad_jsons/realiad_jsons/audiojack.json but not there",
        "audiojack_0005_HS_C1.jpg has no mask",
        "zipper.json is not a split of Real-IAD",
    ):
        assert problem in str(caught.value)


def test_images_without_splits_are_no_classes(tmp_path: Path) -> None:
    folder = make_real_iad(tmp_path)
    (folder / "realiad_jsons/realiad_jsons/zipper.json").unlink()
    assert classes(ImageFolder(str(folder))) == ["audiojack"]
    assert classes(ImageFolder(str(tmp_path / "nowhere"))) == []
