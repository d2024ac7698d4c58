"""Draw the figures of the documentation from runs on the demo data.

    python -m tools.docs.figures

What is missing is run first (``kedro run --pipelines=...``, a few minutes on a CPU); then the
figures are drawn from what the runs left in ``data/`` and put into ``docs/images``. The demo data
and the quick-start backbone ship with the project, so that anybody gets the same figures.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import ConnectionPatch, FancyBboxPatch
from PIL import Image

from tools.docs.curves import category_curves
from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.datasets.array_bundle_dataset import ArrayBundleDataset
from uniformaly_pipeline.evaluation.category import ground_truth
from uniformaly_pipeline.features.masking import BackPatchMasking, smooth_attention
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import bank_images
from uniformaly_pipeline.reporting.figures.attention import attention_histogram
from uniformaly_pipeline.reporting.figures.clusters import cluster_figure, embed_2d
from uniformaly_pipeline.reporting.figures.pictures import outline_mask
from uniformaly_pipeline.reporting.figures.style import (
    ANOMALOUS_COLOUR,
    FOREGROUND_COLOUR,
    GROUND_TRUTH_COLOUR,
    INK,
    NORMAL_COLOUR,
    figure_png,
    new_figure,
)
from uniformaly_pipeline.reporting.figures.sweeps import sweep_figure
from uniformaly_pipeline.scoring.heat_map import overlay_heat_map
from uniformaly_pipeline.scoring.scores import anomaly_map

ROOT = Path(__file__).parents[2]
FEATURES = "demo/quickstart"
RUN = f"{FEATURES}/default"
PIPELINES = ("defect", "clustering", "lowshot", "ablation")
OBJECTS = ("bolt", "button", "gear")
TEXTURES = ("denim", "leather", "oak")

PREPROCESSING = Preprocessing(resize=224, crop=224)  # the demo's
MASKING = BackPatchMasking()
BRIGHTEST = 0.995
"""Share of a category's patch scores below the brightest colour, as in the report."""
EMBEDDED = 2000
"""Patches that the picture of a coreset shows besides the coreset itself."""
WEBP_QUALITY = 88
DPI = 140

STEPS = (("bolt", "stripped"), ("gear", "broken_tooth"), ("leather", "cut"))
"""Category and kind of defect of the rows of the step-by-step picture."""


@dataclass(frozen=True)
class Shown:
    """One test image and all that the method makes of it.

    Attributes:
        image: uint8 [H, W, 3], what the encoder sees.
        truth: bool [H, W], the defect.
        attention: float [h, w].
        smoothed: float [h, w], 0..1.
        foreground: bool [h, w].
        scores: float [h, w], 0 for background.
        score: The image's score.
        brightest: Value of the brightest colour of heat maps.
    """

    image: np.ndarray
    truth: np.ndarray
    attention: np.ndarray
    smoothed: np.ndarray
    foreground: np.ndarray
    scores: np.ndarray
    score: float
    brightest: float

    @property
    def outlined(self) -> np.ndarray:
        """The image with the outline of what Back Patch Masking keeps."""
        block = self.image.shape[0] // self.foreground.shape[0]
        return outline_mask(
            self.image, np.kron(self.foreground, np.ones((block, block), bool)), FOREGROUND_COLOUR
        )

    @property
    def marked(self) -> np.ndarray:
        """The image with the outline of the defect."""
        return outline_mask(self.image, self.truth, GROUND_TRUTH_COLOUR)

    @property
    def heat_map(self) -> np.ndarray:
        """The anomaly map over the image."""
        pixels = anomaly_map(self.scores.ravel(), self.scores.shape, self.image.shape[:2])
        return overlay_heat_map(self.image, pixels, self.brightest)


