"""Nodes of the prediction stage: the right images, bank and settings reach each decision."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.pipelines.prediction import nodes
from uniformaly_pipeline.reporting.gallery.drawing import encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.scoring.heat_map import overlay_heat_map
from uniformaly_pipeline.scoring.scores import anomaly_map, images_digest

BPM: dict[str, Any] = {"mode": "binary", "kernel_size": 1, "threshold": 0.05}
SCORING: dict[str, Any] = {
    "method": "uniformaly",
    "top_k_ratio": 0.1,
    "num_neighbors": 1,
    "search": "Flat",
}
NEW = ["c", "a", "b"]
NORMAL = ["n0", "n1", "n2"]
HELD_OUT = ["h0", "h1"]
# Grid (4, 5), patches of 8 x 8 pixels.
PREPROCESSING: dict[str, Any] = {
    "resize": None,
    "crop": [32, 40],
    "pad": None,
    "interpolation": "nearest",
}


@pytest.fixture
def new_manifest() -> pd.DataFrame:
    table = pd.DataFrame({"image": [f"line/{name}.png" for name in NEW]})
    return table.assign(content_hash=[f"#{name}" for name in NEW], width=40, height=32)


@pytest.fixture
def bank_images() -> pd.DataFrame:
    """Train, held-out normal and anomalous images of the bank's category, in turns."""
    rows = [
        ("h0", "test", 0),
        ("n0", "train", 0),
        ("bad", "test", 1),
        ("n1", "train", 0),
        ("h1", "test", 0),
        ("n2", "train", 0),
    ]
    table = pd.DataFrame(rows, columns=["name", "split", "label"])
    table["content_hash"] = "#" + table["name"]
    table["image"] = table["split"] + "/" + table["name"] + ".png"
    return table


@pytest.fixture
def features(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path / "store", [*NORMAL, *HELD_OUT, "bad", *sorted(NEW)])


def bank_of(features: FeatureStore, **bpm: Any) -> ArrayBundle:
    """A memory bank of every patch that counts of the normal images."""
    masking = BackPatchMasking(**(BPM | bpm))
    return build_memory_bank(features, [f"#{n}" for n in NORMAL], masking, coreset_ratio=1)


@pytest.fixture
def bank(features: FeatureStore) -> ArrayBundle:
    return bank_of(features)


