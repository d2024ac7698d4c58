"""Words of lines that people read."""

from __future__ import annotations


def number_of(number: int, noun: str) -> str:
    """A number of things, in the singular where it is one.

    >>> number_of(1, "image"), number_of(1200, "train image")
    ('1 image', '1,200 train images')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
