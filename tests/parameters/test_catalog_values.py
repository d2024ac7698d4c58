"""What the catalog's paths ask of the run: another parameter must not find another's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.parameters.catalog_values import catalog_value
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.naming import shipped_parameters
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters

STORES = ("features_key", "all_features_key", "layered_features_key")


def value_of(shipped: Parameters, key: str, **changes: Any) -> str | None:
    """A value with parameters changed by dotted key, as in ``bpm__threshold``."""
    raw = shipped.model_dump()
    for name, value in changes.items():
        *sections, last = name.split("__")
        target = raw
        for section in sections:
            target = target[section]
        target[last] = value
    return catalog_value(CurrentRun(parse_parameters(raw), Path("/project")), key)


@pytest.mark.parametrize(
    ("dataset", "backbone", "digest"),
    [
        ("demo", "quickstart", "29b5ebcf"),
        ("mvtec", "dino_vitb8", "6c9554f2"),
        ("cifar10", "dino_vitb8", "e357ae5f"),
    ],
)
def test_stores_of_earlier_versions_are_found(dataset: str, backbone: str, digest: str) -> None:
    """What backbones have come to say of themselves since is no part of their stores' names."""
    shipped = shipped_parameters()
    name = value_of(shipped, "features_key", dataset=dataset, backbone=backbone)
    assert name == f"float16-foreground-kernel7-threshold0.1-{digest}"


def test_features_after_the_final_norm_have_a_folder_of_their_own(shipped: Parameters) -> None:
    for key in STORES:
        own = value_of(shipped, key, backbones__quickstart__norm=True)
        assert own != value_of(shipped, key, backbones__quickstart__norm=False)
        # What suits a backbone is told by the sizes and the kernel.
        suits = {"backbones__quickstart__kernel_size": 5, "bpm__kernel_size": 7}
        assert value_of(shipped, key, **suits) == value_of(shipped, key)


def readable(name: str | None) -> str:
    """A store's name without the hash of the settings at its end."""
    assert name is not None
    kept, _, digest = name.rpartition("-")
    assert len(digest) == 8 and set(digest) <= set("0123456789abcdef")
    return kept


@pytest.mark.parametrize("key", STORES)
@pytest.mark.parametrize(
    "changes",
    [
        {"datasets__demo__preprocessing": {"resize": 64, "crop": 64}},
        {"backbones__quickstart__layers": [2, 3]},
        {"backbones__quickstart__checkpoint": "other.safetensors"},
        {"encoder__precision": "bfloat16"},
        {"encoder__device": "cuda:1"},
    ],
)
def test_features_made_in_another_way_have_a_folder_of_their_own(
    key: str, changes: dict[str, Any], shipped: Parameters
) -> None:
    """Two runs at once must not tell each other which store is the current one."""
    assert value_of(shipped, key, **changes) != value_of(shipped, key)


def test_the_seed_matters_to_features_of_untrained_weights_only(shipped: Parameters) -> None:
    first, other = ({"seed": seed} for seed in (0, 1))
    for key in STORES:
        assert value_of(shipped, key, **first) == value_of(shipped, key, **other)
        untrained = [value_of(shipped, key, backbone="untrained", **s) for s in (first, other)]
        assert untrained[0] != untrained[1]


RUN = "data/06_models/defect/demo/quickstart/seed-3/nut"


