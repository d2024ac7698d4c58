"""Images of every kind are read as a viewer shows them."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from uniformaly_pipeline.ingestion.decoding import (
    UNREADABLE,
    UnreadableImageError,
    decode,
    read_image,
)
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.masks import read_mask

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


# --- which picture --------------------------------------------------------------------------------


def test_pixels_have_one_hash_in_whichever_file() -> None:
    picture = Image.fromarray(colours())
    files = [encoded(picture), encoded(picture, compress_level=0), encoded(picture, "BMP")]
    files.append(encoded(picture.convert("RGBA"), "TIFF"))
    assert len({decode(file).pixel_hash() for file in files}) == 1
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    wide = Image.fromarray(RAMP.astype(np.int32) * 257)
    assert decode(encoded(deep)).pixel_hash() == decode(encoded(wide, "TIFF")).pixel_hash()


def test_other_pixels_have_another_hash() -> None:
    changed = colours()
    changed[3, 4, 1] += 1
    others = [
        Image.fromarray(colours()),
        Image.fromarray(changed),
        Image.fromarray(colours().reshape(16, 12, 3)),
        Image.fromarray(RAMP),
        Image.fromarray(RAMP.astype(np.uint16) * 257),
        Image.fromarray(RAMP.astype(np.float32) * 257),
    ]
    assert len({decode(encoded(each, "TIFF")).pixel_hash() for each in others}) == len(others)


# --- whole or not ---------------------------------------------------------------------------------


def photograph() -> Image.Image:
    """256 x 192 pixels that no format makes small."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((256, 192), Image.Resampling.BICUBIC)


def emptied(content: bytes, first: float, last: float = 1.0, value: int = 0) -> bytes:
    """A part of a file, in shares of it, replaced by one value."""
    a, b = int(first * len(content)), int(last * len(content))
    return content[:a] + bytes([value]) * (b - a) + content[b:]


JPEGS = {
    "fine": {"quality": 95},
    "coarse": {"quality": 30},
    "optimised": {"optimize": True, "quality": 95},
    "progressive": {"progressive": True, "quality": 95},
    "in parts": {"restart_marker_rows": 1, "quality": 95},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.97])
def test_a_jpeg_whose_end_is_empty_is_refused(
    options: dict[str, Any], mode: str, share: float
) -> None:
    """Its decoder would read zeros as a sound code, and paint grey."""
    content = encoded(photograph().convert(mode), "JPEG", **options).getvalue()
    assert decode(io.BytesIO(content)).remarks == ()
    for damaged in (emptied(content, share), content[: int(share * len(content))]):
        with pytest.raises(UnreadableImageError):
            decode(io.BytesIO(damaged))


def test_the_line_says_that_a_jpeg_is_cut_short() -> None:
    content = encoded(photograph(), "JPEG", quality=95).getvalue()
    with pytest.raises(UnreadableImageError, match="cut short: its end is empty"):
        decode(io.BytesIO(emptied(content, 0.9)))
    whole = encoded(photograph().convert("L"), "JPEG").getvalue()
    with pytest.raises(UnreadableImageError, match="cut short: it has no end mark"):
        decode(io.BytesIO(whole[:-1]))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", JPEGS["fine"]), ("JPEG", JPEGS["in parts"]), ("WEBP", {}),
        ("WEBP", {"lossless": True}), ("AVIF", {}), ("JPEG2000", {}),
    ],
)  # fmt: skip
def test_an_empty_part_of_a_compressed_picture_is_told(
    file_format: str, options: dict[str, Any]
) -> None:
    content = encoded(photograph(), file_format, **options).getvalue()
    assert decode(io.BytesIO(content)).remarks == ()
    assert decode(io.BytesIO(emptied(content, 0.5, 0.7))).remarks == ("gap",)


@pytest.mark.parametrize("value", [0, 128])
@pytest.mark.parametrize("options", [{}, *JPEGS.values()])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_even_picture_is_whole_though_its_code_is_all_zeros(
    options: dict[str, Any], mode: str, value: int
) -> None:
    even = Image.new("RGB", (1600, 1200), (value, value, value)).convert(mode)
    even.paste(photograph().resize((64, 64)), (0, 0))
    assert "gap" not in decode(encoded(even, "JPEG", **options)).remarks


def test_zeros_in_what_is_no_picture_are_no_gap() -> None:
    """Cameras pad their notes with zeros, and files may go on behind the picture's end."""
    exif = Image.Exif()
    exif[0x010E] = "a" + " " * 10
    exif.get_ifd(0x8769)[0x927C] = bytes(5000)
    for file_format in ("JPEG", "WEBP", "PNG", "AVIF"):
        content = encoded(photograph(), file_format, exif=exif).getvalue()
        assert bytes(512) in content
        assert decode(io.BytesIO(content)).remarks == ()
    longer = encoded(photograph(), "JPEG").getvalue() + bytes(4096)
    assert decode(io.BytesIO(longer)).remarks == ()


