"""The manifest: what is written down of each image, and how bad files are reported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import MAX_LISTED, InputError, list_problems
from uniformaly_pipeline.ingestion.decoding import decode_bytes
from uniformaly_pipeline.ingestion.health import examine, refuse_spoiled
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.folder import read
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import (
    COLUMNS,
    NO_MASK,
    ImageRecord,
    build_manifest,
    changed_images,
    select_classes,
    select_defects,
)


def refusal(folder: ImageFolder, records: list[ImageRecord]) -> str:
    """The one line with which records are refused."""
    with pytest.raises(InputError) as error:
        build_manifest(folder, records)
    message = str(error.value)
    assert "\n" not in message
    return message


def save(root: Path, path: str, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(root / path)
    return root / path


def test_a_row_per_image_in_order(make_dataset: Callable[..., ImageFolder], tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], size=(48, 40))
    mask = "nut/ground_truth/dent/000_mask.png"
    records = [
        ImageRecord("nut/test/dent/000.png", "nut", "test", "dent", mask),
        ImageRecord("nut/train/good/001.png", "nut", "train"),
    ]
    manifest = build_manifest(folder, records)
    assert {name: str(kind) for name, kind in manifest.dtypes.items()} == COLUMNS
    first, second = manifest.to_dict("records")
    content = (tmp_path / "nut/test/dent/000.png").read_bytes()
    assert first == {
        "image": "nut/test/dent/000.png",
        "class": "nut",
        "split": "test",
        "defect": "dent",
        "label": 1,
        "mask": mask,
        "width": 48,
        "height": 40,
        "content_hash": hashlib.sha256(content).hexdigest(),
        "pixel_hash": decode_bytes(content).pixel_hash(),
        "mask_pixels": int((np.asarray(folder.read_mask(mask)) > 127).sum()),
        "mask_hash": hashlib.sha256((tmp_path / mask).read_bytes()).hexdigest(),
        "fingerprint": f"{folder.fingerprint(records[0].image)}+{folder.fingerprint(mask)}",
        "mask_values": "0, 255",
        "mask_remarks": "",
        "depth": "8-bit",
        "darkest": 1.0,
        "brightest": 225.0,
        "low": 0.0,
        "high": 255.0,
        "remarks": "",
        "roi": np.nan,
        "root": tmp_path.as_posix(),
    }
    assert first["mask_pixels"] > 0
    assert second["mask_pixels"] == NO_MASK
    assert (second["defect"], second["label"]) == ("good", 0)
    assert pd.isna(second["mask"])


def test_equal_files_have_equal_hashes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path, name)
    save(tmp_path, "c.png", mode="L")
    records = [ImageRecord(name, "x", "train") for name in ("a.png", "b.png", "c.png")]
    hashes = build_manifest(ImageFolder(str(tmp_path)), records)["content_hash"]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_picture_saved_anew_is_the_same_picture(tmp_path: Path, split: str) -> None:
    """Other bytes, equal pixels: what is learned from is tested, or called anomalous."""
    picture = Image.fromarray(np.arange(12 * 16, dtype=np.uint8).reshape(12, 16))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", compress_level=0)
    picture.convert("RGB").save(tmp_path / "c.bmp")
    kind = "good" if split == "test" else "dent"
    records = [
        ImageRecord("a.png", "x", "train"),
        ImageRecord("b.png", "x", split, kind),
        ImageRecord("c.bmp", "x", split, kind),
    ]
    manifest = build_manifest(ImageFolder(str(tmp_path)), records)
    assert manifest["content_hash"].nunique() == 3
    with pytest.raises(InputError, match=r"a\.png and b\.png and c\.bmp are the same picture"):
        refuse_spoiled(manifest, "root")


def test_size_is_that_of_the_upright_image_and_its_mask_fits(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    save(tmp_path, "a_mask.png", size=(6, 8), mode="L")
    manifest = build_manifest(
        ImageFolder(str(tmp_path)), [ImageRecord("a.jpg", "x", "test", "dent", "a_mask.png")]
    )
    assert manifest.loc[0, ["width", "height"]].tolist() == [6, 8]


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    whole = save(tmp_path, "whole.png", size=(64, 64)).read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    save(tmp_path, "small_mask.png", size=(32, 64), mode="L")
    (tmp_path / "bad_mask.png").write_bytes(b"")
    message = refusal(
        ImageFolder(str(tmp_path)),
        [
            ImageRecord("whole.png", "x", "train"),
            ImageRecord("short.png", "x", "train"),
            ImageRecord("text.jpg", "x", "train"),
            ImageRecord("whole.png", "x", "test", "dent", "small_mask.png"),
            ImageRecord("whole.png", "x", "test", "dent", "bad_mask.png"),
        ],
    )
    assert message.startswith(f"{tmp_path}: 4 problems: ")
    assert "short.png cannot be read as an image (" in message
    assert "text.jpg cannot be read as an image (no image format recognised)" in message
    assert "small_mask.png is 32x64 pixels but its image whole.png is 64x64" in message
    assert "bad_mask.png cannot be read as a mask (" in message


def test_images_that_may_not_be_read_are_told_as_such(tmp_path: Path, bound_by_modes: None) -> None:
    save(tmp_path, "a.png").chmod(0)
    message = refusal(ImageFolder(str(tmp_path)), [ImageRecord("a.png", "x", "train")])
    assert "a.png cannot be read (Permission denied): check its permissions" in message


def test_an_image_that_vanished_is_named(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    records = [ImageRecord(name, "x", "train") for name in ("a.png", "gone.png")]
    assert "gone.png" in refusal(ImageFolder(str(tmp_path)), records)


def test_no_images_give_an_empty_table() -> None:
    manifest = build_manifest(ImageFolder("nowhere"), [])
    assert {name: str(kind) for name, kind in manifest.dtypes.items()} == COLUMNS
    assert len(manifest) == 0


def test_problems_are_counted_and_the_first_listed() -> None:
    assert list_problems(["a is bad"]) == "a is bad"
    assert list_problems(["a", "b"]) == "2 problems: a; b"
    many = [f"file{i:02d}" for i in range(MAX_LISTED + 5)]
    listed = list_problems(many)
    assert listed.startswith(f"{MAX_LISTED + 5} problems: file00; file01; ")
    assert listed.endswith(f"file{MAX_LISTED - 1}; and 5 more")


def test_selections_put_train_first_and_sort() -> None:
    images = [
        "b/test/good/1",
        "b/train/good/2",
        "a/train/good/1",
        "b/train/good/1",
        "b/test/ding/9",
    ]
    manifest = pd.DataFrame(
        {
            "image": images,
            "class": [image[0] for image in images],
            "split": [image.split("/")[1] for image in images],
            "defect": [image.split("/")[2] for image in images],
            "label": [int("ding" in image) for image in images],
        }
    )
    chosen = select_defects(manifest, ["b"], ["b"])
    assert chosen["image"].tolist() == [
        "b/train/good/1",
        "b/train/good/2",
        "b/test/ding/9",
        "b/test/good/1",
    ]
    assert chosen.index.tolist() == [0, 1, 2, 3]

    both = select_defects(manifest, ["a", "b"], ["b"])
    assert both["image"].tolist() == ["a/train/good/1", *chosen["image"]]


def test_foreign_classes_are_anomalous_and_defective_images_left_out() -> None:
    rows = [
        ("a", "train", "good"), ("b", "train", "good"), ("c", "train", "good"),
        ("a", "test", "good"), ("b", "test", "good"), ("b", "test", "ding"), ("c", "test", "good"),
    ]  # fmt: skip
    manifest = pd.DataFrame(rows, columns=["class", "split", "defect"])
    manifest["image"] = ["/".join(row) for row in rows]
    manifest["label"] = (manifest["defect"] != "good").astype("int8")
    one = select_classes(manifest, ["b"])
    assert one["image"].tolist() == ["b/train/good", "a/test/good", "b/test/good", "c/test/good"]
    assert one["label"].tolist() == [0, 1, 0, 1]
    assert one["defect"].tolist() == ["b", "a", "b", "c"]
    two = select_classes(manifest, ["c", "a"])
    assert two["label"].tolist() == [0, 0, 0, 1, 0]
    assert manifest["label"].sum() == 1, "the manifest itself is left alone"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of all files opened, in order."""
    paths: list[str] = []
    original = ImageFolder.open

    def noted(folder: ImageFolder, path: str) -> Any:
        paths.append(path)
        return original(folder, path)

    monkeypatch.setattr(ImageFolder, "open", noted)
    return paths


