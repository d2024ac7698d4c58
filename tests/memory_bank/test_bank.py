"""The memory bank: which normal patches are kept."""

from __future__ import annotations

import json
import weakref
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.features import encoder
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore, StoreHeader
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.memory_bank import bank as bank_module
from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.memory_bank.bank import (
    _joined,
    bank_images,
    build_memory_bank,
    check_same_features,
    choose_coreset,
    choose_points,
    collect_candidates,
)
from uniformaly_pipeline.memory_bank.coreset import (
    greedy_coreset,
    random_projection,
    random_starts,
    two_round_coreset,
)

NAMES = [f"image {number}" for number in range(6)]
HASHES = [f"#{name}" for name in NAMES]
MASKING = BackPatchMasking(kernel_size=1, threshold=0.2)


@pytest.fixture
def store(fake_encoder: Any, tmp_path: Path) -> FeatureStore:
    return fake_encoder.store(tmp_path, NAMES, masking=MASKING)


def rows(array: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in array}


def test_ratio_1_keeps_the_foreground_of_the_images_given_and_nothing_else(
    store: FeatureStore,
) -> None:
    bank = build_memory_bank(store, HASHES[:4], MASKING, coreset_ratio=1.0).arrays["memory_bank"]
    assert (bank == store.load(HASHES[:4], MASKING).features).all()
    assert 0 < len(bank) < 4 * 20


def test_a_coreset_keeps_a_share_of_different_vectors_as_they_are(store: FeatureStore) -> None:
    every = store.load(HASHES, MASKING).features
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3).arrays["memory_bank"]
    assert bank.shape == (int(0.3 * len(every)), 8)
    assert len(rows(bank)) == len(bank)
    assert rows(bank) <= rows(every)


def test_the_seed_alone_decides(store: FeatureStore) -> None:
    banks = [
        build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.2, projection_dim=3, seed=seed)
        for seed in (1, 1, 2)
    ]
    first, again, other = (bank.arrays["memory_bank"] for bank in banks)
    assert (first == again).all()
    assert rows(first) != rows(other)


@pytest.mark.parametrize("projection_dim", [4, 8])
def test_the_coreset_is_chosen_in_the_projected_space(
    store: FeatureStore, projection_dim: int
) -> None:
    features = store.load(HASHES, MASKING).features
    size = int(0.25 * len(features))
    points = features
    if projection_dim < features.shape[1]:
        points = features @ random_projection(features.shape[1], projection_dim, seed=5).T
    kept = greedy_coreset(points, size, random_starts(len(points), 10, seed=5))
    at_hand = choose_coreset(features, 0.25, projection_dim=projection_dim, seed=5)
    assert (at_hand == kept).all()
    bank = build_memory_bank(
        store, HASHES, MASKING, coreset_ratio=0.25, projection_dim=projection_dim, seed=5
    )
    assert (bank.arrays["memory_bank"] == features[kept]).all()


