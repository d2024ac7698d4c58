"""One progress display for every long stage: a bar in a terminal, a few log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

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
    if sys.stderr.isatty():
        with tqdm(total=total, desc=description, unit=f" {unit}", leave=False) as bar:
            for item in items:
                yield item
                bar.update(min(step, total - bar.n))
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done = min(done + step, total)
        now = time.monotonic()
        if now - last >= LOG_EVERY_S and done < total:
            last = now
            rate = done / (now - start)
            left = (total - done) / rate
            logger.info(
                "%s: %d of %d %s, %.1f a second, %.0f s left",
                description, done, total, unit, rate, left,
            )  # fmt: skip
