"""A detector at work: latency by engine, what of it is not encoding, start-up, memory.

    python -m benchmarks.detector [--vits14 dinov2_vits14.safetensors] [--quick] [--json FILE]

Backbones: the quick-start one, DINOv2 ViT-S/14 where its weights are given, ViT-B/8 with random
weights; images of 224 pixels, drawn, on which nearly every patch counts; a memory bank of 10,000
vectors. The engines take turns, image by image, so that a busy machine is busy for all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.inputs import draw_defects
from benchmarks.machine import describe
from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.encoding import PatchArrays, PatchEncoder, TorchEncoder
from uniformaly_pipeline.features.backbone import (
    UNTRAINED,
    Backbone,
    load_backbone,
    named_backbone,
)
from uniformaly_pipeline.features.engines.linear import LinearKind, has_onednn, use_linear
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.memory_bank.coreset import greedy_coreset

ROOT = Path(__file__).parents[1]
BATCH = 8
LEAST = 5
"""Runs of each engine and batch, however long they take."""
RANDOM, RANDOM_MODEL = "ViT-B/8 (random)", "vit_base_patch8_224"
ENGINES = ("torch (MKL)", "torch (oneDNN)", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Size:
    """How much to measure.

    Attributes:
        side: Side of the input in pixels.
        bank: Vectors of the memory bank.
        repeats: Runs of each engine and batch, at most.
        seconds: Time for them, of all engines together; at least five are run.
        processes: Fresh processes for each start-up.
    """

    side: int
    bank: int
    repeats: int
    seconds: float
    processes: int


FULL, QUICK = Size(224, 10_000, 30, 45.0, 5), Size(112, 200, 2, 5.0, 1)


class _Timed:
    """An encoder that counts its own seconds."""

    def __init__(self, encoder: PatchEncoder) -> None:
        self._encoder = encoder
        self.seconds = 0.0

    def __call__(self, images: np.ndarray) -> PatchArrays:
        start = time.perf_counter()
        found = self._encoder(images)
        self.seconds += time.perf_counter() - start
        return found


class _Torch:
    """The encoder in torch with one library for its linear layers."""

    def __init__(self, encoder: TorchEncoder, kind: LinearKind) -> None:
        self._encoder, self._kind = encoder, kind

    def __call__(self, images: np.ndarray) -> PatchArrays:
        use_linear(self._encoder._encoder.model, self._kind)
        return self._encoder(images)


def backbones(vits14: str | None, quick: bool, folder: Path) -> dict[str, Backbone]:
    """What to measure by its name; random weights are put into the folder."""
    # At the top it would load torch before this package says how torch's threads wait.
    from safetensors.torch import save_file

    found = {"quickstart": named_backbone("quickstart")}
    if vits14 is not None:
        found["ViT-S/14"] = Backbone("vit_small_patch14_dinov2", vits14)
    if not quick:
        # A file, as trained ones are: drawing them anew at each start would be measured as well.
        path = folder / f"{RANDOM_MODEL}.safetensors"
        untrained = Backbone(RANDOM_MODEL, UNTRAINED)
        save_file(load_backbone(untrained, (224, 224)).state_dict(), path)
        found[RANDOM] = replace(untrained, checkpoint=str(path))
    return found


def fit(backbone: Backbone, size: Size, images: Path) -> Detector:
    """A detector with a memory bank of that many vectors, greedily chosen."""
    detector = Detector.fit(
        images / "plate/train/good",
        backbone=backbone,
        preprocessing=Preprocessing(resize=size.side, crop=size.side),
        coreset_ratio=1.0,
        # Half precision's range ends below features of random weights.
        feature_dtype="float32" if backbone.model == RANDOM_MODEL else "float16",
        device="cpu",
    )
    bank = detector.state.bank
    vectors = bank.arrays["memory_bank"].astype(np.float32)
    kept = greedy_coreset(vectors, min(size.bank, len(vectors)), np.arange(10))
    rows = {name: bank.arrays[name][kept] for name in ("memory_bank", "image", "patch")}
    state = replace(detector.state, bank=ArrayBundle({**bank.arrays, **rows}, bank.metadata))
    return Detector(state, detector.encoder, "cpu")


def engines(detector: Detector, folder: Path) -> dict[str, PatchEncoder]:
    """The detector's encoder in each engine; exports are left in the folder."""
    encoder = detector.encoder
    assert isinstance(encoder, TorchEncoder)
    found: dict[str, PatchEncoder] = {ENGINES[0]: _Torch(encoder, "mkl")}
    if has_onednn():
        found[ENGINES[1]] = _Torch(encoder, "onednn")
    for name, format in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        detector.export(folder / format, format)  # type: ignore[arg-type]
        found[name] = Detector.load(folder / format).encoder
    detector.export(folder / "safetensors", "safetensors")
    return found