def test_a_coreset_in_two_rounds_states_its_bound(store: FeatureStore) -> None:
    every = store.load(HASHES, MASKING).features
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3, coreset_parts=3)
    assert len(rows(bank.arrays["memory_bank"])) == int(0.3 * len(every))
    assert bank.metadata["covering_radius_bound"] >= bank.metadata["covering_radius"] > 0
    one = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3)
    assert one.metadata["covering_radius_bound"] is None


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("ratio", "mode"), [(0.1, "binary"), (0.3, "soft"), (1.0, "binary")])
def test_every_bank_states_its_covering_radius_among_the_features(
    ratio: float,
    mode: Any,
    parts: int,
    fake_encoder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Chosen in a space of its own and read in blocks, but measured in that of the features.
    monkeypatch.setattr(bank_module, "IMAGES_AT_ONCE", 2)
    store, masking = fake_encoder.store(tmp_path, NAMES), BackPatchMasking(mode, 1, 0.2)
    bank = build_memory_bank(
        store, HASHES, masking, coreset_ratio=ratio, projection_dim=3, coreset_parts=parts
    )
    every = store.load(HASHES, masking).features.astype(np.float64)
    kept = bank.arrays["memory_bank"].astype(np.float64)
    squares = np.square(every[:, None] - kept[None]).sum(axis=2)
    assert bank.metadata["covering_radius"] == pytest.approx(np.sqrt(squares.min(axis=1).max()))
    assert (bank.metadata["covering_radius"] == 0) == (ratio == 1)
    assert bank.metadata["covering_radius_space"] == "features"
    assert bank.metadata["covering_radius_bound_space"] == "projected to 3 dimensions"


@pytest.mark.parametrize(
    ("mode", "dtype", "stored"),
    [("binary", "float16", "float16"), ("binary", "float32", "float32"),
     ("soft", "float16", "float16")],
)  # fmt: skip
def test_vectors_keep_the_stores_type(
    mode: Any, dtype: str, stored: str, fake_encoder: Any, tmp_path: Path
) -> None:
    masking = BackPatchMasking(mode, 1, 0.2)
    store = fake_encoder.store(tmp_path, NAMES, dtype=dtype)
    bank = build_memory_bank(store, HASHES, masking, coreset_ratio=1.0).arrays["memory_bank"]
    assert bank.dtype == stored
    # Storing the bank costs no digits.
    assert (bank.astype(np.float32) == store.load(HASHES, masking).features).all()


def test_a_soft_bank_is_the_bank_without_masking(fake_encoder: Any, tmp_path: Path) -> None:
    """A build that weighs features, or leaves out those of low attention, gives other vectors."""
    store = fake_encoder.store(tmp_path, NAMES)
    soft, off = (
        build_memory_bank(
            store, HASHES, BackPatchMasking(mode, 3), coreset_ratio=0.3, projection_dim=3
        )
        for mode in ("soft", "off")
    )
    for name, array in off.arrays.items():
        assert (soft.arrays[name] == array).all(), name
    assert soft.metadata["bpm"]["mode"] == "soft"


def test_metadata_say_how_the_bank_was_made(store: FeatureStore) -> None:
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.5, seed=3)
    assert bank.metadata["num_images"] == 6
    assert bank.metadata["num_patches"] == len(store.load(HASHES, MASKING).features)
    assert (bank.metadata["coreset_ratio"], bank.metadata["seed"]) == (0.5, 3)
    assert bank.metadata["bpm"] == asdict(MASKING)
    assert store.header.differences(bank.metadata["features"]) == []


def test_no_foreground_at_all_is_one_clear_line(fake_encoder: Any, tmp_path: Path) -> None:
    store = fake_encoder.store(tmp_path, NAMES)
    with pytest.raises(InputError, match=r"no foreground patch .* lower bpm\.threshold"):
        build_memory_bank(store, [], MASKING, coreset_ratio=1.0)


def test_every_vector_knows_the_patch_it_is_of(store: FeatureStore) -> None:
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3)
    assert bank_images(bank) == HASHES
    for vector, image, patch in zip(
        bank.arrays["memory_bank"], bank.arrays["image"], bank.arrays["patch"], strict=True
    ):
        patches = store.load([HASHES[image]], MASKING)
        assert (patches.features[list(patches.patch).index(patch)] == vector).all()


def test_a_smaller_bank_is_the_beginning_of_a_larger_one(store: FeatureStore) -> None:
    small, large = (
        build_memory_bank(store, HASHES, MASKING, coreset_ratio=ratio, projection_dim=3)
        for ratio in (0.1, 0.4)
    )
    vectors = small.arrays["memory_bank"]
    assert 0 < len(vectors) < len(large.arrays["memory_bank"])
    assert (large.arrays["memory_bank"][: len(vectors)] == vectors).all()


def test_images_read_in_blocks_give_the_same_bank(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3, projection_dim=3)
    monkeypatch.setattr(bank_module, "IMAGES_AT_ONCE", 2)
    in_blocks = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.3, projection_dim=3)
    for name, array in at_once.arrays.items():
        assert (in_blocks.arrays[name] == array).all(), name


# --- what the coreset is chosen from, and how -----------------------------------------------------


def test_features_come_back_in_the_order_asked_for_whatever_block_they_are_in(
    fake_encoder: Any, tmp_path: Path
) -> None:
    names = [f"image {number}" for number in range(2 * bank_module.IMAGES_AT_ONCE + 3)]
    hashes = [f"#{name}" for name in names]
    store = fake_encoder.store(tmp_path, names, masking=MASKING)
    candidates = collect_candidates(store, hashes, MASKING, projection_dim=3)
    every = store.load(hashes, MASKING)
    assert candidates.points.shape == (len(every.features), 3)
    assert (candidates.image == every.image).all()
    assert (candidates.patch == every.patch).all()
    assert candidates.image.dtype == candidates.patch.dtype == np.int32
    counts = [len(store.load(hashes[i : i + 16], MASKING).features) for i in (0, 16, 32)]
    assert candidates.ends.tolist() == [0, *np.cumsum(counts)]
    # First and last of each block among them, and one twice.
    last = len(every.features) - 1
    kept = np.array([last, counts[0], 0, counts[0] - 1, sum(counts[:2]), 0, sum(counts[:2]) - 1])
    assert (candidates.features(kept) == every.features[kept]).all()
    assert candidates.features(kept).dtype == np.float32
    assert candidates.features(np.zeros(0, np.int64)).shape == (0, 8)


