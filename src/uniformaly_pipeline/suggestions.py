"""Help with a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error line: the closest known name, or all of them if none is close."""
    names = [str(candidate) for candidate in known]
    closest = get_close_matches(name, names, n=1, cutoff=0.6)
    if closest:
        return f"; did you mean '{closest[0]}'?"
    return f"; choose from: {', '.join(names)}"
