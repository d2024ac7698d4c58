"""The MVTec layout, and how a broken one is reported."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.health import told_findings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.folder import classes, notes, read
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.roots import choose_classes, find_classes, locate

Draw = Callable[..., ImageFolder]


def refusal(folder: ImageFolder, names: list[str]) -> str:
    """The one line with which a layout is refused."""
    with pytest.raises(InputError) as error:
        read(folder, names, Split())
    message = str(error.value)
    assert "\n" not in message
    return message


def test_reads_train_test_and_masks(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut", "bolt"], train=2, good=1, dent=1)
    records = read(folder, ["nut"], Split())
    assert [(r.image, r.class_name, r.split, r.defect, r.label, r.mask) for r in records] == [
        ("nut/train/good/000.png", "nut", "train", "good", 0, None),
        ("nut/train/good/001.png", "nut", "train", "good", 0, None),
        ("nut/test/dent/000.png", "nut", "test", "dent", 1, "nut/ground_truth/dent/000_mask.png"),
        ("nut/test/good/000.png", "nut", "test", "good", 0, None),
    ]
    both = read(folder, ["nut", "bolt"], Split())
    assert {record.class_name for record in both} == {"nut", "bolt"}


def test_mask_may_have_the_images_own_name_and_another_suffix(
    make_dataset: Draw, tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path, ["nut"], dent=2)
    masks = tmp_path / "nut/ground_truth/dent"
    (masks / "000_mask.png").rename(masks / "000.bmp")
    found = {record.image: record.mask for record in read(folder, ["nut"], Split()) if record.label}
    assert found == {
        "nut/test/dent/000.png": "nut/ground_truth/dent/000.bmp",
        "nut/test/dent/001.png": "nut/ground_truth/dent/001_mask.png",
    }


def test_only_the_end_of_a_masks_name_is_dropped(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"])
    (tmp_path / "nut/test/dent/000.png").rename(tmp_path / "nut/test/dent/gas_mask_1.png")
    masks = tmp_path / "nut/ground_truth/dent"
    (masks / "000_mask.png").rename(masks / "gas_mask_1_mask.png")
    found = [record.mask for record in read(folder, ["nut"], Split()) if record.label]
    assert found == ["nut/ground_truth/dent/gas_mask_1_mask.png"]


def test_masks_are_optional(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], masks=False, dent=2)
    defective = [record for record in read(folder, ["nut"], Split()) if record.label]
    assert [record.mask for record in defective] == [None, None]


def test_test_images_may_all_be_normal_or_all_be_defective(
    make_dataset: Draw, tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path, ["nut", "bolt"])
    shutil.rmtree(tmp_path / "nut/test/dent")
    shutil.rmtree(tmp_path / "bolt/test/good")
    records = read(folder, ["nut", "bolt"], Split())
    labels = {(r.class_name, r.label) for r in records if r.split == "test"}
    assert labels == {("nut", 0), ("bolt", 1)}


def test_all_problems_are_named_at_once(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["bolt", "nut", "washer"])
    (tmp_path / "empty").mkdir()
    shutil.rmtree(tmp_path / "bolt/train")
    (tmp_path / "nut/train/good").rename(tmp_path / "nut/train/fine")
    message = refusal(folder, ["bolt", "empty", "nut", "washer"])
    assert message.startswith(f"{tmp_path}: 3 problems: ")
    assert "category 'bolt' has no images in bolt/train/good" in message
    assert "category 'empty' is empty: put images into empty/train/good" in message
    assert "category 'nut' has no images in nut/train/good" in message
    assert "washer" not in message


def test_categories_are_folders_with_train_or_test(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut", "bolt"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "licences/texts").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "manuals").mkdir()
    (tmp_path / "manuals/nut.pdf").write_text("no category")
    (tmp_path / "readme.txt").write_text("no category")
    assert classes(folder) == ["bolt", "empty", "nut"]
    assert find_classes("folder", folder) == ["bolt", "empty", "nut"]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(InputError, match=f"root {root} does not exist: set root"):
        find_classes("folder", ImageFolder(str(root)))


def test_a_root_without_categories_is_named(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("no category")
    with pytest.raises(InputError, match=f"{tmp_path} holds no category: expected folders like"):
        find_classes("folder", ImageFolder(str(tmp_path)))


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("all", ["a", "b", "c", "d+e"]),
        ("b", ["b"]),
        ("c+a", ["a", "c"]),
        ("d+e", ["d+e"]),
        (["c", "b"], ["b", "c"]),
    ],
)
def test_choosing_categories(wanted: str | list[str], chosen: list[str]) -> None:
    assert choose_classes(["a", "b", "c", "d+e"], wanted) == chosen


def test_an_unknown_category_is_answered_with_the_closest() -> None:
    with pytest.raises(InputError, match="no category 'botle'; did you mean 'bottle'"):
        choose_classes(["bottle", "cable"], ["cable", "botle"])


# --- folders as people have them ------------------------------------------------------------------


def tree(root: Path, *paths: str) -> ImageFolder:
    """A root with these files; those that are images hold one."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith((".png", ".bmp")):
            Image.new("L", (4, 4)).save(root / path)
        else:
            (root / path).write_text("no image")
    return ImageFolder(str(root))