def naive(
    encoder: Any, name: str, num_neighbors: int = 1, **bpm: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Patch scores and nearest vectors of an image, both [N], in METHOD's words."""
    masking = BackPatchMasking(**(BPM | bpm))

    def counts(image: str) -> np.ndarray:
        return masking.foreground(torch.from_numpy(encoder.attention(image))[None])[0].numpy()

    vectors = np.concatenate([encoder.features(n)[counts(n)] for n in NORMAL])
    squares = cdist(encoder.features(name), vectors, "sqeuclidean")
    scores = np.sort(squares, axis=1)[:, :num_neighbors].mean(axis=1)
    kept = counts(name)
    return np.where(kept, scores, 0), np.where(kept, squares.argmin(axis=1), -1)


CATEGORY = {"name": "hex nut", "normal": ["hex nut"], "tested": None}
NO_BANK = ArrayBundle({}, {})


# --- list_new_images ----------------------------------------------------------------------------


def test_images_at_any_depth_are_listed_with_their_size(tmp_path: Path) -> None:
    for path, size in (("b.png", (8, 6)), ("line 2/deep/a.jpg", (10, 12))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(tmp_path / path)
    table = nodes.list_new_images(ImageFolder(str(tmp_path)), NO_BANK, CATEGORY)
    assert list(table["image"]) == ["b.png", "line 2/deep/a.jpg"]
    assert list(zip(table["width"], table["height"], strict=True)) == [(8, 6), (10, 12)]
    assert table["content_hash"].nunique() == 2
    assert set(table["split"]) == {"test"}


def test_a_folder_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"predict\.images: there is no file or folder "):
        nodes.list_new_images(ImageFolder(str(tmp_path / "none")), NO_BANK, CATEGORY)
    with pytest.raises(InputError, match=r"predict\.images: the folder .* holds no images"):
        nodes.list_new_images(ImageFolder(str(tmp_path)), NO_BANK, CATEGORY)


def test_new_images_are_read_by_the_banks_levels_and_odd_ones_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An image that is dark by the bank's levels stays dark."""
    pixels = np.linspace(0, 90, 48, dtype=np.uint16).reshape(6, 8)
    Image.fromarray(pixels).save(tmp_path / "dark.png")
    levels = {"hex nut": {"integer": [0, 4095], "floating": [0, 1]}}
    bank = ArrayBundle({}, {"levels": levels})
    table = nodes.list_new_images(ImageFolder(str(tmp_path)), bank, CATEGORY)
    assert table.loc[0, ["low", "high"]].tolist() == [0, 4095]
    assert table.loc[0, "content_hash"].endswith("@0..4095")
    assert "dark.png is nearly black" in caplog.text


# --- score_new_patches --------------------------------------------------------------------------


@pytest.mark.parametrize("num_neighbors", [1, 3])
@pytest.mark.parametrize("bpm", [{}, {"threshold": 0.3}, {"kernel_size": 3}, {"mode": "off"}])
def test_new_patches_are_scored_in_order_and_know_their_neighbour(
    bpm: dict[str, Any],
    num_neighbors: int,
    new_manifest: pd.DataFrame,
    features: FeatureStore,
    fake_encoder: Any,
) -> None:
    scoring = SCORING | {"num_neighbors": num_neighbors}
    bank = bank_of(features, **bpm)
    scored = nodes.score_new_patches(new_manifest, features, bank, BPM | bpm, scoring)
    expected = [naive(fake_encoder, name, num_neighbors, **bpm) for name in NEW]
    flat = {name: array.reshape(3, 20) for name, array in scored.arrays.items()}
    np.testing.assert_allclose(flat["patch_scores"], [scores for scores, _ in expected], rtol=1e-5)
    np.testing.assert_array_equal(flat["neighbors"], [nearest for _, nearest in expected])


@pytest.mark.parametrize("change", [{"mode": "soft"}, {"kernel_size": 3}, {"threshold": 0.3}])
def test_a_bank_of_other_patches_is_refused(
    change: dict[str, Any],
    new_manifest: pd.DataFrame,
    bank_images: pd.DataFrame,
    features: FeatureStore,
    bank: ArrayBundle,
) -> None:
    with pytest.raises(InputError, match=r"other masking \(bpm\)"):
        nodes.score_new_patches(new_manifest, features, bank, BPM | change, SCORING)
    with pytest.raises(InputError, match=r"other masking \(bpm\)"):
        nodes.calibrate(bank_images, features, bank, BPM | change, SCORING)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"weights_sha256": "1" * 64}, "weights"),
        ({"backbone": {"model": "other"}}, "backbone settings"),
        ({"preprocessing": {"crop": 65}}, "preprocessing"),
    ],
)
def test_a_bank_of_other_features_is_refused(
    header: dict[str, Any],
    named: str,
    new_manifest: pd.DataFrame,
    bank: ArrayBundle,
    fake_encoder: Any,
    tmp_path: Path,
) -> None:
    other = fake_encoder.store(tmp_path / "other", NEW, **header)
    with pytest.raises(InputError, match=f"made with other {named} than"):
        nodes.score_new_patches(new_manifest, other, bank, BPM, SCORING)


def test_the_search_is_the_one_asked_for(
    new_manifest: pd.DataFrame, features: FeatureStore, bank: ArrayBundle
) -> None:
    approximate = SCORING | {"search": "HNSW8"}
    scored = nodes.score_new_patches(new_manifest, features, bank, BPM, approximate)
    assert scored.metadata["search_recall"] is not None
    exact = nodes.score_new_patches(new_manifest, features, bank, BPM, SCORING)
    assert exact.metadata["search_recall"] is None
    with pytest.raises(InputError, match=r"scoring\.search"):
        nodes.score_new_patches(new_manifest, features, bank, BPM, SCORING | {"search": "Nope"})


