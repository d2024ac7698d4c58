"""The cores that this process may use, and threads that leave them to others while they wait."""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""What tells threads of OpenMP how to wait."""


def usable_cores() -> int:
    """Cores that this process may compute on at a time, at least 1.

    The machine's, less those that the process's affinity leaves out (``taskset``, a batch system)
    and no more than the quotas of its control groups allow (``docker run --cpus``, Kubernetes).
    """
    quota = min(_quotas(), default=math.inf)
    return max(1, min(_allowed_cores(), math.ceil(quota) if quota < math.inf else sys.maxsize))


def prepare_threads() -> None:
    """Have OpenMP's waiting threads sleep, and have it count only the cores that may be used.

    By default a thread that waits for the others spins. Where another program uses the cores, that
    takes them from it and from the very threads that are waited for. OpenMP reads these variables
    as it is loaded, with torch for instance: afterwards they change nothing in this process. What
    the user has set stays.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["KMP_BLOCKTIME"] = "0"
    # OpenMP knows of affinities, not of quotas.
    if usable_cores() < _allowed_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def use_threads(count: int) -> None:
    """Have torch compute with ``count`` threads from now on, in this thread of Python.

    Torch is not imported for it: a worker process that has not done so yet is told by a variable.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    elif multiprocessing.parent_process() is not None:
        os.environ["OMP_NUM_THREADS"] = str(count)


def use_own_threads(count: int) -> None:
    """Have a process compute with ``count`` threads, whoever's cores the others are."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    import torch

    torch.set_num_threads(count)


def keep_threads() -> None:
    """Let threads of Python that start later compute with as many threads as this one does.

    Torch gives them the number that any thread has set last.
    """
    if "torch" in sys.modules:
        use_threads(sys.modules["torch"].get_num_threads())


def cpu_name() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """Cores that the control groups of this process, and those around them, may use on average."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, read = CGROUPS, _quota_v2
        elif "cpu" in controllers.split(","):
            root, read = CGROUPS / "cpu", _quota_v1
        else:
            continue
        # In a container the path may be the host's: its own groups then lie at the root.
        group = root / path.strip("/")
        for folder in {group, *group.parents} if group.is_relative_to(root) else {root}:
            if folder.is_relative_to(root) and (quota := read(folder)) is not None:
                yield quota


def _quota_v2(folder: Path) -> float | None:
    found = _words(folder / "cpu.max")
    if len(found) != 2 or found[0] == "max":
        return None
    return int(found[0]) / int(found[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    if not quota or not period or int(quota[0]) <= 0:
        return None
    return int(quota[0]) / int(period[0])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []
