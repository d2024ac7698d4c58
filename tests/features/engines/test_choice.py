"""Which engine is chosen, and that measurements are made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from uniformaly_pipeline.common import file_cache
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoded, Encoder
from uniformaly_pipeline.features.engines import choice
from uniformaly_pipeline.features.engines.arrays import PatchArrays
from uniformaly_pipeline.features.engines.choice import (
    Measurements,
    TorchEngine,
    TranslatedEncoder,
    seconds_of_openvino,
    translated,
)
from uniformaly_pipeline.features.engines.linear import OneDnnLinear, block_seconds, has_onednn
from uniformaly_pipeline.features.store_update import FeatureStream, update_store

SIZE = (32, 32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(file_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache/engines.json"


@pytest.fixture
def measurements(tiny_backbone: Backbone) -> Measurements:
    return Measurements(tiny_backbone, SIZE)


@pytest.fixture
def encoder(tiny_backbone: Backbone) -> Encoder:
    return Encoder(load_backbone(tiny_backbone, SIZE), [2, 3], 9, "cpu", "float32")


# --- what is remembered ---------------------------------------------------------------------------


def test_measurements_are_of_a_model_and_a_size(
    measurements: Measurements, tiny_backbone: Backbone
) -> None:
    measurements.remember({"mkl": 1.0})
    measurements.remember({"onednn": 0.5})
    assert Measurements(tiny_backbone, SIZE).known() == {"mkl": 1.0, "onednn": 0.5}
    assert Measurements(tiny_backbone, (64, 64)).known() == {}
    assert Measurements(replace(tiny_backbone, model_kwargs={}), SIZE).known() == {}
    other = Measurements(tiny_backbone, (64, 64))
    other.remember({"mkl": 2.0})
    assert measurements.known() == {"mkl": 1.0, "onednn": 0.5}


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"x": 1}'])
def test_a_file_that_says_nothing_is_written_anew(
    content: str, measurements: Measurements, cache: Path
) -> None:
    cache.parent.mkdir()
    cache.write_text(content)
    assert measurements.known() == {}
    measurements.remember({"mkl": 1.0})
    assert measurements.known() == {"mkl": 1.0}


def test_where_nothing_can_be_kept_nothing_is(measurements: Measurements, cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    measurements.remember({"mkl": 1.0})
    assert measurements.known() == {}


# --- torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mkl", "onednn", "layers"), [(2.0, 1.0, 48), (1.0, 2.0, 0)])
def test_the_fastest_linear_layers_are_used_and_measured_once(
    mkl: float,
    onednn: float,
    layers: int,
    encoder: Encoder,
    measurements: Measurements,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def measure(_: Any, tokens: int) -> dict[str, float]:
        asked.append(tokens)
        return {"mkl": mkl, "onednn": onednn}

    monkeypatch.setattr(choice, "block_seconds", measure)
    for _ in range(2):
        engine = TorchEngine(encoder, measurements, 5)
        model = engine.prepare().model
        assert sum(isinstance(module, OneDnnLinear) for module in model.modules()) == layers
    assert asked == [5]
    assert engine.seconds(3) == 3 * 1.0 * 10
    assert engine.seconds(0) == 0.0


def test_a_block_is_measured_with_each_library(encoder: Encoder) -> None:
    seconds = block_seconds(encoder.model, tokens=5)
    assert set(seconds) == ({"mkl", "onednn"} if has_onednn() else {"mkl"})
    assert all(0 < value < 60 for value in seconds.values())
    assert not any(isinstance(module, OneDnnLinear) for module in encoder.model.modules())


def test_without_a_choice_nothing_is_measured(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "block_seconds", None)
    assert TorchEngine(encoder, None, 5).prepare() is encoder


# --- other engines --------------------------------------------------------------------------------


def test_an_engine_is_made_once_and_its_speed_remembered(measurements: Measurements) -> None:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return lambda images: PatchArrays(images[:, 0].copy(), images[:, 0].copy())

    engine = TranslatedEncoder(make, measurements)
    assert made == []
    engine(torch.ones(4, 3, 2, 2))
    assert measurements.known() == {}  # the first batch warms up
    encoded = engine(torch.ones(4, 3, 2, 2))
    assert made == [1]
    assert set(measurements.known()) == {"translation", "openvino"}
    assert isinstance(encoded, Encoded)


@pytest.mark.parametrize(
    ("engine", "precision", "device", "text"),
    [
        ("openvino", "float16", "cpu", "does not compute in float16"),
        ("onnx", "bfloat16", "cpu", "does not compute in bfloat16"),
        ("onnx", "float32", "meta", "computes on a CPU"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    engine: Any, precision: Any, device: str, text: str, tiny_backbone: Backbone
) -> None:
    encoder = Encoder(load_backbone(tiny_backbone, SIZE), [2], 9, "cpu", precision)
    encoder.device = device
    with pytest.raises(InputError, match=text):
        translated(engine, encoder, SIZE)


def test_openvino_pays_from_some_number_of_images_on(
    encoder: Encoder, measurements: Measurements
) -> None:
    measurements.remember({"mkl": 0.02})
    engine = TorchEngine(encoder, measurements, 5)  # 0.2 s an image
    assert seconds_of_openvino(engine, 0) == 0.0
    assert seconds_of_openvino(engine, 1000) > engine.seconds(1000)
    assert seconds_of_openvino(engine, 2000) < engine.seconds(2000)
    measurements.remember({"translation": 1.0, "openvino": 0.1})
    assert seconds_of_openvino(engine, 9) > engine.seconds(9)
    assert seconds_of_openvino(engine, 11) < engine.seconds(11)
    measurements.remember({"openvino": 0.3})
    assert seconds_of_openvino(engine, 1000) > engine.seconds(1000)


# --- streams --------------------------------------------------------------------------------------


class Both:
    """A stream with an alternative; each image takes 1 s in one, 0.1 s after 10 s in the other."""

    def __init__(self, fake_encoder: Any) -> None:
        self.fake_encoder = fake_encoder
        self.used: list[tuple[str, int]] = []

    def stream(self, number: int) -> FeatureStream:
        images = [str(i) for i in range(number)]
        plain = self.fake_encoder.stream(images)
        other = replace(
            plain,
            header=replace(plain.header, engine="openvino"),
            encode=lambda images: self._encode("openvino", plain, images),
            seconds=lambda count: 10 + 0.1 * count if count else 0.0,
        )
        return replace(
            plain,
            encode=lambda images: self._encode("torch", plain, images),
            alternatives=(other,),
        )

    def _encode(self, name: str, plain: FeatureStream, images: list[str]) -> Iterator[Encoded]:
        self.used.append((name, len(images)))
        return plain.encode(images)


@pytest.fixture
def both(fake_encoder: Any) -> Both:
    return Both(fake_encoder)


@pytest.mark.parametrize(("number", "name"), [(8, "torch"), (14, "openvino")])
def test_the_engine_is_taken_that_is_done_first(
    number: int, name: str, both: Both, tmp_path: Path
) -> None:
    update_store(tmp_path, both.stream(number))
    assert both.used == [(name, number)]
    # Nothing is lacking, so nothing is faster.
    update_store(tmp_path, both.stream(number))
    assert both.used == [(name, number)]


def test_a_store_is_gone_on_with_while_that_is_quicker(both: Both, tmp_path: Path) -> None:
    first = update_store(tmp_path, both.stream(14))
    assert update_store(tmp_path, both.stream(20)) == first
    assert both.used == [("openvino", 14), ("openvino", 6)]
    # So that no store holds the features of two engines.
    assert update_store(tmp_path, replace(both.stream(20), alternatives=())) != first


def test_features_of_torch_lie_where_they_did(fake_encoder: Any) -> None:
    header = fake_encoder.stream(["0"]).header
    assert "engine" not in header.to_json()
    assert replace(header, engine="onnx").key != header.key
    assert type(header).from_json(header.to_json()) == header
    named = replace(header, engine="onnx")
    assert type(header).from_json(named.to_json()) == named


@pytest.mark.parametrize(
    "content", ['"fast"', "null", "-1", "0", "NaN", "Infinity", "true", "[1]", "1e300"]
)
def test_what_is_no_time_is_measured_again(
    content: str, measurements: Measurements, cache: Path
) -> None:
    measurements.remember({"mkl": 1.0, "onednn": 0.5})
    cache.write_text(cache.read_text().replace("0.5", content))
    assert measurements.known() == {"mkl": 1.0}


def test_a_file_too_deep_to_read_is_none(measurements: Measurements, cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(100_000 * "[")
    assert measurements.known() == {}


def test_openvino_without_its_translation_is_not_known(
    measurements: Measurements, encoder: Encoder
) -> None:
    in_torch = TorchEngine(encoder, measurements, 5)
    thought = seconds_of_openvino(in_torch, 10)
    measurements.remember({"openvino": 5.0})
    assert seconds_of_openvino(in_torch, 10) == thought