def found(folder: ImageFolder, name: str = "nut", **split: Any) -> dict[str, list[str]]:
    """Paths below the category, by split and kind."""
    images: dict[str, list[str]] = {}
    for record in read(folder, [name], Split(**split)):
        key = f"{record.split} {record.defect}"
        images.setdefault(key, []).append(record.image.removeprefix(f"{name}/"))
    return images


def told(folder: ImageFolder, *names: str) -> dict[str, list[str]]:
    """What is left out, by what it is about."""
    texts: dict[str, list[str]] = {}
    for note in notes(folder, list(names or ["nut"]), Split()):
        texts.setdefault(note.check, []).append(note.text)
    return texts


BASE = ("nut/train/good/0.png", "nut/test/good/0.png", "nut/test/dent/0.png")


def masks_of(folder: ImageFolder) -> dict[str, str | None]:
    """The mask of each anomalous test image."""
    return {r.image: r.mask for r in read(folder, ["nut"], Split()) if r.label}


def test_a_plain_tree_has_nothing_to_tell(tmp_path: Path) -> None:
    assert told(tree(tmp_path, *BASE)) == {}


@pytest.mark.parametrize("name", ["ok", "OK", "Good", "normal", "Defect-Free", "no defect", "IO"])
def test_normal_images_are_known_by_their_folders_name(tmp_path: Path, name: str) -> None:
    folder = tree(tmp_path, f"nut/train/{name}/0.png", f"nut/test/{name}/1.png", "nut/test/a/2.png")
    assert found(folder) == {
        "train good": [f"train/{name}/0.png"],
        "test good": [f"test/{name}/1.png"],
        "test a": ["test/a/2.png"],
    }


def test_capitals_of_train_and_test_do_not_matter(tmp_path: Path) -> None:
    folder = tree(tmp_path, "nut/Train/Good/0.png", "nut/TEST/good/1.png")
    assert classes(folder) == ["nut"]
    assert set(found(folder)) == {"train good", "test good"}


def test_images_in_sub_folders_are_taken(tmp_path: Path) -> None:
    deep = ("nut/train/good/batch 1/a/1.png", "nut/test/dent/line 2/1.png", "nut/train/2.png")
    assert found(tree(tmp_path, *BASE, *deep)) == {
        "train good": ["train/2.png", "train/good/0.png", "train/good/batch 1/a/1.png"],
        "test good": ["test/good/0.png"],
        "test dent": ["test/dent/0.png", "test/dent/line 2/1.png"],
    }


def test_images_that_nothing_is_known_of_are_left_out_by_name(tmp_path: Path) -> None:
    odd = ("nut/test/1.png", "nut/train/bad/1.png", "nut/val/2.png", "nut/train/bad/2.png")
    folder = tree(tmp_path, *BASE, *odd)
    assert sum(map(len, found(folder).values())) == len(BASE)
    left_out = told(folder)["left out"]
    assert sorted(left_out) == [
        "1 image of nut/val: it lies outside train and test",
        "2 images of nut/train/bad: only normal images are learned from",
        "nut/test/1.png: no folder tells whether they are good",
    ]


