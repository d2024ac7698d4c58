"""Small defects in large images, resized and in tiles: ``python -m benchmarks.small_defects``.

Draws textures of 2048 pixels with dark or bright spots of 6 to 40 pixels, and prints the image
AUROC of the whole image resized to several sides, and of tiles.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from uniformaly_pipeline.evaluation.image_metrics import detection_metrics
from uniformaly_pipeline.features.backbone import named_backbone
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import update_store
from uniformaly_pipeline.features.tiles import Tiles
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.patches import score_patches
from uniformaly_pipeline.scoring.scores import image_scores

SIDE = 2048
DEFECT_PX = (6, 10, 16, 24, 40)
TOP_K_RATIO = 0.001
"""Of so many patches a small defect is a small share: the default of 0.05 would drown it."""


def draw(root: Path, number: int, seed: int = 0) -> dict[str, list[str]]:
    """Normal images to learn from and to test, and one with a spot of each size in turn."""
    rng = np.random.default_rng(seed)
    names: dict[str, list[str]] = {"train": [], "good": [], "bad": []}
    for part, count in (("train", number), ("good", number), ("bad", number)):
        for i in range(count):
            coarse = Image.fromarray(rng.integers(90, 150, (256, 256), dtype=np.uint8))
            pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).copy()
            if part == "bad":
                size = DEFECT_PX[i % len(DEFECT_PX)]
                top, left = rng.integers(0, SIDE - size, 2)
                pixels[top : top + size, left : left + size] = 20 if i % 2 else 240
            name = f"{part}_{i}.png"
            Image.fromarray(pixels).save(root / name, compress_level=1)
            names[part].append(name)
    return names


def auroc(root: Path, names: dict[str, list[str]], preprocessing: Preprocessing) -> float:
    """Image AUROC of a detector of these images."""
    folder, masking = ImageFolder(str(root)), BackPatchMasking("off")
    hashes = {name: folder.content_hash(name) for part in names.values() for name in part}
    stream = feature_stream(
        folder,
        {key: name for name, key in hashes.items()},
        named_backbone("quickstart"),
        preprocessing,
        masking,
        num_workers=0,
    )
    with tempfile.TemporaryDirectory() as place:
        store = FeatureStore(update_store(Path(place), stream))
        normal = [hashes[name] for name in names["train"]]
        bank = build_memory_bank(store, normal, masking, coreset_ratio=0.02)
        tested = [hashes[name] for name in (*names["good"], *names["bad"])]
        scored = score_patches(store, tested, bank.arrays["memory_bank"], masking)
    grids = scored.arrays["patch_scores"]
    scores = image_scores(grids.reshape(len(grids), -1), TOP_K_RATIO)
    labels = np.repeat([0, 1], [len(names["good"]), len(names["bad"])])
    return float(detection_metrics(labels, scores).auroc or 0.0)


def main() -> None:
    """Print a row per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10, help="of each kind")
    parser.add_argument("--sides", type=int, nargs="*", default=[224, 448])
    parser.add_argument("--tiles", type=int, nargs="*", default=[512])
    arguments = parser.parse_args()
    settings = [(f"resized to {side}", Preprocessing(side, None)) for side in arguments.sides]
    settings += [
        (f"tiles of {size}", Preprocessing(224, None, tiles=Tiles(size, size // 8)))
        for size in arguments.tiles
    ]
    with tempfile.TemporaryDirectory() as place:
        names = draw(Path(place), arguments.images)
        print(f"{len(names['bad'])} defects of {DEFECT_PX} px in {SIDE} px images")
        for what, preprocessing in settings:
            start = time.monotonic()
            value = auroc(Path(place), names, preprocessing)
            print(f"{what:16s} image AUROC {value:.3f}  {time.monotonic() - start:6.1f} s")


if __name__ == "__main__":
    main()
