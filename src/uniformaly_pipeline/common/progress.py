"""One progress display for every long stage: a bar in a terminal, a few log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
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


class ByteProgress:
    """How many bytes are done: a bar in a terminal, a log line every while elsewhere.

    Args:
        description: What is being done, as a sentence without a full stop.
        total: How many bytes there are in all, if that is known.
        done: How many of them are there already.
    """

    def __init__(self, description: str, total: int | None, done: int = 0) -> None:
        """Start the clock."""
        self._description = description
        self._total = total
        self._first = self._done = done
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total, initial=done, desc=description, unit="B", unit_scale=True, leave=False
            )

    def __enter__(self) -> ByteProgress:
        """Show the progress until the block ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def add(self, count: int) -> None:
        """Note that ``count`` more bytes are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._last < LOG_EVERY_S:
            return
        self._last = now
        rate = (self._done - self._first) / (now - self._start)
        of_total = "" if self._total is None else f" of {self._total / 1e6:.0f}"
        logger.info(
            "%s: %.0f%s MB, %.1f MB a second",
            self._description, self._done / 1e6, of_total, rate / 1e6,
        )  # fmt: skip
