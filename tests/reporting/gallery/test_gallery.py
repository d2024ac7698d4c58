"""Which images a gallery chooses, what it draws, and how it is kept."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_path import RemotePath
from uniformaly_pipeline.datasets.gallery_dataset import GalleryDataset
from uniformaly_pipeline.reporting.gallery.drawing import encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import (
    GalleryImage,
    build_gallery,
    error_margin,
    rank_mistakes,
    show_place,
)
from uniformaly_pipeline.reporting.gallery.storage import (
    gallery_exists,
    gallery_origin,
    load_gallery,
    save_gallery,
)

# With threshold 5: b is missed by a lot, d is a false alarm by a little, the others are right.
TABLE = pd.DataFrame(
    {
        "image": ["a", "b", "c", "d", "e", "f"],
        "label": [0, 1, 0, 0, 1, 1],
        "score": [1.0, 0.5, 4.9, 5.5, 9.5, 6.0],
        "defect": ["good", "crack", "good", "good", "crack", "stain"],
    }
)
THRESHOLD = 5.0


def build(table: pd.DataFrame = TABLE, size: int = 32, **changes: object) -> list[GalleryImage]:
    """A gallery of grey images, the upper half foreground, a bright spot in each map."""
    spot = np.zeros((size, size), np.float32)
    spot[4:8, 4:8] = 1.0
    half = np.zeros((size, size), bool)
    half[: size // 2] = True
    arguments: dict = {
        "category": "tile",
        "threshold": THRESHOLD,
        "vmax": 1.0,
        "limit": 6,
        "load_image": lambda path: np.full((size, size, 3), 120, np.uint8),
        "load_mask": lambda path: spot > 0 if path in "bef" else None,
        "anomaly_map": lambda path: spot,
        "foreground": lambda path: half,
    }
    return build_gallery(table, **(arguments | changes))


def pixels(image: GalleryImage, view: str) -> np.ndarray:
    """A view, decoded: int64 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(image.views[view]))).astype(int)


def test_wrongness_is_positive_on_the_wrong_side_in_units_of_the_spread() -> None:
    scores, labels = np.array([0.0, 4.0, 0.0, 4.0]), np.array([0, 0, 1, 1])
    assert error_margin(scores, labels, 3.0).tolist() == [-1.5, 0.5, 1.5, -0.5]
    assert error_margin(scores * 100, labels, 300.0).tolist() == [-1.5, 0.5, 1.5, -0.5]


def test_wrongness_is_finite_where_all_scores_are_equal_or_none_is_given() -> None:
    assert np.isfinite(error_margin(np.ones(3), np.array([0, 1, 0]), 2.0)).all()
    assert error_margin(np.array([]), np.array([]), 2.0).shape == (0,)
    assert error_margin(np.array([1.0, 2.0]), np.array([0, 0]), None).tolist() == [0, 0]


def test_worst_mistake_comes_first() -> None:
    ranking = rank_mistakes(TABLE["score"].to_numpy(), TABLE["label"].to_numpy(), THRESHOLD)
    assert "".join(TABLE["image"].iloc[ranking]) == "bdcfae"


def test_a_score_on_the_threshold_is_a_mistake_only_for_a_normal_image() -> None:
    ranking = rank_mistakes(np.array([5.0, 5.0]), np.array([1, 0]), 5.0)
    assert ranking.tolist() == [1, 0]


def test_without_a_threshold_the_highest_scores_come_first() -> None:
    images = build(threshold=None, limit=2)
    assert [image.image for image in images] == ["e", "f"]
    assert {image.verdict for image in images} == {"undecided"}


@pytest.mark.parametrize(
    ("label", "decision", "verdict"),
    [
        (None, 1, "flagged"),
        (None, 0, "passed"),
        (None, None, "undecided"),
        (0, None, "undecided"),
        (0, 0, "right"),
        (0, 1, "false alarm"),
        (1, 0, "missed"),
        (1, 1, "right"),
    ],
)
def test_without_a_label_a_decision_is_neither_right_nor_wrong(
    label: int | None, decision: int | None, verdict: str
) -> None:
    image = dataclasses.replace(build(limit=1)[0], label=label, decision=decision)
    assert image.verdict == verdict


def test_gallery_judges_each_image() -> None:
    images = build()
    assert [(image.image, image.verdict) for image in images[:2]] == [
        ("b", "missed"),
        ("d", "false alarm"),
    ]
    assert [image.decision for image in images[:2]] == [0, 1]
    assert {image.verdict for image in images[2:]} == {"right"}
    worst = [image.error_margin for image in images]
    assert worst == sorted(worst, reverse=True)


