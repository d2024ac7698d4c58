"""One thread for each of many small steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch compute with one thread inside the block; each thread of Python has its own number.

    Splitting a step of some microseconds over threads gains little, and where other programs use
    the cores each step waits for a thread that does not run.

    >>> import torch
    >>> before = torch.get_num_threads()
    >>> with single_thread():
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(make_step: Callable[[], Callable[[Item], None]], items: Sequence[Item]) -> None:
    """Do many small steps, each with one thread, on as many threads as torch would use.

    Unlike one step split over threads, no step waits for another.

    Args:
        make_step: Called once for each thread, gives what to do with an item: it may hold memory
            to work in.
        items: What the steps are done with; they do not depend on each other.
    """
    import torch

    workers = max(1, min(torch.get_num_threads(), len(items)))

    def work_on(part: Sequence[Item]) -> None:
        with single_thread():
            step = make_step()
            for item in part:
                step(item)

    if workers == 1:
        work_on(items)
        return
    parts = [items[first::workers] for first in range(workers)]
    list(_pool(os.getpid(), workers).map(work_on, parts))


@cache
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    """Threads that stay: torch takes longer to get used to a new one than a search of one image.

    Args:
        process: Whose they are; a fork has none of them.
        workers: How many.
    """
    return ThreadPoolExecutor(workers, f"side by side {process}")
