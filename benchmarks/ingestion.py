"""Time and memory of reading a large data set for the first time and again.

    python -m benchmarks.ingestion --images 100000

Draws tiny images, all different, in MVTec AD's layout, and brings a manifest up to date twice as
``kedro run --pipelines=ingestion`` does.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from io import BytesIO
from pathlib import Path

from PIL import Image

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.datasets.manifest_dataset import ManifestDataset
from uniformaly_pipeline.ingestion.health import examine
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import ManifestPlan
from uniformaly_pipeline.ingestion.roots import find_classes

CATEGORIES = 10


def draw(root: Path, count: int) -> None:
    """Write ``count`` images of 64 x 64 pixels; bytes after a PNG's end make each different."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (120, 130, 140)).save(buffer, "PNG")
    for category in range(CATEGORIES):
        for split in ("train/good", "test/good"):
            (root / f"c{category}" / split).mkdir(parents=True)
    for number in range(count):
        category, rest = number % CATEGORIES, number // CATEGORIES
        split = "train/good" if rest % 2 else "test/good"
        path = root / f"c{category}" / split / f"{number:06d}.png"
        path.write_bytes(buffer.getvalue() + str(number).encode())


def ingest(root: Path, manifest: ManifestDataset) -> float:
    """Seconds that listing, checking, examining and writing take."""
    start = time.perf_counter()
    folder = ImageFolder(str(root))
    records = LAYOUTS["folder"].read(folder, find_classes("folder", folder), Split())
    manifest.save(ManifestPlan(folder, records, strict=True))
    examine(manifest.load())
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        draw(root, arguments.images)
        manifest = ManifestDataset(filepath=str(Path(folder) / "manifest.parquet"))
        first, second = ingest(root, manifest), ingest(root, manifest)
    print(
        json.dumps(
            {
                "images": arguments.images,
                "first_s": round(first, 2),
                "second_s": round(second, 2),
                "ratio": round(first / second, 1),
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
                "cores": usable_cores(),
                "machine": platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
