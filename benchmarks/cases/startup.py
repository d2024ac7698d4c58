"""Seconds that a user waits for a command to get going."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.case import Case, Settings, Workload
from benchmarks.machine import CHILDREN, peak_bytes
from benchmarks.project import copy_project

PROBE = Path(__file__).with_name("startup_probe.py")


def _environment() -> dict[str, str]:
    return {**os.environ, "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}


def _first_image(settings: Settings) -> Workload:
    project = copy_project(settings.folder)
    marker = settings.folder / "first_image"

    def run() -> float:
        marker.unlink(missing_ok=True)
        shutil.rmtree(project / "data/04_feature", ignore_errors=True)
        start = time.time()
        found = subprocess.run(
            [sys.executable, str(PROBE), str(marker), "run"],
            cwd=project,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not marker.exists():
            raise RuntimeError(f"kedro run encoded no image: {found.stderr[-2000:]}")
        return float(marker.read_text()) - start

    # The first run draws the demo, makes the tracking database and compiles the sources.
    return Workload(
        run,
        "from the start of `kedro run` on the drawn demo to the first encoded batch",
        seconds=lambda _, waited: waited,
        peak_bytes=lambda: peak_bytes(CHILDREN),
    )


def _registry(settings: Settings) -> Workload:
    project = copy_project(settings.folder)

    def run() -> None:
        subprocess.run(
            [sys.executable, "-m", "kedro", "registry", "list"],
            cwd=project,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )

    return Workload(run, "`kedro registry list`", peak_bytes=lambda: peak_bytes(CHILDREN))


CASES = [
    Case(name="startup", ours=_first_image, warmups=1, note="warm: run before, demo drawn"),
    Case(name="registry_list", ours=_registry, warmups=1),
]
