"""Pixel figures of a whole test set."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Agreement, Arrays, Case, Settings, Workload
from benchmarks.inputs import maps_and_masks

COUNT, QUICK_COUNT = 1725, 100
SIDE, GRID = 224, 28
TOLERANCE = 1e-6


def _inputs(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    return maps_and_masks(QUICK_COUNT if settings.quick else COUNT, SIDE, GRID)


def _authors(settings: Settings) -> Workload:
    from benchmarks.authors_schedule import auroc

    maps, masks = _inputs(settings)

    def run() -> dict[str, float]:
        labels, scores = np.any(masks, axis=(1, 2)), maps.max(axis=(1, 2))
        return {
            "image_auroc": auroc(labels, scores),
            "pixel_auroc": auroc(masks.astype(int), maps),
        }

    what = f"image and pixel AUROC of {len(maps):,} maps of {SIDE} x {SIDE}, all at once"
    return Workload(run, what, arrays=_as_arrays)


def _ours(settings: Settings) -> Workload:
    import pandas as pd

    from uniformaly_pipeline.evaluation.category import image_metrics, pixel_metrics

    maps, masks = _inputs(settings)

    def run() -> dict[str, float | None]:
        table = pd.DataFrame({"label": masks.any(axis=(1, 2)), "score": maps.max(axis=(1, 2))})
        return {**image_metrics(table), **pixel_metrics(masks, maps)}

    what = f"image figures, pixel AUROC, AP, F1 and AUPRO of {len(maps):,} maps, one by one"
    return Workload(run, what, arrays=_as_arrays)


def _as_arrays(figures: dict[str, float]) -> Arrays:
    return {name: np.array(figures[name]) for name in ("image_auroc", "pixel_auroc")}


def _compare(_settings: Settings, authors: Arrays, ours: Arrays) -> Agreement:
    errors = {name: float(abs(authors[name] - ours[name])) for name in ours}
    return Agreement(all(error < TOLERANCE for error in errors.values()), errors)


CASES = [
    Case(
        name="metrics",
        authors=_authors,
        ours=_ours,
        compare=_compare,
        note="authors: AUROC alone; ours: all four figures",
        repeats=2,
    )
]