def test_other_files_are_left_out_and_told_in_one_line(tmp_path: Path) -> None:
    others = ("notes.txt", "nut/labels.json", "nut/train/good/list.csv", "nut/test/README",
              "nut/test/dent/deep/x.xml", "manuals/nut.pdf")  # fmt: skip
    folder = tree(tmp_path, *BASE, *others, "nut/train/good/Thumbs.DB", "$RECYCLE.BIN/x/1.png")
    assert sum(map(len, found(folder).values())) == len(BASE)
    findings = told_findings(notes(folder, ["nut"], Split()))
    (line,) = findings.loc[findings["check"] == "other files", "finding"]
    assert line.startswith("5 files that are no images are left out: ")
    assert any(text.startswith("manuals: no category") for text in findings["finding"])
    assert not findings["finding"].str.contains("humbs|RECYCLE").any()


def test_pictures_of_formats_that_are_not_read_are_not_called_no_images(tmp_path: Path) -> None:
    others = ("nut/train/good/1.HEIC", "nut/test/dent/2.nef", "nut/3.heic", "nut/labels.json")
    findings = told_findings(notes(tree(tmp_path, *BASE, *others), ["nut"], Split()))
    assert findings.set_index("check")["finding"].to_dict() == {
        "unread pictures": "3 pictures in a format that is not read (.heic, .nef) left out: "
        "nut/train/good/1.HEIC and nut/test/dent/2.nef and nut/3.heic. Convert them, to PNG for "
        "instance",
        "other files": "1 file that is no image is left out: nut/labels.json",
    }


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_called_like_an_image_is_not_waited_for(tmp_path: Path, linked: bool) -> None:
    folder = tree(tmp_path, *BASE)
    pipe = tmp_path / ("pipe" if linked else "nut/train/good/1.png")
    os.mkfifo(pipe)
    if linked:
        (tmp_path / "nut/train/good/1.png").symlink_to(pipe)
        pipe = tmp_path / "nut/train/good/1.png"
    assert f"{pipe} is a pipe, a socket or a device: remove it" in refusal(folder, ["nut"])


@pytest.mark.parametrize(
    "name", ["lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", "#recycle"]
)
def test_folders_of_systems_are_no_categories(tmp_path: Path, name: str) -> None:
    folder = tree(tmp_path, *BASE)
    (tmp_path / name).mkdir()
    assert classes(folder) == ["nut"]
    assert told(folder) == {}


def test_good_and_bad_without_a_split(tmp_path: Path) -> None:
    """A share of the good ones is held out, as the seed draws; the bad ones are all tested."""
    good = [f"nut/good/{i}.png" for i in range(10)]
    folder = tree(tmp_path, *good, "nut/bad/0.png", "nut/scratched/0.png", "nut/masks/bad/0.png")
    assert classes(folder) == ["nut"]
    images = found(folder)
    assert len(images["train good"]) == 8
    assert len(images["test good"]) == 2
    assert sorted(images["train good"] + images["test good"]) == [
        f"good/{i}.png" for i in range(10)
    ]
    assert (images["test bad"], images["test scratched"]) == (["bad/0.png"], ["scratched/0.png"])
    assert masks_of(folder)["nut/bad/0.png"] == "nut/masks/bad/0.png"
    assert "2 of 10 are held out for the test" in told(folder)["held out"][0]
    assert found(folder) == images
    draws = {tuple(found(folder, seed=seed)["test good"]) for seed in range(5)}
    assert len(draws) > 1
    assert len(found(folder, test_share=0.5)["test good"]) == 5


def test_train_alone_is_enough_to_predict(tmp_path: Path) -> None:
    folder = tree(tmp_path, *[f"nut/train/good/{i}.png" for i in range(5)])
    images = found(folder)
    assert [len(images[key]) for key in ("train good", "test good")] == [4, 1]
    assert "no anomalous test images: there are no metrics" in told(folder)["no anomalies"][0]


def test_a_single_normal_image_is_learned_from(tmp_path: Path) -> None:
    assert found(tree(tmp_path, "nut/good/0.png", "nut/bad/0.png")) == {
        "train good": ["good/0.png"],
        "test bad": ["bad/0.png"],
    }


def test_a_test_that_there_is_stays_as_it_is(tmp_path: Path) -> None:
    """Normal images of train are not held out, even where none are tested."""
    folder = tree(tmp_path, "nut/test/dent/0.png", *[f"nut/train/good/{i}.png" for i in range(5)])
    assert {key: len(paths) for key, paths in found(folder).items()} == {
        "train good": 5,
        "test dent": 1,
    }


