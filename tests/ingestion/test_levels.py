"""Deep images are read by one rule for a category, whatever a single picture holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.ingestion.health import examine
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import (
    Levels,
    appearance,
    choose_levels,
    file_hash,
    pixel_range,
    range_of_counts,
    reach_beyond,
)
from uniformaly_pipeline.ingestion.manifest import (
    ImageRecord,
    build_manifest,
    levels_by_class,
    levels_of,
)


def camera(scale: float, offset: float = 0.0, kind: type = np.float32, seed: int = 0) -> np.ndarray:
    """A picture of 40 x 50 pixels that uses most of a scale."""
    rng = np.random.default_rng(seed)
    return (offset + scale * rng.uniform(0.02, 0.9, (40, 50))).astype(kind)


@pytest.mark.parametrize(
    ("depth", "ranges", "expected"),
    [
        ("integer", [(300, 60000)], (0, 65535)),
        ("integer", [(3, 3900), (9, 4000)], (0, 4095)),
        ("integer", [(0, 900)], (0, 1023)),
        ("integer", [(0, 16000)], (0, 16383)),
        ("integer", [(10, 250)], (0, 255)),
        ("integer", [(0, 1)], (0, 1)),
        ("float", [(0.01, 0.95)], (0, 1)),
        ("float", [(2.0, 251.0)], (0, 255)),
        ("float", [(100.0, 64000.0)], (0, 65535)),
        # No scale fits: the range itself, an eighth of it on either side.
        ("float", [(-1.0, 1.0)], (-1.25, 1.25)),
        ("float", [(0.01, 1.6)], (0.01 - 1.59 / 8, 1.6 + 1.59 / 8)),
        ("float", [(0.0, 0.008)], (-0.001, 0.009)),
        ("float", [(0.90, 0.91)], (0.89875, 0.91125)),
        ("integer", [(-1000, 3000)], (-1500, 3500)),
        ("integer", [(30000, 30400)], (29950, 30450)),
    ],
)
def test_levels_are_a_scale_that_the_images_use_or_their_range(
    depth: str, ranges: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    assert choose_levels(depth, ranges) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, 0.5, 7.0, -3.0])
def test_images_of_one_value_have_levels_too(value: float) -> None:
    low, high = choose_levels("float", [(value, value)] * 3)
    assert low < value < high
    assert appearance((low, high), value, value) == "constant"


def test_one_outlying_image_of_several_has_no_say() -> None:
    ranges = [(0.02, 0.9)] * 5
    for odd in [(0.02, 900.0), (-900.0, 0.9), (-1e30, 1e30)]:
        for place in range(len(ranges) + 1):
            assert choose_levels("float", [*ranges[:place], odd, *ranges[place:]]) == (0, 1)


def test_a_few_pixels_have_no_say() -> None:
    pixels = camera(1.0)
    expected = pixel_range(pixels)
    pixels[3, 3] = np.nan
    pixels[4, 4] = np.inf
    found = pixel_range(pixels)
    assert expected is not None
    assert found == pytest.approx(expected, abs=0.01)
    assert pixel_range(np.full((2, 2), np.nan)) is None


@pytest.mark.parametrize("side", [4, 10, 20, 31, 32])
@pytest.mark.parametrize("hot", [65535, 0])
def test_a_hot_pixel_has_no_say_in_a_small_picture_either(side: int, hot: int) -> None:
    pixels = np.full((side, side), 2000, np.uint16)
    pixels[: side // 2] = 3000
    pixels[-1, -1] = hot
    assert pixel_range(pixels) == (2000, 3000)
    assert pixel_range(pixels[:1, :2]) == (3000, 3000)
    assert pixel_range(np.array([[1, 9]], np.uint16)) == (1, 9)


def test_what_is_no_number_is_black_and_what_is_infinite_an_end() -> None:
    pixels = np.array([[0.0, 0.5, 1.0], [np.nan, np.inf, -np.inf]], np.float32)
    assert Levels().to_8_bit(pixels).tolist() == [[0, 128, 255], [0, 255, 0]]


def test_integers_are_scaled_as_they_were() -> None:
    """65535 has been white all along, and its rounding is part of what features are made of."""
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    before = np.clip(np.rint(pixels * (1.0 / 257.0)), 0, 255).astype(np.uint8)
    assert (Levels().to_8_bit(pixels) == before).all()


def test_the_key_of_bytes_is_their_hash_and_that_of_deep_pixels_their_levels_too() -> None:
    narrow, wide = Levels.of(0, 1), Levels.of(0, 2)
    assert narrow.key("ab", "8-bit") == "ab"
    keys = {narrow.key("ab", "float"), wide.key("ab", "float"), Levels().key("ab", "integer")}
    assert len(keys) == 3
    assert {file_hash(key) for key in keys} == {"ab"}


# --- a category -----------------------------------------------------------------------------------


def save(root: Path, path: str, pixels: np.ndarray) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / path)


def records(root: Path, name: str = "nut") -> list[ImageRecord]:
    return [
        ImageRecord(path.relative_to(root).as_posix(), name, path.parts[-3], path.parts[-2])
        for path in sorted((root / name).glob("*/*/*.tif"))
    ]


def draw(root: Path, scale: float, kind: type, name: str = "nut") -> None:
    for i in range(4):
        save(root, f"{name}/train/good/{i}.tif", camera(scale, kind=kind, seed=i))
    for i in range(2):
        save(root, f"{name}/test/good/{i}.tif", camera(scale, kind=kind, seed=9 + i))


@pytest.mark.parametrize(
    ("scale", "kind"),
    [
        *((scale, np.float32) for scale in (1.0, 1.7, 255.0, 65535.0)),
        *((scale, np.uint16) for scale in (1023.0, 4095.0, 65535.0)),
        (3e6, np.int32),
    ],
)
def test_whatever_the_range_pictures_are_neither_black_nor_white(
    tmp_path: Path, scale: float, kind: type
) -> None:
    draw(tmp_path, scale, kind)
    manifest = build_manifest(ImageFolder(str(tmp_path)), records(tmp_path))
    assert set(manifest["remarks"]) == {""}
    for image, levels in levels_of(manifest).items():
        seen = np.asarray(ImageFolder(str(tmp_path)).read_image(image, levels))
        assert seen.min() < 100
        assert seen.max() > 180
        assert seen.std() > 40


@pytest.mark.parametrize("bad", [1.2, 900.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["train/good/1.tif", "test/good/1.tif"])
def test_a_bad_pixel_changes_nothing_but_itself(tmp_path: Path, bad: float, where: str) -> None:
    draw(tmp_path, 1.0, np.float32)
    folder = ImageFolder(str(tmp_path))
    before = build_manifest(folder, records(tmp_path))
    was = np.asarray(folder.read_image(f"nut/{where}", levels_of(before)[f"nut/{where}"]))
    pixels = np.array(Image.open(tmp_path / "nut" / where))
    pixels[5, 6] = bad
    save(tmp_path, f"nut/{where}", pixels)
    after = build_manifest(folder, records(tmp_path))
    assert after[["low", "high"]].equals(before[["low", "high"]])
    now = np.asarray(folder.read_image(f"nut/{where}", levels_of(after)[f"nut/{where}"]))
    changed = (was != now).any(axis=2)
    changed[5, 6] = False
    assert not changed.any()


def test_every_image_of_a_category_is_read_by_its_normal_ones(tmp_path: Path) -> None:
    """A test image that is darker stays darker: the same rule, not its own."""
    draw(tmp_path, 4095.0, np.uint16)
    draw(tmp_path, 1.0, np.float32, "bolt")
    save(tmp_path, "nut/test/dent/0.tif", camera(500.0, kind=np.uint16, seed=3))
    both = [*records(tmp_path), *records(tmp_path, "bolt")]
    manifest = build_manifest(ImageFolder(str(tmp_path)), both)
    rules = levels_by_class(manifest)
    assert rules["nut"].integer == (0, 4095)
    assert rules["bolt"].floating == (0, 1)
    assert set(manifest.loc[manifest["class"] == "nut", "high"]) == {4095.0}
    dent = manifest["image"] == "nut/test/dent/0.tif"
    assert manifest.loc[dent, "content_hash"].str.endswith("@0..4095").all()


def test_classes_that_are_compared_share_a_rule(tmp_path: Path) -> None:
    draw(tmp_path, 1000.0, np.uint16)
    draw(tmp_path, 4000.0, np.uint16, "bolt")
    both = [*records(tmp_path), *records(tmp_path, "bolt")]
    manifest = build_manifest(ImageFolder(str(tmp_path)), both, one_rule=True)
    assert set(manifest["high"]) == {4095.0}


def test_levels_may_be_given(tmp_path: Path) -> None:
    draw(tmp_path, 1.0, np.float32)
    folder = ImageFolder(str(tmp_path))
    manifest = build_manifest(folder, records(tmp_path), levels=Levels.of(-1, 3))
    assert set(zip(manifest["low"], manifest["high"], strict=True)) == {(-1.0, 3.0)}


def test_bytes_are_read_as_ever(tmp_path: Path) -> None:
    save(tmp_path, "nut/train/good/0.tif", camera(255.0, kind=np.uint8))
    folder = ImageFolder(str(tmp_path))
    for levels in ("auto", Levels.of(0, 9)):
        rows = records(tmp_path)
        row = build_manifest(folder, rows, levels=levels).iloc[0]  # type: ignore[arg-type]
        assert (row["depth"], row["low"], row["high"]) == ("8-bit", 0.0, 255.0)
        assert row["content_hash"] == folder.content_hash(row["image"])


def test_new_levels_need_no_file_and_make_new_keys(tmp_path: Path) -> None:
    """The levels of known files are decided anew; features of other levels are others."""
    draw(tmp_path, 1.0, np.float32)
    folder, rows = ImageFolder(str(tmp_path)), records(tmp_path)
    first = build_manifest(folder, rows)
    given = build_manifest(folder, rows, first, levels=Levels.of(0, 99))
    assert set(first["content_hash"]).isdisjoint(given["content_hash"])
    assert set(given["remarks"]) == {"black"}
    again = build_manifest(folder, rows, given)
    assert again.equals(first)


@pytest.mark.parametrize(
    ("pixels", "remark"),
    [
        (np.full((40, 50, 3), 3, np.uint8), "black"),
        (np.full((40, 50, 3), 252, np.uint8), "white"),
        (np.full((40, 50, 3), 120, np.uint8), "constant"),
        (camera(1e-3, kind=np.float32), "black"),
        (camera(1.0, 8.0, kind=np.float32), "white"),
    ],
)
def test_a_picture_that_shows_hardly_anything_is_a_finding(
    tmp_path: Path, pixels: np.ndarray, remark: str
) -> None:
    draw(tmp_path, 1.0, np.float32)
    save(tmp_path, "nut/test/dent/7.tif", pixels)
    manifest = build_manifest(ImageFolder(str(tmp_path)), records(tmp_path))
    found = examine(manifest).set_index("check")["finding"]
    assert "nut/test/dent/7.tif is nearly" in found[remark]
    if remark == "white" and pixels.dtype == np.float32:
        assert "nut/test/dent/7.tif has pixels beyond the levels" in found["beyond"]
    assert set(manifest.loc[manifest["image"] != "nut/test/dent/7.tif", "remarks"]) == {""}


def test_a_hole_in_the_pixels_and_a_depth_of_its_own_are_findings(tmp_path: Path) -> None:
    draw(tmp_path, 1.0, np.float32)
    pixels = camera(1.0)
    pixels[3] = np.nan
    save(tmp_path, "nut/test/good/7.tif", pixels)
    save(tmp_path, "nut/test/good/8.tif", camera(255.0, kind=np.uint8))
    manifest = build_manifest(ImageFolder(str(tmp_path)), records(tmp_path))
    found = examine(manifest).set_index("check")["finding"]
    assert "7.tif has pixels that are no numbers" in found["not finite"]
    assert "8.tif is 8-bit where nut's train images are float" in found["depth"]


@pytest.mark.parametrize("number", [1, 2, 15, 16, 999, 2001, 30_000])
def test_counted_pixels_have_the_range_of_the_pixels(number: int) -> None:
    rng = np.random.default_rng(number)
    for _ in range(20):
        pixels = rng.choice(rng.integers(0, 256, 9), number).astype(np.uint8)
        counts = np.bincount(pixels, minlength=256).tolist()
        assert range_of_counts(counts) == pixel_range(pixels)


@pytest.mark.parametrize("end", [-5.0, 5.0])
def test_pixels_beyond_the_levels_are_told_once_they_are_a_thousandth(
    tmp_path: Path, end: float
) -> None:
    """What is clipped is said, of a defect that glows too; a hot pixel is nothing."""
    draw(tmp_path, 1.0, np.float32)
    for name, number in (("7", 2), ("8", 3)):
        pixels = camera(1.0)
        pixels.ravel()[:number] = end
        assert reach_beyond(pixels, (0.0, 1.0)) == (number == 3)
        save(tmp_path, f"nut/test/dent/{name}.tif", pixels)
    manifest = build_manifest(ImageFolder(str(tmp_path)), records(tmp_path))
    told = manifest.set_index("image")["remarks"]
    assert set(told.drop("nut/test/dent/8.tif")) == {""}
    assert told["nut/test/dent/8.tif"] == "beyond"
    again = build_manifest(ImageFolder(str(tmp_path)), records(tmp_path), manifest)
    assert again.equals(manifest)
