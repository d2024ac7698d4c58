"""Nodes of the sweep stage: every parameter counts, and every setting is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.turns import turns_of
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.pipelines.sweep import nodes
from uniformaly_pipeline.scoring.scores import anomaly_map

NORMAL = [f"normal {i}" for i in range(6)]
TESTED = [f"tested {i}" for i in range(8)]
LABELS = [0, 1, 1, 0, 1, 0, 1, 0]
DEFECTS = ["good" if label == 0 else f"kind {i % 2}" for i, label in enumerate(LABELS)]
HASHES = [f"#{name}" for name in TESTED]
SIZE = (16, 20)
NUM_PATCHES = 20
NO_ABLATION: dict[str, list[Any]] = {
    name: []
    for name in (
        "top_k_ratio",
        "kernel_size",
        "threshold",
        "mode",
        "features",
        "coreset_ratio",
        "layers",
    )
}
PARAMETERS: dict[str, Any] = {
    "dataset": "nuts",
    "backbone": "small",
    "seed": 3,
    "backbones": {"small": {"layers": [3, 2, 3]}, "large": {"layers": [5]}},
    "datasets": {
        "nuts": {"preprocessing": {"resize": None, "crop": SIZE}},
        "bolts": {"preprocessing": {"resize": None, "crop": [32, 40]}},
    },
    "encoder": {"device": "cpu"},
    "bpm": {"mode": "binary", "kernel_size": 1, "threshold": 0.05},
    "memory_bank": {
        "coreset_ratio": 0.3,
        "multiclass_coreset_ratio": None,
        "projection_dim": 4,
        "num_starts": 2,
        "coreset_parts": 3,
    },
    "scoring": {"method": "uniformaly", "top_k_ratio": 0.1, "num_neighbors": 2, "search": "Flat"},
    "evaluation": {"mask_threshold": 1.0, "aupro_limit": 0.3},
    "clustering": {"features": "top_k", "compared_ratios": [0.05]},
    "lowshot": {"shots": [2, "all"], "num_draws": 2, "rotations": 1},
    "ablation": NO_ABLATION | {"top_k_ratio": [0.25]},
    "run": {"unrelated": True},
}
EXACT = {"memory_bank.coreset_ratio": 1.0}
"""Every patch in the memory bank: no coreset."""


def changed(**dotted: Any) -> dict[str, Any]:
    """The parameters with some changed; dots are written as two underscores."""
    parameters = deepcopy(PARAMETERS)
    for key, value in dotted.items():
        *above, last = key.replace("__", ".").split(".")
        within = parameters
        for part in above:
            within = within[part]
        assert last in within
        within[last] = value
    return parameters


@pytest.fixture(autouse=True)
def grey_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Greys of the masks count as they are, in place of those that resizing makes of edges."""

    def read(folder: ImageFolder, path: str, _: str | None = None) -> Image.Image:
        return Image.open(f"{folder.root}/{path}")

    monkeypatch.setattr(ImageFolder, "read_mask", read)


@pytest.fixture
def images() -> pd.DataFrame:
    """Normal and tested images, in turns."""
    rows = [(name, "train", 0, "good") for name in NORMAL]
    rows += [(n, "test", label, d) for n, label, d in zip(TESTED, LABELS, DEFECTS, strict=True)]
    table = pd.DataFrame(rows, columns=["name", "split", "label", "defect"])
    table["content_hash"] = "#" + table["name"]
    table["mask"] = [f"{n}.png" if label else None for n, _, label, _ in rows]
    table["mask_hash"] = None
    order = [6, 0, 7, 8, 1, 2, 9, 10, 3, 11, 4, 12, 5, 13]
    return table.iloc[order]


@pytest.fixture
def raw_images(tmp_path: Path) -> ImageFolder:
    """Masks whose rim is more than half anomalous."""
    for number, (name, label) in enumerate(zip(TESTED, LABELS, strict=True)):
        if label:
            mask = np.zeros(SIZE, np.uint8)
            mask[3:11, 2 : 8 + number] = 150
            mask[4:9, 2 : 6 + number] = 255
            Image.fromarray(mask).save(tmp_path / f"{name}.png")
    return ImageFolder(str(tmp_path))