@pytest.mark.parametrize(
    "mask",
    [
        "ground_truth/dent/0.png", "ground_truth/dent/0_mask.png", "ground_truth/dent/0_gt.png",
        "ground_truth/dent/0_MASK.png", "ground_truth/dent/mask_0.png", "ground_truth/Dent/0.bmp",
        "Ground_Truth/dent/0-mask.png", "masks/dent/0.png", "GT/dent/0_ground_truth.png",
        "ground_truth/0_mask.png", "masks/0.png", "test/dent/0_mask.png",
    ],
)  # fmt: skip
def test_masks_are_found_however_they_are_called(tmp_path: Path, mask: str) -> None:
    base = [path for path in BASE if "test/good" not in path] + ["nut/test/good/9.png"]
    folder = tree(tmp_path, *base, f"nut/{mask}")
    assert masks_of(folder) == {"nut/test/dent/0.png": f"nut/{mask}"}
    assert told(folder) == {}


def test_several_masks_of_an_image_lie_in_a_folder_of_its_name(tmp_path: Path) -> None:
    parts = ("nut/ground_truth/dent/0/000.png", "nut/ground_truth/dent/0/001.png")
    folder = tree(tmp_path, *BASE, *parts)
    assert masks_of(folder) == {"nut/test/dent/0.png": "nut/ground_truth/dent/0"}
    assert folder.mask_files("nut/ground_truth/dent/0") == list(parts)
    (tmp_path / "nut/ground_truth/dent/0/notes.txt").write_text("no mask")
    assert folder.mask_files("nut/ground_truth/dent/0") == list(parts)
    (tmp_path / "nut/ground_truth/dent/0/notes.txt").unlink()
    assert told(folder) == {}


def test_a_folder_of_masks_is_that_of_the_image_it_is_called_after(tmp_path: Path) -> None:
    """Not that of the image which a mask in it is called like: in each folder they count anew."""
    images = [f"nut/test/dent/{i}.png" for i in range(3)]
    masks = [f"nut/ground_truth/dent/{i}/{j}.png" for i in range(3) for j in range(i + 1)]
    folder = tree(tmp_path, *BASE, *images, *masks)
    assert masks_of(folder) == {
        f"nut/test/dent/{i}.png": f"nut/ground_truth/dent/{i}" for i in range(3)
    }
    assert told(folder) == {}