@dataclass(frozen=True)
class Runs:
    """What the runs on the demo data left.

    Attributes:
        data: Kedro's data folder.
    """

    data: Path

    def run_missing(self) -> None:
        """Run the pipelines whose results are missing."""
        for pipeline in PIPELINES:
            if not (self.data / f"08_reporting/{pipeline}/{RUN}/metrics.json").exists():
                subprocess.run(
                    [sys.executable, "-m", "kedro", "run", f"--pipelines={pipeline}"],
                    cwd=self.data.parent,
                    env={**os.environ, "DO_NOT_TRACK": "1"},
                    check=True,
                )

    @cached_property
    def folder(self) -> ImageFolder:
        """The demo's images."""
        return ImageFolder(str(self.data / "01_raw/demo"))

    @cached_property
    def store(self) -> FeatureStore:
        """Features of the foreground patches, and the attention."""
        name = f"kernel{MASKING.kernel_size}-threshold{MASKING.threshold:g}"
        return FeatureStore(self.data / f"04_feature/{FEATURES}/float16-foreground-{name}")

    def images(self, category: str) -> pd.DataFrame:
        """A category's images."""
        folder = self.data / f"05_model_input/defect/{RUN}/{category}"
        return pd.read_parquet(folder / "images.parquet")

    def image_scores(self, category: str) -> pd.DataFrame:
        """A row per test image."""
        folder = self.data / f"07_model_output/defect/{RUN}/{category}"
        return pd.read_parquet(folder / "image_scores.parquet")

    def bundle(self, path: str) -> ArrayBundle:
        """Arrays that a run stored."""
        return ArrayBundleDataset(filepath=str(self.data / path)).load()

    def patch_scores(self, category: str) -> np.ndarray:
        """Patch scores of a category's test images: float [B, h, w]."""
        path = f"07_model_output/defect/{RUN}/{category}/patch_scores.safetensors"
        return self.bundle(path).arrays["patch_scores"]

    def settings(self, pipeline: str) -> pd.DataFrame:
        """Metrics of each setting of a sweep, means over categories."""
        path = self.data / f"08_reporting/{pipeline}/{RUN}/sweep_metrics.csv"
        return pd.read_csv(path, dtype={"value": str})

    def category_settings(self, pipeline: str) -> pd.DataFrame:
        """Metrics of each setting of a sweep, by category."""
        folder = self.data / f"07_model_output/{pipeline}/{RUN}"
        tables = {
            c: pd.read_parquet(folder / c / "sweep_metrics.parquet") for c in OBJECTS + TEXTURES
        }
        return pd.concat([t.assign(category=c) for c, t in tables.items()], ignore_index=True)

    def smoothed(self, content_hashes: Sequence[str]) -> np.ndarray:
        """Smoothed attention of some images: float [B, h, w]."""
        import torch

        return smooth_attention(
            torch.from_numpy(self.store.attention(content_hashes)), MASKING.kernel_size
        ).numpy()

    def shown(self, category: str, defect: str) -> Shown:
        """The test image of a kind of defect with the kind's median score."""
        table = self.image_scores(category)
        kind = table[table["defect"] == defect].sort_values("score")
        row = kind.iloc[len(kind) // 2]
        scores = self.patch_scores(category)
        (content_hash,) = self.images(category).query("image == @row.image")["content_hash"]
        return Shown(
            np.asarray(PREPROCESSING.fit_image(self.folder.read_image(row["image"]))),
            ground_truth(self.folder, row["mask"], PREPROCESSING, threshold=0.5),
            self.store.attention([content_hash])[0],
            self.smoothed([content_hash])[0],
            self.store.foreground([content_hash], MASKING)[0].reshape(self.store.grid),
            scores[int(row.name)],
            float(row["score"]),
            float(np.quantile(scores, BRIGHTEST)),
        )

    def normal(self, category: str, count: int) -> tuple[list[np.ndarray], list[str]]:
        """Some normal images of a category, and their content hashes."""
        table = self.images(category).query("split == 'train'").head(count)
        pictures = [
            np.asarray(PREPROCESSING.fit_image(self.folder.read_image(image)))
            for image in table["image"]
        ]
        return pictures, list(table["content_hash"])


def pipeline(runs: Runs) -> Figure:
    """The whole pipeline in one picture."""
    figure = Figure(figsize=(11, 4.9))
    test = runs.shown("bolt", "stripped")
    normal, hashes = runs.normal("bolt", 3)
    attention = runs.store.attention(hashes)
    foreground = runs.store.foreground(hashes, MASKING)[0].reshape(runs.store.grid)
    outlined = Shown(normal[0], test.truth, attention[0], attention[0], foreground,
                     test.scores, 0.0, 1.0).outlined  # fmt: skip
    columns = [0.020, 0.184, 0.348, 0.520, 0.692, 0.856]
    width, height, top, bottom = 0.124, 0.278, 0.475, 0.06
    notes = [
        "images checked, and\nwhich are normal",
        "a ViT: patch features\nand attention, one pass",
        "Back Patch Masking\nkeeps the foreground",
        "a coreset of the normal\npatch features",
        "distance of each patch\nto the nearest in the bank",
        "anomaly map, AUROC,\nand a report of it all",
    ]
    middles = [left + width / 2 for left in columns]
    for middle, note in zip(middles, notes, strict=True):
        figure.text(middle, 0.868, note, ha="center", va="center", fontsize=8.5, color=INK)
    for middle, stage in [
        (middles[0], "ingestion"),
        ((middles[1] + middles[2]) / 2, "features"),
        (middles[3], "memory bank"),
        (middles[4], "scoring"),
        (middles[5], "evaluation"),
    ]:
        figure.text(middle, 0.945, stage, ha="center", fontsize=11, weight="bold", color=INK)
    for low, label, colour in [
        (top, "normal images, to learn from", NORMAL_COLOUR),
        (bottom, "a test image", ANOMALOUS_COLOUR),
    ]:
        lane = FancyBboxPatch(
            (0.004, low - 0.035), 0.992, height + 0.09, boxstyle="round,pad=0,rounding_size=0.012",
            facecolor=(colour, 0.07), edgecolor="none", transform=figure.transFigure,
        )  # fmt: skip
        figure.add_artist(lane)
        figure.text(columns[0], low + height + 0.016, label, fontsize=9, color=colour)

    def place(column: int, low: float, shift: float = 0.0) -> Axes:
        axes = figure.add_axes((columns[column] + shift, low - shift, width, height))
        axes.set(xticks=[], yticks=[])
        return axes

    stack = [place(0, top, shift) for shift in (0.016, 0.008, 0.0)]
    for axes, picture in zip(stack, normal[::-1], strict=True):
        axes.imshow(picture)
        axes.spines[:].set_color("white")
    boxes = {(0, "top"): stack[-1]}
    for key, low, picture, colours in [
        ((0, "bottom"), bottom, test.image, None),
        ((1, "top"), top, attention[0], "viridis"),
        ((1, "bottom"), bottom, test.attention, "viridis"),
        ((2, "top"), top, outlined, None),
        ((2, "bottom"), bottom, test.outlined, None),
        ((4, "bottom"), bottom, test.scores, "inferno"),
        ((5, "bottom"), bottom, test.heat_map, None),
    ]:
        boxes[key] = place(key[0], low)
        boxes[key].imshow(picture, cmap=colours, vmin=0 if colours else None)
    boxes[3, "top"] = place(3, top)
    _draw_coreset(boxes[3, "top"], runs, "bolt", size=0.6)
    for start, end in [
        ((0, "top"), (1, "top")), ((1, "top"), (2, "top")), ((2, "top"), (3, "top")),
        ((0, "bottom"), (1, "bottom")), ((1, "bottom"), (2, "bottom")),
        ((2, "bottom"), (4, "bottom")), ((4, "bottom"), (5, "bottom")),
    ]:  # fmt: skip
        _arrow(figure, boxes[start], (1.03, 0.5), boxes[end], (-0.03, 0.5))
    _arrow(figure, boxes[3, "top"], (0.72, -0.05), boxes[4, "bottom"], (0.28, 1.05))
    boxes[5, "bottom"].set_title(f"image score {test.score:.0f}", fontsize=9, color=INK, pad=3)
    return figure


def masking_steps(runs: Runs) -> Figure:
    """Back Patch Masking and scoring, step by step, on three images."""
    figure = Figure(figsize=(11, 5.9), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03))
    grid = figure.subplots(len(STEPS), 6)
    headings = ["image, defect outlined", "attention", "smoothed attention",
                "foreground", "patch scores", "anomaly map"]  # fmt: skip
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=10, color=INK)
    for row, (category, defect) in zip(grid, STEPS, strict=True):
        shown = runs.shown(category, defect)
        row[0].imshow(shown.marked)
        row[0].set_ylabel(f"{category}, {defect.replace('_', ' ')}", fontsize=10, color=INK)
        row[1].imshow(shown.attention, cmap="viridis", vmin=0)
        smoothed = row[2].imshow(shown.smoothed, cmap="viridis", vmin=0, vmax=1)
        row[3].imshow(shown.outlined)
        row[4].imshow(shown.scores, cmap="inferno", vmin=0)
        row[5].imshow(shown.heat_map)
        kept = f"{shown.foreground.mean():.0%} of the patches kept"
        row[3].set_xlabel(kept, fontsize=8.5, color=INK)
        row[5].set_xlabel(f"image score {shown.score:.0f}", fontsize=8.5, color=INK)
    bar = figure.colorbar(
        smoothed, cax=grid[-1, 2].inset_axes((0, -0.11, 1, 0.05)), orientation="horizontal"
    )
    bar.set_ticks([MASKING.threshold, 0.5, 1])
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.ax.axvline(MASKING.threshold, color="white", linewidth=1.5)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    return figure


