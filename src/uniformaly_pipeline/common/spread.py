"""Parts of a piece of work, done one after another or by others, whoever the run has for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

Spread = Callable[[Callable[..., Any], Sequence[Any], Any], Iterable[Any]]
"""Calls a function with each part and what all share, and gives the results in order."""


def _one_after_another(
    function: Callable[..., Any], parts: Sequence[Any], shared: Any
) -> Iterator[Any]:
    return (function(part, shared) for part in parts)


_spread: Spread = _one_after_another


def spread(
    function: Callable[[Part, Any], Result], parts: Sequence[Part], shared: Any
) -> Iterator[Result]:
    """Call a function with each part and what all parts share.

    Args:
        function: A function of a module, which other processes find by its name.
        parts: What it is called with, each small.
        shared: Its second argument, handed to others once.

    Yields:
        What it returns, in order; here one after another, so that one result is in memory.
    """
    yield from _spread(function, parts, shared)


@contextmanager
def spread_by(way: Spread) -> Iterator[None]:
    """While the block runs, parts are done another way."""
    global _spread  # noqa: PLW0603 - a process has one run
    before, _spread = _spread, way
    try:
        yield
    finally:
        _spread = before


def over_cluster(function: Callable[..., Any], parts: Sequence[Any], shared: Any) -> Iterator[Any]:
    """Each part as a task of the Ray cluster; one that is lost is done again."""
    from uniformaly_pipeline.common.cluster import import_ray

    ray = import_ray()
    task = ray.remote(num_cpus=1, max_retries=-1)(function)
    held = ray.put(shared)
    waiting = [task.remote(part, held) for part in parts]
    while waiting:
        try:
            result = ray.get(waiting.pop(0))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        yield result
