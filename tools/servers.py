"""Servers in a process of their own, for tests and screenshots: started, waited for and ended."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

ATTEMPTS = 3
"""Ports that are tried before a server that ends by itself is taken for broken."""

STARTS_WITHIN_S = 120.0
ENDS_WITHIN_S = 30.0
PORTS = range(20_000, 32_768)
"""Below those that systems give at random, so that no socket of another test takes one
between its choice and the server's start; Kedro-Viz refuses those above 49151."""


class ServerError(RuntimeError):
    """A server did not start; the message ends with what it said."""


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as tried:
            # As servers do it: connections that are just closed do not keep a port from them.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                tried.bind(("127.0.0.1", port))
                return port
    raise ServerError("none of a hundred ports is free")


@contextmanager
def serving(
    command: Callable[[int], Sequence[str]],
    health: str = "",
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    within_s: float = STARTS_WITHIN_S,
) -> Iterator[str]:
    """A server's address on loopback, from its first answer to the end of all its processes.

    Args:
        command: The command line for a port.
        health: What of the server answers once it is up, such as ``/health``.
        folder: Where it runs; None is here.
        environment: Its environment; None is this process's.
        within_s: How long it may take to start, in seconds.

    Raises:
        ServerError: It ended by itself on each of :data:`ATTEMPTS` ports, or does not answer in
            time.
    """
    for attempt in range(1, ATTEMPTS + 1):
        port = free_port()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                list(command(port)),
                cwd=folder,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                url = f"http://127.0.0.1:{port}"
                if _answers(url + health, process, within_s):
                    yield url
                    return
                if process.poll() is None:
                    raise ServerError(f"no answer within {within_s:g} s: {_text(said)}")
                if attempt == ATTEMPTS:
                    raise ServerError(
                        f"ended with status {process.returncode} on {ATTEMPTS} ports: {_text(said)}"
                    )
            finally:
                end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and all of the group; return when none of it runs.

    A process that does not end within :data:`ENDS_WITHIN_S` is killed. Nothing is raised where
    the process has ended by itself.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + ENDS_WITHIN_S
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        while time.monotonic() < end:
            process.poll()  # else it stays in the group
            if not _is_running(process.pid):
                return
            time.sleep(0.05)


def _answers(url: str, process: subprocess.Popen[bytes], within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            # Whoever answers, it is not this one once it has ended.
            return process.poll() is None
    return False


def _is_running(group: int) -> bool:
    """Whether a process of a group runs; those that nobody has waited for do not."""
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode(errors="replace").strip() or "(it said nothing)"