def attention(runs: Runs) -> Figure:
    """Smoothed attention of textures against that of objects (the paper's Fig. 11)."""
    groups = {}
    for name, categories in (("objects", OBJECTS), ("textures", TEXTURES)):
        tables = [runs.images(category).query("split == 'train'") for category in categories]
        groups[name] = runs.smoothed(list(pd.concat(tables)["content_hash"]))
    return attention_histogram(groups, MASKING.threshold)


def coreset(runs: Runs) -> Figure:
    """The normal patches of a category and those that the memory bank keeps."""
    figure = Figure(figsize=(5.6, 4.6), layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08))
    axes = figure.subplots()
    _draw_coreset(axes, runs, "bolt", size=1.0)
    legend = axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False, fontsize=9
    )
    for handle in legend.legend_handles:
        handle.set_sizes([28])  # type: ignore[union-attr]
    return figure


def heat_maps(runs: Runs) -> Figure:
    """A defect of each category and its anomaly map."""
    chosen = ["chipped", "cracked", "hole", "corroded", "fold", "knot"]
    categories = sorted(OBJECTS + TEXTURES)
    figure = Figure(figsize=(11, 4.0), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03))
    grid = figure.subplots(2, len(categories))
    for column, (category, defect) in enumerate(zip(categories, chosen, strict=True)):
        shown = runs.shown(category, defect)
        grid[0, column].imshow(shown.marked)
        grid[1, column].imshow(shown.heat_map)
        name = f"{category}, {defect.replace('_', ' ')}"
        grid[0, column].set_title(name, fontsize=10, color=INK)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    grid[0, 0].set_ylabel("defect outlined", fontsize=9, color=INK)
    grid[1, 0].set_ylabel("anomaly map", fontsize=9, color=INK)
    return figure


