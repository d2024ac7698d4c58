"""A value of each category, read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class ByCategory(Mapping[str, Value]):
    """Values by category that are read one at a time, and not kept.

    >>> squares = ByCategory({"nut": lambda: 4, "bolt": lambda: 9})
    >>> list(squares.items())
    [('nut', 4), ('bolt', 9)]
    """

    def __init__(self, read: Mapping[str, Callable[[], Value]]) -> None:
        """Remember how to read the value of each category."""
        self._read = read

    def __getitem__(self, category: str) -> Value:
        """Read a category's value."""
        return self._read[category]()

    def __iter__(self) -> Iterator[str]:
        """The categories."""
        return iter(self._read)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._read)
