"""What suits a backbone: blocks, block of the attention, final norm, resolution and kernel.

    python -m benchmarks.backbone_defaults --checkpoint vits14.safetensors \
        --photographs DEFECTS CLASSES [--resolutions 224 392] [--brief] [--limit 10] [--json FILE] \
        [--coreset-ratio 0.1 --seeds 0 1 2 3 4]

One thing at a time is changed around the paper's setting (the mean of blocks 2 to 9, attention of
block 9, no final norm) at each resolution, on the demo and on folders of photographs. All patches
are kept in the memory bank, so that no seed decides, unless a coreset is asked for: then figures
are means over its seeds. Each image is encoded once a resolution.
``--brief`` tries two choices of blocks alone, with the kernels nearest to the paper's share.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.few_images import Category, evaluate, read_blocks, read_data
from uniformaly_pipeline.features.backbone import Backbone, input_grid, load_backbone
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder

MODEL = "vit_small_patch14_dinov2"
RESOLUTIONS = (224, 336, 392, 448)
LATER = (7, 8, 9, 10)
LAYERS = (
    (2, 3, 4, 5, 6, 7, 8, 9),
    (0, 1, 2, 3, 4, 5, 6, 7),
    (4, 5, 6, 7, 8, 9, 10, 11),
    (5, 6, 7, 8),
    (6, 7, 8, 9),
    LATER,
    (7,),
)
ATTENTION_LAYERS = (9, 8, 10, 11)
KERNELS = (3, 5, 7, 9, 11)
PAPER_SHARE = 7 / 28
"""Side of the paper's kernel, of the grid's."""
METRICS = ("image_auroc", "pixel_auroc")

Figures = dict[str, dict[str, float]]
"""Means over categories by data set and metric."""


@dataclass(frozen=True)
class Choice:
    """A setting.

    Attributes:
        layers: Blocks whose outputs are averaged.
        attention_layer: Block whose attention is read.
        norm: Whether the final norm is applied.
        kernels: Kernels to try.
    """

    layers: tuple[int, ...] = LAYERS[0]
    attention_layer: int = 9
    norm: bool = False
    kernels: tuple[int, ...] = ()

    def describe(self, kernel: int) -> str:
        """The setting in words."""
        norm = ", norm" if self.norm else ""
        blocks = " ".join(map(str, self.layers))
        return f"blocks {blocks}{norm}; attention {self.attention_layer}; kernel {kernel}"


def choices(grid: int, brief: bool = False) -> Iterator[Choice]:
    """What is tried on a grid of so many patches a side: one thing at a time."""
    kernel = int(PAPER_SHARE * grid) // 2 * 2 + 1
    if brief:
        near = tuple(each for each in (kernel, kernel - 2, kernel + 2) if each > 0)
        yield from (Choice(layers, kernels=near) for layers in (LAYERS[0], LATER))
        return
    others = tuple(each for each in KERNELS if each != kernel)
    paper = Choice(kernels=(kernel, *others))
    yield paper
    alone = replace(paper, kernels=(kernel,))
    yield from (replace(alone, layers=layers) for layers in LAYERS[1:])
    yield from (replace(alone, layers=layers, norm=True) for layers in (LAYERS[0], LATER, (7,)))
    yield from (replace(alone, attention_layer=layer) for layer in ATTENTION_LAYERS[1:])


def measure(
    backbone: Backbone,
    resolution: int,
    data: Mapping[str, tuple[ImageFolder, Sequence[Category]]],
    brief: bool = False,
    coreset_ratio: float = 1.0,
    seeds: Sequence[int] = (0,),
) -> dict[str, Figures]:
    """Metrics at a resolution by setting and data set, see :func:`choices`."""
    size, preprocessing = (resolution, resolution), Preprocessing(resolution, resolution)
    model = load_backbone(backbone, size)
    height, _ = input_grid(backbone, size)
    tried = list(choices(height, brief))
    attention_layers = sorted({choice.attention_layer for choice in tried})
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, (folder, categories) in data.items():
        start = time.monotonic()
        for group in _sharing(categories):
            images = list(dict.fromkeys(path for each in group for path in each.images))
            blocks = read_blocks(model, attention_layers, folder, images, preprocessing)
            for choice in tried:
                view = blocks.view(choice.layers, choice.attention_layer, choice.norm)
                maskings = [BackPatchMasking(kernel_size=kernel) for kernel in choice.kernels]
                for category, seed in itertools.product(group, seeds):
                    table = evaluate(
                        view, category, folder, preprocessing, maskings, coreset_ratio, seed
                    )
                    for kernel, row in zip(choice.kernels, table.to_dict("records"), strict=True):
                        setting = found.setdefault(choice.describe(kernel), {})
                        for metric in METRICS:
                            values = setting.setdefault(name, {}).setdefault(metric, [])
                            values.append(row[metric])
        seconds = time.monotonic() - start
        print(f"{resolution} px, {name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return {
        what: {
            name: {metric: float(np.mean(values)) for metric, values in metrics.items()}
            for name, metrics in of.items()
        }
        for what, of in found.items()
    }


def _sharing(categories: Sequence[Category]) -> list[list[Category]]:
    """Categories with the same test images together, which are then encoded once."""
    groups: dict[tuple[str, ...], list[Category]] = {}
    for category in categories:
        groups.setdefault(tuple(category.tested), []).append(category)
    return list(groups.values())


def table(found: Mapping[str, Mapping[str, Figures]]) -> str:
    """Markdown: a row per resolution and setting, image and pixel AUROC in % a data set."""
    names = list(next(iter(next(iter(found.values())).values())))
    lines = [f"| pixels | setting | {' | '.join(names)} |", "| --- " * (2 + len(names)) + "|"]
    for resolution, settings in found.items():
        for what, figures in settings.items():
            cells = [_cell(figures[name]) for name in names]
            lines.append(f"| {resolution} | {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(metrics: Mapping[str, float]) -> str:
    shown = [f"{100 * metrics[name]:.1f}" for name in METRICS if not np.isnan(metrics[name])]
    return " / ".join(shown)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--checkpoint", required=True, help="its weights; 'untrained': random ones")
    parser.add_argument("--photographs", nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--resolutions", nargs="+", type=int, default=RESOLUTIONS)
    parser.add_argument("--brief", action="store_true", help="two choices of blocks alone")
    parser.add_argument("--coreset-ratio", type=float, default=1.0)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the coreset")
    parser.add_argument("--limit", type=int, help="most images of a kind, for a quick look")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    arguments = _arguments(given)
    backbone = Backbone(arguments.model, arguments.checkpoint)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        data = read_data(Path(place), arguments.photographs, arguments.limit)
        for resolution in arguments.resolutions:
            found[str(resolution)] = measure(
                backbone,
                resolution,
                data,
                arguments.brief,
                arguments.coreset_ratio,
                arguments.seeds,
            )
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
