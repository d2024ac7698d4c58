"""One progress display for every long stage: a bar in a terminal, a few log lines elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
LOG_EVERY_S = 30.0


def track(
    items: Iterable[Item], total: int, description: str, unit: str, step: int = 1
) -> Iterator[Item]:
    """Yield ``items`` and show what is done, what is left and at what rate.

    Args:
        items: What to iterate over.
        total: How many units there are in all.
        description: What is being done, as a sentence without a full stop.
        unit: Name of a unit, plural.
        step: Units that one item stands for; the last item may stand for fewer.

    Yields:
        The items, unchanged.
    """
    with _bar(total=total, desc=description, unit=f" {unit}") as bar:
        for item in items:
            yield item
            bar.update(min(step, total - bar.n))


def byte_progress(description: str, total: int | None, done: int = 0) -> tqdm:
    """Show how many bytes are done, until the block that this opens ends.

    Args:
        description: What is being done, as a sentence without a full stop.
        total: How many bytes there are in all, if that is known.
        done: How many of them are there already.

    Returns:
        A bar; call its ``update`` with the number of bytes that have been added.
    """
    return _bar(total=total, initial=done, desc=description, unit="B", unit_scale=True)


def _bar(total: int | None, **options: Any) -> tqdm:
    if sys.stderr.isatty():
        return tqdm(total=total, leave=False, **options)
    of_total, left = ("", "") if total is None else (" of {total_fmt}", ", {remaining} left")
    return _LoggedBar(
        total=total,
        leave=False,
        file=_LogLines(),
        mininterval=LOG_EVERY_S,
        delay=LOG_EVERY_S,
        # tqdm would guess after how many units to look at the clock, and miss a stage that slows.
        miniters=1,
        position=0,
        smoothing=0,
        bar_format=f"{{desc}}: {{n_fmt}}{of_total}{{unit}}, {{rate_noinv_fmt}}{left}",
        **options,
    )


class _LoggedBar(tqdm):
    # No thread that watches over it.
    monitor_interval = 0


class _LogLines:
    """Takes what tqdm writes to a terminal as lines of the log."""

    def write(self, text: str) -> None:
        """Log a line without the characters that move a cursor."""
        line = " ".join(text.split())
        if line:
            logger.info(line)

    def flush(self) -> None:
        """Nothing is held back."""