@pytest.fixture
def features(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path / "store", [*TESTED, *NORMAL])


@pytest.fixture
def layered(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    """The first half of each feature is of the blocks 2 and 3, the other of block 5."""
    choices = [[2, 3], [5]]
    return fake_encoder.store(tmp_path / "layered", [*TESTED, *NORMAL], layer_choices=choices)


Sweep = Callable[..., pd.DataFrame]


@pytest.fixture
def ablation(raw_images: ImageFolder, images: pd.DataFrame, features: FeatureStore) -> Sweep:
    """The ablation's table with some parameters changed."""

    def run(has_clusters: bool = True, store: FeatureStore = features, **dotted: Any) -> Any:
        return nodes.sweep_ablation(raw_images, images, store, changed(**dotted), has_clusters)

    return run


@pytest.fixture
def shots(raw_images: ImageFolder, images: pd.DataFrame, features: FeatureStore) -> Sweep:
    """The table over numbers of images with some parameters changed."""

    def run(**dotted: Any) -> pd.DataFrame:
        return nodes.sweep_shots(raw_images, images, features, changed(**dotted))

    return run


# --- plain formulas -----------------------------------------------------------------------------


def grids_of(
    encoder: Any, bank: np.ndarray, masking: BackPatchMasking, num_neighbors: int
) -> np.ndarray:
    """Patch scores of the tested images [B, N] in METHOD's words."""
    grids = []
    for name in TESTED:
        squares = np.sort(cdist(encoder.features(name), bank, "sqeuclidean"), axis=1)
        scores = squares[:, :num_neighbors].mean(axis=1)
        attention = torch.from_numpy(encoder.attention(name))[None]
        grids.append(np.where(masking.foreground(attention)[0].numpy(), scores, 0.0))
    return np.stack(grids)


def image_auroc(grids: np.ndarray, top: int) -> float:
    """AUROC of the mean of the ``top`` highest patches."""
    return float(roc_auc_score(LABELS, np.sort(grids, axis=1)[:, -top:].mean(axis=1)))


def pixel_auroc(grids: np.ndarray, lowest: int, folder: ImageFolder) -> float:
    """AUROC of pixels, anomalous where the mask is at least ``lowest`` of 255."""
    masks = []
    for name, label in zip(TESTED, LABELS, strict=True):
        path = Path(folder.root) / f"{name}.png"
        masks.append(np.asarray(Image.open(path)) >= lowest if label else np.zeros(SIZE, bool))
    maps = [anomaly_map(grid.astype(np.float32), (4, 5), SIZE) for grid in grids]
    return float(roc_auc_score(np.ravel(masks), np.ravel(maps)))


def normal_foreground(encoder: Any, names: Sequence[str], masking: BackPatchMasking) -> np.ndarray:
    """Features of the patches that count of normal images [M, D]."""
    kept = [
        encoder.features(name)[
            masking.foreground(torch.from_numpy(encoder.attention(name))[None])[0].numpy()
        ]
        for name in names
    ]
    return np.concatenate(kept)


# --- sweep_ablation -----------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "lowest"), [(1.0, 255), (0.5, 128)])
def test_metrics_are_those_of_the_plain_formulas(
    threshold: float, lowest: int, ablation: Sweep, fake_encoder: Any, raw_images: ImageFolder
) -> None:
    table = ablation(memory_bank__coreset_ratio=1, evaluation__mask_threshold=threshold)
    masking = BackPatchMasking("binary", 1, 0.05)
    bank = normal_foreground(fake_encoder, NORMAL, masking)
    grids = grids_of(fake_encoder, bank, masking, num_neighbors=2)
    assert list(table["value"]) == ["0.1", "0.25"]
    assert list(table["bank_size"]) == [len(bank)] * 2
    assert 0 < len(bank) < 6 * NUM_PATCHES
    assert list(table["image_auroc"]) == pytest.approx([image_auroc(grids, k) for k in (2, 5)])
    assert list(table["pixel_auroc"]) == pytest.approx(
        [pixel_auroc(grids, lowest, raw_images)] * 2, abs=1e-6
    )


def test_a_coreset_is_that_of_the_memory_banks_parameters(
    ablation: Sweep, features: FeatureStore, fake_encoder: Any, raw_images: ImageFolder
) -> None:
    masking = BackPatchMasking("binary", 1, 0.05)
    bank = build_memory_bank(
        features,
        [f"#{name}" for name in NORMAL],
        masking,
        coreset_ratio=0.3,
        projection_dim=4,
        num_starts=2,
        coreset_parts=3,
        seed=3,
        device="cpu",
    ).arrays["memory_bank"]
    grids = grids_of(fake_encoder, bank, masking, num_neighbors=2)
    table = ablation()
    assert list(table["bank_size"]) == [len(bank)] * 2
    assert list(table["image_auroc"]) == pytest.approx([image_auroc(grids, k) for k in (2, 5)])
    assert table["pixel_auroc"][0] == pytest.approx(pixel_auroc(grids, 255, raw_images), abs=1e-6)


@pytest.mark.parametrize(("choice", "patches"), [("top_k", [2, 5]), ("all", [20, 20])])
def test_tested_images_are_grouped_as_the_run_would(
    choice: str, patches: list[int], ablation: Sweep, fake_encoder: Any
) -> None:
    table = ablation(memory_bank__coreset_ratio=1, clustering__features=choice)
    masking = BackPatchMasking("binary", 1, 0.05)
    grids = grids_of(fake_encoder, normal_foreground(fake_encoder, NORMAL, masking), masking, 2)
    expected = []
    for k in patches:
        highest = np.argsort(-grids, axis=1, kind="stable")[:, :k]
        chosen = [fake_encoder.features(n)[h].mean(0) for n, h in zip(TESTED, highest, strict=True)]
        found = KMeans(3, n_init=10, random_state=42).fit_predict(np.stack(chosen))
        expected.append(adjusted_rand_score(DEFECTS, found))
    assert list(table["ari"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"dataset": "bolts"},
        {"datasets__nuts__preprocessing": {"resize": None, "crop": [32, 40]}},
        {"bpm__mode": "off"},
        {"bpm__kernel_size": 3},
        {"bpm__threshold": 0.3},
        {"memory_bank__coreset_ratio": 0.5},
        {"memory_bank__projection_dim": 2},
        {"memory_bank__num_starts": 4},
        {"memory_bank__coreset_parts": 1},
        {"scoring__top_k_ratio": 0.5},
        {"scoring__num_neighbors": 1},
        {"evaluation__mask_threshold": 0.5},
        {"clustering__features": "all"},
        {"ablation": NO_ABLATION | {"top_k_ratio": [0.3]}},
        {"ablation": NO_ABLATION | {"kernel_size": [3]}},
        {"scoring__method": "patchcore"},
        {"ablation": NO_ABLATION | {"method": ["padim"]}},
    ],
    ids="-".join,
)
def test_every_parameter_of_an_ablation_counts(change: dict[str, Any], ablation: Sweep) -> None:
    assert not ablation(**change).equals(ablation())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scoring__search": "Nonsense"}, InputError, "scoring.search"),
        ({"scoring__num_neighbors": 500}, InputError, "scoring.num_neighbors"),
        ({"encoder__device": "nonsense"}, InputError, "encoder.device: 'nonsense' is no device"),
        (
            {"datasets__nuts__preprocessing": {"resize": None, "crop": None}},
            InputError,
            "preprocessing",
        ),
    ],
)
@pytest.mark.parametrize("sweep", ["ablation", "shots"])
def test_a_sweep_refuses_what_it_cannot_use(
    sweep: str,
    change: dict[str, Any],
    error: type[Exception],
    message: str,
    request: pytest.FixtureRequest,
) -> None:
    with pytest.raises(error, match=message):
        request.getfixturevalue(sweep)(**change)


