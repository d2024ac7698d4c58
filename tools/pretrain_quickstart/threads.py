"""Give way to other programs on a shared machine.

Torch splits every operation over its threads and waits for the slowest. Where another program
holds one of two cores, two threads are several times slower than one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

_STAT = Path("/proc/stat")
_INTERVAL = 4.0  # seconds between two looks


class ThreadGovernor:
    """Sets torch's thread count to the number of cores that other programs leave free."""

    def __init__(self, most: int) -> None:
        """Use up to `most` threads; where the system tells no loads, always that many."""
        self._most = most
        self._seen = self._read()
        torch.set_num_threads(most)

    def adjust(self) -> None:
        """Look at the load every few seconds and change the thread count if need be."""
        if self._most == 1 or not _STAT.exists():
            return
        now = self._read()
        elapsed = now[0] - self._seen[0]
        if elapsed < _INTERVAL:
            return
        others = ((now[1] - self._seen[1]) - (now[2] - self._seen[2])) / elapsed
        self._seen = now
        # Half a core in use by others counts as a core that is gone.
        free = self._most - int(others + 0.5)
        torch.set_num_threads(min(self._most, max(1, free)))

    def _read(self) -> tuple[float, float, float]:
        """Wall time, busy time of all cores, and our own processor time, in seconds."""
        own = os.times()
        if not _STAT.exists():
            return time.monotonic(), 0.0, 0.0
        user, nice, system, *_ = map(int, _STAT.read_text().split("\n", 1)[0].split()[1:])
        busy = (user + nice + system) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, own.user + own.system
