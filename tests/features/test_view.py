"""All of an image is seen, or it is said what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoder, encode_images
from uniformaly_pipeline.features.masking import BackPatchMasking, smooth_attention
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore, StoreHeader
from uniformaly_pipeline.features.store_update import FeatureStream, update_store
from uniformaly_pipeline.features.tiles import Tiles, lay_tiles
from uniformaly_pipeline.features.view import frame_view, view_findings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import ImageRecord, build_manifest
from uniformaly_pipeline.ingestion.regions import Region

WHOLE = Preprocessing(resize=32, crop=None)
PATCH = 8
GRID = (4, 4)


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (17, 17)])
def test_a_square_image_is_what_it_was(size: tuple[int, int]) -> None:
    """Features of square data sets that were resized without a crop stay bitwise what they were."""
    image = noise(size)
    fitted = np.asarray(WHOLE.fit_image(image))
    assert (fitted == np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))).all()
    assert (fitted == np.asarray(Preprocessing(resize=[32, 32], crop=None).fit_image(image))).all()
    assert WHOLE.counted(size, GRID).all()
    assert WHOLE.seen_share(size) == 1.0


SIZES = [(1600, 1200), (1200, 1600), (448, 112), (100, 70), (70, 100), (33, 500), (5, 1), (3, 2000)]


@pytest.mark.parametrize("size", SIZES)
def test_all_of_an_image_is_seen_whatever_its_aspect(size: tuple[int, int]) -> None:
    """A white picture is white all over: padding goes on with its edge, and no mask is padded."""
    whole = Preprocessing(resize=224, crop=None)
    width, height = whole.shown_size(size)
    assert whole.seen_share(size) == pytest.approx(1.0)
    assert max(width, height) == 224
    pixels = np.full((*size[::-1], 3), 255, np.uint8)
    fitted = np.asarray(whole.fit_image(Image.fromarray(pixels)))
    assert fitted.shape == (224, 224, 3)
    assert (fitted == 255).all(), "padding goes on with the image's own edge"
    mask = whole.mask_tensor(Image.fromarray(pixels[..., 0])).numpy()
    assert mask.sum() == width * height
    assert mask[:height, :width].all()


@pytest.mark.parametrize("size", [size for size in SIZES if max(size) < 25 * min(size)])
def test_no_image_is_distorted_by_more_than_10_percent(size: tuple[int, int]) -> None:
    width, height = Preprocessing(resize=224, crop=None).shown_size(size)
    assert (width / height) / (size[0] / size[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", SIZES)
def test_a_point_of_the_input_leads_back_into_the_image(size: tuple[int, int]) -> None:
    whole = Preprocessing(resize=224, crop=None)
    width, height = whole.shown_size(size)
    assert whole.to_image(0, 0, size) == (0, 0)
    assert whole.to_image(width, height, size) == pytest.approx(size)
    assert whole.to_image(width / 2, height / 4, size) == pytest.approx((size[0] / 2, size[1] / 4))


def test_the_patches_that_show_anything_count() -> None:
    """A patch that the image covers in part counts: nothing is left out at the border."""
    wide = WHOLE.counted((100, 70), GRID)  # 32 x 22 pixels: two rows and three quarters
    assert wide.tolist() == [[True] * 4] * 3 + [[False] * 4]
    exact = WHOLE.counted((100, 50), GRID)
    assert exact.tolist() == [[True] * 4] * 2 + [[False] * 4] * 2
    assert WHOLE.counted((50, 100), GRID).tolist() == exact.T.tolist()
    assert Preprocessing(resize=16, crop=16, pad=32).counted((50, 100), GRID).all()


# --- what does not count --------------------------------------------------------------------------


def with_padding(attention: torch.Tensor, rows: int) -> torch.Tensor:
    """The attention with so many rows that do not count below it."""
    return torch.cat([attention, attention.new_full((len(attention), rows, 6), torch.nan)], dim=1)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_smoothing_goes_on_as_if_the_image_ended_at_its_padding(kernel_size: int) -> None:
    attention = torch.rand(3, 5, 6)
    expected = smooth_attention(attention, kernel_size)
    for found in (
        smooth_attention(with_padding(attention, 4), kernel_size),
        torch.from_numpy(smooth_attention(with_padding(attention, 4).numpy(), kernel_size)),
    ):
        torch.testing.assert_close(found[:, :5], expected)
        assert not found[:, 5:].any()


@pytest.mark.parametrize("mode", ["binary", "soft", "off"])
def test_padding_is_no_foreground_and_weighs_nothing(mode: Any) -> None:
    masking = BackPatchMasking(mode, 3, 0.0)
    attention = torch.rand(2, 5, 6) + 0.1
    padded = with_padding(attention, 2)
    for attention_of in (padded, padded.numpy()):
        foreground = np.asarray(masking.foreground(attention_of)).reshape(2, 7, 6)  # type: ignore[type-var]
        assert foreground[:, :5].all()
        assert not foreground[:, 5:].any()
    if mode == "soft":
        assert not masking.weights(padded).reshape(2, 7, 6)[:, 5:].any()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    kwargs = {"img_size": 32, "patch_size": PATCH, "embed_dim": 12, "depth": 2, "num_heads": 2}
    backbone = Backbone("vit_tiny_patch16_224", "untrained", None, kwargs, (0, 1), 1)
    return Encoder(load_backbone(backbone, (32, 32)), backbone.layers, 1, "cpu")


def stored(encoder: Encoder, root: Path, masking: BackPatchMasking | None) -> FeatureStore:
    """A store of a wide and a square image."""
    folder = ImageFolder(str(root))
    noise((64, 30)).save(root / "wide.png")
    noise((48, 48)).save(root / "square.png")
    header = StoreHeader({}, "", {"resize": 32}, "float32", GRID, encoder.dim, "float32",
                         vars(masking) if masking else None)  # fmt: skip
    images = {folder.content_hash(name): name for name in ("square.png", "wide.png")}

    def encode(names: list[str]) -> Any:
        return encode_images(encoder, folder, names, WHOLE, num_workers=0)

    update_store(root / "store", FeatureStream(header, images, encode, 8))
    return FeatureStore(root / "store")


@pytest.mark.parametrize("masking", [None, BackPatchMasking("binary", 3, 0.1)])
def test_a_store_gives_no_patch_of_the_padding(
    encoder: Encoder, tmp_path: Path, masking: BackPatchMasking | None
) -> None:
    store = stored(encoder, tmp_path, masking)
    folder = ImageFolder(str(tmp_path))
    keys = [folder.content_hash(name) for name in ("wide.png", "square.png")]
    padding = np.isnan(store.attention(keys))
    assert padding[0].tolist() == [[False] * 4] * 2 + [[True] * 4] * 2
    assert not padding[1].any()
    for chosen in [masking] if masking else [BackPatchMasking("off"), BackPatchMasking()]:
        loaded = store.load(keys, chosen)
        assert (loaded.patch[loaded.image == 0] < 8).all()
        assert store.foreground(keys, chosen)[0, 8:].sum() == 0
        assert len(loaded.features) == store.foreground(keys, chosen).sum()


# --- what is hidden -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preprocessing", "size", "share"),
    [
        (Preprocessing(), (256, 256), (224 / 256) ** 2),
        (Preprocessing(), (1600, 1200), (224 / 256) ** 2 * 3 / 4),
        (Preprocessing(resize=112, crop=112), (448, 112), 0.25),
        (Preprocessing(resize=112, crop=112, pad=224), (112, 112), 1),
        (Preprocessing(resize=256, crop=112, pad=224), (256, 256), (112 / 256) ** 2),
        (Preprocessing(resize=256, crop=112, pad=224), (1600, 1200), (112 / 256) ** 2 * 3 / 4),
        (Preprocessing(resize=256, crop=(224, 112), pad=224), (256, 256), 0.875 * 112 / 256),
        (Preprocessing(resize=256, crop=224, pad=112), (256, 256), (112 / 256) ** 2),
        (Preprocessing(resize=112, crop=None, pad=56), (112, 112), 0.25),
        (Preprocessing(resize=64, crop=112, pad=224), (64, 64), 1),
        (Preprocessing(resize=[56, 56], crop=None), (300, 200), 1),
        (Preprocessing(resize=224, crop=None), (1600, 1200), 1),
        (Preprocessing(resize=32, crop=None, tiles=Tiles(32, 8)), (160, 48), 1),
        (Preprocessing(resize=32, crop=None, tiles=Tiles(200, 8)), (160, 48), 1),
    ],
)
def test_the_share_that_is_seen(
    preprocessing: Preprocessing, size: tuple[int, int], share: float
) -> None:
    assert preprocessing.seen_share(size) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("size", [(64, 48), (50, 50), (47, 90), (200, 33)])
@pytest.mark.parametrize(
    "options",
    [
        {"resize": 40, "crop": 16, "pad": 32},
        {"resize": 40, "crop": (32, 16), "pad": 32},
        {"resize": 20, "crop": 28, "pad": 48},
        {"resize": 21, "crop": 24, "pad": 32},
        {"resize": 40, "crop": 32, "pad": 16},
        {"resize": None, "crop": 24, "pad": 64},
        {"resize": 40, "crop": 32},
    ],
)
def test_what_is_said_to_be_seen_is_what_changes_the_input(
    size: tuple[int, int], options: dict[str, Any]
) -> None:
    """White lines tell: those inside of the box show in the input, those outside do not."""
    fitting = Preprocessing(interpolation="nearest", **options)
    seen = frame_view(size, fitting)
    if seen is None:
        seen = np.ones(size[::-1], bool)
    step = max(1.0, min(size) / (options["resize"] or min(size)))

    def shows(pixels: np.ndarray) -> bool:
        return np.asarray(fitting.fit_image(Image.fromarray(pixels))).any()

    inside, outside = np.zeros((2, *size[::-1]), np.uint8)
    for axis in (0, 1):
        line = np.flatnonzero(seen.any(axis=axis))
        first, last = line[0], line[-1]
        margin = int(np.ceil(step))
        for ends in ((first, first + margin), (last - margin + 1, last + 1)):
            inside[:] = 0
            np.moveaxis(inside, 1 - axis, 0)[slice(*ends)] = 255
            assert shows(inside)
        outside[:] = 0
        far = np.moveaxis(outside, 1 - axis, 0)
        far[: max(0, first - margin)] = 255
        far[last + 1 + margin :] = 255
        assert not shows(outside)


def test_what_a_crop_hides_and_masks_that_lie_there_are_findings(tmp_path: Path) -> None:
    """Of a wide picture the middle is seen: a mark at its left is hidden, one inside is not."""
    rows = []
    for name, left in (("hidden", 5), ("partly", 34), ("seen", 60)):
        noise((140, 48)).save(tmp_path / f"{name}.png")
        mask = np.zeros((48, 140), np.uint8)
        mask[10:20, left : left + 20] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
        rows.append(ImageRecord(f"{name}.png", "nut", "test", "dent", f"{name}_mask.png"))
    folder = ImageFolder(str(tmp_path))
    manifest = build_manifest(folder, rows)
    cropped = Preprocessing(resize=48, crop=48)
    found = view_findings(folder, manifest, cropped).set_index("check")["finding"]
    assert "66% of each image of nut is not looked at" in found["field of view"]
    assert "masks of hidden.png mark lies wholly outside" in found["masks outside"]
    assert view_findings(folder, manifest, Preprocessing(48, None)).empty
    framed = frame_view((140, 48), cropped)
    assert framed is not None
    assert np.flatnonzero(framed.any(axis=0))[[0, -1]].tolist() == [46, 93]
    assert frame_view((140, 48), Preprocessing(48, None)) is None


def test_a_line_of_pixels_needs_no_memory_beyond_what_is_seen() -> None:
    """Its shorter side resized to 256 it would be 256 x 5,120,000 pixels."""
    line = noise((1, 20000))
    fitted = Preprocessing().fit_image(line)
    assert fitted.size == (224, 224)
    part = line.crop((0, 9000, 1, 11000))
    expected = np.asarray(Preprocessing().fit_image(part))
    assert np.abs(np.asarray(fitted).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("preprocessing", "words"),
    [
        (Preprocessing(224, None), "all of every image, its longer side in 224 pixels"),
        (Preprocessing(224, 224), "the middle square of every image, in 224 x 224 pixels"),
        (Preprocessing(256, 224), "the middle 224 x 224 pixels of every image, resized to 256"),
        (Preprocessing(None, 224), "the middle 224 x 224 pixels of every image, as it is"),
        (Preprocessing((96, 128), None), "all of every image, in 128 x 96 pixels"),
    ],
)
def test_what_is_seen_is_said_in_words(preprocessing: Preprocessing, words: str) -> None:
    assert str(preprocessing).startswith(words)


# --- regions of interest --------------------------------------------------------------------------


def region_of(size: tuple[int, int], box: tuple[int, int, int, int]) -> Region:
    pixels = np.zeros(size[::-1], bool)
    pixels[box[1] : box[3], box[0] : box[2]] = True
    return Region.of(pixels, "region")


@pytest.mark.parametrize(
    ("preprocessing", "size", "box", "expected"),
    [
        # 100 x 50 pixels in 32: two rows of patches, then padding.
        (WHOLE, (100, 50), (0, 0, 50, 50), ["1100", "1100", "0000", "0000"]),
        # The middle 50 of 100 columns are seen: of them the left half counts.
        (Preprocessing(resize=32, crop=32), (100, 50), (0, 0, 50, 50), ["1100"] * 4),
        (Preprocessing(resize=32, crop=32), (50, 100), (0, 50, 50, 100),
         2 * ["0000"] + 2 * ["1111"]),
        (Preprocessing(resize=[32, 32], crop=None), (50, 90), (25, 0, 50, 45),
         2 * ["0011"] + 2 * ["0000"]),
        # Nor does it where the crop has hidden a part of the image.
        (Preprocessing(resize=32, crop=16, pad=32), (64, 64), (0, 0, 64, 64),
         ["0000", "0110", "0110", "0000"]),
        # Black padding of 8 pixels all around shows nothing.
        (Preprocessing(resize=16, crop=16, pad=32), (50, 50), (0, 0, 50, 50),
         ["0000", "0110", "0110", "0000"]),
    ],
)  # fmt: skip
def test_patches_that_a_region_covers_count(
    preprocessing: Preprocessing,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    expected: list[str],
) -> None:
    counted = preprocessing.counted(size, GRID, region_of(size, box))
    assert ["".join("01"[int(each)] for each in row) for row in counted] == expected


@pytest.mark.parametrize("size", SIZES)
def test_a_region_of_everything_changes_nothing(size: tuple[int, int]) -> None:
    whole = Preprocessing(resize=224, crop=None)
    tiled = replace(whole, tiles=Tiles(64, 16))
    everything = region_of(size, (0, 0, *size))
    for preprocessing in (whole, tiled):
        plain = preprocessing.counted_views(size, (28, 28))
        assert (preprocessing.counted_views(size, (28, 28), everything) == plain).all()


def test_in_tiles_a_patch_counts_in_all_or_in_none_of_those_that_show_it() -> None:
    size, tiles = (100, 70), Tiles(32, 16)
    preprocessing = Preprocessing(resize=32, crop=None, tiles=tiles)
    region = region_of(size, (20, 0, 61, 70))
    counted = preprocessing.counted_views(size, GRID, region)
    tiling = lay_tiles(size, tiles, GRID)
    whole = tiling.stitch(counted.astype(np.float32))
    expected = np.zeros(tiling.whole, np.float32)
    expected[:, 3:8] = 1  # patches of 8: of the third 4 of 8 columns count, of the ninth none
    expected[:, 2] = 1
    assert whole.tolist() == expected.tolist()


def test_a_region_that_no_patch_counts_in_is_one_line() -> None:
    speck = region_of((100, 50), (0, 0, 4, 4))
    with pytest.raises(InputError, match="covers half of no patch"):
        WHOLE.check_region(speck, GRID)
    Preprocessing(resize=64, crop=None, tiles=Tiles(16)).check_region(speck, (8, 8))
    cropped = Preprocessing(resize=32, crop=32)
    with pytest.raises(InputError, match="covers half of no patch"):
        cropped.check_region(region_of((100, 50), (0, 0, 25, 50)), GRID)


def test_what_counts_of_a_region_and_what_lies_outside_is_told(tmp_path: Path) -> None:
    for name, left in (("in", 0), ("out", 24)):
        noise((48, 40)).save(tmp_path / f"{name}.png")
        mask = np.zeros((40, 48), np.uint8)
        mask[8:16, left : left + 8] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    folder = ImageFolder(str(tmp_path))
    records = [
        ImageRecord(f"{n}.png", "nut", "test", "dent", f"{n}_mask.png") for n in ("in", "out")
    ]
    manifest = build_manifest(folder, records, region=region_of((48, 40), (0, 0, 12, 40)))
    findings = view_findings(folder, manifest, WHOLE)
    region, masks = findings["finding"]
    assert region.startswith("75% of each image of nut lies outside of its region of interest")
    assert masks.startswith("what the masks of out.png mark lies wholly outside")
    seen = frame_view((48, 40), WHOLE, region_of((48, 40), (0, 0, 12, 40)))
    assert seen is not None and seen.mean() == 0.25


def marked(tmp_path: Path, size: tuple[int, int], boxes: dict[str, Any]) -> ImageFolder:
    """Images with a mask each, that marks a box."""
    for name, (left, top, right, bottom) in boxes.items():
        noise(size, len(name)).save(tmp_path / f"{name}.png")
        mask = np.zeros(size[::-1], np.uint8)
        mask[top:bottom, left:right] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    return ImageFolder(str(tmp_path))


@pytest.mark.parametrize(
    "preprocessing", [WHOLE, Preprocessing(resize=32, crop=None, tiles=Tiles(32, 8))]
)
def test_a_mask_in_patches_that_do_not_count_is_told(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    """The region ends 3 pixels into a patch of 8, which then does not count."""
    size = (64, 32) if preprocessing.tiles else (32, 32)
    boxes = {"in": (8, 8, 16, 16), "edge": (16, 8, 19, 16), "both": (14, 8, 19, 16)}
    folder = marked(tmp_path, size, boxes)
    records = [ImageRecord(f"{n}.png", "nut", "test", "dent", f"{n}_mask.png") for n in boxes]
    manifest = build_manifest(folder, records, region=region_of(size, (0, 0, 19, 32)))
    findings = view_findings(folder, manifest, preprocessing, lambda: GRID)
    found = findings.set_index("check")["finding"]
    assert found["masks outside"].startswith("what the masks of edge.png mark lies wholly outside")
    seen = frame_view(size, preprocessing, region_of(size, (0, 0, 19, 32)), GRID)
    assert seen is not None
    assert seen.tolist() == [[column < 16 for column in range(size[0])]] * 32


def test_a_mask_in_black_padding_is_told(tmp_path: Path) -> None:
    folder = marked(tmp_path, (64, 64), {"in": (30, 30, 40, 40), "cut off": (2, 2, 10, 10)})
    records = [
        ImageRecord(f"{n}.png", "nut", "test", "dent", f"{n}_mask.png") for n in ("in", "cut off")
    ]
    cropped = Preprocessing(resize=64, crop=32, pad=64)
    found = view_findings(folder, build_manifest(folder, records), cropped).set_index("check")
    assert found["finding"]["field of view"].startswith("75% of each image of nut is not looked at")
    assert found["finding"]["masks outside"].startswith("what the masks of cut off.png mark lies")


@pytest.mark.parametrize("tiles", [None, Tiles(32, 8), Tiles(64, 16), Tiles(400)])
def test_of_a_wide_image_all_of_the_region_is_looked_at(tiles: Tiles | None) -> None:
    """Its far end lies beyond the first tile."""
    size, box = (160, 48), (80, 0, 160, 48)
    fitting = Preprocessing(resize=64, crop=None, tiles=tiles)
    seen = frame_view(size, fitting, region_of(size, box), (8, 8))
    assert seen is not None
    assert (seen == region_of(size, box).pixels).mean() > 0.97, "but for patches at its edge"
    assert frame_view(size, fitting) is None


def test_squeezed_images_are_told(tmp_path: Path) -> None:
    for number, size in enumerate([(100, 100), (100, 105), (100, 130), (70, 100), (1, 100)]):
        noise(size).save(tmp_path / f"{number}.png")
    folder = ImageFolder(str(tmp_path))
    manifest = build_manifest(folder, [ImageRecord(f"{n}.png", "nut", "train") for n in range(5)])
    found = view_findings(folder, manifest, Preprocessing(resize=[32, 32], crop=None))
    assert list(found["check"]) == ["distortion"]
    assert found["finding"][0].startswith(
        "2 of 5 images of nut are squeezed by more than 10%, such as 2.png: preprocessing.resize "
        "makes all 32x32 pixels"
    )
    for kept in (WHOLE, Preprocessing(resize=32, crop=32), Preprocessing(None, 16, 32)):
        assert "distortion" not in set(view_findings(folder, manifest, kept)["check"])


def test_sides_of_which_hardly_a_pixel_is_left_are_told(tmp_path: Path) -> None:
    """A single number keeps the aspect but for rounding, which is all there is of 3 pixels."""
    for number, size in enumerate([(3, 800), (100, 130), (800, 60), (1, 800)]):
        noise(size).save(tmp_path / f"{number}.png")
    folder = ImageFolder(str(tmp_path))
    manifest = build_manifest(folder, [ImageRecord(f"{n}.png", "nut", "train") for n in range(4)])
    (text,) = view_findings(folder, manifest, WHOLE)["finding"]
    assert text.startswith("2 of 4 images of nut are squeezed by more than 10%, such as 0.png: ")
    assert text.endswith(
        "preprocessing.resize of 32 leaves a few pixels of their shorter side. A larger one, or "
        "preprocessing.tiles, keeps more of it"
    )


@pytest.mark.parametrize("size", [(200, 33), (33, 200), (80, 36), (300, 1), (64, 64)])
@pytest.mark.parametrize("options", [{}, {"pad": 96}])
def test_the_centre_of_a_patch_lies_in_the_image(
    size: tuple[int, int], options: dict[str, int]
) -> None:
    """A patch at the edge shows padding too; who looks up the pixel must find one."""
    fitting = Preprocessing(resize=64, crop=64 if options else None, **options)
    height, width = fitting.input_size
    for y in range(4, height, 8):
        for x in range(4, width, 8):
            found = fitting.image_point(x, y, size)
            assert all(0 <= at <= side - 1 for at, side in zip(found, size, strict=True))


def test_a_point_within_the_image_stays_where_it_is() -> None:
    fitting = Preprocessing(resize=64, crop=None)
    assert fitting.image_point(20, 10, (128, 64)) == (40, 20)
    assert fitting.image_point(20, 60, (128, 64)) == (40, 63)