@pytest.mark.parametrize(
    ("name", "values", "key", "tried"),
    [
        # The run's own value is always among those compared, numbers in order.
        ("top_k_ratio", [0.5, 0.05], "scoring.top_k_ratio", ["0.05", "0.1", "0.5"]),
        ("top_k_ratio", [0.5, 0.1], "scoring.top_k_ratio", ["0.1", "0.5"]),
        ("kernel_size", [5, 3], "bpm.kernel_size", ["1", "3", "5"]),
        ("threshold", [0.2, 0.01], "bpm.threshold", ["0.01", "0.05", "0.2"]),
        ("mode", ["soft", "off"], "bpm.mode", ["binary", "soft", "off"]),
        ("mode", ["soft", "binary"], "bpm.mode", ["soft", "binary"]),
        ("features", ["max"], "clustering.features", ["top_k", "max"]),
        ("coreset_ratio", [1, 0.2], "memory_bank.coreset_ratio", ["0.2", "0.3", "1"]),
    ],
)
def test_every_value_is_tried_and_the_runs_own(
    name: str, values: list[Any], key: str, tried: list[str], ablation: Sweep
) -> None:
    table = ablation(ablation=NO_ABLATION | {name: values})
    assert set(table["parameter"]) == {key}
    assert list(table["value"]) == tried


