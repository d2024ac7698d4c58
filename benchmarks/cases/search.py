"""Nearest vectors of a memory bank for the patches of an image."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Agreement, Arrays, Case, Settings, Workload
from benchmarks.inputs import isotropic, patch_like
from benchmarks.products import limit as best

DIM = 768
QUERIES = 784
COLUMNS = 20_000
"""Vectors of the product whose rate is the limit: more are compared no faster."""
QUICK_PART = 5
"""How many times fewer vectors ``--quick`` takes."""
WORST_CASE = 20_000
"""Vectors of the bank without structure."""

Search = Callable[[np.ndarray], Any]


def _bank(settings: Settings, count: int) -> np.ndarray:
    return patch_like(count // QUICK_PART if settings.quick else count, DIM, 0)


def _faiss_on_cpu(bank: np.ndarray) -> Search:
    import faiss

    index = faiss.IndexFlatL2(DIM)
    index.add(bank)
    return lambda queries: index.search(queries, 1)[1]


def _faiss_on_gpu(bank: np.ndarray) -> Search:
    import faiss

    index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(DIM))
    index.add(bank)
    return lambda queries: index.search(queries, 1)[1]


def _neighbors(bank: np.ndarray) -> Search:
    from uniformaly_pipeline.scoring.neighbors import NearestNeighbors

    neighbors = NearestNeighbors(bank, "Flat")
    return lambda queries: neighbors.query(queries)[1]


def _workload(
    settings: Settings, count: int, make: Callable[[np.ndarray], Search], limit: bool
) -> Workload:
    bank, queries = _bank(settings, count), patch_like(QUERIES, DIM, 1)
    search = make(bank)

    def details() -> dict[str, float]:
        found = {"half_the_queries_seconds": _median_seconds(search, queries[: QUERIES // 2])}
        if not settings.quick:
            worst = make(isotropic(WORST_CASE, DIM, 0))
            found["worst_case_seconds"] = _median_seconds(worst, isotropic(QUERIES, DIM, 1))
        return found

    def limit_seconds() -> float:
        return 2.0 * QUERIES * len(bank) * DIM / best([(QUERIES, DIM, COLUMNS)]).flops

    return Workload(
        lambda: search(queries),
        f"{QUERIES} queries among {len(bank):,} vectors of {DIM}",
        limit=limit_seconds if limit else None,
        arrays=lambda indices: {"indices": indices[:, 0]},
        details=details,
    )


def _median_seconds(search: Search, queries: np.ndarray, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        search(queries)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _authors(settings: Settings, count: int, on_gpu: bool) -> Workload:
    make = _faiss_on_gpu if on_gpu else _faiss_on_cpu
    return _workload(settings, count, make, limit=False)


def _ours(settings: Settings, count: int, on_gpu: bool) -> Workload:
    return _workload(settings, count, _neighbors, limit=not on_gpu)


def _compare(settings: Settings, authors: Arrays, ours: Arrays, count: int) -> Agreement:
    """Where neighbours differ, ours must be no farther in exact arithmetic."""
    different = np.flatnonzero(authors["indices"] != ours["indices"])
    details: dict[str, Any] = {"compared": QUERIES, "different": len(different), "ours_farther": 0}
    if len(different):
        bank, queries = _bank(settings, count), patch_like(QUERIES, DIM, 1)[different]
        theirs, own = (
            np.square(queries.astype(np.float64) - bank[side["indices"][different]]).sum(axis=1)
            for side in (authors, ours)
        )
        details |= {"ours_farther": int((own > theirs).sum()), "equal": int((own == theirs).sum())}
    return Agreement(details["ours_farther"] == 0, details)


def _case(name: str, count: int, on_gpu: bool = False) -> Case:
    return Case(
        name=name,
        authors=functools.partial(_authors, count=count, on_gpu=on_gpu),
        ours=functools.partial(_ours, count=count, on_gpu=on_gpu),
        compare=functools.partial(_compare, count=count),
        limit="" if on_gpu else "float32 GEMM with all vectors",
        needs="faiss_gpu" if on_gpu else "",
        repeats=5,
        warmups=1,
    )


CASES = [
    _case("search_20k", 20_000),
    _case("search_150k", 150_000),
    _case("search_gpu_150k", 150_000, on_gpu=True),
]
