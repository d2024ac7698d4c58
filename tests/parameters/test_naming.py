"""Names in paths: readable, safe, stable, and never the same for two experiments."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.shipped import FILE, texts
from uniformaly_pipeline.parameters.naming import (
    MAX_NAME,
    backbone_name,
    data_set_name,
    detector_names,
    new_images_name,
    run_key,
    safe_name,
    shipped_parameters,
    without_secrets,
)
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters

SHIPPED = json.loads(FILE.read_text(encoding="utf-8"))
TASKS = ("", "defect", "semantic", "multiclass", "clustering", "lowshot", "ablation",
         "multiclass_ablation")  # fmt: skip
SAFE = re.compile(r"[\w.-]+")


def merged(base: Any, changes: Any) -> Any:
    """Nested mappings, the second over the first."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


def parameters(**changes: Any) -> Parameters:
    """What ships, changed."""
    return parse_parameters(merged(SHIPPED, changes))


def key(task: str = "", **changes: Any) -> str:
    return run_key(parameters(**changes), shipped_parameters(), task)


def own(root: str, **more: Any) -> dict[str, Any]:
    """A data set of the user's own."""
    return {"dataset": "mine", "datasets": {"mine": {"layout": "folder", "root": root, **more}}}


def test_what_ships_is_what_the_configuration_says() -> None:
    for path, text in texts().items():
        assert path.read_text(encoding="utf-8") == text, "run: python -m tools.shipped"


@pytest.mark.parametrize("backbone", SHIPPED["backbones"])
@pytest.mark.parametrize("dataset", SHIPPED["datasets"])
def test_default_is_what_ships(dataset: str, backbone: str) -> None:
    for task in (*TASKS, "paper"):
        assert key(task, dataset=dataset, backbone=backbone) == "default"


def test_an_own_entry_of_a_layout_and_a_root_is_the_default() -> None:
    assert key(**own("/data/bottles")) == "default"
    # The example that ships has another ratio where one bank holds many classes.
    assert key("multiclass", **own("/data/bottles")) == "memory_bank.coreset_ratio-0.1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 3}, "seed-3"),
        ({"bpm": {"mode": "off"}}, "bpm.mode-off"),
        ({"bpm": {"mode": "binary"}}, "default"),
        ({"scoring": {"method": "patchcore"}}, "scoring.method-patchcore"),
        ({"scoring": {"method": "padim"}, "bpm": {"mode": "off"}}, "scoring.method-padim"),
        (
            {"scoring": {"method": "padim"}, "bpm": {"mode": "binary"}},
            "bpm.mode-binary_scoring.method-padim",
        ),
        ({"categories": "bolt"}, "categories-bolt"),
        ({"categories": "gear+bolt"}, "categories-bolt.gear"),
        ({"categories": ["bolt", "gear"]}, "categories-bolt.gear"),
        ({"seed": 3, "bpm": {"mode": "off"}}, "seed-3_bpm.mode-off"),
        ({"memory_bank": {"coreset_ratio": 0.2}}, "memory_bank.coreset_ratio-0.2"),
        ({"memory_bank": {"coreset_ratio": 0.1}}, "default"),
        ({"backbones": {"quickstart": {"layers": [2, 3]}}}, "layers-2.3"),
        ({"datasets": {"demo": {"preprocessing": {"crop": 112}}}}, "preprocessing.crop-112"),
        ({"datasets": {"demo": {"root": "/elsewhere", "tree": "/tree"}}}, "default"),
        ({"encoder": {"device": "cpu", "batch_size": 2, "num_workers": 0}}, "default"),
        ({"encoder": {"precision": "float32"}}, "encoder.precision-float32"),
        ({"reporting": {"gallery_images": 4}}, "default"),
        ({"predict": {"images": "new", "false_alarm_rate": 0.2}}, "default"),
        ({"ablation": {"mode": ["off"]}, "lowshot": {"num_draws": 1}}, "default"),
        ({"categories": "Bolt"}, "categories-Bolt-b17fb18a"),
        ({"scoring": {"search": "IVF64,Flat"}}, "scoring.search-IVF64_Flat-56ed10f3"),
    ],
)
def test_a_key_says_what_differs(changes: dict[str, Any], expected: str) -> None:
    """The same words in every version: a key that changed would orphan results."""
    assert key(**changes) == expected


SUITED = {"resolution": 448, "kernel_size": 7}
KERNEL_7_AT_224 = "bpm.kernel_size-7_preprocessing.resize-224_preproce-c44ff605"
PIXELS_224 = {"demo": {"preprocessing": {"resize": 224, "crop": 224}}}


