"""Runs cases: both sides in processes of their own, run by run in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.case import Case, SideName

ROOT = Path(__file__).parents[1]


class WorkerFailedError(RuntimeError):
    """A side of a case broke off; its own error is on the standard error."""


class Side:
    """A side of a case, in another process, see :mod:`.worker`."""

    def __init__(self, case: Case, name: SideName, folder: Path, quick: bool) -> None:
        """Start the process and wait until its inputs are ready."""
        command = [sys.executable, "-m", "benchmarks.worker", case.name, name, str(folder)]
        self._name = f"{case.name} ({name})"
        self._process = subprocess.Popen(
            [*command, "--quick"] if quick else command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.samples: list[dict[str, Any]] = []
        self.facts = self._answer()

    def __enter__(self) -> Side:
        """End the process with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailedError(f"{self._name} broke off")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, request: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._answer()

    def run(self, counts: bool = True) -> None:
        """Run once; a run that does not count warms up."""
        sample = self._ask("run")
        if counts:
            self.samples.append(sample)

    def end(self) -> None:
        """Collect what is measured once."""
        self.facts |= self._ask("end")

    def summary(self) -> dict[str, Any]:
        """Medians, all samples and facts."""
        shares = [sample["share_of_limit"] for sample in self.samples]
        return {
            "seconds": statistics.median(sample["seconds"] for sample in self.samples),
            "share_of_limit": statistics.median(shares) if None not in shares else None,
            "samples": self.samples,
            **self.facts,
        }


def measure(case: Case, quick: bool, repeats: int | None = None) -> dict[str, Any]:
    """Measure a case.

    The two sides run in turn, so that a change of the machine's speed meets both, and the ratio
    is the median over the pairs of runs.

    Args:
        case: What to measure.
        quick: Whether with small inputs.
        repeats: Runs that count of each side, in place of the case's own number.

    Raises:
        WorkerFailedError: A side broke off.
    """
    repeats = repeats or (1 if quick else case.repeats)
    names: list[SideName] = ["authors", "ours"] if case.authors else ["ours"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench_")))
        sides = {name: stack.enter_context(Side(case, name, folder, quick)) for name in names}
        for number in range(case.warmups + repeats):
            for side in sides.values():
                side.run(counts=number >= case.warmups)
        for side in sides.values():
            side.end()
        found: dict[str, Any] = {name: side.summary() for name, side in sides.items()}
    if "authors" in found:
        pairs = zip(found["authors"]["samples"], found["ours"]["samples"], strict=True)
        ratios = [theirs["seconds"] / ours["seconds"] for theirs, ours in pairs]
        found |= {"ratio": statistics.median(ratios), "ratios": ratios}
    return {"unit": case.unit, "limit": case.limit, "note": case.note, **found}


def measure_limits() -> dict[str, Any]:
    """The machine's rates, measured in a process of its own so that this one stays small."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.machine"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    limits: dict[str, Any] = json.loads(found.stdout)
    return limits
