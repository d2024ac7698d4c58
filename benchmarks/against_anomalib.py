"""Ours beside anomalib's PatchCore and AnomalyDINO, on the same weights and images, on the CPU.

    python -m benchmarks.against_anomalib [--weights FILE] [--architecture NAME] [--images 40]

anomalib is installed into an environment of its own, ``build/anomalib``, at the first run. Ours is
``kedro run``, with report and tracking. Without weights (``.safetensors``, as timm names them) they
are random, and AUROC says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from benchmarks.inputs import draw_defects
from benchmarks.project import ROOT, copy_project

ANOMALIB = "anomalib[cpu]>=2.7,<3"
ENVIRONMENT = ROOT / "build/anomalib"
SIDE = Path(__file__).with_name("anomalib_side.py")
MODELS = ("PatchCore", "AnomalyDINO")


def install(environment: Path = ENVIRONMENT) -> Path:
    """anomalib in an environment of its own, made once; its interpreter."""
    python = environment / "bin/python"
    marker = environment / "installed"
    if not marker.exists():
        venv.create(environment, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", ANOMALIB]
        subprocess.run(command, check=True)
        marker.write_text(f"{ANOMALIB}\n")
    return python


def random_weights(architecture: str, path: Path) -> None:
    """Seeded weights of a timm model in a file."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model(architecture, num_classes=0).state_dict(), path)


def ours(folder: Path, images: Path, weights: Path, architecture: str) -> dict[str, Any]:
    """``kedro run`` in a copy of the project: AUROC, seconds, and seconds of all cores."""
    backbone = {"model": architecture.split(".")[0], "checkpoint": str(weights)}
    project = copy_project(
        folder,
        {
            "dataset": "folder",
            "backbone": "custom",
            "datasets": {"folder": {"root": str(images.parent)}},
            "backbones": {"custom": backbone},
        },
    )
    start, before = time.perf_counter(), _children_seconds()
    subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--pipelines=defect"],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds, cpu_seconds = time.perf_counter() - start, _children_seconds() - before
    (metrics,) = (project / "data/08_reporting/defect").glob("*/*/*/metrics.json")
    found = json.loads(metrics.read_text())["mean"]["image_auroc"]
    return {"image_auroc": found, "seconds": seconds, "cpu_seconds": cpu_seconds}


def theirs(
    python: Path, model: str, images: Path, weights: Path, architecture: str
) -> dict[str, Any]:
    """A model of anomalib, see :mod:`.anomalib_side`."""
    command = [str(python), str(SIDE), model, str(images), str(weights), architecture]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _children_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def row(name: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"| {name} | {found['image_auroc']:.3f} | {found['cpu_seconds']:.0f} s "
        f"| {found['seconds']:.0f} s |"
    )


def main() -> int:
    """Measure each and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--architecture", default="vit_small_patch16_224.dino")
    parser.add_argument("--images", type=int, default=40, help="to learn from, and to test on")
    arguments = parser.parse_args()
    python = install()
    with tempfile.TemporaryDirectory(prefix="bench_") as name:
        folder = Path(name)
        half = arguments.images // 2
        draw_defects(folder / "images", arguments.images, half, half)
        images = folder / "images/plate"
        weights = arguments.weights
        if weights is None:
            weights = folder / "weights.safetensors"
            random_weights(arguments.architecture, weights)
        print("| | image AUROC | CPU time | time |\n| --- | --- | --- | --- |")
        found = ours(folder, images, weights.resolve(), arguments.architecture)
        print(row("ours, with report and tracking", found), flush=True)
        for model in MODELS:
            found = theirs(python, model, images, weights.resolve(), arguments.architecture)
            print(row(f"anomalib's {model}", found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
