"""Most memory that ``kedro run`` takes at a time, against the number of its images.

    python -m benchmarks.memory [60 600 6000] [--json FILE]

One category: 30 images to learn from, the rest to judge, each second one defective with a mask; a
tiny backbone without training, so that what the images themselves take stands out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from benchmarks.project import copy_project

LOOK_S = 0.02
"""Seconds between looks at the process's memory."""
SIZES = (60, 600, 6000)
LEARNED_FROM = 30
SIDE = 112
TINY = {
    "model": "vit_tiny_patch16_224",
    "checkpoint": "untrained",
    "model_kwargs": {
        "img_size": SIDE, "patch_size": 8, "embed_dim": 64, "depth": 10, "num_heads": 2,
    },
}  # fmt: skip


def draw(root: Path, number: int) -> None:
    """Noise; a black square in what is defective, and its mask."""
    rng = np.random.default_rng(0)
    for image in range(number):
        is_bad = image >= LEARNED_FROM and image % 2 == 1
        part = "train/good" if image < LEARNED_FROM else "test/hole" if is_bad else "test/good"
        pixels = rng.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)
        if is_bad:
            pixels[40:70, 40:70] = 0
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[40:70, 40:70] = 255
            _save(mask, root / "part/ground_truth/hole" / f"{image:05d}_mask.png")
        _save(pixels, root / "part" / part / f"{image:05d}.png")


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def measure(number: int, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of a run of the main process, whose workers only read images.

    Returns:
        ``peak_bytes``: all that was resident at a time; ``peak_own_bytes``: of it what is no page
        of a file, which the system may drop when others need memory; where it tells of that.
    """
    draw(folder / "images", number)
    size = {"resize": SIDE, "crop": SIDE}
    project = copy_project(
        folder,
        {
            "dataset": "folder",
            "backbone": "custom",
            "datasets": {"folder": {"root": str(folder / "images"), "preprocessing": size}},
            "backbones": {"custom": TINY},
        },
    )
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--pipelines=defect"],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")},
        stdout=subprocess.DEVNULL,
    )
    own = 0
    ended, status, spent = os.wait4(process.pid, os.WNOHANG)
    while not ended:
        own = max(own, _own_bytes(process.pid))
        time.sleep(LOOK_S)
        ended, status, spent = os.wait4(process.pid, os.WNOHANG)
    if status:
        raise RuntimeError(f"kedro run on {number} images ended with status {status}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "images": number,
        "seconds": time.perf_counter() - start,
        "peak_bytes": spent.ru_maxrss * unit,
        "peak_own_bytes": own,
    }


def _own_bytes(process: int) -> int:
    """Memory of a process now that is no page of a file; 0 where the system does not tell."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    """Measure every size and print it beside the smallest one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--json", type=Path, default=Path("build/memory.json"))
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": describe(), "sizes": []}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="bench_") as folder:
            found["sizes"].append(measure(size, Path(folder)))
        row, first = found["sizes"][-1], found["sizes"][0]
        said = [f"{size:6d} images: {row['seconds']:.0f} s"]
        for key, called in (("peak_bytes", "peak"), ("peak_own_bytes", "without files' pages")):
            if first[key]:
                share = row[key] / first[key] - 1
                said.append(f"{called} {row[key] / 1e9:.3f} GB ({share:+.1%})")
        print(", ".join(said), flush=True)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
