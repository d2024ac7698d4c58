"""How time and memory grow with images and with categories: tiny backbone, encode, bank, score."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case, Settings, Workload
from benchmarks.inputs import draw_classes

IMAGES = (30, 60, 150, 300)
QUICK_IMAGES = (4, 8, 20)
CATEGORIES = (1, 2, 5, 10)
QUICK_CATEGORIES = (1, 2)


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Least-squares line through the times and how well it fits (R squared)."""
    slope, constant = np.polyfit(sizes, seconds, 1)
    residuals = np.asarray(seconds) - (slope * np.asarray(sizes) + constant)
    total = np.asarray(seconds) - np.mean(seconds)
    r_squared = 1.0 - float(residuals @ residuals) / float(total @ total)
    return {"seconds_each": float(slope), "constant": float(constant), "r_squared": r_squared}


def _measure_apart(num_images: int, num_categories: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scaling_step"]
    arguments = [str(num_images), str(num_categories), str(folder)]
    found = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(found.stdout)
    return measured


def _ours(settings: Settings) -> Workload:
    images = QUICK_IMAGES if settings.quick else IMAGES
    categories = QUICK_CATEGORIES if settings.quick else CATEGORIES
    draw_classes(settings.folder / "images", ["plate"], train=images[-1], test=0)
    found: dict[str, Any] = {}

    def run() -> dict[str, Any]:
        by_images = [_measure_apart(count, 1, settings.folder) for count in images]
        more = [_measure_apart(images[1], count, settings.folder) for count in categories[1:]]
        by_categories = [by_images[1], *more]
        found.update(
            by_images=by_images,
            by_categories=by_categories,
            images_fit=fit(images, [_seconds(row) for row in by_images]),
            categories_fit=fit(categories, [row["category_seconds"] for row in by_categories]),
        )
        return found

    return Workload(
        run,
        f"{', '.join(map(str, images))} images, and {', '.join(map(str, categories))} categories, "
        "tiny backbone; the time is that of most images",
        seconds=lambda _, _found: _seconds(found["by_images"][-1]),
        details=lambda: found,
        peak_bytes=lambda: max(row["peak_bytes"] for row in found["by_images"]),
    )


def _seconds(row: dict[str, Any]) -> float:
    return float(row["encode_seconds"] + row["category_seconds"])


CASES = [
    Case(
        name="scaling",
        ours=_ours,
        note="the time is that of most images; fits over all sizes below",
        repeats=1,
    )
]
