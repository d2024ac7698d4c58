"""What a detector may be given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.sources import (
    is_one,
    normal_sources_of,
    sources_of,
    without_roi,
)
from uniformaly_pipeline.ingestion.levels import Levels


def test_a_folder_is_its_images_however_deep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b").mkdir()
    for name in ("c.png", "b/a.png", "b/.hidden.png"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    assert [each.name for each in sources_of(tmp_path)] == ["b/a.png", "c.png"]
    assert not is_one(str(tmp_path))
    (tmp_path / "notes.txt").write_text("no image by its name")
    assert [each.name for each in sources_of(tmp_path)] == ["b/a.png", "c.png"]
    assert "1 file left out as no image, such as notes.txt" in caplog.text
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no images"):
        sources_of(empty)


def test_the_picture_of_a_region_is_none_of_the_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    spelt = tmp_path / ".." / tmp_path.name / "a.png"
    for given in (tmp_path, [tmp_path / "a.png", str(tmp_path / "b.png")]):
        names = [each.name for each in without_roi(sources_of(given), spelt)]
        assert [Path(name).name for name in names] == ["b.png"]
    array = np.zeros((2, 2), np.uint8)
    assert len(without_roi(sources_of([array, tmp_path / "a.png"]), tmp_path / "a.png")) == 1
    assert len(without_roi(sources_of(tmp_path / "a.png"), array)) == 1
    with pytest.raises(InputError, match=r"a\.png is the region of interest: there is no image"):
        without_roi(sources_of(tmp_path / "a.png"), tmp_path / "a.png")


def test_urls_are_read_as_paths_are(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    picture.save(tmp_path / "a.png")
    fs = fsspec.filesystem("memory")
    fs.pipe("/incoming/a.png", (tmp_path / "a.png").read_bytes())
    local = sources_of(tmp_path / "a.png")[0].open(Levels())
    for given in ("memory://incoming/a.png", "memory://incoming"):
        (source,) = sources_of(given)
        opened = source.open(Levels())
        assert opened.content_hash == local.content_hash
        assert (np.asarray(opened.image) == np.asarray(picture)).all()
    with pytest.raises(InputError, match=r"memory://incoming/b\.png does not exist"):
        sources_of("memory://incoming/b.png")[0].open(Levels())
    fs.rm("/incoming", recursive=True)


@pytest.mark.parametrize(
    ("files", "category", "said"),
    [
        (
            ["train/good/0.png", "test/crack/0.png", "ground_truth/crack/0.png"],
            "bolt",
            r"bolt looks like a data set's category: give its normal images, \S+bolt/train/good$",
        ),
        (
            ["bolt/train/good/0.png", "bolt/test/good/1.png"],
            "demo",
            r"demo looks like a data set: give the normal images of one category, "
            r"\S+demo/bolt/train/good$",
        ),
        (
            ["test/crack/0.png", "ground_truth/crack/0.png"],
            "nut",
            r"nut looks like a data set's category: give its normal images$",
        ),
    ],
)
@pytest.mark.parametrize("is_remote", [False, True])
def test_a_data_set_is_no_folder_of_normal_images(
    files: list[str], category: str, said: str, is_remote: bool, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / category / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / category / file)
    root = str(tmp_path / category)
    if is_remote:
        fs = fsspec.filesystem("memory")
        fs.put(root, f"/{category}", recursive=True)
        root = f"memory://{category}"
    assert len(sources_of(root)) == len(files)
    with pytest.raises(InputError, match=said):
        normal_sources_of(root)
    if is_remote:
        fs.rm(f"/{category}", recursive=True)


@pytest.mark.parametrize(
    "files",
    [
        ["good/0.png", "line 1/0.png"],
        ["test/0.png", "train/0.png"],
        ["ground_truth/0.png", "a/b/train/good/0.png", "retrain/good/0.png"],
    ],
)
def test_normal_images_may_lie_in_folders_of_any_name(files: list[str], tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / file)
    assert len(normal_sources_of(tmp_path)) == len(files)
    (one := tmp_path / "train/good").mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2)).save(one / "0.png")
    # Who names the images one by one means them.
    for given in (one, one / "0.png", [one / "0.png"]):
        assert len(normal_sources_of(given)) == 1


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.full((3, 4), 7, np.uint8), "L"),
        (np.full((3, 4, 1), 7, np.uint8), "L"),
        (np.full((3, 4, 1), 65535, np.uint16), "I;16"),
        (np.full((3, 4, 4), 255, np.uint8), "RGBA"),
        (np.full((3, 4), 65535, np.uint16), "I;16"),
        (np.full((3, 4), 1.0, np.float32), "F"),
    ],
)
def test_arrays_become_rgb(array: np.ndarray, mode: str) -> None:
    opened = sources_of(array)[0].open(Levels())
    assert opened.image.mode == "RGB"
    assert opened.image.size == (4, 3)
    assert np.asarray(opened.image)[0, 0].tolist() == [7 if array.flat[0] == 7 else 255] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.zeros((4, 4, 3), np.float32), "array of float32"),
        (np.zeros((4, 4), bool), "array of bool"),
        (np.zeros((3, 4, 5), np.uint8), r"\[3, 4, 5\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        ([b"bytes"], "image 1 is a bytes"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        sources_of(given)


def test_an_image_that_may_not_be_read_is_told_as_such(
    tmp_path: Path, bound_by_modes: None
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path)
    path.chmod(0)
    (source,) = sources_of(path)
    with pytest.raises(
        InputError, match=r"a.png cannot be read \(Permission denied\): check its p"
    ):
        source.decode()


def test_pixels_that_are_no_numbers_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """They are read as black: without a word a score would be of a picture that nobody took."""
    pixels = np.full((8, 8), 0.5, np.float32)
    pixels[0] = 0.1
    (sound,) = sources_of(pixels)
    sound.open(Levels()).warn()
    assert caplog.messages == []
    pixels[2, 2] = np.nan
    (broken,) = sources_of(pixels)
    replace(broken, name="\x1b[31mimage").open(Levels()).warn()
    (line,) = caplog.messages
    assert (
        line
        == " [31mimage has pixels that are no numbers, read as black, or infinite, read as white"
    )


@pytest.mark.parametrize(
    ("pixels", "remark"),
    [
        (np.full((30, 40), 3, np.uint8), "is nearly black"),
        (np.full((30, 40, 3), 250, np.uint8), "is nearly white"),
        (np.full((30, 40), 30_000, np.uint16), "is nearly the same value everywhere"),
        (np.linspace(0, 1.1, 1200, dtype=np.float32).reshape(30, 40), "has pixels beyond the lev"),
        (np.linspace(-9, 1, 1200, dtype=np.float32).reshape(30, 40), "has pixels beyond the lev"),
    ],
)
def test_an_image_that_is_not_what_it_should_be_says_so(pixels: np.ndarray, remark: str) -> None:
    """As ingestion says of an image of a data set."""
    (source,) = sources_of(pixels)
    (found,) = source.open(Levels()).remarks
    assert found.startswith(remark)


def test_a_hot_pixel_is_no_remark() -> None:
    pixels = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    pixels[3, 3] = 1e6
    (source,) = sources_of(pixels)
    assert source.open(Levels()).remarks == ()


def test_the_first_of_several_pictures_is_judged_and_the_others_are_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.eye(20, dtype=np.uint8) * 255) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (source,) = sources_of(tmp_path / "a.tif")
    assert source.open(Levels()).remarks == (
        "has several pictures in one file, of which the first is read",
    )


def test_a_picture_opened_elsewhere_is_set_upright_as_its_file_is(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(12 * 20, dtype=np.uint8).reshape(12, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    (by_path,) = sources_of(tmp_path / "a.png")
    (opened,) = sources_of(Image.open(tmp_path / "a.png"))
    turned = by_path.open(Levels()).image
    assert turned.size == (12, 20)
    assert (np.asarray(opened.open(Levels()).image) == np.asarray(turned)).all()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("x" * 5000, "is no path"),
        ("~nobody-of-this-name/x.png", "is no path"),
        ("", "is empty"),
        ([""], "is empty"),
        (["x" * 5000], "is no path"),
    ],
)
def test_what_can_be_no_path_is_one_line(path: Any, line: str) -> None:
    with pytest.raises(InputError, match=line) as error:
        sources_of(path)
    assert len(str(error.value)) < 300
