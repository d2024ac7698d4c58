"""The greedy k-center coreset of points like projected patch features."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from benchmarks.case import Agreement, Arrays, Case, Settings, Workload
from benchmarks.inputs import patch_like
from benchmarks.machine import read_rate

DIM = 128
RATIO = 0.01
NUM_STARTS = 10
QUICK_PART = 5
"""How many times fewer points ``--quick`` takes."""


def _count(settings: Settings, count: int) -> int:
    return count // QUICK_PART if settings.quick else count


def _starts(count: int) -> np.ndarray:
    from uniformaly_pipeline.memory_bank.coreset import random_starts

    return random_starts(count, NUM_STARTS, 0)


def _arrays(picks: np.ndarray) -> Arrays:
    return {"picks": picks}


def _authors(settings: Settings, count: int, most: int | None, device: str) -> Workload:
    import torch

    from benchmarks import authors_schedule

    count = _count(settings, count)
    size = int(RATIO * count)
    timed = min(size, most or size)
    points = torch.from_numpy(patch_like(count, DIM, 0)).to(device)
    starts = _starts(count)
    part = "" if timed == size else ", the time of all extrapolated from these"
    return Workload(
        lambda: authors_schedule.coreset(points, timed, starts),
        f"{timed} of {size:,} picks of {count:,} points{part}",
        seconds=lambda seconds, _: seconds * size / timed,
        arrays=_arrays,
    )


def _ours(settings: Settings, count: int, device: str) -> Workload:
    from uniformaly_pipeline.memory_bank.coreset import greedy_coreset

    count = _count(settings, count)
    size = int(RATIO * count)
    points, starts = patch_like(count, DIM, 0), _starts(count)
    passes = size * points.nbytes

    def details() -> dict[str, Any]:
        if device == "cpu":
            return {}
        on_cpu = greedy_coreset(points, size, starts)
        on_gpu = greedy_coreset(points, size, starts, device=device)
        return {"first_difference_to_cpu": _first_difference(on_cpu, on_gpu)}

    return Workload(
        lambda: greedy_coreset(points, size, starts, device=device),
        f"{size:,} picks of {count:,} points",
        limit=(lambda: passes / read_rate()) if device == "cpu" else None,
        arrays=_arrays,
        details=details,
    )


def _first_difference(first: np.ndarray, second: np.ndarray) -> int | None:
    """Place of the first difference as far as both go, if any."""
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else None


def _compare(settings: Settings, authors: Arrays, ours: Arrays, count: int) -> Agreement:
    """The picks must be equal, or the first other one the farther in exact arithmetic.

    The released code's single-precision formula loses digits: of two points nearly equally far it
    may take the nearer. From there on the picks may differ.
    """
    place = _first_difference(authors["picks"], ours["picks"])
    compared = min(len(authors["picks"]), len(ours["picks"]))
    details: dict[str, Any] = {"compared": compared, "first_difference": place}
    if place is None:
        return Agreement(True, details)
    count = _count(settings, count)
    points = patch_like(count, DIM, 0)
    pair = [int(picks[place]) for picks in (authors["picks"], ours["picks"])]
    theirs, own = _exact_distances(points, ours["picks"][:place], _starts(count), pair)
    details |= {"their_distance": theirs, "our_distance": own, "relative": own / theirs - 1}
    return Agreement(own >= theirs, details)


def _exact_distances(
    points: np.ndarray, picks: np.ndarray, starts: np.ndarray, candidates: list[int]
) -> list[float]:
    """What the greedy algorithm compares, of some candidates, in double precision."""
    found = []
    for candidate in candidates:
        own = points[candidate].astype(np.float64)
        first = np.linalg.norm(points[starts].astype(np.float64) - own, axis=1).mean()
        rest = np.linalg.norm(points[picks].astype(np.float64) - own, axis=1)
        found.append(float(min([first, *rest])))
    return found


def _case(name: str, count: int, most: int | None = None, device: str = "cpu") -> Case:
    return Case(
        name=name,
        authors=functools.partial(_authors, count=count, most=most, device=device),
        ours=functools.partial(_ours, count=count, device=device),
        compare=functools.partial(_compare, count=count),
        limit="" if device == "cuda" else "reading all points once a pick",
        note=f"authors' time extrapolated from {most} picks" if most else "",
        needs="cuda" if device == "cuda" else "",
        warmups=1 if most is None else 0,
        repeats=3 if most is None else 1,
        quick=most is None,
    )


CASES = [
    _case("coreset_1e5", 100_000),
    _case("coreset_1e6", 1_000_000, most=300),
    _case("coreset_gpu_1e6", 1_000_000, most=300, device="cuda"),
]