def test_points_are_the_projected_features_and_the_features_where_these_are_short(
    store: FeatureStore,
) -> None:
    features = store.load(HASHES, MASKING).features
    assert (collect_candidates(store, HASHES, MASKING, projection_dim=8).points == features).all()
    projected = collect_candidates(store, HASHES, MASKING, projection_dim=7, seed=4).points
    np.testing.assert_allclose(projected, features @ random_projection(8, 7, 4).T, rtol=1e-6)
    again = collect_candidates(store, HASHES, MASKING, projection_dim=7).points
    np.testing.assert_allclose(again, features @ random_projection(8, 7, 0).T, rtol=1e-6)


def test_images_that_are_all_background_are_one_clear_line(
    fake_encoder: Any, tmp_path: Path
) -> None:
    nothing = BackPatchMasking(kernel_size=1, threshold=1.0)
    store = fake_encoder.store(tmp_path, NAMES)
    with pytest.raises(InputError, match="no foreground patch"):
        build_memory_bank(store, HASHES, nothing, coreset_ratio=1.0)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What :func:`choose_points` was asked for so far, beside the points."""
    calls: list[dict[str, Any]] = []
    original = bank_module.choose_points

    def spy(points: np.ndarray, ratio: float, **options: Any) -> Any:
        calls.append({"points": len(points), "ratio": ratio, **options})
        return original(points, ratio, **options)

    monkeypatch.setattr(bank_module, "choose_points", spy)
    return calls


def test_the_coreset_is_chosen_as_the_settings_say(
    store: FeatureStore, chosen: list[dict[str, Any]]
) -> None:
    every = len(store.load(HASHES, MASKING).features)
    build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.5)
    choose_coreset(store.load(HASHES, MASKING).features, 0.5)
    default = {"num_starts": 10, "seed": 0, "device": "cpu"}
    assert chosen == [
        {"points": every, "ratio": 0.5, "parts": 1, **default},
        {"points": every, "ratio": 0.5, **default},
    ]
    chosen.clear()
    others = {"num_starts": 3, "seed": 7, "device": "auto"}
    choose_coreset(store.load(HASHES, MASKING).features, 0.2, **others)
    assert chosen == [{"points": every, "ratio": 0.2, **others}]


def test_the_whole_bank_needs_no_choice(store: FeatureStore, chosen: list[dict[str, Any]]) -> None:
    bank = build_memory_bank(store, HASHES, MASKING, coreset_ratio=1.0)
    assert chosen == []
    assert bank.metadata["covering_radius_bound"] is None


POINTS = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)


def test_points_are_chosen_greedily_or_in_two_rounds() -> None:
    indices, bound = choose_points(POINTS, 0.25, num_starts=2, seed=3)
    assert indices.tolist() == greedy_coreset(POINTS, 10, random_starts(40, 2, 3)).tolist()
    assert bound is None
    indices, bound = choose_points(POINTS, 0.25, num_starts=2, parts=3, seed=3)
    two = two_round_coreset(POINTS, 10, 3, num_starts=2, seed=3)
    assert indices.tolist() == two.indices.tolist()
    assert bound == two.radius_bound
    by_default = greedy_coreset(POINTS, 10, random_starts(40, 10, 0)).tolist()
    assert choose_points(POINTS, 0.25)[0].tolist() == by_default


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("device", "found", "used"),
    [
        ("cpu", "cpu", "cpu"),
        ("auto", "cuda", "cuda"),
        ("mps", "mps", "cpu"),
        ("auto", "mps", "cpu"),
    ],
)
def test_an_apple_gpu_lacks_double_precision_and_is_not_used(
    device: str, found: str, used: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    computed: list[str] = []
    monkeypatch.setattr(encoder, "choose_device", lambda name: asked.append(name) or found)

    def choose(*arguments: Any, device: str, **options: Any) -> Any:
        computed.append(device)
        return coreset.TwoRoundCoreset(np.arange(2), 1.0)

    monkeypatch.setattr(coreset, "greedy_coreset", choose)
    monkeypatch.setattr(coreset, "two_round_coreset", choose)
    choose_points(POINTS, 0.1, device=device, parts=parts)
    assert (asked, computed) == ([device], [used])


# --- what a bank says of itself -------------------------------------------------------------------


def test_a_bank_holds_what_it_takes_to_find_its_patches_and_all_its_settings(
    store: FeatureStore,
) -> None:
    bank = build_memory_bank(
        store,
        HASHES[:3],
        MASKING,
        coreset_ratio=0.5,
        coreset_parts=2,
        seed=3,
        levels={"bolt": Levels(integer=(0.0, 4095.0))},
    )
    assert list(bank.arrays) == ["memory_bank", "image", "patch", "content_hashes"]
    assert bank.arrays["image"].dtype == bank.arrays["patch"].dtype == np.int32
    assert bank.arrays["content_hashes"].dtype == np.uint8
    assert bank.metadata == {
        "num_images": 3,
        "num_patches": len(store.load(HASHES[:3], MASKING).features),
        "coreset_ratio": 0.5,
        "coreset_parts": 2,
        "covering_radius": bank.metadata["covering_radius"],
        "covering_radius_space": "features",
        "covering_radius_bound": bank.metadata["covering_radius_bound"],
        "covering_radius_bound_space": "features",
        "seed": 3,
        "bpm": {"mode": "binary", "kernel_size": 1, "threshold": 0.2},
        "grid": list(store.grid),
        "features": json.loads(store.header.to_json()),
        "levels": {"bolt": {"integer": (0.0, 4095.0), "floating": (0.0, 1.0)}},
        "regions": {},
    }


def test_settings_left_out_are_recorded_as_their_defaults(store: FeatureStore) -> None:
    metadata = build_memory_bank(store, HASHES, MASKING, coreset_ratio=0.5).metadata
    assert (metadata["coreset_parts"], metadata["seed"]) == (1, 0)


def test_image_names_of_different_lengths_come_back_as_they_were(
    fake_encoder: Any, tmp_path: Path
) -> None:
    names = ["a", "longer", "mix"]
    store = fake_encoder.store(tmp_path, names)
    bank = build_memory_bank(store, ["#mix", "#a", "#longer"], MASKING, coreset_ratio=1.0)
    assert bank_images(bank) == ["#mix", "#a", "#longer"]
    assert bank.arrays["content_hashes"].shape == (3, len("#longer"))


HEADER = StoreHeader(
    backbone={"model": "vit"},
    weights_sha256="00",
    preprocessing={"crop": 224},
    precision="float32",
    grid=(14, 14),
    dim=48,
    dtype="float16",
    masking=None,
)


def made_of(header: StoreHeader) -> ArrayBundle:
    features = asdict(header)
    features["grid"] = list(header.grid)  # as JSON gives it back
    return ArrayBundle({}, {"features": features})


def test_features_made_alike_are_compared_however_they_are_stored() -> None:
    check_same_features(made_of(HEADER), HEADER)
    stored = replace(HEADER, dtype="float32", masking={"mode": "binary"}, version=7)
    check_same_features(made_of(HEADER), stored)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"backbone": {"model": "cnn"}}, "backbone settings"),
        ({"weights_sha256": "11"}, "weights"),
        ({"preprocessing": {"crop": 112}}, "preprocessing"),
        ({"precision": "bfloat16"}, "precision"),
        ({"grid": (7, 14)}, "patch grid"),
        ({"dim": 96}, "feature size"),
        ({"layer_choices": [[1], [2]]}, "blocks"),
        ({"weights_sha256": "11", "dim": 96}, "feature size and weights"),
    ],
)
def test_features_made_in_another_way_are_refused_by_name(
    change: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError) as error:
        check_same_features(made_of(HEADER), replace(HEADER, **change))
    assert str(error.value) == (
        f"the memory bank was made with other {named} than this run's: use the settings that "
        f"made it, or {RUN_AGAIN}"
    )


def test_joining_parts_holds_none_of_them_twice() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((10_000 + i, 8)).astype(np.float32) for i in range(20)]
    expected, size = np.concatenate(parts), sum(part.nbytes for part in parts)
    largest = max(part.nbytes for part in parts)
    freed: list[int] = []
    for part in parts:
        weakref.finalize(part, freed.append, part.nbytes)
    del part
    np.testing.assert_array_equal(_joined(parts), expected)
    assert parts == []
    assert sum(freed) >= size - largest
