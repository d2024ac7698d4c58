"""MVTec LOCO AD as published: a mask is a folder of masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from miniatures import levels, make_mvtec_loco, rows
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Note, Split
from uniformaly_pipeline.ingestion.layouts.mvtec_loco import MVTEC_LOCO
from uniformaly_pipeline.ingestion.manifest import build_manifest
from uniformaly_pipeline.ingestion.roots import find_classes, locate


def test_every_row_and_what_is_left_out(tmp_path: Path) -> None:
    root = ImageFolder(str(make_mvtec_loco(tmp_path)))
    found = rows(MVTEC_LOCO.read(root, ["pushpins"], Split()))
    assert [row for row in found if row[1] == "train"] == [
        (f"pushpins/train/good/00{i}.png", "train", 0, "pushpins", "good", None) for i in range(3)
    ]
    assert [row for row in found if row[2]] == [
        (f"pushpins/test/{kind}/00{i}.png", "test", 1, "pushpins", kind,
         f"pushpins/ground_truth/{kind}/00{i}")
        for kind in ("logical_anomalies", "structural_anomalies") for i in range(2)
    ]  # fmt: skip
    assert len(found) == 3 + 2 + 4
    assert MVTEC_LOCO.notes(root, ["pushpins"], Split()) == [
        Note("pushpins", "left out", "pushpins/validation/good: 1 image")
    ]


def test_a_mask_is_what_any_of_its_parts_marks(tmp_path: Path) -> None:
    root = ImageFolder(str(make_mvtec_loco(tmp_path)))
    truth = "pushpins/ground_truth/logical_anomalies"
    one, two = (np.asarray(root.read_mask(f"{truth}/00{i}")) for i in range(2))
    parts = [np.asarray(root.read_mask(f"{truth}/001/00{i}.png")) for i in range(2)]
    assert (one > 0).sum() > 0
    assert np.array_equal(two > 0, (parts[0] > 0) | (parts[1] > 0))
    assert (two > 0).sum() == (parts[0] > 0).sum() + (parts[1] > 0).sum()


def test_a_changed_part_is_read_anew(tmp_path: Path) -> None:
    folder = make_mvtec_loco(tmp_path)
    root = ImageFolder(str(folder))
    records = MVTEC_LOCO.read(root, ["pushpins"], Split())
    before = build_manifest(root, records)
    part = folder / "pushpins/ground_truth/logical_anomalies/001/001.png"
    Image.new("L", (32, 32), 0).save(part)
    after = build_manifest(root, records, before)
    changed = before["mask_pixels"] != after["mask_pixels"]
    assert after.loc[changed, "mask"].tolist() == ["pushpins/ground_truth/logical_anomalies/001"]
    assert after["mask_hash"].ne(before["mask_hash"]).sum() == 1


@pytest.mark.parametrize("broken", ["empty", "sizes"])
def test_a_folder_of_masks_that_is_none_is_named(broken: str, tmp_path: Path) -> None:
    folder = make_mvtec_loco(tmp_path)
    place = folder / "pushpins/ground_truth/logical_anomalies/001"
    if broken == "empty":
        shutil.rmtree(place)
        place.mkdir()
    else:
        Image.new("L", (16, 32), 255).save(place / "001.png")
    root = ImageFolder(str(folder))
    why = "the folder has no images" if broken == "empty" else "its parts differ in size"
    with pytest.raises(InputError, match=f"logical_anomalies/001 cannot be read .*{why}"):
        build_manifest(root, MVTEC_LOCO.read(root, ["pushpins"], Split()))


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_mvtec_loco(tmp_path / "data")
    for root in levels(folder, "pushpins"):
        assert locate("mvtec_loco", root).root == str(folder)
        assert find_classes("mvtec_loco", root) == ["pushpins", "screw_bag"]


def test_all_problems_are_named(tmp_path: Path) -> None:
    folder = make_mvtec_loco(tmp_path)
    shutil.rmtree(folder / "pushpins/ground_truth/structural_anomalies/000")
    shutil.rmtree(folder / "screw_bag/test/good")
    root = ImageFolder(str(folder))
    with pytest.raises(InputError) as caught:
        MVTEC_LOCO.read(root, MVTEC_LOCO.classes(root), Split())
    assert "pushpins/test/structural_anomalies/000.png has no mask" in str(caught.value)
    assert "screw_bag/test/good has no images" in str(caught.value)


def test_published_numbers_add_up() -> None:
    """1,772 images to learn from and 1,568 to test (the paper's table 1)."""
    counts = MVTEC_LOCO.PUBLISHED.values()
    assert sum(count.train for count in counts) == 1772
    assert sum(count.good + count.anomalous for count in counts) == 1568
