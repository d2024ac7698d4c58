"""Ctrl-C and ``kill``: a command says "Aborted!" and is gone within seconds, whatever it is doing.

Python alone raises ``KeyboardInterrupt`` once the main thread is back from native code, waits for
every thread and worker, and lets each of them print a traceback. Here a thread of its own hears of
the signal at once. It says "Aborted!", closes the screen, kills the workers, and gives the main
thread a moment to unwind: then temporary files go and MLflow learns of it. What a process killed
at any moment leaves behind is sound anyway, so that the end may be hard.

Only ``kedro run`` takes signals over (:func:`take_over`): a notebook or a server keeps its own.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.util import _exit_function  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common.processes import end_with_parent

GRACE_S = 2.5
"""How long the main thread may unwind."""

LAST_CALLS_S = 2.0
"""How long it may take to say that the run has ended, where the main thread did not."""

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_OWN = {signal.SIG_DFL, signal.default_int_handler}


@dataclass
class _State:
    """What the one command of this process has taken over.

    Attributes:
        taken_over: Whether signals are answered here.
        unwinds: Whether there is something to unwind: not while modules are imported, nor at the
            end.
        received: Whether a signal came.
        raised: Whether the main thread was told.
        succeeded: Whether all is done but what is registered for the end.
        announced: Set once the screen is closed.
        last_calls: What to call if the main thread does not unwind in time.
        parent: The process that forks.
    """

    taken_over: bool = False
    unwinds: bool = False
    received: bool = False
    raised: bool = False
    succeeded: bool = False
    announced: threading.Event = field(default_factory=threading.Event)
    last_calls: list[Callable[[], None]] = field(default_factory=list)
    parent: int = 0


_state = _State()


def succeeded() -> None:
    """Have this process end with status 0 once all that is registered for its end is done.

    Taking thousands of modules apart takes Python longer than it took to load them.
    """
    _state.succeeded = True


def was_interrupted() -> bool:
    """Whether this process is ending for a signal."""
    return _state.received


def at_hard_end(call: Callable[[], None]) -> None:
    """Have something called, in another thread, if the main thread does not unwind in time."""
    _state.last_calls.append(call)


def is_run_command() -> bool:
    """Whether this process is ``kedro run``, or the package run as a command."""
    if not sys.argv or multiprocessing.parent_process() is not None:
        return False
    program = Path(sys.argv[0])
    name = program.parent.name if program.stem == "__main__" else program.stem
    if name in {"kedro", "python -m kedro"}:
        return sys.argv[1:2] == ["run"]
    return name.replace("-", "_") == __package__.partition(".")[0]


def take_over() -> None:
    """Answer signals from here on if this process is a run; what is ignored stays ignored.

    On Windows Python's own way has to do.
    """
    if _state.taken_over or os.name == "nt" or not is_run_command():
        return
    taken = [number for number in SIGNALS if signal.getsignal(number) in _OWN]
    if not taken:
        return
    _state.taken_over = True
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(heard, frozenset(taken)), daemon=True).start()
    # Called last, as the first to be registered.
    atexit.register(_leave)
    for number in taken:
        signal.signal(number, _on_signal)
    # Blocked around a fork: no child runs this process's handlers.
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


@contextmanager
def unwinding() -> Iterator[None]:
    """While the block runs, an interruption raises ``KeyboardInterrupt`` in the main thread."""
    _state.unwinds = True
    try:
        yield
    finally:
        _state.unwinds = False


def _on_signal(*_: Any) -> None:
    """In the main thread, as soon as it runs Python; the listening thread may be first."""
    if _state.raised:
        return
    # What the other thread does before this is set takes no lock that this one may hold.
    _state.announced.wait(GRACE_S)
    if not _state.unwinds:
        os._exit(1)
    _state.raised = True
    raise KeyboardInterrupt


def _listen(heard: int, taken: frozenset[int]) -> None:
    # Others' signals, such as that of a child that ended, come along as well.
    while not taken.intersection(os.read(heard, 64)):
        pass
    _state.received = True
    _announce()
    for worker in multiprocessing.active_children():
        worker.kill()
    time.sleep(GRACE_S)
    calls = threading.Thread(target=_last_calls, daemon=True)
    calls.start()
    calls.join(LAST_CALLS_S)
    os._exit(1)


def _announce() -> None:
    """Say it, and nothing more: tracebacks of what is torn down help nobody."""
    logging.disable(logging.CRITICAL)
    with suppress(OSError):
        if os.isatty(1):
            # Bars hide the cursor.
            os.write(1, b"\x1b[?25h")
        os.write(2, b"\nAborted!\n")
        nothing = os.open(os.devnull, os.O_WRONLY)
        if os.isatty(1):
            # Bars are drawn there.
            os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    _state.announced.set()


def _leave() -> None:
    """Taking all modules apart can take longer than all the rest."""
    if _state.received:
        os._exit(1)
    # All is done, and Python gives its handlers up: a signal would make a failure of a success.
    for number in SIGNALS:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_IGN)
    # A plugin's hook may have failed after the command, which is no success.
    if _state.succeeded and getattr(sys, "last_value", None) is None:
        # What was registered before this function is called after it.
        _exit_function()
        logging.shutdown()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # Python ends with a status of its own for what could not be written
        os._exit(0)
    try:
        sys.stdout.flush()
    except OSError:
        # The error is told already: Python would add a traceback of its own, and another status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _last_calls() -> None:
    for call in _state.last_calls:
        call()


def _before_fork() -> None:
    _state.parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _in_child() -> None:
    """A worker leaves Ctrl-C to this process, and ends with it."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _on_signal:
            ignored = number == signal.SIGINT
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    end_with_parent(_state.parent)