@pytest.mark.parametrize(
    ("limit", "expected"),
    # Mistakes before anything else; then a near miss and the clearest of the clear.
    [(0, ""), (1, "b"), (2, "bd"), (4, "bdce"), (6, "bdcfae"), (99, "bdcfae")],
)
def test_limit_keeps_the_most_informative_images(limit: int, expected: str) -> None:
    assert "".join(image.image for image in build(limit=limit)) == expected


def test_only_the_chosen_images_are_read() -> None:
    read: list[str] = []

    def load_image(path: str) -> np.ndarray:
        read.append(path)
        return np.zeros((32, 32, 3), np.uint8)

    build(limit=2, load_image=load_image)
    assert read == ["b", "d"]


def test_views_show_ground_truth_anomaly_map_and_foreground() -> None:
    missed, false_alarm = build()[:2]
    assert list(missed.views) == ["image", "heat_map", "foreground"]
    assert np.ptp(pixels(missed, "image")) > 100
    # The outline goes around the region and leaves it visible.
    assert abs(np.median(pixels(missed, "image")[4:8, 4:8]) - 120) < 15
    # Without a mask nothing is outlined.
    assert np.ptp(pixels(false_alarm, "image")) < 10
    heat_map = pixels(missed, "heat_map")
    assert heat_map[5, 5].sum() > heat_map[25, 25].sum() + 100
    foreground = pixels(missed, "foreground")
    assert foreground[28, 16].mean() < foreground[6, 16].mean()


def test_large_images_are_reduced() -> None:
    image = build(size=600, limit=1)[0]
    assert {pixels(image, view).shape for view in image.views} == {(256, 256, 3)}


def test_a_thin_region_of_a_large_mask_is_still_outlined() -> None:
    scratch = np.zeros((1000, 1000), bool)
    scratch[501, 100:900] = True
    image = build(size=1000, limit=1, load_mask=lambda path: scratch)[0]
    assert np.ptp(pixels(image, "image")[:, 128]) > 100


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="anomaly map"):
        build(anomaly_map=lambda path: np.zeros((8, 8), np.float32))


def test_a_gallery_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    images = [dataclasses.replace(build()[0], image="ä/ö b.png", decision=None), *build()]
    save_gallery(tmp_path / "new" / "gallery", images)
    assert load_gallery(tmp_path / "new" / "gallery") == images


def test_an_image_without_a_label_and_with_a_remark_comes_back(tmp_path: Path) -> None:
    images = [dataclasses.replace(build()[0], label=None, remark="highest at (1, 2); nächste: ö")]
    save_gallery(tmp_path, images)
    assert load_gallery(tmp_path) == images


def test_an_empty_gallery_is_a_gallery(tmp_path: Path) -> None:
    save_gallery(tmp_path, [])
    assert gallery_exists(tmp_path)
    assert load_gallery(tmp_path) == []


def test_saving_again_removes_the_stale_images_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    save_gallery(tmp_path, build())
    save_gallery(tmp_path, build(limit=1))
    assert len(list(tmp_path.rglob("*.jpg"))) == 3
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [image.image for image in load_gallery(tmp_path)] == ["b"]


@pytest.mark.parametrize(
    "broken",
    [{"score": float("nan")}, {"views": {"../escape": b""}}, {"views": {"image": None}}],
    ids=["score not finite", "hostile view name", "view without bytes"],
)
def test_a_save_that_fails_midway_leaves_the_old_gallery(tmp_path: Path, broken: dict) -> None:
    old = build(limit=2)
    save_gallery(tmp_path, old)
    before = sorted(tmp_path.rglob("*"))
    images = build()
    with pytest.raises((ValueError, TypeError)):
        save_gallery(tmp_path, [*images, dataclasses.replace(images[0], **broken)])
    assert sorted(tmp_path.rglob("*")) == before
    assert load_gallery(tmp_path) == old


def test_a_missing_gallery_and_one_of_another_version_are_named(tmp_path: Path) -> None:
    assert not gallery_exists(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_gallery(tmp_path)
    (tmp_path / "index.json").write_text('{"version": 1, "folder": "x", "images": []}')
    with pytest.raises(InputError, match=r"index.json is not what a run wrote: it is set aside"):
        load_gallery(tmp_path)
    assert not gallery_exists(tmp_path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_the_same_gallery_or_one_line(
    data: st.DataObject, tmp_path: Path
) -> None:
    """In the index or in a JPEG; saving again mends it."""
    folder = tmp_path / "gallery"
    shutil.rmtree(folder, ignore_errors=True)
    images = build(limit=2)
    save_gallery(folder, images)
    file = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(content)) | st.none())
    file.write_bytes(content[:cut])
    try:
        assert load_gallery(folder) == images
    except InputError as error:
        assert str(folder / "index.json") in str(error)
        assert "\n" not in str(error)
    save_gallery(folder, images)
    assert load_gallery(folder) == images


