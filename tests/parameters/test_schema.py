"""The run's parameters: what is refused, and in which words."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.schema import parse_parameters

CONF = Path(__file__).parents[2] / "conf/base"


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    """The parameters as the project ships them."""
    values: dict[str, Any] = {}
    for path in sorted(CONF.glob("parameters*.yml")):
        values.update(yaml.safe_load(path.read_text(encoding="utf-8")))
    return values


@pytest.fixture
def raw(shipped: dict[str, Any]) -> dict[str, Any]:
    """A copy to change."""
    return copy.deepcopy(shipped)


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, as ``--params`` does."""
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value


def refusal(raw: dict[str, Any]) -> str:
    """The one line with which parameters are refused."""
    with pytest.raises(InputError) as error:
        parse_parameters(raw)
    message = str(error.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message


def test_what_the_project_ships_is_accepted(raw: dict[str, Any]) -> None:
    parameters = parse_parameters(raw)
    assert parameters.chosen_dataset.layout == raw["datasets"][raw["dataset"]]["layout"]
    assert parameters.chosen_backbone.model == raw["backbones"][raw["backbone"]]["model"]
    for name in raw["datasets"]:
        assert parse_parameters({**raw, "dataset": name}).dataset == name
    for name in raw["backbones"]:
        assert parse_parameters({**raw, "backbone": name}).backbone == name


@pytest.mark.parametrize(
    ("key", "closest"),
    [
        ("datset", "dataset"),
        ("scoring.top_k_ration", "scoring.top_k_ratio"),
        ("bpm.kernel", "bpm.kernel_size"),
        ("encoder.batchsize", "encoder.batch_size"),
        ("memory_bank.coreset_rate", "memory_bank.coreset_ratio"),
        ("datasets.demo.rooot", "datasets.demo.root"),
        ("datasets.folder.preprocessing.croop", "datasets.folder.preprocessing.crop"),
        ("backbones.custom.layer", "backbones.custom.layers"),
        ("backbones.dino_vitb8.chekpoint", "backbones.dino_vitb8.checkpoint"),
    ],
)
def test_an_unknown_key_is_answered_with_the_closest(
    key: str, closest: str, raw: dict[str, Any]
) -> None:
    set_key(raw, key, 1)
    assert refusal(raw) == f"parameters: unknown key '{key}'; did you mean '{closest}'?"


def test_an_unknown_key_like_none_is_answered_with_all(raw: dict[str, Any]) -> None:
    set_key(raw, "features.zzz", 1)
    expected = "unknown key 'features.zzz'; choose from: features.dtype, features.keep"
    assert refusal(raw) == f"parameters: {expected}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dataset", "dmo", "dataset: unknown dataset 'dmo'; did you mean 'demo'?"),
        ("backbone", "dino_b8", "backbone: unknown backbone 'dino_b8'; did you mean 'dino_vitb8'?"),
        (
            "datasets.folder.layout",
            "foldr",
            "datasets.folder: unknown layout 'foldr'; did you mean 'folder'?",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(
    key: str, value: str, message: str, raw: dict[str, Any]
) -> None:
    set_key(raw, key, value)
    assert refusal(raw) == f"parameters: {message}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory_bank.coreset_ratio", 0),
        ("memory_bank.coreset_ratio", 2),
        ("memory_bank.coreset_ratio", float("nan")),
        ("memory_bank.projection_dim", 0),
        ("datasets.demo.coreset_ratio", 0),
        ("datasets.demo.coreset_ratio", 2),
        ("datasets.demo.root", ""),
        ("bpm.threshold", -1),
        ("bpm.threshold", 1),
        ("bpm.threshold", float("nan")),
        ("bpm.kernel_size", 0),
        ("bpm.mode", "hard"),
        ("scoring.top_k_ratio", 0),
        ("scoring.top_k_ratio", 5),
        ("scoring.num_neighbors", 0),
        ("scoring.search", ""),
        ("encoder.batch_size", 0),
        ("encoder.batch_size", 2.5),
        ("encoder.batch_size", "many"),
        ("encoder.num_workers", -1),
        ("encoder.num_workers", "some"),
        ("encoder.device", "gpu"),
        ("encoder.precision", "float8"),
        ("features.dtype", "float64"),
        ("features.keep", "background"),
        ("evaluation.mask_threshold", 0),
        ("evaluation.aupro_limit", 0),
        ("evaluation.aupro_limit", 1.5),
        ("seed", -1),
        ("seed", None),
        ("datasets.demo.preprocessing.resize", 0),
        ("datasets.demo.preprocessing.crop", [224]),
        ("datasets.demo.preprocessing.crop", "large"),
        ("datasets.demo.preprocessing.interpolation", "cubic"),
        ("backbones.custom.model", ""),
        ("backbones.custom.layers", []),
        ("backbones.custom.layers", [2, -3]),
        ("backbones.custom.attention_layer", -1),
        ("backbones.custom.sha256", "abc"),
    ],
)
def test_an_impossible_value_is_refused_with_its_key(
    key: str, value: Any, raw: dict[str, Any]
) -> None:
    set_key(raw, key, value)
    message = refusal(raw)
    assert message.startswith(f"parameters: {key}")
    assert str(value[-1] if value and isinstance(value, list) else value) in message


