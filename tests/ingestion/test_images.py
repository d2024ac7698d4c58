"""Folders of images, on disk and elsewhere."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import (
    ImageFolder,
    is_clutter,
    is_image_name,
    single_image,
)

RAMP = np.linspace(0, 255, 12 * 16).astype(np.uint8).reshape(12, 16)
"""Grey values 0..255, 12 rows of 16."""


def grey(values: np.ndarray) -> np.ndarray:
    """Grey values in three channels."""
    return np.repeat(np.asarray(values).astype(int)[..., None], 3, axis=2)


def pixels_of(image: Image.Image) -> np.ndarray:
    """int [H, W, 3], after checking that the image is 8-bit RGB."""
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def encoded(image: Image.Image) -> io.BytesIO:
    """An image file in memory."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return io.BytesIO(buffer.getvalue())


def fill(root: Path, paths: list[str]) -> ImageFolder:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RAMP).save(root / path, "PNG")
    return ImageFolder(str(root))


def test_folder_lists_sorted_names_without_clutter(tmp_path: Path) -> None:
    clutter = [".hidden/x.png", "__MACOSX/x.png", "b/.DS_Store", "b/._1.png", "b/Thumbs.db"]
    folder = fill(tmp_path, ["b/2.png", "b/10.png", "a/1.png", "top.png", *clutter])
    assert folder.folders() == ["a", "b"]
    assert folder.files("b") == ["b/10.png", "b/2.png"]
    assert folder.files() == ["top.png"]
    assert folder.files("nothing/here") == []
    assert folder.folders("nothing/here") == []
    assert folder.exists("a/1.png")
    assert not folder.exists("a/2.png")


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store", "._a.png", "__MACOSX", "Thumbs.db", "thumbs.DB", "desktop.ini", "Desktop.ini",
        "lost+found", "$RECYCLE.BIN", "@eaDir", "#recycle", "~$a.png", "System Volume Information",
    ],
)  # fmt: skip
def test_clutter(name: str) -> None:
    assert is_clutter(name)
    assert not is_clutter(f"a{name}")


def test_folder_reads_images_and_masks(tmp_path: Path) -> None:
    folder = fill(tmp_path, ["a/1.png"])
    assert (pixels_of(folder.read_image("a/1.png")) == grey(RAMP)).all()
    assert np.asarray(folder.read_mask("a/1.png")).max() == 255


def test_folder_on_another_file_system() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/photos/a/1.png", encoded(Image.fromarray(RAMP)).getvalue())
    folder = ImageFolder("memory://photos")
    assert folder.exists()
    assert folder.folders() == ["a"]
    assert folder.files("a") == ["a/1.png"]
    assert (pixels_of(folder.read_image("a/1.png")) == grey(RAMP)).all()
    assert folder.sample(3) == ["a/1.png"]
    fs.rm("/photos", recursive=True)


def test_sample_is_spread_over_all_images(tmp_path: Path) -> None:
    names = [f"{category}/{i:02d}.png" for category in "abcd" for i in range(10)]
    folder = fill(tmp_path, names)
    (tmp_path / "a/notes.txt").write_text("no image")
    sample = folder.sample(8)
    assert len(sample) == 8
    assert [path[0] for path in sample] == list("aabbccdd")
    assert folder.sample(100) == names


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path, ["a/1.png"])
    (tmp_path / "a/1.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"^a/1\.png cannot be read as an image \(no image format"):
        folder.read_image("a/1.png")
    with pytest.raises(InputError, match=r"^a/1\.png cannot be read as a mask"):
        folder.read_mask("a/1.png")


@pytest.mark.parametrize(
    "name", ["a.png", "b/a.PNG", "a.jpeg", "a.tif", "a.webp", "a.bmp", "a.avif"]
)
def test_names_of_images(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "png", "a.json", "a", "a.png.xml", "a.pdf", "a.mpg"])
def test_names_of_other_files(name: str) -> None:
    assert not is_image_name(name)


def test_a_single_image_stands_for_a_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path, ["a/1.png", "a/2.png"])
    single = single_image(ImageFolder(str(tmp_path / "a/2.png")))
    assert single.files_below() == ["2.png"]
    assert single.read_image("2.png").size == (16, 12)
    assert single_image(folder) == folder
    missing = ImageFolder(str(tmp_path / "a/3.png"))
    assert single_image(missing) == missing


def test_a_single_image_elsewhere() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/one/a/1.png", encoded(Image.fromarray(RAMP)).getvalue())
    single = single_image(ImageFolder("memory://one/a/1.png"))
    assert (single.root, single.files_below()) == ("memory://one/a", ["1.png"])
    assert single.read_image("1.png").size == (16, 12)
    fs.rm("/one", recursive=True)


