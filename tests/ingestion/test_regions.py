"""Regions of interest: what of all images of a class counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.health import told_findings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.folder import classes, notes, read
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import build_manifest
from uniformaly_pipeline.ingestion.region_files import find_roi
from uniformaly_pipeline.ingestion.regions import (
    Region,
    is_roi_name,
    is_to_judge,
    read_roi,
    regions_by_class,
    regions_of,
)

Draw = Callable[..., ImageFolder]
SIZE = (48, 40)


def draw_roi(path: Path, box: tuple[int, int, int, int] = (0, 0, 24, 40), value: int = 255) -> None:
    """A picture of :data:`SIZE` that is not 0 in a box of left, top, right and bottom."""
    pixels = np.zeros(SIZE[::-1], np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = value
    Image.fromarray(pixels).save(path)


def refusal(folder: ImageFolder) -> str:
    with pytest.raises(InputError) as error:
        build_manifest(folder, read(folder, ["nut"], Split()))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    ["roi.png", "ROI.BMP", "roi_mask.tif", "Mask-ROI.png", "region of interest.jpg"],
)
def test_a_picture_in_the_categorys_folder_is_its_region(
    make_dataset: Draw, tmp_path: Path, name: str
) -> None:
    folder = make_dataset(tmp_path, ["nut", "bolt"])
    draw_roi(tmp_path / "nut" / name)
    records = read(folder, ["nut", "bolt"], Split())
    assert {(r.class_name, r.roi) for r in records} == {("nut", f"nut/{name}"), ("bolt", None)}
    assert not [note for note in notes(folder, ["nut"], Split()) if name in note.text]


def test_it_is_of_a_category_without_a_split_too(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], train=6)
    (tmp_path / "nut/train/good").rename(tmp_path / "nut/good")
    for rest in ("train", "test", "ground_truth"):
        (tmp_path / "nut" / rest).rename(tmp_path / rest)
    draw_roi(tmp_path / "nut/roi.png")
    assert classes(folder)[0] == "nut"
    records = read(folder, ["nut"], Split())
    assert {record.roi for record in records} == {"nut/roi.png"}
    assert all("roi" not in record.image for record in records)


@pytest.mark.parametrize("place", ["", "nut/train", "nut/train/good", "nut/test", "nut/test/dent"])
def test_elsewhere_it_is_no_image_and_named(make_dataset: Draw, tmp_path: Path, place: str) -> None:
    folder = make_dataset(tmp_path, ["nut"])
    before = read(folder, ["nut"], Split())
    draw_roi(tmp_path / place / "roi.png")
    assert read(folder, ["nut"], Split()) == before
    findings = told_findings(notes(folder, ["nut"], Split()))
    found = findings.loc[findings["check"] == "region of interest", "finding"].tolist()
    path = f"{place}/roi.png".lstrip("/")
    assert [text.split(" is left out")[0] for text in found] == [path]


def test_of_a_class_folder_it_is_no_image_either(tmp_path: Path) -> None:
    for split in ("train", "test"):
        place = tmp_path / f"one_class_{split}/owl"
        place.mkdir(parents=True)
        draw_roi(place / "1.png")
        draw_roi(place / "roi.png")
    folder = ImageFolder(str(tmp_path))
    records = LAYOUTS["classes"].read(folder, ["owl"], Split())
    assert [record.image.split("/")[-1] for record in records] == ["1.png", "1.png"]
    findings = told_findings(LAYOUTS["classes"].notes(folder, ["owl"], Split()))  # type: ignore[attr-defined]
    assert findings["check"].tolist() == ["region of interest"] * 2


def test_no_image_is_taken_for_one() -> None:
    assert not any(map(is_roi_name, ["roi_1.png", "heroi.png", "roi.txt", "roi", "a/roi/1.png"]))
    assert is_to_judge("a/roi/1.png") and is_to_judge("7") and not is_to_judge("a/roi.png")


def test_two_in_one_folder_are_refused(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"])
    draw_roi(tmp_path / "nut/roi.png")
    draw_roi(tmp_path / "nut/roi.bmp")
    with pytest.raises(InputError, match=r"nut/roi\.bmp and nut/roi\.png are both regions"):
        find_roi(folder, "nut")


def test_another_size_than_the_images_is_one_line(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], size=(48, 44))
    draw_roi(tmp_path / "nut/roi.png")
    message = refusal(folder)
    assert message.startswith(f"{tmp_path}: nut/roi.png: nut/train/good/000.png is 48x44 pixels")
    assert "the region of interest is 48x40" in message


def test_a_file_of_several_regions_is_one_line(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], size=SIZE)
    pages = [Image.new("L", SIZE, value) for value in (255, 0)]
    pages[0].save(tmp_path / "nut/roi.tif", save_all=True, append_images=pages[1:])
    assert refusal(folder).endswith(
        "nut/roi.tif has several pictures in one file: keep the one that tells the region"
    )


def test_an_empty_one_is_one_line(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], size=SIZE)
    draw_roi(tmp_path / "nut/roi.png", value=0)
    assert refusal(folder).startswith(f"{tmp_path}: nut/roi.png marks nothing")


def test_a_damaged_one_is_one_line(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], size=SIZE)
    (tmp_path / "nut/roi.png").write_text("no picture")
    assert "nut/roi.png cannot be read" in refusal(folder)


def test_what_is_not_0_counts_whatever_it_is_called_and_drawn_with(tmp_path: Path) -> None:
    folder = ImageFolder(str(tmp_path))
    for name, value in (("a.png", 255), ("b.bmp", 1), ("c.tif", 236)):
        draw_roi(tmp_path / name, value=value)
    regions = [read_roi(folder, name) for name in ("a.png", "b.bmp", "c.tif")]
    assert regions[0].size == SIZE
    assert regions[0].pixels.sum() == 24 * 40
    # The same region, so that features need not be made again.
    assert len({region.key("0") for region in regions}) == 1
    draw_roi(tmp_path / "a.png", (0, 0, 25, 40))
    assert read_roi(folder, "a.png").key("0") != regions[0].key("0")


def test_the_manifest_holds_the_region_and_features_are_of_it(
    make_dataset: Draw, tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path, ["nut", "bolt"], size=SIZE)
    records = read(folder, ["nut", "bolt"], Split())
    plain = build_manifest(folder, records)
    draw_roi(tmp_path / "nut/roi.png")
    limited = build_manifest(folder, read(folder, ["nut", "bolt"], Split()), plain)
    is_nut = (plain["class"] == "nut").to_numpy()
    same = (plain["content_hash"] == limited["content_hash"]).to_numpy()
    assert (same == ~is_nut).all()
    assert regions_of(plain) == {}
    assert set(regions_of(limited)) == set(limited.loc[is_nut, "image"])
    assert regions_by_class(limited)["nut"].pixels.sum() == 24 * 40
    # Files are hashed as they were: an image that has not changed is none that has.
    again = build_manifest(folder, read(folder, ["nut", "bolt"], Split()), limited)
    assert again.equals(limited)
    image = limited.loc[is_nut].iloc[0]
    folder.read_image(image["image"], content_hash=image["content_hash"])


def test_a_given_region_holds_for_images_that_name_none(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], size=SIZE)
    records = [replace(record, roi=None) for record in read(folder, ["nut"], Split())]
    region = Region.of(np.ones(SIZE[::-1], bool), "region")
    table = build_manifest(folder, records, region=region)
    assert set(regions_of(table).values()) == {region}
    other = Region.of(np.ones((3, 3), bool), "region")
    with pytest.raises(InputError, match=r"nut/train/good/000\.png is 48x40 pixels but the region"):
        build_manifest(folder, records, region=other)


# --- patches --------------------------------------------------------------------------------------


def region_of_columns(first: int, last: int) -> Region:
    pixels = np.zeros((40, 48), bool)
    pixels[:, first:last] = True
    return Region.of(pixels, "region")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [((0, 48), "1111"), ((0, 24), "1100"), ((0, 18), "1100"), ((0, 17), "1000"), ((7, 47), "0111")],
)
def test_a_patch_counts_where_the_region_covers_half_of_it(
    columns: tuple[int, int], expected: str
) -> None:
    """Four patches of 12 columns."""
    covered = region_of_columns(*columns).covers((0, 0, 48, 40), (2, 4))
    assert ["".join("01"[int(each)] for each in row) for row in covered] == [expected] * 2


def test_of_a_patch_that_shows_padding_half_of_what_it_shows_of_the_image_counts() -> None:
    """The grid reaches beyond the image: its last row shows a quarter of a patch of it."""
    covered = region_of_columns(0, 48).covers((0, 0, 48, 72), (4, 4))
    assert covered.tolist() == [[True] * 4] * 3 + [[False] * 4]
    outside = region_of_columns(0, 48).covers((-24, 0, 24, 40), (1, 4))
    assert outside.tolist() == [[False, False, True, True]]


def test_as_text_it_is_itself() -> None:
    region = region_of_columns(3, 9)
    assert Region.from_text(region.text) == region
    assert (Region.from_text(region.text).pixels == region.pixels).all()
