"""One side of a case in a process of its own, which has its own peak of memory.

    python -m benchmarks.worker CASE SIDE FOLDER [--quick]

It sets up, then answers a line on its standard input with a line of JSON: ``run`` with the time of
a run, ``end`` with the peak memory, further measurements and how it compares with the other side.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case, Settings, Workload
from benchmarks.cases import CASES
from benchmarks.machine import CHILDREN, peak_bytes


class Worker:
    """Answers requests about one side of a case."""

    def __init__(self, case: Case, side: str, settings: Settings) -> None:
        """Set the side up."""
        setup = case.authors if side == "authors" else case.ours
        if setup is None:
            raise ValueError(f"{case.name} has no side '{side}'")
        self._case, self._side, self._settings = case, side, settings
        self._workload: Workload = setup(settings)
        self._result: Any = None

    def ready(self) -> dict[str, Any]:
        """What a run does, and the peak memory before the first."""
        return {"what": self._workload.what, "ready_bytes": peak_bytes()}

    def run(self) -> dict[str, Any]:
        """Run once: measured and reported seconds, and those at the machine's limit."""
        self._result = None  # what the last run made does not count as this one's memory
        start = time.perf_counter()
        self._result = self._workload.run()
        measured = time.perf_counter() - start
        limit = self._workload.limit
        return {
            "measured_seconds": measured,
            "seconds": self._workload.seconds(measured, self._result),
            "share_of_limit": limit() / measured if limit else None,
        }

    def end(self) -> dict[str, Any]:
        """Peak memory so far, then everything that is not timed."""
        workload = self._workload
        memory = {"peak_bytes": workload.peak_bytes() if workload.peak_bytes else peak_bytes()}
        if self._case.decodes:
            memory["child_peak_bytes"] = peak_bytes(CHILDREN)
        arrays = workload.arrays(self._result)
        np.savez(_arrays_path(self._settings, self._side), **dict(arrays))  # type: ignore[arg-type]
        answer: dict[str, Any] = {**memory, "details": workload.details()}
        other = _arrays_path(self._settings, "authors")
        if self._side == "ours" and self._case.compare and other.exists():
            with np.load(other) as theirs:
                agreement = self._case.compare(self._settings, dict(theirs), arrays)
            answer["agrees"] = agreement.agrees
            answer["agreement"] = dict(agreement.details)
        return answer


def _arrays_path(settings: Settings, side: str) -> Path:
    return settings.folder / f"{side}.npz"


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=sorted(CASES))
    parser.add_argument("side", choices=["authors", "ours"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    # Whatever else is printed must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    settings = Settings(arguments.quick, arguments.folder)
    worker = Worker(CASES[arguments.case], arguments.side, settings)
    answer(worker.ready())
    requests: dict[str, Callable[[], dict[str, Any]]] = {"run": worker.run, "end": worker.end}
    for line in sys.stdin:
        answer(requests[line.strip()]())
        if line.strip() == "end":
            return


if __name__ == "__main__":
    main()