# --- calibrate ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "top"), [(0.1, 2), (0.05, 1), (0.5, 10)])
@pytest.mark.parametrize("num_neighbors", [1, 3])
def test_held_out_normal_images_are_scored(
    num_neighbors: int,
    ratio: float,
    top: int,
    bank_images: pd.DataFrame,
    features: FeatureStore,
    bank: ArrayBundle,
    fake_encoder: Any,
) -> None:
    scoring = {
        "method": "uniformaly",
        "top_k_ratio": ratio,
        "num_neighbors": num_neighbors,
        "search": "Flat",
    }
    table = nodes.calibrate(bank_images, features, bank, BPM, scoring)
    assert list(table.columns) == ["image", "score"]
    assert list(table.index) == [0, 1]
    assert list(table["image"]) == ["test/h0.png", "test/h1.png"]
    expected = [
        np.sort(naive(fake_encoder, name, num_neighbors)[0])[-top:].mean() for name in HELD_OUT
    ]
    assert list(table["score"]) == pytest.approx(expected, rel=1e-5)


# --- judge_images -------------------------------------------------------------------------------


OF_NEW_IMAGES = {"images": images_digest(f"#{name}" for name in NEW)}


@pytest.fixture
def made() -> dict[str, Any]:
    """Three images with a high patch each; the bank holds a vector of each normal image."""
    grids = np.zeros((3, 4, 5), np.float32)
    neighbors = np.full((3, 4, 5), -1)
    for image, (row, column, high, low, vector) in enumerate(
        [(1, 2, 4.0, 0.0, 2), (3, 4, 9.0, 5.0, 0), (0, 1, 6.0, 6.0, 1)]
    ):
        grids[image, row, column], grids[image, 2, 0] = high, low
        neighbors[image, row, column] = vector
    hashes = np.array(["#n2", "#n0", "#n1"], "S").view(np.uint8).reshape(3, -1)
    bank = {
        "memory_bank": np.zeros((3, 8), np.float32),
        "image": np.array([0, 1, 2], np.int32),
        "patch": np.array([7, 19, 0], np.int32),
        "content_hashes": hashes,
    }
    return {
        "patch_scores": ArrayBundle({"patch_scores": grids, "neighbors": neighbors}, OF_NEW_IMAGES),
        "calibration_scores": pd.DataFrame({"image": list("xyz"), "score": [3.0, 5.0, 1.0]}),
        "memory_bank": ArrayBundle(bank),
        "preprocessing": PREPROCESSING,
        "top_k_ratio": 0.05,
        "false_alarm_rate": 0.25,
    }


@pytest.fixture
def judge(made: dict[str, Any], new_manifest: pd.DataFrame, bank_images: pd.DataFrame) -> Any:
    def run(**changes: Any) -> pd.DataFrame:
        given = {"images": new_manifest, "bank_images": bank_images}
        return nodes.judge_images(**(given | made | changes))

    return run


def test_images_that_few_normal_ones_outscore_are_flagged(judge: Any) -> None:
    table = judge()
    assert list(table["image"]) == ["line/a.png", "line/b.png", "line/c.png"]
    assert list(table["score"]) == [9.0, 6.0, 4.0]
    assert list(table["flagged"]) == [1, 1, 0]
    assert list(table["threshold"]) == [5.0] * 3
    assert list(table["p_value"]) == [0.25, 0.25, 0.5]
    # Centres of the patches (3, 4), (0, 1) and (1, 2).
    assert list(zip(table["x"], table["y"], strict=True)) == [(36, 28), (12, 4), (20, 12)]
    assert list(table["normal_image"]) == ["train/n2.png", "train/n0.png", "train/n1.png"]
    # Patches 7, 19 and 0 of those.
    assert list(table["normal_x"]) == [20, 36, 4]
    assert list(table["normal_y"]) == [12, 28, 4]


def test_the_share_of_patches_changes_scores_and_order(judge: Any) -> None:
    table = judge(top_k_ratio=0.1)
    assert list(table["image"]) == ["line/a.png", "line/b.png", "line/c.png"]
    assert list(table["score"]) == [7.0, 6.0, 2.0]
    assert list(judge(top_k_ratio=1.0)["score"]) == pytest.approx([0.7, 0.6, 0.2])


def test_the_rate_of_false_alarms_changes_the_threshold(judge: Any) -> None:
    table = judge(false_alarm_rate=0.5)
    assert list(table["threshold"]) == [3.0] * 3
    assert list(table["flagged"]) == [1, 1, 1]
    with pytest.raises(InputError, match=r"predict\.false_alarm_rate is 0\.2.* there are 3"):
        judge(false_alarm_rate=0.2)