def test_what_another_run_is_at_work_on_stays(tmp_path: Path) -> None:
    """Its folder is there before its index names it; what was left long ago goes."""
    save_gallery(tmp_path, build())
    at_work, left = tmp_path / "images-at-work", tmp_path / "images-left"
    at_work.mkdir()
    left.mkdir()
    os.utime(left, (0, 0))
    save_gallery(tmp_path, build(limit=1))
    folders = {path.name for path in tmp_path.glob("images-*")}
    assert at_work.name in folders
    assert left.name not in folders
    assert len(folders) == 2


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_gallery_elsewhere_is_replaced_in_one_step(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = request.getfixturevalue("bucket") if kind == "s3" else f"memory://{uuid.uuid4().hex}"
    folder = RemotePath(f"{base}/nut/gallery")
    assert not gallery_exists(folder)
    with pytest.raises(FileNotFoundError):
        load_gallery(folder)
    save_gallery(folder, build(), {"a": "1"}, "nut/gallery")
    assert load_gallery(folder) == build()
    assert gallery_origin(folder)["made_from"] == {"a": "1"}
    broken = dataclasses.replace(build()[0], views={"no word": b""})
    with pytest.raises(ValueError, match="plain word"):
        save_gallery(folder, [*build(limit=2), broken])
    assert load_gallery(folder) == build()
    assert len(list(folder.glob("images-*/"))) == 1
    save_gallery(folder, build(limit=1))
    assert load_gallery(folder) == build(limit=1)
    (pictures,) = folder.glob("images-*/")
    one = sorted(pictures.glob("*.jpg"))[0]
    with monkeypatch.context() as patched:
        patched.setattr(RemotePath, "read_bytes", _down_but_for_the_index(RemotePath.read_bytes))
        with pytest.raises(InputError, match="check the network"):
            load_gallery(folder)
    assert gallery_exists(folder)
    one.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"set aside as index\.damaged"):
        load_gallery(folder)
    assert not gallery_exists(folder)


def _down_but_for_the_index(read: Callable[[RemotePath], bytes]) -> Callable[[RemotePath], bytes]:
    def read_bytes(path: RemotePath) -> bytes:
        if path.name != "index.json":
            raise InputError(f"{path} cannot be read (down): check the network")
        return read(path)

    return read_bytes


def test_preview_starts_each_image_in_its_own_column(tmp_path: Path) -> None:
    def view(colour: tuple[int, int, int]) -> bytes:
        return encode_jpeg(np.full((16, 16, 3), colour, np.uint8))

    red, blue = view((255, 0, 0)), view((0, 0, 255))
    image = build(limit=1)[0]
    few = dataclasses.replace(image, views={"image": red, "heat_map": red})
    many = dataclasses.replace(image, views=dict.fromkeys(("image", "a", "b", "c"), blue))
    dataset = GalleryDataset(filepath=str(tmp_path))
    dataset.save([few, many])
    png = base64.b64decode(dataset.preview())
    sheet = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    tiles = sheet.shape[1] // 8
    middles = sheet[70, tiles // 2 :: tiles][:8]
    dominant = ["white" if c.min() > 200 else "red" if c[0] > 200 else "blue" for c in middles]
    assert dominant == ["red"] * 2 + ["white"] * 2 + ["blue"] * 4


def test_only_an_image_of_which_a_part_is_hidden_is_read_once_more() -> None:
    shown = [
        GalleryImage(name, "nut", "hole", 1, 2.0, 1, 0.1, {"image": b""}) for name in ("a", "b")
    ]
    read: list[str] = []

    def whole(path: str) -> np.ndarray:
        read.append(path)
        return np.full((20, 40, 3), 100, np.uint8)

    assert show_place(shown, whole, lambda _: None) == shown
    assert read == []
    seen = np.zeros((20, 40), bool)
    seen[:, 10:30] = True
    first, second = show_place(shown, whole, lambda _: seen)
    assert (read, first.seen_share, second) == (["a"], 0.5, shown[1])
    with Image.open(io.BytesIO(first.views["looked_at"])) as drawn:
        # What was not looked at is dimmed.
        assert drawn.getpixel((2, 10)) == pytest.approx((50, 50, 50), abs=6)
        assert drawn.getpixel((20, 10)) == pytest.approx((100, 100, 100), abs=6)