@pytest.mark.parametrize(
    ("own", "changes", "expected"),
    [
        # What suits the run's own input is no difference, whether it is given or not.
        ({}, {"bpm": {"kernel_size": 7}}, "default"),
        ({}, {"bpm": {"kernel_size": 5}}, "bpm.kernel_size-5"),
        ({}, {"datasets": PIXELS_224}, "preprocessing.resize-224_preprocessing.crop-224"),
        ({"resolution": 224}, {}, KERNEL_7_AT_224),
        ({}, {"datasets": PIXELS_224, "bpm": {"kernel_size": 7}}, KERNEL_7_AT_224),
        ({"kernel_size": 9}, {}, "bpm.kernel_size-9"),
        ({"norm": True}, {}, "norm-true"),
    ],
)
def test_a_key_says_what_is_not_as_it_suits_the_backbone(
    own: dict[str, Any],
    changes: dict[str, Any],
    expected: str,
) -> None:
    """However the same settings come about they have one place, and other settings another."""
    shipped = merged(SHIPPED, {"backbones": {"dino_vits16": SUITED}})
    chosen = {"backbone": "dino_vits16", "backbones": {"dino_vits16": own}}
    run = parse_parameters(merged(shipped, merged(chosen, changes)))
    assert run_key(run, parse_parameters(shipped)) == expected


def test_two_keys_of_one_name_have_one_place_only_for_the_same_settings() -> None:
    """An entry of one's own for a published data set: that one ships its defaults."""
    published = SHIPPED["datasets"]["cifar10"]
    entry = {"layout": "cifar10", "root": published["root"], "name": "cifar10"}
    plain = key(dataset="mine", datasets={"mine": entry})
    assert plain not in {"default", key(dataset="cifar10", seed=1)}
    assert key(dataset="cifar10", datasets={"cifar10": {"name": "cifar10"}}) == "default"
    same = {**published, **entry}
    assert key(dataset="mine", datasets={"mine": same}) == "default"
    by_key = {k: {"layout": "mvtec", "name": "x", "root": "r"} for k in ("demo", "cifar10")}
    keys = {k: key(dataset=k, datasets={k: entry}) for k, entry in by_key.items()}
    assert len({*keys.values(), "default"}) == 3


def test_a_section_of_a_task_counts_for_that_task_only() -> None:
    changes = {"lowshot": {"num_draws": 1}}
    assert key("lowshot", **changes) == "lowshot.num_draws-1"
    assert {key(task, **changes) for task in TASKS if task != "lowshot"} == {"default"}
    # The ablation and few images start from the patches that clustering takes.
    for task in ("clustering", "ablation", "lowshot"):
        assert key(task, clustering={"features": "max"}) == "clustering.features-max"


def test_many_classes_in_a_bank_have_a_ratio_and_splits_of_their_own() -> None:
    changes: dict[str, Any] = {"memory_bank": {"multiclass_coreset_ratio": 0.3}}
    assert key("defect", **changes) == "default"
    for task in ("multiclass", "multiclass_ablation"):
        assert key(task, **changes) == "memory_bank.coreset_ratio-0.3"
    splits = {"datasets": {"demo": {"splits": {"A": ["bolt", "gear"]}}}}
    assert key("defect", **splits) == "default"
    assert re.fullmatch(r"splits-A-\w{8}", key("multiclass", **splits))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lowshot": {"num_draws": 1}}, "lowshot.num_draws-1"),
        ({"ablation": {"kernel_size": [3]}}, "ablation.kernel_size-3"),
        ({"clustering": {"features": "max"}}, "clustering.features-max"),
        (
            {"memory_bank": {"multiclass_coreset_ratio": 0.3}},
            "memory_bank.multiclass_coreset_ratio-0.3",
        ),
        ({"memory_bank": {"coreset_ratio": 0.2, "multiclass_coreset_ratio": 0.05}},
         "memory_bank.coreset_ratio-0.2"),
    ],
)  # fmt: skip
def test_the_page_of_the_paper_depends_on_all_its_tasks(
    changes: dict[str, Any], expected: str
) -> None:
    assert key("paper", **changes) == expected