def test_a_value_tried_equals_a_run_with_it(ablation: Sweep) -> None:
    """The row of a value is the row of the run's own value where the run has that one."""
    for key, name, value in (
        ("scoring__top_k_ratio", "top_k_ratio", 0.5),
        ("bpm__kernel_size", "kernel_size", 3),
        ("bpm__threshold", "threshold", 0.3),
        ("bpm__mode", "mode", "soft"),
        ("clustering__features", "features", "all"),
        ("memory_bank__coreset_ratio", "coreset_ratio", 0.6),
    ):
        tried = NO_ABLATION | {name: [value]}
        table = ablation(ablation=tried)
        row = table[table["value"] == str(value)].reset_index(drop=True)
        own = ablation(ablation=tried, **{key: value})
        assert len(row) == len(own) == 1
        pd.testing.assert_frame_equal(row, own)


def test_parameters_are_tried_in_the_order_given_and_empty_lists_left_out(ablation: Sweep) -> None:
    table = ablation(ablation=NO_ABLATION | {"threshold": [0.05], "top_k_ratio": [0.1]})
    assert list(table["parameter"]) == ["scoring.top_k_ratio", "bpm.threshold"]
    assert ablation(ablation=NO_ABLATION).empty


def test_where_images_are_not_grouped_no_features_are_tried(ablation: Sweep) -> None:
    tried = NO_ABLATION | {"features": ["all", "max"], "threshold": [0.05]}
    table = ablation(has_clusters=False, ablation=tried)
    assert list(table["parameter"]) == ["bpm.threshold"]
    assert table[["nmi", "ari", "f1"]].isna().all().all()
    assert table["image_auroc"].notna().all()
    assert "clustering.features" in set(ablation(ablation=tried)["parameter"])


def test_blocks_are_tried_and_those_of_the_runs_backbone(
    ablation: Sweep, layered: FeatureStore, fake_encoder: Any
) -> None:
    tried = NO_ABLATION | {"layers": [[5]]}
    table = ablation(ablation=tried, store=layered, memory_bank__coreset_ratio=1)
    assert list(table["parameter"]) == ["backbone.layers"] * 2
    assert list(table["value"]) == ["2 3", "5"]
    masking = BackPatchMasking("binary", 1, 0.05)
    whole = fake_encoder.features
    for row, part in enumerate((slice(0, 4), slice(4, 8))):
        fake_encoder.features = lambda name, part=part: whole(name)[:, part]
        bank = normal_foreground(fake_encoder, NORMAL, masking)
        assert table["image_auroc"][row] == image_auroc(grids_of(fake_encoder, bank, masking, 2), 2)
    alone = ablation(ablation=tried, store=layered, backbone="large")
    assert list(alone["value"]) == ["5"]


def test_other_parameters_are_tried_with_the_blocks_of_the_runs_backbone(
    ablation: Sweep, layered: FeatureStore
) -> None:
    tried = NO_ABLATION | {"top_k_ratio": [0.1]}
    blocks = NO_ABLATION | {"layers": [[2, 3], [5]]}
    of_blocks = ablation(ablation=blocks, store=layered).set_index("value")["pixel_auroc"]
    for backbone, value in (("small", "2 3"), ("large", "5")):
        table = ablation(ablation=tried, store=layered, backbone=backbone)
        assert list(table["pixel_auroc"]) == [of_blocks[value]]
    assert of_blocks["2 3"] != of_blocks["5"]