def test_an_even_kernel_is_refused(raw: dict[str, Any]) -> None:
    set_key(raw, "bpm.kernel_size", 4)
    assert refusal(raw) == "parameters: bpm.kernel_size: 4 must be odd"


def test_a_crop_beyond_the_resized_image_is_refused(raw: dict[str, Any]) -> None:
    set_key(raw, "datasets.demo.preprocessing", {"resize": 128, "crop": 224})
    expected = "datasets.demo.preprocessing: crop 224 is larger than resize 128"
    assert refusal(raw) == f"parameters: {expected}"


@pytest.mark.parametrize("resize", [[300, 128], [128, 300]])
def test_a_crop_beyond_one_side_of_the_resized_image_is_refused(
    resize: list[int], raw: dict[str, Any]
) -> None:
    set_key(raw, "datasets.demo.preprocessing", {"resize": resize, "crop": [224, 224]})
    assert re.search(r"preprocessing: crop .*224.* is larger than resize", refusal(raw))


@pytest.mark.parametrize("crop", [[224, 384], [384, 224], [256, 400]])
def test_a_long_crop_may_fit_an_image_whose_shorter_side_is_resized(
    crop: list[int], raw: dict[str, Any]
) -> None:
    set_key(raw, "datasets.folder.preprocessing", {"resize": 256, "crop": crop})
    assert parse_parameters(raw).datasets["folder"].preprocessing.crop == tuple(crop)


def test_a_pad_smaller_than_what_it_extends_is_refused(raw: dict[str, Any]) -> None:
    set_key(raw, "datasets.demo.preprocessing", {"resize": 256, "crop": 224, "pad": 112})
    assert re.search(r"preprocessing: pad 112 is smaller than crop 224", refusal(raw))


def test_no_input_size_is_refused(raw: dict[str, Any]) -> None:
    set_key(raw, "datasets.demo.preprocessing", {"resize": None, "crop": None})
    assert "set one of resize, crop and pad" in refusal(raw)


def test_a_missing_key_is_named(raw: dict[str, Any]) -> None:
    del raw["backbones"]["custom"]["layers"]
    assert refusal(raw) == "parameters: 'backbones.custom.layers' is missing"


def test_a_section_that_is_no_section_is_named(raw: dict[str, Any]) -> None:
    raw["scoring"] = 5
    assert refusal(raw).startswith("parameters: scoring: ")