def test_a_long_key_is_cut_and_ends_in_a_hash() -> None:
    names = [f"category_{i}" for i in range(20)]
    one, other = key(categories=names), key(categories=names[:-1])
    assert len(one) == len(other) == MAX_NAME
    assert one != other
    assert re.fullmatch(r"categories-category_0\.category_1\..*-[0-9a-f]{8}", one)


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/data/bottles", "bottles"),
        ("/data/bottles///", "bottles"),
        ("../bottles", "bottles"),
        ("bottles v1.5", "bottles_v1.5"),
        ("C:\\images\\bottles", "bottles"),
        ("s3://bucket/", "bucket"),
        ("s3://bucket/plant/bottles/", "bottles"),
        ("https://user:p@ss@host/bottles?token=x", "bottles"),
        ("https://user:secret@host", "host"),
        ("zip://bottles::/data/images.zip", "bottles"),
        ("zip://::/data/images.zip", "images.zip"),
        ("https://[odd", "odd"),
        ("/", "mine"),
        ("..", "mine"),
        ("~", "mine"),
        ("/data/" + unicodedata.normalize("NFD", "Flöße"), "Flöße"),
    ],
)
def test_an_own_data_set_is_called_like_its_root(root: str, name: str) -> None:
    assert data_set_name(parameters(**own(root))) == name
    assert data_set_name(parameters(**own(root, name="Plant 7"))) == "Plant_7"


def test_a_published_data_set_is_called_by_its_key() -> None:
    changes = {"dataset": "mvtec", "datasets": {"mvtec": {"root": "/data/other"}}}
    assert data_set_name(parameters(**changes)) == "mvtec"


@pytest.mark.parametrize(
    ("backbone", "settings_of", "name", "expected"),
    [
        ("dino_vitb8", {}, "dino_vitb8", "default"),
        ("custom", {"model": "vit_small_patch8_224.dino"}, "vit_small_patch8_224.dino", "default"),
        ("custom", {"checkpoint": "untrained"}, "vit_base_patch16_224", "checkpoint-untrained"),
        ("custom", {"checkpoint": "/a/plant.pth"}, "plant", r"checkpoint-plant-\w{8}"),
        ("custom", {"checkpoint": "https://me:pw@host/plant.pth?v=1"}, "plant",
         r"checkpoint-plant-\w{8}"),
        ("mine", {"model": "m", "layers": [1], "attention_layer": 9}, "m", "layers-1"),
        ("custom", {"model": "hf-hub:me/vit"}, "hf-hub_me_vit", r"model-vit-\w{8}"),
    ],
)  # fmt: skip
def test_an_own_backbone_is_called_by_its_weights_or_model(
    backbone: str, settings_of: dict[str, Any], name: str, expected: str
) -> None:
    changes = {"backbone": backbone, "backbones": {backbone: settings_of}}
    assert backbone_name(parameters(**changes)) == name
    assert re.fullmatch(expected, key(**changes))


def test_weights_of_one_name_in_two_folders_have_two_keys() -> None:
    keys = {
        key(backbone="custom", backbones={"custom": {"checkpoint": f"/runs/{run}/last.pth"}})
        for run in (1, 2)
    }
    assert len(keys) == 2


def test_new_images_of_one_name_are_told_apart() -> None:
    def name(images: str, **predict: Any) -> str:
        return new_images_name(parameters(predict=predict), shipped_parameters(), images)

    assert re.fullmatch(r"new-[0-9a-f]{6}", name("/monday/new"))
    assert name("/monday/new") == name("/monday/new/")
    assert name("/monday/new") != name("/tuesday/new")
    other = name("/monday/new", task="multiclass", false_alarm_rate=0.2)
    assert other == name("/monday/new") + "_task-multiclass_false_alarm_rate-0.2"


def test_no_password_gets_into_a_name() -> None:
    assert without_secrets("s3://me:se@cret@host/a@b") == "s3://host/a@b"
    assert without_secrets("zip://x::https://me:pw@host/a") == "zip://x::https://host/a"
    assert without_secrets("/data/a@b") == "/data/a@b"


@given(st.text())
def test_any_text_makes_a_safe_name(words: str) -> None:
    name = safe_name(words)
    assert name == "" or SAFE.fullmatch(name)
    assert len(name) <= MAX_NAME
    assert len(name.encode()) <= 255
    assert name not in {".", ".."}
    assert safe_name(name) == name


PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)
"""What a name may be: others are refused."""