def test_the_same_blocks_in_another_order_are_tried_once(
    ablation: Sweep, layered: FeatureStore
) -> None:
    tried = NO_ABLATION | {"layers": [[3, 2], [5]]}
    assert list(ablation(ablation=tried, store=layered)["value"]) == ["2 3", "5"]


def test_without_masks_there_are_no_pixel_metrics(
    raw_images: ImageFolder, images: pd.DataFrame, features: FeatureStore
) -> None:
    images = images.assign(mask=pd.Series(None, index=images.index, dtype="string"))
    for table in (
        nodes.sweep_ablation(raw_images, images, features, PARAMETERS, True),
        nodes.sweep_shots(raw_images, images, features, PARAMETERS),
    ):
        assert table["pixel_auroc"].isna().all()
        assert table["image_auroc"].notna().all()


def test_an_anomalous_image_without_a_mask_is_left_out_of_pixel_metrics(
    raw_images: ImageFolder, images: pd.DataFrame, features: FeatureStore
) -> None:
    """As if it were not tested, but for the image metrics."""
    bare = images.assign(mask=images["mask"].where(images["name"] != "tested 2", None))
    without = images[images["name"] != "tested 2"]
    found, expected = (
        nodes.sweep_ablation(raw_images, table, features, PARAMETERS, False)["pixel_auroc"]
        for table in (bare, without)
    )
    assert found.tolist() == pytest.approx(expected.tolist())
    every = nodes.sweep_ablation(raw_images, images, features, PARAMETERS, False)["pixel_auroc"]
    assert every.tolist() != pytest.approx(expected.tolist())


# --- sweep_shots --------------------------------------------------------------------------------


def test_each_number_of_images_is_drawn_and_all_are_taken_once(
    shots: Sweep, fake_encoder: Any, raw_images: ImageFolder
) -> None:
    table = shots(
        lowshot__shots=[2, 5, 6, 50, "all"],
        lowshot__num_draws=3,
        memory_bank__coreset_ratio=1,
        bpm__mode="off",
    )
    assert set(table["parameter"]) == {"lowshot.shots"}
    assert list(table["value"]) == ["2"] * 3 + ["5"] * 3 + ["all"]
    assert list(table["draw"]) == [0, 1, 2, 0, 1, 2, 0]
    assert list(table["bank_size"]) == [40] * 3 + [100] * 3 + [120]
    assert table[["nmi", "ari", "f1"]].isna().all().all()
    off = BackPatchMasking("off")
    for row in table.itertuples():
        order = np.random.default_rng([3, row.draw]).permutation(6)
        drawn = [NORMAL[i] for i in (order if row.value == "all" else order[: int(row.value)])]
        grids = grids_of(fake_encoder, normal_foreground(fake_encoder, drawn, off), off, 2)
        assert row.image_auroc == pytest.approx(image_auroc(grids, 2))
        assert row.pixel_auroc == pytest.approx(pixel_auroc(grids, 255, raw_images), abs=1e-6)


