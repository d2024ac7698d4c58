"""Help with a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_LISTED = 12


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of an error line: the closest known name, or all of them if none is close.

    Args:
        name: What the user wrote.
        known: What it could be.
        prefix: Put before each name that is shown.
    """
    candidates = [str(candidate) for candidate in known]
    closest = get_close_matches(name, candidates, n=1, cutoff=0.6)
    names = [prefix + candidate for candidate in (closest or candidates)]
    if closest:
        return f"; did you mean '{names[0]}'?"
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"; choose from: {', '.join(names[:MAX_LISTED])}{more}"
