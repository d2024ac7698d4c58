"""The MVTec layout, and how a broken one is reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.folder import classes, read
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
    names = ["bolt", "empty", "nut", "screw", "washer"]
    folder = make_dataset(tmp_path, ["bolt", "nut", "screw", "washer"], dent=3)
    (tmp_path / "empty").mkdir()
    shutil.rmtree(tmp_path / "bolt/train")
    shutil.rmtree(tmp_path / "nut/test")
    for missing in ("000", "002"):
        (tmp_path / f"screw/ground_truth/dent/{missing}_mask.png").unlink()
    message = refusal(folder, names)
    assert message.startswith(f"{tmp_path}: 5 problems: ")
    assert "category 'bolt' has no images in bolt/train/good" in message
    assert "category 'empty' is empty: put images into empty/train/good" in message
    assert "category 'nut' has no images in nut/test/" in message
    assert "screw/test/dent/000.png has no mask in screw/ground_truth/dent, others" in message
    assert "screw/test/dent/002.png has no mask" in message
    assert "washer" not in message
    assert "001.png" not in message


def test_a_train_folder_without_good_is_no_train_folder(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut"])
    (tmp_path / "nut/train/good").rename(tmp_path / "nut/train/fine")
    assert "category 'nut' has no images in nut/train/good" in refusal(folder, ["nut"])


def test_categories_are_folders_with_train_or_test(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, ["nut", "bolt"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "licences/texts").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "readme.txt").write_text("no category")
    assert classes(folder) == ["bolt", "empty", "nut"]
    assert find_classes("folder", folder) == ["bolt", "empty", "nut"]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(InputError, match=f"root {root} does not exist: set datasets"):
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


# --- the data set's own folder --------------------------------------------------------------------


def test_the_users_own_data_lies_where_the_user_says(make_dataset: Draw, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data", ["nut"])
    assert locate("folder", folder) == folder
    (tmp_path / "data/readme").mkdir()
    for root in (tmp_path, tmp_path / "data/nut"):
        with pytest.raises(InputError, match=f"{root} holds no category: expected folders like"):
            locate("folder", ImageFolder(str(root)))


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
    with pytest.raises(InputError, match=f"root {missing} does not exist: set datasets"):
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