def test_all_faults_are_in_one_line(raw: dict[str, Any]) -> None:
    set_key(raw, "bpm.threshold", -1)
    set_key(raw, "scoring.top_k", 0.1)
    set_key(raw, "encoder.device", "gpu")
    message = refusal(raw)
    assert all(key in message for key in ("bpm.threshold", "'scoring.top_k'", "encoder.device"))
    assert message.count("; ") >= 2


@pytest.mark.parametrize(("categories", "names"), [(1, ["1"]), ([1, "a"], ["1", "a"])])
def test_a_category_may_be_called_by_a_number(
    categories: Any, names: list[str], raw: dict[str, Any]
) -> None:
    raw["categories"] = categories
    assert parse_parameters(raw).categories == names


@pytest.mark.parametrize(("given", "used"), [(None, 0.1), (0.5, 0.5)])
def test_the_coreset_ratio_is_the_data_sets_unless_set(
    given: float | None, used: float, raw: dict[str, Any]
) -> None:
    set_key(raw, "memory_bank.coreset_ratio", given)
    assert parse_parameters(raw).resolved()["memory_bank"]["coreset_ratio"] == used


def test_resolved_parameters_hold_what_the_run_uses_only(raw: dict[str, Any]) -> None:
    resolved = parse_parameters({**raw, "dataset": "folder", "backbone": "custom"}).resolved()
    assert list(resolved["datasets"]) == ["folder"]
    assert list(resolved["backbones"]) == ["custom"]
    assert resolved["bpm"] == {"mode": "binary", "kernel_size": 7, "threshold": 0.1}


# --- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "asked", "mode"),
    [
        ("uniformaly", "auto", "binary"),
        ("uniformaly", False, "off"),
        ("patchcore", "auto", "off"),
        ("patchcore", "soft", "soft"),
        ("padim", "binary", "binary"),
    ],
)
def test_a_method_brings_its_own_masking_unless_one_is_asked_for(
    method: str, asked: Any, mode: str, raw: dict[str, Any]
) -> None:
    set_key(raw, "scoring.method", method)
    set_key(raw, "bpm.mode", asked)
    parameters = parse_parameters(raw)
    assert parameters.bpm.mode == parameters.resolved()["bpm"]["mode"] == mode
    assert parse_parameters(parameters.model_dump()) == parameters


@pytest.mark.parametrize("key", ["scoring.method", "ablation.method"])
@pytest.mark.parametrize(
    ("method", "other", "value", "said"),
    [
        ("padim", "datasets.mine.preprocessing.tiles", {"size": 64}, "preprocessing.tiles to null"),
        ("mean_patch_knn", "bpm.mode", "soft", "bpm.mode soft weighs patches"),
    ],
)
def test_what_a_method_cannot_do_is_refused(
    key: str, method: str, other: str, value: Any, said: str, raw: dict[str, Any]
) -> None:
    raw["datasets"]["mine"] = {"layout": "folder", "root": "mine"}
    raw["dataset"] = "mine"
    set_key(raw, key, method)
    parse_parameters(raw)
    set_key(raw, other, value)
    line = refusal(raw)
    assert line.startswith(f"parameters: {key}: {method} ")
    assert said in line


def test_an_unknown_method_is_refused(raw: dict[str, Any]) -> None:
    set_key(raw, "scoring.method", "patchcor")
    assert "scoring.method: input should be 'uniformaly', 'patchcore'" in refusal(raw)


# --- what suits the backbone ----------------------------------------------------------------------


