"""Nodes of the clustering stage: the right images, patches and numbers reach the groups."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.evaluation.clustering import FeatureChoice
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.pipelines.clustering import nodes
from uniformaly_pipeline.scoring.scores import images_digest

TESTED = [f"test {i}" for i in range(9)]
DEFECTS = ["good", "good", "dent", "good", "hole", "dent", "hole", "dent", "hole"]
# What the highest patch, the two highest and all patches say of each image: three groupings.
BY_MAX = [0, 0, 1, 0, 2, 1, 2, 1, 2]
BY_TOP_TWO = [0, 1, 1, 2, 2, 1, 0, 0, 2]
BY_ALL = [0, 0, 0, 1, 1, 1, 2, 2, 2]
NUM_PATCHES = 20


def code(group: int) -> np.ndarray:
    """A vector of 8 that stands for a group."""
    vector: np.ndarray = np.eye(8, dtype=np.float32)[group]
    return vector


def places_of(image: int) -> tuple[int, int]:
    """The highest patch of an image and the second highest."""
    return (3 * image + 1) % NUM_PATCHES, (7 * image + 4) % NUM_PATCHES


@pytest.fixture
def images() -> pd.DataFrame:
    """Test images with normal train images before, between and after them, in another index."""
    rows = [(f"{name}.png", "test", defect) for name, defect in zip(TESTED, DEFECTS, strict=True)]
    train = [(f"train {i}.png", "train", "good") for i in range(4)]
    rows = [*train[:2], *rows[:4], train[2], *rows[4:], train[3]]
    table = pd.DataFrame(rows, columns=["image", "split", "defect"])
    table["content_hash"] = "#" + table["image"].str.removesuffix(".png")
    return table.set_index(pd.RangeIndex(50, 50 + len(table)))


@pytest.fixture
def features(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    def features_of(name: str) -> np.ndarray:
        kind, _, number = name.partition(" ")
        if kind == "train":
            return np.full((NUM_PATCHES, 8), 1e6, np.float32)
        image = int(number)
        patches = np.tile(1e4 * code(BY_ALL[image]), (NUM_PATCHES, 1))
        highest, second = places_of(image)
        patches[highest] = code(BY_MAX[image])
        patches[second] = 100 * code(BY_TOP_TWO[image])
        return patches

    fake_encoder.features = features_of
    names = [*reversed(TESTED), *(f"train {i}" for i in range(4))]
    return fake_encoder.store(tmp_path / "store", names)


@pytest.fixture
def patch_scores(features: FeatureStore) -> ArrayBundle:
    grids = np.zeros((9, NUM_PATCHES), np.float32)
    for image, grid in enumerate(grids):
        highest, second = places_of(image)
        grid[highest], grid[second] = 5.0, 3.0
    metadata = {
        "images": images_digest(f"#{name}" for name in TESTED),
        "features": json.loads(features.header.to_json()),
    }
    return ArrayBundle({"patch_scores": grids.reshape(9, 4, 5)}, metadata)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What was to be embedded; the place of image i is (i, seed)."""
    seen: list[np.ndarray] = []

    def embed(chosen: np.ndarray, seed: int) -> np.ndarray:
        seen.append(chosen)
        return np.array([[i, seed] for i in range(len(chosen))], np.float32)

    monkeypatch.setattr(nodes, "embed_2d", embed)
    return seen


# --- cluster_images -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "ratio", "expected"),
    [
        ("max", 0.1, BY_MAX),
        ("max", 1.0, BY_MAX),
        ("top_k", 0.05, BY_MAX),
        ("top_k", 0.1, BY_TOP_TWO),
        ("top_k", 1.0, BY_ALL),
        ("all", 0.05, BY_ALL),
    ],
)
def test_test_images_are_grouped_by_the_patches_chosen(
    choice: FeatureChoice,
    ratio: float,
    expected: list[int],
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    embedded: list[np.ndarray],
) -> None:
    table = nodes.cluster_images(images, features, patch_scores, choice, ratio, seed=3)
    assert list(table.columns) == ["image", "defect", "cluster", "x", "y"]
    assert list(table.index) == list(range(9))
    assert list(table["image"]) == [f"{name}.png" for name in TESTED]
    assert list(table["defect"]) == DEFECTS
    assert list(table["cluster"]) == expected


