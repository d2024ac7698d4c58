"""``defect`` with many categories of four tiny images, tracking and report and all.

    python -m benchmarks.many_categories [20 100 500 2000] [--json FILE]

Sizes that the file has from the same commit are not measured again, so that it may be interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import describe, peak_bytes
from benchmarks.project import ROOT, copy_project

SIZES = (20, 100, 500, 2000)
SIDE = 32
PARTS = (("train/good", 2), ("test/good", 1), ("test/hole", 1))
TINY = {
    "model": "vit_tiny_patch16_224",
    "checkpoint": "untrained",
    "model_kwargs": {
        "img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 10, "num_heads": 2,
    },
}  # fmt: skip


def draw(root: Path, categories: int) -> None:
    """Noise, in the layout of one's own images; a black square in what is defective."""
    rng = np.random.default_rng(0)
    for number in range(categories):
        for part, count in PARTS:
            folder = root / f"part_{number:05d}" / part
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = rng.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)
                if part == "test/hole":
                    pixels[8:20, 8:20] = 0
                Image.fromarray(pixels).save(folder / f"{image:03d}.png")


def measure(categories: int, folder: Path) -> dict[str, Any]:
    """Run the pipeline in this process, in a copy of the project.

    Returns:
        Seconds in all, until the first node (``start_s``: Kedro, imports, building the pipeline,
        tracking) and after the last one (``end_s``), nodes, and ``overhead_ms``: what a node costs
        between the first and the last beside its own work, its reading and its writing.
    """
    draw(folder / "images", categories)
    project = copy_project(folder)
    os.chdir(project)
    os.environ["DO_NOT_TRACK"] = "1"
    from kedro.framework.project import configure_project
    from kedro.framework.session import KedroSession
    from kedro.runner import task

    inside: list[tuple[float, float]] = []
    execute = task.Task.execute

    def timed(self: Any) -> Any:
        start = time.perf_counter()
        try:
            return execute(self)
        finally:
            inside.append((start, time.perf_counter()))

    task.Task.execute = timed  # type: ignore[method-assign]
    size = {"resize": SIDE, "crop": SIDE}
    parameters = {
        "dataset": "folder",
        "backbone": "custom",
        "datasets": {"folder": {"root": str(folder / "images"), "preprocessing": size}},
        "backbones": {"custom": TINY},
        "encoder": {"num_workers": 0},
    }
    configure_project("uniformaly_pipeline")
    start = time.perf_counter()
    with KedroSession.create(project_path=project, runtime_params=parameters) as session:
        session.run(pipeline_names=["defect"])  # type: ignore[call-arg]
    end = time.perf_counter()
    first, last = min(begun for begun, _ in inside), max(done for _, done in inside)
    own = sum(done - begun for begun, done in inside)
    (report,) = (project / "data/08_reporting").glob("defect/*/*/*/report.html")
    return {
        "categories": categories,
        "seconds": end - start,
        "start_s": first - start,
        "end_s": end - last,
        "nodes": len(inside),
        "overhead_ms": 1000 * (last - first - own) / len(inside),
        "report_mb": report.stat().st_size / 1e6,
        "peak_gb": peak_bytes() / 1e9,
    }


def main() -> int:
    """Measure every size in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--json", type=Path, default=Path("build/many_categories.json"))
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        (size,) = arguments.sizes
        print(json.dumps(measure(size, arguments.folder)))
        return 0
    machine = describe()
    found: dict[str, Any] = {"machine": machine, "sizes": {}}
    if arguments.json.exists():
        earlier = json.loads(arguments.json.read_text())
        if earlier["machine"]["commit"] == machine["commit"]:
            found["sizes"] = earlier["sizes"]
    for size in arguments.sizes:
        if str(size) not in found["sizes"]:
            with tempfile.TemporaryDirectory(prefix="bench_") as folder:
                command = [sys.executable, "-m", "benchmarks.many_categories", str(size)]
                done = subprocess.run(
                    [*command, "--in", folder],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    check=True,
                )
            found["sizes"][str(size)] = json.loads(done.stdout.splitlines()[-1])
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(found, indent=2) + "\n")
        row = found["sizes"][str(size)]
        print(
            f"{size:5d} categories: {row['seconds']:.0f} s, {row['start_s']:.1f} s of them before "
            f"the first of {row['nodes']} nodes and {row['end_s']:.1f} s after the last, "
            f"{row['overhead_ms']:.1f} ms of overhead a node, report {row['report_mb']:.1f} MB, "
            f"peak {row['peak_gb']:.2f} GB",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
