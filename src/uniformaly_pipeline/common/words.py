"""Words of lines that people read."""

from __future__ import annotations

import os


def as_text(name: str) -> str:
    """A file's name as text that UTF-8 and JSON can hold: its bytes that are no text as ``\\xff``.

    >>> as_text("ä.png") == "ä.png", as_text("\\udcff.png") == "\\\\xff.png"
    (True, True)
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def significant(number: float, digits: int = 5) -> str:
    """A number in a column of others: so many digits, whatever they are.

    >>> significant(286.5), significant(12345.6), significant(0.25, 3)
    ('286.50', '12346', '0.250')
    """
    return f"{number:#.{digits}g}".rstrip(".")


def number_of(number: int, noun: str) -> str:
    """A number of things, in the singular where it is one.

    >>> number_of(1, "image"), number_of(1200, "train image")
    ('1 image', '1,200 train images')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