def test_of_several_pictures_the_first_must_be_whole() -> None:
    several = encoded(photograph(), "MPO", save_all=True, append_images=[photograph()]).getvalue()
    assert decode(io.BytesIO(emptied(several, 0.6))).remarks == ("pictures",)
    with pytest.raises(UnreadableImageError):
        decode(io.BytesIO(emptied(several, 0.4)))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.97])
def test_a_png_whose_end_is_empty_is_refused(share: float) -> None:
    content = encoded(photograph()).getvalue()
    for damaged in (emptied(content, share), content[: int(share * len(content))]):
        with pytest.raises(UnreadableImageError):
            decode(io.BytesIO(damaged))


def test_a_png_is_whole_without_what_follows_its_pixels() -> None:
    content = encoded(photograph()).getvalue()
    for whole in (content[:-1], content[:-12], content[:-12] + bytes(600), content + bytes(600)):
        assert decode(io.BytesIO(whole)).remarks == ()
    several = encoded(photograph(), "PNG", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert decode(several).remarks == ("pictures",)


def test_files_cut_short_are_refused_whatever_the_program_has_asked_pillow_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for file_format in ("JPEG", "PNG", "BMP", "TIFF", "GIF"):
        content = encoded(photograph(), file_format).getvalue()
        with pytest.raises(UnreadableImageError):
            decode(io.BytesIO(content[: len(content) // 2]))
    assert ImageFile.LOAD_TRUNCATED_IMAGES, "it is as it was"


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
    alpha = np.where(np.arange(16) < 8, 0, 255).astype(np.uint8)
    alphas = Image.fromarray(np.tile(alpha, (12, 1)))
    image = Image.merge("LA", [Image.fromarray(RAMP), alphas])
    found = pixels_of(read_image(encoded(image)))
    assert (found[:, :8] == 255).all()
    assert (found[:, 8:] == grey(RAMP)[:, 8:]).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_alpha_that_is_0_everywhere_hides_nothing(mode: str) -> None:
    """A camera or program that writes an empty alpha channel means an opaque picture."""
    picture = Image.fromarray(colours())
    if mode == "P":
        picture = picture.quantize(4)
        file = encoded(picture, transparency=bytes(4))
    else:
        picture = picture.convert(mode)
        picture.putalpha(0)
        file = encoded(picture)
    decoded = decode(file)
    assert decoded.remarks == ("transparent",)
    expected = np.asarray(picture.convert("L" if mode == "LA" else "RGB").convert("RGB"))
    assert (pixels_of(decoded.to_rgb()) == expected).all()
    assert decode(encoded(Image.fromarray(colours()).convert("RGBA"))).remarks == ()


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


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_the_limit_of_pixels_is_the_callers(
    read: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encoded(Image.fromarray(RAMP))
    with pytest.raises(UnreadableImageError, match=r"the 191 allowed by images\.max_pixels"):
        read(file, max_pixels=191)
    # More than twice Pillow's own limit, at which it would refuse the file itself.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(file, max_pixels=192).size == (16, 12)
    assert Image.MAX_IMAGE_PIXELS == 50, "the process's own limit is left alone"


# --- odd files ------------------------------------------------------------------------------------


def ifd(*entries: bytes, tail: bytes = b"") -> bytes:
    """EXIF of these entries, little endian."""
    return b"".join(
        [b"II*\0", struct.pack("<IH", 8, len(entries)), *entries, struct.pack("<I", 0), tail]
    )


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value


TURNED = entry(0x0112, 3, 1, struct.pack("<HH", 6, 0))


@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(ifd(TURNED, entry(0x011A, 2, 4, b"abc\0")), id="text for a ratio"),
        pytest.param(ifd(TURNED, entry(0x010F, 3, 1, b"\5\0\0\0")), id="number for text"),
        pytest.param(
            ifd(TURNED, entry(0x011A, 5, 1, struct.pack("<I", 38)), tail=bytes(8)), id="0 by 0"
        ),
        pytest.param(
            ifd(TURNED, entry(0x8769, 4, 1, struct.pack("<I", 99999))), id="pointer to nowhere"
        ),
        pytest.param(ifd(TURNED, entry(0x8825, 4, 1, struct.pack("<I", 8))), id="loop"),
    ],
)
def test_odd_exif_costs_no_picture_and_still_turns_it(exif: bytes) -> None:
    """All other tags may be wrong: only the orientation matters."""
    picture = Image.fromarray(np.kron(colours(), np.ones((4, 4, 1), np.uint8)))
    file = encoded(picture, "JPEG", exif=b"Exif\0\0" + exif, quality=98, subsampling=0)
    found = pixels_of(read_image(file))
    expected = np.rot90(np.asarray(picture), -1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3


@pytest.mark.parametrize(
    "exif", [b"", b"II", ifd(TURNED)[:14], ifd(entry(0x0112, 3, 1, b"\x09\0\0\0")),
             ifd(entry(0x0112, 2, 2, b"6\0\0\0"))],
)  # fmt: skip
def test_exif_that_says_nothing_of_use_leaves_the_picture_as_it_lies(exif: bytes) -> None:
    picture = Image.fromarray(np.kron(colours(), np.ones((4, 4, 1), np.uint8)))
    found = read_image(encoded(picture, "JPEG", exif=b"Exif\0\0" + exif, quality=98))
    assert found.size == picture.size


def test_a_deep_image_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    found = pixels_of(read_image(encoded(image, "PNG", exif=exif), Levels()))
    assert (found == grey(np.rot90(RAMP, -1))).all()


def test_a_damaged_count_of_pictures_is_remarked_and_the_first_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damaged(_: Any) -> int:
        raise struct.error("unpack requires a buffer of 4 bytes")

    file = io.BytesIO()
    Image.new("L", (4, 4), 7).save(file, "TIFF")
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "n_frames", property(damaged))
    found = decode(file)
    assert found.remarks == ("count",)
    assert found.to_rgb().getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "WEBP"])
def test_the_first_of_several_pictures_is_read_and_the_others_are_remarked(
    file_format: str,
) -> None:
    first, second = Image.fromarray(colours()), Image.fromarray(255 - colours())
    options = {"lossless": True} if file_format == "WEBP" else {}
    file = encoded(first, file_format, save_all=True, append_images=[second], **options)
    decoded = decode(file)
    assert decoded.remarks == ("pictures",)
    one = read_image(encoded(first, file_format, **options))
    assert (pixels_of(decoded.to_rgb()) == pixels_of(one)).all()


def test_a_decoder_that_stumbles_is_an_unreadable_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders raise whatever damage leads them to; the caller adds the file's name."""
    for kind in (RuntimeError, TypeError, AttributeError, struct.error, IndexError, MemoryError):

        def stumble(*_: Any, kind: type[BaseException] = kind) -> None:
            raise kind("inside\nand more")

        with monkeypatch.context() as patched:
            patched.setattr(ImageFile.ImageFile, "load", stumble)
            with pytest.raises(UnreadableImageError) as error:
                read_image(encoded(Image.fromarray(RAMP), "BMP"))
        assert "\n" not in str(error.value)


def test_an_interruption_is_no_unreadable_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_image(encoded(Image.fromarray(RAMP), "BMP"))


TWELVE_BITS = (np.arange(12 * 16).reshape(12, 16) * 21).astype(np.uint16)
"""What a camera of 12 bits gives: 0 to 4011."""


def pnm(kind: str, pixels: np.ndarray, white: int) -> io.BytesIO:
    """A PNM file: P2 and P5 of grey, P3 and P6 of colour, the first of each as text."""
    depth = ">u2" if white > 255 else "u1"
    values = np.minimum(pixels, white)
    if kind in {"P3", "P6"}:
        values = np.repeat(values[..., None], 3, axis=2)
    text = " ".join(map(str, values.ravel().tolist())).encode()
    body = text if kind in {"P2", "P3"} else values.astype(depth).tobytes()
    size = f"{pixels.shape[1]} {pixels.shape[0]}"
    return io.BytesIO(f"{kind}\n{size}\n{white}\n".encode() + body)


def sgi(pixels: np.ndarray) -> io.BytesIO:
    """An SGI file of 16 bits a channel, of pixels [H, W] or [H, W, 3]."""
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)[:, ::-1]
    sizes = (3 if pixels.ndim == 3 else 2, pixels.shape[1], pixels.shape[0], len(planes))
    header = struct.pack(">hBBHHHHll", 474, 0, 2, *sizes, 0, 65535)
    return io.BytesIO(header.ljust(512, b"\0") + planes.astype(">u2").tobytes())