@pytest.mark.parametrize(
    ("key", "changes", "expected"),
    [
        ("data_set", {}, "demo"),
        ("data_set", {"dataset": "mtd"}, "mtd"),
        ("backbone", {}, "quickstart"),
        ("backbone", {"backbone": "dino_vits8"}, "dino_vits8"),
        ("data_set_entry", {"dataset": "mtd"}, "datasets.mtd"),
        ("manifest_place", {}, "demo"),
        ("manifest_place", {"bpm__mode": "off", "seed": 3}, "demo"),
        ("manifest_place", {"categories": ["bolt"]}, "demo/categories-bolt"),
        ("manifest_place", {"dataset": "mtd", "datasets__mtd__split__seed": 7}, "mtd/split.seed-7"),
        (
            "manifest_place",
            {"datasets__demo__images__levels": [0, 4095]},
            "demo/levels-0.0.4095.0-ca0e8d56",
        ),
        ("manifest_place", {"datasets__demo__layout": "mvtec"}, "demo/layout-mvtec"),
        ("layout", {"dataset": "class_folder"}, "classes"),
        ("root", {"dataset": "mtd"}, "/project/data/01_raw/mtd"),
        ("root", {"datasets__demo__root": "/elsewhere"}, "/elsewhere"),
        ("root", {"datasets__demo__root": "s3://bucket/x"}, "s3://bucket/x"),
        ("credentials", {}, None),
        ("credentials", {"datasets__demo__credentials": "my_bucket"}, "my_bucket"),
        ("tree", {}, "/project"),
        ("tree", {"datasets__demo__tree": "my/tree"}, "/project/my/tree"),
        ("exported", {}, ""),
        ("exported", {"export__detector": "nut.safetensors"}, "/project/nut.safetensors"),
        ("export_category", {"export__detector": "nut.safetensors"}, "nut"),
        ("exported_by", {"export__detector": RUN}, "demo/quickstart/seed-3"),
        ("export_category", {"export__detector": RUN}, "nut"),
        ("export_format", {"export__format": "onnx"}, "onnx"),
        ("export_images", {"export__images": "new"}, "/project/new"),
        ("predict_images", {}, "/project"),
        ("predict_images", {"predict__images": "new"}, "/project/new"),
        ("predict_images", {"predict__images": "s3://bucket/new"}, "s3://bucket/new"),
    ],
)
def test_paths_follow_the_runs_parameters(
    key: str, changes: dict[str, Any], expected: str | None, shipped: Parameters
) -> None:
    assert value_of(shipped, key, **changes) == expected


def test_a_name_that_the_run_does_not_know_is_a_mistake(shipped: Parameters) -> None:
    with pytest.raises(KeyError, match="weather"):
        value_of(shipped, "weather")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "float16-foreground-kernel7-threshold0.1"),
        ({"features__dtype": "float32"}, "float32-foreground-kernel7-threshold0.1"),
        ({"bpm__kernel_size": 3}, "float16-foreground-kernel3-threshold0.1"),
        ({"bpm__threshold": 0.25}, "float16-foreground-kernel7-threshold0.25"),
        ({"bpm__threshold": 0}, "float16-foreground-kernel7-threshold0"),
        ({"bpm__mode": "soft"}, "float16-all"),
        ({"bpm__mode": "off"}, "float16-all"),
        ({"features__keep": "all"}, "float16-all"),
        ({"features__keep": "all", "features__dtype": "float32"}, "float32-all"),
    ],
)
def test_a_store_of_other_patches_has_another_name(
    changes: dict[str, Any], expected: str, shipped: Parameters
) -> None:
    assert readable(value_of(shipped, "features_key", **changes)) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_store_of_all_patches_is_named_after_its_type_alone(
    dtype: str, shipped: Parameters
) -> None:
    changes = {"features__dtype": dtype, "bpm__kernel_size": 3, "bpm__threshold": 0.25}
    assert readable(value_of(shipped, "all_features_key", **changes)) == f"{dtype}-all"


@pytest.mark.parametrize(
    ("dtype", "layers", "expected"),
    [
        ("float16", [[5, 4], [1]], "float16-all-layers-2.3.4.5.6.7.8.9_4.5_1"),
        ("float32", [[1], [5, 4]], "float32-all-layers-2.3.4.5.6.7.8.9_1_4.5"),
        ("float16", [], "float16-all-layers-"),
    ],
)
def test_a_store_of_several_blocks_is_named_after_them(
    dtype: str, layers: list[list[int]], expected: str, shipped: Parameters
) -> None:
    changes = {"features__dtype": dtype, "ablation__layers": layers}
    assert readable(value_of(shipped, "layered_features_key", **changes)) == expected


@pytest.mark.parametrize("key", STORES)
@pytest.mark.parametrize("change", [{"scoring__top_k_ratio": 0.5}, {"seed": 9}])
def test_what_does_not_change_a_stores_patches_does_not_change_its_name(
    change: dict[str, Any], key: str, shipped: Parameters
) -> None:
    assert value_of(shipped, key, **change) == value_of(shipped, key)
