"""Many categories in one node: the unit of work where there are too many for a node each.

Kedro's cost of a node grows with the number of nodes. Above some number of categories these come
in chunks: a node then does the work of one category after another, each read from and written to
the files that it would have by itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.common.by_category import ByCategory
from uniformaly_pipeline.common.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])

CATEGORY = "category"
"""The argument of a node's function that describes its category."""


def per_category(function: Function) -> Function:
    """Let a node's function work on the categories of a chunk as well, one at a time.

    Its attribute ``in_chunks`` takes the same arguments. Those that are of a category come as
    :class:`.by_category.ByCategory`, ``category`` as the list of the chunk's categories. It
    generates ``{key: result}`` of each, a tuple of such where the function gives a tuple: Kedro
    saves each before the next is worked out.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def in_chunks(*values: Any, **named: Any) -> Iterator[Any]:
        bound = signature.bind(*values, **named)
        given = bound.arguments
        if CATEGORY in given:
            given[CATEGORY] = {each["key"]: each for each in given[CATEGORY]}
        of_category = {
            name: value
            for name, value in given.items()
            if name == CATEGORY or isinstance(value, ByCategory)
        }
        for key in next(iter(of_category.values())):
            given.update({name: value[key] for name, value in of_category.items()})
            try:
                result = function(*bound.args, **bound.kwargs)
            except InputError as error:
                raise InputError(f"{key}: {error}") from error
            is_several = isinstance(result, tuple)
            yield tuple({key: part} for part in result) if is_several else {key: result}

    # Worker processes find a function by its name.
    in_chunks.__qualname__ = f"{function.__qualname__}.in_chunks"
    vars(function)["in_chunks"] = in_chunks
    return function


def in_chunks(pipeline: Pipeline) -> Pipeline:
    """The same stages, each node for all categories of a chunk; see :func:`per_category`."""
    return Pipeline(
        Node(
            vars(node.func)["in_chunks"],
            inputs=node.inputs,
            outputs=_one_or_several(node.outputs),
            name=node.name,
            tags=node.tags,
        )
        for node in pipeline.nodes
    )


def _one_or_several(names: Sequence[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)
