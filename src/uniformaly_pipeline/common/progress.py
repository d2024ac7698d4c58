"""One progress display for every long stage: a bar in a terminal, a few log lines elsewhere."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
LOG_EVERY_S = 30.0
TELL_EVERY_S = 0.1


@dataclass(frozen=True)
class Progress:
    """How far a long step has come.

    Attributes:
        description: What is being done, as a sentence without a full stop.
        done: Units that are done.
        total: Units there are in all.
        unit: Name of a unit, plural.
    """

    description: str
    done: int
    total: int
    unit: str


Watcher = Callable[[Progress], None]
_watcher: Watcher | None = None


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """While the block runs, ``watcher`` hears of progress and no bar is drawn; workers are mute."""
    global _watcher  # noqa: PLW0603 - one process has one screen
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def _ignore(_: Progress) -> None:
    """What a worker process does with its progress where the main process draws the screen."""


def _in_child() -> None:
    global _watcher  # noqa: PLW0603 - the screen is the parent's
    if _watcher is not None:
        _watcher = _ignore


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


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
    if _watcher is not None:
        yield from _told(items, Progress(description, 0, total, unit), step, _watcher)
        return
    with _bar(total=total, desc=description, unit=f" {unit}") as bar:
        for item in items:
            yield item
            bar.update(min(step, total - bar.n))


def _told(items: Iterable[Item], start: Progress, step: int, watcher: Watcher) -> Iterator[Item]:
    """Yield ``items`` and tell the watcher, not oftener than it can show."""
    done, told = 0, 0.0
    watcher(start)
    for item in items:
        yield item
        done = min(done + step, start.total)
        now = time.monotonic()
        if now - told >= TELL_EVERY_S or done == start.total:
            told = now
            watcher(Progress(start.description, done, start.total, start.unit))


def byte_progress(description: str, total: int | None, done: int = 0) -> tqdm:
    """Show how many bytes are done, until the block that this opens ends.

    A watcher hears of them in megabytes, where it is known how many there are in all.

    Args:
        description: What is being done, as a sentence without a full stop.
        total: How many bytes there are in all, if that is known.
        done: How many of them are there already.

    Returns:
        A bar; call its ``update`` with the number of bytes that have been added.
    """
    options: dict[str, Any] = {"total": total, "initial": done, "desc": description}
    if _watcher is not None:
        return _ToldBar(_watcher, **options, file=io.StringIO(), leave=False, position=0)
    return _bar(**options, unit="B", unit_scale=True)


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


class _ToldBar(tqdm):
    """Tells a watcher in place of drawing."""

    # No thread that watches over it.
    monitor_interval = 0

    def __init__(self, watcher: Watcher, **options: Any) -> None:
        # The bar is shown as soon as it is made.
        self._watcher = watcher
        super().__init__(**options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002 - tqdm's
        # An empty text is what clears the line.
        if msg is None and self.total is not None:
            done, total = (int(count / 1e6) for count in (self.n, self.total))
            self._watcher(Progress(self.desc, done, total, "MB"))


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