@pytest.mark.parametrize("kind", ["P2", "P5"])
def test_grey_pnm_of_16_bits_is_deep(kind: str) -> None:
    decoded = decode(pnm(kind, TWELVE_BITS, 65535))
    assert (decoded.depth, decoded.remarks) == ("integer", ())
    assert (decoded.deep == TWELVE_BITS).all()
    scaled = decode(pnm(kind, TWELVE_BITS, 4095))
    assert scaled.deep is not None
    assert np.abs(scaled.deep - TWELVE_BITS * (65535 / 4095)).max() <= 0.5


@pytest.mark.parametrize("kind", ["P3", "P6"])
@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_colour_pnm_of_more_than_8_bits_says_so(kind: str, white: int) -> None:
    assert decode(pnm(kind, TWELVE_BITS, white)).remarks == ("16-bit colour",)


@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_pnm_with_a_white_of_its_own_says_so(kind: str) -> None:
    """Which a writer takes from the brightest pixel of a picture: then no two compare."""
    assert "own white" in decode(pnm(kind, RAMP.astype(np.uint16), 200)).remarks
    assert "own white" in decode(pnm(kind, TWELVE_BITS, 4011)).remarks
    for white in (1, 15, 255):
        assert decode(pnm(kind, RAMP.astype(np.uint16), white)).remarks == ()


