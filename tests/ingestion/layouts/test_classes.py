"""Images by class, nested at will, and how a broken layout is reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.classes import classes, read
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.roots import find_classes


def draw(root: Path, *paths: str) -> ImageFolder:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
    return ImageFolder(str(root))


def test_reads_every_image_below_a_class(tmp_path: Path) -> None:
    folder = draw(
        tmp_path,
        "one_class_train/owl/b.png",
        "one_class_train/owl/n01/deep/a.png",
        "one_class_train/cat/0.png",
        "one_class_test/owl/n01/0.png",
        "one_class_test/cat/1.png",
    )
    (tmp_path / "one_class_train/owl/.DS_Store").write_text("")
    assert classes(folder) == ["cat", "owl"]
    records = read(folder, ["owl"], Split())
    assert [(r.image, r.class_name, r.split, r.defect, r.label) for r in records] == [
        ("one_class_train/owl/b.png", "owl", "train", "good", 0),
        ("one_class_train/owl/n01/deep/a.png", "owl", "train", "good", 0),
        ("one_class_test/owl/n01/0.png", "owl", "test", "good", 0),
    ]


def test_classes_without_images_are_all_named(tmp_path: Path) -> None:
    folder = draw(tmp_path, "one_class_train/cat/0.png", "one_class_test/owl/0.png")
    assert classes(folder) == ["cat", "owl"]
    with pytest.raises(InputError) as error:
        read(folder, ["cat", "owl"], Split())
    message = str(error.value)
    assert "'cat' has no images in one_class_test/cat" in message
    assert "'owl' has no images in one_class_train/owl" in message
    assert "\n" not in message


def test_no_root_and_no_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        classes(ImageFolder(str(tmp_path / "nowhere")))
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="expected folders like one_class_train/<class>"):
        find_classes("classes", ImageFolder(str(tmp_path)))


def test_remote_roots_give_relative_paths() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in ("one_class_train/owl/x/0.png", "one_class_test/owl/1.png"):
        memory.pipe_file(f"/by_class/{path}", b"")
    records = read(ImageFolder("memory://by_class"), ["owl"], Split())
    assert [record.image for record in records] == [
        "one_class_train/owl/x/0.png",
        "one_class_test/owl/1.png",
    ]