def latencies(detector: Detector, folder: Path, images: Path, size: Size) -> Iterator[Any]:
    """Milliseconds an image, alone and in batches, by engine; medians.

    Yields:
        ``engine``, ``batch``, ``total``, ``encoding`` and ``rest``, what is not encoding.
    """
    pixels = [np.asarray(Image.open(p)) for p in sorted((images / "plate/test").rglob("*.png"))]
    timed = {name: _Timed(encoder) for name, encoder in engines(detector, folder).items()}
    judges = {name: Detector(detector.state, encoder) for name, encoder in timed.items()}
    for batch in (1, BATCH):
        given: Any = pixels[0] if batch == 1 else [pixels[i % len(pixels)] for i in range(batch)]
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in judges}
        began = time.perf_counter()
        for repeat in range(size.repeats + 1):
            if repeat > LEAST and time.perf_counter() - began > size.seconds:
                break
            for name, judge in judges.items():
                timed[name].seconds = 0.0
                start = time.perf_counter()
                judge.predict(given)
                seconds = time.perf_counter() - start
                if repeat:  # the first one warms up
                    rows[name].append((seconds, timed[name].seconds))
        for name, measured in rows.items():
            total = statistics.median(1e3 * seconds / batch for seconds, _ in measured)
            rest = statistics.median(1e3 * (all_ - own) / batch for all_, own in measured)
            yield {
                "engine": name,
                "batch": batch,
                "total": total,
                "encoding": total - rest,
                "rest": rest,
            }


START = """
import sys, time
start = time.perf_counter()
from uniformaly_pipeline import Detector
imported = time.perf_counter()
detector = Detector.load(sys.argv[1], device="cpu")
loaded = time.perf_counter()
detector.warm_up()
ready = time.perf_counter()
detector.predict(sys.argv[2])
judged = time.perf_counter()
import json
from benchmarks.machine import peak_bytes
print(json.dumps({"import": imported - start, "load": loaded - imported, "warm_up": ready - loaded,
                  "first_image": judged - ready, "peak_bytes": peak_bytes()}))
"""


def start_up(folder: Path, image: Path, size: Size) -> Iterator[Any]:
    """Seconds of a fresh process until it can judge, and the most memory it held; medians.

    Yields:
        By format ``import``, ``load``, ``warm_up``, ``first_image`` [s], ``peak_bytes`` and
        ``shell``: ``uniformaly predict`` of one image [s].
    """
    for format in ("safetensors", "onnx", "openvino"):
        place = str(folder / format)
        runs: list[dict[str, float]] = []
        for _ in range(size.processes + 1):
            command = [sys.executable, "-c", START, place, str(image)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            shell = "from uniformaly_pipeline.commands.main import main; main()"
            start = time.perf_counter()
            command = [sys.executable, "-c", shell, "predict", place, str(image)]
            subprocess.run(command, capture_output=True, check=True)
            seconds = time.perf_counter() - start
            runs.append({**json.loads(done.stdout.splitlines()[-1]), "shell": seconds})
        warm = runs[1:]  # the first one fills the disk's cache
        yield {
            "format": format,
            **{key: statistics.median(run[key] for run in warm) for key in warm[0]},
        }


def measure(backbone: Backbone, size: Size, folder: Path) -> dict[str, Any]:
    """All figures of a backbone."""
    images = folder / "images"
    draw_defects(images, 8 if size is QUICK else 110, BATCH, 1)
    detector = fit(backbone, size, images)
    image = next((images / "plate/test").rglob("*.png"))
    result = detector.predict(image)
    return {
        "vectors": len(detector.state.bank.arrays["memory_bank"]),
        "dim": detector.state.reading.header.dim,
        "patches": int(result.foreground.size),
        "patches_searched": int(result.foreground.sum()),
        "latency_ms": list(latencies(detector, folder, images, size)),
        "start_up": list(start_up(folder, image, size)),
    }


def table(found: dict[str, Any]) -> str:
    """What was measured, in Markdown."""
    lines = [
        "| backbone | engine | one image | of it not encoding | batches of 8, an image | "
        "of it not encoding |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, of in found.items():
        alone, batched = (
            {row["engine"]: row for row in of["latency_ms"] if row["batch"] == batch}
            for batch in (1, BATCH)
        )
        for engine, row in alone.items():
            cells = " | ".join(_cells(each) for each in (row, batched[engine]))
            lines.append(f"| {name} | {engine} | {cells} |")
    lines += [
        "",
        "| backbone | format | import | load | warm up | first image | peak memory | "
        "`uniformaly predict` of one image |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, of in found.items():
        for row in of["start_up"]:
            seconds = " | ".join(
                f"{row[key]:.2f} s" for key in ("import", "load", "warm_up", "first_image")
            )
            lines.append(
                f"| {name} | {row['format']} | {seconds} | {row['peak_bytes'] / 1e9:.2f} GB | "
                f"{row['shell']:.2f} s |"
            )
    lines += [""] + [
        f"{name}: {of['vectors']:,} vectors of {of['dim']}, {of['patches_searched']} of "
        f"{of['patches']} patches of an image are searched."
        for name, of in found.items()
    ]
    return "\n".join(lines)


def _cells(row: dict[str, float]) -> str:
    """An image's time, and what of it is not encoding."""
    return f"{row['total']:.1f} ms | {row['rest']:.1f} ms ({row['rest'] / row['total']:.0%})"


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the tables and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detector", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--vits14", metavar="FILE", help="weights of DINOv2 ViT-S/14")
    parser.add_argument("--quick", action="store_true", help="small, for trying out")
    parser.add_argument("--json", type=Path, default=Path("build/detector.json"), metavar="FILE")
    arguments = parser.parse_args(given)
    machine = describe()
    if machine["busy"]:
        print(f"Warning: the machine is busy (load {machine['load_average']:.1f})", file=sys.stderr)
    found: dict[str, Any] = {}
    size = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory() as weights:
        for name, backbone in backbones(arguments.vits14, arguments.quick, Path(weights)).items():
            print(f"Measuring {name}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                found[name] = measure(backbone, size, Path(folder))
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            result = {"machine": machine, "quick": arguments.quick, "backbones": found}
            arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