def test_accents_may_be_written_in_two_ways(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFC", "f\u00fcr")
    mask = unicodedata.normalize("NFD", name)
    folder = tree(tmp_path, *BASE, f"nut/test/dent/{name}.png", f"nut/masks/dent/{mask}_mask.png")
    assert masks_of(folder)[f"nut/test/dent/{name}.png"] == f"nut/masks/dent/{mask}_mask.png"


def test_masks_in_sub_folders_are_those_of_the_images_there(tmp_path: Path) -> None:
    lines = [f"nut/{part}/dent/line {i}/7.png" for part in ("test", "masks") for i in (1, 2)]
    masks = masks_of(tree(tmp_path, *BASE, *lines))
    assert masks["nut/test/dent/line 1/7.png"] == "nut/masks/dent/line 1/7.png"
    assert masks["nut/test/dent/line 2/7.png"] == "nut/masks/dent/line 2/7.png"


def test_masks_that_match_no_image_are_told(tmp_path: Path) -> None:
    """Nor one that several images could be meant by."""
    strangers = ("nut/masks/dent/7.png", "nut/masks/0.png", "nut/masks/dent/0_gt.png")
    folder = tree(tmp_path, *BASE, "nut/test/bent/0.png", "nut/masks/dent/0.png", *strangers)
    assert masks_of(folder)["nut/test/dent/0.png"] == "nut/masks/dent/0.png"
    (text,) = told(folder)["masks without images"]
    assert text.startswith("3 masks match no test image, or one that has another")


def test_kinds_that_differ_in_capitals_keep_their_own_masks(tmp_path: Path) -> None:
    kinds = ("Scratch", "scratch")
    images = [f"nut/test/{kind}/{i}.png" for kind in kinds for i in (0, 1)]
    masks = [f"nut/ground_truth/{kind}/{i}_mask.png" for kind in kinds for i in (0, 1)]
    folder = tree(tmp_path, *BASE, *images, *masks)
    paired = {image: mask for image, mask in masks_of(folder).items() if "cratch" in image}
    assert paired == dict(zip(images, masks, strict=True))
    assert told(folder) == {}


def test_a_mask_that_either_of_two_kinds_may_mean_is_told(tmp_path: Path) -> None:
    images = ("nut/test/Scratch/1.png", "nut/test/scratch/1.png", "nut/test/scratch/2.png")
    masks = ("nut/masks/SCRATCH/1.png", "nut/masks/SCRATCH/2.png")
    folder = tree(tmp_path, *BASE, *images, *masks)
    paired = masks_of(folder)
    assert [paired[image] for image in images] == [None, None, masks[1]]
    (text,) = told(folder)["masks without images"]
    assert text.startswith("1 mask matches no test image, or one that has another mask already")
    assert masks[0] in text


@pytest.mark.parametrize("place", ["ground_truth/dent", "ground_truth", "test/dent"])
def test_images_that_differ_in_capitals_keep_their_own_masks(tmp_path: Path, place: str) -> None:
    images = [f"nut/test/dent/{name}.png" for name in ("B", "b", "C")]
    masks = [f"nut/{place}/{name}_mask.png" for name in ("B", "b", "c", "C")]
    folder = tree(tmp_path, *BASE, *images, *masks)
    paired = masks_of(folder)
    assert [paired[image] for image in images] == [masks[0], masks[1], masks[3]]
    (text,) = told(folder)["masks without images"]
    assert masks[2] in text
    assert masks[2] not in {record.image for record in read(folder, ["nut"], Split())}


def test_masks_beside_one_image_are_none_of_them_images(tmp_path: Path) -> None:
    """Several for one, and one for either of two, are told; the figures are of images only."""
    beside = ("0_mask.png", "0_gt.png", "1.png", "1.bmp", "1_mask.png")
    folder = tree(tmp_path, *BASE, *[f"nut/test/dent/{name}" for name in beside])
    assert found(folder)["test dent"] == [f"test/dent/{n}" for n in ("0.png", "1.bmp", "1.png")]
    (text,) = told(folder)["masks without images"]
    assert text.startswith("2 masks match") and "0_mask.png, nut/test/dent/1_mask.png" in text


def test_other_files_among_masks_are_told(tmp_path: Path) -> None:
    folder = tree(tmp_path, *BASE, "nut/ground_truth/dent/notes.txt")
    assert told(folder)["other files"] == ["nut/ground_truth/dent/notes.txt"]


# --- pictures in wrong places ---------------------------------------------------------------------


def test_pictures_right_in_a_category_or_the_root_are_told_by_number(tmp_path: Path) -> None:
    loose = ("nut/1.png", "nut/2.bmp", "nut/notes.txt", "3.png", "heap/4.png", "heap/a/5.png")
    flat = ("bolt/good/0.png", "bolt/6.png")
    folder = tree(tmp_path, *BASE, *loose, *flat)
    assert sum(map(len, found(folder).values())) == len(BASE)
    findings = told_findings(notes(folder, ["bolt", "nut"], Split()))
    (line,) = findings.loc[findings["check"] == "left out", "finding"]
    assert line.endswith("no train, test or good folder in it (2 pictures in all)")
    lines = findings.loc[findings["check"] == "loose pictures", "finding"].tolist()
    end = "others into a folder of their kind of defect"
    assert lines == [
        "1 picture right in bolt left out: bolt/6.png. Normal ones belong into bolt/good or "
        f"bolt/train/good, {end}",
        "2 pictures right in nut left out: nut/1.png and nut/2.bmp. Normal ones belong into "
        f"nut/good or nut/train/good, {end}",
        "1 picture right in the root left out: 3.png. Normal ones belong into <category>/good, "
        f"{end}",
    ]
    (others,) = findings.loc[findings["check"] == "other files", "finding"]
    assert others == "1 file that is no image is left out: nut/notes.txt"


@pytest.mark.parametrize(
    ("paths", "line"),
    [
        (["1.png", "2.png"], "2 pictures (1.png, 2.png) right in it: put normal ones into "
                             "<category>/good"),
        (["nut/1.png"], "1 picture (nut/1.png) right in nut: put normal ones into nut/good"),
    ],
)  # fmt: skip
def test_a_root_of_loose_pictures_is_told_where_they_belong(
    tmp_path: Path, paths: list[str], line: str
) -> None:
    with pytest.raises(InputError) as error:
        locate("folder", tree(tmp_path, *paths))
    assert str(error.value).endswith(line)


@pytest.mark.parametrize("name", ["Test", "Train", "good"])
def test_a_category_may_be_called_like_a_part_of_one(tmp_path: Path, name: str) -> None:
    paths = [path.replace("nut", name, 1) for path in BASE]
    folder = tree(tmp_path, *BASE, *paths)
    assert classes(folder) == sorted([name, "nut"])
    assert found(folder, name)["train good"] == ["train/good/0.png"]


def test_a_folder_called_like_a_part_is_not_said_to_hold_none(tmp_path: Path) -> None:
    folder = tree(tmp_path, *BASE, "Test/good/0.png", "Test/bad/0.png")
    assert classes(folder) == ["nut"]
    (text,) = told(folder)["left out"]
    assert text.startswith("Test: no category, for that is what a part of one is called: rename")


def test_an_image_without_a_mask_is_taken_all_the_same(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"], dent=2)
    (tmp_path / "nut/ground_truth/dent/001_mask.png").unlink()
    assert list(masks_of(folder).values()) == ["nut/ground_truth/dent/000_mask.png", None]


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", "1.png", "deep/2.png")
    folder = tree(tmp_path / "root", *BASE)
    good = tmp_path / "root/nut/train/good"
    (good / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (good / "loop").symlink_to(good, target_is_directory=True)
    assert found(folder)["train good"] == [
        f"train/good/{name}" for name in ("0.png", "linked/1.png", "linked/deep/2.png")
    ]
    assert folder.read_image("nut/train/good/linked/1.png").size == (4, 4)


# --- the data set's own folder --------------------------------------------------------------------


def test_the_users_own_data_lies_where_the_user_says(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data", ["nut"])
    assert locate("folder", folder) == folder
    (tmp_path / "data/readme").mkdir()
    for root in (tmp_path, tmp_path / "data/nut"):
        with pytest.raises(InputError, match=f"{root} holds no category: expected folders like"):
            locate("folder", ImageFolder(str(root)))
    with pytest.raises(InputError, match="looks like a category itself: set the root to the"):
        locate("folder", ImageFolder(str(tmp_path / "data/nut")))


def test_the_demo_need_not_exist_yet(tmp_path: Path) -> None:
    root = ImageFolder(str(tmp_path / "not_drawn"))
    assert locate("demo", root) == root


def test_a_published_data_set_is_looked_for_in_order(tmp_path: Path) -> None:
    for place in ("", "b", "b/c", "b/a"):
        (tmp_path / place / "MT_Free").mkdir(parents=True)
    assert locate("mtd", ImageFolder(f"{tmp_path}/b")).root == f"{tmp_path}/b"
    (tmp_path / "b/MT_Free").rmdir()
    assert locate("mtd", ImageFolder(f"{tmp_path}/b/")).root == f"{tmp_path}/b/a"
    shutil.rmtree(tmp_path / "b/a")
    shutil.rmtree(tmp_path / "b/c")
    assert locate("mtd", ImageFolder(f"{tmp_path}/b/")).root == str(tmp_path)


@pytest.mark.parametrize("layout", ["mvtec", "btad", "mtd", "cpd", "imagenet30", "species60"])
def test_a_published_data_set_that_is_not_there(layout: str, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(InputError, match=f"root {missing} does not exist: set root"):
        locate(layout, ImageFolder(str(missing)))
    (tmp_path / "a/b").mkdir(parents=True)
    expected = f"{tmp_path}/a holds no category: expected folders like {LAYOUTS[layout].EXPECTED}"
    with pytest.raises(InputError, match=f"^{expected}$"):
        locate(layout, ImageFolder(f"{tmp_path}/a"))


def test_a_relative_root_has_a_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiles/MT_Free/Imgs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tiles/MT_Free")
    for root in (".", "Imgs/..", "../MT_Free"):
        found = locate("mtd", ImageFolder(root))
        assert Path(found.root).resolve() == tmp_path / "tiles"


def test_a_remote_root_keeps_what_its_file_system_must_know() -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/tiles/magnetic/MT_Free/Imgs/0.jpg", b"")
    options = '{"use_listings_cache": false}'
    for root in ("tiles/magnetic", "tiles", "tiles/magnetic/MT_Free"):
        found = locate("mtd", ImageFolder(f"memory://{root}", options))
        assert found == ImageFolder("memory://tiles/magnetic", options)
    with pytest.raises(InputError, match="holds no category"):
        locate("mtd", ImageFolder("memory://tiles/magnetic/MT_Free/Imgs"))
