"""BTAD as published, and what is reported where it is not complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from miniatures import levels, make_btad, pack, rows

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.btad import BTAD
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.roots import find_classes, locate


@pytest.mark.parametrize(
    ("product", "suffix", "mask_suffix"),
    [("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")],
)
def test_every_row(product: str, suffix: str, mask_suffix: str, tmp_path: Path) -> None:
    root = ImageFolder(str(make_btad(tmp_path, train=2, good=1)))
    masks = [f"{product}/ground_truth/ko/000{i}.{mask_suffix}" for i in range(2)]
    assert rows(BTAD.read(root, [product], Split())) == [
        (f"{product}/train/ok/0000.{suffix}", "train", 0, product, "good", None),
        (f"{product}/train/ok/0001.{suffix}", "train", 0, product, "good", None),
        (f"{product}/test/ok/0000.{suffix}", "test", 0, product, "good", None),
        (f"{product}/test/ko/0000.{suffix}", "test", 1, product, "ko", masks[0]),
        (f"{product}/test/ko/0001.{suffix}", "test", 1, product, "ko", masks[1]),
    ]


def test_found_one_level_up_and_down(tmp_path: Path) -> None:
    folder = make_btad(tmp_path / "data", products=("01", "03"))
    for root in levels(folder, "03"):
        assert locate("btad", root).root == str(folder)
        assert find_classes("btad", root) == ["01", "03"]


def test_found_where_the_archive_was_unpacked(tmp_path: Path) -> None:
    archive = pack(make_btad(tmp_path / "made"), tmp_path / "btad.zip")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    found = locate("btad", ImageFolder(str(tmp_path / "unpacked")))
    assert found.root == str(tmp_path / "unpacked/BTech_Dataset_transformed")
    assert len(BTAD.read(found, BTAD.classes(found), Split())) == 3 * 7


def test_only_the_three_products_count(tmp_path: Path) -> None:
    folder = make_btad(tmp_path, products=("01", "02"))
    shutil.copytree(folder / "01", folder / "04")
    (folder / "03/papers").mkdir(parents=True)
    assert BTAD.classes(ImageFolder(str(folder))) == ["01", "02"]
    assert BTAD.classes(ImageFolder(str(tmp_path / "nowhere"))) == []


def test_all_problems_are_named(tmp_path: Path) -> None:
    folder = make_btad(tmp_path)
    (folder / "01/ground_truth/ko/0001.png").unlink()
    shutil.rmtree(folder / "02/test/ok")
    shutil.rmtree(folder / "03/train")
    with pytest.raises(InputError) as error:
        BTAD.read(ImageFolder(str(folder)), ["01", "02", "03"], Split())
    message = str(error.value)
    assert message.startswith(f"{folder}: 3 problems: ")
    assert "01/test/ko/0001.bmp has no mask in 01/ground_truth/ko: unpack" in message
    assert "02/test/ok has no images: unpack" in message
    assert "03/train/ok has no images: unpack" in message
    assert "\n" not in message


def test_a_mask_that_a_normal_image_shares_its_name_with_is_not_its_own(tmp_path: Path) -> None:
    root = ImageFolder(str(make_btad(tmp_path)))
    normal = [record for record in BTAD.read(root, ["01"], Split()) if not record.label]
    assert [record.mask for record in normal] == [None] * 5


def test_published_counts() -> None:
    assert [counts.train for counts in BTAD.PUBLISHED.values()] == [400, 399, 1000]
    assert [counts.good + counts.anomalous for counts in BTAD.PUBLISHED.values()] == [70, 230, 441]
    assert BTAD.PUBLISHED["03"] == Counts(1000, 400, 41)
