"""Images of every kind are read as a viewer shows them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.ingestion.images import (
    UNREADABLE,
    ImageFolder,
    is_clutter,
    read_image,
    read_mask,
)

RAMP = np.linspace(0, 255, 12 * 16).astype(np.uint8).reshape(12, 16)
"""Grey values 0..255, 12 rows of 16."""


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> io.BytesIO:
    """An image file in memory."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return io.BytesIO(buffer.getvalue())


def pixels_of(image: Image.Image) -> np.ndarray:
    """int [H, W, 3], after checking that the image is 8-bit RGB."""
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def grey(values: np.ndarray) -> np.ndarray:
    """Grey values in three channels."""
    return np.repeat(np.asarray(values).astype(int)[..., None], 3, axis=2)


def colours() -> np.ndarray:
    """A smooth picture of many colours: uint8 [12, 16, 3]."""
    rows, columns = np.mgrid[0:12, 0:16]
    return np.stack([rows * 20, columns * 15, 255 - rows * 10], axis=2).astype(np.uint8)


# --- depth and colour -----------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_from_its_full_range(file_format: str) -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert image.mode == "I;16"
    found = pixels_of(read_image(encoded(image, file_format)))
    assert (found == grey(RAMP)).all()


def test_16_bit_big_endian_tiff_is_scaled_too() -> None:
    image = Image.frombytes("I;16B", (16, 12), (RAMP.astype(">u2") * 257).astype(">u2").tobytes())
    found = pixels_of(read_image(encoded(image, "TIFF")))
    assert (found == grey(RAMP)).all()


@pytest.mark.parametrize("largest", [1.0, 255.0])
def test_float_tiff_of_0_to_1_or_0_to_255(largest: float) -> None:
    image = Image.fromarray((RAMP / 255 * largest).astype(np.float32))
    found = pixels_of(read_image(encoded(image, "TIFF")))
    assert (found == grey(RAMP)).all()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_8_bit_grey(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    found = pixels_of(read_image(encoded(Image.fromarray(RAMP), file_format, **options)))
    assert (found == grey(RAMP)).all()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_colour(file_format: str) -> None:
    found = pixels_of(read_image(encoded(Image.fromarray(colours()), file_format)))
    assert (found == colours()).all()


def test_palette() -> None:
    image = Image.fromarray(colours()).quantize(8)
    assert image.mode == "P"
    found = pixels_of(read_image(encoded(image)))
    assert (found == np.asarray(image.convert("RGB"))).all()
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 8


def test_palette_with_a_transparent_colour() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    found = pixels_of(read_image(encoded(image, transparency=1)))
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_transparent_pixels_are_white() -> None:
    alpha = np.full((12, 16), 255, np.uint8)
    alpha[:, :8], alpha[0, 8:] = 0, 51
    image = Image.fromarray(np.dstack([colours(), alpha]))
    found = pixels_of(read_image(encoded(image)))
    assert (found[:, :8] == 255).all()
    assert (found[1:, 8:] == colours()[1:, 8:]).all()
    blended = 255 - (255 - colours()[0, 8:].astype(int)) * 51 / 255
    np.testing.assert_allclose(found[0, 8:], blended, atol=1)


def test_grey_with_alpha() -> None:
    image = Image.merge("LA", [Image.fromarray(RAMP), Image.new("L", (16, 12), 0)])
    assert (pixels_of(read_image(encoded(image))) == 255).all()


def test_cmyk_jpeg() -> None:
    plain = Image.new("RGB", (16, 16), (200, 40, 90))
    file = encoded(plain.convert("CMYK"), "JPEG", quality=95)
    assert Image.open(file).mode == "CMYK"
    np.testing.assert_allclose(pixels_of(read_image(file))[8, 8], (200, 40, 90), atol=6)


def test_1_bit() -> None:
    image = Image.fromarray(RAMP > 100)
    assert image.mode == "1"
    assert (pixels_of(read_image(encoded(image))) == grey((RAMP > 100) * 255)).all()


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [(3, lambda upright: upright.rotate(180)), (6, lambda upright: upright.rotate(90, expand=1)),
     (8, lambda upright: upright.rotate(-90, expand=1))],
)  # fmt: skip
def test_exif_rotation_is_undone(
    orientation: int, turn: Callable[[Image.Image], Image.Image]
) -> None:
    upright = Image.fromarray(np.kron(colours(), np.ones((4, 4, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_image(encoded(turn(upright), "JPEG", exif=exif, quality=98, subsampling=0))
    assert found.size == upright.size
    assert np.abs(pixels_of(found) - np.asarray(upright)).mean() < 3


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "drawn",
    [
        pytest.param(Image.fromarray(RAMP > 100), id="1 bit"),
        pytest.param(Image.fromarray((RAMP > 100).astype(np.uint8)), id="0 and 1"),
        pytest.param(Image.fromarray((RAMP > 100).astype(np.uint8) * 255), id="0 and 255"),
        pytest.param(Image.fromarray((RAMP > 100).astype(np.uint16) * 65535), id="16 bits"),
        pytest.param(Image.fromarray(grey(RAMP > 100).astype(np.uint8)), id="colour, 0 and 1"),
        pytest.param(Image.fromarray(grey((RAMP > 100) * 255).astype(np.uint8)), id="colour"),
        pytest.param(
            Image.fromarray(grey((RAMP > 100) * 255).astype(np.uint8)).quantize(2), id="palette"
        ),
    ],
)
def test_mask_is_0_or_255_however_it_was_drawn(drawn: Image.Image) -> None:
    mask = read_mask(encoded(drawn))
    assert mask.mode == "L"
    assert (np.asarray(mask) == (RAMP > 100) * 255).all()


def test_mask_without_a_defect_stays_empty() -> None:
    assert not np.asarray(read_mask(encoded(Image.new("L", (5, 4), 0)))).any()


@pytest.mark.parametrize("mode", ["P", "I;16"])
def test_mask_of_0_and_1_in_other_modes_is_stretched(mode: str) -> None:
    values = (RAMP > 100).astype(np.uint8)
    if mode == "P":
        drawn = Image.fromarray(values, "P")
        drawn.putpalette([0, 0, 0, 255, 255, 255])
    else:
        drawn = Image.fromarray(values.astype(np.uint16))
    mask = read_mask(encoded(drawn))
    assert (np.asarray(mask) == values * 255).all()


# --- what is no image -----------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_file_cut_short_is_unreadable(
    file_format: str, share: float, read: Callable[..., Image.Image]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), file_format).getvalue()
    with pytest.raises(UNREADABLE):
        read(io.BytesIO(content[: int(share * len(content))]))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_file_that_is_no_image_is_unreadable(
    content: bytes, read: Callable[..., Image.Image]
) -> None:
    with pytest.raises(UNREADABLE):
        read(io.BytesIO(content))


def test_an_unreasonably_large_image_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(UNREADABLE):
        read_image(encoded(Image.fromarray(RAMP)))


# --- folders --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", [".DS_Store", "._a.png", "__MACOSX", "Thumbs.db", "desktop.ini"])
def test_clutter(name: str) -> None:
    assert is_clutter(name)
    assert not is_clutter(f"a{name}")


def test_folder_reads_images_and_masks(tmp_path: Path) -> None:
    folder = fill(tmp_path, ["a/1.png"])
    assert (pixels_of(folder.read_image("a/1.png")) == grey(RAMP)).all()
    assert (np.asarray(folder.read_mask("a/1.png")) == RAMP).all()


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
