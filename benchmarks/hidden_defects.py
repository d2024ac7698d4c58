"""Defects where the paper's crop does not look: ``python -m benchmarks.hidden_defects ROOT PLACE``.

Makes images of 1600 x 1200 pixels of the square ones of a data set laid out as MVTec AD's: each is
enlarged and pasted into a corner of a grey canvas, with its mask. Then runs ``defect`` on them with
the paper's crop, with all of every image and with tiles, and prints the image AUROC over all
anomalous images and over those alone whose defect lies wholly outside of the crop, beside all
normal ones.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from PIL import Image

from uniformaly_pipeline.evaluation.image_metrics import detection_metrics
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import is_image_name
from uniformaly_pipeline.parameters.command_line import parse_assignments
from uniformaly_pipeline.parameters.current_run import current_run

PROJECT = Path(__file__).parents[1]
CANVAS = (1600, 1200)
PASTED = 640
"""Side of a pasted image in pixels."""
JITTER = 40
"""Pixels that it lies at most from the edges of the canvas."""
GREY = (128, 128, 128)

CROP = Preprocessing(resize=256, crop=224)
SETTINGS: dict[str, dict[str, Any]] = {
    "the paper's crop": {"resize": 256, "crop": 224},
    "all, 224 px (default)": {"resize": 224, "crop": None},
    "all, 336 px": {"resize": 336, "crop": None},
    "all, 448 px": {"resize": 448, "crop": None},
    "tiles of 1024": {"resize": 224, "crop": None, "tiles": {"size": 1024, "overlap": 128}},
    "tiles of 512": {"resize": 224, "crop": None, "tiles": {"size": 512, "overlap": 64}},
}
"""In 336 pixels and in tiles of 1024 the object is as large as in the crop."""


def make(root: Path, place: Path, seed: int = 0) -> list[str]:
    """Paste all images and masks.

    Returns:
        Paths below ``place`` of the anomalous images whose mask lies wholly outside of the crop.
    """
    rng = np.random.default_rng(seed)
    hidden = []
    left, top, right, bottom = map(round, CROP.seen_box(CANVAS))
    for path in sorted(p.relative_to(root) for p in root.rglob("*") if is_image_name(p.name)):
        if "ground_truth" in path.parts:
            continue
        corner = rng.integers(0, JITTER, 2) + rng.integers(0, 2, 2) * (
            np.array(CANVAS) - PASTED - JITTER
        )
        _paste(root / path, place / path, corner, "RGB", GREY)
        mask = path.parent.parent.parent / "ground_truth" / path.parent.name
        mask /= f"{path.stem}_mask.png"
        if (root / mask).exists():
            marked = np.asarray(_paste(root / mask, place / mask, corner, "L", 0)) > 0
            if not marked[top:bottom, left:right].any():
                hidden.append(path.as_posix())
    return hidden


def _paste(source: Path, target: Path, corner: np.ndarray, mode: str, ground: Any) -> Image.Image:
    canvas = Image.new(mode, CANVAS, ground)
    how = Image.Resampling.NEAREST if mode == "L" else Image.Resampling.BICUBIC
    with Image.open(source) as image:
        pasted = image.convert(mode).resize((PASTED, PASTED), how)
    canvas.paste(pasted, (int(corner[0]), int(corner[1])))
    target.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(target, compress_level=1)
    return canvas


def run_defect(place: Path, preprocessing: dict[str, Any], params: dict[str, Any]) -> pd.DataFrame:
    """Image scores of all categories, a row per test image, and where the report is."""
    data_set = {"root": str(place), "preprocessing": preprocessing}
    folder = {**params.get("datasets", {}).get("folder", {}), **data_set}
    runtime = {**params, "dataset": "folder", "datasets": {"folder": folder}}
    configure_project("uniformaly_pipeline")
    with KedroSession.create(project_path=PROJECT, runtime_params=runtime) as session:
        session.run(pipeline_names=["defect"])  # type: ignore[call-arg]
    run = current_run()
    assert run is not None
    names = "/".join(["defect", *run.names("defect").values()])
    found = sorted((PROJECT / "data/07_model_output" / names).glob("*/image_scores.parquet"))
    print(f"report: data/08_reporting/{names}/report.html", file=sys.stderr)
    return pd.concat([pd.read_parquet(path).assign(category=path.parent.name) for path in found])


def aurocs(scores: pd.DataFrame, hidden: list[str]) -> tuple[float, float, float]:
    """Mean image AUROC over categories: of all, of the hidden defects, and of the others."""
    is_hidden = scores["image"].isin(hidden)
    normal = scores["label"] == 0
    means = []
    for anomalous in (~normal, is_hidden, ~normal & ~is_hidden):
        values = [
            detection_metrics(rows["label"].to_numpy(), rows["score"].to_numpy()).auroc
            for _, rows in scores[normal | anomalous].groupby("category")
        ]
        means.append(float(np.mean([value for value in values if value is not None])))
    return means[0], means[1], means[2]


def main() -> None:
    """Print a row per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="images laid out as MVTec AD's")
    parser.add_argument("place", type=Path, help="a new folder for the pasted ones")
    parser.add_argument("--params", default="", help="of the runs, as kedro run takes them")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    hidden = make(arguments.root, arguments.place)
    params = parse_assignments(arguments.params)
    print(f"{len(hidden)} defects lie wholly outside of the crop: {', '.join(hidden)}", flush=True)
    print("| setting | all defects | outside of the crop | the others |\n| --- | --- | --- | --- |")
    for name in arguments.only:
        values = aurocs(run_defect(arguments.place, SETTINGS[name], params), hidden)
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |", flush=True)


if __name__ == "__main__":
    main()