def test_grey_sgi_of_16_bits_is_deep_and_colour_says_so() -> None:
    decoded = decode(sgi(TWELVE_BITS))
    assert (decoded.depth, decoded.remarks) == ("integer", ())
    assert (decoded.deep == TWELVE_BITS).all()
    colour = decode(sgi(np.repeat(TWELVE_BITS[..., None], 3, axis=2)))
    assert (colour.depth, colour.remarks) == ("8-bit", ("16-bit colour",))
    with pytest.raises(UnreadableImageError):
        decode(io.BytesIO(sgi(TWELVE_BITS).getvalue()[:-2]))


def test_16_bits_a_pixel_are_not_16_a_channel() -> None:
    """A BMP of 5 red, 6 green and 5 blue bits."""
    header = struct.pack("<2sIHHI", b"BM", 66 + 32, 0, 0, 66)
    header += struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 16, 3, 32, 0, 0, 0, 0)
    header += struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    decoded = decode(io.BytesIO(header + struct.pack("<H", 0x07E0) * 16))
    assert decoded.remarks == ()
    assert (pixels_of(decoded.to_rgb()) == (0, 255, 0)).all()


def test_where_0_is_white_deep_pixels_are_turned_round() -> None:
    """As Pillow does with those of 8 bits."""
    pixels = RAMP.astype(np.uint16) * 257
    content = encoded(Image.fromarray(pixels), "TIFF", tiffinfo={262: 0}).getvalue()
    with Image.open(io.BytesIO(content)) as image:
        assert image.tag_v2[262] == 0, "otherwise the test tells nothing"  # type: ignore[attr-defined]
        assert (np.asarray(image) == pixels).all()
    decoded = decode(io.BytesIO(content))
    assert decoded.remarks == ()
    assert (decoded.deep == 65535 - pixels).all()


def test_floats_of_which_the_least_is_white_say_so() -> None:
    floats = Image.fromarray(RAMP.astype(np.float32))
    decoded = decode(encoded(floats, "TIFF", tiffinfo={262: 0}))
    assert decoded.remarks == ("turned floats",)
    assert (decoded.deep == RAMP).all()


def test_16_bit_colour_is_read_by_its_upper_half_and_says_so() -> None:
    """Pillow reads no more; a picture of 12 bits in 16 is then dark, which is a remark as well."""
    rows = np.repeat(colours(), 2, axis=2)  # each value twice: v * 257 in big endian
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 16, 12, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    decoded = decode(io.BytesIO(png))
    assert decoded.remarks == ("16-bit colour",)
    assert (pixels_of(decoded.to_rgb()) == colours()).all()


@pytest.mark.parametrize(("sample_format", "unsigned"), [(1, True), (2, False)])
def test_integers_of_32_bits_have_a_sign_where_the_file_says_so(
    sample_format: int, unsigned: bool
) -> None:
    """Pillow reads both as signed: what is above 2**31 would be the darkest."""
    pixels = np.array([[0, 7, 2**31 - 1], [2**31, 2**31 + 5, 2**32 - 1]], np.uint32)
    file = io.BytesIO()
    Image.fromarray(pixels.view(np.int32)).save(file, "TIFF")
    # Tag 339, a short, one of it: Pillow writes 2, signed.
    written = b"\x53\x01\x03\x00\x01\x00\x00\x00"
    content = file.getvalue().replace(written + b"\x02", written + bytes([sample_format]))
    found = decode(io.BytesIO(content)).deep
    assert found is not None
    np.testing.assert_array_equal(found, pixels if unsigned else pixels.view(np.int32))
    if unsigned:
        grey = np.asarray(decode(io.BytesIO(content)).to_rgb(Levels((0, 2**32 - 1))))[..., 0]
        np.testing.assert_array_equal(grey, [[0, 0, 127], [128, 128, 255]])
