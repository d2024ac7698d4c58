"""Time against workers of a Ray cluster: images that are encoded, and categories.

    python -m benchmarks.many_machines [--images 20000] [--categories 2000] [--workers 1 2 4]

A sleeping encoder stands for a GPU, and sleeping nodes for a category's work, so that one machine
can stand for several: what is measured is everything else, such as handing out work, writing shards
and ends at which some wait for others. Each size runs on a simulated cluster of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.project import ROOT
from uniformaly_pipeline.features.store import StoreHeader
from uniformaly_pipeline.features.stream import FeatureStream

IMAGE_S, CATEGORY_S = 0.01, 0.1
"""What an image, and a category, takes that no machine can share."""

GRID, DIM, BATCH = (14, 14), 96, 8
HEADER = StoreHeader({"model": "sleeping"}, "0" * 64, {}, "float32", GRID, DIM, "float16", None)


def encode(images: list[str]) -> Iterator[Any]:
    """Sleep in place of a GPU; features take 38 kB an image."""
    import torch

    from uniformaly_pipeline.features.encoder import Encoded

    features = torch.ones(BATCH, GRID[0] * GRID[1], DIM)
    attention = torch.ones(BATCH, *GRID)
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        time.sleep(IMAGE_S * len(batch))
        yield Encoded(features[: len(batch)], attention[: len(batch)], batch)


def stream(images: list[str]) -> FeatureStream:
    """Of images whose content hash is their name."""
    return FeatureStream(
        HEADER, dict(zip(images, images, strict=True)), encode, BATCH, portable=_portable
    )


def _portable() -> Any:
    return _elsewhere


def _elsewhere(_: int) -> FeatureStream:
    return stream([])


def sleep_for(categories: int) -> int:
    """Sleep in place of a chunk's work."""
    time.sleep(CATEGORY_S * categories)
    return categories


def measure_images(images: int, folder: Path) -> float:
    """Seconds until all are in a store."""
    from uniformaly_pipeline.features.encoders import encoded_by
    from uniformaly_pipeline.features.ray_encoders import RayEncoders
    from uniformaly_pipeline.features.store_update import update_store

    start = time.perf_counter()
    with encoded_by(RayEncoders()):
        update_store(folder / "store", stream([f"{number:06d}" for number in range(images)]))
    return time.perf_counter() - start


def measure_categories(categories: int, folder: Path) -> float:
    """Seconds until all are done, in chunks as the tasks make them."""
    from kedro.io import DataCatalog, MemoryDataset
    from kedro.pipeline import Node, Pipeline
    from kedro_datasets.json import JSONDataset

    from uniformaly_pipeline.pipelines.ray_runner import RayRunner
    from uniformaly_pipeline.pipelines.tasks.plan import Category, TaskPlan

    names = [f"{number:05d}" for number in range(categories)]
    plan = TaskPlan("bench", {name: Category(name, [name], [name]) for name in names})
    datasets: dict[str, Any] = {}
    nodes = []
    for unit in plan.units:
        size, done = f"params:{unit}", f"bench.{unit}.done"
        datasets[size] = MemoryDataset(len(plan.chunks.get(unit, [unit])))
        datasets[done] = JSONDataset(filepath=str(folder / f"{unit}.json"))
        nodes.append(Node(sleep_for, size, done, name=f"sleep_{unit}", namespace=f"bench.{unit}"))
    start = time.perf_counter()
    RayRunner().run(Pipeline(nodes), DataCatalog(datasets))
    return time.perf_counter() - start


def measure(images: int, categories: int, workers: int) -> dict[str, float]:
    """Both on a cluster of so many machines with a core each."""
    import ray
    from kedro.framework.project import configure_project
    from ray.cluster_utils import Cluster

    logging.disable(logging.WARNING)
    configure_project("uniformaly_pipeline")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(workers - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="bench_") as folder:
            warm = Path(folder, "warm")
            warm.mkdir()
            # Processes start and import what they need.
            found: dict[str, float] = {"workers": workers}
            found["start_s"] = measure_images(BATCH * 2 * workers, warm)
            found["images_s"] = measure_images(images, Path(folder))
            measure_categories(workers, warm)
            found["categories_s"] = measure_categories(categories, Path(folder))
            return found
    finally:
        ray.shutdown()
        cluster.shutdown()


def _row(found: dict[str, float], images: int, categories: int) -> str:
    workers = int(found["workers"])
    # At best, and in whole chunks.
    ideal, ideal_categories = images * IMAGE_S / workers, categories * CATEGORY_S / workers
    return (
        f"{workers} workers: {images} images in {found['images_s']:.1f} s "
        f"({ideal / found['images_s']:.0%} of linear), {categories} categories in "
        f"{found['categories_s']:.1f} s ({ideal_categories / found['categories_s']:.0%} of "
        f"linear); a handful of images alone, which is the start of processes, in "
        f"{found['start_s']:.1f} s"
    )


def main() -> int:
    """Measure every number of workers in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--categories", type=int, default=2_000)
    parser.add_argument("--workers", nargs="*", type=int, default=(1, 2, 4))
    parser.add_argument("--json", type=Path, default=Path("build/many_machines.json"))
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = arguments.images, arguments.categories
    if arguments.alone:
        (workers,) = arguments.workers
        print(json.dumps(measure(*sizes, workers)))
        return 0
    found: dict[str, Any] = {"machine": describe(), "sizes": sizes, "rows": []}
    # Workers find this module by its name.
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    for workers in arguments.workers:
        command = [
            sys.executable, "-m", "benchmarks.many_machines", "--alone",
            f"--images={sizes[0]}", f"--categories={sizes[1]}", "--workers", str(workers),
        ]  # fmt: skip
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        row = json.loads(done.stdout.splitlines()[-1])
        found["rows"].append(row)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
        print(_row(row, *sizes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