def test_patch_scores_of_other_images_or_features_are_refused(
    images: pd.DataFrame, features: FeatureStore, patch_scores: ArrayBundle
) -> None:
    changed = images.replace({"content_hash": {f"#{TESTED[3]}": "#new"}})
    with pytest.raises(InputError, match="of other images than those listed now"):
        nodes.compare_features(changed, features, patch_scores, [0.1])
    patch_scores.metadata["features"]["weights_sha256"] = "1" * 64  # type: ignore[index]
    with pytest.raises(InputError, match="was made with other weights than this run's"):
        nodes.compare_features(images, features, patch_scores, [0.1])


def test_the_embedding_is_of_the_features_that_are_grouped(
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    embedded: list[np.ndarray],
) -> None:
    for seed in (3, 4):
        table = nodes.cluster_images(images, features, patch_scores, "top_k", 0.1, seed)
        assert list(table["x"]) == list(range(9))
        assert list(table["y"]) == [seed] * 9
    expected = [(code(a) + 100 * code(b)) / 2 for a, b in zip(BY_MAX, BY_TOP_TWO, strict=True)]
    np.testing.assert_allclose(embedded[0], expected)


def test_there_are_as_many_groups_as_kinds_of_test_images(
    images: pd.DataFrame,
    features: FeatureStore,
    patch_scores: ArrayBundle,
    embedded: list[np.ndarray],
) -> None:
    two_kinds = images.replace({"defect": {"hole": "dent"}})
    # A kind that only train images have makes no group.
    two_kinds.loc[50, "defect"] = "other"
    table = nodes.cluster_images(two_kinds, features, patch_scores, "max", 0.1, 0)
    assert table["cluster"].nunique() == 2


# --- compare_features ---------------------------------------------------------------------------


