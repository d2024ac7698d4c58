"""What a benchmark's case is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Arrays = Mapping[str, np.ndarray]
SideName = Literal["authors", "ours"]


@dataclass(frozen=True)
class Settings:
    """How large to measure.

    Attributes:
        quick: Small inputs, for trying out.
        folder: Temporary folder that both sides of a case share.
    """

    quick: bool
    folder: Path


def _as_measured(seconds: float, _result: Any) -> float:
    return seconds


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Workload:
    """One side of a case with its inputs at hand.

    Attributes:
        run: The work that is timed.
        what: What one run does, in words.
        seconds: From the measured seconds and the result of a run to the seconds reported: of
            one image, or of the whole that was measured in part.
        limit: Seconds that a run's work takes at the machine's limit, measured next to the run.
        arrays: What of a result is compared with the other side.
        details: Further measurements, taken once at the end.
        peak_bytes: Peak memory where the work is done by processes of its own.
    """

    run: Callable[[], Any]
    what: str
    seconds: Callable[[float, Any], float] = _as_measured
    limit: Callable[[], float] | None = None
    arrays: Callable[[Any], Arrays] = field(default=lambda _result: {})
    details: Callable[[], dict[str, Any]] = _nothing
    peak_bytes: Callable[[], int] | None = None


@dataclass(frozen=True)
class Agreement:
    """Whether both sides computed the same.

    Attributes:
        agrees: Within the case's tolerance.
        details: By how much they differ.
    """

    agrees: bool
    details: Mapping[str, Any]


Setup = Callable[[Settings], Workload]


@dataclass(frozen=True)
class Case:
    """Something to measure, as the authors' schedule does it and as we do.

    Attributes:
        name: As on the command line.
        ours: Sets our side up.
        authors: Sets the authors' side up, where they have one.
        compare: Compares the arrays of the authors' side and ours.
        unit: What the seconds are of.
        limit: What bounds the case on this machine.
        note: What a reader of the table must know.
        needs: ``cuda``, ``faiss_gpu`` or ``openvino``: skipped where that is missing.
        repeats: Runs of each side.
        warmups: Runs of each side before these.
        quick: Whether ``--quick`` measures it.
        decodes: Whether other processes decode images meanwhile, whose memory counts as well.
    """

    name: str
    ours: Setup
    authors: Setup | None = None
    compare: Callable[[Settings, Arrays, Arrays], Agreement] | None = None
    unit: str = "s"
    limit: str = ""
    note: str = ""
    needs: Literal["", "cuda", "faiss_gpu", "openvino"] = ""
    repeats: int = 3
    warmups: int = 0
    quick: bool = True
    decodes: bool = False