def test_only_new_and_changed_files_are_opened_again(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path, opened: list[str]
) -> None:
    folder = make_dataset(tmp_path, ["nut"])
    records = read(folder, ["nut"], Split())
    first = build_manifest(folder, records)
    assert len(opened) == len(records) + sum(record.mask is not None for record in records)
    opened.clear()
    pd.testing.assert_frame_equal(build_manifest(folder, records, first), first)
    assert opened == []

    save(tmp_path, "nut/train/good/000.png", size=(50, 44))
    masked = next(record for record in records if record.mask is not None)
    assert masked.mask is not None
    size = tuple(first.set_index("image").loc[masked.image, ["width", "height"]])
    save(tmp_path, masked.mask, size=size, mode="L")
    save(tmp_path, "nut/train/good/new.png")
    records = read(folder, ["nut"], Split())
    second = build_manifest(folder, records, first).set_index("image")
    changed = {"nut/train/good/000.png", "nut/train/good/new.png", masked.image, masked.mask}
    assert set(opened) == changed
    assert second.loc["nut/train/good/000.png", "width"] == 50
    assert second.loc[masked.image, "mask_pixels"] == 0


def test_what_a_layout_says_is_not_remembered(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path, opened: list[str]
) -> None:
    """Another split of the same files needs no file, and the manifest follows it."""
    folder = make_dataset(tmp_path, ["nut"])
    record = ImageRecord("nut/train/good/000.png", "nut", "train")
    first = build_manifest(folder, [record])
    opened.clear()
    moved = ImageRecord("nut/train/good/000.png", "screw", "test", "dent")
    row = build_manifest(folder, [moved], first).iloc[0]
    assert (row["class"], row["split"], row["defect"], row["label"]) == ("screw", "test", "dent", 1)
    assert opened == []