def test_places_follow_the_preprocessing(judge: Any) -> None:
    # Padded by 4 pixels on the left and the right, 16 on the top and the bottom: patches are of
    # 16 x 9.6 pixels. The centre of one that shows the padding is moved to the image's edge.
    table = judge(preprocessing=PREPROCESSING | {"pad": [64, 48]})
    assert list(zip(table["x"], table["y"], strict=True)) == [(39, 31), (10, 0), (20, 8)]
    assert list(table["normal_y"]) == [24, 56, 8]


def test_only_train_images_are_named_as_normal_ones(judge: Any, bank_images: pd.DataFrame) -> None:
    copy = bank_images.iloc[[1]].assign(split="test", image="test/copy of n0.png")
    table = judge(bank_images=pd.concat([copy, bank_images, copy]))
    assert list(table["normal_image"]) == ["train/n2.png", "train/n0.png", "train/n1.png"]


# --- draw_heat_maps -----------------------------------------------------------------------------

COLOURS = {"a": (200, 0, 0), "b": (0, 200, 0), "c": (0, 0, 200), "train/n0": (0, 180, 180)}
RIM = (250, 250, 0)


def draw_images(root: Path, names: list[str], shift: int = 0) -> ImageFolder:
    """Images of one colour each with a rim of 8 pixels of another."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (56, 48), RIM)
        colour = tuple(part + shift for part in COLOURS[name.removeprefix("line/")])
        picture.paste(Image.new("RGB", (40, 32), colour), (8, 8))
        picture.save(root / f"{name}.png")
    return ImageFolder(str(root))


@pytest.fixture
def new_images(tmp_path: Path) -> ImageFolder:
    return draw_images(tmp_path / "new", [f"line/{name}" for name in NEW])


def scores_with(threshold: float) -> pd.DataFrame:
    """Decisions in another order than the images."""
    names = [f"line/{name}.png" for name in "abc"]
    return pd.DataFrame({"image": names, "threshold": threshold})


@pytest.fixture
def heat_maps(new_images: ImageFolder, new_manifest: pd.DataFrame) -> Any:
    grids = np.zeros((3, 4, 5), np.float32)
    grids[1] = 6.0  # of "a"
    grids[2, :, 4] = 6.0  # of "b", on its right

    def run(threshold: float = 0.5, **preprocessing: Any) -> dict[str, np.ndarray]:
        drawn = nodes.draw_heat_maps(
            new_images,
            new_manifest,
            ArrayBundle({"patch_scores": grids}, OF_NEW_IMAGES),
            scores_with(threshold),
            PREPROCESSING | preprocessing,
        )
        return {name: np.asarray(draw()).astype(int) for name, draw in drawn.items()}

    return run


def test_each_heat_map_lies_over_its_own_image(heat_maps: Any) -> None:
    drawn = heat_maps()
    assert list(drawn) == ["line/c", "line/a", "line/b"]
    assert all(picture.shape == (32, 40, 3) for picture in drawn.values())
    # No scores leave the image as it is.
    assert (drawn["line/c"] == COLOURS["c"]).all()
    # The brightest colour is a pale yellow, 85 % opaque.
    yellow = np.rint(np.array(COLOURS["a"]) * 0.15 + 0.85 * np.array([252, 255, 164]))
    assert np.abs(drawn["line/a"] - yellow).max() <= 2
    assert np.abs(drawn["line/b"][:, :8] - COLOURS["b"]).max() <= 8
    assert (drawn["line/b"][:, -1] != COLOURS["b"]).any()


def test_a_folder_of_sound_images_stays_dark(heat_maps: Any) -> None:
    """Scores far below the threshold are hardly seen."""
    assert np.abs(heat_maps(threshold=300.0)["line/a"] - COLOURS["a"]).max() < 10
    # Twice the threshold is the highest score: as before.
    assert (heat_maps(threshold=3.0)["line/a"] == heat_maps()["line/a"]).all()
    assert (heat_maps(threshold=4.0)["line/a"] != heat_maps()["line/a"]).any()


def test_heat_maps_are_as_large_as_the_encoder_sees_the_image(heat_maps: Any) -> None:
    whole = heat_maps(crop=[48, 56])["line/c"]
    assert whole.shape == (48, 56, 3)
    assert (whole[0, 0] == RIM).all()


def test_heat_maps_are_drawn_only_when_they_are_saved(
    new_images: ImageFolder, new_manifest: pd.DataFrame
) -> None:
    grids = ArrayBundle({"patch_scores": np.zeros((3, 4, 5), np.float32)}, OF_NEW_IMAGES)
    gone = ImageFolder(f"{new_images.root}/gone")
    drawn = nodes.draw_heat_maps(gone, new_manifest, grids, scores_with(1.0), PREPROCESSING)
    assert len(drawn) == 3
    with pytest.raises(InputError, match="is gone since"):
        drawn["line/a"]()


# --- draw_flagged -------------------------------------------------------------------------------


def pixels(image: GalleryImage, view: str) -> np.ndarray:
    """A view, decoded: int64 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(image.views[view]))).astype(int)


