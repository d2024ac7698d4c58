"""Worker processes that end with the process they work for, and how to tell a process again."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import psutil

_PR_SET_PDEATHSIG = 1
_CLOCK_SLACK_S = 60.0
"""How far the start of a living process may seem to move, when the clock is set."""

# Looked up before any fork: a child of a process with threads should do little.
_prctl: Any = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
_workers: set[int] = set()
"""Process ids for which it is done; a fork of a worker is another one."""


def be_a_worker(_: int = 0) -> None:
    """Leave Ctrl-C to the process that this one works for, and end when that ends, however.

    A process killed with SIGKILL cannot tell its workers, and they would wait for work for ever.
    On Linux the kernel ends them; elsewhere a thread of theirs watches a pipe that closes when the
    parent is gone. Without effect in a process that is nobody's worker.

    Args:
        _: The worker's number, from torch's ``DataLoader``.
    """
    parent = multiprocessing.parent_process()
    if parent is None or os.getpid() in _workers:
        return
    _workers.add(os.getpid())
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _prctl is None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    else:
        end_with_parent(parent.pid or os.getppid())


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; Linux only.

    Args:
        parent: Process id of the parent, which may be gone by now.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _end_after(parent: Any) -> None:
    wait([parent.sentinel])
    os._exit(1)


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from a later one of the same number.

    Attributes:
        host: The machine's name; in a container of its own also its process namespace.
        pid: Process id.
        started: When it started, in seconds since 1970.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def of_this(cls) -> ProcessIdentity:
        """This process."""
        return cls(host_name(), os.getpid(), psutil.Process().create_time())

    @property
    def is_gone(self) -> bool:
        """Whether it has surely ended; a process of another machine may be alive."""
        if self.host != host_name():
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return abs(process.create_time() - self.started) > _CLOCK_SLACK_S
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    def to_tags(self, prefix: str) -> dict[str, str]:
        """The process as text by name."""
        return {f"{prefix}{name}": str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_tags(cls, tags: Any, prefix: str) -> ProcessIdentity | None:
        """The process that :meth:`to_tags` wrote down; None where nothing usable was."""
        try:
            host, pid, started = (tags[f"{prefix}{name}"] for name in ("host", "pid", "started"))
            return cls(host, int(pid), float(started))
        except (KeyError, ValueError):
            return None


@cache
def host_name() -> str:
    """The machine, and where a container sees only its own processes, the container."""
    name = socket.gethostname()
    try:
        # Containers that share the machine's name do not see one another's processes.
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return name
    return f"{name} {namespace}"