def suited(raw: dict[str, Any], **own: Any) -> dict[str, Any]:
    """The parameters with a backbone of one's own of 392 pixels."""
    set_key(raw, "backbones.mine", {**raw["backbones"]["custom"], "resolution": 392, **own})
    return {**raw, "backbone": "mine"}


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("demo", (392, 392, None)),
        ("mvtec", (448, 392, None)),
        ("cifar10", (196, None, 392)),
        ("visa", (392, None, None)),
        ("folder", (392, None, None)),
    ],
)
def test_sizes_are_in_proportion_to_what_suits_the_backbone(
    dataset: str, expected: tuple[int | None, ...], raw: dict[str, Any]
) -> None:
    raw = {**suited(raw), "dataset": dataset}
    parameters = parse_parameters(raw)
    resolved = parameters.resolved()["datasets"][dataset]["preprocessing"]
    assert (resolved["resize"], resolved["crop"], resolved["pad"]) == expected
    assert parameters.input_size == (392, 392)
    assert parameters.bpm.kernel_size == 7
    # The other data sets, and what ships, are as they are written.

    as_it_ships = parse_parameters({**raw, "backbone": "quickstart"}).resolved()
    shown = as_it_ships["datasets"][dataset]["preprocessing"]
    halved = tuple(side and side * 4 // 7 for side in expected)
    assert (shown["resize"], shown["crop"], shown["pad"]) == halved


def test_a_data_set_that_says_nothing_takes_what_suits_the_backbone(raw: dict[str, Any]) -> None:
    for layout, expected in {"folder": (392, None), "mvtec": (448, 392)}.items():
        set_key(raw, "datasets.mine", {"layout": layout, "root": "somewhere"})
        shown = parse_parameters({**suited(raw), "dataset": "mine"}).chosen_dataset.preprocessing
        assert (shown.resize, shown.crop) == expected


def test_sizes_and_kernels_that_are_given_stay_what_they_are(raw: dict[str, Any]) -> None:
    raw = suited(raw)
    set_key(raw, "datasets.demo.preprocessing.resize", 224)
    set_key(raw, "datasets.demo.preprocessing.crop", [224, 196])
    parameters = parse_parameters(raw)
    assert parameters.input_size == (224, 196)
    assert parameters.bpm.kernel_size == 3  # 7 of 392 is 3.5 of the shorter side
    set_key(raw, "bpm.kernel_size", 9)
    assert parse_parameters(raw).resolved()["bpm"]["kernel_size"] == 9


def test_a_backbone_without_a_resolution_smooths_over_as_many_patches_of_any_input(
    raw: dict[str, Any],
) -> None:
    set_key(raw, "datasets.demo.preprocessing.resize", 448)
    set_key(raw, "datasets.demo.preprocessing.crop", 448)
    assert parse_parameters(raw).bpm.kernel_size == 7
    set_key(raw, "backbones.quickstart.kernel_size", 5)
    assert parse_parameters(raw).bpm.kernel_size == 5


@pytest.mark.parametrize("size", ["big", "0/224", "224/0", "224/", "-1/224", "1.5/224", "999999/1"])
def test_a_size_that_is_none_is_told_in_one_fault(size: str, raw: dict[str, Any]) -> None:
    set_key(raw, "datasets.demo.preprocessing.resize", size)
    expected = f"parameters: datasets.demo.preprocessing.resize: {size!r} is no size: give pixels"
    assert refusal(raw).startswith(expected)


def test_a_size_in_proportion_that_does_not_fit_a_given_one_is_refused(raw: dict[str, Any]) -> None:
    set_key(raw, "datasets.demo.preprocessing.crop", 300)
    assert parse_parameters(suited(raw)).input_size == (300, 300)
    assert refusal(raw) == (
        "parameters: datasets.demo.preprocessing: crop 300 is larger than resize 224"
    )


def test_a_number_is_not_told_that_it_is_no_word(raw: dict[str, Any]) -> None:
    set_key(raw, "encoder.num_workers", -1)
    expected = "parameters: encoder.num_workers: input should be greater than or equal to 0, not -1"
    assert refusal(raw) == expected


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_only_torch_is_compiled(engine: str, raw: dict[str, Any]) -> None:
    encoder = raw["encoder"] | {"compile": True}
    assert parse_parameters({**raw, "encoder": encoder | {"engine": "auto"}}).encoder.compile
    line = refusal({**raw, "encoder": encoder | {"engine": engine}})
    assert f"engine is {engine}: set engine to torch" in line
