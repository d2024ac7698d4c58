"""MVTec AD as published, and what is reported where it is not complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from miniatures import MVTEC_DEFECTS, levels, make_mvtec, pack, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.layouts.mvtec import MVTEC
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row(tmp_path: Path) -> None:
    root = ImageFolder(str(make_mvtec(tmp_path, ("carpet", "toothbrush"), train=2, good=1)))
    carpet = [
        ("carpet/train/good/000.png", "train", 0, "carpet", "good", None),
        ("carpet/train/good/001.png", "train", 0, "carpet", "good", None),
    ]
    for kind in ("color", "cut", "good", "hole", "metal_contamination", "thread"):
        mask = None if kind == "good" else f"carpet/ground_truth/{kind}/000_mask.png"
        carpet.append(
            (f"carpet/test/{kind}/000.png", "test", int(mask is not None), "carpet", kind, mask)
        )
    assert rows(MVTEC.read(root, ["carpet"], Split())) == carpet
    both = MVTEC.read(root, ["carpet", "toothbrush"], Split(seed=1))
    assert rows(both)[: len(carpet)] == carpet
    assert len(both) == len(carpet) + 4


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_mvtec(tmp_path / "data")
    for root in levels(folder, "bottle"):
        assert locate("mvtec", root).root == str(folder)
        assert find_classes("mvtec", root) == ["bottle", "carpet"]


def test_found_where_the_archive_was_unpacked(tmp_path: Path) -> None:
    archive = pack(make_mvtec(tmp_path / "made"), tmp_path / "mvtec_anomaly_detection.tar.xz")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    assert MVTEC.classes(ImageFolder(str(tmp_path / "unpacked"))) == ["bottle", "carpet"]


def test_only_the_published_categories_count(tmp_path: Path) -> None:
    folder = make_mvtec(tmp_path)
    shutil.copytree(folder / "bottle", folder / "flask")
    (folder / "tile/pictures").mkdir(parents=True)
    (folder / "wood").mkdir()
    root = ImageFolder(str(folder))
    assert MVTEC.classes(root) == ["bottle", "carpet", "wood"]
    assert MVTEC.classes(ImageFolder(str(folder / "bottle"))) == []
    assert MVTEC.classes(ImageFolder(str(tmp_path))) == []
    assert MVTEC.classes(ImageFolder(str(tmp_path / "nowhere"))) == []
    with pytest.raises(InputError, match="category 'wood' is empty"):
        MVTEC.read(root, ["wood"], Split())


def test_every_defective_image_needs_its_mask(tmp_path: Path) -> None:
    folder = make_mvtec(tmp_path, defective=2)
    (folder / "bottle/ground_truth/contamination/001_mask.png").unlink()
    shutil.rmtree(folder / "carpet/ground_truth")
    with pytest.raises(InputError) as error:
        MVTEC.read(ImageFolder(str(folder)), ["bottle", "carpet"], Split())
    message = str(error.value)
    assert message.startswith(f"{folder}: 11 problems: bottle/test/contamination/001.png has no ")
    assert "carpet/test/cut/000.png has no mask in carpet/ground_truth/cut: unpack" in message
    assert "\n" not in message


def test_missing_folders_are_named(tmp_path: Path) -> None:
    folder = make_mvtec(tmp_path)
    shutil.rmtree(folder / "bottle/train/good")
    shutil.rmtree(folder / "carpet/test")
    with pytest.raises(InputError) as error:
        MVTEC.read(ImageFolder(str(folder)), ["bottle", "carpet"], Split())
    assert "category 'bottle' has no images in bottle/train/good" in str(error.value)
    assert "category 'carpet' has no images in carpet/test/" in str(error.value)


def test_published_counts_add_up() -> None:
    assert sorted(MVTEC.PUBLISHED) == list(MVTEC.PUBLISHED) == sorted(MVTEC_DEFECTS)
    assert sum(counts.train for counts in MVTEC.PUBLISHED.values()) == 3629
    assert sum(counts.good for counts in MVTEC.PUBLISHED.values()) == 467
    assert sum(counts.good + counts.anomalous for counts in MVTEC.PUBLISHED.values()) == 1725
