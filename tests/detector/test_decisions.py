"""Decisions about new images: who is flagged, how rare that is, where and beside what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.detector.decisions import (
    check_rate,
    check_same_masking,
    decide,
    list_images,
    normal_test_images,
    patch_centre,
)
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder

GRID = (2, 3)
STRETCHED = Preprocessing(resize=(20, 30), crop=None)
"""Patches of 10 x 10 pixels, whatever the image."""

HASHES = ["aa", "bbbb", "c"]
NORMAL = {"aa": "good/0.png", "bbbb": "good/1.png"}
"""The third image of the bank is no longer there."""


def bank_of(image: Sequence[int] = (1, 0, 2), patch: Sequence[int] = (4, 2, 0)) -> ArrayBundle:
    """A memory bank of three vectors, which knows the image and the patch of each."""
    hashes = np.array([list(text.encode().ljust(4, b"\0")) for text in HASHES], np.uint8)
    return ArrayBundle(
        {
            "memory_bank": np.zeros((3, 8), np.float32),
            "image": np.array(image, np.int32),
            "patch": np.array(patch, np.int32),
            "content_hashes": hashes,
        }
    )


def grid_with(highest: tuple[int, int], score: float) -> np.ndarray:
    """Patch scores of one image: the highest in one place, half of it in all others."""
    grid = np.full(GRID, score / 2, np.float32)
    grid[highest] = score
    return grid


def decisions(
    grids: Sequence[np.ndarray],
    *,
    calibration: Sequence[float] = (1.0, 2.0, 3.0, 4.0),
    neighbors: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    rate: float = 0.2,
    top_k_ratio: float = 0.01,
    preprocessing: Preprocessing = STRETCHED,
    normal_images: Mapping[str, str] = NORMAL,
) -> pd.DataFrame:
    """What is decided about images [(width, height)] of known patch scores."""
    names = names or [f"{number}.png" for number in range(len(grids))]
    sizes = sizes or [(30, 20)] * len(grids)
    if neighbors is None:
        neighbors = np.zeros((len(grids), *GRID), np.int64)
    return decide(
        pd.DataFrame({"image": names, "width": [w for w, _ in sizes],
                      "height": [h for _, h in sizes]}, index=range(7, 7 + len(grids))),
        ArrayBundle({"patch_scores": np.stack(grids), "neighbors": neighbors}),
        np.array(calibration),
        top_k_ratio=top_k_ratio,
        false_alarm_rate=rate,
        preprocessing=preprocessing,
        bank=bank_of(),
        normal_images=normal_images,
    )  # fmt: skip


# --- who is flagged -------------------------------------------------------------------------------


def test_a_score_on_the_threshold_is_not_flagged_and_one_above_it_is() -> None:
    table = decisions([grid_with((0, 0), score) for score in (4.0, 4.5, 3.5)])
    assert table["score"].tolist() == [4.5, 4.0, 3.5]
    assert table["flagged"].tolist() == [1, 0, 0]
    assert table["threshold"].tolist() == [4.0] * 3
    assert table["flagged"].dtype == int


def test_p_values_are_the_share_of_normal_images_that_score_as_high() -> None:
    table = decisions([grid_with((0, 0), score) for score in (5.0, 4.0, 2.5, 0.5)])
    # (1 + 0) / 5, (1 + 1) / 5, (1 + 2) / 5 and all.
    assert table["p_value"].tolist() == [0.2, 0.4, 0.6, 1.0]
    assert (table["flagged"] == (table["p_value"] <= 0.2)).all()


def test_equal_scores_of_normal_images_all_count_as_high() -> None:
    # 6 * 0.8 = 4.8: the fifth of five is the threshold.
    grids = [grid_with((0, 0), score) for score in (2.0, 2.5, 1.0)]
    table = decisions(grids, calibration=[2.0, 1.0, 2.0, 1.0, 2.0])
    assert table["threshold"].tolist() == [2.0] * 3
    assert table["score"].tolist() == [2.5, 2.0, 1.0]
    assert table["flagged"].tolist() == [1, 0, 0]
    assert table["p_value"].tolist() == [1 / 6, 4 / 6, 1.0]


def test_a_higher_rate_flags_more() -> None:
    grids = [grid_with((0, 0), score) for score in (4.5, 3.5, 2.5)]
    assert decisions(grids, rate=0.2)["flagged"].tolist() == [1, 0, 0]
    assert decisions(grids, rate=0.4)["flagged"].tolist() == [1, 1, 0]
    assert decisions(grids, rate=0.4)["threshold"].tolist() == [3.0] * 3


def test_too_few_held_out_images_are_one_clear_line() -> None:
    with pytest.raises(InputError, match="at least 4 held-out normal images, but there are 3"):
        decisions([grid_with((0, 0), 1.0)], calibration=[1.0, 2.0, 3.0])


def test_the_score_is_the_mean_of_the_highest_patches() -> None:
    grid = np.array([[1, 9, 2], [3, 5, 4]], np.float32)
    assert decisions([grid], top_k_ratio=1 / 3)["score"].tolist() == [7.0]
    assert decisions([grid], top_k_ratio=1.0)["score"].tolist() == [4.0]


# --- in which order -------------------------------------------------------------------------------


def test_rows_are_sorted_by_score_and_equal_ones_by_name() -> None:
    grids = [grid_with((0, 0), score) for score in (1.0, 3.0, 1.0, 2.0)]
    table = decisions(grids, names=["d.png", "c.png", "a.png", "b.png"])
    assert table["image"].tolist() == ["c.png", "b.png", "a.png", "d.png"]
    assert table["score"].tolist() == [3.0, 2.0, 1.0, 1.0]
    assert table.index.tolist() == [0, 1, 2, 3]


def test_every_row_keeps_what_belongs_to_its_image() -> None:
    neighbors = np.zeros((3, *GRID), np.int64)
    neighbors[1] = 1
    grids = [grid_with((0, 0), 1.0), grid_with((1, 1), 9.0), grid_with((0, 2), 5.0)]
    table = decisions(grids, neighbors=neighbors, sizes=[(30, 20), (60, 80), (3, 2)])
    assert table["image"].tolist() == ["1.png", "2.png", "0.png"]
    assert list(zip(table["x"], table["y"], strict=True)) == [(30, 60), (2, 0), (5, 5)]
    assert table["normal_image"].tolist() == ["good/0.png", "good/1.png", "good/1.png"]
    assert table.columns.tolist() == [
        "image", "score", "flagged", "threshold", "p_value", "x", "y",
        "normal_image", "normal_x", "normal_y",
    ]  # fmt: skip


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "place"), [((0, 0), (10, 20)), ((0, 2), (50, 20)), ((1, 1), (30, 60))]
)
def test_the_place_is_the_strangest_patch_in_pixels_of_the_image(
    highest: tuple[int, int], place: tuple[int, int]
) -> None:
    # The image is twice as wide and four times as high as what the encoder sees.
    row = decisions([grid_with(highest, 5.0)], sizes=[(60, 80)]).iloc[0]
    assert (row["x"], row["y"]) == place


def test_a_crop_moves_the_place() -> None:
    # Resized to 60 x 20, of which 15 pixels are cut off on the left and on the right.
    cropped = Preprocessing(resize=20, crop=(20, 30))
    row = decisions([grid_with((0, 2), 5.0)], sizes=[(120, 40)], preprocessing=cropped).iloc[0]
    assert (row["x"], row["y"]) == (2 * (25 + 15), 2 * 5)
    # The evidence is shown as the encoder sees it, so the crop does not move that.
    assert (row["normal_x"], row["normal_y"]) == (15, 15)


def test_of_equally_strange_patches_the_first_is_shown() -> None:
    row = decisions([np.ones(GRID, np.float32)]).iloc[0]
    assert (row["x"], row["y"]) == (5, 5)


@pytest.mark.parametrize(
    ("row", "column", "centre"), [(0, 0, (8.0, 4.0)), (3, 1, (24.0, 28.0)), (1, 2, (40.0, 12.0))]
)
def test_the_centre_of_a_patch_is_in_pixels_of_the_input(
    row: int, column: int, centre: tuple[float, float]
) -> None:
    preprocessing = Preprocessing(resize=None, crop=(32, 48))
    assert patch_centre(row, column, (4, 3), preprocessing) == centre


# --- beside what ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vector", "image", "place"),
    [(0, "good/1.png", (15, 15)), (1, "good/0.png", (25, 5)), (2, "", (5, 5))],
)
def test_evidence_is_the_normal_patch_that_the_strangest_was_compared_with(
    vector: int, image: str, place: tuple[int, int]
) -> None:
    neighbors = np.full((1, *GRID), (vector + 1) % 3)
    neighbors[0, 1, 0] = vector
    row = decisions([grid_with((1, 0), 5.0)], neighbors=neighbors).iloc[0]
    # The last one's image is not among the normal images any more.
    assert row["normal_image"] == image
    assert (row["normal_x"], row["normal_y"]) == place


def test_an_image_that_is_all_background_has_no_evidence() -> None:
    neighbors = np.full((2, *GRID), -1)
    neighbors[1] = 0
    grids = [np.zeros(GRID, np.float32), grid_with((1, 2), 1.0)]
    table = decisions(grids, neighbors=neighbors, sizes=[(60, 80)] * 2)
    background = table.iloc[1]
    assert background["image"] == "0.png"
    assert (background["score"], background["flagged"], background["p_value"]) == (0, 0, 1)
    assert (background["x"], background["y"]) == (10, 20)
    assert background["normal_image"] == ""
    assert (background["normal_x"], background["normal_y"]) == (0, 0)
    assert table.iloc[0]["normal_image"] == "good/1.png"


# --- which images ---------------------------------------------------------------------------------


def test_all_images_below_a_folder_are_listed_without_labels(tmp_path: Path) -> None:
    for name, size in {"b.png": (6, 4), "deep/er/a.png": (3, 5)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(tmp_path / name)
    table = list_images(ImageFolder(str(tmp_path)))
    assert table["image"].tolist() == ["b.png", "deep/er/a.png"]
    assert table["width"].tolist() == [6, 3]
    assert table["height"].tolist() == [4, 5]
    assert set(table["split"]) == {"test"}
    assert set(table["class"]) == {""}


def test_a_folder_that_is_not_there_or_holds_no_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^predict\.images: there is no file or folder .*gone$"):
        list_images(ImageFolder(str(tmp_path / "gone")))
    with pytest.raises(InputError, match=r"^predict\.images: the folder .* holds no images"):
        list_images(ImageFolder(str(tmp_path)))


def test_a_damaged_image_is_named_and_another_file_is_left_out_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(InputError, match=r"a\.png cannot be read as an image"):
        list_images(ImageFolder(str(tmp_path)))
    assert "1 file left out as no image to judge, such as notes.txt" in caplog.text


IMAGES = pd.DataFrame(
    {
        "image": ["n0", "n1", "n2", "bad", "train0", "train1"],
        "split": ["test"] * 4 + ["train"] * 2,
        "label": [0, 0, 0, 1, 0, 0],
    }
)


def test_held_out_images_are_the_normal_ones_of_the_test_split() -> None:
    assert normal_test_images(IMAGES)["image"].tolist() == ["n0", "n1", "n2"]


def test_a_rate_that_takes_more_held_out_images_is_refused() -> None:
    check_rate(IMAGES, 0.25)
    with pytest.raises(InputError, match="at least 4 held-out normal images, but there are 3"):
        check_rate(IMAGES, 0.24)


# --- which memory bank ----------------------------------------------------------------------------


def with_masking(masking: Mapping[str, Any]) -> ArrayBundle:
    return replace(bank_of(), metadata={"bpm": dict(masking)})


def test_a_bank_of_the_same_masking_is_accepted() -> None:
    masking = asdict(BackPatchMasking())
    check_same_masking(with_masking(masking), masking)


@pytest.mark.parametrize("change", [{"mode": "soft"}, {"kernel_size": 9}, {"threshold": 0.2}])
def test_a_bank_of_another_masking_is_refused(change: dict[str, Any]) -> None:
    masking = asdict(BackPatchMasking())
    with pytest.raises(InputError) as error:
        check_same_masking(with_masking(masking), {**masking, **change})
    assert str(error.value) == (
        "the memory bank was made with other masking (bpm) than this run's: use the settings "
        f"that made it, or {RUN_AGAIN}"
    )


@pytest.mark.parametrize("missing", ["image", "patch", "content_hashes"])
def test_a_bank_that_does_not_know_its_patches_is_refused(missing: str) -> None:
    masking = asdict(BackPatchMasking())
    bank = with_masking(masking)
    arrays = {name: array for name, array in bank.arrays.items() if name != missing}
    with pytest.raises(InputError, match=f"made by an older version: {RUN_AGAIN}"):
        check_same_masking(replace(bank, arrays=arrays), masking)


def test_a_file_without_a_suffix_may_be_an_image(tmp_path: Path) -> None:
    """Some cameras write none; what is no image is told."""
    Image.new("L", (4, 4)).save(tmp_path / "0001", "PNG")
    (tmp_path / "list.txt").write_text("0001")
    assert list(list_images(ImageFolder(str(tmp_path)))["image"]) == ["0001"]
    (tmp_path / "0002").write_text("no image")
    with pytest.raises(InputError, match="0002 cannot be read as an image"):
        list_images(ImageFolder(str(tmp_path)))