def test_of_few_images_all_turns_are_in_the_bank(
    raw_images: ImageFolder, images: pd.DataFrame, fake_encoder: Any, tmp_path: Path
) -> None:
    turned = [turn.key(name) for name in NORMAL for turn in turns_of(3)]
    store = fake_encoder.store(tmp_path / "turned", [*TESTED, *NORMAL, *turned])
    changes = {"memory_bank__coreset_ratio": 1, "bpm__mode": "off"}
    table = nodes.sweep_shots(raw_images, images, store, changed(lowshot__rotations=3, **changes))
    assert list(table["bank_size"]) == [2 * 3 * 20] * 2 + [6 * 20]
    for row in table[:2].itertuples():
        drawn = [NORMAL[i] for i in np.random.default_rng([3, row.draw]).permutation(6)[:2]]
        views = [view for name in drawn for view in (name, *(t.key(name) for t in turns_of(3)))]
        bank = np.concatenate([fake_encoder.features(view) for view in views])
        grids = grids_of(fake_encoder, bank, BackPatchMasking("off"), 2)
        assert row.image_auroc == pytest.approx(image_auroc(grids, 2))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"dataset": "bolts"},
        {"datasets__nuts__preprocessing": {"resize": None, "crop": [32, 40]}},
        {"bpm__mode": "off"},
        {"bpm__kernel_size": 3},
        {"bpm__threshold": 0.3},
        {"memory_bank__coreset_ratio": 0.5},
        {"memory_bank__projection_dim": 2},
        {"memory_bank__num_starts": 4},
        {"memory_bank__coreset_parts": 1},
        {"scoring__top_k_ratio": 0.5},
        {"scoring__num_neighbors": 1},
        {"scoring__method": "anomalydino"},
        {"evaluation__mask_threshold": 0.5},
        {"lowshot__shots": [3, "all"]},
        {"lowshot__shots": [2]},
        {"lowshot__num_draws": 1},
    ],
    ids="-".join,
)
def test_every_parameter_of_the_numbers_of_images_counts(
    change: dict[str, Any], shots: Sweep
) -> None:
    assert not shots(**change).equals(shots())


def test_all_images_are_the_runs_own_setting(shots: Sweep, ablation: Sweep) -> None:
    metrics = ["bank_size", "image_auroc", "pixel_auroc"]
    own = ablation(ablation=NO_ABLATION | {"top_k_ratio": [0.1]})
    assert list(shots()[metrics].iloc[-1]) == list(own[metrics].iloc[0])


# --- summarise_categories -----------------------------------------------------------------------


def sweep_of(*rows: tuple[str, int, float]) -> pd.DataFrame:
    """A category's table of AUROC by value and draw."""
    table = pd.DataFrame(rows, columns=["value", "draw", "image_auroc"])
    empty = dict.fromkeys(("pixel_auroc", "nmi", "ari", "f1"), float("nan"))
    return table.assign(parameter="lowshot.shots", bank_size=1, **empty)


TASK: dict[str, Any] = {
    "spread": "draws",
    "categories": {"hex_nut": {"name": "hex nut"}, "bolt": {"name": "bolt"}},
}
TABLES = {
    # In another order than the task's categories.
    "sweep_metrics_bolt": sweep_of(("1", 0, 0.7), ("1", 1, 0.9)),
    "sweep_metrics_hex_nut": sweep_of(("1", 0, 0.1), ("1", 1, 0.5), ("all", 0, 0.75)),
}


@pytest.mark.parametrize(
    ("spread", "expected"),
    # Of the draws' means 0.4 and 0.7, and of the categories' 0.8 and 0.3.
    [("draws", 0.15), ("categories", 0.25)],
)
def test_settings_are_averaged_over_categories(spread: str, expected: float) -> None:
    summary = nodes.summarise_categories(TASK | {"spread": spread}, **TABLES)
    assert list(summary["value"]) == ["1", "all"]
    assert list(summary["num_categories"]) == [2, 1]
    assert list(summary["image_auroc"]) == pytest.approx([0.55, 0.75])
    assert list(summary["image_auroc_std"]) == pytest.approx([expected, 0.0])


def test_only_the_tasks_categories_are_averaged_and_none_may_lack() -> None:
    alone = TASK | {"categories": {"bolt": {"name": "bolt"}}}
    summary = nodes.summarise_categories(alone, **TABLES)
    assert list(summary["image_auroc"]) == pytest.approx([0.8])
    more = TASK | {"categories": {"gear": {"name": "gear"}}}
    with pytest.raises(KeyError, match="sweep_metrics_gear"):
        nodes.summarise_categories(more, **TABLES)


# --- draw_sweep ---------------------------------------------------------------------------------


def test_metrics_are_drawn_against_their_values() -> None:
    figure = nodes.draw_sweep(nodes.summarise_categories(TASK, **TABLES))
    (curve,) = figure.data
    assert list(curve.x) == ["1", "all"]
    assert list(curve.y) == pytest.approx([0.55, 0.75])
    assert list(curve.error_y.array) == pytest.approx([0.15, 0.0])
