"""From a detector to a folder that runs in another engine, checked before it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from uniformaly_pipeline import __version__
from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.cores import cpu_name, usable_cores
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.provenance import installed_version
from uniformaly_pipeline.detector.encoding import PatchArrays, PatchEncoder, TorchEncoder
from uniformaly_pipeline.detector.exported import (
    CARD_VERSION,
    ENCODER_FILES,
    ExportedDetector,
    Format,
    encoder_identity,
    encoder_of,
    file_hashes,
)
from uniformaly_pipeline.detector.results import Result
from uniformaly_pipeline.detector.sources import Opened, Source
from uniformaly_pipeline.detector.state import DETECTOR_FILE, DetectorState
from uniformaly_pipeline.features.engines import onnx, openvino
from uniformaly_pipeline.ingestion.decoding import Decoded

Judge = Callable[[DetectorState, PatchEncoder, Sequence[Source], int], Sequence[Result]]
"""Judges images in batches of a size, by an encoder."""

TOLERANCE = 1e-4
"""Greatest difference of a feature, as a share of the largest feature, and of an attention."""

OWN_SAMPLES = "normal images, with and without a black middle"
"""What is compared on where no images are given."""

SAMPLES = 16
"""Images that both engines judge."""

BATCH = 8
"""Images in the batch that is compared with the same ones alone."""

_PACKAGES = ("torch", "timm", "numpy", "onnx", "onnxruntime", "openvino")


class _Watched:
    """An encoder that keeps what it gave, and how long that took."""

    def __init__(self, encoder: PatchEncoder) -> None:
        self._encoder = encoder
        self.given: list[PatchArrays] = []
        self.seconds: list[float] = []

    def __call__(self, images: np.ndarray) -> PatchArrays:
        start = time.perf_counter()
        found = self._encoder(images)
        self.seconds.append(time.perf_counter() - start)
        self.given.append(found)
        return found

    def all(self) -> PatchArrays:
        """What it gave, of all images together."""
        features, attention = zip(*self.given, strict=True)
        return PatchArrays(np.concatenate(features), np.concatenate(attention))


def export_detector(
    state: DetectorState,
    encoder: PatchEncoder,
    format: Format,
    judge: Judge,
    sources: Sequence[Source] = (),
) -> ExportedDetector:
    """Translate a detector and compare it with what it was.

    Args:
        state: What it knows.
        encoder: Its encoder, in torch.
        format: ``safetensors`` (torch, with the weights in the file), ``onnx`` or ``openvino``.
        judge: Judges images with an encoder.
        sources: Images to compare on, of which up to :data:`SAMPLES` are taken; by default the
            detector's pictures of normal images, each with and without a black middle.

    Raises:
        InputError: Features or attention differ by more than :data:`TOLERANCE`, a decision differs,
            the engine is not installed, or there are no images to compare on.
    """
    if format not in ENCODER_FILES:
        raise InputError(f"there is no format '{format}': choose {', '.join(ENCODER_FILES)}")
    if not isinstance(encoder, TorchEncoder):
        raise InputError("only a detector whose encoder is in torch can be exported")
    samples = _spread(sources, SAMPLES) if sources else _own_samples(state)
    judged = state if sources else _without_region(state)
    files = _translate(state, encoder, format)
    other = encoder_of(format, files) or _embedded(state, files)
    checked = _check(judged, encoder, other, format, judge, samples)
    card = {
        "version": CARD_VERSION,
        "engine": format,
        "detector": {
            "name": state.name,
            "vectors": len(state.bank.arrays["memory_bank"]),
            "threshold": str(state.threshold),
        },
        "encoder": encoder_identity(state.reading),
        "files": file_hashes(files),
        "megabytes": {name: round(len(content) / 1e6, 2) for name, content in files.items()},
        "compared_on": "given images" if sources else OWN_SAMPLES,
        **checked,
        "made_with": {
            "uniformaly-pipeline": __version__,
            **{name: found for name in _PACKAGES if (found := installed_version(name))},
        },
        "machine": f"{usable_cores()} cores of {cpu_name()}",
    }
    return ExportedDetector(files, card)


def _translate(state: DetectorState, encoder: TorchEncoder, format: Format) -> dict[str, bytes]:
    """The files of a detector in a format."""
    if format == "safetensors":
        whole = replace(state, weights=state.weights or encoder.weights())
        return {DETECTOR_FILE: whole.to_bytes()}
    size = state.reading.preprocessing.input_size
    exact = encoder.exact()
    contents = (
        (onnx.translate(exact, size),)
        if format == "onnx"
        else openvino.serialize(openvino.translate(exact, size))
    )
    bare = replace(state, weights={})
    return {
        DETECTOR_FILE: bare.to_bytes(),
        **dict(zip(ENCODER_FILES[format], contents, strict=True)),
    }


def _embedded(state: DetectorState, files: Mapping[str, bytes]) -> PatchEncoder:
    """The encoder whose weights are in a detector's file."""
    weights = DetectorState.from_bytes(files[DETECTOR_FILE], DETECTOR_FILE).weights
    size = state.reading.preprocessing.input_size
    return TorchEncoder(state.backbone, size, device="cpu", weights=weights)