def test_a_manifest_of_an_older_version_is_not_trusted(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path, opened: list[str]
) -> None:
    folder = make_dataset(tmp_path, ["nut"])
    records = [ImageRecord("nut/train/good/000.png", "nut", "train")]
    old = build_manifest(folder, records).drop(columns="fingerprint")
    opened.clear()
    build_manifest(folder, records, old)
    assert opened == ["nut/train/good/000.png"]


def test_manifests_are_compared_by_what_the_images_are(tmp_path: Path) -> None:
    """Copied files are the same; another label, mask or content is not, nor is one image more."""
    for name, grey in (("a", 10), ("b", 20), ("c", 30)):
        Image.new("L", (8, 6), grey).save(tmp_path / f"{name}.png")
    Image.new("L", (8, 6), 255).save(tmp_path / "mask.png")
    folder = ImageFolder(str(tmp_path))
    records = [ImageRecord(f"{name}.png", "nut", "test") for name in "ab"]
    before = build_manifest(folder, records)
    stored = pd.read_parquet(BytesIO(before.to_parquet(index=False)))
    os.utime(tmp_path / "a.png", (1, 1))
    assert changed_images(stored, build_manifest(folder, records)) == set()
    dented = [records[0], ImageRecord("b.png", "nut", "test", "dent", "mask.png")]
    assert changed_images(stored, build_manifest(folder, dented)) == {"b.png"}
    more = [*records, ImageRecord("c.png", "nut", "test")]
    assert changed_images(stored, build_manifest(folder, more)) == {"c.png"}
    assert changed_images(stored, build_manifest(folder, records[1:])) == {"a.png"}
    Image.new("L", (8, 6), 11).save(tmp_path / "a.png")
    assert changed_images(stored, build_manifest(folder, records)) == {"a.png"}


def test_what_is_odd_about_masks_is_told_as_of_images(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path
) -> None:
    """A mask of several pages: only the first is read, which one should know."""
    folder = make_dataset(tmp_path, ["nut"], dent=3, size=(32, 32))
    pages = [Image.new("L", (32, 32)) for _ in range(2)]
    pages[1].paste(255, (4, 4, 9, 9))
    pages[0].paste(255, (1, 1, 2, 2))
    masks = tmp_path / "nut/ground_truth/dent"
    for number in (0, 1):
        (masks / f"{number:03d}_mask.png").unlink()
        pages[0].save(masks / f"{number:03d}_mask.tif", save_all=True, append_images=pages[number:])
    manifest = build_manifest(folder, read(folder, ["nut"], Split()))
    assert manifest["mask_remarks"].tolist().count("pictures") == 2
    found = examine(manifest).set_index("check")["finding"]
    assert found["odd masks"] == (
        "the masks nut/ground_truth/dent/000_mask.tif and nut/ground_truth/dent/001_mask.tif have "
        "several pictures in one file, of which the first is read"
    )
    again = build_manifest(folder, read(folder, ["nut"], Split()), manifest)
    assert again.equals(manifest), "it is remembered"