WORDS = st.one_of(
    st.sampled_from(["all", "bolt", "a_b", "a-b", "A", "a", "seed-3", "1"]), PLAIN_TEXT
)
RATIOS = st.sampled_from([1e-05, 0.05, 0.1, 0.2, 0.123456789, 1.0])
LAYERS = st.lists(st.integers(0, 11), min_size=1, max_size=10)
PIXELS = st.one_of(st.sampled_from([224, 256]), st.sampled_from([(224, 256), (256, 224)]))
PREPROCESSING = st.fixed_dictionaries(
    {}, optional={"resize": PIXELS, "interpolation": st.sampled_from(["bilinear", "nearest"])}
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "preprocessing": PREPROCESSING,
        "split": st.fixed_dictionaries(
            {}, optional={"seed": st.integers(0, 5), "cap": st.integers(1, 3)}
        ),
        "coreset_ratio": RATIOS,
    },
)
BACKBONES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(
            ["vit_base_patch16_224", "vit_tiny_patch16_224", "plant", "hub:a/b", "hub_a_b"]
        ),
        "checkpoint": st.sampled_from(
            [None, "untrained", "/a/plant.pth", "/b/plant.pth", "a/Plant.pth", "null"]
        ),
        "model_kwargs": st.dictionaries(
            st.sampled_from(["img_size", "depth"]), st.sampled_from([1, 2, "1", "x", None, True])
        ),
        "layers": LAYERS,
    },
)
CHANGES = st.fixed_dictionaries(
    {
        "dataset": st.sampled_from(["demo", "folder", "mvtec"]),
        "backbone": st.sampled_from(["quickstart", "custom"]),
    },
    optional={
        "seed": st.integers(0, 99),
        "categories": st.one_of(WORDS, st.lists(WORDS, min_size=1, max_size=3)),
        "bpm": st.fixed_dictionaries(
            {},
            optional={
                "mode": st.sampled_from(["binary", "soft", "off"]),
                "threshold": RATIOS.filter(lambda x: x < 1),
            },
        ),
        "memory_bank": st.fixed_dictionaries(
            {}, optional={"coreset_ratio": RATIOS, "num_starts": st.integers(1, 20)}
        ),
        "scoring": st.fixed_dictionaries(
            {},
            optional={"top_k_ratio": RATIOS, "search": st.sampled_from(["Flat", "flat", "HNSW32"])},
        ),
        "encoder": st.fixed_dictionaries(
            {},
            optional={
                "precision": st.sampled_from(["float16", "float32"]),
                "batch_size": st.integers(1, 3),
            },
        ),
        "evaluation": st.fixed_dictionaries({}, optional={"mask_threshold": RATIOS}),
        "datasets": st.fixed_dictionaries(
            {}, optional={"demo": ENTRIES, "folder": ENTRIES, "mvtec": ENTRIES}
        ),
        "backbones": st.fixed_dictionaries(
            {}, optional={"quickstart": BACKBONES, "custom": BACKBONES}
        ),
    },
)


def experiment(given_parameters: Parameters) -> str:
    """All that changes results, written down in full, without the naming's help."""
    values = given_parameters.resolved()
    for section in (
        "reporting", "predict", "export", "mlflow", "ray", "clustering", "lowshot", "ablation",
    ):  # fmt: skip
        del values[section]
    values["encoder"] = values["encoder"]["precision"]
    del values["memory_bank"]["multiclass_coreset_ratio"]
    (entry,) = values["datasets"].values()
    for name in (
        "root", "name", "credentials", "tree", "splits", "coreset_ratio",
        "multiclass_coreset_ratio",
    ):  # fmt: skip
        del entry[name]
    if values["categories"] != "all":
        names = values["categories"]
        values["categories"] = sorted(set(names.split("+") if isinstance(names, str) else names))
    return json.dumps(values, sort_keys=True)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(CHANGES, CHANGES)
def test_other_settings_have_another_place(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Also on disks that do not tell capitals from small letters."""
    places = []
    for changes in (one, other):
        found = parameters(**changes)
        names = [data_set_name(found), backbone_name(found), run_key(found, shipped_parameters())]
        assert all(SAFE.fullmatch(name) and len(name) <= MAX_NAME for name in names)
        places.append((experiment(found), "/".join(names).casefold()))
    (first, here), (second, there) = places
    assert (first == second) == (here == there)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    CHANGES,
    CHANGES.flatmap(lambda other: st.sampled_from(sorted(other)).map(lambda k: (k, other[k]))),
)
def test_one_change_moves_the_results(base: dict[str, Any], change: tuple[str, Any]) -> None:
    """Settings that differ in little: where two keys are closest."""
    test_other_settings_have_another_place.hypothesis.inner_test(
        base, {**base, change[0]: change[1]}
    )


def test_detectors_are_told_apart_by_task_and_project(tmp_path: Path) -> None:
    """Runs of one name in two projects, or of two pipelines, are not the same."""
    own, other = str(tmp_path / "a/data"), str(tmp_path / "b/data")
    place = "06_models/{}/nuts/quickstart/default/bolt"
    names = {
        (data, task): detector_names(f"{data}/{place.format(task)}", own)["run_key"]
        for data in (own, other, "s3://b/data")
        for task in ("defect", "multiclass")
    }
    assert names[own, "defect"] == "default"
    assert names[own, "multiclass"] == "multiclass-default"
    assert len(set(names.values())) == 6
    (tmp_path / "link").symlink_to(tmp_path / "a")
    linked = f"{tmp_path}/link/data/{place.format('defect')}"
    assert detector_names(linked, own)["run_key"] == "default"
