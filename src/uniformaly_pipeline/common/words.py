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


def size_of(num_bytes: float) -> str:
    """A size in the unit that suits it.

    >>> size_of(5_720), size_of(70_400_000), size_of(1_208_144_000), size_of(21.8e9)
    ('6 kB', '70 MB', '1.2 GB', '22 GB')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB")):
        # What would be rounded up to 1,000 of a unit is 1 of the next.
        if num_bytes >= 0.9995 * factor:
            number = num_bytes / factor
            return (
                f"{number:.1f} {unit}" if number < 9.95 and unit == "GB" else f"{number:.0f} {unit}"
            )
    return f"{num_bytes / 1e3:.0f} kB"


def number_of(number: int, noun: str) -> str:
    """A number of things, in the singular where it is one.

    >>> number_of(1, "image"), number_of(1200, "train image")
    ('1 image', '1,200 train images')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