def _without_region(state: DetectorState) -> DetectorState:
    """The same detector for its own pictures, which have another size than the images."""
    bank = state.bank
    return replace(state, bank=ArrayBundle(bank.arrays, {**bank.metadata, "regions": {}}))


def _own_samples(state: DetectorState) -> list[Source]:
    """The detector's pictures of normal images, and as many that are not normal.

    Raises:
        InputError: It has no pictures.
    """
    if not state.thumbnails:
        raise InputError(
            f"the detector '{state.name}' has no pictures of normal images to compare on: give "
            "images"
        )
    found = []
    for name, jpeg in _spread(
        list(zip(state.normal_images, state.thumbnails, strict=True)), SAMPLES // 2
    ):
        picture = Source(name, lambda jpeg=jpeg: jpeg)  # type: ignore[misc]
        found += [picture, _with_hole(picture.open(state.reading.levels))]
    return found


def _with_hole(normal: Opened) -> Source:
    """A picture with a black middle, a ninth of it."""
    image, (width, height) = normal.image.copy(), normal.image.size
    image.paste(0, (width // 3, height // 3, 2 * width // 3, 2 * height // 3))
    return Source(f"{normal.name} with a black middle", lambda: Decoded(image, None))


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Up to so many of some items, from all over."""
    return list(items)[:: -(-len(items) // count)]


def _check(
    state: DetectorState,
    encoder: PatchEncoder,
    other: PatchEncoder,
    format: Format,
    judge: Judge,
    samples: Sequence[Source],
) -> dict[str, Any]:
    """Compare two encoders of a detector, image by image, and the second in a batch.

    Raises:
        InputError: They differ; the line says by how much.
    """
    before, after, batched = _Watched(encoder), _Watched(other), _Watched(other)
    expected = judge(state, before, samples, 1)
    found = judge(state, after, samples, 1)
    judge(state, batched, samples[:BATCH], BATCH)
    alone, (features, attention) = after.all(), before.all()
    largest = float(np.abs(features).max())
    pairs = [(features, alone.features), (alone.features[:BATCH], batched.all().features)]
    differs = max(float(np.abs(a - b).max()) for a, b in pairs) / largest
    attention_differs = float(np.abs(attention - alone.attention).max())
    flipped = [
        one.name
        for one, two in zip(expected, found, strict=True)
        if one.is_anomalous != two.is_anomalous
    ]
    for what, difference in (("features", differs), ("attention", attention_differs)):
        if not difference <= TOLERANCE:
            raise InputError(
                f"{format}: {what} of '{state.name}' differ by {difference:.2g}, more than "
                f"{TOLERANCE:g}: nothing is exported"
            )
    if flipped:
        raise InputError(
            f"{format}: {len(flipped)} of {len(samples)} decisions differ, such as that on "
            f"{flipped[0]}, whose score is too near the threshold: nothing is exported; set "
            "another threshold"
        )
    scores, theirs = (np.array([each.score for each in results]) for results in (expected, found))
    return {
        # Of features and scores as a share of the largest.
        "greatest_feature_difference": differs,
        "greatest_attention_difference": attention_differs,
        "greatest_score_difference": float(np.abs(scores - theirs).max() / max(scores.max(), 1e-9)),
        "tolerance": TOLERANCE,
        "decisions_compared": len(samples),
        "decisions_anomalous": sum(each.is_anomalous for each in found),
        "decisions_flipped": 0,
        "milliseconds_an_image": {
            "torch, before": _milliseconds(before),
            "torch" if format == "safetensors" else format: _milliseconds(after),
        },
    }


def _milliseconds(watched: _Watched) -> float:
    """Encoding an image by itself, the median; the first one warms up."""
    return round(1e3 * float(np.median(watched.seconds[1:] or watched.seconds)), 2)