def rand_index(truth: list[str], found: list[int]) -> float:
    """The adjusted Rand index by its pairs."""
    pairs = [(i, j) for i in range(len(truth)) for j in range(i)]
    same_kind = [truth[i] == truth[j] for i, j in pairs]
    same_group = [found[i] == found[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(same_kind, same_group, strict=True))
    a, b = sum(same_kind), sum(same_group)
    expected = a * b / len(pairs)
    return (both - expected) / ((a + b) / 2 - expected)


def test_every_choice_of_features_has_the_metrics_of_its_grouping(
    images: pd.DataFrame, features: FeatureStore, patch_scores: ArrayBundle
) -> None:
    table = nodes.compare_features(images, features, patch_scores, [0.1, 0.05, 0.1239])
    assert list(table["value"]) == ["all", "max", "top 0.1", "top 0.05", "top 0.124"]
    assert set(table["parameter"]) == {"clustering.features"}
    assert set(table["draw"]) == {0}
    groupings = [BY_ALL, BY_MAX, BY_TOP_TWO, BY_MAX, BY_TOP_TWO]
    assert list(table["ari"]) == pytest.approx([rand_index(DEFECTS, g) for g in groupings])
    assert list(table["f1"])[1] == list(table["nmi"])[1] == 1.0
    assert (table.loc[[0, 2], ["nmi", "f1"]] < 1).all().all()
    # Detection is not compared here.
    assert table[["image_auroc", "pixel_auroc"]].isna().all().all()


def test_without_ratios_to_compare_all_and_the_highest_are_left(
    images: pd.DataFrame, features: FeatureStore, patch_scores: ArrayBundle
) -> None:
    table = nodes.compare_features(images, features, patch_scores, [])
    assert list(table["value"]) == ["all", "max"]


# --- add_cluster_metrics ------------------------------------------------------------------------


def test_metrics_of_clusters_join_those_of_detection() -> None:
    clusters = pd.DataFrame({"defect": ["good", "good", "dent", "dent"], "cluster": [0, 0, 1, 0]})
    detection = {"image_auroc": 0.75, "pixel_auroc": None}
    metrics = nodes.add_cluster_metrics(detection, clusters)
    entropy = math.log(4) - 0.75 * math.log(3)
    mutual = 0.5 * math.log(4 / 3) + 0.25 * math.log(2) + 0.25 * math.log(2 / 3)
    assert metrics == {
        "image_auroc": 0.75,
        "pixel_auroc": None,
        "nmi": pytest.approx(mutual / ((entropy + math.log(2)) / 2)),
        "ari": pytest.approx(rand_index(list(clusters["defect"]), [0, 0, 1, 0])),
        "f1": 0.75,
        "num_clusters": 2,
    }
    assert detection == {"image_auroc": 0.75, "pixel_auroc": None}


def test_clusters_are_counted_as_found_and_not_as_kinds() -> None:
    clusters = pd.DataFrame({"defect": ["good", "good", "good"], "cluster": [0, 1, 2]})
    assert nodes.add_cluster_metrics({}, clusters)["num_clusters"] == 3


# --- draw_clusters ------------------------------------------------------------------------------

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
RIM = (200, 0, 200)
CATEGORY = {"name": "hex nut"}
AS_IT_IS = {"resize": None, "crop": [40, 40], "pad": None, "interpolation": "nearest"}


@pytest.fixture
def raw_images(tmp_path: Path) -> ImageFolder:
    """Images of one colour each with a rim of another."""
    for number, colour in enumerate(COLOURS):
        picture = Image.new("RGB", (40, 40), RIM)
        picture.paste(Image.new("RGB", (24, 24), colour), (8, 8))
        picture.save(tmp_path / f"{number}.png")
    return ImageFolder(str(tmp_path))


CLUSTERS = pd.DataFrame(
    {
        "image": ["3.png", "1.png", "0.png", "2.png"],
        "defect": ["dent", "good", "dent", "good"],
        "cluster": [1, 0, 1, 1],
        "x": [0.0, 1.0, 2.0, 3.0],
        "y": [9.0, 7.0, 5.0, 3.0],
    }
)
IMAGES = CLUSTERS.assign(content_hash="#")


def heights_of(sheet: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows of pixels that show a colour."""
    rows: np.ndarray = np.unique(np.nonzero((np.asarray(sheet) == colour).all(axis=2))[0])
    return rows


def test_a_sheet_shows_the_images_of_each_cluster(raw_images: ImageFolder) -> None:
    _, sheet = nodes.draw_clusters(raw_images, IMAGES, CLUSTERS, AS_IT_IS, 8, CATEGORY)
    first, *second = (heights_of(sheet, COLOURS[number]) for number in (1, 3, 0, 2))
    assert first.size
    assert all(rows.size and rows.min() > first.max() for rows in second)


def test_images_are_shown_as_the_encoder_sees_them(raw_images: ImageFolder) -> None:
    _, whole = nodes.draw_clusters(raw_images, IMAGES, CLUSTERS, AS_IT_IS, 8, CATEGORY)
    cropped = AS_IT_IS | {"crop": [24, 24]}
    _, sheet = nodes.draw_clusters(raw_images, IMAGES, CLUSTERS, cropped, 8, CATEGORY)
    assert heights_of(whole, RIM).size
    assert not heights_of(sheet, RIM).size
    assert all(heights_of(sheet, colour).size for colour in COLOURS)


@pytest.mark.parametrize(("limit", "shown"), [(3, 4), (1, 2), (0, 0)])
def test_of_a_cluster_no_more_images_are_shown_than_asked_for(
    limit: int, shown: int, raw_images: ImageFolder
) -> None:
    _, sheet = nodes.draw_clusters(raw_images, IMAGES, CLUSTERS, AS_IT_IS, limit, CATEGORY)
    assert sum(heights_of(sheet, colour).size > 0 for colour in COLOURS) == shown


def test_the_map_shows_kinds_left_and_clusters_right_at_the_places_given(
    raw_images: ImageFolder,
) -> None:
    figure, _ = nodes.draw_clusters(raw_images, IMAGES, CLUSTERS, AS_IT_IS, 8, CATEGORY)
    assert figure.get_suptitle() == "hex nut"
    drawn = [
        {group.get_label(): np.asarray(group.get_offsets()).tolist() for group in axes.collections}
        for axes in figure.axes
    ]
    assert drawn == [
        {"dent": [[0, 9], [2, 5]], "good": [[1, 7], [3, 3]]},
        {"cluster 0": [[1, 7]], "cluster 1": [[0, 9], [2, 5], [3, 3]]},
    ]