def scores(runs: Runs) -> Figure:
    """Image scores of a category's normal and anomalous test images."""
    table = runs.image_scores("button")
    stored = runs.data / f"08_reporting/defect/{RUN}/button/metrics.json"
    threshold = json.loads(stored.read_text(encoding="utf-8"))["threshold"]
    figure, axes = new_figure("button: image scores")
    axes.set(xlabel="image score (squared distance)", ylabel="share of the class")
    axes.yaxis.set_major_formatter("{x:.0%}")
    edges = np.histogram_bin_edges(table["score"], bins=10)
    styles = ((0, "normal", NORMAL_COLOUR, ""), (1, "anomalous", ANOMALOUS_COLOUR, "////"))
    for label, name, colour, hatch in styles:
        of_class = table.loc[table["label"] == label, "score"]
        shares = np.histogram(of_class, edges)[0] / len(of_class)
        axes.stairs(
            shares, edges, fill=True, facecolor=(colour, 0.25), edgecolor=colour,
            linewidth=1.4, hatch=hatch, label=f"{name} ({len(of_class)})",
        )  # fmt: skip
    axes.axvline(threshold, color=INK, linestyle="--", label=f"threshold {threshold:.4g}")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    figure.legend(
        loc="outside lower center", ncols=3, frameon=False, fontsize=8,
        handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
    return figure


def clusters(runs: Runs) -> Figure:
    """The test images of a category by kind and by cluster (the paper's Fig. 8)."""
    table = pd.read_parquet(runs.data / f"07_model_output/clustering/{RUN}/denim/clusters.parquet")
    points = table[["x", "y"]].to_numpy()
    return cluster_figure(points, list(table["defect"]), list(table["cluster"]), "")


def against_k(runs: Runs) -> Figure:
    """Image AUROC against the top-k ratio (the paper's Fig. 7)."""
    return category_curves(runs.category_settings("ablation"), "image_auroc", "scoring.top_k_ratio")


def against_shots(runs: Runs) -> Figure:
    """AUROC against the number of normal images (the paper's Fig. 6)."""
    return sweep_figure(runs.settings("lowshot"), "lowshot.shots", ["image_auroc", "pixel_auroc"])


FIGURES = {
    "pipeline.webp": pipeline,
    "masking_steps.webp": masking_steps,
    "heat_maps.webp": heat_maps,
    "attention.png": attention,
    "coreset.png": coreset,
    "scores.png": scores,
    "clusters.png": clusters,
    "against_k.png": against_k,
    "against_shots.png": against_shots,
}
"""What draws each file: photographs as WebP, curves as PNG."""


def _draw_coreset(axes: Axes, runs: Runs, category: str, size: float) -> None:
    """The patches of a category's normal images in a plane, the memory bank's among them."""
    bank = runs.bundle(f"06_models/defect/{RUN}/{category}/memory_bank.safetensors")
    kept = set(zip(bank.arrays["image"].tolist(), bank.arrays["patch"].tolist(), strict=True))
    patches = runs.store.load(bank_images(bank), MASKING)
    is_kept = np.array(
        [key in kept for key in zip(patches.image.tolist(), patches.patch.tolist(), strict=True)]
    )
    others = np.random.default_rng(0).permutation(np.flatnonzero(~is_kept))[:EMBEDDED]
    chosen = np.concatenate([others, np.flatnonzero(is_kept)])
    points = embed_2d(patches.features[chosen], seed=0)
    rest, coreset_points = points[: len(others)], points[len(others) :]
    count = f"{len(others):,} of the {(~is_kept).sum():,} other normal patches"
    axes.scatter(rest[:, 0], rest[:, 1], s=5 * size, color="#999999", linewidths=0, label=count)
    axes.scatter(
        coreset_points[:, 0], coreset_points[:, 1], s=9 * size, color=NORMAL_COLOUR, linewidths=0,
        label=f"memory bank, {len(coreset_points):,} patches",
    )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#BBBBBB")


def _arrow(
    figure: Figure, start: Axes, where: tuple[float, float], end: Axes, to: tuple[float, float]
) -> None:
    figure.add_artist(
        ConnectionPatch(
            where, to, "axes fraction", "axes fraction", axesA=start, axesB=end,
            arrowstyle="-|>", mutation_scale=12, color=INK, linewidth=1.4,
        )
    )  # fmt: skip


def _encode(figure: Figure, suffix: str) -> bytes:
    if suffix == ".png":
        return figure_png(figure)
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").save(small, "WEBP", quality=WEBP_QUALITY, method=6)
    return small.getvalue()


def main() -> None:
    """Draw all figures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="files to draw; all without")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="Kedro's data folder")
    parser.add_argument("--images", type=Path, default=ROOT / "docs/images", help="where to put")
    options = parser.parse_args()
    runs = Runs(options.data.resolve())
    runs.run_missing()
    for name in options.names or FIGURES:
        content = _encode(FIGURES[name](runs), Path(name).suffix)
        (options.images / name).write_bytes(content)
        print(f"{name}: {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