@pytest.fixture
def flagged(
    new_images: ImageFolder, new_manifest: pd.DataFrame, features: FeatureStore, tmp_path: Path
) -> Any:
    raw_images = draw_images(tmp_path / "raw", ["train/n0", "line/a", "line/b", "line/c"], 50)
    grids = np.zeros((3, 4, 5), np.float32)
    grids[1, 1, 1], grids[2, 2, 2] = 9.0, 6.0
    scores = pd.DataFrame(
        {
            "image": ["line/a.png", "line/b.png", "line/c.png"],
            "score": [9.0, 6.0, 0.0],
            "flagged": [1, 0, 0],
            "p_value": [0.25, 0.5, 1.0],
            "x": 12,
            "y": 12,
            "normal_image": ["train/n0.png", "train/n0.png", ""],
            "normal_x": 20,
            "normal_y": 12,
        }
    )

    def run(
        limit: int = 8,
        bpm: dict[str, Any] = BPM,
        threshold: float = 7.0,
        normal_hash: str = "#n0",
        **preprocessing: Any,
    ) -> list[GalleryImage]:
        return nodes.draw_flagged(
            new_images,
            raw_images,
            new_manifest,
            pd.DataFrame({"image": ["train/n0.png"], "content_hash": [normal_hash]}),
            features,
            ArrayBundle({"patch_scores": grids}, OF_NEW_IMAGES),
            scores.assign(threshold=threshold),
            PREPROCESSING | preprocessing,
            bpm,
            limit,
            {"name": "hex nut"},
        )

    return run


def test_pictures_are_held_to_what_was_scored(
    flagged: Any, new_manifest: pd.DataFrame, read_with: list[tuple[str, Any]]
) -> None:
    flagged()
    known = dict(zip(new_manifest["image"], new_manifest["content_hash"], strict=True))
    assert dict(read_with) == {**known, "train/n0.png": "#n0"}


