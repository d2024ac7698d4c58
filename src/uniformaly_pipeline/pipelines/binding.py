"""Node functions with some arguments already given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def bind(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """``function`` with keyword arguments fixed.

    Kedro reads a node function's name, documentation, signature and type hints;
    ``functools.update_wrapper`` would show it the signature before binding.

    Returns:
        A callable that other processes can unpickle.
    """
    bound = partial(function, **arguments)
    bound.__name__ = function.__name__  # type: ignore[attr-defined]
    bound.__doc__ = function.__doc__
    bound.__annotations__ = {}
    return bound
