"""Every backbone that ships: its size and speed, and its AUROC where its weights are at hand.

    python -m benchmarks.backbones_table [--vits14 FILE] [--photographs DEFECTS CLASSES]
                                         [--backbones quickstart ...] [--no-speed] [--json FILE]

Each at the resolution and with the settings that suit it. The speed is that of encoding, decoding
left out, with random weights where none are at hand, which takes as long. The AUROC is of the demo,
and of folders of photographs, with a coreset of 0.1 as it ships. ``--vits14`` gives DINOv2's
ViT-S/14 without registers, for the one with them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.few_images import Category, encode, evaluate, read_data
from benchmarks.machine import describe
from uniformaly_pipeline.features import backbone as of_backbones
from uniformaly_pipeline.features.backbone import (
    UNTRAINED,
    Backbone,
    input_grid,
    is_at_hand,
    load_backbone,
    named_backbone,
)
from uniformaly_pipeline.features.encoder import Encoder
from uniformaly_pipeline.features.engines.choice import torch_engine
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder

BATCH = 2
REPEATS = 3
"""Batches that are timed, after one that warms up."""

CORESET_RATIO = 0.1
WITHOUT_REGISTERS = "vit_small_patch14_dinov2"
METRICS = ("image_auroc", "pixel_auroc")

Data = Mapping[str, tuple[ImageFolder, Sequence[Category]]]


@dataclass(frozen=True)
class Row:
    """A backbone in the table.

    Attributes:
        name: Its key.
        parameters: Weights of the whole model, its head left out.
        patch: Side of a patch in pixels.
        resolution: Side of the input in pixels.
        kernel_size: Side of the smoothing box in patches.
        images_per_second: Encoding alone; ``None`` where it was not timed.
        metrics: Means over categories by data set; empty where there are no weights.
    """

    name: str
    parameters: int
    patch: int
    resolution: int
    kernel_size: int
    images_per_second: float | None
    metrics: Mapping[str, Mapping[str, float]]

    @property
    def figures(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return {**vars(self), "metrics": dict(self.metrics)}


def shipped_backbones(vits14: str | None = None) -> dict[str, Backbone]:
    """The backbones that ship, but for the example of one's own."""
    path = Path(of_backbones.__file__).with_name("backbones.json")
    names = [name for name in json.loads(path.read_text(encoding="utf-8")) if name != "custom"]
    found = {name: named_backbone(name) for name in names}
    if vits14 is not None:
        plain = replace(found["dinov2_vits14"], model=WITHOUT_REGISTERS, checkpoint=vits14)
        found["dinov2_vits14 without registers"] = plain
    return found


def measure(name: str, backbone: Backbone, data: Data, *, timed: bool = True) -> Row:
    """Load a backbone, with random weights where its own are not at hand, and measure it."""
    knows = backbone.checkpoint == UNTRAINED or is_at_hand(backbone)
    side = backbone.input_side
    model = load_backbone(
        backbone if knows else replace(backbone, checkpoint=UNTRAINED), (side, side)
    )
    encoder = Encoder(
        model, backbone.layers, backbone.attention_layer, "cpu", "float32", norm=backbone.norm
    )
    encoder = torch_engine(encoder, backbone, (side, side)).prepare()
    return Row(
        name,
        parameters=sum(each.numel() for each in model.parameters()),
        patch=side // input_grid(backbone, (side, side))[0],
        resolution=side,
        kernel_size=backbone.kernel_size_at((side, side)),
        images_per_second=images_per_second(encoder, side) if timed else None,
        metrics=aurocs(encoder, backbone, data) if knows else {},
    )


def images_per_second(encoder: Encoder, side: int) -> float:
    """Images that are encoded in a second, the median of some batches."""
    images = torch.zeros(BATCH, 3, side, side)
    seconds = []
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        encoder(images)
        if repeat:
            seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


def aurocs(encoder: Encoder, backbone: Backbone, data: Data) -> dict[str, dict[str, float]]:
    """Mean image and pixel AUROC over the categories of each data set; pixels where masks are."""
    side = backbone.input_side
    preprocessing = Preprocessing(side, side)
    masking = BackPatchMasking(kernel_size=backbone.kernel_size_at((side, side)))
    found: dict[str, dict[str, float]] = {}
    for name, (folder, categories) in data.items():
        rows = []
        for category in categories:
            view = encode(encoder, folder, category.images, preprocessing)
            table = evaluate(view, category, folder, preprocessing, [masking], CORESET_RATIO)
            rows.append(table.iloc[0])
        known = [m for m in METRICS if all(row[m] == row[m] for row in rows)]
        found[name] = {m: float(statistics.mean(row[m] for row in rows)) for m in known}
    return found


def markdown(rows: Sequence[Row], data_sets: Sequence[str]) -> str:
    """The table of docs/backbones.md: AUROC in %, of images and of pixels."""
    columns = ["`backbone`", "weights", "patch", "resolution", "grid", "kernel", "images/s"]
    columns += [f"AUROC, {name}" for name in data_sets]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        key, _, remark = row.name.partition(" ")
        grid = row.resolution // row.patch
        speed = "–" if row.images_per_second is None else f"{row.images_per_second:.2g}"
        cells = [
            " ".join([f"`{key}`", remark]).strip(),
            f"{row.parameters / 1e6:.1f} M",
            row.patch,
            row.resolution,
            f"{grid} x {grid}",
            row.kernel_size,
            speed,
            *(_aurocs_of(row, name) for name in data_sets),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _aurocs_of(row: Row, data_set: str) -> str:
    if data_set not in row.metrics:
        return "not measured"
    return " / ".join(f"{100 * value:.1f}" for value in row.metrics[data_set].values())


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vits14", metavar="FILE", help="DINOv2's ViT-S/14 without registers")
    parser.add_argument("--photographs", nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--backbones", nargs="+", metavar="KEY", help="by default all")
    parser.add_argument("--no-speed", action="store_true", help="where other programs run")
    parser.add_argument("--limit", type=int, help="most images of a kind, for a quick look")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    arguments = _arguments(given)
    machine = describe()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        data = read_data(Path(place), arguments.photographs, arguments.limit)
        for name, backbone in shipped_backbones(arguments.vits14).items():
            if arguments.backbones is None or name.split()[0] in arguments.backbones:
                rows.append(measure(name, backbone, data, timed=not arguments.no_speed))
                if arguments.json is not None:
                    figures = {"machine": machine, "rows": [row.figures for row in rows]}
                    text = json.dumps(figures, indent=1) + "\n"
                    arguments.json.write_text(text, encoding="utf-8")
    print(f"{machine['cores']} cores of {machine['cpu']}, commit {machine['commit']}"
          f"{', other programs running' if machine['busy'] else ''}\n")  # fmt: skip
    print(markdown(rows, list(data)))


if __name__ == "__main__":
    main()