def test_a_normal_image_that_has_changed_is_not_shown_for_what_it_was(
    flagged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changed = flagged(normal_hash="0" * 64)
    assert all("nearest_normal" in image.views for image in flagged()[:2])
    assert not any("nearest_normal" in image.views for image in changed)
    assert "train/n0.png has changed since its data set was read" in caplog.text


def test_the_highest_scores_are_drawn_first(flagged: Any) -> None:
    gallery = flagged()
    assert [image.image for image in gallery] == ["line/a.png", "line/b.png", "line/c.png"]
    assert [image.score for image in gallery] == [9.0, 6.0, 0.0]
    assert [image.verdict for image in gallery] == ["flagged", "passed", "passed"]
    assert {image.category for image in gallery} == {"hex nut"}
    for image, name in zip(gallery, "abc", strict=True):
        assert np.abs(pixels(image, "image") - COLOURS[name]).max() < 12
    # Only the last one has no anomaly.
    shown = [np.abs(pixels(i, "heat_map") - pixels(i, "image")).max() for i in gallery]
    assert min(shown[:2]) > 20 > shown[2]


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_no_more_images_are_drawn_than_asked_for(limit: int, flagged: Any) -> None:
    names = [image.image for image in flagged(limit)]
    assert names == ["line/a.png", "line/b.png", "line/c.png"][:limit]


def test_a_new_image_stands_above_the_normal_one(flagged: Any) -> None:
    first, _, last = flagged()
    pair = pixels(first, "nearest_normal")
    height = pair.shape[0]
    for rows, colour in ((pair[: height // 3], (200, 0, 0)), (pair[-20:], (50, 230, 230))):
        assert np.median(np.abs(rows - colour).max(axis=2)) < 12
    assert "train/n0.png at (20, 12)" in first.remark
    assert "nearest_normal" not in last.views


@pytest.mark.parametrize("bpm", [BPM, BPM | {"threshold": 0.3}, BPM | {"kernel_size": 3}])
def test_what_does_not_count_is_dimmed(
    bpm: dict[str, Any], flagged: Any, fake_encoder: Any
) -> None:
    for image, name in zip(flagged(bpm=bpm), "abc", strict=True):
        attention = torch.from_numpy(fake_encoder.attention(name))[None]
        kept = BackPatchMasking(**bpm).foreground(attention)[0].numpy().reshape(4, 5)
        view = pixels(image, "foreground")
        # The last column is dark in any case and far from the outline.
        assert np.abs(view[:, 36:] - np.array(COLOURS[name]) // 2).max() < 30
        centres = view[4::8, 4::8].max(axis=2)
        inner = kept & np.roll(kept, 1, axis=1)
        assert (centres[~kept] < 160).sum() >= (~kept).sum() - 8
        assert inner.sum() == 0 or np.median(centres[inner]) > 150
    off, binary = (flagged(bpm=BPM | {"mode": mode})[0] for mode in ("off", "binary"))
    assert pixels(off, "foreground").mean() > pixels(binary, "foreground").mean()


def test_views_are_as_the_encoder_sees_the_image(flagged: Any) -> None:
    view = pixels(flagged(crop=[48, 60])[0], "image")
    assert view.shape == (48, 60, 3)
    assert np.abs(view[3, 6] - RIM).max() < 30


@pytest.mark.parametrize(("threshold", "vmax"), [(7.0, 14.0), (1.0, 9.0)])
def test_the_colours_of_a_folder_have_one_scale(
    threshold: float, vmax: float, flagged: Any
) -> None:
    gallery = flagged(threshold=threshold)
    for image, name, (row, column, score) in zip(
        gallery, "ab", [(1, 1, 9.0), (2, 2, 6.0)], strict=False
    ):
        grid = np.zeros((4, 5), np.float32)
        grid[row, column] = score
        picture = np.full((32, 40, 3), COLOURS[name], np.uint8)
        expected = overlay_heat_map(picture, anomaly_map(grid, (4, 5), (32, 40)), vmax)
        assert image.views["heat_map"] == encode_jpeg(expected)


# --- summarise_prediction -----------------------------------------------------------------------


def test_flagged_images_are_counted() -> None:
    scores = pd.DataFrame({"flagged": [1, 1, 0, 0, 0], "threshold": np.float32(7.5)})
    calibration = pd.DataFrame({"image": list("abc"), "score": [1.0, 2.0, 7.5]})
    bank = ArrayBundle({"memory_bank": np.zeros((11, 8)), "image": np.zeros(4)})
    metrics = nodes.summarise_prediction(scores, calibration, bank, 0.25)
    assert metrics == {
        "num_images": 5,
        "num_flagged": 2,
        "threshold": 7.5,
        "false_alarm_rate": 0.25,
        "num_calibration": 3,
        "bank_size": 11,
    }
    assert json.loads(json.dumps(metrics)) == metrics
    assert nodes.summarise_prediction(scores, calibration, bank, 0.5)["false_alarm_rate"] == 0.5


# --- write_prediction_report --------------------------------------------------------------------

METRICS = {
    "num_images": 1234,
    "num_flagged": 17,
    "threshold": 6.789,
    "false_alarm_rate": 0.125,
    "num_calibration": 41,
    "bank_size": 98765,
}
TASK = {
    "title": "New images of nuts",
    "task": "predict",
    "command": "kedro run --pipelines=predict --params=x",
    "notes": ["The backbone is untrained.", "Few images."],
    "names": {"dataset": "nuts_and_bolts", "backbone": "tiny_vit", "run_key": "default"},
    "categories": {"hex_nut": {"name": "hex nut"}},
}
PARAMETERS = {
    "dataset": "nuts_and_bolts",
    "backbone": "tiny_vit",
    "seed": 4711,
    "reporting": {"gallery_images": 8},
    "run": {"predict": {"secret_plan": "only of this run"}},
}
SHOWN = GalleryImage(
    "line/new 7.png", "hex nut", "new", None, 9.0, 1, 9.0, {"image": b"seven"}, "highest at (1, 2)"
)


def report(**changes: Any) -> str:
    scores = pd.DataFrame(
        {
            "image": ["line/new 7.png", "line/new 8.png"],
            "score": [9.0, 2.5],
            "p_value": [0.125, 0.875],
            "flagged": [1, 0],
            "x": [11, 12],
            "y": [13, 14],
            "normal_image": ["train/n0.png", "train/n1.png"],
        }
    )
    given: dict[str, Any] = {
        "scores": scores,
        "calibration_scores": pd.DataFrame({"image": ["h0"], "score": [1.0]}),
        "metrics": METRICS,
        "gallery": [SHOWN],
        "parameters": PARAMETERS,
        "task": TASK,
        "category": {"name": "hex nut"},
    }
    return nodes.write_prediction_report(**(given | changes))


def test_a_report_says_what_was_done() -> None:
    page = report()
    for text in (
        "<title>New images of nuts: hex nut</title>",
        "<dt>Task</dt><dd>predict</dd>",
        "<dt>Data set</dt><dd>nuts_and_bolts</dd>",
        "<dt>Backbone</dt><dd>tiny_vit</dd>",
        "<dt>Memory bank</dt><dd>hex nut, 98,765 vectors</dd>",
        "<dt>Flagged</dt><dd>17 of 1,234 images</dd>",
        "<dt>False-alarm rate</dt><dd>at most 0.125</dd>",
        "<dt>Seed</dt><dd>4711</dd>",
        "kedro run --pipelines=predict --params=x</code>",
        "exceeds 6.789",
        "at most 0.125 are flagged",
        "scores of 41 normal images",
        "held-out normal (1)",
        "new (2)",
        "All 2 images",
        "highest at (1, 2)",
        'data-category="hex nut"',
    ):
        assert text in page
    assert page.index("The backbone is untrained.") < page.index("Few images.")
    for text in ("line/new 7.png", "line/new 8.png", "train/n1.png"):
        assert text in page


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("metrics", {"num_flagged": 18}, "18 of 1,234 images"),
        ("metrics", {"threshold": 5.4321}, "exceeds 5.432"),
        ("metrics", {"num_calibration": 42}, "scores of 42 normal images"),
        ("task", {"names": TASK["names"] | {"dataset": "gears"}}, "<dd>gears</dd>"),
        ("task", {"names": TASK["names"] | {"backbone": "large"}}, "<dd>large</dd>"),
        ("parameters", {"seed": 12}, "<dt>Seed</dt><dd>12</dd>"),
        ("task", {"title": "Gears"}, "<h1>Gears: hex nut</h1>"),
        ("task", {"command": "kedro run again"}, "kedro run again"),
        ("task", {"notes": ["Beware."]}, "Beware."),
        ("category", {"name": "gear wheel"}, "gear wheel, 98,765 vectors"),
    ],
)
def test_a_report_follows_what_it_is_given(name: str, change: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {
        "metrics": METRICS,
        "parameters": PARAMETERS,
        "task": TASK,
        "category": {"name": "hex nut"},
    }
    assert text not in report()
    assert text in report(**{name: given[name] | change})


def test_the_plan_of_a_run_is_no_parameter_of_its_report() -> None:
    before = deepcopy(PARAMETERS)
    page = report()
    assert "<code>reporting.gallery_images</code>" in page
    assert "secret_plan" not in page
    assert before == PARAMETERS


def test_a_report_without_images_says_so() -> None:
    assert "This run kept no images." in report(gallery=[])
    assert "This run kept no images." not in report()


# --- patch scores of an earlier run ---------------------------------------------------------------


def test_patch_scores_of_other_new_images_are_refused(
    judge: Any, new_manifest: pd.DataFrame, new_images: ImageFolder, made: dict[str, Any]
) -> None:
    """An image has changed since; by its number alone it would get the old one's score."""
    changed = new_manifest.replace({"content_hash": {"#a": "#new"}})
    with pytest.raises(InputError, match="of other images than those listed now"):
        judge(images=changed)
    with pytest.raises(InputError, match="of other images than those listed now"):
        nodes.draw_heat_maps(
            new_images, changed, made["patch_scores"], scores_with(1.0), PREPROCESSING
        )