def test_files_below_follow_links_but_no_loops(tmp_path: Path) -> None:
    folder = fill(tmp_path / "root", ["a/1.png"])
    fill(tmp_path / "other", ["2.png", "lost+found/3.png"])
    (tmp_path / "root/a/link").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "root/a/up").symlink_to(tmp_path / "root", target_is_directory=True)
    (tmp_path / "root/a/out").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "other/back").symlink_to(tmp_path / "root/a", target_is_directory=True)
    assert folder.files_below() == ["a/1.png", "a/link/2.png"]
    assert folder.files_below("a/link") == ["a/link/2.png", "a/link/back/1.png"]


# --- folders that cannot be read, and odd names ---------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nobody may look into, not even root, for whom modes do not count."""
    folder = tmp_path / "a/locked"
    folder.mkdir(parents=True)
    (tmp_path / "a/b.png").touch()
    scandir, stat = os.scandir, os.stat

    def refuse(path: Any) -> None:
        if str(path).startswith(str(folder)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def refusing_scandir(path: Any) -> Any:
        refuse(path)
        return scandir(path)

    def refusing_stat(path: Any, **options: Any) -> Any:
        if str(path) != str(folder):
            refuse(path)
        return stat(path, **options)

    monkeypatch.setattr(os, "scandir", refusing_scandir)
    monkeypatch.setattr(os, "stat", refusing_stat)
    return folder


def test_a_folder_that_cannot_be_read_is_no_empty_one(locked: Path) -> None:
    """Left out in silence, masks would be missing from the metrics, images from the bank."""
    root = ImageFolder(str(locked.parents[1]))
    asked: list[Callable[[], object]] = [
        lambda: root.files("a/locked"),
        lambda: root.folders("a/locked"),
        lambda: root.files("a/locked/deeper"),
        lambda: root.files_below("a"),
        root.files_below,
        lambda: root.exists("a/locked/x"),
    ]
    for ask in asked:
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\): check its"):
            ask()
    assert root.files("a") == ["a/b.png"]
    assert root.folders("a") == ["locked"]
    assert root.exists("a/locked")


def test_what_is_not_there_is_absent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = ImageFolder(str(tmp_path))
    for path in ("nowhere", "nowhere/deeper", "file/below", "file"):
        assert root.files(path) == root.folders(path) == root.files_below(path) == []
    assert not root.exists("nowhere")
    assert not root.exists("file/below")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"caf\xe9.png", "'caf\\udce9.png'"), (b"a\nb", "'a\\nb'"), (b"a\x1b[31m", "'a\\x1b[31m'")],
)
def test_a_name_that_no_table_can_hold_is_told(name: bytes, shown: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/" + name)).touch()
    root = ImageFolder(str(tmp_path))
    for ask in (lambda: root.files("a"), root.files_below):
        with pytest.raises(InputError, match=re.escape(f"holds {shown}, a name that is not")):
            ask()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/.caf\xe9")).touch()


@pytest.mark.parametrize("name", ["a::b", "a #2", "a: b", "${x}", "{a}", "a,b", "[a]", "*", "~"])
def test_any_name_is_a_local_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "c").mkdir(parents=True)
    Image.new("RGB", (3, 2)).save(tmp_path / name / "c/x.png")
    root = ImageFolder(str(tmp_path / name))
    assert root.exists()
    assert root.folders() == ["c"]
    assert root.files_below() == root.files("c") == ["c/x.png"]
    assert root.read_image("c/x.png").size == (3, 2)
    assert root.identity == str(tmp_path / name)


def test_an_image_is_held_to_its_hash(tmp_path: Path) -> None:
    """Also a deep one, whose hash names its levels."""
    Image.new("L", (4, 4), 9).save(tmp_path / "a.png")
    folder = ImageFolder(str(tmp_path))
    content_hash = folder.content_hash("a.png")
    assert folder.read_image("a.png", None, content_hash).getpixel((0, 0)) == (9, 9, 9)
    assert folder.read_image("a.png", None, f"{content_hash}@0..4095").size == (4, 4)
    Image.new("L", (4, 4), 10).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png has changed since its data set was read: run"):
        folder.read_image("a.png", None, content_hash)


def test_an_image_or_mask_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = ImageFolder(str(tmp_path))
    for read in (folder.read_image, folder.read_mask):
        with pytest.raises(InputError, match=r"a\.png is gone since its data set was read: run"):
            read("a.png")
