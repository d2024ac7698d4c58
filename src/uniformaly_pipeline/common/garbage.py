"""Python's garbage collector, which takes a quarter of a start's time and finds nothing then."""

from __future__ import annotations

import gc

SELDOM = 100_000
"""New objects until a collection; Python's own number, some hundreds or thousands, is for programs
whose objects come and go, not for a start that makes them to stay."""

_state = {"off": False}


def leave_garbage() -> None:
    """Collect none until :func:`collect_garbage`; for a process that is a command of ours."""
    _state["off"] = gc.isenabled()
    gc.disable()


def collect_seldom() -> None:
    """Collect once in 100,000 new objects, for a command that has no moment when all is loaded."""
    gc.set_threshold(SELDOM, *gc.get_threshold()[1:])


def collect_garbage() -> None:
    """Collect what becomes garbage from now on, where :func:`leave_garbage` was called before.

    What is there already, modules most of all, stays to the end and is not looked through again.
    """
    if _state["off"]:
        _state["off"] = False
        gc.freeze()
        gc.enable()
