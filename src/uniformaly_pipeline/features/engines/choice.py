"""Which engine is fastest here: measured at first use, and remembered."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import torch

from uniformaly_pipeline.common.cores import cpu_name, usable_cores
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.file_cache import cache_folder
from uniformaly_pipeline.common.files import new_file
from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.encoder import Encoded, Encoder
from uniformaly_pipeline.features.engines import onnx, openvino
from uniformaly_pipeline.features.engines.arrays import PatchEncoder
from uniformaly_pipeline.features.engines.linear import (
    KINDS,
    LinearKind,
    block_seconds,
    use_linear,
)
from uniformaly_pipeline.features.estimates import peak_memory

logger = logging.getLogger(__name__)

Engine = Literal["auto", "torch", "openvino", "onnx"]

TRANSLATION_SECONDS = 60.0
"""What a translation to OpenVINO is thought to take before one was measured, and ..."""
GAIN = 0.8
"""... the share of torch's time that it then takes: it is first tried where it must pay, from five
minutes of torch on, and then known."""


MOST_SECONDS = 1e6
"""More than anything measured here takes: a number above is damage."""


class Measurements:
    """Seconds that were measured on this machine for a model, in a file.

    A file that cannot be read or written is none, and what is no number of seconds is not known:
    it is measured again.
    """

    def __init__(self, backbone: Backbone, input_size: tuple[int, int]) -> None:
        """Ask for what is known of a model on this machine, with the libraries installed."""
        libraries = (f"{name} {_version(name)}" for name in ("torch", "openvino"))
        model = f"{backbone.model} {json.dumps(dict(backbone.model_kwargs), sort_keys=True)}"
        size = f"{input_size[0]}x{input_size[1]}"
        self._key = ", ".join([f"{usable_cores()} of {cpu_name()}", *libraries, model, size])
        self.path = cache_folder() / "engines.json"

    def known(self) -> dict[str, float]:
        """Seconds by what was measured."""
        found = self._all().get(self._key)
        if not isinstance(found, Mapping):
            return {}
        return {name: float(value) for name, value in found.items() if _is_time(value)}

    def remember(self, seconds: Mapping[str, float]) -> None:
        """Add what was measured."""
        everything = self._all()
        everything[self._key] = {**self.known(), **seconds}
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new_file(self.path) as part:
                part.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")

    def _all(self) -> dict[str, object]:
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}


def _is_time(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value < MOST_SECONDS  # type: ignore[operator]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@dataclass(frozen=True)
class TorchEngine:
    """Torch, with the fastest linear layers on a CPU.

    Attributes:
        encoder: The encoder.
        measurements: What is known of its model; ``None`` where there is no choice.
        tokens: Tokens of an image.
        chosen: What computes linear layers, where that was chosen elsewhere.
    """

    encoder: Encoder
    measurements: Measurements | None
    tokens: int
    chosen: LinearKind | None = None

    @functools.cached_property
    def _block(self) -> dict[LinearKind, float]:
        """Seconds of a block and an image by the library of linear layers."""
        assert self.measurements is not None
        remembered = self.measurements.known()
        known = {kind: remembered[kind] for kind in KINDS if kind in remembered}
        if not known:
            known = dict(block_seconds(self.encoder.model, self.tokens))
            self.measurements.remember({str(kind): seconds for kind, seconds in known.items()})
        return known

    @property
    def linear(self) -> LinearKind | None:
        """What computes the linear layers; ``None`` where there is no choice."""
        if self.measurements is None or self.chosen is not None:
            return self.chosen
        return min(self._block, key=self._block.__getitem__)

    def prepare(self) -> Encoder:
        """The encoder with its fastest linear layers."""
        kind = self.linear
        if kind is None or self.encoder.device != "cpu":
            return self.encoder
        if kind != self.chosen:
            times = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in self._block.items())
            logger.info("encoder.engine: torch, linear layers by %s (a block: %s)", kind, times)
        use_linear(self.encoder.model, kind)
        return self.encoder

    def seconds(self, num_images: int) -> float:
        """What encoding takes, about."""
        if self.measurements is None or num_images == 0:
            return 0.0
        return num_images * min(self._block.values()) * self.encoder.num_blocks


def torch_engine(
    encoder: Encoder,
    backbone: Backbone,
    input_size: tuple[int, int],
    is_compiled: bool = False,
    chosen: LinearKind | None = None,
) -> TorchEngine:
    """An encoder in torch; on a CPU in float32 its linear layers are a matter of choice."""
    has_choice = encoder.device == "cpu" and encoder.dtype == torch.float32 and not is_compiled
    measurements = Measurements(backbone, input_size) if has_choice else None
    return TorchEngine(encoder, measurements, encoder.num_tokens(input_size), chosen)


class TranslatedEncoder:
    """An encoder in another engine, translated when it is first used, for torch's data loaders.

    Attributes:
        device: Where it computes.
    """

    device = "cpu"

    def __init__(
        self, make: Callable[[], PatchEncoder], measurements: Measurements | None = None
    ) -> None:
        """Translate nothing yet.

        Args:
            make: Translates and compiles.
            measurements: Where to keep what the translation and the first batches took.
        """
        self._make, self._measurements = make, measurements
        self._translation = 0.0
        self._batches = 0

    @functools.cached_property
    def _engine(self) -> PatchEncoder:
        start = time.perf_counter()
        engine = self._make()
        self._translation = time.perf_counter() - start
        logger.info("encoder.engine: translated in %.1f s", self._translation)
        return engine

    def __call__(self, images: torch.Tensor) -> Encoded:
        """Encode a batch, float32 [B, 3, H, W]."""
        engine = self._engine
        start = time.perf_counter()
        features, attention = engine(images.numpy())
        seconds = time.perf_counter() - start
        self._batches += 1
        if self._batches == 2 and self._measurements is not None:  # the first one warms up
            measured = {"translation": self._translation, "openvino": seconds / len(images)}
            self._measurements.remember(measured)
        return Encoded(torch.from_numpy(features), torch.from_numpy(attention))

    def peak_memory(self) -> int | None:
        """Most memory held so far, in bytes."""
        return peak_memory()


def seconds_of_openvino(in_torch: TorchEngine, num_images: int) -> float:
    """What encoding in OpenVINO takes, translation included; thought where nothing is known."""
    if num_images == 0:
        return 0.0
    known = {} if in_torch.measurements is None else in_torch.measurements.known()
    if {"translation", "openvino"} <= known.keys():
        return known["translation"] + num_images * known["openvino"]
    return TRANSLATION_SECONDS + GAIN * in_torch.seconds(num_images)


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def translated(
    engine: Literal["openvino", "onnx"],
    encoder: Encoder,
    input_size: tuple[int, int],
    measurements: Measurements | None = None,
) -> TranslatedEncoder:
    """An encoder in another engine.

    Args:
        engine: The engine.
        encoder: The encoder in torch.
        input_size: (height, width) of the input in pixels.
        measurements: Where to keep what OpenVINO took.

    Raises:
        InputError: The engine does not compute on this device or in this type.
    """
    precision = str(encoder.dtype).removeprefix("torch.")
    if encoder.device != "cpu":
        raise InputError(
            f"encoder.engine: {engine} computes on a CPU: set encoder.device to cpu, or "
            "encoder.engine to torch"
        )
    if precision not in openvino.PRECISIONS or (engine, precision) == ("onnx", "bfloat16"):
        raise InputError(
            f"encoder.engine: {engine} does not compute in {precision}: set encoder.precision to "
            "float32, or encoder.engine to torch"
        )
    exact = encoder.exact()

    def make() -> PatchEncoder:
        if engine == "onnx":
            return onnx.OnnxEncoder(onnx.translate(exact, input_size))
        model = openvino.translate(exact, input_size)
        return openvino.OpenVinoEncoder(model, precision)  # type: ignore[arg-type]

    return TranslatedEncoder(make, measurements)


def check_engine(engine: Engine) -> None:
    """Find out before any work whether an engine is installed.

    Raises:
        InputError: It is not.
    """
    if engine == "openvino":
        openvino._import()
    elif engine == "onnx":
        onnx.import_packages(*onnx.TRANSLATION)
